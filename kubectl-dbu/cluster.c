/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/cluster.h"

#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/api/syntax.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "kubectl-dbu/args.h"

/* With its group: no other project's "dbupgrades" is meant. */
#define RESOURCE DBUPGRADE_PLURAL "." DBUPGRADE_GROUP

/* 50,000 objects of 5 KiB. */
#define LIST_MAX ((size_t)256 << 20)
/* etcd keeps 1.5 MiB of an object; kubectl's indentation comes on top. A List of Pods of one Job,
 * or of the events of one object, is of that size too. */
#define OBJECT_MAX ((size_t)16 << 20)
/* The words of one command. */
#define WORDS_MAX ((size_t)16 << 10)

/* Reads to the end what a call prints, and how it ended. Return: 0, CLUSTER_E_TROUBLE,
 * CLUSTER_E_LATE, a fault. */
static int collect(struct kubectl_call *call, int64_t deadline_ms, struct strbuf *out,
                   struct fault *f) {
        bool well;
        int r = kubectl_read(call, deadline_ms, out, f);

        if (r == KUBECTL_E_LATE)
                return CLUSTER_E_LATE;
        if (!r)
                r = kubectl_end(call, &well, f);
        if (r)
                return r;
        return well ? 0 : CLUSTER_E_TROUBLE;
}

static int ask(const char *const *words, const struct args *args, int64_t deadline_ms,
               struct strbuf *out, struct fault *f) {
        CLEANUP(kubectl_call_done) struct kubectl_call call = KUBECTL_CALL_INIT;
        int r = kubectl_start(&call, words, &args->through, KUBECTL_READ, f);

        return r ? r : collect(&call, deadline_ms, out, f);
}

int cluster_list(const struct args *args, struct object_list *ret_list, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(LIST_MAX);
        const char *where = args->namespace_ ? arena_printf(&a, "--namespace=%s", args->namespace_)
                                             : "--all-namespaces";
        const char *selector =
                args->selector ? arena_printf(&a, "--selector=%s", args->selector) : NULL;
        const char *words[] = { "get", RESOURCE, "--output=json", where, selector, NULL };
        int r = arena_check(&a, f);

        if (!r)
                r = ask(words, args, 0, &out, f);
        return r ? r : object_list_decode(strbuf_text(&out), out.len, ret_list, f);
}

int cluster_get(const struct args *args, int64_t deadline_ms, struct dbupgrade **ret_object,
                struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(OBJECT_MAX);
        const char *where =
                args->namespace_ ? arena_printf(&a, "--namespace=%s", args->namespace_) : NULL;
        const char *words[] = { "get",
                                RESOURCE,
                                args->name,
                                "--output=json",
                                "--ignore-not-found",
                                "--show-managed-fields",
                                where,
                                NULL };
        int r = arena_check(&a, f);

        if (!r)
                r = ask(words, args, deadline_ms, &out, f);
        if (r)
                return r;
        if (out.len == 0)
                return CLUSTER_E_NOT_FOUND;
        return fault_wrap(f, dbupgrade_decode(strbuf_text(&out), out.len, ret_object, f),
                          "what kubectl printed");
}

/* What the ledger says goes into words for kubectl: it must not look like an option or a list. */
static bool names_run(const struct dbupgrade *object) {
        const struct dbupgrade_run *run = &object->status.last_run;

        return syntax_subdomain(run->job_name) && syntax_subdomain(run->job_uid);
}

static int start_pods(const struct args *args, const struct dbupgrade *object, struct arena *a,
                      struct kubectl_call *ret_call, struct fault *f) {
        const char *words[] = {
                "get",
                "pods",
                "--output=json",
                arena_printf(a, "--namespace=%s", object->namespace_),
                arena_printf(a, "--selector=batch.kubernetes.io/controller-uid=%s",
                             object->status.last_run.job_uid),
                NULL,
        };
        int r = arena_check(a, f);

        return r ? r : kubectl_start(ret_call, words, &args->through, KUBECTL_READ, f);
}

static int start_job(const struct args *args, const struct dbupgrade *object, struct arena *a,
                     struct kubectl_call *ret_call, struct fault *f) {
        const char *words[] = {
                "get",
                "jobs.batch",
                object->status.last_run.job_name,
                "--output=json",
                "--ignore-not-found",
                arena_printf(a, "--namespace=%s", object->namespace_),
                NULL,
        };
        int r = arena_check(a, f);

        return r ? r : kubectl_start(ret_call, words, &args->through, KUBECTL_READ, f);
}

static int start_events(const struct args *args, const char *namespace_, const char *uid,
                        struct arena *a, struct kubectl_call *ret_call, struct fault *f) {
        const char *words[] = {
                "get",
                "events.events.k8s.io",
                "--output=json",
                arena_printf(a, "--namespace=%s", namespace_),
                arena_printf(a, "--field-selector=regarding.uid=%s", uid),
                NULL,
        };
        int r = arena_check(a, f);

        return r ? r : kubectl_start(ret_call, words, &args->through, KUBECTL_READ, f);
}

/* The tree of what a call prints; NULL when that is nothing. */
static int collect_tree(struct kubectl_call *call, cJSON **ret_tree, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(OBJECT_MAX);
        int r = collect(call, 0, &out, f);

        if (r || out.len == 0)
                return r;
        return fault_wrap(f, json_parse(strbuf_text(&out), out.len, ret_tree, f),
                          "what kubectl printed");
}

int cluster_pods(const struct args *args, const struct dbupgrade *object, cJSON **ret_pods,
                 struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(kubectl_call_done) struct kubectl_call call = KUBECTL_CALL_INIT;
        int r;

        if (!names_run(object))
                return 0;
        r = start_pods(args, object, &a, &call, f);
        return r ? r : collect_tree(&call, ret_pods, f);
}

enum { CALL_EVENTS, CALL_JOB, CALL_PODS, CALL_JOB_EVENTS, CALL_COUNT };

static void calls_done(struct kubectl_call (*calls)[CALL_COUNT]) {
        for (size_t i = 0; i < CALL_COUNT; i++)
                kubectl_call_done(&(*calls)[i]);
}

/* A Job of that name, but not that run's: somebody else's, or a later one. */
static void check_job(const struct dbupgrade *object, struct cluster_run *run) {
        if (run->job && strcmp(json_string_at(run->job, "metadata.uid"),
                               object->status.last_run.job_uid) != 0) {
                cJSON_Delete(run->job);
                run->job = NULL;
        }
        run->job_gone = !run->job;
}

/* Collects one after the other: each kubectl waits at its own full pipe for its turn. What may not
 * be read (kubectl has said so) is left out. */
static int collect_all(struct kubectl_call *calls, const struct dbupgrade *object,
                       struct cluster_run *run, struct fault *f) {
        cJSON **const trees[CALL_COUNT] = { [CALL_EVENTS] = &run->events,
                                            [CALL_JOB] = &run->job,
                                            [CALL_PODS] = &run->pods,
                                            [CALL_JOB_EVENTS] = &run->job_events };

        for (size_t i = 0; i < CALL_COUNT; i++) {
                int r;

                if (calls[i].pid == 0)
                        continue;
                r = collect_tree(&calls[i], trees[i], f);
                if (r < 0)
                        return r;
                if (r == 0 && i == CALL_JOB)
                        check_job(object, run);
        }
        return 0;
}

int cluster_read_run(const struct args *args, const struct dbupgrade *object,
                     struct cluster_run *ret_run, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(calls_done)
        struct kubectl_call calls[CALL_COUNT] = { KUBECTL_CALL_INIT, KUBECTL_CALL_INIT,
                                                  KUBECTL_CALL_INIT, KUBECTL_CALL_INIT };
        CLEANUP(cluster_run_done) struct cluster_run run = { .job = NULL };
        int r = start_events(args, object->namespace_, object->uid, &a, &calls[CALL_EVENTS], f);

        if (!r && names_run(object)) {
                r = start_job(args, object, &a, &calls[CALL_JOB], f);
                if (!r)
                        r = start_pods(args, object, &a, &calls[CALL_PODS], f);
                if (!r)
                        r = start_events(args, object->namespace_, object->status.last_run.job_uid,
                                         &a, &calls[CALL_JOB_EVENTS], f);
        }
        if (!r)
                r = collect_all(calls, object, &run, f);
        if (r)
                return r;
        *ret_run = run;
        run = (struct cluster_run){ .job = NULL };
        return 0;
}

void cluster_run_done(struct cluster_run *run) {
        cJSON_Delete(run->job);
        cJSON_Delete(run->pods);
        cJSON_Delete(run->events);
        cJSON_Delete(run->job_events);
        *run = (struct cluster_run){ .job = NULL };
}

int cluster_annotate(const struct args *args, const struct dbupgrade *object, const char *value,
                     struct strbuf *said, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(kubectl_call_done) struct kubectl_call call = KUBECTL_CALL_INIT;
        const char *words[] = {
                "annotate",
                RESOURCE,
                object->name,
                "--overwrite",
                arena_printf(&a, "--namespace=%s", object->namespace_),
                arena_printf(&a, "--resource-version=%s", object->resource_version),
                arena_printf(&a, DBUPGRADE_ANNOTATION_RETRY "=%s", value),
                NULL,
        };
        int r = arena_check(&a, f);

        if (!r)
                r = kubectl_start(&call, words, &args->through, KUBECTL_READ_BOTH, f);
        return r ? r : collect(&call, 0, said, f);
}

int cluster_watch(const struct args *args, const struct dbupgrade *object,
                  struct kubectl_call *ret_call, struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        const char *words[] = {
                "get",
                RESOURCE,
                object->name,
                "--output=json",
                "--watch",
                "--output-watch-events",
                arena_printf(&a, "--namespace=%s", object->namespace_),
                NULL,
        };
        int r = arena_check(&a, f);

        return r ? r : kubectl_start(ret_call, words, &args->through, KUBECTL_READ, f);
}

int cluster_logs(const struct args *args, const char *namespace_, const char *pod,
                 struct fault *f) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(kubectl_call_done) struct kubectl_call call = KUBECTL_CALL_INIT;
        const char *words[KUBECTL_WORDS_MAX] = { "logs", pod, "--container=migrate",
                                                 arena_printf(&a, "--namespace=%s", namespace_) };
        size_t count = 4;
        bool well = false;
        int r;

        if (args->follow)
                words[count++] = "--follow";
        if (args->timestamps)
                words[count++] = "--timestamps";
        if (args->tail)
                words[count++] = arena_printf(&a, "--tail=%s", args->tail);
        r = arena_check(&a, f);
        if (!r)
                r = kubectl_start(&call, words, &args->through, KUBECTL_PASS, f);
        if (!r)
                r = kubectl_end(&call, &well, f);
        if (r)
                return r;
        return well ? 0 : CLUSTER_E_TROUBLE;
}
