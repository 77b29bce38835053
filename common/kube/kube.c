/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube.h"

#include <string.h>

#include "common/base/fault.h"
#include "common/json/json_check.h"
#include "common/json/json_get.h"

/* Waiting longer than this for a server that asks for it would look like a hang. */
#define RETRY_AFTER_MAX_S 60

void kube_response_done(struct kube_response *response) {
        strbuf_wipe(&response->body);
        free(response->status_message);
        free(response->status_reason);
        *response = (struct kube_response)KUBE_RESPONSE_INIT;
}

const char *kube_method_name(enum kube_method method) {
        switch (method) {
        case KUBE_GET:
                return "GET";
        case KUBE_POST:
                return "POST";
        case KUBE_PUT:
                return "PUT";
        case KUBE_PATCH:
                return "PATCH";
        case KUBE_DELETE:
                return "DELETE";
        }
        return "?";
}

int kube_outcome(int http) {
        if (http >= 200 && http <= 299)
                return 0;
        switch (http) {
        case 401:
                return -FAULT_DENIED;
        case 403:
                return KUBE_E_FORBIDDEN;
        case 404:
                return KUBE_E_NOT_FOUND;
        case 409:
                return KUBE_E_CONFLICT;
        case 410:
                return KUBE_E_GONE;
        case 408:
        case 429:
                return -FAULT_IO;
        default:
                break;
        }
        if (http >= 400 && http <= 499)
                return KUBE_E_INVALID;
        /* A redirection is never followed: it would carry the token elsewhere. */
        return http >= 500 && http <= 599 ? -FAULT_IO : -FAULT_PROTO;
}

static bool status_has_cause(const cJSON *status, const char *reason) {
        const cJSON *causes = json_at(status, "details.causes");
        const cJSON *cause;

        cJSON_ArrayForEach (cause, causes) {
                if (strcmp(json_string_at(cause, "reason"), reason) == 0)
                        return true;
        }
        return false;
}

/* A heap copy of the member into *p; an absent one leaves it alone. */
static int status_copy(const cJSON *status, const char *member, char **p, struct fault *f) {
        const char *text = json_string_at(status, member);
        char *copy;

        if (!text[0])
                return 0;
        copy = strdup(text);
        if (!copy)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        free(*p);
        *p = copy;
        return 0;
}

int kube_response_read_status(struct kube_response *response, const char *json, size_t len,
                              struct fault *f) {
        CLEANUP(cJSON_Delete_p) cJSON *status = NULL;
        int64_t retry_after_s;
        int r = json_parse(json, len, &status, NULL);

        if (r == -FAULT_NOMEM)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        if (r || strcmp(json_string_at(status, "kind"), "Status") != 0)
                return 0;
        r = status_copy(status, "message", &response->status_message, f);
        if (!r)
                r = status_copy(status, "reason", &response->status_reason, f);
        if (r)
                return r;
        response->status_has_name = json_string_at(status, "details.name")[0] != '\0';
        response->status_namespace_terminating = status_has_cause(status, "NamespaceTerminating");
        response->status_version_too_large = status_has_cause(status, "ResourceVersionTooLarge");
        retry_after_s = json_int_at(status, "details.retryAfterSeconds", 0);
        if (response->retry_after_ms == 0 && retry_after_s > 0)
                response->retry_after_ms =
                        1000 *
                        (retry_after_s < RETRY_AFTER_MAX_S ? retry_after_s : RETRY_AFTER_MAX_S);
        return 0;
}

/* The sentence for an answer that is no success: what was asked, and the server's words. */
static int kube_refused(const struct kube_request *request, const struct kube_response *response,
                        struct fault *f) {
        int r = kube_outcome(response->http);
        /* The kind of an outcome is never read: 0 is its place in the text. */
        enum fault_kind kind = r < 0 ? (enum fault_kind) - r : FAULT_NONE;

        (void)fault_set(f, kind, "%s %s: HTTP %d%s%s", kube_method_name(request->method),
                        request->path, response->http, response->status_message ? ": " : "",
                        response->status_message ? response->status_message : "");
        return r;
}

/* Judges an answer that came whole. */
static int kube_judge(const struct kube_request *request, struct kube_response *response,
                      bool streamed, struct fault *f) {
        int r;

        if (kube_outcome(response->http) != 0) {
                r = response->body_is_json
                            ? kube_response_read_status(response, strbuf_text(&response->body),
                                                        response->body.len, f)
                            : 0;
                return r ? r : kube_refused(request, response, f);
        }
        if (streamed)
                return 0;
        r = response->body_is_json
                    ? json_check(strbuf_text(&response->body), response->body.len, NULL, 0, f)
                    : fault_set(f, FAULT_INVALID, "it is not JSON");
        return fault_wrap(f, r == -FAULT_INVALID ? -FAULT_PROTO : r, "%s %s: the answer",
                          kube_method_name(request->method), request->path);
}

/* Completes the text of what an implementation returned. Return: r. */
static int kube_name_failure(const struct kube_request *request, int r, struct fault *f) {
        const char *method = kube_method_name(request->method);

        if (r == KUBE_E_STOPPED)
                (void)fault_set(f, FAULT_NONE, "%s %s: stopped", method, request->path);
        else if (r == KUBE_E_EXPIRED_WRITE)
                (void)fault_set(f, FAULT_NONE, "%s %s: not sent, leadership has run out", method,
                                request->path);
        else if (r == KUBE_E_SILENT)
                (void)fault_set(f, FAULT_NONE, "%s %s: the server has fallen silent", method,
                                request->path);
        else if (r < 0)
                (void)fault_wrap(f, r, "%s %s", method, request->path);
        return r;
}

int kube_request(const struct kube *k, const struct kube_request *request,
                 struct kube_response *response, struct fault *f) {
        int r = k->ops->request(k->ctx, request, response, f);

        return r ? kube_name_failure(request, r, f) : kube_judge(request, response, false, f);
}

int kube_stream(const struct kube *k, const struct kube_request *request, int64_t idle_timeout_ms,
                kube_on_bytes on_bytes, void *on_bytes_ctx, struct kube_response *response,
                struct fault *f) {
        int r = k->ops->stream(k->ctx, request, idle_timeout_ms, on_bytes, on_bytes_ctx, response,
                               f);

        return r ? kube_name_failure(request, r, f) : kube_judge(request, response, true, f);
}

void kube_interrupt(const struct kube *k) {
        k->ops->interrupt(k->ctx);
}

void kube_close(struct kube *k) {
        if (k->ops)
                k->ops->close(k->ctx);
        *k = (struct kube){ 0 };
}
