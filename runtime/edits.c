#include "edits.h"

#include "rt_internal.h"

#include <stdlib.h>
#include <string.h>

// --- critical: CDR (Xia 2021; methods.md 6.14) -----------------------------------------------------------------------

// Of all weights of convolutions and linear layers (2 and 4 dimensions) the share 1 - R with the largest |g w| is
// critical: its gradient becomes (1 - R) g, all other weights have none and are left to decay. One threshold over all
// tensors. It is found by the bits of |g w|, whose order as whole numbers is that of the numbers: the upper 16 first,
// then the lower.
enum { HALF = 1 << 16 };

static uint32_t bits_of(float g, float w) {
    const float v = g * w;
    uint32_t u;
    memcpy(&u, &v, sizeof u);
    return u & 0x7fffffffu;
}

static bool counts(const struct smkd_abi_tensor *t) {
    return t->dtype == SMKD_ABI_F32 && (t->rank == 2 || t->rank == 4);
}

static float *numbers(void *block, const struct smkd_abi_tensor *t) {
    return (float *)(void *)((char *)block + t->offset);
}

// Adds up how many weights have each upper half, or of those with the upper half `of` each lower one.
static void count_halves(smkd_model *m, int64_t of, uint64_t *count) {
    const struct smkd_abi_tensor *t;
    memset(count, 0, HALF * sizeof *count);
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        const float *g = numbers(smkd_model_grads(m), t), *w = numbers(smkd_model_params(m), t);
        for (size_t j = 0; counts(t) && j < t->numel; j++) {
            const uint32_t u = bits_of(g[j], w[j]);
            if (of < 0)
                count[u >> 16]++;
            else if (u >> 16 == (uint32_t)of)
                count[u & 0xffff]++;
        }
    }
}

// The place of the k-th largest (from 1) among counted halves; *left: which of that half's it is.
static uint32_t find(const uint64_t *count, uint64_t k, uint64_t *left) {
    for (uint32_t h = HALF; h-- > 0;) {
        if (count[h] >= k) {
            *left = k;
            return h;
        }
        k -= count[h];
    }
    return 0; // there are fewer than k
}

static void critical(struct run *r, int k) {
    smkd_model *m = r->t->peers[k].model;
    const double rate = method_number(r->c->row, &r->c->values, "noise-rate");
    const struct smkd_abi_tensor *t;
    uint64_t all = 0, left = 0;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) all += counts(t) ? t->numel : 0;
    const uint64_t most = (uint64_t)((1 - rate) * (double)all);
    uint64_t *count = xcalloc(HALF, sizeof *count);
    uint32_t least = UINT32_MAX; // of the critical ones; nobody has as much
    if (most) {
        count_halves(m, -1, count);
        const uint32_t upper = find(count, most, &left);
        count_halves(m, upper, count);
        least = upper << 16 | find(count, left, &left);
    }
    free(count);
    const float keeps = (float)(1 - rate);
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_PARAM, i)); i++) {
        float *g = numbers(smkd_model_grads(m), t);
        const float *w = numbers(smkd_model_params(m), t);
        for (size_t j = 0; counts(t) && j < t->numel; j++) g[j] = bits_of(g[j], w[j]) >= least ? keeps * g[j] : 0;
    }
}

// --- which there are -------------------------------------------------------------------------------------------------

static const struct {
    const char *name;
    void (*edit)(struct run *r, int k);
} edits[] = {{"critical", critical}};

bool rt_edits(const struct run *r) { return r->c->row->family->edit != NULL; }

void rt_edit_gradients(struct run *r, int k) {
    const char *name = r->c->row->family->edit;
    for (size_t i = 0; name && i < sizeof edits / sizeof *edits; i++)
        if (strcmp(edits[i].name, name) == 0) {
            edits[i].edit(r, k);
            return;
        }
    CHECK(!name, "no edit \"%s\"", name);
}
