// Arithmetic on numbers that come from outside: sizes, steps, counts and scales out of a file. Each operation says
// whether its result is the mathematical one; where it returns false, *r is not to be used. What our own passes compute
// from sizes that were looked at once needs none of this.
#ifndef SMKD_BASE_CHECKED_H
#define SMKD_BASE_CHECKED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(int64_t a, int64_t b, int64_t *r) { return !__builtin_add_overflow(a, b, r); }
static inline bool checked_sub(int64_t a, int64_t b, int64_t *r) { return !__builtin_sub_overflow(a, b, r); }
static inline bool checked_mul(int64_t a, int64_t b, int64_t *r) { return !__builtin_mul_overflow(a, b, r); }
static inline bool checked_neg(int64_t a, int64_t *r) { return checked_sub(0, a, r); }

// Truncates toward zero as C's `/` and `%` do; false for a divisor of 0 and for INT64_MIN by -1.
static inline bool checked_div(int64_t a, int64_t b, int64_t *r) {
    if (b == 0 || (a == INT64_MIN && b == -1)) return false;
    *r = a / b;
    return true;
}
static inline bool checked_rem(int64_t a, int64_t b, int64_t *r) {
    if (b == 0) return false;
    *r = b == -1 ? 0 : a % b;
    return true;
}

// The product of n factors, none of them negative: 1 for none, 0 as soon as one is 0, wherever it stands.
static inline bool checked_product(const int64_t *v, size_t n, int64_t *r) {
    int64_t product = 1;
    bool fits = true, zero = false;
    for (size_t i = 0; i < n; i++) {
        if (v[i] < 0) return false;
        zero |= v[i] == 0;
        fits = fits && checked_mul(product, v[i], &product);
    }
    *r = zero ? 0 : product;
    return zero || fits;
}

// v truncated toward zero, where that is an int64_t: neither NaN nor infinite nor beyond. A double cannot hold
// INT64_MAX; what it rounds to, 2^63, is the first that does not fit.
static inline bool checked_i64(double v, int64_t *r) {
    if (!(v >= -0x1p63 && v < 0x1p63)) return false;
    *r = (int64_t)v;
    return true;
}

// The same of a double that must be whole already: a size, an axis, a count.
static inline bool checked_whole(double v, int64_t *r) { return checked_i64(v, r) && (double)*r == v; }

#endif
