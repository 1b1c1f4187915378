// The two passes of a resize on rows of 8-bit pixels (resize.c), in SSE2, which every x86-64 has.
#ifndef SMKD_RT_RESIZE_ROWS_H
#define SMKD_RT_RESIZE_ROWS_H

#include <stddef.h>
#include <stdint.h>

enum { RESIZE_BITS = 32 - 8 - 2 }; // of a weight's fraction: sums of 8-bit values stay within 32 bits

// Which pixels make up each of an axis' results, and how much each counts: pairs of neighbours from `first` on. Of two
// weights of a pair, the upper parts lie in the 16-bit halves of one word and the lower 11 bits in those of the next.
struct resize_axis {
    int size, stride; // results; pairs that there is room for in a row of weights
    int *first, *pairs;
    int32_t *weights; // [size][stride][2]
};
void resize_set_pair(int32_t word[2], int32_t a, int32_t b);

// One row. The pixel behind an odd number of them is read, too: it must be there.
void resize_across(const struct resize_axis *a, const uint8_t *row, uint8_t *to);
// Row y of the result, of `n` bytes, from rows that are `stride` apart; row `last` is the last there is.
void resize_down(const struct resize_axis *a, int y, const uint8_t *rows, size_t stride, int last, size_t n,
                 uint8_t *to);

#endif
