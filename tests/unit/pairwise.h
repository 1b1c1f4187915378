// Test cases that together hold every pair of values of every two factors, deterministically: most mistakes need one
// unlucky value or two that meet, and pairs need tens of cases where the full product needs millions.
//
//     struct pairwise p = {.factors = 3, .size = {7, 6, 2}, .valid = fits};
//     size_t n = pairwise_make(&p);      // p.row[i][f] < p.size[f]
#ifndef SMKD_TEST_PAIRWISE_H
#define SMKD_TEST_PAIRWISE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { PW_FACTORS = 12, PW_VALUES = 16, PW_ROWS = 256 };

struct pairwise {
    int factors, size[PW_FACTORS];
    bool (*valid)(const int *row); // NULL: every row is
    int row[PW_ROWS][PW_FACTORS];
    size_t rows, impossible; // pairs for which no valid row was found
    uint64_t random;
    bool done[PW_FACTORS][PW_VALUES][PW_FACTORS][PW_VALUES];
};

static int pairwise_random(struct pairwise *p, int below) {
    p->random = p->random * 6364136223846793005u + 1442695040888963407u;
    return (int)((p->random >> 33) % (uint64_t)below);
}

// How many pairs a row holds that no other does, among the factors that are set (>= 0).
static int pairwise_gain(const struct pairwise *p, const int *row) {
    int gain = 0;
    for (int f = 0; f < p->factors; f++)
        for (int g = f + 1; g < p->factors; g++) gain += row[f] >= 0 && row[g] >= 0 && !p->done[f][row[f]][g][row[g]];
    return gain;
}

// Sets what is not yet set, in random order: to whatever gains most, or, when `blind`, to anything.
static void pairwise_fill(struct pairwise *p, int *row, bool blind) {
    int from = pairwise_random(p, p->factors);
    for (int k = 0; k < p->factors; k++) {
        int f = (from + k) % p->factors, best = -1, best_gain = -1;
        if (row[f] >= 0) continue;
        int first = pairwise_random(p, p->size[f]);
        for (int i = 0; i < (blind ? 1 : p->size[f]); i++) {
            row[f] = (first + i) % p->size[f];
            int gain = pairwise_gain(p, row);
            if (gain > best_gain) best_gain = gain, best = row[f];
        }
        row[f] = best;
    }
}

// The best valid row of many that holds the pair (f, v, g, w).
static bool pairwise_row(struct pairwise *p, int f, int v, int g, int w, int *best) {
    enum { GREEDY = 60, TRIES = 3000 };
    int best_gain = 0;
    for (int i = 0; i < TRIES && (i < GREEDY || !best_gain); i++) {
        int row[PW_FACTORS];
        for (int k = 0; k < p->factors; k++) row[k] = -1;
        row[f] = v, row[g] = w;
        pairwise_fill(p, row, i >= GREEDY);
        int gain = p->valid && !p->valid(row) ? 0 : pairwise_gain(p, row);
        if (gain <= best_gain) continue;
        best_gain = gain;
        memcpy(best, row, sizeof row);
    }
    return best_gain > 0;
}

static size_t pairwise_make(struct pairwise *p) {
    for (int f = 0; f < p->factors; f++)
        for (int g = f + 1; g < p->factors; g++)
            for (int v = 0; v < p->size[f]; v++)
                for (int w = 0; w < p->size[g]; w++) {
                    if (p->done[f][v][g][w]) continue;
                    int *row = p->row[p->rows];
                    if (p->rows == PW_ROWS || !pairwise_row(p, f, v, g, w, row)) {
                        p->impossible++;
                        continue;
                    }
                    p->rows++;
                    for (int a = 0; a < p->factors; a++)
                        for (int b = a + 1; b < p->factors; b++) p->done[a][row[a]][b][row[b]] = true;
                }
    return p->rows;
}

#endif
