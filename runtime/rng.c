// Philox4x32-10 (Salmon et al. 2011): random numbers as a function of (seed, stream, position).
#include "runtime.h"

static void philox(uint32_t c[4], uint32_t k0, uint32_t k1) {
    for (int r = 0; r < 10; r++) {
        uint64_t p0 = (uint64_t)0xD2511F53u * c[0], p1 = (uint64_t)0xCD9E8D57u * c[2];
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c[1] ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c[3] ^ k1;
        c[0] = n0;
        c[1] = (uint32_t)p1;
        c[2] = n2;
        c[3] = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
}

void rt_rng_init(struct rt_rng *r, uint64_t seed, uint64_t stream) {
    // The key is the seed; the stream fills the upper half of the counter, the position the lower.
    *r = (struct rt_rng){.key = seed, .counter = 0};
    r->stream = stream;
}

uint32_t rt_rng_u32(struct rt_rng *r) {
    if (!r->left) {
        uint32_t c[4] = {(uint32_t)r->counter, (uint32_t)(r->counter >> 32), (uint32_t)r->stream,
                         (uint32_t)(r->stream >> 32)};
        philox(c, (uint32_t)r->key, (uint32_t)(r->key >> 32));
        for (int i = 0; i < 4; i++) r->buf[i] = c[i];
        r->counter++;
        r->left = 4;
    }
    return r->buf[4 - r->left--];
}

double rt_rng_uniform(struct rt_rng *r) {
    uint64_t hi = rt_rng_u32(r), lo = rt_rng_u32(r);
    return (double)((hi << 32 | lo) >> 11) * 0x1p-53;
}

uint64_t rt_rng_below(struct rt_rng *r, uint64_t n) {
    if (n < 2) return 0;
    uint64_t limit = UINT64_MAX - UINT64_MAX % n, v; // values from limit on would favour small results
    do {
        uint64_t hi = rt_rng_u32(r), lo = rt_rng_u32(r);
        v = hi << 32 | lo;
    } while (v >= limit);
    return v % n;
}

void rt_rng_shuffle(struct rt_rng *r, int64_t *idx, size_t n) {
    for (size_t i = n; i > 1; i--) {
        size_t j = (size_t)rt_rng_below(r, i);
        int64_t t = idx[i - 1];
        idx[i - 1] = idx[j];
        idx[j] = t;
    }
}
