/* SPDX-License-Identifier: Apache-2.0 */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/dbupgrade.h"
#include "common/base/fault.h"
#include "kubectl-dbu/verdict.h"
#include "kubectl-dbu/wait.h"

#define EVENT(type, name)                                                                          \
        "{\n    \"type\": \"" type "\",\n    \"object\": {\"metadata\": {\"name\": \"" name        \
        "\", \"namespace\": \"n\", \"uid\": \"u\", \"resourceVersion\": \"1\", "                   \
        "\"annotations\": {\"a\": \"} \\\" ] {\"}}}\n}"

static const char stream_text[] =
        EVENT("ADDED", "a") "\n" EVENT("MODIFIED", "b") EVENT("DELETED", "c") "\n";

/* Feeds the whole text in one piece. The names of the objects go to names, a '-' behind those that
 * are deleted. */
static void feed(struct document_stream *stream, const char *text, size_t len, char *names) {
        while (len > 0) {
                CLEANUP(dbupgrade_free_p) struct dbupgrade *object = NULL;
                bool complete, deleted;
                size_t taken = document_stream_feed(stream, text, len, &complete);

                ck_assert_uint_gt(taken, 0);
                text += taken;
                len -= taken;
                if (!complete)
                        continue;
                ck_assert_int_eq(wait_decode_event(stream->text.ptr, stream->text.len, &object,
                                                   &deleted, NULL),
                                 0);
                strncat(names, object->name, 1);
                if (deleted)
                        strncat(names, "-", 2);
        }
}

START_TEST(a_stream_cut_anywhere_gives_the_same_objects) {
        size_t len = strlen(stream_text);

        for (size_t cut = 0; cut <= len; cut++) {
                CLEANUP(document_stream_done)
                struct document_stream stream = DOCUMENT_STREAM_INIT(4096);
                char names[16] = "";

                feed(&stream, stream_text, cut, names);
                feed(&stream, stream_text + cut, len - cut, names);
                ck_assert_str_eq(names, "abc-");
        }
}
END_TEST

START_TEST(a_document_that_never_ends_is_noticed) {
        CLEANUP(document_stream_done) struct document_stream stream = DOCUMENT_STREAM_INIT(64);
        bool complete;

        for (int i = 0; i < 100; i++)
                (void)document_stream_feed(&stream, "[\"", 2, &complete);
        ck_assert(!complete);
        ck_assert_int_eq(strbuf_check(&stream.text, NULL), -FAULT_NOMEM);
}
END_TEST

static const struct {
        const char *name, *text;
        int want;
} events[] = {
        { "no JSON", "{", -FAULT_INVALID },
        { "no type", "{\"object\": {}}", -FAULT_PROTO },
        { "no object", "{\"type\": \"ADDED\", \"object\": null}", -FAULT_PROTO },
        { "an object without a name", "{\"type\": \"ADDED\", \"object\": {}}", -FAULT_INVALID },
        { "a type as long as a book", "{\"type\": \"AAAAAAAAAAAAAAAAAAAAAAAA\", \"object\": {}}",
          -FAULT_PROTO },
        { "an error of the API server", "{\"type\": \"ERROR\", \"object\": {\"kind\": \"Status\"}}",
          WAIT_E_NO_OBJECT },
};

START_TEST(other_events_bring_no_object) {
        struct dbupgrade *object = NULL;
        bool deleted;
        int r = wait_decode_event(events[_i].text, strlen(events[_i].text), &object, &deleted,
                                  NULL);

        ck_assert_msg(r == events[_i].want, "%s: %d", events[_i].name, r);
        ck_assert_ptr_null(object);
}
END_TEST

static const struct {
        enum state state;
        bool over;
        enum exit_code code;
} verdicts[] = {
        { STATE_DONE, true, CODE_OK },          { STATE_FAILED, true, CODE_FAILED },
        { STATE_BLOCKED, true, CODE_BLOCKED },  { STATE_WAITING, false, CODE_TIMEOUT },
        { STATE_RUNNING, false, CODE_TIMEOUT },
};

START_TEST(only_what_is_final_ends_it) {
        struct verdict v = { .state = verdicts[_i].state };
        enum exit_code code = CODE_TIMEOUT;

        ck_assert_int_eq(wait_is_over(&v, &code), verdicts[_i].over);
        ck_assert_int_eq(code, verdicts[_i].code);
}
END_TEST

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void) {
        Suite *suite = suite_create("plugin_wait");
        TCase *tcase = tcase_create("wait");
        SRunner *runner = srunner_create(suite);
        int failed;

        tcase_add_test(tcase, a_stream_cut_anywhere_gives_the_same_objects);
        tcase_add_test(tcase, a_document_that_never_ends_is_noticed);
        tcase_add_loop_test(tcase, other_events_bring_no_object, 0, COUNT(events));
        tcase_add_loop_test(tcase, only_what_is_final_ends_it, 0, COUNT(verdicts));
        suite_add_tcase(suite, tcase);
        srunner_run_all(runner, CK_ENV);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
