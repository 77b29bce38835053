/* SPDX-License-Identifier: Apache-2.0 */
/* Events for people (events.k8s.io/v1), as kubectl describe shows them.
 *
 * An event's name is a hash of what it reports, so that reporting it twice makes one event: the
 * server answers the second with 409, which counts as success here.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "common/base/cleanup.h"

struct fault;
struct kube;
struct strbuf;

/* Who reports. */
struct event_reporter {
        const char *controller;    /* a qualified name, such as "example.org/operator" */
        const char *instance;      /* the pod's name; cut to 128 bytes */
        const char *field_manager; /* "dbupgrade-reconciler" */
};

/* The object that the event is about: all from its metadata. */
struct event_regarding {
        const char *api_version, *kind;
        const char *namespace_, *name, *uid, *resource_version;
};

struct event {
        struct event_regarding regarding;
        bool warning;       /* type Warning instead of Normal */
        const char *reason; /* CamelCase, 1 to 128 bytes, as action */
        const char *action;
        const char *note; /* cut to EVENT_NOTE_MAX on a character's boundary */
        const char *key;  /* with the object's uid and the reason it makes the name: a Job's UID, or
                             a  lastTransitionTime */
};

/* validation of events.k8s.io/v1 */
#define EVENT_NOTE_MAX 1024
#define EVENT_TEXT_MAX 128
/* A DNS subdomain has at most 253 characters. */
#define EVENT_NAME_SIZE 254

/* "<object's name>.<16 hex digits>"; a long name is cut. Pure. */
void event_name(const struct event *event, char ret_name[EVENT_NAME_SIZE]);

/* Appends the object to be POSTed. Pure; errors are the strbuf's. */
void event_write(const struct event *event, const struct event_reporter *reporter, int64_t wall_us,
                 struct strbuf *out);

/* Sends it, within 10 s. Nothing depends on events: callers may ignore the result. Return: 0 (also
 * when it exists already, or when its namespace is being deleted), -FAULT_DENIED, -FAULT_INVALID,
 * -FAULT_IO, -FAULT_PROTO, -FAULT_NOMEM. */
int event_post(const struct kube *k, const struct event *event,
               const struct event_reporter *reporter, int64_t wall_us, struct fault *f);
