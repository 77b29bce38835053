/* SPDX-License-Identifier: Apache-2.0 */
/* One try of one request over libcurl: the part of kube_curl.c below retries and credentials. */
#pragma once

#include <curl/curl.h>
#include <stdatomic.h>
#include <stdint.h>

#include "common/base/cleanup.h"
#include "common/kube/kube_credential.h"
#include "common/kube/kube_curl.h"

#define KUBE_TRANSFER_HEADERS 4

/* A request on its way and the answer as it comes. */
struct kube_transfer {
        struct kube_curl *curl;
        const struct kube_request *request;
        struct kube_response *response;
        kube_on_bytes on_bytes; /* NULL: the answer is read whole */
        void *on_bytes_ctx;
        unsigned number;         /* of the try, from 1 */
        int64_t idle_timeout_ms; /* of a stream */
        int64_t last_byte_ms;
        size_t body_sent; /* of the request's body */
        int result;       /* what ended it in a callback */
        struct curl_slist headers[KUBE_TRANSFER_HEADERS];
        size_t header_count;
        struct fault *fault;
};

struct kube_curl {
        struct kube_curl_opts opts;
        CURLM *multi;
        CURL *easy;
        atomic_bool stopped;
        struct kube_credential ca, token, client_cert, client_key;
        struct strbuf url, authorization, content_type;
        char *user_agent;
        char error[CURL_ERROR_SIZE];
        CURLcode setup; /* the first option that failed */
};

/* Sends the request with url, content_type and authorization of t->curl, whose credentials are
 * current. Return: 0 when an answer came whole, otherwise why not; *ret_lost: the connection was
 * lost on the way. */
int kube_transfer_try(struct kube_transfer *t, int64_t timeout_ms, bool *ret_lost) MUST_CHECK;
