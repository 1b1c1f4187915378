#include "average.h"

#include "rt_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

double rt_average_decay(double decay, int64_t batch, int64_t steps, int64_t epochs) {
    double alpha = (1 - decay) * ((double)batch * (double)steps / (double)epochs);
    return 1 - (alpha < 1 ? alpha : 1);
}

enum smkd_result rt_average_init(struct rt_average *a, smkd_model *m, smkd_team *team, double decay) {
    *a = (struct rt_average){.model = m, .team = team, .decay = decay, .bytes = smkd_model_info(m)->param_bytes};
    a->part[0] = rt_parts(m, SMKD_ABI_PARAM, &a->n_parts[0]);
    a->part[1] = rt_parts(m, SMKD_ABI_BUFFER, &a->n_parts[1]);
    a->block = rt_block_alloc(a->bytes);
    if (!a->block) return rt_fail(SMKD_R_NOMEM, "out of memory for averaged parameters");
    memcpy(a->block, smkd_model_params(m), a->bytes);
    return SMKD_R_OK;
}

void rt_average_release(struct rt_average *a) {
    rt_block_free(a->block, a->bytes);
    free(a->part[0]);
    free(a->part[1]);
    *a = (struct rt_average){0};
}

struct job {
    float *average, weight;
    const float *now;
    const struct rt_part *part;
};

static void update_part(void *env, size_t i) {
    const struct job *j = env;
    const struct rt_part p = j->part[i];
    float *a = j->average + p.at;
    const float *x = j->now + p.at;
    for (size_t k = 0; k < p.n; k++) a[k] += j->weight * (x[k] - a[k]);
}

void rt_average_update(struct rt_average *a) {
    const char *now = smkd_model_params(a->model);
    if (a->count++ == 0) {
        memcpy(a->block, now, a->bytes);
        return;
    }
    const double least = 1 / (double)a->count, left = a->ramp > 0 ? 1 - (double)(a->count - 1) / a->ramp : 0;
    double rest = 1 - a->decay * (left > 0 ? exp(-5 * left * left) : 1);
    if (a->ramps && least > rest) rest = least;
    for (int i = 0; i < 2; i++) {
        struct job j = {a->block, (float)rest, (const float *)(const void *)now, a->part[i]};
        rt_team_each(a->team, a->n_parts[i], update_part, &j);
    }
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(a->model, SMKD_ABI_BUFFER, i)); i++) {
        if (t->dtype != SMKD_ABI_F32)
            memcpy((char *)a->block + t->offset, now + t->offset, t->numel * rt_abi_size(t->dtype));
    }
}

void rt_average_exchange(struct rt_average *a) { rt_exchange_params(a->model, &a->block); }
