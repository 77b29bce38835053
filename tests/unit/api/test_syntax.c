/* SPDX-License-Identifier: Apache-2.0 */
/* The parsers of short strings, each by a table. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/image_ref.h"
#include "common/api/quantity.h"
#include "common/api/semver.h"
#include "common/api/syntax.h"

static bool image_valid(const char *text) {
        struct image_ref ref;

        return image_ref_parse(text, &ref);
}

#define TEN   "0123456789"
#define HEX32 "0123456789abcdef0123456789abcdef"

struct row {
        bool (*judge)(const char *);
        const char *name, *text;
        bool valid;
};

static const struct row rows[] = {
        { semver_valid, "a version", "1.2.3", true },
        { semver_valid, "a leading v", "v1.2.3", true },
        { semver_valid, "zeros", "0.0.0", true },
        { semver_valid, "many digits", "1.20.300000000000000000000", true },
        { semver_valid, "a pre-release", "1.2.3-rc.1", true },
        { semver_valid, "a pre-release with a hyphen", "1.2.3-x-y", true },
        { semver_valid, "a pre-release that begins with a zero and has letters", "1.2.3-0a", true },
        { semver_valid, "a pre-release of zero", "1.2.3-0", true },
        { semver_valid, "a pre-release of a hyphen", "1.2.3--", true },
        { semver_valid, "build metadata", "1.2.3+001.abc", true },
        { semver_valid, "pre-release and build metadata", "v1.2.3-a.b+c-d", true },
        { semver_valid, "nothing", "", false },
        { semver_valid, "a v alone", "v", false },
        { semver_valid, "two leading v", "vv1.2.3", false },
        { semver_valid, "a capital V", "V1.2.3", false },
        { semver_valid, "two numbers", "1.2", false },
        { semver_valid, "four numbers", "1.2.3.4", false },
        { semver_valid, "a leading zero", "1.02.3", false },
        { semver_valid, "a missing number", "1..3", false },
        { semver_valid, "a sign", "1.-2.3", false },
        { semver_valid, "an empty pre-release", "1.2.3-", false },
        { semver_valid, "an empty identifier", "1.2.3-a..b", false },
        { semver_valid, "an empty identifier at the end", "1.2.3-a.", false },
        { semver_valid, "a numeric identifier with a leading zero", "1.2.3-01", false },
        { semver_valid, "empty build metadata", "1.2.3+", false },
        { semver_valid, "build metadata twice", "1.2.3+a+b", false },
        { semver_valid, "an underscore", "1.2.3-a_b", false },
        { semver_valid, "a space behind it", "1.2.3 ", false },
        { semver_valid, "a word", "latest", false },

        { quantity_valid, "zero", "0", true },
        { quantity_valid, "a whole number", "80", true },
        { quantity_valid, "a fraction", "0.05", true },
        { quantity_valid, "a fraction without its zero", ".5", true },
        { quantity_valid, "a point at the end", "5.", true },
        { quantity_valid, "a sign", "-1", true },
        { quantity_valid, "a plus", "+1", true },
        { quantity_valid, "thousandths", "250m", true },
        { quantity_valid, "nano", "1n", true },
        { quantity_valid, "kilo", "1k", true },
        { quantity_valid, "exa", "1E", true },
        { quantity_valid, "a binary suffix", "1.5Gi", true },
        { quantity_valid, "an exponent", "1e3", true },
        { quantity_valid, "an exponent with a sign", "1E-3", true },
        { quantity_valid, "nothing", "", false },
        { quantity_valid, "a sign alone", "-", false },
        { quantity_valid, "a point alone", ".", false },
        { quantity_valid, "two signs", "--1", false },
        { quantity_valid, "two points", "1.2.3", false },
        { quantity_valid, "a suffix alone", "m", false },
        { quantity_valid, "kilo in upper case", "1K", false },
        { quantity_valid, "binary kilo in lower case", "1ki", false },
        { quantity_valid, "an empty exponent", "1e", false },
        { quantity_valid, "an exponent without digits", "1e+", false },
        { quantity_valid, "an exponent with a fraction", "1e1.5", false },
        { quantity_valid, "a huge exponent", "1e1234567890123456789", false },
        { quantity_valid, "two suffixes", "1mm", false },
        { quantity_valid, "a unit", "5%", false },
        { quantity_valid, "a space in front", " 1", false },
        { quantity_valid, "a space behind", "1 ", false },
        { quantity_valid, "a word", "high", false },

        { image_valid, "a path", "atlas", true },
        { image_valid, "a path and a tag", "shop/migrations:v1", true },
        { image_valid, "a host with dots", "registry.example/shop:v1", true },
        { image_valid, "a host with a port", "localhost:5000/shop", true },
        { image_valid, "a host in upper case", "Registry.Example:5000/shop/m:v1", true },
        { image_valid, "a digest", "shop@sha256:" HEX32 HEX32, true },
        { image_valid, "a digest of 512 bits", "s@sha512:" HEX32 HEX32 HEX32 HEX32, true },
        { image_valid, "a tag and a digest", "h.example/shop:v1@sha256:" HEX32 HEX32, true },
        { image_valid, "each separator", "a.b_c__d-e---f", true },
        { image_valid, "a tag of each character", "a:_B.c-9", true },
        { image_valid, "a tag of 128 characters",
          "a:" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "01234567", true },
        { image_valid, "what looks like a port without a path is a tag", "host:5000", true },
        { image_valid, "many components", "a/b/c/d/e/f", true },
        { image_valid, "nothing", "", false },
        { image_valid, "a tag of 129 characters",
          "a:" TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN TEN "012345678", false },
        { image_valid, "a path in upper case", "Shop", false },
        { image_valid, "a second component in upper case", "a/B", false },
        { image_valid, "a host alone", "host.example/", false },
        { image_valid, "a leading slash", "/a", false },
        { image_valid, "two slashes", "a//b", false },
        { image_valid, "an empty port", "host:/a", false },
        { image_valid, "a port that is no number", "host:x/a", false },
        { image_valid, "two ports", "host:1:2/a", false },
        { image_valid, "an empty tag", "a:", false },
        { image_valid, "a tag that begins with a point", "a:.b", false },
        { image_valid, "a tag that begins with a hyphen", "a:-b", false },
        { image_valid, "two tags", "a:b:c", false },
        { image_valid, "an empty digest", "a@", false },
        { image_valid, "a digest alone", "@sha256:" HEX32 HEX32, false },
        { image_valid, "a short digest", "a@sha256:" HEX32, false },
        { image_valid, "a long digest", "a@sha256:" HEX32 HEX32 "0", false },
        { image_valid, "a digest in upper case", "a@sha256:" HEX32 "0123456789ABCDEF" TEN "abcdef",
          false },
        { image_valid, "an unknown algorithm", "a@md5:" HEX32, false },
        { image_valid, "two digests", "a@sha256:" HEX32 HEX32 "@sha256:" HEX32 HEX32, false },
        { image_valid, "three underscores", "a___b", false },
        { image_valid, "two points", "a..b", false },
        { image_valid, "a separator at the end", "a-", false },
        { image_valid, "a separator at the start", "-a", false },
        { image_valid, "a host label that ends with a hyphen", "A-.b/c", false },
        { image_valid, "a command substitution", "a$(id)", false },
        { image_valid, "a semicolon", "a;id", false },
        { image_valid, "a space", "a b", false },
        { image_valid, "a quote", "a\"b", false },
        { image_valid, "a newline at the end", "a\n", false },
        { image_valid, "a scheme", "https://a/b", false },
        { image_valid, "an IPv6 host", "[::1]:5000/a", false },

        { syntax_subdomain, "a label", "db", true },
        { syntax_subdomain, "a digit", "0", true },
        { syntax_subdomain, "labels", "a-b.c-1.d", true },
        { syntax_subdomain, "nothing", "", false },
        { syntax_subdomain, "upper case", "Db", false },
        { syntax_subdomain, "an underscore", "a_b", false },
        { syntax_subdomain, "a hyphen in front", "-a", false },
        { syntax_subdomain, "a hyphen at the end", "a-", false },
        { syntax_subdomain, "a hyphen before a point", "a-.b", false },
        { syntax_subdomain, "a point in front", ".a", false },
        { syntax_subdomain, "a point at the end", "a.", false },
        { syntax_subdomain, "two points", "a..b", false },
        { syntax_subdomain, "a slash", "a/b", false },

        { syntax_secret_key, "a word", "url", true },
        { syntax_secret_key, "every character", "A-z_0.9", true },
        { syntax_secret_key, "a point in front", ".url", true },
        { syntax_secret_key, "nothing", "", false },
        { syntax_secret_key, "a point", ".", false },
        { syntax_secret_key, "two points", "..", false },
        { syntax_secret_key, "two points in front", "..url", false },
        { syntax_secret_key, "a slash", "a/b", false },
        { syntax_secret_key, "a space", "a b", false },

        { syntax_dir, "one segment", "/migrations", true },
        { syntax_dir, "several segments", "/a/b.c/D_e-1", true },
        { syntax_dir, "a hidden folder", "/.git", true },
        { syntax_dir, "three points", "/...", true },
        { syntax_dir, "nothing", "", false },
        { syntax_dir, "the root", "/", false },
        { syntax_dir, "a relative path", "a/b", false },
        { syntax_dir, "two slashes", "/a//b", false },
        { syntax_dir, "a slash at the end", "/a/", false },
        { syntax_dir, "a point segment", "/a/./b", false },
        { syntax_dir, "a point segment at the end", "/a/.", false },
        { syntax_dir, "a parent segment", "/a/../b", false },
        { syntax_dir, "a parent segment at the end", "/..", false },
        { syntax_dir, "a space", "/a b", false },
        { syntax_dir, "a quote", "/a\"", false },
        { syntax_dir, "a variable", "/$HOME", false },
        { syntax_dir, "a question mark", "/a?x=y", false },
        { syntax_dir, "a character beyond ASCII", "/\xc3\xa4", false },

        { syntax_role_arn, "a role", "arn:aws:iam::123456789012:role/db", true },
        { syntax_role_arn, "a partition", "arn:aws-us-gov:iam::123456789012:role/db", true },
        { syntax_role_arn, "a path", "arn:aws-cn:iam::123456789012:role/a/b!c/db", true },
        { syntax_role_arn, "a name of each character", "arn:aws:iam::123456789012:role/A_+=,.@-9",
          true },
        { syntax_role_arn, "a name of 64 characters",
          "arn:aws:iam::123456789012:role/" TEN TEN TEN TEN TEN TEN "0123", true },
        { syntax_role_arn, "a name of 65 characters",
          "arn:aws:iam::123456789012:role/" TEN TEN TEN TEN TEN TEN "01234", false },
        { syntax_role_arn, "nothing", "", false },
        { syntax_role_arn, "another cloud", "arn:gcp:iam::123456789012:role/db", false },
        { syntax_role_arn, "an empty word in the partition", "arn:aws-:iam::123456789012:role/db",
          false },
        { syntax_role_arn, "a region", "arn:aws:iam:eu-central-1:123456789012:role/db", false },
        { syntax_role_arn, "11 digits", "arn:aws:iam::12345678901:role/db", false },
        { syntax_role_arn, "13 digits", "arn:aws:iam::1234567890123:role/db", false },
        { syntax_role_arn, "a user", "arn:aws:iam::123456789012:user/db", false },
        { syntax_role_arn, "an empty name", "arn:aws:iam::123456789012:role/", false },
        { syntax_role_arn, "an empty segment", "arn:aws:iam::123456789012:role/a//db", false },
        { syntax_role_arn, "a space in the path", "arn:aws:iam::123456789012:role/a b/db", false },
        { syntax_role_arn, "a space in the name", "arn:aws:iam::123456789012:role/d b", false },
};

START_TEST(judges_every_row) {
        const struct row *row = &rows[_i];
        /* A heap copy: a sanitizer sees every byte read too far. */
        char *copy = strdup(row->text);

        ck_assert_ptr_nonnull(copy);
        ck_assert_msg(row->judge(copy) == row->valid, "%s: %s", row->name, row->text);
        free(copy);
}
END_TEST

static const struct {
        const char *text;
        struct image_ref ref;
} references[] = {
        { "a", { 0 } },
        { "host:5000/a", { 0 } },
        { "a:v1", { .has_tag = true } },
        { "a:latest", { .has_tag = true, .is_latest = true } },
        { "latest", { 0 } },
        { "a:latest1", { .has_tag = true } },
        { "a@sha256:" HEX32 HEX32, { .has_digest = true } },
        { "a:latest@sha256:" HEX32 HEX32,
          { .has_tag = true, .has_digest = true, .is_latest = true } },
};

START_TEST(a_reference_tells_tag_and_digest) {
        struct image_ref ref = { 0 };

        ck_assert(image_ref_parse(references[_i].text, &ref));
        ck_assert_msg(ref.has_tag == references[_i].ref.has_tag &&
                              ref.has_digest == references[_i].ref.has_digest &&
                              ref.is_latest == references[_i].ref.is_latest,
                      "%s", references[_i].text);
}
END_TEST

int main(void) {
        Suite *suite = suite_create("syntax");
        TCase *tcase = tcase_create("syntax");
        SRunner *runner = srunner_create(suite);
        int failed;

        suite_add_tcase(suite, tcase);
        tcase_add_loop_test(tcase, judges_every_row, 0, (int)(sizeof(rows) / sizeof(rows[0])));
        tcase_add_loop_test(tcase, a_reference_tells_tag_and_digest, 0,
                            (int)(sizeof(references) / sizeof(references[0])));
        srunner_run_all(runner, CK_NORMAL);
        failed = srunner_ntests_failed(runner);
        srunner_free(runner);
        return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
