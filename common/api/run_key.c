/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/run_key.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/api/canonical.h"
#include "common/api/dbupgrade.h"
#include "common/api/hash.h"
#include "common/base/fault.h"
#include "common/base/strbuf.h"
#include "common/json/json_get.h"

/* The canonical texts are lines "<name> <length in bytes>:<value>\n"; the length keeps a value from
 * passing for further lines. A later version adds a line only for a member that was not there
 * before and is set to other than its default.
 *
 *     dbupgrade run 1
 *     migrations.image 12:example/m:v1
 *     migrations.dir 11:/migrations
 *     database.type 10:selfHosted
 *     database.connection.urlSecretRef.name 2:db         with connection only
 *     database.connection.urlSecretRef.key 3:url
 *     database.aws.roleArn …                             with aws only, then
 *     database.aws.region, .host, .port, .dbName, .username
 *
 *     dbupgrade attempt 1
 *     run 64:<run key>
 *     runner 31:{"activeDeadlineSeconds":600}            canonical.h
 *     retry 1:2                                          with the annotation only
 *
 *     dbupgrade name 1
 *     uid 36:<owner UID>
 *     attempt 64:<attempt key>
 *     number 1:1
 */

/* Above any object that etcd holds (1.5 MiB by default). */
#define RUN_KEY_TEXT_MAX ((size_t)4 << 20)

static void run_key_line(struct strbuf *b, const char *name, const char *value) {
        strbuf_printf(b, "%s %zu:", name, strlen(value));
        strbuf_str(b, value);
        strbuf_char(b, '\n');
}

static void run_key_number(struct strbuf *b, const char *name, int64_t value) {
        char text[sizeof("-9223372036854775808")];

        (void)snprintf(text, sizeof(text), "%" PRId64, value);
        run_key_line(b, name, text);
}

static int run_key_hash(const struct strbuf *b, char ret_key[RUN_KEY_SIZE], struct fault *f) {
        int r = strbuf_check(b, f);

        return r ? r : hash_hex(b->ptr, b->len, ret_key, f);
}

int run_key(const struct dbupgrade_spec *spec, char ret_key[RUN_KEY_SIZE], struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(RUN_KEY_TEXT_MAX);

        strbuf_str(&b, "dbupgrade run 1\n");
        run_key_line(&b, "migrations.image", spec->image);
        run_key_line(&b, "migrations.dir", spec->dir);
        run_key_line(&b, "database.type", database_type_name(spec->database_type));
        if (spec->has_connection) {
                run_key_line(&b, "database.connection.urlSecretRef.name", spec->secret_name);
                run_key_line(&b, "database.connection.urlSecretRef.key", spec->secret_key);
        }
        if (spec->has_aws) {
                run_key_line(&b, "database.aws.roleArn", spec->aws.role_arn);
                run_key_line(&b, "database.aws.region", spec->aws.region);
                run_key_line(&b, "database.aws.host", spec->aws.host);
                run_key_number(&b, "database.aws.port", spec->aws.port);
                run_key_line(&b, "database.aws.dbName", spec->aws.db_name);
                run_key_line(&b, "database.aws.username", spec->aws.username);
        }
        return run_key_hash(&b, ret_key, f);
}

int attempt_key(const char *run_key_hex, const struct cJSON *spec_tree, const char *retry,
                char ret_key[RUN_KEY_SIZE], struct fault *f) {
        CLEANUP(strbuf_done) struct strbuf runner = STRBUF_INIT(RUN_KEY_TEXT_MAX);
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(RUN_KEY_TEXT_MAX);
        int r = canonical_runner(json_member(spec_tree, "runner"), &runner, f);

        if (r)
                return r;
        strbuf_str(&b, "dbupgrade attempt 1\n");
        run_key_line(&b, "run", run_key_hex);
        run_key_line(&b, "runner", strbuf_text(&runner));
        if (retry)
                run_key_line(&b, "retry", retry);
        return run_key_hash(&b, ret_key, f);
}

void run_hash8(const char *owner_uid, const char *attempt_key_hex, int64_t run_number,
               char ret_hash[RUN_HASH8_SIZE]) {
        CLEANUP(strbuf_done) struct strbuf b = STRBUF_INIT(RUN_KEY_TEXT_MAX);
        char hex[HASH_HEX_SIZE];

        strbuf_str(&b, "dbupgrade name 1\n");
        run_key_line(&b, "uid", owner_uid);
        run_key_line(&b, "attempt", attempt_key_hex);
        run_key_number(&b, "number", run_number);
        if (b.bad) /* as hash_hex_or_abort */
                abort();
        hash_hex_or_abort(b.ptr, b.len, hex);
        memcpy(ret_hash, hex, RUN_HASH8_SIZE - 1);
        ret_hash[RUN_HASH8_SIZE - 1] = '\0';
}
