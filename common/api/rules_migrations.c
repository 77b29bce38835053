/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/image_ref.h"
#include "common/api/rules.h"
#include "common/api/syntax.h"

static bool migrations_image_valid(const char *text) {
        struct image_ref ref;

        return image_ref_parse(text, &ref);
}

const struct rule rules_migrations[] = {
        { .name = "image",
          .type = RULE_STRING,
          .flags = RULE_REQUIRED,
          .max = 1024,
          .form = migrations_image_valid,
          .form_text = "must be an image reference, [host[:port]/]path[:tag][@digest]" },
        { .name = "dir",
          .type = RULE_STRING,
          .flags = RULE_NOT_EMPTY,
          .max = 1024,
          .form = syntax_dir,
          .form_text = "must be an absolute path without empty, \".\" and \"..\" segments, of "
                       "letters, digits, \".\", \"_\" and \"-\"" },
        { 0 },
};
