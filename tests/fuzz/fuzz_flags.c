/* SPDX-License-Identifier: Apache-2.0 */
/* A command line, one argument a line: refused with a reason, or within its limits. */
#include <string.h>

#include "common/base/fault.h"
#include "common/base/flags.h"
#include "tests/fuzz/fuzz.h"

#define ARGUMENTS 32

static void parse(int argc, char **argv) {
        const char *text = "";
        bool on = false;
        int64_t number = 4, duration = 1000;
        struct flag_list list = { .count = 0 };
        const struct flag table[] = {
                { "A", "text", FLAG_STRING, &text, NULL, "A text.", 0, 0 },
                { "A", "on", FLAG_BOOL, &on, "false", "A switch.", 0, 0 },
                { "B", "number", FLAG_INT, &number, "4", "A number.", 1, 64 },
                { "B", "duration", FLAG_DURATION, &duration, "1s", "A duration.", 100, 86400000 },
                { "B", "list", FLAG_LIST, &list, "none", "A list.", 0, 0 },
                { .name = NULL },
        };
        FILE *out = fopen("/dev/null", "we");
        struct fault f = FAULT_INIT;
        int r;

        MUST(out);
        r = flags_parse(table, "fuzz", "is fuzzed", argc, argv, out, &f);
        (void)fclose(out);
        MUST(r == 0 || r == FLAGS_E_EXIT || (r == -FAULT_INVALID && f.text[0]));
        if (r == 0) {
                MUST(number >= 1 && number <= 64 && duration >= 100 && duration <= 86400000);
                MUST(list.count <= FLAG_LIST_MAX && !list.items[list.count]);
        }
        flag_list_done(&list);
}

static void values(const char *text) {
        char host[FLAGS_HOST_SIZE];
        uint16_t port;
        int64_t ms;

        if (flags_parse_duration(text, &ms))
                MUST(ms >= 0);
        if (flags_parse_address(text, host, &port))
                MUST(strlen(host) < FLAGS_HOST_SIZE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        char *argv[ARGUMENTS + 1] = { (char *)"fuzz" };
        char *text = malloc(size + 1), *rest = text;
        int argc = 1;

        if (!text)
                return 0;
        memcpy(text, data, size);
        text[size] = '\0';
        values(text);
        while (argc < ARGUMENTS && rest)
                argv[argc++] = strsep(&rest, "\n");
        parse(argc, argv);
        free(text);
        return 0;
}
