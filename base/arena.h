// Bump allocation with one lifetime. Everything a compilation makes lives in an arena and is freed with it, so the
// compiler has no frees and no unwinding. Where memory runs out, out_of_memory (guard.h) ends the program.
#ifndef SMKD_BASE_ARENA_H
#define SMKD_BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

struct arena_block;
struct arena {
    struct arena_block *blocks; // newest first
    char *cur, *end;            // free range of the newest block
};

void arena_init(struct arena *a);
void arena_release(struct arena *a); // frees everything; the arena may be used again

// `bytes` of zeroed memory aligned to 16 (64 when bytes >= 64). Never NULL.
void *arena_alloc(struct arena *a, size_t bytes);
// An array of n elements; one whose size overflows is more than there is.
void *arena_array(struct arena *a, size_t n, size_t size);
void *arena_dup(struct arena *a, const void *src, size_t bytes);
char *arena_strdup(struct arena *a, const char *s); // NULL stays NULL
char *arena_printf(struct arena *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define ARENA_NEW(a, T)      ((T *)arena_alloc((a), sizeof(T)))
#define ARENA_ARRAY(a, T, n) ((T *)arena_array((a), (n), sizeof(T)))

// Grows an arena-owned array so that index `n` is valid. The old copy stays in the arena (amortised waste <= 2x).
void *arena_grow(struct arena *a, void *old, size_t n, size_t *cap, size_t size);
#define ARENA_PUSH(a, ptr, n, cap) ((ptr) = arena_grow((a), (ptr), (n), &(cap), sizeof *(ptr)), &(ptr)[(n)++])

// malloc family that ends in out_of_memory on failure, for memory that must be freed early (large scratch).
void *xmalloc(size_t bytes);
void *xcalloc(size_t n, size_t size);
void *xrealloc(void *p, size_t bytes);
char *xstrdup(const char *s);

#endif
