/* SPDX-License-Identifier: Apache-2.0 */
/* What a migration prints, on its way to people: clean, short, valid; times of the API. */
#include <string.h>

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/base/utf8.h"
#include "reconciler/explain.h"
#include "tests/fuzz/fuzz.h"

static void clean(const char *text) {
        CLEANUP(arena_done) struct arena arena = ARENA_INIT(1 << 20);
        const char *once = explain_clean(&arena, text, 100);
        size_t len = strlen(once);

        MUST(len <= 100 && utf8_valid(once, len));
        for (size_t i = 0; i < len; i++)
                MUST((unsigned char)once[i] >= 0x20 && once[i] != 0x7f);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *text = malloc(size + 1);
        int64_t us;

        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        clean(text);
        if (clock_parse_time(text, size, &us)) {
                char form[CLOCK_MICRO_TIME_SIZE];
                int64_t again;

                clock_format_micro_time(us, form);
                MUST(clock_parse_time(form, strlen(form), &again) && again == us);
        }
        free(text);
        return 0;
}
