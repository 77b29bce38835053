/* SPDX-License-Identifier: Apache-2.0 */
/* A struct kube without a server: records requests and answers them from a script.
 *
 *     struct fake_kube *fake = fake_kube_new();
 *     struct kube k = fake_kube_client(fake);
 *     fake_kube_on(fake, "GET /api/v1/namespaces/ns/secrets/s", 200, "{\"data\":{}}");
 *     … code under test …
 *     ck_assert_str_eq(fake_kube_log(fake), "GET /api/v1/namespaces/ns/secrets/s\n");
 *
 * Answers of equal keys come in the order they were added; the last one stays. What has no answer
 * gets 404 with a Status. Allocation failure aborts: these are tests. Not thread-safe, but for
 * interrupt.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "common/base/cleanup.h"
#include "common/kube/kube.h"

struct fake_kube;

struct fake_kube *fake_kube_new(void);
void fake_kube_free(struct fake_kube *fake);
DEFINE_CLEANUP(struct fake_kube *, fake_kube_free)

/* May be called more than once; kube_close of it does nothing. */
struct kube fake_kube_client(struct fake_kube *fake);

/* key: "METHOD path" or "METHOD path?query"; the longer form is looked up first. */
void fake_kube_on(struct fake_kube *fake, const char *key, int http, const char *json);
/* The same for a request that gets no answer: result is a fault or an outcome (-FAULT_IO,
 * KUBE_E_STOPPED, …). */
void fake_kube_on_failure(struct fake_kube *fake, const char *key, int result);
/* Drops the answers of that key. */
void fake_kube_off(struct fake_kube *fake, const char *key);

/* Asked before the script, when set: to answer by code, or to change things between two requests.
 * Fills response (fake_kube_reply) and returns true, or returns false for the script. *ret_result
 * is 0 when it is called. */
typedef bool (*fake_kube_hook)(void *ctx, const struct kube_request *request,
                               struct kube_response *response, int *ret_result);
void fake_kube_set_hook(struct fake_kube *fake, fake_kube_hook hook, void *ctx);
void fake_kube_reply(struct kube_response *response, int http, const char *json);

/* What was asked, in order. */
struct fake_kube_record {
        enum kube_method method;
        char *path, *query, *content_type, *body; /* "" when absent */
};
size_t fake_kube_count(const struct fake_kube *fake);
const struct fake_kube_record *fake_kube_at(const struct fake_kube *fake, size_t i);
/* All of it as "METHOD path[?query]\n" lines. Valid until the next request. */
const char *fake_kube_log(struct fake_kube *fake);
void fake_kube_clear(struct fake_kube *fake);
