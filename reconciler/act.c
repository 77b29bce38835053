/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/act.h"

#include <string.h>

#include "common/api/dbupgrade_rules.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/random.h"
#include "common/json/json_get.h"
#include "common/json/json_write.h"
#include "reconciler/secrets.h"
#include "reconciler/status.h"

/* A path holds two names of at most 253 bytes, a namespace of 63 and fixed words. */
#define ACT_PATH_MAX 1024

/* A query holds a selector of two labels (at most 2 * (253 + 1 + 63 + 1 + 63) bytes, tripled by
 * percent-encoding) and a continue token (of the API server's own length). */
#define ACT_QUERY_MAX 16384

/* A Job: the spec (below 1.5 MiB in etcd) and what the operator adds. */
#define ACT_BODY_MAX (2U << 20)

/* Of a request, unless the pass ends sooner: kube_request's own. */
#define ACT_TIMEOUT_MS 30000

#define ACT_FIELD_MANAGER "fieldManager=" NAMES_FIELD_MANAGER

static int nomem(struct fault *f) {
        return fault_set(f, FAULT_NOMEM, "out of memory");
}

/* "/apis/batch/v1" + "/namespaces/<ns>/<resource>[/<name>[/<subresource>]]". */
static void put_path(struct strbuf *path, const char *group, const char *namespace_,
                     const char *resource, const char *name) {
        strbuf_str(path, group);
        strbuf_str(path, "/namespaces/");
        strbuf_url(path, namespace_);
        strbuf_char(path, '/');
        strbuf_str(path, resource);
        if (name) {
                strbuf_char(path, '/');
                strbuf_url(path, name);
        }
}

#define BATCH_V1  "/apis/batch/v1"
#define CORE_V1   "/api/v1"
#define EVENTS_V1 "/apis/events.k8s.io/v1"
#define OBJECT_V1 "/apis/" DBUPGRADE_API_VERSION

static const char *response_text(const struct kube_response *response) {
        return response->status_message ? response->status_message : "(no message)";
}

/* A right is missing: the server's sentence names verb, resource and who lacks it. */
static int forbidden(struct pass *p, const struct kube_response *response) {
        p->message = arena_strdup(&p->arena, response_text(response));
        return ACT_E_FORBIDDEN;
}

/* Maps what a step has no own use for. Return: ACT_E_*, or a fault. */
static int other_outcome(struct pass *p, int r, const struct kube_response *response,
                         struct fault *f) {
        switch (r) {
        case KUBE_E_CONFLICT:
        case KUBE_E_NOT_FOUND:
        case KUBE_E_GONE:
                return ACT_E_ANEW;
        case KUBE_E_FORBIDDEN:
                return response->status_namespace_terminating ? ACT_E_ANEW : forbidden(p, response);
        case KUBE_E_INVALID:
                return fault_wrap(f, -FAULT_INVALID, "the API server refused a request for good");
        case KUBE_E_EXPIRED_WRITE:
        case KUBE_E_STOPPED:
                return -FAULT_IO;
        default:
                return fault_wrap(f, r, "reconcile");
        }
}

/* kube_request within the time of the pass: whatever answers how slowly, and however many requests
 * there are, a pass ends, and the next begins from what the cluster says. */
static int ask(const struct pass *p, struct kube_request *request, struct kube_response *response,
               struct fault *f) {
        int64_t left_ms = p->deadline_ms - clock_mono_ms(p->deps->clock);

        if (p->deadline_ms && left_ms <= 0)
                return fault_set(f, FAULT_IO, "the pass took longer than %lld s",
                                 (long long)p->deps->timeout_ms / 1000);
        if (p->deadline_ms && left_ms < ACT_TIMEOUT_MS)
                request->timeout_ms = left_ms;
        return kube_request(p->deps->kube, request, response, f);
}

/* GETs one object. Return: like kube_request. */
static int get(struct pass *p, const char *group, const char *resource, const char *name,
               struct kube_response *response, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        struct kube_request request = { .method = KUBE_GET };
        int r;

        put_path(&path, group, p->object->namespace_, resource, name);
        r = strbuf_check(&path, f);
        if (r)
                return r;
        request.path = path.ptr;
        return ask(p, &request, response, f);
}

/* ---- the object ---- */

/* All messages of the rules in one text. Return: 0, -FAULT_NOMEM. */
static int judge_spec(struct pass *p, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(SIZE_MAX - 1);
        struct rules_verdict verdict;
        int r = dbupgrade_rules_judge(p->object->spec_tree, NULL, &p->arena, &verdict, f);

        if (r)
                return r;
        for (size_t i = 0; i < verdict.count; i++)
                strbuf_printf(&text, "%s%s: %s", i ? "; " : "", verdict.causes[i].field,
                              verdict.causes[i].message);
        r = strbuf_check(&text, f);
        if (r)
                return r;
        p->in.invalid = verdict.count > 0;
        p->invalid_message = verdict.count > 0 ? arena_strdup(&p->arena, text.ptr) : NULL;
        return arena_check(&p->arena, f);
}

int act_set_object(struct pass *p, struct dbupgrade *object, struct fault *f) {
        int r;

        dbupgrade_free(p->object);
        p->object = object;
        p->in.object = object;
        r = judge_spec(p, f);
        if (!r)
                r = run_key(&object->spec, p->run_key, f);
        if (!r)
                r = attempt_key(p->run_key, object->spec_tree, plan_retry_value(object),
                                p->attempt_key, f);
        if (!r)
                r = attempt_key(p->run_key, object->spec_tree, object->status.last_handled_retry,
                                p->held_key, f);
        return fault_wrap(f, r, "read DBUpgrade %s/%s", object->namespace_, object->name);
}

/* Takes an answer that is the object itself: into the pass and into the cache. */
static int take_object(struct pass *p, const struct kube_response *response, struct fault *f) {
        struct dbupgrade *object = NULL;
        int r = cache_learn(p->deps->cache, CACHE_OBJECT, response->body.ptr, response->body.len,
                            f);

        if (!r)
                r = dbupgrade_decode(response->body.ptr, response->body.len, &object, f);
        return r ? r : act_set_object(p, object, f);
}

int act_get_object(struct pass *p, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        CLEANUP(free_p) char *namespace_ = strndup(p->key, strcspn(p->key, "/"));
        struct kube_request request = { .method = KUBE_GET };
        int r;

        if (!namespace_)
                return nomem(f);
        put_path(&path, OBJECT_V1, namespace_, DBUPGRADE_PLURAL, p->view.name);
        r = strbuf_check(&path, f);
        if (r)
                return r;
        request.path = path.ptr;
        r = ask(p, &request, &response, f);
        return r ? other_outcome(p, r, &response, f) : take_object(p, &response, f);
}

/* Is the object still the one that this pass is about? */
static int check_owner(struct pass *p, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct json_want uid = { .path = { "metadata", "uid" } };
        /* A UUID has 36 characters; a longer UID is certainly another one than ours. */
        char text[64];
        int r = get(p, OBJECT_V1, DBUPGRADE_PLURAL, p->object->name, &response, f);

        if (r == KUBE_E_NOT_FOUND) {
                p->in.owner = OWNER_CHANGED;
                return 0;
        }
        if (r)
                return other_outcome(p, r, &response, f);
        r = json_check(response.body.ptr, response.body.len, &uid, 1, f);
        if (r)
                return r;
        p->in.owner =
                json_span_string(&uid.span, text, sizeof(text)) && strcmp(text, p->object->uid) == 0
                        ? OWNER_STILL_US
                        : OWNER_CHANGED;
        return 0;
}

int act_write_status(struct pass *p, const struct dbupgrade_status *next, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(ACT_BODY_MAX);
        struct kube_request request = {
                .method = KUBE_PATCH,
                .query = ACT_FIELD_MANAGER,
                .content_type = KUBE_MERGE_PATCH,
        };
        int r;

        put_path(&path, OBJECT_V1, p->object->namespace_, DBUPGRADE_PLURAL, p->object->name);
        strbuf_str(&path, "/status");
        status_patch(&body, p->object->resource_version, &p->object->status, next);
        r = strbuf_check(&path, f);
        if (!r)
                r = strbuf_check(&body, f);
        if (!r)
                r = arena_check(&p->arena, f);
        if (r)
                return r;
        request.path = path.ptr;
        request.body = body.ptr;
        request.body_len = body.len;
        p->status_tried = true;
        r = ask(p, &request, &response, f);
        p->status_written = r == 0;
        return r ? other_outcome(p, r, &response, f) : take_object(p, &response, f);
}

/* ---- Jobs and Pods ---- */

/* Decodes an answer that is a Job, also into the cache. */
static int take_job(struct pass *p, const struct kube_response *response,
                    struct job_record **ret_job, struct fault *f) {
        CLEANUP(job_record_free_p) struct job_record *job = NULL;
        int r = job_record_decode(response->body.ptr, response->body.len, &job, f);

        if (!r)
                r = cache_learn(p->deps->cache, CACHE_JOB, response->body.ptr, response->body.len,
                                f);
        if (r)
                return r;
        *ret_job = TAKE(job);
        return 0;
}

static void set_job(struct pass *p, struct job_record *job) {
        job_record_free(p->job);
        p->job = job;
        p->in.job = job;
        p->in.job_state = job ? JOB_PRESENT : JOB_GONE;
}

/* Rule F1: only this proves that the ledger's Job is gone. */
static int get_ledger_job(struct pass *p, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const struct dbupgrade_run *run = &p->object->status.last_run;
        struct job_record *job = NULL;
        int r = get(p, BATCH_V1, "jobs", run->job_name, &response, f);

        p->in.job_got = true;
        if (r == KUBE_E_NOT_FOUND) {
                set_job(p, NULL);
                return 0;
        }
        if (r)
                return other_outcome(p, r, &response, f);
        r = take_job(p, &response, &job, f);
        if (r)
                return r;
        if (strcmp(job->meta.uid, run->job_uid) != 0) {
                job_record_free(job);
                job = NULL;
        }
        set_job(p, job);
        return 0;
}

/* What one item of a LIST is read into. */
typedef int (*act_on_item)(struct pass *p, const struct json_span *item, struct fault *f);

/* One page. *ret_continue: the token of the next one, empty at the end. */
static int list_page(struct pass *p, const char *path, const char *query, act_on_item on_item,
                     struct strbuf *ret_continue, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        struct json_want wants[] = {
                { .path = { "items" } },
                { .path = { "metadata", "continue" } },
        };
        struct kube_request request = { .method = KUBE_GET, .path = path, .query = query };
        struct json_span item;
        size_t cursor = 0;
        char token[4096]; /* the API server's tokens are base64 of a revision and a name */
        int r = ask(p, &request, &response, f);

        if (r)
                return other_outcome(p, r, &response, f);
        r = json_check(response.body.ptr, response.body.len, wants, 2, f);
        while (!r && json_span_next(&wants[0].span, &cursor, &item))
                r = on_item(p, &item, f);
        strbuf_reset(ret_continue);
        if (json_span_kind(&wants[1].span) != '"' || r)
                return r;
        if (!json_span_string(&wants[1].span, token, sizeof(token)))
                return fault_set(f, FAULT_PROTO, "%s: a continue token that is too long", path);
        strbuf_url(ret_continue, token);
        return strbuf_check(ret_continue, f);
}

/* A consistent LIST (no resourceVersion), in pages. selector: "labelSelector=…" or
 * "fieldSelector=…", encoded. */
static int list(struct pass *p, const char *group, const char *resource, const char *selector,
                act_on_item on_item, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        CLEANUP(strbuf_done) struct strbuf query = STRBUF_INIT(ACT_QUERY_MAX);
        CLEANUP(strbuf_done) struct strbuf token = STRBUF_INIT(ACT_QUERY_MAX);
        int r;

        put_path(&path, group, p->object->namespace_, resource, NULL);
        do {
                strbuf_reset(&query);
                strbuf_printf(&query, "limit=100&%s", selector);
                if (token.len > 0)
                        strbuf_printf(&query, "&continue=%s", token.ptr);
                r = strbuf_check(&path, f);
                if (!r)
                        r = strbuf_check(&query, f);
                if (!r)
                        r = list_page(p, path.ptr, query.ptr, on_item, &token, f);
        } while (!r && token.len > 0);
        return r;
}

/* All that carry our name label, whatever the owner's UID. */
static int list_by_label(struct pass *p, const char *group, const char *resource,
                         act_on_item on_item, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf selector = STRBUF_INIT(ACT_QUERY_MAX);
        char label[NAMES_LABEL_SIZE];
        int r;

        names_label(p->object->name, label);
        strbuf_str(&selector, "labelSelector=");
        strbuf_url(&selector,
                   NAMES_LABEL_MANAGED_BY "=" NAMES_MANAGED_BY_VALUE "," NAMES_LABEL_NAME "=");
        strbuf_url(&selector, label);
        r = strbuf_check(&selector, f);
        return r ? r : list(p, group, resource, selector.ptr, on_item, f);
}

static int add_listed_job(struct pass *p, const struct json_span *item, struct fault *f) {
        struct job_record *job = NULL;
        int r = job_record_decode(item->text, item->len, &job, f);

        return r ? r : job_list_add(&p->listed_jobs, job, f);
}

static int add_owned_job(struct pass *p, const struct json_span *item, struct fault *f) {
        struct job_record *job = NULL;
        int r = job_record_decode(item->text, item->len, &job, f);

        if (r)
                return r;
        if (strcmp(job->controller_uid, p->object->uid) == 0)
                return job_list_add(&p->owned_jobs, job, f);
        job_record_free(job);
        return 0;
}

static int add_listed_pod(struct pass *p, const struct json_span *item, struct fault *f) {
        struct pod_record *pod = NULL;
        int r = pod_record_decode(item->text, item->len, &pod, f);

        return r ? r : pod_list_add(&p->listed_pods, pod, f);
}

/* The ledger's Job as the LIST has it: the Job controller writes its status at once after the POST,
 * and the start needs the newest resourceVersion. */
static int refresh_job(struct pass *p, struct fault *f) {
        for (size_t i = 0; i < p->listed_jobs.count; i++) {
                const struct job_record *listed = p->listed_jobs.items[i];
                struct job_record *job;

                if (strcmp(listed->meta.uid, p->object->status.last_run.job_uid) != 0)
                        continue;
                job = job_record_copy(listed);
                if (!job)
                        return nomem(f);
                set_job(p, job);
        }
        return 0;
}

static int list_jobs(struct pass *p, struct fault *f) {
        int r;

        job_list_done(&p->listed_jobs);
        pod_list_done(&p->listed_pods);
        p->in.listed_pods = NULL;
        p->in.owner = OWNER_UNKNOWN;
        r = list_by_label(p, BATCH_V1, "jobs", add_listed_job, f);
        p->in.listed_jobs = r ? NULL : &p->listed_jobs;
        return r ? r : refresh_job(p, f);
}

static int list_pods(struct pass *p, struct fault *f) {
        int r;

        pod_list_done(&p->listed_pods);
        r = list_by_label(p, CORE_V1, "pods", add_listed_pod, f);
        p->in.listed_pods = r ? NULL : &p->listed_pods;
        return r;
}

/* The earlier program's Jobs carry no label of ours. Those that have succeeded, nearly all, stay on
 * the server; their only Pod has ended. */
static int list_owned(struct pass *p, struct fault *f) {
        int r;

        job_list_done(&p->owned_jobs);
        r = list(p, BATCH_V1, "jobs", "fieldSelector=status.successful%3D0", add_owned_job, f);
        p->in.owned_jobs = r ? NULL : &p->owned_jobs;
        return r;
}

static int take_event(struct pass *p, const struct json_span *item, struct fault *f) {
        CLEANUP(cJSON_Delete_p) cJSON *event = NULL;
        int r = json_parse_span(item, &event, f);

        if (r)
                return r;
        /* In the order of their names, which begin alike and end in their time. */
        p->events_text = arena_strdup(&p->arena, json_string_at(event, "note"));
        return 0;
}

static int list_events(struct pass *p, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf selector = STRBUF_INIT(ACT_QUERY_MAX);
        int r;

        strbuf_str(&selector, "fieldSelector=");
        strbuf_url(&selector, "reason=FailedCreate,regarding.uid=");
        strbuf_url(&selector, p->job->meta.uid);
        r = strbuf_check(&selector, f);
        if (!r)
                r = list(p, EVENTS_V1, "events", selector.ptr, take_event, f);
        p->in.events_listed = r == 0;
        return r;
}

/* ---- starting a run ---- */

static const char *read_secret_fault(struct pass *p, const struct kube_response *response,
                                     struct fault *f, int *ret_r) {
        const struct dbupgrade_spec *spec = &p->object->spec;
        struct json_want value = { .path = { "data", spec->secret_key } };

        *ret_r = json_check(response->body.ptr, response->body.len, &value, 1, f);
        if (*ret_r || value.span.len > 2) /* more than the quotes */
                return NULL;
        if (!value.span.text)
                return arena_printf(&p->arena, "key \"%s\" not found in secret \"%s\"",
                                    spec->secret_key, spec->secret_name);
        return arena_printf(&p->arena, "key \"%s\" in secret \"%s\" is empty", spec->secret_key,
                            spec->secret_name);
}

static void secret_is_missing(struct pass *p, const char *why) {
        const struct pass_deps *d = p->deps;
        const struct dbupgrade_spec *spec = &p->object->spec;

        p->secret_wait_ms = secrets_missing(d->secrets, p->object->namespace_, spec->secret_name,
                                            spec->secret_key, why, clock_mono_ms(d->clock),
                                            d->random->u32(d->random->ctx));
        p->message = why;
        p->in.secret = SECRET_MISSING;
}

static int read_secret(struct pass *p, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        const char *name = p->object->spec.secret_name;
        const char *why;
        int r = get(p, CORE_V1, "secrets", name, &response, f);

        if (r == KUBE_E_NOT_FOUND) {
                secret_is_missing(p, arena_printf(&p->arena,
                                                  "connection secret \"%s\" not found in namespace "
                                                  "\"%s\"",
                                                  name, p->object->namespace_));
                return 0;
        }
        if (r == KUBE_E_FORBIDDEN) {
                (void)forbidden(p, &response);
                p->in.secret = SECRET_FORBIDDEN;
                return 0;
        }
        if (r)
                return other_outcome(p, r, &response, f);
        why = read_secret_fault(p, &response, f, &r);
        if (r)
                return r;
        if (why) {
                secret_is_missing(p, why);
                return 0;
        }
        secrets_found(p->deps->secrets, p->object->namespace_, name, p->object->spec.secret_key);
        p->in.secret = SECRET_PRESENT;
        return 0;
}

static int get_secret(struct pass *p, struct fault *f) {
        const struct pass_deps *d = p->deps;
        const struct dbupgrade_spec *spec = &p->object->spec;
        char why[SECRETS_WHY_SIZE];

        if (!secrets_is_missing(d->secrets, p->object->namespace_, spec->secret_name,
                                spec->secret_key, clock_mono_ms(d->clock), why, &p->secret_wait_ms))
                return read_secret(p, f);
        p->message = arena_strdup(&p->arena, why);
        p->in.secret = SECRET_MISSING;
        return 0;
}

static void identify(struct pass *p) {
        char hash8[RUN_HASH8_SIZE];

        p->identity.number = p->object->status.last_run.number + 1;
        memcpy(p->identity.run_key, p->run_key, RUN_KEY_SIZE);
        memcpy(p->identity.attempt_key, p->attempt_key, RUN_KEY_SIZE);
        run_hash8(p->object->uid, p->attempt_key, p->identity.number, hash8);
        names_job(p->object->name, hash8, p->identity.name);
        names_label(p->object->name, p->identity.name_label);
}

/* The answer to the POST that did not make a Job. Return: 0 when it is an answer, or a fault. */
static int judge_refusal(struct pass *p, int r, const struct kube_response *response,
                         struct fault *f) {
        p->message = arena_strdup(&p->arena, response_text(response));
        switch (r) {
        case KUBE_E_CONFLICT:
                p->in.post = POST_EXISTS;
                return 0;
        case KUBE_E_INVALID:
                p->in.post = POST_REFUSED;
                return 0;
        case KUBE_E_NOT_FOUND: /* the namespace */
                p->in.post = POST_ENDING;
                return 0;
        case KUBE_E_FORBIDDEN:
                if (response->status_namespace_terminating)
                        p->in.post = POST_ENDING;
                else
                        p->in.post = response->status_has_name ? POST_REJECTED : POST_FORBIDDEN;
                return 0;
        default:
                break;
        }
        /* Somebody's admission webhook does not answer: no fault of the API server, and the user
         * ought to know. */
        if (response->http == 500 && response->status_message &&
            strstr(response->status_message, "failed calling webhook")) {
                p->in.post = POST_REJECTED;
                return 0;
        }
        return other_outcome(p, r, response, f);
}

static int create_job(struct pass *p, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(ACT_BODY_MAX);
        struct kube_request request = {
                .method = KUBE_POST,
                .query = ACT_FIELD_MANAGER "&fieldValidation=Strict",
        };
        int r;

        identify(p);
        put_path(&path, BATCH_V1, p->object->namespace_, "jobs", NULL);
        r = strbuf_check(&path, f);
        if (!r)
                r = job_build(p->object, &p->identity, &body, f);
        if (r)
                return r;
        request.path = path.ptr;
        request.body = body.ptr;
        request.body_len = body.len;
        r = ask(p, &request, &response, f);
        if (r)
                return judge_refusal(p, r, &response, f);
        r = take_job(p, &response, &p->created, f);
        if (r)
                return r;
        p->in.created = p->created;
        p->in.post = POST_CREATED;
        return 0;
}

static int get_created(struct pass *p, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        int r = get(p, BATCH_V1, "jobs", p->identity.name, &response, f);

        if (r)
                return other_outcome(p, r, &response, f);
        r = take_job(p, &response, &p->created, f);
        if (r)
                return r;
        p->in.created = p->created;
        p->in.post = plan_judge_holder(&p->in, p->created);
        if (p->in.post == POST_CONFLICT)
                p->message =
                        arena_printf(&p->arena,
                                     "a Job named %s exists that is not the operator's; delete "
                                     "or rename it",
                                     p->identity.name);
        return 0;
}

/* ---- changing a Job ---- */

static int patch_job(struct pass *p, const struct job_record *job, const char *member,
                     const char *json_value, struct job_record **ret_job, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(ACT_PATH_MAX);
        struct kube_request request = {
                .method = KUBE_PATCH,
                .query = ACT_FIELD_MANAGER,
                .content_type = KUBE_MERGE_PATCH,
        };
        int r;

        put_path(&path, BATCH_V1, job->meta.namespace_, "jobs", job->meta.name);
        strbuf_printf(&body, "{\"metadata\":{\"resourceVersion\":\"%s\"},\"spec\":{\"%s\":%s}}",
                      job->meta.resource_version, member, json_value);
        r = strbuf_check(&path, f);
        if (!r)
                r = strbuf_check(&body, f);
        if (r)
                return r;
        request.path = path.ptr;
        request.body = body.ptr;
        request.body_len = body.len;
        r = ask(p, &request, &response, f);
        return r ? other_outcome(p, r, &response, f) : take_job(p, &response, ret_job, f);
}

static int unsuspend(struct pass *p, struct fault *f) {
        struct job_record *job = NULL;
        int r = patch_job(p, p->job, "suspend", "false", &job, f);

        if (r)
                return r;
        set_job(p, job);
        return 0;
}

/* Forgets a Job of the view that has been dealt with, or cannot be in this pass. */
static void drop_cached(struct pass *p, const struct job_record *job) {
        struct job_list *jobs = &p->view.jobs;

        for (size_t i = 0; i < jobs->count; i++) {
                if (jobs->items[i] != job)
                        continue;
                job_record_free(jobs->items[i]);
                jobs->items[i] = jobs->items[--jobs->count];
                return;
        }
}

static int set_ttl(struct pass *p, const struct job_record *target, struct fault *f) {
        CLEANUP(job_record_free_p) struct job_record *job = NULL;
        const char *seconds = arena_printf(&p->arena, "%lld", (long long)p->object->spec.ttl_s);
        int r = patch_job(p, target, "ttlSecondsAfterFinished", seconds, &job, f);

        drop_cached(p, target);
        return r;
}

static void put_delete_options(struct strbuf *body, const struct job_record *target,
                               bool foreground) {
        struct json_writer w = JSON_WRITER_INIT(body);

        json_object(&w);
        json_kv_string(&w, "kind", "DeleteOptions");
        json_kv_string(&w, "apiVersion", "v1");
        json_kv_string(&w, "propagationPolicy", foreground ? "Foreground" : "Background");
        json_kv_object(&w, "preconditions");
        json_kv_string(&w, "uid", target->meta.uid);
        /* A finished Job stays finished; one that is not may have been named or started since. */
        if (!job_record_finished(target))
                json_kv_string(&w, "resourceVersion", target->meta.resource_version);
        json_end_object(&w);
        json_end_object(&w);
}

static int delete_job(struct pass *p, const struct plan *plan, struct fault *f) {
        CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;
        CLEANUP(strbuf_done) struct strbuf path = STRBUF_INIT(ACT_PATH_MAX);
        CLEANUP(strbuf_done) struct strbuf body = STRBUF_INIT(ACT_PATH_MAX);
        struct kube_request request = { .method = KUBE_DELETE };
        int r;

        put_path(&path, BATCH_V1, plan->target->meta.namespace_, "jobs", plan->target->meta.name);
        put_delete_options(&body, plan->target, plan->foreground);
        r = strbuf_check(&path, f);
        if (!r)
                r = strbuf_check(&body, f);
        if (r)
                return r;
        request.path = path.ptr;
        request.body = body.ptr;
        request.body_len = body.len;
        r = ask(p, &request, &response, f);
        drop_cached(p, plan->target);
        if (r && r != KUBE_E_NOT_FOUND)
                return other_outcome(p, r, &response, f);
        if (plan->target == p->job)
                p->in.superseding_deleted = true;
        /* What was listed before is no longer so. */
        p->in.listed_jobs = NULL;
        return 0;
}

int act_take(struct pass *p, const struct plan *plan, struct fault *f) {
        switch (plan->action) {
        case PLAN_GET_JOB:
                return get_ledger_job(p, f);
        case PLAN_LIST_JOBS:
                return list_jobs(p, f);
        case PLAN_LIST_PODS:
                return list_pods(p, f);
        case PLAN_LIST_OWNED:
                return list_owned(p, f);
        case PLAN_LIST_EVENTS:
                return list_events(p, f);
        case PLAN_GET_OBJECT:
                return check_owner(p, f);
        case PLAN_GET_SECRET:
                return get_secret(p, f);
        case PLAN_CREATE_JOB:
                return create_job(p, f);
        case PLAN_GET_CREATED:
                return get_created(p, f);
        case PLAN_UNSUSPEND:
                return unsuspend(p, f);
        case PLAN_DELETE_JOB:
                return delete_job(p, plan, f);
        case PLAN_SET_TTL:
                return set_ttl(p, plan->target, f);
        case PLAN_WAIT:
        case PLAN_RECORD:
        case PLAN_RECORD_START:
        case PLAN_RECORD_ADOPTED:
                break;
        }
        return fault_set(f, FAULT_BUG, "a step that is no request");
}
