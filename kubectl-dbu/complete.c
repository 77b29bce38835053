/* SPDX-License-Identifier: Apache-2.0 */
#include "kubectl-dbu/complete.h"

#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "kubectl-dbu/args.h"
#include "kubectl-dbu/kubectl.h"

#define NAMES_MAX ((size_t)16 << 20)
#define WORDS_MAX ((size_t)16 << 10)

/* Directives of Cobra. */
#define DIRECTIVE_FILES    ":0\n"
#define DIRECTIVE_NO_FILES ":4\n"

static void offer(struct strbuf *out, const char *prefix, const char *word, const char *help) {
        if (strncmp(word, prefix, strlen(prefix)) == 0)
                strbuf_printf(out, "%s%s%s\n", word, *help ? "\t" : "", help);
}

static void offer_commands(struct strbuf *out, const char *prefix) {
        for (enum command c = COMMAND_LIST; c < COMMAND_COUNT; c++)
                offer(out, prefix, args_command_name(c), args_command_help(c));
}

static void offer_options(struct strbuf *out, const struct args_unfinished *u) {
        CLEANUP(strbuf_done) struct strbuf name = STRBUF_INIT(256);
        struct args_option_text option;
        size_t cursor = 0;

        while (args_option_next(u->command, &cursor, &option)) {
                strbuf_reset(&name);
                strbuf_printf(&name, "--%s", option.name);
                offer(out, u->prefix, strbuf_text(&name), option.help);
        }
}

/* Offers each line of what kubectl prints, without "kind/" before the name. */
static void offer_lines(struct strbuf *out, const char *prefix, char *lines) {
        char *save = NULL;

        for (char *line = strtok_r(lines, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                const char *slash = strchr(line, '/');

                offer(out, prefix, slash ? slash + 1 : line, "");
        }
}

/* Names of the cluster; none when kubectl fails. */
static void offer_names(struct strbuf *out, const struct args_unfinished *u, const char *verb,
                        const char *what) {
        CLEANUP(arena_done) struct arena a = ARENA_INIT(WORDS_MAX);
        CLEANUP(strbuf_done) struct strbuf lines = STRBUF_INIT(NAMES_MAX);
        CLEANUP(kubectl_call_done) struct kubectl_call call = KUBECTL_CALL_INIT;
        const char *where = u->namespace_ && u->wanted == WANTED_NAME
                                    ? arena_printf(&a, "--namespace=%s", u->namespace_)
                                    : NULL;
        const char *words[] = { verb, what, "--output=name", where, NULL };

        if (arena_check(&a, NULL) ||
            kubectl_start(&call, words, &u->through, KUBECTL_SILENT, NULL) ||
            kubectl_read(&call, 0, &lines, NULL) || lines.len == 0)
                return;
        offer_lines(out, u->prefix, lines.ptr);
}

static void offer_wanted(struct strbuf *out, const struct args_unfinished *u) {
        switch (u->wanted) {
        case WANTED_COMMAND:
                offer_commands(out, u->prefix);
                break;
        case WANTED_OPTION:
                offer_options(out, u);
                break;
        case WANTED_NAME:
                offer_names(out, u, "get", DBUPGRADE_PLURAL "." DBUPGRADE_GROUP);
                break;
        case WANTED_SHELL:
                offer(out, u->prefix, "bash", "");
                offer(out, u->prefix, "zsh", "");
                offer(out, u->prefix, "fish", "");
                break;
        case WANTED_OUTPUT:
                offer(out, u->prefix, "json", "");
                break;
        case WANTED_NAMESPACE:
                offer_names(out, u, "get", "namespaces");
                break;
        case WANTED_CONTEXT:
                offer_names(out, u, "config", "get-contexts");
                break;
        case WANTED_FILE:
        case WANTED_NOTHING:
                break;
        }
}

void complete(struct strbuf *out, int count, char **words) {
        struct args_unfinished u;

        args_unfinished(&u, count, words);
        offer_wanted(out, &u);
        strbuf_str(out, u.wanted == WANTED_FILE ? DIRECTIVE_FILES : DIRECTIVE_NO_FILES);
        args_unfinished_done(&u);
}

/* bash splits "--context=x" into three words, of which the middle one is dropped: as if it had been
 * typed with a space. */
static const char bash_script[] =
        "# bash completion for kubectl-dbu: source <(kubectl-dbu completion bash)\n"
        "_kubectl_dbu() {\n"
        "        local words=() i line\n"
        "        for ((i = 1; i <= COMP_CWORD; i++)); do\n"
        "                [[ ${COMP_WORDS[i]} == = ]] || words+=(\"${COMP_WORDS[i]}\")\n"
        "        done\n"
        "        [[ ${COMP_WORDS[COMP_CWORD]} != = ]] || words+=(\"\")\n"
        "        COMPREPLY=()\n"
        "        while IFS= read -r line; do\n"
        "                case $line in\n"
        "                :0) compopt -o default ;;\n"
        "                :*) ;;\n"
        "                *) COMPREPLY+=(\"${line%%$'\\t'*}\") ;;\n"
        "                esac\n"
        "        done < <(kubectl-dbu __complete \"${words[@]}\" 2>/dev/null)\n"
        "}\n"
        "complete -F _kubectl_dbu kubectl-dbu\n";

static const char zsh_script[] =
        "#compdef kubectl-dbu\n"
        "# zsh completion for kubectl-dbu: source <(kubectl-dbu completion zsh)\n"
        "_kubectl_dbu() {\n"
        "        local line\n"
        "        local -a found\n"
        "        local files=\n"
        "        for line in ${(f)\"$(kubectl-dbu __complete \"${(@)words[2,CURRENT]}\" "
        "2>/dev/null)\"}; do\n"
        "                case $line in\n"
        "                :0) files=1 ;;\n"
        "                :*) ;;\n"
        "                *) found+=(\"${${line//:/\\\\:}/$'\\t'/:}\") ;;\n"
        "                esac\n"
        "        done\n"
        "        compset -P '--*='\n"
        "        if [[ -n $files ]]; then _files; else _describe kubectl-dbu found; fi\n"
        "}\n"
        "compdef _kubectl_dbu kubectl-dbu\n";

static const char fish_script[] =
        "# fish completion for kubectl-dbu: kubectl-dbu completion fish | source\n"
        "function __kubectl_dbu_complete\n"
        "        set -l words (commandline -opc) (commandline -ct)\n"
        "        kubectl-dbu __complete $words[2..-1] 2>/dev/null | string match -v -r '^:'\n"
        "end\n"
        "complete -c kubectl-dbu -f -a '(__kubectl_dbu_complete)'\n";

const char *complete_script(const char *shell) {
        if (strcmp(shell, "bash") == 0)
                return bash_script;
        return strcmp(shell, "zsh") == 0 ? zsh_script : fish_script;
}
