/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/issue.h"

#include <check.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/base/fault.h"

#define DAY  86400
#define YEAR (365 * DAY)

static const char *const names[] = { "hook.ops.svc", "hook.ops.svc.cluster.local", NULL };

static int64_t now_s(void) {
        return (int64_t)time(NULL);
}

static X509 *read_pem(const char *pem) {
        BIO *bio = BIO_new_mem_buf(pem, -1);
        X509 *cert = PEM_read_bio_X509(bio, NULL, NULL, NULL);

        BIO_free_all(bio);
        ck_assert_ptr_nonnull(cert);
        return cert;
}

/* As a TLS client judges: chain, purpose, host name, strict X.509. Return: the error, X509_V_OK. */
static int verify(const char *leaf_pem, const char *ca_pem, const char *host, int64_t when_s) {
        X509 *leaf = read_pem(leaf_pem), *ca = read_pem(ca_pem);
        X509_STORE *store = X509_STORE_new();
        X509_STORE_CTX *ctx = X509_STORE_CTX_new();
        X509_VERIFY_PARAM *param;
        int error;

        X509_STORE_add_cert(store, ca);
        X509_STORE_CTX_init(ctx, store, leaf, NULL);
        param = X509_STORE_CTX_get0_param(ctx);
        X509_VERIFY_PARAM_set_purpose(param, X509_PURPOSE_SSL_SERVER);
        X509_VERIFY_PARAM_set1_host(param, host, 0);
        X509_VERIFY_PARAM_set_time(param, (time_t)when_s);
        X509_VERIFY_PARAM_set_flags(param, X509_V_FLAG_X509_STRICT);
        error = X509_verify_cert(ctx) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(ctx);
        X509_STORE_CTX_free(ctx);
        X509_STORE_free(store);
        X509_free(leaf);
        X509_free(ca);
        return error;
}

struct pairs {
        struct cert_pair ca, leaf;
};

static void make(struct pairs *p, int64_t ca_life_s, int64_t leaf_life_s) {
        struct fault f = FAULT_INIT;

        ck_assert_msg(issue_ca(now_s(), ca_life_s, &p->ca, &f) == 0, "%s", f.text);
        ck_assert_msg(issue_leaf(&p->ca, names, now_s(), leaf_life_s, &p->leaf, &f) == 0, "%s",
                      f.text);
}

static void pairs_done(struct pairs *p) {
        cert_pair_done(&p->ca);
        cert_pair_done(&p->leaf);
}

START_TEST(a_client_accepts_it) {
        CLEANUP(pairs_done) struct pairs p = { 0 };

        make(&p, 10L * YEAR, 90L * DAY);
        for (size_t i = 0; names[i]; i++)
                ck_assert_int_eq(verify(p.leaf.cert, p.ca.cert, names[i], now_s()), X509_V_OK);
        ck_assert_int_eq(verify(p.leaf.cert, p.ca.cert, "elsewhere.svc", now_s()),
                         X509_V_ERR_HOSTNAME_MISMATCH);
        ck_assert_int_eq(verify(p.leaf.cert, p.ca.cert, names[0], now_s() - 3500), X509_V_OK);
        ck_assert_int_eq(verify(p.leaf.cert, p.ca.cert, names[0], now_s() - 3700),
                         X509_V_ERR_CERT_NOT_YET_VALID);
        ck_assert_int_eq(verify(p.leaf.cert, p.ca.cert, names[0], now_s() + 91L * DAY),
                         X509_V_ERR_CERT_HAS_EXPIRED);
}
END_TEST

START_TEST(another_ca_is_not_enough) {
        CLEANUP(pairs_done) struct pairs p = { 0 }, q = { 0 };

        make(&p, YEAR, DAY);
        make(&q, YEAR, DAY);
        ck_assert_int_ne(verify(p.leaf.cert, q.ca.cert, names[0], now_s()), X509_V_OK);
}
END_TEST

START_TEST(keys_and_usages_are_as_promised) {
        CLEANUP(pairs_done) struct pairs p = { 0 };
        X509 *ca, *leaf;
        char curve[32] = "";
        size_t len;

        make(&p, YEAR, DAY);
        ca = read_pem(p.ca.cert);
        leaf = read_pem(p.leaf.cert);
        ck_assert_int_eq(X509_check_ca(ca), 1);
        ck_assert_int_eq(X509_get_pathlen(ca), 0);
        ck_assert_uint_eq(X509_get_key_usage(ca), KU_KEY_CERT_SIGN | KU_CRL_SIGN);
        ck_assert_int_eq(X509_check_ca(leaf), 0);
        ck_assert_uint_eq(X509_get_key_usage(leaf), KU_DIGITAL_SIGNATURE);
        ck_assert_uint_eq(X509_get_extended_key_usage(leaf), XKU_SSL_SERVER);
        ck_assert_int_eq(
                EVP_PKEY_get_group_name(X509_get0_pubkey(leaf), curve, sizeof(curve), &len), 1);
        ck_assert_str_eq(curve, "prime256v1");
        ck_assert_int_eq(ASN1_INTEGER_get(X509_get0_serialNumber(ca)) == 0, 0);
        ck_assert_int_ne(ASN1_INTEGER_cmp(X509_get0_serialNumber(ca), X509_get0_serialNumber(leaf)),
                         0);
        X509_free(ca);
        X509_free(leaf);
}
END_TEST

/* The moment of the making is read back, for lifetimes of each kind. */
START_TEST(the_facts_are_read_back) {
        static const int64_t lives_s[] = { 30,           600, 4 * 3600 - 1, 4 * 3600,
                                           4 * 3600 + 1, DAY, 90L * DAY };
        CLEANUP(pairs_done) struct pairs p = { 0 };
        int64_t before_s = now_s();
        struct cert_facts facts;
        struct fault f = FAULT_INIT;

        make(&p, YEAR, lives_s[_i]);
        ck_assert_msg(issue_check(&p.leaf, p.ca.cert, names, &facts, &f) == 0, "%s", f.text);
        ck_assert_int_ge(facts.issued_s, before_s - 1);
        ck_assert_int_le(facts.issued_s, now_s() + 1);
        ck_assert_int_ge(facts.not_after_s, before_s + lives_s[_i]);
        ck_assert_int_le(facts.not_after_s, now_s() + lives_s[_i]);
}
END_TEST

START_TEST(it_never_outlives_its_ca) {
        CLEANUP(pairs_done) struct pairs p = { 0 };
        struct cert_facts ca, leaf;

        make(&p, 600, DAY);
        ck_assert_int_eq(issue_check(&p.ca, NULL, NULL, &ca, NULL), 0);
        ck_assert_int_eq(issue_check(&p.leaf, p.ca.cert, names, &leaf, NULL), 0);
        ck_assert_int_eq(leaf.not_after_s, ca.not_after_s);
}
END_TEST

START_TEST(what_is_wrong_is_said) {
        static const char *const more[] = { "hook.ops.svc", "other", NULL };
        CLEANUP(pairs_done) struct pairs p = { 0 }, q = { 0 };
        struct fault f = FAULT_INIT;
        struct cert_facts facts;

        make(&p, YEAR, DAY);
        make(&q, YEAR, DAY);
        const struct cert_pair mixed = { p.leaf.cert, q.leaf.key };
        const struct cert_pair garbage = { (char *)"-----BEGIN CERTIFICATE-----\nAAAA\n",
                                           p.leaf.key };
        ck_assert_int_eq(issue_check(&mixed, NULL, NULL, &facts, &f), -FAULT_INVALID);
        ck_assert_int_eq(issue_check(&garbage, NULL, NULL, &facts, &f), -FAULT_INVALID);
        ck_assert_int_eq(issue_check(&p.leaf, q.ca.cert, NULL, &facts, &f), -FAULT_INVALID);
        ck_assert_int_eq(issue_check(&p.leaf, p.ca.cert, more, &facts, &f), -FAULT_INVALID);
        ck_assert_ptr_nonnull(strstr(f.text, "other"));
        ck_assert_int_eq(issue_leaf(&garbage, names, now_s(), DAY, &q.leaf, &f), -FAULT_INVALID);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("issue");
        TCase *tcase = tcase_create("issue");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, a_client_accepts_it);
        tcase_add_test(tcase, another_ca_is_not_enough);
        tcase_add_test(tcase, keys_and_usages_are_as_promised);
        tcase_add_loop_test(tcase, the_facts_are_read_back, 0, 7);
        tcase_add_test(tcase, it_never_outlives_its_ca);
        tcase_add_test(tcase, what_is_wrong_is_said);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
