/* SPDX-License-Identifier: Apache-2.0 */
/* kubectl-dbu: the plugin `kubectl dbu`, and kubectl_complete-dbu under that name. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "kubectl-dbu/args.h"
#include "kubectl-dbu/commands.h"
#include "kubectl-dbu/complete.h"
#include "kubectl-dbu/output.h"

#define OUTPUT_MAX ((size_t)16 << 20)

static const char *base_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int print_completions(int count, char **words, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(OUTPUT_MAX);

        complete(&out, count, words);
        return output_print(&out, f);
}

static int run(const struct args *args, enum exit_code *ret_code, struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(OUTPUT_MAX);

        *ret_code = CODE_OK;
        if (args->help)
                args_help(&out, args->command);
        else if (args->command == COMMAND_COMPLETION)
                strbuf_str(&out, complete_script(args->name));
        else if (args->command == COMMAND_VERSION)
                strbuf_str(&out, "kubectl-dbu " DBUPGRADE_VERSION " (" DBUPGRADE_COMMIT ")\n");
        else
                return commands_run(args, clock_system(), ret_code, f);
        return output_print(&out, f);
}

int main(int argc, char **argv) {
        struct fault f = FAULT_INIT;
        enum exit_code code = CODE_OK;
        struct args args;
        int r;

        if (argc > 0 && strcmp(base_name(argv[0]), "kubectl_complete-dbu") == 0)
                return print_completions(argc - 1, argv + 1, &f) ? CODE_TROUBLE : CODE_OK;
        if (argc > 1 && strcmp(argv[1], "__complete") == 0)
                return print_completions(argc - 2, argv + 2, &f) ? CODE_TROUBLE : CODE_OK;
        r = args_parse(&args, argc, argv, &f);
        if (r) {
                output_say("error: %s; see kubectl dbu --help", f.text);
                code = CODE_USAGE;
        } else if (run(&args, &code, &f)) {
                output_say("error: %s", f.text);
                code = CODE_TROUBLE;
        }
        args_done(&args);
        return (int)code;
}
