#include "passes.h"

#include "rt_internal.h"
#include "stages.h"

#include <stdlib.h>

// What is said of several images at once cannot be told of one.
static enum smkd_result check(const struct run *r) {
    const struct rt_mix_options *o = &r->c->augmentation.mix;
    const bool mixing = o->mixup_alpha > 0 || o->cutmix_alpha > 0;
    CHECK(!r->views.mixes || r->views.stacked || r->views.count == 1, "views that are mixed, but not stacked");
    if (mixing && (r->views.mixes || r->views.stacked))
        return rt_fail(SMKD_R_INVALID,
                       "%s: makes its steps of several images itself: leave out --mixup-alpha and --cutmix-alpha",
                       r->c->method);
    return SMKD_R_OK;
}

enum smkd_result rt_passes_start(struct run *r) {
    r->views = method_views(r->c->row, &r->c->values, r->t->n_peers);
    r->stacked = r->views.stacked ? (size_t)r->views.count : 1;
    r->pass.peer = -1;
    const size_t images = (size_t)r->c->batch_size * r->stacked;
    r->unmixed = xcalloc(images, sizeof *r->unmixed);
    for (size_t i = 0; i < images; i++) r->unmixed[i] = (int64_t)i;
    if (r->c->row->family->pass) {
        r->pass.rows = xcalloc(r->data.n_train + 1, sizeof *r->pass.rows);
        r->pass.more = xcalloc(r->data.n_train + 1, sizeof *r->pass.more);
    }
    return check(r);
}

void rt_passes_finish(struct run *r) {
    free(r->unmixed);
    free(r->pass.rows);
    free(r->pass.more);
}

static struct method_pass pass_of(const struct run *r, int64_t epoch) {
    const struct method_moment at = rt_moment(r, epoch);
    return method_pass(r->c->row, &r->c->values, &at);
}

bool rt_passes_see_others(const struct run *r) {
    for (int v = 0; v < r->views.count; v++)
        if (r->views.view[v].of != METHOD_ROW || r->views.view[v].strong) return true;
    return false;
}

bool rt_passes_even(const struct run *r) {
    for (int64_t epoch = 1; epoch <= r->all_epochs; epoch++) {
        const struct method_pass is = pass_of(r, epoch);
        if (is.each || is.rows) return false;
    }
    return true;
}

int rt_passes(const struct run *r, int64_t epoch) { return pass_of(r, epoch).each ? r->t->n_peers : 1; }

// By the table of one peer: its images as rows, the others as more of them.
static void choose(struct run *r, int k, struct rt_loader_pass *p) {
    const struct rt_table *t = rt_tables_of(&r->tables, r->pass.is.rows, k);
    CHECK(!t->state && t->width == 1, "%s chooses images", t->name);
    size_t rows = 0, more = 0;
    for (size_t i = 0; i < r->data.n_train; i++) {
        const int64_t image = r->data.train[i];
        if (t->data[image] > 0)
            r->pass.rows[rows++] = image;
        else
            r->pass.more[more++] = image;
    }
    if (rows) p->rows = r->pass.rows, p->n = rows;
    if (more) p->more = r->pass.more, p->n_more = more;
}

static void begin(struct run *r, int64_t epoch, int number, const struct method_pass *is) {
    struct rt_loader_pass p = {.number = number, .views = is->narrow ? 1 : 0, .mix = is->mix};
    if (is->rows) {
        const int n = r->t->n_peers, own = is->each ? number : 0;
        choose(r, is->of_other ? (own + 1) % n : own, &p);
    }
    rt_loader_begin_pass(r->train, (uint64_t)epoch, &p);
}

void rt_passes_ahead(struct run *r, int64_t epoch) {
    const struct method_pass is = pass_of(r, epoch);
    if (is.rows) return;
    begin(r, epoch, 0, &is);
    r->ahead = epoch;
}

void rt_pass_begin(struct run *r, int64_t epoch, int number) {
    r->pass.is = pass_of(r, epoch);
    r->pass.peer = r->pass.is.each ? number : -1;
    if (number > 0 || r->ahead != epoch) begin(r, epoch, number, &r->pass.is);
    r->pass.batches = rt_loader_batches(r->train);
}
