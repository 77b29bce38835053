/* SPDX-License-Identifier: Apache-2.0 */
#include "reconciler/job.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/canonical.h"
#include "common/api/dbupgrade.h"
#include "common/api/dbupgrade_rules.h"
#include "common/base/arena.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"
#include "tests/unit/alloc_fail.h"

#define TEXT_MAX ((size_t)1 << 20)
#define SPEC_OF(runner)                                                                            \
        "{\"migrations\":{\"image\":\"example/shop:v1\"},\"database\":{\"type\":\"selfHosted\","   \
        "\"connection\":{\"urlSecretRef\":{\"name\":\"db\"}}},\"runner\":" runner "}"

static struct dbupgrade *decode(const char *name, const char *spec) {
        CLEANUP(strbuf_done) struct strbuf text = STRBUF_INIT(TEXT_MAX);
        struct dbupgrade *object = NULL;
        struct fault f = FAULT_INIT;

        strbuf_printf(&text,
                      "{\"metadata\":{\"name\":\"%s\",\"namespace\":\"apps\",\"uid\":\"u-1\","
                      "\"resourceVersion\":\"1\"},\"spec\":%s}",
                      name, spec);
        ck_assert_msg(dbupgrade_decode(text.ptr, text.len, &object, &f) == 0, "%s: %s", spec,
                      f.text);
        return object;
}

/* The identity of run 3 of an object of that name. */
static struct job_identity identity_of(const char *name) {
        struct job_identity id = { .number = 3 };

        (void)snprintf(id.run_key, sizeof(id.run_key), "%064d", 1);
        (void)snprintf(id.attempt_key, sizeof(id.attempt_key), "%064d", 2);
        names_job(name, "0123abcd", id.name);
        names_label(name, id.name_label);
        return id;
}

/* The Job's text, which is strict JSON in any case. */
static void build(const char *name, const char *spec, struct strbuf *out) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = decode(name, spec);
        struct job_identity id = identity_of(name);
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(job_build(object, &id, out, &f), 0);
        ck_assert_msg(json_check(out->ptr, out->len, NULL, 0, &f) == 0, "%s: %s in %s", spec,
                      f.text, out->ptr);
}

static cJSON *parse(const char *text) {
        struct fault f = FAULT_INIT;
        cJSON *tree = NULL;

        ck_assert_msg(json_parse(text, strlen(text), &tree, &f) == 0, "%s: %s", text, f.text);
        return tree;
}

/* Equal but for the order of members. */
static void check_equal(const char *row, const cJSON *node, const char *expected) {
        CLEANUP(cJSON_Delete_p) cJSON *tree = parse(expected);
        CLEANUP(strbuf_done) struct strbuf got = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf wanted = STRBUF_INIT(TEXT_MAX);

        ck_assert_int_eq(canonical_json(node, &got, NULL), 0);
        ck_assert_int_eq(canonical_json(tree, &wanted, NULL), 0);
        ck_assert_msg(strcmp(got.ptr, wanted.ptr) == 0, "%s:\n%s\ninstead of\n%s", row, got.ptr,
                      wanted.ptr);
}

/* Contract section 5, to the letter. */
START_TEST(the_smallest_spec_gives_the_job_of_the_contract) {
        static const char labels[] = "{\"app.kubernetes.io/name\":\"dbupgrade-migration\","
                                     "\"app.kubernetes.io/managed-by\":\"dbupgrade-operator\","
                                     "\"dbupgrade.subbug.learning/owner-uid\":\"u-1\","
                                     "\"dbupgrade.subbug.learning/name\":\"shop\"}";
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf expected = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;

        strbuf_printf(
                &expected,
                "{\"apiVersion\":\"batch/v1\",\"kind\":\"Job\",\"metadata\":{"
                "\"name\":\"dbupgrade-shop-0123abcd\",\"namespace\":\"apps\",\"labels\":%s,"
                "\"annotations\":{\"dbupgrade.subbug.learning/run-key\":\"%064d\","
                "\"dbupgrade.subbug.learning/attempt-key\":\"%064d\","
                "\"dbupgrade.subbug.learning/run\":\"3\","
                "\"dbupgrade.subbug.learning/dbupgrade\":\"shop\"},"
                "\"ownerReferences\":[{\"apiVersion\":\"dbupgrade.subbug.learning/v1alpha1\","
                "\"kind\":\"DBUpgrade\",\"name\":\"shop\",\"uid\":\"u-1\",\"controller\":true,"
                "\"blockOwnerDeletion\":true}]},"
                "\"spec\":{\"suspend\":true,\"backoffLimit\":0,\"activeDeadlineSeconds\":600,"
                "\"podReplacementPolicy\":\"Failed\",\"podFailurePolicy\":{\"rules\":[{"
                "\"action\":\"Ignore\",\"onPodConditions\":[{\"type\":\"DisruptionTarget\"}]}]},"
                "\"template\":{\"metadata\":{\"labels\":%s,\"annotations\":{"
                "\"cluster-autoscaler.kubernetes.io/safe-to-evict\":\"false\","
                "\"karpenter.sh/do-not-disrupt\":\"true\"}},"
                "\"spec\":{\"restartPolicy\":\"Never\",\"automountServiceAccountToken\":false,"
                "\"enableServiceLinks\":false,"
                "\"securityContext\":{\"seccompProfile\":{\"type\":\"RuntimeDefault\"}},"
                "\"containers\":[{\"name\":\"migrate\",\"image\":\"example/shop:v1\","
                "\"command\":[\"sh\",\"-c\"],"
                "\"args\":[\"PATH=\\\"$PATH:/\\\"; exec atlas migrate apply --dir "
                "\\\"file:///migrations\\\" --url \\\"$DATABASE_URL\\\"\"],"
                "\"env\":[{\"name\":\"DATABASE_URL\",\"valueFrom\":{\"secretKeyRef\":{"
                "\"name\":\"db\",\"key\":\"url\"}}},"
                "{\"name\":\"MIGRATIONS_DIR\",\"value\":\"/migrations\"}],"
                "\"terminationMessagePolicy\":\"FallbackToLogsOnError\","
                "\"resources\":{\"requests\":{\"cpu\":\"10m\",\"memory\":\"64Mi\"}},"
                "\"securityContext\":{\"allowPrivilegeEscalation\":false,"
                "\"capabilities\":{\"drop\":[\"ALL\"]}}}]}}}}",
                labels, 1, 2, labels);
        build("shop", SPEC_OF("{}"), &out);
        tree = parse(out.ptr);
        check_equal("smallest", tree, expected.ptr);
}
END_TEST

/* ---- what a member of the spec becomes ---- */

#define MIGRATE  "migrate"  /* a path below the container */
#define POD      "pod"      /* below the Pod's spec */
#define TEMPLATE "template" /* below the template's metadata */
#define JOB      "job"      /* below the Job's spec */

static const cJSON *node_at(const cJSON *tree, const char *base, const char *member) {
        const cJSON *pod = json_at(tree, "spec.template.spec");

        if (strcmp(base, JOB) == 0)
                return json_member(json_at(tree, "spec"), member);
        if (strcmp(base, TEMPLATE) == 0)
                return json_member(json_at(tree, "spec.template.metadata"), member);
        if (strcmp(base, POD) == 0)
                return json_member(pod, member);
        return json_member(json_member(pod, "containers")->child, member);
}

#define OWN_ENV                                                                                    \
        "{\"name\":\"DATABASE_URL\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"db\","             \
        "\"key\":\"url\"}}},{\"name\":\"MIGRATIONS_DIR\",\"value\":\"/migrations\"}"
#define OWN_LABELS                                                                                 \
        "\"app.kubernetes.io/managed-by\":\"dbupgrade-operator\","                                 \
        "\"dbupgrade.subbug.learning/owner-uid\":\"u-1\","                                         \
        "\"dbupgrade.subbug.learning/name\":\"shop\""
#define OWN_REQUESTS "{\"requests\":{\"cpu\":\"10m\",\"memory\":\"64Mi\"}}"
#define SAFE         "\"cluster-autoscaler.kubernetes.io/safe-to-evict\":"
#define STAYS        "\"karpenter.sh/do-not-disrupt\":"

static const struct row {
        const char *name;
        const char *spec;
        const char *base, *member;
        const char *json; /* NULL: absent */
} rows[] = {
        { "a deadline", SPEC_OF("{\"activeDeadlineSeconds\":7}"), JOB, "activeDeadlineSeconds",
          "7" },
        { "the longest deadline", SPEC_OF("{\"activeDeadlineSeconds\":2147483647}"), JOB,
          "activeDeadlineSeconds", "2147483647" },
        { "the TTL is set later", SPEC_OF("{\"ttlSecondsAfterFinished\":9}"), JOB,
          "ttlSecondsAfterFinished", NULL },
        { "the spec's suspend is no Job's", SPEC_OF("{},\"suspend\":false"), JOB, "suspend",
          "true" },
        { "a command replaces command", SPEC_OF("{\"command\":[\"/atlas\",\"$(DATABASE_URL)\"]}"),
          MIGRATE, "command", "[\"/atlas\",\"$(DATABASE_URL)\"]" },
        { "... and args", SPEC_OF("{\"command\":[\"/atlas\"]}"), MIGRATE, "args", NULL },
        { "a command that is no list is none", SPEC_OF("{\"command\":\"sh\"}"), MIGRATE, "command",
          "[\"sh\",\"-c\"]" },
        { "a null command is none", SPEC_OF("{\"command\":null}"), MIGRATE, "command",
          "[\"sh\",\"-c\"]" },
        { "env comes behind ours", SPEC_OF("{\"env\":[{\"name\":\"A\",\"value\":\"$(B)\"}]}"),
          MIGRATE, "env", "[" OWN_ENV ",{\"name\":\"A\",\"value\":\"$(B)\"}]" },
        { "an empty env", SPEC_OF("{\"env\":[ ]}"), MIGRATE, "env", "[" OWN_ENV "]" },
        { "an env that is no list", SPEC_OF("{\"env\":{\"name\":\"A\"}}"), MIGRATE, "env",
          "[" OWN_ENV "]" },
        { "envFrom", SPEC_OF("{\"envFrom\":[{\"secretRef\":{\"name\":\"s\"}}]}"), MIGRATE,
          "envFrom", "[{\"secretRef\":{\"name\":\"s\"}}]" },
        { "no envFrom", SPEC_OF("{}"), MIGRATE, "envFrom", NULL },
        { "volumeMounts", SPEC_OF("{\"volumeMounts\":[{\"name\":\"v\",\"mountPath\":\"/v\"}]}"),
          MIGRATE, "volumeMounts", "[{\"name\":\"v\",\"mountPath\":\"/v\"}]" },
        { "volumes", SPEC_OF("{\"volumes\":[{\"name\":\"v\",\"emptyDir\":{}}]}"), POD, "volumes",
          "[{\"name\":\"v\",\"emptyDir\":{}}]" },
        { "imagePullPolicy", SPEC_OF("{\"imagePullPolicy\":\"Always\"}"), MIGRATE,
          "imagePullPolicy", "\"Always\"" },
        { "serviceAccountName", SPEC_OF("{\"serviceAccountName\":\"sa\"}"), POD,
          "serviceAccountName", "\"sa\"" },
        { "a service account mounts no token", SPEC_OF("{\"serviceAccountName\":\"sa\"}"), POD,
          "automountServiceAccountToken", "false" },
        { "imagePullSecrets", SPEC_OF("{\"imagePullSecrets\":[{\"name\":\"r\"}]}"), POD,
          "imagePullSecrets", "[{\"name\":\"r\"}]" },
        { "nodeSelector", SPEC_OF("{\"nodeSelector\":{\"a/b\":\"c\"}}"), POD, "nodeSelector",
          "{\"a/b\":\"c\"}" },
        { "tolerations", SPEC_OF("{\"tolerations\":[{\"operator\":\"Exists\"}]}"), POD,
          "tolerations", "[{\"operator\":\"Exists\"}]" },
        { "affinity", SPEC_OF("{\"affinity\":{\"nodeAffinity\":{\"x\":1}}}"), POD, "affinity",
          "{\"nodeAffinity\":{\"x\":1}}" },
        { "priorityClassName", SPEC_OF("{\"priorityClassName\":\"p\"}"), POD, "priorityClassName",
          "\"p\"" },
        { "terminationGracePeriodSeconds", SPEC_OF("{\"terminationGracePeriodSeconds\":0}"), POD,
          "terminationGracePeriodSeconds", "0" },
        { "resources replace ours", SPEC_OF("{\"resources\":{\"limits\":{\"cpu\":1}}}"), MIGRATE,
          "resources", "{\"limits\":{\"cpu\":1}}" },
        { "empty resources replace ours", SPEC_OF("{\"resources\":{}}"), MIGRATE, "resources",
          "{}" },
        { "null resources do not", SPEC_OF("{\"resources\":null}"), MIGRATE, "resources",
          OWN_REQUESTS },

        { "a member beside ours", SPEC_OF("{\"securityContext\":{\"runAsUser\":7}}"), MIGRATE,
          "securityContext",
          "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]},"
          "\"runAsUser\":7}" },
        { "a member in place of ours",
          SPEC_OF("{\"securityContext\":{\"allowPrivilegeEscalation\":true}}"), MIGRATE,
          "securityContext",
          "{\"allowPrivilegeEscalation\":true,\"capabilities\":{\"drop\":[\"ALL\"]}}" },
        { "members are not merged below",
          SPEC_OF("{\"securityContext\":{\"capabilities\":{\"add\":[\"CHOWN\"]}}}"), MIGRATE,
          "securityContext",
          "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"add\":[\"CHOWN\"]}}" },
        { "both in place of ours",
          SPEC_OF("{\"securityContext\":{\"capabilities\":{},\"allowPrivilegeEscalation\":true}}"),
          MIGRATE, "securityContext", "{\"allowPrivilegeEscalation\":true,\"capabilities\":{}}" },
        { "one of ours, its name escaped",
          SPEC_OF("{\"securityContext\":{\"allowPrivilege\\u0045scalation\":true}}"), MIGRATE,
          "securityContext",
          "{\"allowPrivilegeEscalation\":true,\"capabilities\":{\"drop\":[\"ALL\"]}}" },
        { "an empty context", SPEC_OF("{\"securityContext\":{ \n }}"), MIGRATE, "securityContext",
          "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]}}" },
        { "a context that is no object", SPEC_OF("{\"securityContext\":[1]}"), MIGRATE,
          "securityContext",
          "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]}}" },
        { "a Pod's context beside ours", SPEC_OF("{\"podSecurityContext\":{\"fsGroup\":1}}"), POD,
          "securityContext", "{\"seccompProfile\":{\"type\":\"RuntimeDefault\"},\"fsGroup\":1}" },
        { "a Pod's context in place of ours",
          SPEC_OF("{\"podSecurityContext\":{\"seccompProfile\":{\"type\":\"Unconfined\"}}}"), POD,
          "securityContext", "{\"seccompProfile\":{\"type\":\"Unconfined\"}}" },
        { "the two contexts are two", SPEC_OF("{\"podSecurityContext\":{\"runAsUser\":1}}"),
          MIGRATE, "securityContext",
          "{\"allowPrivilegeEscalation\":false,\"capabilities\":{\"drop\":[\"ALL\"]}}" },

        { "labels beside ours", SPEC_OF("{\"podLabels\":{\"team\":\"a\"}}"), TEMPLATE, "labels",
          "{\"app.kubernetes.io/name\":\"dbupgrade-migration\"," OWN_LABELS ",\"team\":\"a\"}" },
        { "the user's app name in place of ours",
          SPEC_OF("{\"podLabels\":{\"app.kubernetes.io/name\":\"shop\"}}"), TEMPLATE, "labels",
          "{\"app.kubernetes.io/name\":\"shop\"," OWN_LABELS "}" },
        { "no labels", SPEC_OF("{\"podLabels\":{}}"), TEMPLATE, "labels",
          "{\"app.kubernetes.io/name\":\"dbupgrade-migration\"," OWN_LABELS "}" },
        { "annotations beside ours", SPEC_OF("{\"podAnnotations\":{\"a\":\"b\"}}"), TEMPLATE,
          "annotations", "{" SAFE "\"false\"," STAYS "\"true\",\"a\":\"b\"}" },
        { "an annotation in place of ours", SPEC_OF("{\"podAnnotations\":{" STAYS "\"false\"}}"),
          TEMPLATE, "annotations", "{" SAFE "\"false\"," STAYS "\"false\"}" },
        { "labels are the Pod's alone", SPEC_OF("{\"podLabels\":{\"team\":\"a\"}}"), JOB, "labels",
          NULL },

        { "another directory and key",
          "{\"migrations\":{\"image\":\"i@sha256:0\",\"dir\":\"/a/b.c_d-e\"},\"database\":{"
          "\"type\":\"selfHosted\",\"connection\":{\"urlSecretRef\":{\"name\":\"s.t\","
          "\"key\":\"k.e-y\",\"optional\":true}}}}",
          MIGRATE, "env",
          "[{\"name\":\"DATABASE_URL\",\"valueFrom\":{\"secretKeyRef\":{\"name\":\"s.t\","
          "\"key\":\"k.e-y\"}}},{\"name\":\"MIGRATIONS_DIR\",\"value\":\"/a/b.c_d-e\"}]" },
        { "another directory in the script",
          "{\"migrations\":{\"image\":\"i\",\"dir\":\"/a/b.c_d-e\"},\"database\":{"
          "\"type\":\"selfHosted\",\"connection\":{\"urlSecretRef\":{\"name\":\"s\"}}}}",
          MIGRATE, "args",
          "[\"PATH=\\\"$PATH:/\\\"; exec atlas migrate apply --dir \\\"file:///a/b.c_d-e\\\" "
          "--url \\\"$DATABASE_URL\\\"\"]" },
        { "the image as it is",
          "{\"migrations\":{\"image\":\"r.example:5000/a/b:v1@sha256:0\"},\"database\":{"
          "\"type\":\"selfHosted\",\"connection\":{\"urlSecretRef\":{\"name\":\"s\"}}}}",
          MIGRATE, "image", "\"r.example:5000/a/b:v1@sha256:0\"" },
};

START_TEST(members_of_the_spec_become_members_of_the_job) {
        const struct row *row = &rows[_i];
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const cJSON *node;

        build("shop", row->spec, &out);
        tree = parse(out.ptr);
        node = node_at(tree, row->base, row->member);
        if (row->json)
                check_equal(row->name, node, row->json);
        else
                ck_assert_msg(!node, "%s", row->name);
}
END_TEST

/* White space, numbers beyond a double's precision and escapes stay. */
START_TEST(runner_members_are_copied_byte_for_byte) {
        static const char *const copied[] = {
                "\"affinity\":{ \"a\" : [ 1.50 , 12345678901234567890 ] }",
                "\"tolerations\":[\n{\"key\":\"\\u0041\"}\t]",
                "\"resources\":{ }",
                "\"terminationGracePeriodSeconds\":30",
                "\"envFrom\":[ ]",
        };
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf spec = STRBUF_INIT(TEXT_MAX);

        strbuf_str(&spec, "{\"runner\":{");
        for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
                strbuf_printf(&spec, "%s%s", i ? "," : "", copied[i]);
        strbuf_str(&spec, "}}");
        build("shop", spec.ptr, &out);
        for (size_t i = 0; i < sizeof(copied) / sizeof(copied[0]); i++)
                ck_assert_msg(strstr(out.ptr, copied[i]) != NULL, "%s", copied[i]);
}
END_TEST

/* Whatever key of ours a user takes: either the rules refuse it, or it stands in the Job once. */
START_TEST(no_label_or_annotation_comes_twice) {
        static const char *const maps[][2] = { { "labels", "podLabels" },
                                               { "annotations", "podAnnotations" } };
        CLEANUP(strbuf_done) struct strbuf plain = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        const cJSON *key;
        int refused = 0, merged = 0;

        build("shop", SPEC_OF("{}"), &plain);
        tree = parse(plain.ptr);
        cJSON_ArrayForEach (key, node_at(tree, TEMPLATE, maps[_i][0])) {
                CLEANUP(arena_done) struct arena arena = ARENA_INIT(RULES_ARENA_MAX);
                CLEANUP(strbuf_done) struct strbuf spec = STRBUF_INIT(TEXT_MAX);
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
                CLEANUP(cJSON_Delete_p) cJSON *spec_tree = NULL;
                struct rules_verdict verdict;

                strbuf_printf(&spec, SPEC_OF("{\"%s\":{\"%s\":\"theirs\"}}"), maps[_i][1],
                              key->string);
                spec_tree = parse(spec.ptr);
                ck_assert_int_eq(dbupgrade_rules_judge(spec_tree, NULL, &arena, &verdict, NULL), 0);
                if (verdict.count > 0) {
                        refused++;
                        continue;
                }
                build("shop", spec.ptr, &out);
                merged++;
        }
        ck_assert_int_eq(refused, _i == 0 ? 3 : 0);
        ck_assert_int_eq(merged, _i == 0 ? 1 : 2);
}
END_TEST

#define LONG_NAME                                                                                  \
        "one.that.is.much.too.long.for.a.label.and.a.job.name.because.object.names.may.have.two."  \
        "hundred.and.fifty.three.characters.x"

static const char *const names[] = {
        "a",
        "shop.db",
        "a-name-of-exactly-forty-four-characters-in-all",
        LONG_NAME,
};

START_TEST(long_names_are_cut_where_they_must_and_whole_where_they_may) {
        const char *name = names[_i];
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(cJSON_Delete_p) cJSON *tree = NULL;
        struct job_identity id = identity_of(name);
        const cJSON *meta, *owner;

        build(name, SPEC_OF("{}"), &out);
        tree = parse(out.ptr);
        meta = json_at(tree, "metadata");
        owner = json_member(meta, "ownerReferences")->child;
        ck_assert_str_eq(json_string_at(meta, "name"), id.name);
        ck_assert_uint_le(strlen(id.name), 63);
        ck_assert_str_eq(json_string(json_member(json_member(meta, "annotations"),
                                                 "dbupgrade.subbug.learning/dbupgrade")),
                         name);
        ck_assert_str_eq(json_string_at(owner, "name"), name);
        ck_assert_str_eq(json_string(json_member(json_member(meta, "labels"),
                                                 "dbupgrade.subbug.learning/name")),
                         id.name_label);
        ck_assert_str_eq(json_string(json_member(node_at(tree, TEMPLATE, "labels"),
                                                 "dbupgrade.subbug.learning/name")),
                         id.name_label);
}
END_TEST

START_TEST(the_longest_directory_fits) {
        CLEANUP(strbuf_done) struct strbuf spec = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

        strbuf_printf(&spec, "{\"migrations\":{\"image\":\"i\",\"dir\":\"/%01023d\"}}", 0);
        build("shop", spec.ptr, &out);
        ck_assert_ptr_nonnull(strstr(out.ptr, "0000\\\" --url \\\"$DATABASE_URL\\\"\"]"));
}
END_TEST

START_TEST(every_run_number_is_written) {
        static const int64_t numbers[] = { 1, 999999999999999, INT64_MAX };
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = decode("shop", SPEC_OF("{}"));
        CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf expected = STRBUF_INIT(1000);
        struct job_identity id = identity_of("shop");

        id.number = numbers[_i];
        strbuf_printf(&expected, "\"dbupgrade.subbug.learning/run\":\"%lld\"",
                      (long long)numbers[_i]);
        ck_assert_int_eq(job_build(object, &id, &out, NULL), 0);
        ck_assert_ptr_nonnull(strstr(out.ptr, expected.ptr));
}
END_TEST

/* Every member of a wrong type, as in an object that came in while the webhook was off: the rules
 * keep it from here, and still what comes out is one JSON value. */
START_TEST(wrong_types_never_break_the_json) {
        static const char *const values[] = {
                "7", "\"x\"", "true", "[]", "{}", "[1]", "{\"a\":1}"
        };

        for (int m = 0; m < RUNNER_MEMBER_COUNT; m++) {
                CLEANUP(strbuf_done) struct strbuf spec = STRBUF_INIT(TEXT_MAX);
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);

                strbuf_printf(&spec, SPEC_OF("{\"%s\":%s}"),
                              runner_member_name((enum runner_member)m), values[_i]);
                build("shop", spec.ptr, &out);
        }
}
END_TEST

#define EVERYTHING                                                                                 \
        SPEC_OF("{\"securityContext\":{\"a\":1},\"podLabels\":{\"b\":\"c\"},\"env\":[{}]}")

START_TEST(a_job_too_large_is_a_fault) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = decode("shop", EVERYTHING);
        CLEANUP(strbuf_done) struct strbuf whole = STRBUF_INIT(TEXT_MAX);
        struct job_identity id = identity_of("shop");
        struct fault f = FAULT_INIT;

        ck_assert_int_eq(job_build(object, &id, &whole, NULL), 0);
        for (size_t max = 0; max < whole.len; max += 50) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(max);

                ck_assert_int_eq(job_build(object, &id, &out, &f), -FAULT_NOMEM);
                ck_assert_ptr_eq(strstr(f.text, "build Job dbupgrade-shop-0123abcd: "), f.text);
        }
}
END_TEST

START_TEST(no_allocation_goes_unchecked) {
        CLEANUP(dbupgrade_free_p) struct dbupgrade *object = decode("shop", EVERYTHING);
        CLEANUP(strbuf_done) struct strbuf whole = STRBUF_INIT(TEXT_MAX);
        struct job_identity id = identity_of("shop");
        size_t n = 1;

        ck_assert_int_eq(job_build(object, &id, &whole, NULL), 0);
        for (;; n++) {
                CLEANUP(strbuf_done) struct strbuf out = STRBUF_INIT(TEXT_MAX);
                int r;

                alloc_fail_arm(n);
                r = job_build(object, &id, &out, NULL);
                if (!alloc_fail_disarm())
                        break;
                /* Never a Job that lacks something. */
                ck_assert_msg(r == -FAULT_NOMEM, "the %zuth: %s", n, out.ptr);
        }
        ck_assert_uint_gt(n, 5);
}
END_TEST

#define COUNT(table) ((int)(sizeof(table) / sizeof((table)[0])))

int main(void) {
        Suite *suite = suite_create("job");
        TCase *tcase = tcase_create("job");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, the_smallest_spec_gives_the_job_of_the_contract);
        tcase_add_loop_test(tcase, members_of_the_spec_become_members_of_the_job, 0, COUNT(rows));
        tcase_add_test(tcase, runner_members_are_copied_byte_for_byte);
        tcase_add_loop_test(tcase, no_label_or_annotation_comes_twice, 0, 2);
        tcase_add_loop_test(tcase, long_names_are_cut_where_they_must_and_whole_where_they_may, 0,
                            COUNT(names));
        tcase_add_test(tcase, the_longest_directory_fits);
        tcase_add_loop_test(tcase, every_run_number_is_written, 0, 3);
        tcase_add_loop_test(tcase, wrong_types_never_break_the_json, 0, 7);
        tcase_add_test(tcase, a_job_too_large_is_a_fault);
        tcase_add_test(tcase, no_allocation_goes_unchecked);
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
