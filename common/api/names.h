/* SPDX-License-Identifier: Apache-2.0 */
/* Names, labels and annotations that the operator gives to what it makes. Pure. Thread-safe. */
#pragma once

#include "common/api/dbupgrade.h"
#include "common/api/run_key.h"

#define NAMES_LABEL_OWNER_UID      DBUPGRADE_GROUP "/owner-uid"
#define NAMES_LABEL_NAME           DBUPGRADE_GROUP "/name"
#define NAMES_LABEL_APP            "app.kubernetes.io/name"
#define NAMES_LABEL_APP_VALUE      "dbupgrade-migration"
#define NAMES_LABEL_MANAGED_BY     "app.kubernetes.io/managed-by"
#define NAMES_MANAGED_BY_VALUE     "dbupgrade-operator"
#define NAMES_ANNOTATION_RUN_KEY   DBUPGRADE_GROUP "/run-key"
#define NAMES_ANNOTATION_ATTEMPT   DBUPGRADE_GROUP "/attempt-key"
#define NAMES_ANNOTATION_RUN       DBUPGRADE_GROUP "/run"
#define NAMES_ANNOTATION_DBUPGRADE DBUPGRADE_GROUP "/dbupgrade"
#define NAMES_FIELD_MANAGER        "dbupgrade-reconciler"

/* A DNS label and a label value have at most 63 characters (RFC 1123, Kubernetes labels). */
#define NAMES_LABEL_SIZE 64

/* "dbupgrade-<name>-<hash8>": at most 63 characters and a DNS label; a name that is too long for
 * that or has dots is cut (dots become '-') and followed by '-' and 10 hex digits of its own
 * SHA-256. */
void names_job(const char *object_name, const char hash8[RUN_HASH8_SIZE],
               char ret_name[NAMES_LABEL_SIZE]);

/* The value of NAMES_LABEL_NAME: the name itself when it fits in a label value, otherwise cut and
 * followed by '-' and 10 hex digits of its SHA-256. */
void names_label(const char *object_name, char ret_label[NAMES_LABEL_SIZE]);
