// A growable string. Always NUL-terminated once anything was appended; `s` may be NULL while empty.
#ifndef SMKD_BASE_STR_H
#define SMKD_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    char *s;
    size_t len, cap;
};
#define STR_INIT {0}

void str_release(struct str *b);
void str_clear(struct str *b); // length 0, memory kept
void str_add(struct str *b, const char *text);
void str_addn(struct str *b, const char *text, size_t n);
void str_addf(struct str *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// FNV-1a over bytes, for content keys (never for security). Chain by passing the previous value; start with FNV_INIT.
#define FNV_INIT 0xcbf29ce484222325u
uint64_t fnv1a(uint64_t h, const void *data, size_t n);

// A sum over the bytes of a whole file, several times faster than fnv1a. No change of a single byte goes unnoticed.
uint64_t checksum64(const void *data, size_t n);

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

// Strict number parsing: the whole string, no leading blanks, in range. Return false and leave *out alone otherwise.
bool parse_i64(const char *s, int64_t *out);
bool parse_f64(const char *s, double *out); // accepts inf; rejects nan

#endif
