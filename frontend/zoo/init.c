// Initial weights: a counter-based generator (splitmix64's finaliser over key + counter * golden ratio), so that any
// element can be computed on its own and a seed gives the same file on every machine whose libm agrees.
#include "zoo.h"

#include <math.h>
#include <string.h>

static uint64_t mix(uint64_t z) {
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static uint64_t stream_key(uint64_t seed, const char *name) {
    return mix(mix(seed + 0x9e3779b97f4a7c15u) ^ fnv1a(FNV_INIT, name, strlen(name)));
}

// Uniform in (0, 1]: never 0, whose logarithm Box-Muller would take.
static double draw(uint64_t key, uint64_t counter) {
    return ((double)(mix(key + counter * 0x9e3779b97f4a7c15u) >> 11) + 1.0) * 0x1p-53;
}

void zoo_init_normal(float *dst, size_t n, double std, uint64_t seed, const char *name) {
    const uint64_t key = stream_key(seed, name);
    const double two_pi = 6.283185307179586477;
    // Box-Muller: two uniforms make two independent normals.
    for (size_t i = 0; i < n; i += 2) {
        double r = std * sqrt(-2.0 * log(draw(key, i))), angle = two_pi * draw(key, i + 1);
        dst[i] = (float)(r * cos(angle));
        if (i + 1 < n) dst[i + 1] = (float)(r * sin(angle));
    }
}

void zoo_init_uniform(float *dst, size_t n, double bound, uint64_t seed, const char *name) {
    const uint64_t key = stream_key(seed, name);
    for (size_t i = 0; i < n; i++) dst[i] = (float)(bound * (1.0 - 2.0 * draw(key, i)));
}
