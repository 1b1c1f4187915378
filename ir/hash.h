// The random bits of dropout. A pure function of (seed, salt, element), so that a mask depends neither on threads nor
// on how the tensor lies in memory, and the backward pass could recompute it. Generated code computes the same,
// vectorised: everything per element is 32-bit.
#ifndef SMKD_IR_HASH_H
#define SMKD_IR_HASH_H

#include <stdint.h>

// The murmur3 finaliser: a bijection of 32 bits in which every input bit flips every output bit about half the time.
static inline uint32_t ir_mix32(uint32_t h) {
    h ^= h >> 16;
    h *= UINT32_C(0x85ebca6b);
    h ^= h >> 13;
    h *= UINT32_C(0xc2b2ae35);
    h ^= h >> 16;
    return h;
}

// The per-launch part: two 32-bit keys from the run-time seed and the node's salt. Computed once, not per element.
struct ir_dropout_key {
    uint32_t k0, k1;
};
static inline struct ir_dropout_key ir_dropout_key_of(int64_t seed, int64_t salt) {
    uint32_t s0 = (uint32_t)(uint64_t)seed, s1 = (uint32_t)((uint64_t)seed >> 32);
    uint32_t t0 = (uint32_t)(uint64_t)salt, t1 = (uint32_t)((uint64_t)salt >> 32);
    uint32_t k0 = ir_mix32(s0 ^ ir_mix32(t0 + UINT32_C(0x9e3779b9)));
    uint32_t k1 = ir_mix32(s1 ^ ir_mix32(t1 ^ k0) ^ UINT32_C(0x7f4a7c15));
    return (struct ir_dropout_key){k0, k1};
}

// 24 random bits for element number `index` of the logical row-major tensor. Two rounds, keyed before each; the upper
// half of the index enters through a rotated multiply (a constant 0 for tensors below 2^32 elements).
static inline uint32_t ir_dropout_bits(struct ir_dropout_key key, uint64_t index) {
    uint32_t lo = (uint32_t)index, hi = (uint32_t)(index >> 32);
    uint32_t h = ir_mix32(lo ^ key.k0 ^ (hi * UINT32_C(0x9e3779b1)));
    h = ir_mix32(h + key.k1);
    return h >> 8;
}

// Keep iff bits * 2^-24 >= ratio, that is bits >= threshold with threshold = ceil(ratio * 2^24), exact in double.
// A kept element is multiplied by 1/(1-ratio), rounded to f32 by generated code. ratio in [0, 1).
static inline uint32_t ir_dropout_threshold(double ratio) {
    double t = ratio * 0x1p24;
    uint32_t k = (uint32_t)t;
    return (double)k < t ? k + 1 : k;
}

// The mask at an element. A negative seed turns dropout off at run time: all ones.
static inline double ir_dropout_factor(int64_t seed, int64_t salt, double ratio, uint64_t index) {
    if (seed < 0) return 1;
    return ir_dropout_bits(ir_dropout_key_of(seed, salt), index) >= ir_dropout_threshold(ratio) ? 1 / (1 - ratio) : 0;
}

// A number from 0 up to 1 at an element.
static inline double ir_uniform(int64_t seed, int64_t salt, uint64_t index) {
    return (double)ir_dropout_bits(ir_dropout_key_of(seed, salt), index) * 0x1p-24;
}

#endif
