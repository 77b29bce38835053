/* SPDX-License-Identifier: Apache-2.0 */
#include "common/base/flags.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "common/base/fault.h"
#include "common/base/strbuf.h"

#define FLAGS_ENV_PREFIX "DBUPGRADE_"

void flag_list_done(struct flag_list *list) {
        for (size_t i = 0; i < list->count; i++)
                free(list->items[i]);
        *list = (struct flag_list){ .count = 0 };
}

static bool parse_int(const char *text, int64_t *ret_value) {
        char *end;
        long long value;

        if (!isdigit((unsigned char)*text) && *text != '-')
                return false;
        errno = 0;
        value = strtoll(text, &end, 10);
        if (errno || *end || end == text)
                return false;
        *ret_value = value;
        return true;
}

/* The unit at text, in nanoseconds; 0 when there is none. */
static int64_t unit_ns(const char *text, size_t *ret_len) {
        static const struct {
                const char *name;
                int64_t ns;
        } units[] = { { "ns", 1 },         { "us", 1000 },       { "ms", 1000000 },
                      { "s", 1000000000 }, { "m", 60000000000 }, { "h", 3600000000000 } };

        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
                size_t len = strlen(units[i].name);

                if (strncmp(text, units[i].name, len) == 0 && !isalpha((unsigned char)text[len])) {
                        *ret_len = len;
                        return units[i].ns;
                }
        }
        return 0;
}

/* One "12.5s" of a duration. Return: its length, 0 when there is none. */
static size_t duration_part(const char *text, int64_t *total_ns) {
        const char *start = text;
        int64_t whole = 0, part = 0, scale = 1, unit, add;
        size_t len;

        if (!isdigit((unsigned char)*text))
                return 0;
        for (; isdigit((unsigned char)*text); text++)
                if (__builtin_mul_overflow(whole, 10, &whole) ||
                    __builtin_add_overflow(whole, *text - '0', &whole))
                        return 0;
        if (*text == '.')
                for (text++; isdigit((unsigned char)*text); text++)
                        if (scale < 1000000000) {
                                part = part * 10 + (*text - '0');
                                scale *= 10;
                        }
        unit = unit_ns(text, &len);
        if (unit == 0 || __builtin_mul_overflow(whole, unit, &add) ||
            __builtin_add_overflow(*total_ns, add, total_ns) ||
            __builtin_add_overflow(
                    *total_ns, (int64_t)((double)part / (double)scale * (double)unit), total_ns))
                return 0;
        return (size_t)(text - start) + len;
}

bool flags_parse_duration(const char *text, int64_t *ret_ms) {
        int64_t total_ns = 0;

        if (strcmp(text, "0") == 0) {
                *ret_ms = 0;
                return true;
        }
        if (!*text)
                return false;
        while (*text) {
                size_t len = duration_part(text, &total_ns);

                if (len == 0)
                        return false;
                text += len;
        }
        *ret_ms = total_ns / 1000000;
        return true;
}

bool flags_parse_address(const char *text, char ret_host[FLAGS_HOST_SIZE], uint16_t *ret_port) {
        const char *colon = strrchr(text, ':');
        const char *host = text;
        size_t len;
        int64_t port;

        if (strcmp(text, "0") == 0) {
                ret_host[0] = '\0';
                *ret_port = 0;
                return true;
        }
        if (!colon || !isdigit((unsigned char)colon[1]) || !parse_int(colon + 1, &port) ||
            port < 1 || port > 65535)
                return false;
        len = (size_t)(colon - text);
        if (len > 2 && host[0] == '[' && host[len - 1] == ']') {
                host++;
                len -= 2;
        } else if (memchr(host, ':', len)) {
                return false; /* IPv6 needs its brackets */
        }
        if (len >= FLAGS_HOST_SIZE || memchr(host, '[', len) || memchr(host, ']', len))
                return false;
        memcpy(ret_host, host, len);
        ret_host[len] = '\0';
        *ret_port = (uint16_t)port;
        return true;
}

/* Adds the items of a comma-separated list. */
static int add_items(struct flag_list *list, const char *text, struct fault *f) {
        while (*text) {
                size_t len = strcspn(text, ",");

                if (list->count == FLAG_LIST_MAX)
                        return fault_set(f, FAULT_INVALID, "more than %d items", FLAG_LIST_MAX);
                if (len > 0) {
                        char *item = strndup(text, len);

                        if (!item)
                                return fault_set(f, FAULT_NOMEM, "out of memory");
                        list->items[list->count++] = item;
                        list->items[list->count] = NULL;
                }
                text += len + (text[len] == ',');
        }
        return 0;
}

static int check_range(const struct flag *flag, int64_t value, struct fault *f) {
        if (value >= flag->min && value <= flag->max)
                return 0;
        return fault_set(f, FAULT_INVALID, "must be from %" PRId64 " to %" PRId64 "%s", flag->min,
                         flag->max, flag->type == FLAG_DURATION ? " ms" : "");
}

/* Stores the text's value. The fault says what is wrong with it, not of which flag. */
static int set_value(const struct flag *flag, const char *text, struct fault *f) {
        int64_t number = 0;
        int r;

        switch (flag->type) {
        case FLAG_STRING:
                *(const char **)flag->value = text;
                return 0;
        case FLAG_BOOL:
                if (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)
                        return fault_set(f, FAULT_INVALID, "must be true or false");
                *(bool *)flag->value = *text == 't';
                return 0;
        case FLAG_LIST:
                return add_items(flag->value, text, f);
        case FLAG_INT:
                if (!parse_int(text, &number))
                        return fault_set(f, FAULT_INVALID, "must be a number");
                break;
        case FLAG_DURATION:
                if (!flags_parse_duration(text, &number))
                        return fault_set(f, FAULT_INVALID,
                                         "must be a duration such as 500ms, 30s or 1h30m");
                break;
        }
        r = check_range(flag, number, f);
        if (r)
                return r;
        *(int64_t *)flag->value = number;
        return 0;
}

/* DBUPGRADE_METRICS_BIND_ADDRESS of metrics-bind-address. */
static void put_env_name(struct strbuf *out, const char *name) {
        strbuf_str(out, FLAGS_ENV_PREFIX);
        for (; *name; name++)
                strbuf_char(out, *name == '-' ? '_' : (char)toupper((unsigned char)*name));
}

static int read_environment(const struct flag *table, struct fault *f) {
        for (const struct flag *flag = table; flag->name; flag++) {
                CLEANUP(strbuf_done) struct strbuf name = STRBUF_INIT(256); /* our own names */
                const char *text;
                int r;

                put_env_name(&name, flag->name);
                r = strbuf_check(&name, f);
                if (r)
                        return r;
                text = getenv(name.ptr);
                if (!text)
                        continue;
                r = set_value(flag, text, f);
                if (r)
                        return fault_wrap(f, r, "%s=%s", name.ptr, text);
        }
        return 0;
}

static const struct flag *find(const struct flag *table, const char *name, size_t len) {
        for (; table->name; table++)
                if (strncmp(table->name, name, len) == 0 && table->name[len] == '\0')
                        return table;
        return NULL;
}

/* Reads the flag at argv[*i], and its value behind it where it stands there. seen marks lists whose
 * items of the environment have been dropped. */
static int read_argument(const struct flag *table, int argc, char **argv, int *i, bool *seen,
                         struct fault *f) {
        const char *arg = argv[*i];
        const char *value;
        const struct flag *flag;
        size_t len;
        int r;

        if (strncmp(arg, "--", 2) != 0)
                return fault_set(f, FAULT_INVALID, "unexpected argument \"%s\"", arg);
        len = strcspn(arg + 2, "=");
        flag = find(table, arg + 2, len);
        if (!flag)
                return fault_set(f, FAULT_INVALID, "unknown flag %.*s; see --help", (int)len + 2,
                                 arg);
        if (arg[2 + len] == '=')
                value = arg + 3 + len;
        else if (flag->type == FLAG_BOOL)
                value = "true";
        else if (*i + 1 < argc)
                value = argv[++*i];
        else
                return fault_set(f, FAULT_INVALID, "--%s needs a value", flag->name);
        if (flag->type == FLAG_LIST && !seen[flag - table])
                flag_list_done(flag->value);
        seen[flag - table] = true;
        r = set_value(flag, value, f);
        return fault_wrap(f, r, "--%s=%s", flag->name, value);
}

static void print_help(const struct flag *table, const char *program, const char *about,
                       FILE *out) {
        const char *group = NULL;

        (void)fprintf(out, "%s: %s\n\nUsage: %s [flags]\n", program, about, program);
        for (const struct flag *flag = table; flag->name; flag++) {
                CLEANUP(strbuf_done) struct strbuf env = STRBUF_INIT(256);

                if (!group || strcmp(group, flag->group) != 0)
                        (void)fprintf(out, "\n%s:\n", flag->group);
                group = flag->group;
                put_env_name(&env, flag->name);
                (void)fprintf(out, "  --%s\n        %s", flag->name, flag->help);
                if (flag->default_text)
                        (void)fprintf(out, " (default %s)", flag->default_text);
                (void)fprintf(out, " [%s]\n", strbuf_text(&env));
        }
        (void)fprintf(out, "\nOther:\n  --help\n        Print this.\n"
                           "  --version\n        Print the version.\n");
}

/* No program has more flags. */
#define FLAGS_MAX 64

int flags_parse(const struct flag *table, const char *program, const char *about, int argc,
                char **argv, FILE *out, struct fault *f) {
        bool seen[FLAGS_MAX] = { false };
        int r;

        for (int i = 1; i < argc; i++) {
                if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
                        print_help(table, program, about, out);
                        return FLAGS_E_EXIT;
                }
                if (strcmp(argv[i], "--version") == 0) {
                        (void)fprintf(out, "%s %s (%s)\n", program, DBUPGRADE_VERSION,
                                      DBUPGRADE_COMMIT);
                        return FLAGS_E_EXIT;
                }
        }
        r = read_environment(table, f);
        for (int i = 1; !r && i < argc; i++)
                r = read_argument(table, argc, argv, &i, seen, f);
        return r;
}
