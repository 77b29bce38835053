/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_server.h"

#include <arpa/inet.h>
#include <assert.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fake_server {
        fake_serve serve;
        void *ctx;
        SSL_CTX *tls;
        char *ca;
        char url[64]; /* "https://127.0.0.1:65535" */
        int listener;
        int stop[2]; /* a pipe */
        pthread_t thread;
        atomic_uint connections, closed;
        bool threads;            /* one a connection */
        struct fake_child *last; /* of them; only the server's thread knows it */
};

/* The thread of a connection. */
struct fake_child {
        struct fake_server *server;
        int fd;
        pthread_t thread;
        struct fake_child *before;
};

struct fake_conn {
        int fd;
        int stop; /* readable when the server ends */
        SSL *tls;
};

/* NDEBUG must not remove what the macro's argument does. */
#define MUST(x)                                                                                    \
        do {                                                                                       \
                if (!(x))                                                                          \
                        abort();                                                                   \
        } while (0)

static void add_extension(X509 *cert, int nid, const char *value) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, nid, value);

        MUST(extension && X509_add_ext(cert, extension, -1));
        X509_EXTENSION_free(extension);
}

/* A certificate that is its own CA, for 127.0.0.1. */
static X509 *make_cert(EVP_PKEY *key) {
        X509 *cert = X509_new();
        X509_NAME *name = X509_NAME_new();

        MUST(cert && name);
        MUST(X509_set_version(cert, X509_VERSION_3));
        MUST(ASN1_INTEGER_set(X509_get_serialNumber(cert), 1));
        MUST(X509_gmtime_adj(X509_getm_notBefore(cert), -3600));
        MUST(X509_gmtime_adj(X509_getm_notAfter(cert), 86400));
        MUST(X509_set_pubkey(cert, key));
        MUST(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC,
                                        (const unsigned char *)"fake API server", -1, -1, 0));
        MUST(X509_set_subject_name(cert, name) && X509_set_issuer_name(cert, name));
        X509_NAME_free(name);
        add_extension(cert, NID_basic_constraints, "critical,CA:TRUE");
        add_extension(cert, NID_subject_alt_name, "IP:127.0.0.1");
        MUST(X509_sign(cert, key, EVP_sha256()));
        return cert;
}

static char *to_pem(X509 *cert) {
        BIO *out = BIO_new(BIO_s_mem());
        char *bytes;
        char *pem;
        long len;

        MUST(out && PEM_write_bio_X509(out, cert));
        len = BIO_get_mem_data(out, &bytes);
        pem = strndup(bytes, (size_t)len);
        MUST(pem);
        BIO_free(out);
        return pem;
}

static void make_tls(struct fake_server *server) {
        EVP_PKEY *key = EVP_EC_gen("P-256");
        X509 *cert = make_cert(key);

        server->tls = SSL_CTX_new(TLS_server_method());
        MUST(server->tls && SSL_CTX_use_certificate(server->tls, cert));
        MUST(SSL_CTX_use_PrivateKey(server->tls, key));
        server->ca = to_pem(cert);
        X509_free(cert);
        EVP_PKEY_free(key);
}

static void serve_connection(struct fake_server *server, int fd) {
        struct fake_conn conn = { .fd = fd, .stop = server->stop[0], .tls = SSL_new(server->tls) };
        int one = 1;

        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        MUST(conn.tls && SSL_set_fd(conn.tls, fd));
        atomic_fetch_add(&server->connections, 1);
        if (SSL_accept(conn.tls) == 1) {
                server->serve(server->ctx, &conn);
                if (conn.fd >= 0)
                        (void)SSL_shutdown(conn.tls);
        }
        ERR_clear_error();
        SSL_free(conn.tls);
        if (conn.fd >= 0)
                (void)close(conn.fd);
        atomic_fetch_add(&server->closed, 1);
}

static void *child_main(void *arg) {
        struct fake_child *child = arg;

        serve_connection(child->server, child->fd);
        return NULL;
}

static void start_child(struct fake_server *server, int fd) {
        struct fake_child *child = calloc(1, sizeof(*child));

        MUST(child);
        *child = (struct fake_child){ .server = server, .fd = fd, .before = server->last };
        MUST(!pthread_create(&child->thread, NULL, child_main, child));
        server->last = child;
}

static void join_children(struct fake_server *server) {
        while (server->last) {
                struct fake_child *child = server->last;

                server->last = child->before;
                (void)pthread_join(child->thread, NULL);
                free(child);
        }
}

static void *server_main(void *arg) {
        struct fake_server *server = arg;
        struct pollfd fds[] = { { .fd = server->listener, .events = POLLIN },
                                { .fd = server->stop[0], .events = POLLIN } };

        for (;;) {
                int fd;

                if (poll(fds, 2, -1) < 0)
                        continue;
                if (fds[1].revents)
                        return NULL;
                fd = accept(server->listener, NULL, NULL);
                if (fd >= 0 && server->threads)
                        start_child(server, fd);
                else if (fd >= 0)
                        serve_connection(server, fd);
        }
}

static struct fake_server *server_start(fake_serve serve, void *ctx, bool threads) {
        struct fake_server *server = calloc(1, sizeof(*server));
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        socklen_t len = sizeof(address);

        MUST(server);
        (void)signal(SIGPIPE, SIG_IGN); /* writes to a peer that has gone */
        server->serve = serve;
        server->ctx = ctx;
        server->threads = threads;
        make_tls(server);
        server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        MUST(server->listener >= 0);
        MUST(!bind(server->listener, (struct sockaddr *)&address, sizeof(address)));
        MUST(!listen(server->listener, 16));
        MUST(!getsockname(server->listener, (struct sockaddr *)&address, &len));
        (void)snprintf(server->url, sizeof(server->url), "https://127.0.0.1:%u",
                       (unsigned)ntohs(address.sin_port));
        MUST(!pipe(server->stop));
        MUST(!pthread_create(&server->thread, NULL, server_main, server));
        return server;
}

struct fake_server *fake_server_new(fake_serve serve, void *ctx) {
        return server_start(serve, ctx, false);
}

struct fake_server *fake_server_new_threads(fake_serve serve, void *ctx) {
        return server_start(serve, ctx, true);
}

void fake_server_free(struct fake_server *server) {
        if (!server)
                return;
        MUST(write(server->stop[1], "", 1) == 1);
        (void)pthread_join(server->thread, NULL);
        join_children(server);
        (void)close(server->stop[0]);
        (void)close(server->stop[1]);
        (void)close(server->listener);
        SSL_CTX_free(server->tls);
        free(server->ca);
        free(server);
}

const char *fake_server_url(const struct fake_server *server) {
        return server->url;
}

const char *fake_server_ca(const struct fake_server *server) {
        return server->ca;
}

unsigned fake_server_connections(const struct fake_server *server) {
        return atomic_load(&server->connections);
}

void fake_server_await_closed(const struct fake_server *server, unsigned count) {
        while (atomic_load(&server->closed) < count)
                (void)usleep(1000);
}

static bool read_byte(struct fake_conn *conn, char *ret_byte) {
        return conn->fd >= 0 && SSL_read(conn->tls, ret_byte, 1) == 1;
}

bool fake_read(struct fake_conn *conn, struct fake_request *ret_request) {
        size_t len = 0, body_len = 0;
        const char *length;

        *ret_request = (struct fake_request){ 0 };
        while (!strstr(ret_request->head, "\r\n\r\n")) {
                MUST(len + 1 < sizeof(ret_request->head));
                if (!read_byte(conn, &ret_request->head[len++]))
                        return false;
        }
        length = strcasestr(ret_request->head, "\r\nContent-Length:");
        if (length)
                body_len = strtoul(length + strlen("\r\nContent-Length:"), NULL, 10);
        MUST(body_len < sizeof(ret_request->body));
        for (size_t i = 0; i < body_len; i++) {
                if (!read_byte(conn, &ret_request->body[i]))
                        return false;
        }
        return true;
}

void fake_write(struct fake_conn *conn, const char *bytes, size_t len) {
        /* A client that has had enough is part of some tests. */
        if (conn->fd >= 0 && len > 0)
                (void)SSL_write(conn->tls, bytes, (int)len);
}

void fake_print(struct fake_conn *conn, const char *text) {
        fake_write(conn, text, strlen(text));
}

void fake_answer(struct fake_conn *conn, const char *status, const char *headers,
                 const char *json) {
        char *text = NULL;

        MUST(asprintf(&text,
                      "HTTP/1.1 %s\r\nContent-Type: application/json\r\n%sContent-Length: "
                      "%zu\r\n\r\n%s",
                      status, headers, strlen(json), json) >= 0);
        fake_print(conn, text);
        free(text);
}

void fake_await_close(struct fake_conn *conn) {
        char byte;

        while (read_byte(conn, &byte))
                ;
}

void fake_play_dead(struct fake_conn *conn) {
        struct sock_filter nothing = BPF_STMT(BPF_RET | BPF_K, 0);
        const struct sock_fprog program = { .len = 1, .filter = &nothing };
        struct pollfd stop = { .fd = conn->stop, .events = POLLIN };

        /* Until what was sent is acknowledged: it would be sent again and again, and be heard. */
        (void)usleep(300000);
        MUST(!setsockopt(conn->fd, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)));
        while (poll(&stop, 1, -1) != 1)
                ;
}

void fake_reset(struct fake_conn *conn) {
        struct linger linger = { .l_onoff = 1, .l_linger = 0 };

        (void)setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
        (void)close(conn->fd);
        conn->fd = -1;
}

void fake_script_serve(void *ctx, struct fake_conn *conn) {
        struct fake_script *script = ctx;
        struct fake_request request;

        while (fake_read(conn, &request)) {
                unsigned n = atomic_load(&script->count);

                MUST(n < FAKE_SCRIPT_MAX && script->acts[n].answer);
                script->requests[n] = request;
                atomic_store(&script->count, n + 1);
                fake_print(conn, script->acts[n].answer);
                switch (script->acts[n].then) {
                case FAKE_KEEP:
                        continue;
                case FAKE_CLOSE:
                        return;
                case FAKE_RESET:
                        fake_reset(conn);
                        return;
                case FAKE_SILENCE:
                        fake_await_close(conn);
                        return;
                case FAKE_DEAD:
                        fake_play_dead(conn);
                        return;
                }
        }
}
