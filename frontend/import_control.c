// Control flow, resolved at import. An If takes its branch where the condition is known; else both are computed and the
// condition chooses. Loops and Scans are unrolled. A Loop that ends when its data says so is run to the known limit of
// its steps, and its states stay as they are once it has ended.
#include "onnx_internal.h"

#include <string.h>

static const Onnx__GraphProto *body_of(struct fe_ctx *c, const struct fe_node *n, const char *name) {
    const Onnx__AttributeProto *a = fe_attr(n, name);
    if (a && a->g) return a->g;
    fe_fail(c, n, "attribute \"%s\" is missing", name);
    return NULL;
}

static bool is_tensor(const struct fe_val *v) {
    return !v->is_seq && !v->random && (v->sym || v->blob || v->vid != IR_NONE);
}

static bool all_made(struct fe_ctx *c, const struct fe_node *n, struct fe_val *const *v, size_t k) {
    for (size_t i = 0; i < k; i++)
        if (!v[i]) return fe_fail(c, n, "result %zu of its body is made by no node", i);
    for (size_t i = 0; i < k; i++)
        if (v[i]->unknown) return false; // which has been reported
    return true;
}

// --- conditions

enum truth { NO, YES, COMPUTED };

static bool truth_of(struct fe_ctx *c, const struct fe_node *n, struct fe_val *v, enum truth *out) {
    const struct fe_sym *s = v ? fe_known(c, v, true) : NULL;
    *out = YES;
    if (!v) return true;
    if (!is_tensor(v) || fe_type(c, v)->dtype != IR_BOOL || ir_numel(fe_type(c, v)) != 1)
        return fe_fail(c, n, "its condition must be one bool");
    *out = !s || !fe_sym_is_const(s) ? COMPUTED : s->v[0].b ? YES : NO;
    return true;
}

// `cond` for a tensor of this type: one bool for all of it, or, where it is computed of each sample, one for each row.
static ir_vid for_tensor(struct fe_ctx *c, const struct fe_node *n, struct fe_val *cond, const struct ir_type *t) {
    const struct ir_type have = *fe_type(c, cond);
    int64_t dims[IR_MAX_RANK];
    if (!ir_is_batched(&have)) return fe_reshape(c, fe_vid(c, cond), 0, dims);
    if (cond->is_moved || !ir_is_batched(t) || t->dims[0] != have.dims[0]) {
        fe_fail(c, n, "its condition is computed of each sample of the batch, what it chooses from is not");
        return IR_NONE;
    }
    for (int i = 0; i < t->rank; i++) dims[i] = i ? 1 : t->dims[0];
    return fe_reshape(c, fe_vid(c, cond), t->rank, dims);
}

// cond ? a : b, element by element of sequences.
static struct fe_val *chosen(struct fe_ctx *c, struct fe_node *n, struct fe_val *cond, struct fe_val *a,
                             struct fe_val *b) {
    if (a == b) return a;
    if (a->is_seq || b->is_seq) {
        struct fe_val *s = ARENA_NEW(c->a, struct fe_val);
        *s = *a;
        if (!a->is_seq || !b->is_seq || a->n_items != b->n_items) {
            fe_fail(c, n, "its condition depends on the data, and what it chooses from are sequences of other lengths");
            return NULL;
        }
        s->items = ARENA_ARRAY(c->a, struct fe_val *, a->n_items + 1);
        for (size_t i = 0; i < a->n_items; i++)
            if (!(s->items[i] = chosen(c, n, cond, a->items[i], b->items[i]))) return NULL;
        return s;
    }
    if (!is_tensor(a) || !is_tensor(b)) {
        fe_fail(c, n, "its condition depends on the data, and what it chooses from is not there in both cases");
        return NULL;
    }
    ir_vid in[2] = {fe_vid(c, a), fe_vid(c, b)};
    if (in[0] == IR_NONE || in[1] == IR_NONE) return NULL;
    if (!a->is_moved && !b->is_moved) fe_unify_batch(c, in, 2);
    const struct ir_type ta = *fe_typeof(c, in[0]), tb = *fe_typeof(c, in[1]);
    if (a->is_moved != b->is_moved || (a->is_moved && memcmp(&a->frame, &b->frame, sizeof a->frame)) ||
        ta.dtype != tb.dtype || !ir_same_dims(&ta, &tb)) {
        fe_fail(c, n, "its condition depends on the data; then both results must be of one type, but are %s%s and %s%s",
                ir_dtype_name(ta.dtype), fe_dims_text(c, &ta), ir_dtype_name(tb.dtype), fe_dims_text(c, &tb));
        return NULL;
    }
    ir_vid y = fe_where(c, for_tensor(c, n, cond, &ta), in[0], in[1]);
    if (y == IR_NONE) return NULL;
    return a->is_moved ? fe_framed(c, y, &a->frame) : fe_val_of(c, y);
}

bool fe_op_if(struct fe_ctx *c, struct fe_node *n) {
    enum truth t;
    struct fe_val *cond = fe_arg(n, 0);
    if (!cond) return fe_fail(c, n, "operand 0 is missing");
    if (!truth_of(c, n, cond, &t)) return false;
    const Onnx__GraphProto *g[2] = {body_of(c, n, "else_branch"), body_of(c, n, "then_branch")};
    struct fe_val **out[2];
    if (!g[0] || !g[1]) return false;
    for (int k = 0; k < 2; k++) {
        if (t != COMPUTED && t != (enum truth)k) continue;
        if (g[k]->n_output < n->n_out) return fe_fail(c, n, "a branch has %zu results", g[k]->n_output);
        const int errors = c->d->errors;
        if (!(out[k] = fe_run_body(c, n, g[k], NULL, 0))) return false;
        if (c->d->errors != errors && t == COMPUTED)
            diag_note(c->d, &n->loc, "both branches are computed, since the condition depends on %s",
                      fe_source_text(c, cond));
    }
    for (size_t i = 0; i < n->n_out; i++) {
        if (t != COMPUTED)
            n->out[i] = out[t][i];
        else if (!all_made(c, n, (struct fe_val *[]){out[0][i], out[1][i]}, 2) ||
                 !fe_out_val(n, i, chosen(c, n, cond, out[1][i], out[0][i])))
            return false;
    }
    return true;
}

// --- steps of tensors

// Element `at` along an axis, without that axis.
static struct fe_val *element(struct fe_ctx *c, struct fe_node *n, struct fe_val *v, int axis, int64_t at) {
    int64_t dims[IR_MAX_RANK];
    struct fe_frame f = {0};
    const enum ir_half half = v->half;
    if (ir_is_batched(fe_type(c, v))) {
        ir_vid base;
        if (!fe_frame_of(c, v, &f, &base)) return NULL;
        if (axis == f.at) {
            fe_fail(c, n, "its steps are along the batch, which is not supported");
            return NULL;
        }
        axis = axis < f.at ? axis + 1 : axis + (f.before != 1) + (f.after != 1);
        f.at -= axis <= f.at;
        f.rank--;
        v = fe_val_of(c, base);
    }
    const struct ir_type t = *fe_type(c, v);
    int rank = 0;
    for (int i = 0; i < t.rank; i++)
        if (i != axis) dims[rank++] = t.dims[i];
    struct fe_val *one = fe_p_cut(c, v, axis, at, 1, 1);
    one = one ? fe_p_reshape(c, one, rank, dims) : NULL;
    if (one && f.rank) one = fe_framed(c, fe_vid(c, one), &f);
    if (one) one->half = half; // of a reshape or framing, which is a value of its own
    return one;
}

struct fe_val *fe_stack(struct fe_ctx *c, struct fe_node *n, struct fe_val **v, size_t k, int64_t axis) {
    struct fe_frame f = {0}, g;
    int64_t dims[IR_MAX_RANK + 1];
    for (size_t i = 0; i < k; i++)
        if (!is_tensor(v[i])) {
            fe_fail(c, n, "what it stacks must be tensors");
            return NULL;
        }
    const int rank = fe_onnx_dims(c, v[0], dims);
    if (axis < 0) axis += rank + 1;
    if (axis < 0 || axis > rank || rank == IR_MAX_RANK) {
        fe_fail(c, n, "its results of %d dimensions cannot be stacked", rank);
        return NULL;
    }
    struct fe_val **part = ARENA_ARRAY(c->a, struct fe_val *, k);
    const bool batched = ir_is_batched(fe_type(c, v[0]));
    int at = (int)axis;
    for (size_t i = 0; i < k; i++) {
        part[i] = v[i];
        if (ir_is_batched(fe_type(c, v[i])) != batched) {
            fe_fail(c, n, "some of the steps that it stacks have the batch, others have not");
            return NULL;
        }
        if (batched) {
            ir_vid base;
            if (!fe_frame_of(c, v[i], &g, &base) || (i && memcmp(&f, &g, sizeof f))) {
                fe_fail(c, n, "the steps that it stacks have the batch in other places");
                return NULL;
            }
            f = g;
            part[i] = fe_val_of(c, base);
        }
        const struct ir_type t = *fe_type(c, part[i]);
        if (batched) at = axis <= f.at ? (int)axis + 1 : (int)axis + (f.before != 1) + (f.after != 1);
        if (t.rank == IR_MAX_RANK) return NULL;
        for (int d = 0; d <= t.rank; d++) dims[d] = d < at ? t.dims[d] : d == at ? 1 : t.dims[d - 1];
        if (!(part[i] = fe_p_reshape(c, part[i], t.rank + 1, dims))) return NULL;
    }
    struct fe_val *all = fe_p_concat(c, part, k, at);
    if (all && batched) {
        f.at += axis <= f.at;
        f.rank++;
        all = fe_framed(c, fe_vid(c, all), &f);
    }
    if (all) all->half = v[0]->half;
    return all;
}

// No steps: a tensor without elements, of a shape that one step tells.
static struct fe_val *stack_of_none(struct fe_ctx *c, struct fe_node *n, const struct fe_val *v) {
    int64_t dims[IR_MAX_RANK + 1] = {0};
    const int rank = is_tensor(v) ? fe_onnx_dims(c, v, dims + 1) : IR_MAX_RANK;
    if (rank < IR_MAX_RANK && !ir_is_batched(fe_type(c, v)))
        return fe_val_sym(c, fe_sym_new(c->a, fe_type(c, v)->dtype, rank + 1, dims));
    fe_fail(c, n, "it has no steps, and what it stacks is no tensor of known sizes");
    return NULL;
}

bool fe_count_steps(struct fe_ctx *c, const struct fe_node *n, int64_t more) {
    c->steps = more > FE_MAX_STEPS ? more : c->steps + more;
    return c->steps <= FE_MAX_STEPS ||
           fe_fail(c, n,
                   "the model's recurrences and loops have %lld steps up to here, all of which become code; at most %d "
                   "are supported: give a shorter input (--shape)",
                   (long long)c->steps, FE_MAX_STEPS);
}

// --- Loop

static struct fe_val *known_int(struct fe_ctx *c, int64_t v) {
    struct fe_sym *s = fe_sym_new(c->a, IR_I64, 0, NULL);
    s->v[0].b = v;
    return fe_val_sym(c, s);
}

static struct fe_val *known_true(struct fe_ctx *c) {
    struct fe_sym *s = fe_sym_new(c->a, IR_BOOL, 0, NULL);
    s->v[0].b = 1;
    return fe_val_sym(c, s);
}

static struct fe_val *both(struct fe_ctx *c, struct fe_val *a, struct fe_val *b) {
    ir_vid x = fe_reshape(c, fe_vid(c, a), 0, NULL), y = fe_reshape(c, fe_vid(c, b), 0, NULL);
    return fe_val_of(c, fe_e2(c, IR_OP_and, x, y));
}

// The most steps, or -1: nothing says.
static bool most_steps(struct fe_ctx *c, struct fe_node *n, int64_t *most) {
    struct fe_val *v = fe_arg(n, 0);
    *most = -1;
    if (!v) return true;
    const struct fe_sym *s = fe_known(c, v, true);
    if (!s) return true;
    if (s->n != 1 || !fe_sym_is_const(s) || ir_is_float(s->type.dtype))
        return fe_fail(c, n, "its number of steps depends on the batch, which is not supported");
    *most = s->v[0].b < 0 ? 0 : s->v[0].b;
    return true;
}

bool fe_op_loop(struct fe_ctx *c, struct fe_node *n) {
    const Onnx__GraphProto *g = body_of(c, n, "body");
    const size_t states = n->n_in > 2 ? n->n_in - 2 : 0, scans = n->n_out > states ? n->n_out - states : 0;
    if (!g) return false;
    if (g->n_input != states + 2 || g->n_output != states + 1 + scans)
        return fe_fail(c, n, "its body takes %zu and gives %zu values; %zu and %zu were expected", g->n_input,
                       g->n_output, states + 2, states + 1 + scans);
    int64_t most;
    enum truth goes_on;
    struct fe_val **in = ARENA_ARRAY(c->a, struct fe_val *, states + 2), **now = in + 2, *alive = fe_arg(n, 1);
    if (!most_steps(c, n, &most) || !truth_of(c, n, alive, &goes_on)) return false;
    const bool unbounded = most < 0, unknown = fe_arg(n, 0) && unbounded;
    if (unknown)
        return fe_fail(
            c, n,
            "its number of steps must be known when compiling; here it depends on %s (a loop with a known limit "
            "may end early)",
            fe_source_text(c, fe_arg(n, 0)));
    for (size_t i = 0; i < states; i++)
        if (!(now[i] = fe_arg(n, i + 2))) return fe_fail(c, n, "operand %zu is missing", i + 2);
    bool masked = goes_on == COMPUTED, early = false; // whether a step may not have been
    struct fe_val **stacks = ARENA_ARRAY(c->a, struct fe_val *, scans * FE_MAX_STEPS + 1);
    int64_t steps = 0;
    for (; goes_on != NO && (unbounded || steps < most); steps++) {
        if (!fe_count_steps(c, n, 1)) return false;
        in[0] = known_int(c, steps);
        in[1] = alive ? alive : known_true(c);
        early |= masked;
        struct fe_val **out = fe_run_body(c, n, g, in, states + 2), **next;
        if (!out || !all_made(c, n, out, g->n_output)) return false;
        next = ARENA_ARRAY(c->a, struct fe_val *, states + 1);
        for (size_t i = 0; i < states; i++)
            if (!(next[i] = masked ? chosen(c, n, alive, out[i + 1], now[i]) : out[i + 1])) return false;
        memcpy(now, next, states * sizeof *now);
        for (size_t i = 0; i < scans; i++) stacks[i * FE_MAX_STEPS + (size_t)steps] = out[1 + states + i];
        if (!truth_of(c, n, out[0], &goes_on)) return false;
        alive = masked && goes_on == COMPUTED ? both(c, alive, out[0]) : masked ? alive : out[0];
        masked |= goes_on == COMPUTED;
        if (masked && unbounded)
            return fe_fail(c, n, "it has no limit, and when it ends depends on %s; give it a trip count (operand 0)",
                           fe_source_text(c, alive));
    }
    for (size_t i = 0; i < states && i < n->n_out; i++) n->out[i] = now[i];
    struct fe_val **one = NULL;
    if (scans && !steps) { // to know of what there is none
        in[0] = known_int(c, 0);
        in[1] = known_true(c);
        if (!(one = fe_run_body(c, n, g, in, states + 2)) || !all_made(c, n, one, g->n_output)) return false;
    }
    for (size_t i = 0; i < scans; i++) {
        if (!n->wanted[states + i]) continue;
        if (early)
            return fe_fail(c, n, "when it ends depends on %s; then the size of its result %zu does, too",
                           fe_source_text(c, alive), states + i);
        struct fe_val *all = steps ? fe_stack(c, n, &stacks[i * FE_MAX_STEPS], (size_t)steps, 0)
                                   : stack_of_none(c, n, one[1 + states + i]);
        if (!fe_out_val(n, states + i, all)) return false;
    }
    return true;
}

// --- Scan

struct scan {
    const Onnx__GraphProto *g;
    size_t first, states, inputs, outputs;
    int64_t steps;
};

static int64_t listed(const struct fe_node *n, const char *name, size_t i, int64_t def) {
    size_t k;
    const int64_t *v = fe_attr_ints(n, name, &k);
    return v && i < k ? v[i] : def;
}

// All steps of one sequence: `in` are states, then tensors with steps; out: states, then stacks.
static bool scan(struct fe_ctx *c, struct fe_node *n, const struct scan *s, struct fe_val **in, bool old,
                 struct fe_val **out) {
    struct fe_val **args = ARENA_ARRAY(c->a, struct fe_val *, s->states + s->inputs + 1);
    struct fe_val **stacks = ARENA_ARRAY(c->a, struct fe_val *, s->outputs * (size_t)s->steps + 1);
    const size_t T = (size_t)s->steps;
    memcpy(args, in, s->states * sizeof *in);
    for (int64_t t = 0; t < s->steps; t++) {
        for (size_t i = 0; i < s->inputs; i++) {
            int64_t dims[IR_MAX_RANK], axis = old ? 0 : listed(n, "scan_input_axes", i, 0);
            const int rank = fe_onnx_dims(c, in[s->states + i], dims);
            const bool back = listed(n, old ? "directions" : "scan_input_directions", i, 0) != 0;
            args[s->states + i] =
                element(c, n, in[s->states + i], (int)(axis < 0 ? axis + rank : axis), back ? s->steps - 1 - t : t);
            if (!args[s->states + i]) return false;
        }
        struct fe_val **r = fe_run_body(c, n, s->g, args, s->states + s->inputs);
        if (!r || !all_made(c, n, r, s->states + s->outputs)) return false;
        memcpy(args, r, s->states * sizeof *r);
        for (size_t i = 0; i < s->outputs; i++) {
            const bool back = !old && listed(n, "scan_output_directions", i, 0) != 0;
            stacks[i * T + (size_t)(back ? s->steps - 1 - t : t)] = r[s->states + i];
        }
    }
    memcpy(out, args, s->states * sizeof *out);
    for (size_t i = 0; i < s->outputs; i++) {
        const int64_t axis = old ? 0 : listed(n, "scan_output_axes", i, 0);
        if (!(out[s->states + i] = fe_stack(c, n, &stacks[i * T], T, axis))) return false;
    }
    return true;
}

// Scan-8: operand 0 are lengths, axis 0 of all others the batch, of which the body sees one sample, axis 1 the steps.
static bool scan_samples(struct fe_ctx *c, struct fe_node *n, const struct scan *s, int64_t batch) {
    const size_t n_in = s->states + s->inputs, n_out = s->states + s->outputs, B = (size_t)batch;
    struct fe_val **in = ARENA_ARRAY(c->a, struct fe_val *, n_in + 1),
                  **out = ARENA_ARRAY(c->a, struct fe_val *, n_out * B);
    for (size_t b = 0; b < B; b++) {
        struct fe_val **one = ARENA_ARRAY(c->a, struct fe_val *, n_out);
        for (size_t i = 0; i < n_in; i++)
            if (!(in[i] = element(c, n, n->in[1 + i], 0, (int64_t)b))) return false;
        if (!fe_count_steps(c, n, s->steps) || !scan(c, n, s, in, true, one)) return false;
        for (size_t i = 0; i < n_out; i++) out[i * B + b] = one[i];
    }
    for (size_t i = 0; i < n_out && i < n->n_out; i++)
        if (!fe_out_val(n, i, fe_stack(c, n, &out[i * B], B, 0))) return false;
    return true;
}

bool fe_op_scan(struct fe_ctx *c, struct fe_node *n) {
    const bool old = n->arg == 8;
    struct scan s = {.g = body_of(c, n, "body"), .first = old, .steps = -1};
    const int64_t inputs = fe_attr_i(c, n, "num_scan_inputs", 0);
    if (!s.g) return false;
    if (inputs < 1 || (uint64_t)inputs + s.first > n->n_in)
        return fe_fail(c, n, "num_scan_inputs is %lld of %zu operands", (long long)inputs, n->n_in);
    s.inputs = (size_t)inputs;
    s.states = n->n_in - s.first - s.inputs;
    if (s.g->n_input != s.states + s.inputs || s.g->n_output < s.states || s.g->n_output < n->n_out)
        return fe_fail(c, n, "its body takes %zu and gives %zu values; the node has %zu and %zu", s.g->n_input,
                       s.g->n_output, n->n_in - s.first, n->n_out);
    s.outputs = s.g->n_output - s.states;
    if (old && fe_arg(n, 0)) return fe_fail(c, n, "its sequence_lens are not supported; leave them out");
    int64_t batch = -1;
    for (size_t i = s.first; i < n->n_in; i++) {
        if (!n->in[i]) return fe_fail(c, n, "operand %zu is missing", i);
        if (!is_tensor(n->in[i])) return fe_fail(c, n, "operand %zu must be a tensor", i);
        int64_t dims[IR_MAX_RANK], axis = old ? 1 : listed(n, "scan_input_axes", i - s.states, 0);
        const int rank = fe_onnx_dims(c, n->in[i], dims);
        if (old && rank) batch = dims[0];
        if (i < s.first + s.states) continue;
        if (axis < 0) axis += rank;
        if (axis < 0 || axis >= rank) return fe_fail(c, n, "operand %zu has no axis %lld", i, (long long)axis);
        if (dims[axis] < 0) return fe_fail(c, n, "its steps are along the batch, which is not supported");
        if (dims[axis] < 1 || (s.steps >= 0 && s.steps != dims[axis]))
            return fe_fail(c, n, "operand %zu has %lld steps; those before it have %lld", i, (long long)dims[axis],
                           (long long)s.steps);
        s.steps = dims[axis];
    }
    if (old && batch < 1)
        return fe_fail(c, n,
                       "at opset 8 its body sees one sample of the batch at a time, whose number must be known; "
                       "export the model with opset_version=17 or later");
    if (old) return scan_samples(c, n, &s, batch);
    struct fe_val **out = ARENA_ARRAY(c->a, struct fe_val *, s.states + s.outputs);
    if (!fe_count_steps(c, n, s.steps) || !scan(c, n, &s, n->in, false, out)) return false;
    for (size_t i = 0; i < n->n_out; i++) n->out[i] = out[i];
    return true;
}
