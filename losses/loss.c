// What every loss goes through once its family has drawn it: options, gradients, the key of the cache.
#include "losses_internal.h"

#include <string.h>

// clang-format off
// Which family is drawn by what.
static const struct {
    const char *family;
    void (*draw)(struct loss_builder *b);
} drawers[] = {
    {"mutual", loss_draw_mutual},
    {"distill", loss_draw_distill},
    {"robust", loss_draw_robust},
    {"heads", loss_draw_heads},
    {"sieve", loss_draw_sieve},
    {"regression", loss_draw_regression},
    {"targets", loss_draw_targets},
    {"small_loss", loss_draw_small_loss},
    {"hints", loss_draw_hints},
    {"blind", loss_draw_blind},
    {"branches", loss_draw_branches},
    {"fusion", loss_draw_fusion},
    {"adversarial", loss_draw_adversarial},
    {"edited", loss_draw_edited},
    {"dmi", loss_draw_dmi},
    {"cal", loss_draw_cal},
    {"mixture", loss_draw_mixture},
    {"joint", loss_draw_joint},
    {"semi", loss_draw_semi},
    {"transition", loss_draw_transition},
};
// clang-format on

bool loss_options_init(struct loss_options *o, const char *name, struct diag *d) {
    const struct method *m = method_find(name);
    *o = (struct loss_options){.method = m, .classes = 10};
    if (!m) {
        struct str all = STR_INIT;
        method_names(&all);
        diag_error(d, NULL, "there is no method \"%s\"; expected one of %s", name ? name : "", all.s);
        str_release(&all);
        return false;
    }
    method_defaults(m, &o->values);
    o->peers = m->most < 2 ? 1 : 2;
    return true;
}

static bool check_options(struct diag *d, const struct loss_options *o) {
    const struct method *m = o->method;
    int64_t least = m->family->regression ? 1 : 2;
    bool ok = true;
    const int64_t most = m->family->most_classes ? m->family->most_classes : LOSS_MAX_CLASSES;
    if (o->classes < least || o->classes > most) {
        diag_error(d, NULL, "classes is %lld; expected %lld to %lld", (long long)o->classes, (long long)least,
                   (long long)most);
        ok = false;
    }
    if (o->peers < m->least || o->peers > m->most) {
        diag_error(d, NULL, "the method %s takes %d to %d networks, not %d", m->name, m->least, m->most, o->peers);
        ok = false;
    }
    const char *why = method_refuse(m, &o->values, o->peers);
    if (why) diag_error(d, NULL, "%s", why);
    return ok && !why;
}

// The options as their program knows them.
static struct method_values settled(const struct loss_options *o) {
    struct method_values v = o->values;
    method_resolve(o->method, &v, o->classes);
    return method_canonical(o->method, &v);
}

// --- what builders ask for -------------------------------------------------------------------------------------------

ir_vid loss_input(struct loss_builder *b, const char *name, enum ir_dtype t, int rank, const int64_t *dims) {
    ir_vid v = loss_declared(b->g, name);
    return v != IR_NONE ? v : ir_boundary(b->g, IR_ROLE_INPUT, ir_type_make(t, rank, dims), name, NULL);
}

// [N,C], or of v > 1 views [N,V,C].
static ir_vid scores(struct loss_builder *b, const char *stem, int k, int v) {
    const int64_t one[] = {IR_N, b->o->classes}, all[] = {IR_N, v, b->o->classes};
    return loss_input(b, arena_printf(b->a, "%s.%d", stem, k), IR_F32, v > 1 ? 3 : 2, v > 1 ? all : one);
}

ir_vid loss_logits(struct loss_builder *b, int k) {
    return scores(b, "logits", k, b->o->predict ? 1 : method_stacked(b->o->method, &b->o->values));
}

ir_vid loss_view(struct loss_builder *b, ir_vid x, int v) {
    const struct ir_type *t = &b->g->values[x].type;
    if (t->rank < 3) return x;
    const int64_t c = t->dims[2], starts[] = {0, v, 0}, sizes[] = {IR_N, 1, c}, steps[] = {1, 1, 1};
    ir_vid one = ir_emit(b->g, IR_OP_slice, &x, 1,
                         IR_ATTRS(IR_IS("starts", starts, 3), IR_IS("sizes", sizes, 3), IR_IS("steps", steps, 3)));
    return ir_reshape(b->g, one, 2, (int64_t[]){IR_N, c});
}

// As what the input is called: "tap", "teacher" or "average".
static ir_vid tap_of(struct loss_builder *b, const char *as, int k, const char *name) {
    for (size_t i = 0; i < b->o->n_taps; i++) {
        const struct loss_tap *t = &b->o->taps[i];
        if (t->teacher != !strcmp(as, "teacher") || t->peer != k || strcmp(t->name, name) != 0) continue;
        return loss_input(b, arena_printf(b->a, "%s.%d.%s", as, k, name), IR_F32, t->rank, t->dims);
    }
    return IR_NONE;
}

ir_vid loss_tap(struct loss_builder *b, int k, const char *name) { return tap_of(b, "tap", k, name); }

ir_vid loss_teacher_tap(struct loss_builder *b, int k, const char *name) { return tap_of(b, "teacher", k, name); }

ir_vid loss_average_tap(struct loss_builder *b, int k, const char *name) { return tap_of(b, "average", k, name); }

ir_vid loss_labels(struct loss_builder *b) { return loss_input(b, "labels", IR_I64, 1, (int64_t[]){IR_N}); }

ir_vid loss_scalar(struct loss_builder *b, const char *name) {
    ir_vid v = loss_declared(b->g, name);
    return v != IR_NONE ? v : ir_boundary(b->g, IR_ROLE_SCALAR, ir_scalar_type(IR_F32), name, NULL);
}

ir_vid loss_scalar_of(struct loss_builder *b, const char *stem, int k) {
    return loss_scalar(b, arena_printf(b->a, "%s.%d", stem, k));
}

void loss_output(struct loss_builder *b, const char *name, ir_vid v) { ir_set_output(b->g, IR_OUT_OUTPUT, name, v); }

void loss_output_of(struct loss_builder *b, const char *stem, int k, ir_vid v) {
    loss_output(b, arena_printf(b->a, "%s.%d", stem, k), v);
}

static ir_vid fed(struct loss_builder *b, const char *stem, int k) {
    const struct method_views v = method_views(b->o->method, &b->o->values, b->o->peers);
    return scores(b, stem, k, v.feed == METHOD_ALL_VIEWS ? v.count : 1);
}

ir_vid loss_teacher(struct loss_builder *b, int k) { return fed(b, "teacher", k); }

ir_vid loss_average(struct loss_builder *b, int k) { return fed(b, "average", k); }

ir_vid loss_guess(struct loss_builder *b, int k) { return fed(b, "guess", k); }

ir_vid loss_mixed_in(struct loss_builder *b, ir_vid x) {
    const struct ir_type t = b->g->values[x].type;
    const int64_t views = t.rank > 2 ? t.dims[1] : 1, rows = -views;
    ir_vid row = loss_input(b, "mix.row", IR_I64, 1, &rows);
    ir_vid flat = t.rank > 2 ? ir_reshape(b->g, x, 2, (int64_t[]){rows, t.dims[2]}) : x;
    ir_vid taken = ir_emit(b->g, IR_OP_take_rows, (ir_vid[]){flat, row}, 2, IR_NO_ATTRS);
    return t.rank > 2 ? ir_reshape(b->g, taken, 3, t.dims) : taken;
}

static const char *kept_name(struct loss_builder *b, const char *what, const char *name, int k) {
    return k < 0 ? arena_printf(b->a, "%s.%s", what, name) : arena_printf(b->a, "%s.%s.%d", what, name, k);
}

ir_vid loss_table(struct loss_builder *b, const char *name, int k, int64_t w) {
    return loss_input(b, kept_name(b, "table", name, k), IR_F32, w ? 2 : 1, (int64_t[]){IR_N, w});
}

void loss_set_table(struct loss_builder *b, const char *name, int k, ir_vid v) {
    loss_output(b, kept_name(b, "table", name, k), v);
}

ir_vid loss_state(struct loss_builder *b, const char *name, int k, int rank, const int64_t *dims) {
    return loss_input(b, kept_name(b, "state", name, k), IR_F32, rank, dims);
}

void loss_set_state(struct loss_builder *b, const char *name, int k, ir_vid v) {
    loss_output(b, kept_name(b, "state", name, k), v);
}

static void train(struct loss_builder *b, const char *name, int k, const struct loss_training *how) {
    CHECK(b->n_trained < LOSS_MAX_TRAINED, "more is trained than LOSS_MAX_TRAINED");
    b->trained[b->n_trained++] = (struct loss_trained){name, k, *how};
}

void loss_train_table(struct loss_builder *b, const char *name, int k, const char *rate) {
    loss_scalar(b, rate);
    train(b, kept_name(b, "table", name, k), k, &(struct loss_training){.rule = LOSS_STEP, .rate = rate});
}

void loss_train_state(struct loss_builder *b, const char *name, int k, const struct loss_training *how) {
    train(b, kept_name(b, "state", name, k), k, how);
}

ir_vid loss_sum_rows(struct loss_builder *b, ir_vid x) {
    int64_t axis = 0;
    return ir_reduce(b->g, IR_OP_reduce_sum, x, &axis, 1, 0);
}

ir_vid loss_class(struct loss_builder *b, ir_vid target) {
    ir_vid i = ir_emit(b->g, IR_OP_argmax, &target, 1, IR_ATTRS(IR_I("axis", 1), IR_I("keepdims", 0)));
    return ir_cast(b->g, i, IR_F32);
}

static ir_vid one_hot(struct loss_builder *b, ir_vid labels) {
    return ir_emit(b->g, IR_OP_one_hot, &labels, 1, IR_ATTRS(IR_I("classes", b->o->classes)));
}

// x + w (y - x) for a scalar w would not give y back exactly for w = 1; this does, and x for w = 0.
static ir_vid blend(struct ir_graph *g, ir_vid w, ir_vid x, ir_vid y) {
    return ir_add(g, ir_mul(g, ir_sub(g, ir_const_f(g, 1), w), x), ir_mul(g, w, y));
}

ir_vid loss_targets(struct loss_builder *b, ir_vid *given) {
    const struct loss_options *o = b->o;
    struct ir_graph *g = b->g;
    ir_vid q = one_hot(b, loss_labels(b));
    if (o->mixed) {
        ir_vid other = one_hot(b, loss_input(b, "labels.mix", IR_I64, 1, (int64_t[]){IR_N}));
        q = blend(g, loss_scalar(b, "mix.lambda"), other, q);
    }
    *given = q;
    if (method_number(o->method, &o->values, "label-smoothing") != 0)
        q = blend(g, loss_scalar(b, "label_smoothing"), q, ir_const_f(g, 1 / (double)o->classes));
    return q;
}

// --- building --------------------------------------------------------------------------------------------------------

// Without gradients; NULL after a report.
static struct ir_graph *draw(struct loss_builder *b, struct loss_options *canonical, const struct loss_options *o,
                             struct arena *a, struct diag *d) {
    if (!check_options(d, o)) return NULL;
    *canonical = *o;
    canonical->values = settled(o);
    *b = (struct loss_builder){.g = ir_graph_new(a, d, o->method->name), .o = canonical, .a = a, .d = d};
    b->g->cur_loc = (struct diag_loc){.node = o->method->name, .op = "loss"};
    for (int k = 0; k < o->peers; k++) loss_logits(b, k); // first in the artifact's table, in their order
    for (size_t i = 0; i < sizeof drawers / sizeof *drawers; i++) {
        if (strcmp(drawers[i].family, o->method->family->name) != 0) continue;
        drawers[i].draw(b);
        return d->errors ? NULL : b->g;
    }
    BUG("no builder for the family %s", o->method->family->name);
}

struct ir_graph *loss_draw(const struct loss_options *o, struct arena *a, struct diag *d) {
    struct loss_builder b;
    struct loss_options canonical;
    return draw(&b, &canonical, o, a, d);
}

struct ir_graph *loss_build(const struct loss_options *o, struct arena *a, struct diag *d) {
    struct loss_builder b;
    struct loss_options canonical;
    struct ir_graph *g = draw(&b, &canonical, o, a, d);
    if (!g) return NULL;
    return loss_finish(&b, o->predict) == SMKD_OK ? g : NULL;
}

char *loss_key(const struct loss_options *o, struct arena *a) {
    struct method_values v = settled(o);
    char *key = arena_printf(a, "%s peers=%d classes=%lld mixed=%d weighted=%d", o->method->name, o->peers,
                             (long long)o->classes, o->mixed, o->weighted);
    for (int i = 0; o->method->family->params[i].name; i++) {
        const struct method_param *p = &o->method->family->params[i];
        if (p->kind == METHOD_WORD || p->kind == METHOD_ANY_WORD)
            key = arena_printf(a, "%s %s=%s", key, p->name, v.word[i]);
        else if (p->kind == METHOD_FLAG)
            key = arena_printf(a, "%s %s=%d", key, p->name, v.flag[i]);
        else
            key = arena_printf(a, "%s %s=%.17g", key, p->name, v.number[i]);
    }
    if (o->predict) key = arena_printf(a, "%s predict", key);
    for (size_t i = 0; i < o->n_taps; i++) {
        key = arena_printf(a, "%s %s.%d.%s=", key, o->taps[i].teacher ? "teacher" : "tap", o->taps[i].peer,
                           o->taps[i].name);
        for (int d = 1; d < o->taps[i].rank; d++) key = arena_printf(a, "%sx%lld", key, (long long)o->taps[i].dims[d]);
    }
    return key;
}
