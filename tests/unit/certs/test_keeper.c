/* SPDX-License-Identifier: Apache-2.0 */
/* The keeper against a small cluster: two Secrets, two webhook configurations, a clock. */
#include "certs/keeper.h"

#include <check.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "certs/issue.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/json/json_get.h"
#include "common/kube/kube.h"
#include "tests/fake/fake_kube.h"
#include "tests/unit/alloc_fail.h"

#define PROPAGATION_S 5
#define LIFE_S        30
#define HISTORY       4096

enum { CA, SERVING, SECRETS };
enum { VALIDATING, MUTATING, CONFIGURATIONS };

struct cluster {
        struct fake_kube *fake;
        struct kube kube;
        int64_t now_s;
        char *secrets[SECRETS]; /* data as JSON; NULL: no such Secret */
        int versions[SECRETS];
        char *bundles[CONFIGURATIONS]; /* PEM; "" at first */
        int events, conflicts, writes;
        int refusal; /* HTTP status of all writes; 0: they are taken */
        /* What was served and trusted at each second. */
        char *served[HISTORY], *trusted[CONFIGURATIONS][HISTORY];
};

static int64_t mono_us(void *ctx) {
        return ((struct cluster *)ctx)->now_s * 1000000;
}

static int64_t boot_ms(void *ctx) {
        return ((struct cluster *)ctx)->now_s * 1000;
}

static char *decode(const char *base64) {
        size_t len = strlen(base64);
        char *text = calloc(1, len + 1);
        int n = EVP_DecodeBlock((unsigned char *)text, (const unsigned char *)base64, (int)len);

        ck_assert_int_ge(n, 0);
        return text;
}

static const char *const secret_names[] = { "the-ca", "the-cert" };

static bool answer_secret(struct cluster *c, const struct kube_request *request,
                          struct kube_response *response) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        int which = 0;

        if (request->body)
                ck_assert_int_eq(json_parse(request->body, request->body_len, &tree, NULL), 0);
        while (which < SECRETS &&
               !strstr(tree ? json_string_at(tree, "metadata.name") : request->path,
                       secret_names[which]))
                which++;
        ck_assert_int_lt(which, SECRETS);
        if (request->method == KUBE_GET) {
                char *text = NULL;

                if (!c->secrets[which])
                        return false; /* 404 */
                ck_assert_int_gt(asprintf(&text,
                                          "{\"metadata\":{\"uid\":\"u%d\",\"resourceVersion\":"
                                          "\"%d\"},\"data\":%s}",
                                          which, c->versions[which], c->secrets[which]),
                                 0);
                fake_kube_reply(response, 200, text);
                free(text);
                return true;
        }
        if (c->conflicts > 0 && c->conflicts--) {
                fake_kube_reply(response, 409, "{\"kind\":\"Status\",\"reason\":\"Conflict\"}");
                return true;
        }
        ck_assert(request->method == (c->secrets[which] ? KUBE_PUT : KUBE_POST));
        ck_assert_str_eq(json_string_at(tree, "type"), "kubernetes.io/tls");
        if (c->secrets[which])
                ck_assert_int_eq(atoi(json_string_at(tree, "metadata.resourceVersion")),
                                 c->versions[which]);
        free(c->secrets[which]);
        c->secrets[which] = cJSON_PrintUnformatted(json_member(tree, "data"));
        c->versions[which]++;
        c->writes++;
        fake_kube_reply(response, 200, "{}");
        return true;
}

static bool answer_configuration(struct cluster *c, const struct kube_request *request,
                                 struct kube_response *response) {
        int which = strstr(request->path, "/validating") ? VALIDATING : MUTATING;
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        if (request->method == KUBE_GET) {
                unsigned char *coded = calloc(1, strlen(c->bundles[which]) * 2 + 4);
                char *text = NULL;

                EVP_EncodeBlock(coded, (unsigned char *)c->bundles[which],
                                (int)strlen(c->bundles[which]));
                ck_assert_int_gt(asprintf(&text,
                                          "{\"metadata\":{\"resourceVersion\":\"1\"},\"webhooks\":"
                                          "[{\"clientConfig\":{\"caBundle\":\"%s\"}}]}",
                                          (char *)coded),
                                 0);
                fake_kube_reply(response, 200, text);
                free(text);
                free(coded);
                return true;
        }
        ck_assert_int_eq(request->method, KUBE_PATCH);
        ck_assert_int_eq(json_parse(request->body, request->body_len, &tree, NULL), 0);
        free(c->bundles[which]);
        c->bundles[which] = decode(json_string_at(cJSON_GetArrayItem(tree, 1), "value"));
        c->writes++;
        fake_kube_reply(response, 200, "{}");
        return true;
}

static bool answer(void *ctx, const struct kube_request *request, struct kube_response *response,
                   int *ret_result) {
        struct cluster *c = ctx;

        (void)ret_result;
        if (c->refusal && request->method != KUBE_GET) {
                fake_kube_reply(response, c->refusal, "{\"kind\":\"Status\",\"message\":\"no\"}");
                return true;
        }
        if (strstr(request->path, "/secrets"))
                return answer_secret(c, request, response);
        if (strstr(request->path, "webhookconfigurations"))
                return answer_configuration(c, request, response);
        ck_assert_ptr_nonnull(strstr(request->path, "/events"));
        c->events++;
        fake_kube_reply(response, 201, "{}");
        return true;
}

static struct cluster *cluster_new(void) {
        struct cluster *c = calloc(1, sizeof(*c));

        c->fake = fake_kube_new();
        c->kube = fake_kube_client(c->fake);
        /* issue_check reads no clock, so any time will do. */
        c->now_s = (int64_t)time(NULL);
        for (int i = 0; i < CONFIGURATIONS; i++)
                c->bundles[i] = strdup("");
        fake_kube_set_hook(c->fake, answer, c);
        return c;
}

static void cluster_free(struct cluster *c) {
        for (int i = 0; i < SECRETS; i++)
                free(c->secrets[i]);
        for (int i = 0; i < CONFIGURATIONS; i++) {
                free(c->bundles[i]);
                for (int k = 0; k < HISTORY; k++)
                        free(c->trusted[i][k]);
        }
        for (int k = 0; k < HISTORY; k++)
                free(c->served[k]);
        fake_kube_free(c->fake);
        free(c);
}

/* One pass, with the return value of keeper_pass. */
static int try_pass(struct cluster *c, int64_t *ret_again_ms, struct fault *f) {
        struct clock clock = { mono_us, boot_ms, mono_us, c };
        struct keeper_opts opts = {
                .namespace_ = "ops",
                .service_name = "hook",
                .cluster_domain = "cluster.local",
                .serving_secret = secret_names[SERVING],
                .ca_secret = secret_names[CA],
                .configurations = { "v", "m" },
                .ca_lifetime_s = 3L * LIFE_S,
                .leaf_lifetime_s = LIFE_S,
                .propagation_s = PROPAGATION_S,
                .instance = "pod",
                .kube = &c->kube,
                .clock = &clock,
        };

        *ret_again_ms = -1;
        return keeper_pass(&opts, ret_again_ms, f);
}

/* One pass; a race that was lost is run again. Return: seconds until the next. */
static int64_t pass(struct cluster *c) {
        int64_t again_ms = -1;
        struct fault f = FAULT_INIT;
        int r = try_pass(c, &again_ms, &f);

        if (r == KEEPER_E_RACED)
                return 0;
        ck_assert_msg(r == 0, "%s", f.text);
        ck_assert_int_ge(again_ms, 0);
        return again_ms / 1000;
}

/* Passes until one waits. */
static int64_t settle(struct cluster *c) {
        for (int i = 0; i < 20; i++) {
                int64_t again_s = pass(c);

                if (again_s > 0)
                        return again_s;
        }
        ck_abort_msg("it never waits");
        return 0;
}

static char *member(const struct cluster *c, int which, const char *name) {
        cJSON *tree = cJSON_Parse(c->secrets[which]);
        const cJSON *item;
        char *text = NULL;

        cJSON_ArrayForEach (item, tree)
                if (strcmp(item->string, name) == 0)
                        text = decode(item->valuestring);
        cJSON_Delete(tree);
        return text;
}

static int count(const char *text, const char *part) {
        int n = 0;

        while ((text = strstr(text, part))) {
                n++;
                text++;
        }
        return n;
}

#define PEM_BEGIN "-----BEGIN CERTIFICATE-----"

/* Whether one of the bundle's certificates signed it, and it is valid. */
static bool is_trusted(const char *cert, const char *key, const char *bundle, int64_t now_s) {
        const struct cert_pair pair = { (char *)cert, (char *)key };
        struct cert_facts facts;

        for (const char *ca = strstr(bundle, PEM_BEGIN); ca; ca = strstr(ca + 1, PEM_BEGIN))
                if (issue_check(&pair, ca, NULL, &facts, NULL) == 0 && now_s < facts.not_after_s)
                        return true;
        return false;
}

START_TEST(an_empty_cluster_gets_everything) {
        struct cluster *c = cluster_new();
        char *ca, *cert, *key;

        (void)settle(c);
        ca = member(c, CA, "tls.crt");
        cert = member(c, SERVING, "tls.crt");
        key = member(c, SERVING, "tls.key");
        ck_assert_str_eq(c->bundles[VALIDATING], ca);
        ck_assert_str_eq(c->bundles[MUTATING], ca);
        ck_assert(is_trusted(cert, key, ca, c->now_s));
        ck_assert_int_eq(c->writes, 4);
        (void)settle(c);
        ck_assert_int_eq(c->writes, 4);
        free(ca);
        free(cert);
        free(key);
        cluster_free(c);
}
END_TEST

START_TEST(an_emptied_bundle_is_repaired) {
        struct cluster *c = cluster_new();
        char *before;

        (void)settle(c);
        before = c->bundles[MUTATING];
        c->bundles[MUTATING] = strdup("");
        (void)settle(c);
        ck_assert_str_eq(c->bundles[MUTATING], before);
        ck_assert_int_eq(c->writes, 5);
        free(before);
        cluster_free(c);
}
END_TEST

START_TEST(somebody_else_writes_first) {
        struct cluster *c = cluster_new();

        c->conflicts = 3;
        (void)settle(c);
        ck_assert_int_eq(c->writes, 4);
        ck_assert_int_eq(c->conflicts, 0);
        cluster_free(c);
}
END_TEST

/* A namespace that does not exist, a policy of the cluster: not to be asked again at once. */
START_TEST(a_write_that_is_refused_is_no_step) {
        static const int refusals[] = { 403, 404, 409, 422 };
        struct cluster *c = cluster_new();
        struct fault f = FAULT_INIT;
        int64_t again_ms;

        c->refusal = refusals[_i];
        ck_assert_int_ne(try_pass(c, &again_ms, &f), 0);
        c->refusal = 0;
        (void)settle(c);
        free(c->bundles[MUTATING]);
        c->bundles[MUTATING] = strdup("");
        c->refusal = refusals[_i];
        ck_assert_int_ne(try_pass(c, &again_ms, &f), 0);
        cluster_free(c);
}
END_TEST

/* The CA's key is lost: what is served stays trusted until what follows is. */
START_TEST(a_lost_ca_is_replaced_with_overlap) {
        struct cluster *c = cluster_new();
        char *cert, *key;

        (void)settle(c);
        cert = member(c, SERVING, "tls.crt");
        key = member(c, SERVING, "tls.key");
        free(c->secrets[CA]);
        c->secrets[CA] = NULL;
        (void)settle(c);
        ck_assert_int_eq(count(c->bundles[VALIDATING], PEM_BEGIN), 2);
        ck_assert(is_trusted(cert, key, c->bundles[VALIDATING], c->now_s));
        free(cert);
        cert = member(c, SERVING, "tls.key");
        ck_assert_str_eq(cert, key); /* not replaced yet */
        c->now_s += PROPAGATION_S;
        (void)settle(c);
        c->now_s += PROPAGATION_S;
        (void)settle(c);
        ck_assert_int_eq(count(c->bundles[MUTATING], PEM_BEGIN), 1);
        free(cert);
        free(key);
        cluster_free(c);
}
END_TEST

START_TEST(garbage_is_replaced) {
        struct cluster *c = cluster_new();

        (void)settle(c);
        for (int i = 0; i < SECRETS; i++) {
                free(c->secrets[i]);
                c->secrets[i] = strdup("{\"tls.crt\":\"Z2FyYmFnZQ==\",\"tls.key\":\"!\","
                                       "\"ca.crt\":\"Z2FyYmFnZQ==\"}");
        }
        (void)settle(c);
        ck_assert_int_eq(count(c->bundles[VALIDATING], PEM_BEGIN), 1);
        cluster_free(c);
}
END_TEST

static bool is_same_second(const struct cluster *c, int a, int b) {
        return strcmp(c->served[a], c->served[b]) == 0 &&
               strcmp(c->trusted[VALIDATING][a], c->trusted[VALIDATING][b]) == 0 &&
               strcmp(c->trusted[MUTATING][a], c->trusted[MUTATING][b]) == 0;
}

/* Of what is served now or was up to a propagation ago, everything is trusted by every bundle that
 * an API server may still have: through several CAs, second by second. */
START_TEST(at_no_moment_is_a_certificate_met_without_trust) {
        struct cluster *c = cluster_new();
        char *first = NULL, *last = NULL;
        int64_t next_s = 0;
        int replaced = 0;

        for (int t = 0; t < 8 * LIFE_S; t++, c->now_s++) {
                char *cert, *key, *pair;

                if (next_s <= t)
                        next_s = t + settle(c);
                cert = member(c, SERVING, "tls.crt");
                key = member(c, SERVING, "tls.key");
                ck_assert_int_gt(asprintf(&pair, "%s%s", cert, key), 0);
                c->served[t] = pair;
                for (int i = 0; i < CONFIGURATIONS; i++)
                        c->trusted[i][t] = strdup(c->bundles[i]);
                free(cert);
                free(key);
                for (int back = t >= PROPAGATION_S ? t - PROPAGATION_S + 1 : 0; back <= t; back++) {
                        if (back < t && is_same_second(c, back, back + 1))
                                continue;
                        for (int i = 0; i < CONFIGURATIONS; i++) {
                                const char *old = c->served[back], *now = c->served[t];

                                ck_assert_msg(is_trusted(old, strstr(old, "-----BEGIN PRIVATE"),
                                                         c->trusted[i][t], c->now_s),
                                              "second %d: what was served in %d", t, back);
                                ck_assert_msg(is_trusted(now, strstr(now, "-----BEGIN PRIVATE"),
                                                         c->trusted[i][back], c->now_s),
                                              "second %d: by the bundle of %d", t, back);
                        }
                }
                free(last);
                last = member(c, CA, "tls.crt");
                if (!first || strcmp(first, last) != 0) {
                        free(first);
                        first = strdup(last);
                        replaced++;
                }
        }
        ck_assert_int_ge(replaced, 3);
        ck_assert_int_eq(c->events, 0);
        free(first);
        free(last);
        cluster_free(c);
}
END_TEST

/* A machine that was suspended for so long that all has expired, and one whose clock was wrong. */
START_TEST(wall_time_jumps) {
        static const int64_t jumps_s[] = { 10L * LIFE_S, -20L * LIFE_S, 3L * LIFE_S + 1 };
        struct cluster *c = cluster_new();

        (void)settle(c);
        for (size_t i = 0; i < sizeof(jumps_s) / sizeof(jumps_s[0]); i++) {
                char *cert, *key;

                c->now_s += jumps_s[i];
                for (int pass = 0; pass < 4; pass++) {
                        (void)settle(c);
                        cert = member(c, SERVING, "tls.crt");
                        key = member(c, SERVING, "tls.key");
                        ck_assert(is_trusted(cert, key, c->bundles[VALIDATING], c->now_s));
                        ck_assert(is_trusted(cert, key, c->bundles[MUTATING], c->now_s));
                        free(cert);
                        free(key);
                        c->now_s += PROPAGATION_S;
                }
        }
        cluster_free(c);
}
END_TEST

START_TEST(an_expiring_certificate_is_told) {
        struct cluster *c = cluster_new();

        (void)settle(c);
        c->now_s += LIFE_S - 2;
        (void)pass(c);
        ck_assert_int_eq(c->events, 1);
        cluster_free(c);
}
END_TEST

/* A cluster as it was, read without an allocation of its own: it would be one that fails. */
struct stored {
        char *path, *body;
};

struct store {
        struct stored stored[SECRETS + CONFIGURATIONS];
        int writes;
};

static int store_request(void *ctx, const struct kube_request *request,
                         struct kube_response *response, struct fault *f) {
        struct store *store = ctx;

        if (request->method != KUBE_GET) {
                store->writes++;
                return -FAULT_IO;
        }
        for (int i = 0; i < SECRETS + CONFIGURATIONS; i++)
                if (strcmp(request->path, store->stored[i].path) == 0)
                        strbuf_str(&response->body, store->stored[i].body);
        response->http = 200;
        response->body_is_json = true;
        return strbuf_check(&response->body, f);
}

static void store_init(struct store *store, struct cluster *c) {
        static const char *const paths[] = {
                "/api/v1/namespaces/ops/secrets/the-ca",
                "/api/v1/namespaces/ops/secrets/the-cert",
                "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v",
                "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/m",
        };

        for (int i = 0; i < SECRETS + CONFIGURATIONS; i++) {
                struct kube_request request = { .method = KUBE_GET, .path = paths[i] };
                CLEANUP(kube_response_done) struct kube_response response = KUBE_RESPONSE_INIT;

                ck_assert_int_eq(kube_request(&c->kube, &request, &response, NULL), 0);
                store->stored[i].path = strdup(paths[i]);
                store->stored[i].body = strdup(response.body.ptr);
        }
}

static void store_done(struct store *store) {
        for (int i = 0; i < SECRETS + CONFIGURATIONS; i++) {
                free(store->stored[i].path);
                free(store->stored[i].body);
        }
}

/* Out of memory is not an absent certificate: a good one is never replaced for it. The answer is
 * that, or, where what could not be made was of no use, the same as ever. */
START_TEST(no_allocation_goes_unchecked) {
        static const struct kube_ops ops = { .request = store_request };
        struct cluster *c = cluster_new();
        struct store store = { .writes = 0 };
        struct fault f = FAULT_INIT;
        int64_t again_ms, usual_ms;
        size_t n = 1, refusals = 0;

        (void)settle(c);
        store_init(&store, c);
        c->kube = (struct kube){ &ops, &store };
        ck_assert_int_eq(try_pass(c, &usual_ms, &f), 0);
        for (;; n++) {
                int r;

                alloc_fail_arm(n);
                r = try_pass(c, &again_ms, &f);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_msg(r == -FAULT_NOMEM || (r == 0 && again_ms == usual_ms),
                              "the %zuth: %d %s", n, r, f.text);
                ck_assert_int_eq(store.writes, 0);
                refusals += r != 0;
        }
        ck_assert_uint_gt(refusals, 10);
        store_done(&store);
        cluster_free(c);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("keeper");
        TCase *tcase = tcase_create("keeper");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_set_timeout(tcase, 120);
        tcase_add_test(tcase, an_empty_cluster_gets_everything);
        tcase_add_test(tcase, an_emptied_bundle_is_repaired);
        tcase_add_test(tcase, somebody_else_writes_first);
        tcase_add_loop_test(tcase, a_write_that_is_refused_is_no_step, 0, 4);
        tcase_add_test(tcase, a_lost_ca_is_replaced_with_overlap);
        tcase_add_test(tcase, garbage_is_replaced);
        tcase_add_test(tcase, at_no_moment_is_a_certificate_met_without_trust);
        tcase_add_test(tcase, wall_time_jumps);
        tcase_add_test(tcase, an_expiring_certificate_is_told);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
