/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever comes, the answer is a well-formed review or a refusal, and never consent to what cannot
 * be read. What is allowed stays allowed. */
#include <string.h>

#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/fuzz/fuzz.h"
#include "webhook/review.h"

static void ask(enum review_path path, const char *text, size_t size) {
        CLEANUP(strbuf_done) struct strbuf answer = STRBUF_INIT(REVIEW_ANSWER_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        struct review_outcome outcome = { 0 };
        const cJSON *response;

        MUST(review_answer(path, text, size, &answer, &outcome, NULL) == 0);
        if (outcome.http_status != 200) {
                MUST(outcome.http_status == 400 && !outcome.allowed);
                MUST(!strstr(strbuf_text(&answer), "allowed"));
                return;
        }
        MUST(json_parse(answer.ptr, answer.len, &tree, NULL) == 0);
        response = json_member(tree, "response");
        MUST(*json_string_at(response, "uid"));
        MUST(json_true_at(response, "allowed") == outcome.allowed);
        if (!outcome.allowed)
                MUST(*json_string_at(response, "status.message"));
        if (json_string(json_member(response, "patch")))
                MUST(outcome.allowed && path == REVIEW_MUTATE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        /* The server ends a body by NUL; so does this. */
        char *text = malloc(size + 1);

        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        ask(REVIEW_MUTATE, text, size);
        ask(REVIEW_VALIDATE, text, size);
        free(text);
        return 0;
}
