#include "fits.h"
#include "hooks.h"
#include "stages.h"

#include <stdlib.h>

// The share at each end that counts as the quantile there.
#define TAIL 0.05
enum { STEPS = 10 };

static enum smkd_result judge(struct run *r, int k, double *loss) {
    const struct rt_table *from = rt_tables_of(&r->tables, "table.loss", k);
    struct rt_table *to = rt_tables_of(&r->tables, "table.wrong", k);
    CHECK(from->width == 1 && to->width == 1, "betas: tables of another width");
    const size_t n = r->data.n_train;
    for (size_t i = 0; i < n; i++) loss[i] = (double)from->data[r->data.train[i]];
    enum smkd_result e = rt_fit_check(loss, n, "loss");
    if (e != SMKD_R_OK) return e;
    const double low = rt_quantile(loss, n, TAIL), high = rt_quantile(loss, n, 1 - TAIL);
    for (size_t i = 0; i < n; i++) loss[i] = loss[i] < low ? low : loss[i] > high ? high : loss[i];
    rt_to_unit(loss, n, loss);
    struct rt_betas fit;
    e = rt_betas_fit(loss, n, STEPS, "loss", &fit);
    for (size_t i = 0; i < n && e == SMKD_R_OK; i++)
        to->data[r->data.train[i]] = (float)(1 - rt_betas_low(&fit, loss[i]));
    return e;
}

enum smkd_result rt_hook_betas(struct run *r, int64_t epoch) {
    const struct method_moment at = rt_moment(r, epoch);
    if (!method_survey(r->c->row, &r->c->values, &at)) return SMKD_R_OK;
    enum smkd_result e = SMKD_R_OK;
    double *loss = xcalloc(r->data.n_train + 1, sizeof *loss);
    for (int k = 0; k < r->t->n_peers && e == SMKD_R_OK; k++) e = judge(r, k, loss);
    free(loss);
    return e;
}
