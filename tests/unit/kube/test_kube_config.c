/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/kube/kube_config.h"
#include "tests/unit/alloc_fail.h"

/* A whole kubeconfig around what a case changes. */
#define KUBECONFIG(cluster, user)                                                                  \
        "apiVersion: v1\n"                                                                         \
        "kind: Config\n"                                                                           \
        "current-context: here\n"                                                                  \
        "preferences: {}\n"                                                                        \
        "clusters:\n"                                                                              \
        "- name: other\n"                                                                          \
        "  cluster: {server: 'http://other', proxy-url: x}\n"                                      \
        "- name: c\n"                                                                              \
        "  cluster: {" cluster "}\n"                                                               \
        "contexts:\n"                                                                              \
        "- name: here\n"                                                                           \
        "  context: {cluster: c, user: u, namespace: ns}\n"                                        \
        "users:\n"                                                                                 \
        "- name: u\n"                                                                              \
        "  user: {" user "}\n"
#define SERVER "server: 'https://h:6443/', certificate-authority: ca.crt"
#define TOKEN  "token: sec-ret"

static int parse(const char *text, struct kube_config *config, struct fault *f) {
        size_t len = strlen(text);
        CLEANUP(free_p) char *copy = malloc(len ? len : 1);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, text, len);
        return kube_config_parse(copy, len, "/dir", config, f);
}

START_TEST(reads_the_current_context) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        struct fault f = FAULT_INIT;
        int r = parse(KUBECONFIG(SERVER, TOKEN), &config, &f);

        ck_assert_msg(r == 0, "%s", f.text);
        ck_assert_str_eq(config.server, "https://h:6443");
        ck_assert_str_eq(config.namespace_, "ns");
        ck_assert_str_eq(config.ca.path, "/dir/ca.crt");
        ck_assert_str_eq(config.token.data, "sec-ret");
        ck_assert_uint_eq(config.token.len, 7);
        ck_assert_ptr_null(config.client_cert.path);
        kube_config_done(&config);
        kube_config_done(&config);
}
END_TEST

START_TEST(reads_client_certificates_inline_and_from_files) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        struct fault f = FAULT_INIT;
        int r = parse(KUBECONFIG("server: https://h, certificate-authority-data: Y2E=",
                                 "client-certificate-data: 'Y2Vy\n\n   dA==', client-key: /k.pem, "
                                 "client-certificate: ignored"),
                      &config, &f);

        ck_assert_msg(r == 0, "%s", f.text);
        ck_assert_str_eq(config.ca.data, "ca");
        ck_assert_str_eq(config.client_cert.data, "cert");
        ck_assert_uint_eq(config.client_cert.len, 4);
        ck_assert_ptr_null(config.client_cert.path);
        ck_assert_str_eq(config.client_key.path, "/k.pem");
}
END_TEST

struct accepted {
        const char *name, *text;
};

static const struct accepted accepted[] = {
        { "JSON", "{\"current-context\":\"a\",\"contexts\":[{\"name\":\"a\",\"context\":"
                  "{\"cluster\":\"a\"}}],\"clusters\":[{\"name\":\"a\",\"cluster\":{\"server\":"
                  "\"https://h\",\"certificate-authority\":\"/ca\"}}]}" },
        { "a user of nothing", KUBECONFIG(SERVER, "") },
        { "verification that is not switched off",
          KUBECONFIG(SERVER ", insecure-skip-tls-verify: false", TOKEN) },
        { "members without effect here",
          KUBECONFIG(SERVER ", disable-compression: true, extensions: [{name: x, extension: {}}]",
                     TOKEN ", extensions: []") },
        { "a token file", KUBECONFIG(SERVER, "tokenFile: t") },
        { "refused members that are null",
          KUBECONFIG(SERVER ", proxy-url: null", TOKEN ", exec: ~") },
};

START_TEST(accepts) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        struct fault f = FAULT_INIT;
        int r = parse(accepted[_i].text, &config, &f);

        ck_assert_msg(r == 0, "%s: %s", accepted[_i].name, f.text);
}
END_TEST

struct refused {
        const char *name, *text, *fault;
};

static const struct refused refused[] = {
        { "nothing", "", "current-context is not set" },
        { "a list", "- a\n", "current-context is not set" },
        { "a scalar", "hello", "current-context is not set" },
        { "no YAML", "a: [", "line " },
        { "an unknown context", "current-context: a\ncontexts: []\n",
          "contexts has no entry \"a\"" },
        { "a list of contexts that is none", "current-context: a\ncontexts: 1\n",
          "contexts has no entry \"a\"" },
        { "an unknown cluster",
          "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\n",
          "clusters has no entry \"b\"" },
        { "a context without a cluster", "current-context: a\ncontexts: [{name: a, context: {}}]\n",
          "the context names no cluster" },
        { "an unknown user",
          "current-context: a\ncontexts: [{name: a, context: {cluster: b, user: c}}]\nclusters: "
          "[{name: b, cluster: {server: 'https://h', certificate-authority: /ca}}]\n",
          "users has no entry \"c\"" },
        { "http", KUBECONFIG("server: 'http://h', certificate-authority: x", TOKEN),
          "cluster: server must be an https:// URL" },
        { "no server", KUBECONFIG("certificate-authority: x", TOKEN), "server must be" },
        { "a password in the URL",
          KUBECONFIG("server: 'https://a:b@h', certificate-authority: x", TOKEN),
          "server must be host, port and path only" },
        { "no CA", KUBECONFIG("server: https://h", TOKEN), "certificate-authority is missing" },
        { "a CA that is no base64",
          KUBECONFIG("server: https://h, certificate-authority-data: '*'", TOKEN),
          "certificate-authority-data is no base64" },
        { "a CA that is cut base64",
          KUBECONFIG("server: https://h, certificate-authority-data: Y2E=Y", TOKEN), "no base64" },
        { "no verification", KUBECONFIG(SERVER ", insecure-skip-tls-verify: true", TOKEN),
          "insecure-skip-tls-verify is not supported: name the CA in certificate-authority" },
        { "a proxy", KUBECONFIG(SERVER ", proxy-url: 'http://p'", TOKEN),
          "proxy-url is not supported" },
        { "another server name", KUBECONFIG(SERVER ", tls-server-name: x", TOKEN),
          "tls-server-name is not supported" },
        { "an unknown member of a cluster", KUBECONFIG(SERVER ", new: x", TOKEN),
          "cluster: new is unknown" },
        { "an unknown member of a user", KUBECONFIG(SERVER, TOKEN ", new: x"),
          "user: new is unknown" },
        { "a command", KUBECONFIG(SERVER, "exec: {command: aws}"),
          "user: exec is not supported: use a token, tokenFile or client certificate" },
        { "an auth provider", KUBECONFIG(SERVER, "auth-provider: {name: gcp}"),
          "auth-provider is not supported" },
        { "a password", KUBECONFIG(SERVER, "username: a, password: b"),
          "username is not supported" },
        { "impersonation", KUBECONFIG(SERVER, TOKEN ", as: x"), "as is not supported" },
        { "a certificate without its key", KUBECONFIG(SERVER, "client-certificate: x"),
          "client-certificate and client-key belong together" },
        { "a key without its certificate", KUBECONFIG(SERVER, "client-key: x"),
          "client-certificate and client-key belong together" },
        { "a cluster that is a list",
          "current-context: a\ncontexts: [{name: a, context: {cluster: b}}]\nclusters: "
          "[{name: b, cluster: [1]}]\n",
          "a list where members are expected" },
};

START_TEST(refuses) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        struct fault f = FAULT_INIT;
        int r = parse(refused[_i].text, &config, &f);

        ck_assert_msg(r == -FAULT_INVALID, "%s: %d", refused[_i].name, r);
        ck_assert_msg(strstr(f.text, refused[_i].fault) != NULL, "%s: %s", refused[_i].name,
                      f.text);
        ck_assert_msg(!strstr(f.text, "sec-ret"), "%s: a secret in %s", refused[_i].name, f.text);
        ck_assert_ptr_null(config.server);
}
END_TEST

static const char full_config[] =
        KUBECONFIG(SERVER, TOKEN ", client-key-data: YQ==, client-certificate-data: YQ==");

START_TEST(survives_a_file_cut_anywhere) {
        for (size_t len = 0; len < strlen(full_config); len++) {
                CLEANUP(kube_config_done) struct kube_config config = { 0 };
                CLEANUP(free_p) char *cut = strndup(full_config, len);
                struct fault f = FAULT_INIT;

                ck_assert_ptr_nonnull(cut);
                if (parse(cut, &config, &f))
                        ck_assert_int_ne(f.text[0], '\0');
        }
}
END_TEST

START_TEST(reports_want_of_memory) {
        for (size_t n = 1;; n++) {
                CLEANUP(kube_config_done) struct kube_config config = { 0 };
                struct fault f = FAULT_INIT;
                int r;

                alloc_fail_arm(n);
                r = kube_config_parse(full_config, strlen(full_config), "/dir", &config, &f);
                if (!alloc_fail_disarm())
                        break;
                ck_assert_int_eq(r, -FAULT_NOMEM);
                ck_assert_ptr_null(config.server);
        }
}
END_TEST

START_TEST(refuses_a_file_that_is_too_long) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        CLEANUP(free_p) char *text = calloc(1, (1 << 20) + 2);
        struct fault f = FAULT_INIT;

        ck_assert_ptr_nonnull(text);
        memset(text, ' ', (1 << 20) + 1);
        ck_assert_int_eq(parse(text, &config, &f), -FAULT_INVALID);
}
END_TEST

/* A directory with the files of a test. */
struct dir {
        char path[32]; /* "/tmp/test_kube_config.XXXXXX" */
};

static void dir_init(struct dir *dir) {
        (void)snprintf(dir->path, sizeof(dir->path), "/tmp/test_kube_config.XXXXXX");
        ck_assert_ptr_nonnull(mkdtemp(dir->path));
}

static void dir_put(const struct dir *dir, const char *name, const char *text) {
        CLEANUP(free_p) char *path = NULL;
        CLEANUP(fclose_p) FILE *file = NULL;

        ck_assert_int_gt(asprintf(&path, "%s/%s", dir->path, name), 0);
        file = fopen(path, "we");
        ck_assert_ptr_nonnull(file);
        ck_assert_int_ge(fputs(text, file), 0);
}

static void dir_done(struct dir *dir) {
        static const char *const names[] = { "namespace", "config", ".kube/config", ".kube" };

        for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
                CLEANUP(free_p) char *path = NULL;

                if (asprintf(&path, "%s/%s", dir->path, names[i]) > 0)
                        (void)remove(path);
        }
        (void)rmdir(dir->path);
}

START_TEST(finds_the_server_in_a_pod) {
        static const struct {
                const char *host, *server;
        } hosts[] = {
                { "10.96.0.1", "https://10.96.0.1:443" },
                { "fd00::1", "https://[fd00::1]:443" },
                { "[fd00::1]", "https://[fd00::1]:443" },
                { "api.example", "https://api.example:443" },
        };
        CLEANUP(dir_done) struct dir dir;

        dir_init(&dir);
        dir_put(&dir, "namespace", "apps\n");
        for (size_t i = 0; i < 4; i++) {
                CLEANUP(kube_config_done) struct kube_config config = { 0 };
                CLEANUP(free_p) char *token = NULL;
                struct fault f = FAULT_INIT;

                ck_assert_int_eq(
                        kube_config_in_cluster(hosts[i].host, "443", dir.path, &config, &f), 0);
                ck_assert_str_eq(config.server, hosts[i].server);
                ck_assert_str_eq(config.namespace_, "apps");
                ck_assert_int_gt(asprintf(&token, "%s/token", dir.path), 0);
                ck_assert_str_eq(config.token.path, token);
                ck_assert_ptr_nonnull(config.ca.path);
        }
}
END_TEST

START_TEST(needs_no_namespace_in_a_pod) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(kube_config_in_cluster("h", "443", "/nonexistent", &config, &f), 0);
        ck_assert_ptr_null(config.namespace_);
}
END_TEST

/* Runs in a process of its own: it changes the environment (CK_FORK=no runs are one process, so
 * everything is set here). */
START_TEST(looks_in_kubectls_order) {
        CLEANUP(dir_done) struct dir dir;
        CLEANUP(free_p) char *flag = NULL;
        CLEANUP(free_p) char *kube = NULL;
        struct kube_config config = { 0 };
        struct fault f = FAULT_INIT;

        dir_init(&dir);
        ck_assert_int_gt(asprintf(&flag, "%s/config", dir.path), 0);
        ck_assert_int_gt(asprintf(&kube, "%s/.kube", dir.path), 0);
        ck_assert_int_eq(mkdir(kube, 0700), 0);
        dir_put(&dir, "config", KUBECONFIG(SERVER, TOKEN));
        dir_put(&dir, ".kube/config",
                KUBECONFIG("server: 'https://home', certificate-authority: x", TOKEN));
        ck_assert_int_eq(setenv("HOME", dir.path, 1), 0);
        ck_assert_int_eq(setenv("KUBECONFIG", "/nonexistent", 1), 0);
        ck_assert_int_eq(setenv("KUBERNETES_SERVICE_HOST", "pod", 1), 0);
        ck_assert_int_eq(setenv("KUBERNETES_SERVICE_PORT", "443", 1), 0);

        ck_assert_int_eq(kube_config_load(flag, &config, &f), 0);
        ck_assert_str_eq(config.server, "https://h:6443");
        kube_config_done(&config);

        ck_assert_int_eq(kube_config_load(NULL, &config, &f), -FAULT_IO);
        ck_assert_ptr_nonnull(strstr(f.text, "/nonexistent"));
        ck_assert_int_eq(setenv("KUBECONFIG", "/a:/b", 1), 0);
        ck_assert_int_eq(kube_config_load("", &config, &f), -FAULT_INVALID);
        ck_assert_ptr_nonnull(strstr(f.text, "several files"));

        ck_assert_int_eq(unsetenv("KUBECONFIG"), 0);
        ck_assert_int_eq(kube_config_load(NULL, &config, &f), 0);
        ck_assert_str_eq(config.server, "https://pod:443");
        kube_config_done(&config);

        ck_assert_int_eq(unsetenv("KUBERNETES_SERVICE_HOST"), 0);
        ck_assert_int_eq(kube_config_load(NULL, &config, &f), 0);
        ck_assert_str_eq(config.server, "https://home");
        ck_assert_ptr_nonnull(strstr(config.ca.path, "/.kube/x"));
        kube_config_done(&config);

        ck_assert_int_eq(unsetenv("HOME"), 0);
        ck_assert_int_eq(kube_config_load(NULL, &config, &f), -FAULT_INVALID);
        ck_assert_ptr_nonnull(strstr(f.text, "--kubeconfig"));
}
END_TEST

START_TEST(reads_files_up_to_a_limit) {
        CLEANUP(dir_done) struct dir dir;
        CLEANUP(free_p) char *path = NULL;
        CLEANUP(strbuf_done) struct strbuf fits = STRBUF_INIT(5);
        CLEANUP(strbuf_done) struct strbuf small = STRBUF_INIT(4);
        struct fault f = FAULT_INIT;

        dir_init(&dir);
        dir_put(&dir, "config", "12345");
        ck_assert_int_gt(asprintf(&path, "%s/config", dir.path), 0);
        ck_assert_int_eq(kube_config_read_file(path, &fits, &f), 0);
        ck_assert_str_eq(fits.ptr, "12345");
        ck_assert_int_eq(kube_config_read_file(path, &small, &f), -FAULT_IO);
        ck_assert_ptr_nonnull(strstr(f.text, "longer than 4 bytes"));
        ck_assert_int_eq(kube_config_read_file(dir.path, &fits, &f), -FAULT_IO);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("kube_config");
        TCase *tc = tcase_create("kube_config");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tc, reads_the_current_context);
        tcase_add_test(tc, reads_client_certificates_inline_and_from_files);
        tcase_add_loop_test(tc, accepts, 0, COUNT(accepted));
        tcase_add_loop_test(tc, refuses, 0, COUNT(refused));
        tcase_add_test(tc, survives_a_file_cut_anywhere);
        tcase_add_test(tc, reports_want_of_memory);
        tcase_add_test(tc, refuses_a_file_that_is_too_long);
        tcase_add_test(tc, finds_the_server_in_a_pod);
        tcase_add_test(tc, needs_no_namespace_in_a_pod);
        tcase_add_test(tc, looks_in_kubectls_order);
        tcase_add_test(tc, reads_files_up_to_a_limit);
        suite_add_tcase(suite, tc);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
