#include "resize_rows.h"

#include <emmintrin.h>
#include <string.h>

// A product of 16-bit numbers is exact in 32 bits, and one instruction makes and adds two: so weights of 23 bits come
// in two parts, and pixels in pairs.
enum { LOW = 11, AT_ONCE = 1024 }; // bits of the lower part; pairs whose lower sums surely stay within 32 bits

void resize_set_pair(int32_t word[2], int32_t a, int32_t b) {
    const int32_t mask = (1 << LOW) - 1;
    const int16_t part[4] = {(int16_t)(a >> LOW), (int16_t)(b >> LOW), (int16_t)(a & mask), (int16_t)(b & mask)};
    memcpy(word, part, sizeof part);
}

static inline __m128i joined(__m128i sum, __m128i high, __m128i low) {
    return _mm_add_epi32(sum, _mm_add_epi32(_mm_slli_epi32(high, LOW), low));
}

static inline __m128i half(void) { return _mm_set1_epi32(1 << (RESIZE_BITS - 1)); }

// Six bytes, two pixels, as (red, red), (green, green), (blue, blue).
static inline __m128i two_pixels(const uint8_t *p) {
    uint32_t four;
    uint16_t two;
    memcpy(&four, p, sizeof four);
    memcpy(&two, p + 4, sizeof two);
    __m128i v = _mm_insert_epi16(_mm_cvtsi32_si128((int32_t)four), two, 2);
    return _mm_unpacklo_epi8(_mm_unpacklo_epi8(v, _mm_srli_si128(v, 3)), _mm_setzero_si128());
}

void resize_across(const struct resize_axis *a, const uint8_t *row, uint8_t *to) {
    for (int x = 0; x < a->size; x++, to += 3) {
        const int32_t *w = a->weights + (size_t)x * (size_t)a->stride * 2;
        const uint8_t *p = row + (size_t)a->first[x] * 3;
        __m128i sum = half();
        for (int left = a->pairs[x]; left > 0; left -= AT_ONCE) {
            __m128i high = _mm_setzero_si128(), low = high;
            for (int k = left < AT_ONCE ? left : AT_ONCE; k > 0; k--, p += 6, w += 2) {
                __m128i v = two_pixels(p);
                high = _mm_add_epi32(high, _mm_madd_epi16(v, _mm_set1_epi32(w[0])));
                low = _mm_add_epi32(low, _mm_madd_epi16(v, _mm_set1_epi32(w[1])));
            }
            sum = joined(sum, high, low);
        }
        __m128i v = _mm_srai_epi32(sum, RESIZE_BITS);
        v = _mm_packus_epi16(_mm_packs_epi32(v, v), v);
        const uint32_t rgb = (uint32_t)_mm_cvtsi128_si32(v);
        memcpy(to, &rgb, 3);
    }
}

// 16 bytes of a row.
static inline void down_16(const int32_t *w, int pairs, const uint8_t *rows, size_t stride, const uint8_t *last,
                           uint8_t *to) {
    const __m128i zero = _mm_setzero_si128();
    __m128i sum[4] = {half(), half(), half(), half()};
    for (int left = pairs; left > 0; left -= AT_ONCE) {
        __m128i high[4] = {zero, zero, zero, zero}, low[4] = {zero, zero, zero, zero};
        for (int k = left < AT_ONCE ? left : AT_ONCE; k > 0; k--, rows += 2 * stride, w += 2) {
            const __m128i a = _mm_loadu_si128((const __m128i *)rows);
            const __m128i b = _mm_loadu_si128((const __m128i *)(rows < last ? rows + stride : rows));
            const __m128i upper = _mm_unpackhi_epi8(a, b), lower = _mm_unpacklo_epi8(a, b);
            const __m128i v[4] = {_mm_unpacklo_epi8(lower, zero), _mm_unpackhi_epi8(lower, zero),
                                  _mm_unpacklo_epi8(upper, zero), _mm_unpackhi_epi8(upper, zero)};
            for (int i = 0; i < 4; i++) {
                high[i] = _mm_add_epi32(high[i], _mm_madd_epi16(v[i], _mm_set1_epi32(w[0])));
                low[i] = _mm_add_epi32(low[i], _mm_madd_epi16(v[i], _mm_set1_epi32(w[1])));
            }
        }
        for (int i = 0; i < 4; i++) sum[i] = joined(sum[i], high[i], low[i]);
    }
    for (int i = 0; i < 4; i++) sum[i] = _mm_srai_epi32(sum[i], RESIZE_BITS);
    _mm_storeu_si128((__m128i *)to, _mm_packus_epi16(_mm_packs_epi32(sum[0], sum[1]), _mm_packs_epi32(sum[2], sum[3])));
}

void resize_down(const struct resize_axis *a, int y, const uint8_t *rows, size_t stride, int last, size_t n,
                 uint8_t *to) {
    const int32_t *w = a->weights + (size_t)y * (size_t)a->stride * 2;
    const uint8_t *first = rows + (size_t)a->first[y] * stride, *end = rows + (size_t)last * stride;
    if (n >= 16) {
        for (size_t i = 0; i + 16 <= n; i += 16) down_16(w, a->pairs[y], first + i, stride, end + i, to + i);
        if (n % 16) down_16(w, a->pairs[y], first + n - 16, stride, end + n - 16, to + n - 16);
        return;
    }
    // A narrow image: its rows with zeros behind them, pair by pair, would cost more than they are worth.
    for (size_t i = 0; i < n; i++) {
        int32_t sum = 1 << (RESIZE_BITS - 1);
        for (int k = 0; k < a->pairs[y]; k++) {
            int16_t part[4];
            const uint8_t *p = first + (size_t)(2 * k) * stride + i;
            memcpy(part, w + 2 * k, sizeof part);
            sum += p[0] * (part[0] * (1 << LOW) + part[2]);
            if (part[1] | part[3]) sum += p[stride] * (part[1] * (1 << LOW) + part[3]);
        }
        sum >>= RESIZE_BITS;
        to[i] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}
