#include "str.h"

#include "arena.h"
#include "diag.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void str_release(struct str *b) {
    free(b->s);
    *b = (struct str)STR_INIT;
}

void str_clear(struct str *b) {
    b->len = 0;
    if (b->s) b->s[0] = 0;
}

static void reserve(struct str *b, size_t extra) {
    if (b->len + extra + 1 <= b->cap) return;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < b->len + extra + 1) cap *= 2;
    b->s = xrealloc(b->s, cap);
    b->cap = cap;
}

void str_addn(struct str *b, const char *text, size_t n) {
    reserve(b, n);
    if (n) memcpy(b->s + b->len, text, n);
    b->len += n;
    b->s[b->len] = 0;
}

void str_add(struct str *b, const char *text) { str_addn(b, text, strlen(text)); }

void str_addf(struct str *b, const char *fmt, ...) {
    va_list ap, ap2;
    va_start(ap, fmt);
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) BUG("bad format \"%s\"", fmt);
    reserve(b, (size_t)n);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap2);
    va_end(ap2);
    b->len += (size_t)n;
}

uint64_t fnv1a(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t checksum64(const void *data, size_t n) {
    // Four sums side by side keep the multiplier busy. Each step is a bijection of its sum: a changed word changes it
    // for good.
    uint64_t sums[4] = {1, 2, 3, 4}, words[4];
    const char *p = data;
    size_t i = 0;
    for (; n - i >= sizeof words; i += sizeof words) {
        memcpy(words, p + i, sizeof words);
        for (int k = 0; k < 4; k++) {
            sums[k] = (sums[k] ^ words[k]) * UINT64_C(0x9e3779b97f4a7c15);
            sums[k] ^= sums[k] >> 32;
        }
    }
    return fnv1a(fnv1a(fnv1a(FNV_INIT, sums, sizeof sums), p + i, n - i), &n, sizeof n);
}

bool str_has_prefix(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

bool str_has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static bool plain_start(const char *s) {
    return *s == '-' || *s == '+' || *s == '.' || (*s >= '0' && *s <= '9') || *s == 'i';
}

bool parse_i64(const char *s, int64_t *out) {
    if (!s || !plain_start(s)) return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || end == s || *end) return false;
    *out = v;
    return true;
}

bool parse_f64(const char *s, double *out) {
    if (!s || !plain_start(s)) return false;
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || *end || isnan(v) || (errno == ERANGE && fabs(v) > 1)) return false;
    *out = v;
    return true;
}
