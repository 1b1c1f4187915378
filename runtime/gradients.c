#include "gradients.h"

#include "rt_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PART = 1 << 15 }; // floats

struct rt_part *rt_parts(const smkd_model *m, enum smkd_abi_role role, size_t *n) {
    const struct smkd_abi_tensor *t;
    size_t count = 0;
    for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) count += t->numel / PART + 1;
    struct rt_part *p = xcalloc(count + 1, sizeof *p);
    *n = 0;
    for (size_t i = 0; (t = smkd_model_nth(m, role, i)); i++) {
        if (t->dtype != SMKD_ABI_F32) continue;
        for (size_t at = 0; at < t->numel; at += PART)
            p[(*n)++] = (struct rt_part){t->offset / sizeof(float) + at, t->numel - at < PART ? t->numel - at : PART};
    }
    return p;
}

enum smkd_result rt_gradients_init(struct rt_gradients *g, smkd_model *m, smkd_team *team, bool sums) {
    *g = (struct rt_gradients){.model = m, .team = team};
    g->part = rt_parts(m, SMKD_ABI_PARAM, &g->n_parts);
    g->partial = xcalloc(g->n_parts + 1, sizeof *g->partial);
    if (!sums) return SMKD_R_OK;
    g->bytes = smkd_model_info(m)->trained_bytes;
    g->sum = rt_block_alloc(g->bytes);
    return g->sum ? SMKD_R_OK : rt_fail(SMKD_R_NOMEM, "out of memory for sums of gradients");
}

void rt_gradients_release(struct rt_gradients *g) {
    free(g->part);
    free(g->partial);
    rt_block_free(g->sum, g->bytes);
    *g = (struct rt_gradients){0};
}

struct job {
    struct rt_gradients *g;
    float *grad, factor;
    bool first;
};

static void add_part(void *env, size_t i) {
    const struct job *j = env;
    const struct rt_part p = j->g->part[i];
    const float *g = j->grad + p.at, f = j->factor;
    float *sum = j->g->sum + p.at;
    if (j->first)
        for (size_t k = 0; k < p.n; k++) sum[k] = f * g[k];
    else
        for (size_t k = 0; k < p.n; k++) sum[k] += f * g[k];
}

void rt_gradients_add(struct rt_gradients *g, size_t rows) {
    struct job j = {g, smkd_model_grads(g->model), (float)rows, g->rows == 0};
    rt_team_each(g->team, g->n_parts, add_part, &j);
    g->rows += rows;
}

static void mean_part(void *env, size_t i) {
    const struct job *j = env;
    const struct rt_part p = j->g->part[i];
    float *g = j->grad + p.at;
    const float *sum = j->g->sum + p.at;
    for (size_t k = 0; k < p.n; k++) g[k] = sum[k] / j->factor;
}

void rt_gradients_mean(struct rt_gradients *g) {
    struct job j = {g, smkd_model_grads(g->model), (float)g->rows, false};
    rt_team_each(g->team, g->n_parts, mean_part, &j);
    g->rows = 0;
}

static void square_part(void *env, size_t i) {
    const struct job *j = env;
    const struct rt_part p = j->g->part[i];
    const float *g = j->grad + p.at;
    double s[8] = {0}; // independent sums: the compiler keeps them in lanes
    size_t k = 0;
    for (; k + 8 <= p.n; k += 8)
        for (int l = 0; l < 8; l++) s[l] += (double)g[k + (size_t)l] * (double)g[k + (size_t)l];
    for (; k < p.n; k++) s[0] += (double)g[k] * (double)g[k];
    j->g->partial[i] = ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

static void scale_part(void *env, size_t i) {
    const struct job *j = env;
    const struct rt_part p = j->g->part[i];
    float *g = j->grad + p.at;
    for (size_t k = 0; k < p.n; k++) g[k] *= j->factor;
}

double rt_gradients_clip(struct rt_gradients *g, double most) {
    struct job j = {.g = g, .grad = smkd_model_grads(g->model)};
    rt_team_each(g->team, g->n_parts, square_part, &j);
    double sum = 0;
    for (size_t i = 0; i < g->n_parts; i++) sum += g->partial[i];
    const double norm = sqrt(sum), factor = most / (norm + 1e-6);
    if (most > 0 && factor < 1) {
        j.factor = (float)factor;
        rt_team_each(g->team, g->n_parts, scale_part, &j);
    }
    return norm;
}
