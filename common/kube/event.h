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
        bool warning; /* type Warning instead of Normal */
        bool repeats; /* see event_queue.h: the same note under another key is a repeat of it */
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

/* When it happened, wall time in microseconds, and how often since. */
struct event_when {
        int64_t first_us;
        int64_t last_us; /* of a series */
        int64_t count;   /* below 2: no series */
};

/* Appends the object to be POSTed. Pure; errors are the strbuf's. */
void event_write(const struct event *event, const struct event_reporter *reporter,
                 const struct event_when *when, struct strbuf *out);

/* Appends the merge patch that tells of a series (when->count >= 2). Pure likewise. */
void event_write_series(const struct event_when *when, struct strbuf *out);

/* Outcomes of event_send. */
enum {
        EVENT_E_GONE = 1, /* the event to be patched is there no more: create it anew */
        EVENT_E_LATER,    /* nobody could take it now: no answer, 401, 429, 502 to 504, not allowed
                             to write, stopped */
};

/* POSTs it; with patch, PATCHes the series of one that was posted before. Return: 0 (also when it
 * exists already, or when its namespace is being deleted), EVENT_E_*, or refused for good:
 * -FAULT_DENIED, -FAULT_INVALID, -FAULT_IO, -FAULT_PROTO, -FAULT_NOMEM. */
int event_send(const struct kube *k, const struct event *event,
               const struct event_reporter *reporter, const struct event_when *when, bool patch,
               int64_t timeout_ms, struct fault *f) MUST_CHECK;

/* Sends it, within 10 s. Nothing depends on events: callers may ignore the result. Return: 0 or
 * -FAULT_* like event_send, -FAULT_IO for what could be tried again. */
int event_post(const struct kube *k, const struct event *event,
               const struct event_reporter *reporter, int64_t wall_us, struct fault *f);
