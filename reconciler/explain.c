/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/explain.h"

#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/strbuf.h"
#include "common/base/utf8.h"

/* More than a termination message holds (the kubelet caps it at 4,096 bytes). */
#define EXPLAIN_INPUT_MAX 16384

static bool ends_word(char c) {
        return !c || strchr(" \t\r\n\"'`,;&)]}<>", c) != NULL;
}

/* A URL that stands in quotes ends with them, whatever its password is made of. */
static const char *url_end(const char *text, char quote) {
        const char in_quotes[] = { quote, '\n', '\0' };

        return text + strcspn(text, quote ? in_quotes : " \t\r\n\"'`<>");
}

/* The quote right before the scheme that ends at text; 0 when there is none. */
static char quote_before(const char *begin, const char *text) {
        while (text > begin && (isalnum((unsigned char)text[-1]) || strchr("+.-", text[-1])))
                text--;
        return text > begin && strchr("\"'`", text[-1]) ? text[-1] : '\0';
}

/* At "://user:password@host": the length of the part that ends before the password, and behind it
 * the length of the password; 0 when there is no password at text. */
static size_t url_password(const char *begin, const char *text, size_t *ret_len) {
        const char *user = text + 3, *end, *authority, *at, *colon;

        if (strncmp(text, "://", 3) != 0)
                return 0;
        end = url_end(user, quote_before(begin, text));
        authority = user + strcspn(user, "/?#");
        if (authority > end)
                authority = end;
        /* A password may hold '@' unencoded, the last one ends it; or even '/', '?', '#'. */
        at = memrchr(user, '@', (size_t)(authority - user));
        if (!at)
                at = memrchr(user, '@', (size_t)(end - user));
        colon = memchr(user, ':', (size_t)((at ? at : authority) - user));
        if (!colon)
                return 0;
        /* Cut off before the '@', unless it is a port or an IPv6 address. */
        if (!at && (*user == '[' || colon + 1 + strspn(colon + 1, "0123456789") >= authority))
                return 0;
        *ret_len = (size_t)((at ? at : end) - colon - 1);
        return (size_t)(colon + 1 - text);
}

/* The same at ":password@", as in "user:password@tcp(host)/database". An image's digest follows an
 * '@', too. */
static size_t bare_password(const char *begin, const char *text, size_t *ret_len) {
        const char *at;

        if (*text != ':' || text[1] == '/' || text == begin || ends_word(text[-1]))
                return 0;
        at = memrchr(text, '@', (size_t)(url_end(text, '\0') - text));
        if (!at || strncmp(at, "@sha", 4) == 0)
                return 0;
        *ret_len = (size_t)(at - text - 1);
        return 1;
}

/* At "password=…", "password: …" and the like: the length up to the value, and the value's length.
 */
static size_t named_password(const char *text, size_t *ret_value_len) {
        /* The last one is of Go: `invalid port ":secret" after host`. */
        static const char *const names[] = { "password", "passwd", "passphrase",
                                             "pwd",      "pass",   "invalid port" };
        size_t at = 0;

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && at == 0; i++)
                if (strncasecmp(text, names[i], strlen(names[i])) == 0)
                        at = strlen(names[i]);
        if (at == 0)
                return 0;
        at += strspn(text + at, " \"'");
        if (text[at] != '=' && text[at] != ':')
                return 0;
        at++;
        while (text[at] == ' ')
                at++;
        if (text[at] == '"' || text[at] == '\'') {
                const char *end = strchr(text + at + 1, text[at]);

                at++;
                *ret_value_len = end ? (size_t)(end - text) - at : strlen(text + at);
        } else {
                *ret_value_len = 0;
                while (!ends_word(text[at + *ret_value_len]))
                        (*ret_value_len)++;
        }
        return *ret_value_len ? at : 0;
}

/* Control bytes become blanks, what is no UTF-8 the replacement character. Return: behind the
 * character. */
static const char *clean_char(struct strbuf *out, const char *text, const char *end) {
        size_t n = utf8_char(text, (size_t)(end - text));

        if (n == 0)
                strbuf_str(out, "\xef\xbf\xbd"); /* U+FFFD */
        else if (n == 1 && ((unsigned char)*text < 0x20 || *text == 0x7f))
                strbuf_char(out, ' ');
        else
                strbuf_add(out, text, n);
        return text + (n ? n : 1);
}

static void clean_into(struct strbuf *out, const char *text) {
        const char *begin = text, *end = text + strlen(text);

        while (*text) {
                size_t hidden = 0;
                size_t head = url_password(begin, text, &hidden);
                const char *password;

                if (!head)
                        head = bare_password(begin, text, &hidden);
                if (!head)
                        head = named_password(text, &hidden);
                if (!head) {
                        text = clean_char(out, text, end);
                        continue;
                }
                password = text + head;
                while (text < password)
                        text = clean_char(out, text, password);
                strbuf_str(out, "***");
                text = password + hidden;
        }
}

const char *explain_clean(struct arena *a, const char *text, size_t max) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(4 * EXPLAIN_INPUT_MAX);
        size_t len = strlen(text);
        size_t start = 0, end;

        if (len > EXPLAIN_INPUT_MAX)
                text += len - EXPLAIN_INPUT_MAX;
        clean_into(&out, text);
        a->bad |= out.bad;
        text = strbuf_text(&out);
        end = out.len;
        while (end > 0 && text[end - 1] == ' ')
                end--;
        while (start < end && text[start] == ' ')
                start++;
        if (end - start > max) {
                start = end - max;
                while (start < end && ((unsigned char)text[start] & 0xc0) == 0x80)
                        start++;
        }
        return arena_strndup(a, text + start, end - start);
}

const char *explain_duration(struct arena *a, const char *started_at, const char *finished_at) {
        int64_t start_us, end_us, s;

        if (!clock_parse_time(started_at, strlen(started_at), &start_us) ||
            !clock_parse_time(finished_at, strlen(finished_at), &end_us) || end_us < start_us)
                return "";
        s = (end_us - start_us) / 1000000;
        if (s < 60)
                return arena_printf(a, "%" PRId64 "s", s);
        if (s < 3600)
                return arena_printf(a, "%" PRId64 "m%" PRId64 "s", s / 60, s % 60);
        return arena_printf(a, "%" PRId64 "h%" PRId64 "m", s / 3600, s / 60 % 60);
}

static const char *completed(struct arena *a, const struct dbupgrade *object,
                             const struct dbupgrade_run *run) {
        const char *later =
                object->spec.has_post_checks ? "; spec.checks.post is not evaluated yet" : "";
        const char *took = explain_duration(a, run->started_at, run->finished_at);

        if (run->result != RUN_SUCCEEDED)
                return arena_printf(a, "Migration was completed before by the earlier operator%s",
                                    later);
        return arena_printf(a, "Migration completed successfully in %s%s", *took ? took : "0s",
                            later);
}

const char *explain_outcome(struct arena *a, const struct dbupgrade *object,
                            const struct dbupgrade_run *run) {
        if (run->result != RUN_FAILED && run->result != RUN_LOST)
                return completed(a, object, run);
        if (run->has_exit_code)
                return arena_printf(a, "Migration failed: %s (exit code %" PRId64 "): %s",
                                    run->reason, run->exit_code, run->message);
        return arena_printf(a, "Migration failed: %s: %s", run->reason, run->message);
}

/* The Pod that tells most: one that runs or ran before one that waits, later ones before earlier.
 */
static const struct pod_record *telling_pod(const struct pod_list *pods, const char *job_uid) {
        const struct pod_record *best = NULL;

        for (size_t i = 0; pods && i < pods->count; i++) {
                const struct pod_record *pod = pods->items[i];

                if (strcmp(pod->job_uid, job_uid) != 0)
                        continue;
                if (!best || pod->running || (!best->running && !pod->finished))
                        best = pod;
        }
        return best;
}

static struct explain_progress progress(const char *reason, const char *message, bool running,
                                        bool notable) {
        return (struct explain_progress){
                .running = running, .notable = notable, .reason = reason, .message = message
        };
}

/* Waiting states that every Pod passes through. */
static bool is_ordinary_wait(const char *reason) {
        return !*reason || strcmp(reason, "ContainerCreating") == 0 ||
               strcmp(reason, "PodInitializing") == 0 || strcmp(reason, "SchedulingGated") == 0;
}

static struct explain_progress pod_progress(struct arena *a, const struct dbupgrade_status *status,
                                            const struct job_record *job,
                                            const struct pod_record *pod) {
        const char *name = job->meta.name;
        const char *why;

        if (pod->terminated && pod->exit_code == 0 && pod->kept)
                return progress(
                        "JobRunning",
                        arena_printf(a,
                                     "Migration Job %s: the migration has ended with 0, but "
                                     "another container keeps its Pod %s alive",
                                     name, pod->meta.name),
                        true, true);
        /* Also when it has ended: the Job says so within a second. */
        if (pod->running || pod->started)
                return progress("JobRunning", arena_printf(a, "Migration Job %s is running", name),
                                true, true);
        if (is_ordinary_wait(pod->waiting_reason))
                return progress("JobRunning", arena_printf(a, "Migration Job %s is starting", name),
                                false, false);
        /* The kubelet goes to and fro between the two, with other words each time. */
        if (strcmp(pod->waiting_reason, "ErrImagePull") == 0 &&
            strcmp(status->reason, "ImagePullBackOff") == 0)
                return progress("ImagePullBackOff", status->message, false, true);
        why = explain_clean(a, pod->waiting_message, 700);
        return progress(arena_strdup(a, pod->waiting_reason),
                        arena_printf(a, "Migration Job %s cannot start: %s%s%s", name,
                                     pod->waiting_reason, *why ? ": " : "", why),
                        false, true);
}

struct explain_progress explain_progress(struct arena *a, const struct dbupgrade_status *status,
                                         const struct job_record *job, const struct pod_list *pods,
                                         const char *events_text) {
        const struct pod_record *pod = telling_pod(pods, job->meta.uid);
        const char *name = job->meta.name;

        if (status->last_run.result == RUN_SUPERSEDING)
                return progress(
                        "JobRunning",
                        arena_printf(a,
                                     "Migration Job %s of the earlier spec has not started; "
                                     "it is being replaced",
                                     name),
                        false, true);
        if (job->meta.deleting)
                return progress("JobRunning",
                                arena_printf(a, "Migration Job %s is being deleted", name), false,
                                true);
        /* Its Pods are on their way out: what they say from now on is no longer the cause. */
        if (job->finishing && *status->message)
                return progress(status->reason, status->message, false, false);
        if (job->suspended && status->last_run.result == RUN_RUNNING)
                return progress(
                        "JobSuspended",
                        arena_printf(a,
                                     "Migration Job %s has been suspended by somebody else; "
                                     "it goes on when its spec.suspend is set to false",
                                     name),
                        false, true);
        if (pod)
                return pod_progress(a, status, job, pod);
        if (events_text)
                return progress("FailedCreate",
                                arena_printf(a, "Migration Job %s cannot create its Pod: %s", name,
                                             explain_clean(a, events_text, 800)),
                                false, true);
        return progress("JobRunning", arena_printf(a, "Migration Job %s is starting", name), false,
                        false);
}

static const struct pod_record *ended_pod(const struct pod_list *pods, const char *job_uid) {
        for (size_t i = pods ? pods->count : 0; i-- > 0;)
                if (strcmp(pods->items[i]->job_uid, job_uid) == 0 && pods->items[i]->terminated)
                        return pods->items[i];
        return NULL;
}

/* What the migration itself cannot say, such as what to do when the image lacks what the default
 * command needs; "" when there is nothing of that kind. */
static const char *hint(const struct pod_record *pod) {
        const char *text = pod->terminated_message;

        if (strstr(text, "\"sh\": executable file not found"))
                return "the image has no `sh`: set spec.runner.command to run its migration tool "
                       "directly; ";
        if (pod->exit_code == 127 && strstr(text, "atlas") && strstr(text, "not found"))
                return "the image has no `atlas` in PATH or at /atlas: set spec.runner.command to "
                       "run its migration tool; ";
        if (pod->meta.deleting)
                return "its Pod was deleted; ";
        return "";
}

/* A migration that never started has exceeded its deadline for a reason. */
static const char *deadline_message(struct arena *a, const struct dbupgrade_status *status,
                                    const struct job_record *job) {
        bool waited = *status->reason && strcmp(status->reason, "JobRunning") != 0;

        return arena_printf(a, "exceeded its deadline of %" PRId64 " s%s%s", job->deadline_s,
                            waited ? "; until then: " : "", waited ? status->message : "");
}

struct explain_failure explain_failure(struct arena *a, const struct dbupgrade_status *status,
                                       const struct job_record *job,
                                       const struct pod_list *cached_pods,
                                       const struct pod_list *listed_pods) {
        const struct pod_record *pod = ended_pod(cached_pods, job->meta.uid);
        struct explain_failure failure = { .reason = arena_strdup(a, job->failed_reason) };
        const char *text;

        if (!pod)
                pod = ended_pod(listed_pods, job->meta.uid);
        if (strcmp(job->failed_reason, "DeadlineExceeded") == 0) {
                failure.message = deadline_message(a, status, job);
                return failure;
        }
        if (!pod) {
                /* The Pod of a failed Job stays, unless somebody deletes it. */
                text = explain_clean(a, job->failed_message, 800);
                failure.message =
                        arena_printf(a, "its Pod was deleted%s%s", *text ? "; " : "", text);
                return failure;
        }
        failure.has_exit_code = true;
        failure.exit_code = pod->exit_code;
        failure.reason =
                arena_strdup(a, *pod->terminated_reason ? pod->terminated_reason : "Error");
        text = explain_clean(a, pod->terminated_message, 800);
        failure.message = arena_printf(a, "%s%s", hint(pod), *text ? text : "it printed nothing");
        return failure;
}
