/* SPDX-License-Identifier: Apache-2.0 */
#include "certs/issue.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <string.h>
#include <time.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"

/* Clocks of nodes differ. */
#define ISSUE_BACKDATE_MAX_S 3600

static int64_t backdate_s(int64_t lifetime_s) {
        return lifetime_s / 4 < ISSUE_BACKDATE_MAX_S ? lifetime_s / 4 : ISSUE_BACKDATE_MAX_S;
}

/* The inverse: of a certificate's whole validity, which part lies before its making. */
static int64_t backdated_s(int64_t validity_s) {
        return validity_s / 5 < ISSUE_BACKDATE_MAX_S ? validity_s / 5 : ISSUE_BACKDATE_MAX_S;
}

DEFINE_CLEANUP(X509 *, X509_free)
DEFINE_CLEANUP(EVP_PKEY *, EVP_PKEY_free)
DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(BIGNUM *, BN_free)
DEFINE_CLEANUP(X509_EXTENSION *, X509_EXTENSION_free)

void cert_pair_done(struct cert_pair *pair) {
        if (pair->key)
                explicit_bzero(pair->key, strlen(pair->key));
        free(pair->cert);
        free(pair->key);
        *pair = (struct cert_pair){ .cert = NULL };
}

/* Drains OpenSSL's error queue of this thread into the fault. */
static int openssl_fault(struct fault *f, enum fault_kind kind, const char *what) {
        unsigned long code = ERR_get_error();
        char text[256]; /* what ERR_error_string_n needs at most */

        ERR_error_string_n(code, text, sizeof(text));
        while (ERR_get_error())
                ;
        return fault_set(f, kind, "%s: %s", what, code ? text : "refused");
}

static bool set_serial(X509 *cert) {
        unsigned char bytes[16];
        CLEANUP(BN_free_p) BIGNUM *number = NULL;

        if (RAND_bytes(bytes, sizeof(bytes)) != 1)
                return false;
        bytes[0] &= 0x7f; /* positive (RFC 5280, 4.1.2.2) … */
        bytes[15] |= 1;   /* … and not zero */
        number = BN_bin2bn(bytes, sizeof(bytes), NULL);
        return number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(cert));
}

static bool set_times(X509 *cert, int64_t not_before_s, int64_t not_after_s) {
        return ASN1_TIME_set(X509_getm_notBefore(cert), (time_t)not_before_s) &&
               ASN1_TIME_set(X509_getm_notAfter(cert), (time_t)not_after_s);
}

static bool add_extension(X509 *cert, X509 *issuer, int nid, const char *value) {
        CLEANUP(X509_EXTENSION_free_p) X509_EXTENSION *extension = NULL;
        X509V3_CTX ctx;

        X509V3_set_ctx(&ctx, issuer, cert, NULL, NULL, 0);
        extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
        return extension && X509_add_ext(cert, extension, -1) == 1;
}

static bool set_name(X509_NAME *name, const char *common_name) {
        return X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                          (const unsigned char *)common_name, -1, -1, 0) == 1;
}

/* A certificate with all but its extensions and signature. */
static X509 *new_cert(EVP_PKEY *key, const char *common_name, int64_t now_s, int64_t not_after_s) {
        CLEANUP(X509_free_p) X509 *cert = X509_new();

        if (!cert || !X509_set_version(cert, X509_VERSION_3) || !set_serial(cert) ||
            !set_times(cert, now_s - backdate_s(not_after_s - now_s), not_after_s) ||
            !set_name(X509_get_subject_name(cert), common_name) || !X509_set_pubkey(cert, key))
                return NULL;
        return TAKE(cert);
}

/* The bytes of a memory BIO as a heap string; NULL when out of memory. */
static char *bio_text(BIO *bio) {
        char *data;
        long len = BIO_get_mem_data(bio, &data);

        return len > 0 ? strndup(data, (size_t)len) : NULL;
}

static int to_pem(X509 *cert, EVP_PKEY *key, struct cert_pair *ret_pair, struct fault *f) {
        CLEANUP(BIO_free_all_p) BIO *cert_bio = BIO_new(BIO_s_mem());
        CLEANUP(BIO_free_all_p) BIO *key_bio = BIO_new(BIO_s_secmem()); /* wiped when freed */
        CLEANUP(cert_pair_done) struct cert_pair pair = { .cert = NULL };

        if (!cert_bio || !key_bio || !PEM_write_bio_X509(cert_bio, cert) ||
            !PEM_write_bio_PrivateKey(key_bio, key, NULL, NULL, 0, NULL, NULL))
                return openssl_fault(f, FAULT_BUG, "write a certificate");
        pair.cert = bio_text(cert_bio);
        pair.key = bio_text(key_bio);
        if (!pair.cert || !pair.key)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        ret_pair->cert = TAKE(pair.cert);
        ret_pair->key = TAKE(pair.key);
        return 0;
}

int issue_ca(int64_t now_s, int64_t lifetime_s, struct cert_pair *ret_ca, struct fault *f) {
        CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = EVP_EC_gen("P-256");
        CLEANUP(X509_free_p) X509 *cert = NULL;
        char name[64]; /* the fixed words and a 64-bit number */

        (void)snprintf(name, sizeof(name), "dbupgrade webhook CA %lld", (long long)now_s);
        cert = key ? new_cert(key, name, now_s, now_s + lifetime_s) : NULL;
        if (!cert || !X509_set_issuer_name(cert, X509_get_subject_name(cert)) ||
            !add_extension(cert, cert, NID_basic_constraints, "critical,CA:TRUE,pathlen:0") ||
            !add_extension(cert, cert, NID_key_usage, "critical,keyCertSign,cRLSign") ||
            !add_extension(cert, cert, NID_subject_key_identifier, "hash") ||
            !X509_sign(cert, key, EVP_sha256()))
                return openssl_fault(f, FAULT_BUG, "make a CA");
        return to_pem(cert, key, ret_ca, f);
}

static X509 *read_cert(const char *pem) {
        CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_mem_buf(pem, -1);

        return bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
}

/* Never asks for a pass phrase on a terminal. */
static int no_passphrase(char *buffer, int size, int writing, void *ctx) {
        (void)buffer;
        (void)size;
        (void)writing;
        (void)ctx;
        return -1;
}

static EVP_PKEY *read_key(const char *pem) {
        CLEANUP(BIO_free_all_p) BIO *bio = BIO_new_mem_buf(pem, -1);

        return bio ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL) : NULL;
}

static int64_t unix_time(const ASN1_TIME *time) {
        struct tm tm;

        return ASN1_TIME_to_tm(time, &tm) ? (int64_t)timegm(&tm) : 0;
}

static int subject_alt_names(const char *const *dns_names, struct strbuf *out, struct fault *f) {
        for (size_t i = 0; dns_names[i]; i++)
                strbuf_printf(out, "%sDNS:%s", i ? "," : "", dns_names[i]);
        return strbuf_check(out, f);
}

int issue_leaf(const struct cert_pair *ca, const char *const *dns_names, int64_t now_s,
               int64_t lifetime_s, struct cert_pair *ret_leaf, struct fault *f) {
        CLEANUP(X509_free_p) X509 *ca_cert = read_cert(ca->cert);
        CLEANUP(EVP_PKEY_free_p) EVP_PKEY *ca_key = read_key(ca->key);
        CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = EVP_EC_gen("P-256");
        CLEANUP(strbuf_done) struct strbuf names = STRBUF_INIT(4096); /* four names below 400 */
        CLEANUP(X509_free_p) X509 *cert = NULL;
        int64_t not_after_s = now_s + lifetime_s;
        int r = subject_alt_names(dns_names, &names, f);

        if (r)
                return r;
        if (!ca_cert || !ca_key)
                return openssl_fault(f, FAULT_INVALID, "read the CA");
        if (unix_time(X509_get0_notAfter(ca_cert)) < not_after_s)
                not_after_s = unix_time(X509_get0_notAfter(ca_cert));
        cert = key ? new_cert(key, "dbupgrade webhook", now_s, not_after_s) : NULL;
        if (!cert || !X509_set_issuer_name(cert, X509_get_subject_name(ca_cert)) ||
            !add_extension(cert, ca_cert, NID_basic_constraints, "critical,CA:FALSE") ||
            !add_extension(cert, ca_cert, NID_key_usage, "critical,digitalSignature") ||
            !add_extension(cert, ca_cert, NID_ext_key_usage, "serverAuth") ||
            !add_extension(cert, ca_cert, NID_subject_alt_name, names.ptr) ||
            !add_extension(cert, ca_cert, NID_subject_key_identifier, "hash") ||
            !add_extension(cert, ca_cert, NID_authority_key_identifier, "keyid:always") ||
            !X509_sign(cert, ca_key, EVP_sha256()))
                return openssl_fault(f, FAULT_BUG, "make a serving certificate");
        return to_pem(cert, key, ret_leaf, f);
}

static int check_signed(X509 *cert, const char *ca_cert, struct fault *f) {
        CLEANUP(X509_free_p) X509 *ca = read_cert(ca_cert);
        EVP_PKEY *ca_key = ca ? X509_get0_pubkey(ca) : NULL;

        if (!ca_key)
                return openssl_fault(f, FAULT_INVALID, "read the CA certificate");
        if (X509_verify(cert, ca_key) != 1)
                return openssl_fault(f, FAULT_INVALID, "not signed by the CA");
        return 0;
}

int issue_check(const struct cert_pair *pair, const char *ca_cert, const char *const *dns_names,
                struct cert_facts *ret_facts, struct fault *f) {
        CLEANUP(X509_free_p) X509 *cert = read_cert(pair->cert);
        CLEANUP(EVP_PKEY_free_p) EVP_PKEY *key = read_key(pair->key);
        int64_t not_before_s, not_after_s;
        int r = 0;

        if (!cert || !key)
                return openssl_fault(f, FAULT_INVALID, "read the certificate and its key");
        if (X509_check_private_key(cert, key) != 1)
                return openssl_fault(f, FAULT_INVALID, "the key belongs to another certificate");
        if (ca_cert)
                r = check_signed(cert, ca_cert, f);
        if (r)
                return r;
        for (size_t i = 0; dns_names && dns_names[i]; i++)
                if (X509_check_host(cert, dns_names[i], 0, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT,
                                    NULL) != 1)
                        return fault_set(f, FAULT_INVALID, "it does not name %s", dns_names[i]);
        not_before_s = unix_time(X509_get0_notBefore(cert));
        not_after_s = unix_time(X509_get0_notAfter(cert));
        *ret_facts = (struct cert_facts){
                .issued_s = not_before_s + backdated_s(not_after_s - not_before_s),
                .not_after_s = not_after_s,
        };
        return 0;
}
