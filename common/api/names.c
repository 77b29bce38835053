/* SPDX-License-Identifier: Apache-2.0 */
#include "common/api/names.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "common/api/hash.h"

#define NAMES_JOB_PREFIX "dbupgrade-"
/* '-' and 10 hex digits of the name's own hash, behind a name that was cut. */
#define NAMES_CUT_LEN 11
/* What prefix and "-<hash8>" leave of a DNS label. */
#define NAMES_JOB_ROOM (NAMES_LABEL_SIZE - sizeof(NAMES_JOB_PREFIX) - RUN_HASH8_SIZE)

/* Writes the name in at most `room` characters, cut and hashed unless it fits as it is. */
static void names_fit(const char *name, bool dots, size_t room, char ret_name[NAMES_LABEL_SIZE]) {
        char hash[HASH_HEX_SIZE];
        size_t len = strlen(name), keep = room - NAMES_CUT_LEN;

        if (len <= room && (dots || !strchr(name, '.'))) {
                memcpy(ret_name, name, len + 1);
                return;
        }
        hash_hex_or_abort(name, len, hash);
        (void)snprintf(ret_name, NAMES_LABEL_SIZE, "%.*s-%.*s", (int)keep, name, NAMES_CUT_LEN - 1,
                       hash);
        for (char *dot = ret_name; !dots && (dot = strchr(dot, '.'));)
                *dot = '-';
}

void names_job(const char *object_name, const char hash8[RUN_HASH8_SIZE],
               char ret_name[NAMES_LABEL_SIZE]) {
        char name[NAMES_LABEL_SIZE];

        names_fit(object_name, false, NAMES_JOB_ROOM, name);
        (void)snprintf(ret_name, NAMES_LABEL_SIZE, NAMES_JOB_PREFIX "%.*s-%.*s",
                       (int)NAMES_JOB_ROOM, name, RUN_HASH8_SIZE - 1, hash8);
}

void names_label(const char *object_name, char ret_label[NAMES_LABEL_SIZE]) {
        names_fit(object_name, true, NAMES_LABEL_SIZE - 1, ret_label);
}
