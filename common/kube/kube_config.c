/* SPDX-License-Identifier: Apache-2.0 */
#include "common/kube/kube_config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/kube/yaml_tree.h"

#define KUBECONFIG_MAX (1024UL * 1024)

static void source_done(struct kube_source *source) {
        if (source->data)
                explicit_bzero(source->data, source->len);
        free(source->data);
        free(source->path);
        *source = (struct kube_source){ 0 };
}

static bool source_present(const struct kube_source *source) {
        return source->path || source->data;
}

void kube_config_done(struct kube_config *config) {
        free(config->server);
        free(config->namespace_);
        source_done(&config->ca);
        source_done(&config->token);
        source_done(&config->client_cert);
        source_done(&config->client_key);
        *config = (struct kube_config){ 0 };
}

int kube_config_read_file(const char *path, struct strbuf *out, struct fault *f) {
        CLEANUP(close_p) int fd = open(path, O_RDONLY | O_CLOEXEC);
        char chunk[4096];
        ssize_t got;

        if (fd < 0)
                return fault_set_errno(f, FAULT_IO, errno, "open %s", path);
        do {
                got = read(fd, chunk, sizeof(chunk));
                if (got > 0)
                        strbuf_add(out, chunk, (size_t)got);
        } while ((got > 0 && !out->bad) || (got < 0 && errno == EINTR));
        explicit_bzero(chunk, sizeof(chunk));
        if (got < 0)
                return fault_set_errno(f, FAULT_IO, errno, "read %s", path);
        if (out->bad && out->len + sizeof(chunk) > out->max)
                return fault_set(f, FAULT_IO, "%s is longer than %zu bytes", path, out->max);
        return strbuf_check(out, f);
}

static int copy_text(const char *text, char **ret_copy, struct fault *f) {
        char *copy = strdup(text);

        if (!copy)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        *ret_copy = copy;
        return 0;
}

/* Joins to an absolute path, or to one relative to the working directory. */
static int join_path(const char *dir, const char *path, char **ret_path, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf joined = STRBUF_INIT(4096); /* PATH_MAX */

        if (path[0] != '/')
                strbuf_printf(&joined, "%s/", dir);
        strbuf_str(&joined, path);
        return strbuf_take(&joined, ret_path, f);
}

/* "https://host[:port]" with brackets around an IPv6 address. */
static int in_cluster_server(const char *host, const char *port, char **ret_server,
                             struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf server = STRBUF_INIT(1024);
        bool bare_v6 = strchr(host, ':') && host[0] != '[';

        strbuf_printf(&server, "https://%s%s%s:%s", bare_v6 ? "[" : "", host, bare_v6 ? "]" : "",
                      port);
        return strbuf_take(&server, ret_server, f);
}

/* The pod's namespace: informational, so its absence is no error. */
static int in_cluster_namespace(const char *dir, char **ret_namespace, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(253);
        CLEANUP(free_p) char *path = NULL;
        int r = join_path(dir, "namespace", &path, f);

        if (r)
                return r;
        if (kube_config_read_file(path, &text, NULL) || text.len == 0)
                return 0;
        if (text.ptr[text.len - 1] == '\n')
                strbuf_truncate(&text, text.len - 1);
        return strbuf_take(&text, ret_namespace, f);
}

int kube_config_in_cluster(const char *host, const char *port, const char *dir,
                           struct kube_config *ret_config, struct fault *f) {
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        int r = in_cluster_server(host, port, &config.server, f);

        if (!r)
                r = join_path(dir, "token", &config.token.path, f);
        if (!r)
                r = join_path(dir, "ca.crt", &config.ca.path, f);
        if (!r)
                r = in_cluster_namespace(dir, &config.namespace_, f);
        if (r)
                return r;
        *ret_config = config;
        config = (struct kube_config){ 0 };
        return 0;
}

/* What a kubeconfig entry may hold. */
struct member {
        const char *name;
        const char *why; /* refused; NULL: read or without effect here */
};

#define UNSUPPORTED " is not supported"
static const struct member cluster_members[] = {
        { "server", NULL },
        { "certificate-authority", NULL },
        { "certificate-authority-data", NULL },
        { "disable-compression", NULL },
        { "extensions", NULL },
        { "insecure-skip-tls-verify", UNSUPPORTED ": name the CA in certificate-authority" },
        { "proxy-url", UNSUPPORTED },
        { "tls-server-name", UNSUPPORTED },
        { NULL, NULL },
};
static const struct member user_members[] = {
        { "token", NULL },
        { "tokenFile", NULL },
        { "client-certificate", NULL },
        { "client-certificate-data", NULL },
        { "client-key", NULL },
        { "client-key-data", NULL },
        { "extensions", NULL },
        { "exec", UNSUPPORTED ": use a token, tokenFile or client certificate" },
        { "auth-provider", UNSUPPORTED ": use a token, tokenFile or client certificate" },
        { "username", UNSUPPORTED ", nor is it by Kubernetes since 1.19" },
        { "password", UNSUPPORTED ", nor is it by Kubernetes since 1.19" },
        { "as", UNSUPPORTED },
        { "as-uid", UNSUPPORTED },
        { "as-groups", UNSUPPORTED },
        { "as-user-extra", UNSUPPORTED },
        { NULL, NULL },
};

/* Whether a member asks for nothing, so that it need not be supported. */
static bool is_off(const struct yaml_node *node) {
        return node->kind == YAML_SCALAR && (!node->text[0] || strcmp(node->text, "false") == 0);
}

/* Every member must be a known one: another might be what makes the connection safe. */
static int check_members(const struct yaml_node *entry, const struct member *known,
                         struct fault *f) {
        if (entry && entry->kind == YAML_SEQUENCE)
                return fault_set(f, FAULT_INVALID, "a list where members are expected");
        for (const struct yaml_node *m = entry ? entry->first : NULL; m; m = m->next) {
                const struct member *k = known;

                while (k->name && strcmp(k->name, m->key) != 0)
                        k++;
                if (!k->name)
                        return fault_set(f, FAULT_INVALID, "%s is unknown", m->key);
                if (k->why && !is_off(m))
                        return fault_set(f, FAULT_INVALID, "%s%s", m->key, k->why);
        }
        return 0;
}

/* The part ("cluster") of the entry of that name in a list ("clusters"). */
static int find_entry(const struct yaml_node *root, const char *list, const char *part,
                      const char *name, const struct yaml_node **ret_entry, struct fault *f) {
        const struct yaml_node *items = yaml_member(root, list);

        if (!name)
                return fault_set(f, FAULT_INVALID, "the context names no %s", part);
        for (const struct yaml_node *item = items ? items->first : NULL; item; item = item->next) {
                const char *item_name = yaml_text(item, "name");

                if (item_name && strcmp(item_name, name) == 0) {
                        *ret_entry = yaml_member(item, part);
                        return 0;
                }
        }
        return fault_set(f, FAULT_INVALID, "%s has no entry \"%s\"", list, name);
}

static int base64_value(char c) {
        static const char digits[] =
                "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        const char *p = c ? strchr(digits, c) : NULL;

        return p ? (int)(p - digits) : -1;
}

/* Decodes base64 (RFC 4648, line breaks allowed) into a source. */
static int decode_data(const char *text, struct kube_source *source, const char *member,
                       struct fault *f) {
        char *data = malloc(strlen(text) / 4 * 3 + 4);
        size_t len = 0;
        uint32_t bits = 0;
        unsigned count = 0;
        const char *p = text;

        if (!data)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        source->data = data;
        for (; *p && *p != '='; p++) {
                int value = base64_value(*p);

                if (*p == '\n' || *p == '\r' || *p == ' ')
                        continue;
                if (value < 0)
                        break;
                bits = bits << 6 | (uint32_t)value;
                count++;
                if (count % 4 != 1)
                        data[len++] = (char)(bits >> (6 - 2 * ((count - 1) % 4)));
        }
        data[len] = '\0';
        source->len = len;
        p += strspn(p, "=\r\n ");
        if (*p || len == 0 || count % 4 == 1)
                return fault_set(f, FAULT_INVALID, "%s is no base64", member);
        return 0;
}

/* The member "x" (a path) or "x-data" (inline, which wins as in client-go). */
static int read_source(const struct yaml_node *entry, const char *member, const char *data_member,
                       const char *dir, struct kube_source *source, struct fault *f) {
        const char *data = yaml_text(entry, data_member);
        const char *path = yaml_text(entry, member);

        if (data)
                return decode_data(data, source, data_member, f);
        return path ? join_path(dir, path, &source->path, f) : 0;
}

static int read_cluster(const struct yaml_node *cluster, const char *dir,
                        struct kube_config *config, struct fault *f) {
        const char *server = yaml_text(cluster, "server");
        int r = check_members(cluster, cluster_members, f);
        size_t len;

        if (r)
                return r;
        if (!server || strncmp(server, "https://", 8) != 0 || !server[8])
                return fault_set(f, FAULT_INVALID, "server must be an https:// URL");
        if (strpbrk(server, "@?# \t\r\n"))
                return fault_set(f, FAULT_INVALID, "server must be host, port and path only");
        r = copy_text(server, &config->server, f);
        if (r)
                return r;
        len = strlen(config->server);
        while (config->server[len - 1] == '/')
                config->server[--len] = '\0';
        r = read_source(cluster, "certificate-authority", "certificate-authority-data", dir,
                        &config->ca, f);
        if (!r && !source_present(&config->ca))
                r = fault_set(f, FAULT_INVALID,
                              "certificate-authority is missing (for a server with a public "
                              "certificate: /etc/ssl/certs/ca-certificates.crt)");
        return r;
}

static int read_user(const struct yaml_node *user, const char *dir, struct kube_config *config,
                     struct fault *f) {
        const char *token = yaml_text(user, "token");
        const char *token_file = yaml_text(user, "tokenFile");
        int r = check_members(user, user_members, f);

        if (r)
                return r;
        if (token_file) { /* wins, as in client-go */
                r = join_path(dir, token_file, &config->token.path, f);
        } else if (token) {
                r = copy_text(token, &config->token.data, f);
                config->token.len = strlen(token);
        }
        if (!r)
                r = read_source(user, "client-certificate", "client-certificate-data", dir,
                                &config->client_cert, f);
        if (!r)
                r = read_source(user, "client-key", "client-key-data", dir, &config->client_key, f);
        if (r)
                return r;
        if (source_present(&config->client_cert) != source_present(&config->client_key))
                return fault_set(f, FAULT_INVALID,
                                 "client-certificate and client-key belong together");
        return 0;
}

static int read_context(const struct yaml_node *root, const char *dir, struct kube_config *config,
                        struct fault *f) {
        const char *name = yaml_text(root, "current-context");
        const struct yaml_node *context = NULL, *cluster = NULL, *user = NULL;
        const char *user_name;
        int r;

        if (!name)
                return fault_set(f, FAULT_INVALID, "current-context is not set");
        r = find_entry(root, "contexts", "context", name, &context, f);
        if (!r)
                r = find_entry(root, "clusters", "cluster", yaml_text(context, "cluster"), &cluster,
                               f);
        if (!r)
                r = fault_wrap(f, read_cluster(cluster, dir, config, f), "cluster");
        user_name = yaml_text(context, "user");
        if (!r && user_name)
                r = find_entry(root, "users", "user", user_name, &user, f);
        if (!r)
                r = fault_wrap(f, read_user(user, dir, config, f), "user");
        if (!r && yaml_text(context, "namespace"))
                r = copy_text(yaml_text(context, "namespace"), &config->namespace_, f);
        return r;
}

int kube_config_parse(const char *text, size_t len, const char *dir, struct kube_config *ret_config,
                      struct fault *f) {
        CLEANUP(yaml_tree_free_p) struct yaml_node *root = NULL;
        CLEANUP(kube_config_done) struct kube_config config = { 0 };
        int r;

        if (len > KUBECONFIG_MAX)
                return fault_set(f, FAULT_INVALID, "longer than %lu bytes", KUBECONFIG_MAX);
        r = yaml_tree_parse(text, len, &root, f);
        if (!r)
                r = read_context(root, dir, &config, f);
        if (r)
                return r;
        *ret_config = config;
        config = (struct kube_config){ 0 };
        return 0;
}

static int load_file(const char *path, struct kube_config *ret_config, struct fault *f) {
        CLEANUP(strbuf_wipe) struct strbuf text = STRBUF_INIT(KUBECONFIG_MAX);
        CLEANUP(free_p) char *dir = strdup(path);
        char *slash;
        int r;

        if (!dir)
                return fault_set(f, FAULT_NOMEM, "out of memory");
        slash = strrchr(dir, '/');
        if (slash)
                slash[slash == dir ? 1 : 0] = '\0';
        r = kube_config_read_file(path, &text, f);
        if (r)
                return r;
        r = kube_config_parse(strbuf_text(&text), text.len, slash ? dir : ".", ret_config, f);
        return fault_wrap(f, r, "kubeconfig %s", path);
}

static int load_home(struct kube_config *ret_config, struct fault *f) {
        CLEANUP(free_p) char *path = NULL;
        const char *home = getenv("HOME");
        int r;

        if (!home || !home[0])
                return fault_set(f, FAULT_INVALID,
                                 "no API server: not in a pod, and neither --kubeconfig, "
                                 "KUBECONFIG nor HOME is set");
        r = join_path(home, ".kube/config", &path, f);
        return r ? r : load_file(path, ret_config, f);
}

int kube_config_load(const char *path, struct kube_config *ret_config, struct fault *f) {
        const char *listed = getenv("KUBECONFIG");
        const char *host = getenv("KUBERNETES_SERVICE_HOST");
        const char *port = getenv("KUBERNETES_SERVICE_PORT");

        if (path && path[0])
                return load_file(path, ret_config, f);
        if (listed && listed[0]) {
                if (strchr(listed, ':'))
                        return fault_set(f, FAULT_INVALID,
                                         "KUBECONFIG names several files, and they are not merged "
                                         "here: name one, or use kubectl config view --flatten");
                return load_file(listed, ret_config, f);
        }
        if (host && host[0] && port && port[0])
                return kube_config_in_cluster(host, port, KUBE_SERVICE_ACCOUNT_DIR, ret_config, f);
        return load_home(ret_config, f);
}
