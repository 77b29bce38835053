/* SPDX-License-Identifier: Apache-2.0 */
/* The yardstick for the webhook: an HTTPS server of libmicrohttpd that reads a body and answers a
 * constant, with the webhook's settings of TLS and threads.
 *
 *     bare_https PORT CERT KEY
 */
#include <microhttpd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char answer[] =
        "{\"kind\":\"AdmissionReview\",\"apiVersion\":\"admission.k8s.io/v1\",\"response\":"
        "{\"uid\":\"0d4cf2c9-4a5c-4c9a-8d4e-6a1c3f1e2b11\",\"allowed\":true}}";

static enum MHD_Result on_request(void *ctx, struct MHD_Connection *connection, const char *path,
                                  const char *method, const char *version, const char *upload_data,
                                  size_t *upload_data_size, void **state) {
        struct MHD_Response *response;
        enum MHD_Result queued;

        (void)ctx;
        (void)path;
        (void)method;
        (void)version;
        (void)upload_data;
        if (!*state) {
                *state = connection;
                return MHD_YES;
        }
        if (*upload_data_size > 0) {
                *upload_data_size = 0;
                return MHD_YES;
        }
        response = MHD_create_response_from_buffer(sizeof(answer) - 1, (void *)answer,
                                                   MHD_RESPMEM_PERSISTENT);
        (void)MHD_add_response_header(response, "Content-Type", "application/json");
        queued = MHD_queue_response(connection, MHD_HTTP_OK, response);
        MHD_destroy_response(response);
        return queued;
}

static char *read_file(const char *path) {
        static char text[2][16384];
        static int next;
        FILE *file = fopen(path, "re");
        char *to = text[next++];

        if (!file) {
                perror(path);
                exit(1);
        }
        to[fread(to, 1, sizeof(text[0]) - 1, file)] = '\0';
        (void)fclose(file);
        return to;
}

int main(int argc, char **argv) {
        struct MHD_Daemon *daemon;
        sigset_t set;
        int signal_number;

        if (argc != 4)
                return 2;
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigprocmask(SIG_BLOCK, &set, NULL);
        daemon = MHD_start_daemon(
                MHD_USE_TLS | MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ERROR_LOG,
                (uint16_t)atoi(argv[1]), NULL, NULL, on_request, NULL, MHD_OPTION_THREAD_POOL_SIZE,
                2U, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)32768, MHD_OPTION_HTTPS_MEM_CERT,
                read_file(argv[2]), MHD_OPTION_HTTPS_MEM_KEY, read_file(argv[3]),
                MHD_OPTION_HTTPS_PRIORITIES,
                "SECURE128:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2:-CIPHER-ALL:+AES-128-GCM:"
                "+AES-256-GCM:+CHACHA20-POLY1305:%SERVER_PRECEDENCE",
                MHD_OPTION_END);
        if (!daemon)
                return 1;
        (void)sigwait(&set, &signal_number);
        MHD_stop_daemon(daemon);
        return 0;
}
