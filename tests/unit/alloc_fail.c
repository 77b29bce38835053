/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/alloc_fail.h"

#include <cjson/cJSON.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static size_t left; /* allocations until one fails; 0: none does */
static bool fired;
static const char *secret; /* sought in what is freed; NULL: nothing is */
static size_t leaks;

/* The linker's names (ld --wrap). */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t len);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t len);
void __wrap_free(void *block);

static bool fail_now(void) {
        if (left == 0 || --left > 0)
                return false;
        fired = true;
        return true;
}

void *__wrap_malloc(size_t size) {
        if (fail_now())
                return NULL;
        /* Zeros where all of a block will be looked at, so that valgrind does not mind. */
        return secret ? __real_calloc(1, size) : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
        return fail_now() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
        return fail_now() ? NULL : __real_realloc(old, size);
}

char *__wrap_strdup(const char *text) {
        return fail_now() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t len) {
        return fail_now() ? NULL : __real_strndup(text, len);
}

void __wrap_free(void *block) {
        if (secret && block && memmem(block, malloc_usable_size(block), secret, strlen(secret)))
                leaks++;
        __real_free(block);
}

void alloc_fail_arm(size_t n) {
        cJSON_Hooks hooks = { .malloc_fn = __wrap_malloc, .free_fn = free };

        cJSON_InitHooks(&hooks);
        fired = false;
        left = n;
}

bool alloc_fail_disarm(void) {
        left = 0;
        return fired;
}

void alloc_secret_arm(const char *text) {
        leaks = 0;
        secret = text;
}

size_t alloc_secret_disarm(void) {
        secret = NULL;
        return leaks;
}
