/* SPDX-License-Identifier: Apache-2.0 */
/* OCI image references, [host[:port]/]path[:tag][@digest], by the grammar of the distribution
 * project, without its IPv6 hosts. Nothing in them needs quoting in a shell. Pure. Thread-safe. */
#pragma once

#include <stdbool.h>

struct image_ref {
        bool has_tag, has_digest;
        bool is_latest; /* the tag is "latest" */
};

/* Return: false when text is none; *ret_ref is untouched then. */
bool image_ref_parse(const char *text, struct image_ref *ret_ref);
