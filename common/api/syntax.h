/* SPDX-License-Identifier: Apache-2.0 */
/* The forms of short strings in the spec; lengths are judged elsewhere. Pure. Thread-safe. */
#pragma once

#include <stdbool.h>

/* RFC 1123 labels in lower case, separated by '.'. */
bool syntax_subdomain(const char *text);

/* A key in a Secret's data: [A-Za-z0-9._-]+, not "." and not beginning with "..". */
bool syntax_secret_key(const char *text);

/* An absolute path of segments [A-Za-z0-9._-]+, none of them "." or "..". It goes into a shell
 * command and needs no quoting. */
bool syntax_dir(const char *text);

/* arn:PARTITION:iam::ACCOUNT:role/[PATH/]NAME, any AWS partition (aws, aws-cn, aws-us-gov …). */
bool syntax_role_arn(const char *text);
