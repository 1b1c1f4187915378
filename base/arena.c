// Block arena. Requests larger than a quarter block get a block of their own, so that a big constant wastes nothing.
#include "arena.h"

#include "diag.h"
#include "guard.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 256 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t pad[7]; // keeps the payload 64-byte aligned
};

void *xmalloc(size_t bytes) {
    void *p = malloc(bytes ? bytes : 1);
    if (!p) out_of_memory(bytes);
    return p;
}

void *xcalloc(size_t n, size_t size) {
    void *p = calloc(n ? n : 1, size ? size : 1);
    if (!p) out_of_memory(n * size);
    return p;
}

void *xrealloc(void *p, size_t bytes) {
    p = realloc(p, bytes ? bytes : 1);
    if (!p) out_of_memory(bytes);
    return p;
}

void arena_init(struct arena *a) { *a = (struct arena){0}; }

void arena_release(struct arena *a) {
    for (struct arena_block *b = a->blocks, *next; b; b = next) {
        next = b->next;
        free(b);
    }
    *a = (struct arena){0};
}

static char *block_new(struct arena *a, size_t payload) {
    size_t bytes = (sizeof(struct arena_block) + payload + 63) & ~(size_t)63;
    struct arena_block *b = aligned_alloc(64, bytes);
    if (!b) out_of_memory(bytes);
    b->next = a->blocks;
    a->blocks = b;
    return (char *)(b + 1);
}

void *arena_alloc(struct arena *a, size_t bytes) {
    size_t align = bytes >= 64 ? 64 : 16;
    if (bytes > SIZE_MAX / 2) out_of_memory(bytes);
    if (bytes > BLOCK_BYTES / 4) {
        char *p = block_new(a, bytes);
        return memset(p, 0, bytes);
    }
    uintptr_t at = ((uintptr_t)a->cur + align - 1) & ~(uintptr_t)(align - 1);
    if (!a->cur || at + bytes > (uintptr_t)a->end) {
        a->cur = block_new(a, BLOCK_BYTES);
        a->end = a->cur + BLOCK_BYTES;
        at = (uintptr_t)a->cur;
    }
    a->cur = (char *)at + bytes;
    return memset((char *)at, 0, bytes);
}

void *arena_array(struct arena *a, size_t n, size_t size) {
    if (size && n > SIZE_MAX / 2 / size) out_of_memory(SIZE_MAX);
    return arena_alloc(a, n * size);
}

void *arena_dup(struct arena *a, const void *src, size_t bytes) {
    void *p = arena_alloc(a, bytes);
    if (bytes) memcpy(p, src, bytes);
    return p;
}

char *arena_strdup(struct arena *a, const char *s) { return s ? arena_dup(a, s, strlen(s) + 1) : NULL; }

char *arena_printf(struct arena *a, const char *fmt, ...) {
    va_list ap, ap2;
    va_start(ap, fmt);
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) BUG("bad format \"%s\"", fmt);
    char *s = arena_alloc(a, (size_t)n + 1);
    vsnprintf(s, (size_t)n + 1, fmt, ap2);
    va_end(ap2);
    return s;
}

void *arena_grow(struct arena *a, void *old, size_t n, size_t *cap, size_t size) {
    if (n < *cap) return old;
    size_t want = *cap ? *cap * 2 : 8;
    while (want <= n) want *= 2;
    void *p = arena_array(a, want, size);
    if (old && *cap) memcpy(p, old, *cap * size);
    *cap = want;
    return p;
}

char *xstrdup(const char *s) {
    size_t n = strlen(s) + 1;
    return memcpy(xmalloc(n), s, n);
}
