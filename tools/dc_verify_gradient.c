// Gradients of a compiled model beside finite differences of what the interpreter computes in float64: for a random
// gradient dy of the outputs and a random direction u of one input (or of all parameters together), dx*u against
// dy*(f(x + hu) - f(x - hu))/2h. Training mode, with the batch's statistics and without random numbers.
//
// Where two steps h, or the two sides of x, disagree there is a kink, and another direction is drawn; after some the
// tensor is left out.
#include "dc_verify.h"

#include "../runtime/peer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { DIRECTIONS = 4 };

struct gradients {
    struct verify *v;
    struct dc_model *m;
    struct ir_graph *f; // forward alone
    int64_t batch;
    struct ir_tensor **boundary; // of f: inputs, parameters
    struct rt_tensors memory;    // "output NAME", "cotangent NAME", "grad NAME"
};

static const struct rt_tensor *named(const struct gradients *g, const char *what, const char *name) {
    for (size_t i = 0; i < g->memory.n; i++) {
        const char *n = g->memory.t[i].name;
        if (!strncmp(n, what, strlen(what)) && !strcmp(n + strlen(what), name)) return &g->memory.t[i];
    }
    return NULL;
}

static enum smkd_result bind(struct gradients *g, smkd_session *s, const smkd_model *model, enum smkd_abi_role role,
                             const char *what) {
    const struct smkd_abi_tensor *t;
    struct rt_rng rng;
    rt_rng_init(&rng, g->v->seed, 1000 + role);
    for (size_t i = 0; (t = smkd_model_nth(model, role, i)); i++) {
        struct rt_tensor *x =
            run_result(&g->memory, arena_printf(&g->m->arena, "%s%s", what, t->name), t, g->batch, NULL);
        if (!x) return SMKD_R_NOMEM;
        for (size_t k = 0; role == SMKD_ABI_COTANGENT && k < x->numel; k++) {
            double number;
            verify_normal(&rng, &number, 1);
            ((float *)x->data)[k] = (float)number;
        }
        const enum smkd_result r = smkd_bind(s, role, t->name, x->data);
        if (r != SMKD_R_OK) return r;
    }
    return SMKD_R_OK;
}

// Forward and backward of the artifact; parameters' gradients stay in the model.
static enum smkd_result run(struct gradients *g, smkd_session *s, smkd_model *model) {
    struct run_feeds in = {0};
    enum smkd_result r = verify_feeds(g->v, g->m, model, &in, &g->batch);
    for (size_t i = 0; r == SMKD_R_OK && i < in.n; i++)
        r = smkd_bind(s, SMKD_ABI_INPUT, in.f[i].row->name, in.f[i].tensor.data);
    if (r == SMKD_R_OK) r = bind(g, s, model, SMKD_ABI_OUTPUT, "output ");
    if (r == SMKD_R_OK) r = bind(g, s, model, SMKD_ABI_COTANGENT, "cotangent ");
    if (r == SMKD_R_OK) r = bind(g, s, model, SMKD_ABI_GRAD_INPUT, "grad ");
    if (r == SMKD_R_OK) r = rt_set_if_there(s, model, "seed", -1);
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_FORWARD, g->batch);
    if (r == SMKD_R_OK) r = smkd_run(s, SMKD_ABI_BACKWARD, g->batch);
    run_feeds_release(&in);
    return r;
}

// dy * f, with the boundary moved by h along `u` (of f's values; NULL: not moved).
static double value_at(struct gradients *g, struct ir_tensor *const *u, double h) {
    struct arena a;
    arena_init(&a);
    struct ir_tensor **values = ARENA_ARRAY(&a, struct ir_tensor *, g->f->n_values + 1);
    for (size_t i = 0; i < g->f->n_boundary; i++) {
        const ir_vid b = g->f->boundary[i];
        values[b] = g->boundary[b];
        if (!u[b]) continue;
        values[b] = ir_tensor_new(&a, g->boundary[b]->type);
        for (size_t k = 0; k < ir_tensor_numel(u[b]); k++) values[b]->f[k] = g->boundary[b]->f[k] + h * u[b]->f[k];
    }
    ir_eval(g->f, &a, g->batch, values);
    double sum = 0;
    for (size_t i = 0; i < g->f->n_outputs; i++) {
        const struct ir_output *o = &g->f->outputs[i];
        const struct rt_tensor *dy = o->kind == IR_OUT_OUTPUT ? named(g, "cotangent ", o->name) : NULL;
        for (size_t k = 0; dy && k < dy->numel; k++) sum += ((const float *)dy->data)[k] * values[o->value]->f[k];
    }
    arena_release(&a);
    return sum;
}

// The slopes on both sides.
static void slopes(struct gradients *g, struct ir_tensor *const *u, double h, double slope[2]) {
    const double here = value_at(g, u, 0);
    slope[0] = (value_at(g, u, h) - here) / h;
    slope[1] = (here - value_at(g, u, -h)) / h;
}

static bool close_to(double a, double b, double tolerance, double floor) {
    return fabs(a - b) <= tolerance * fmax(fmax(fabs(a), fabs(b)), floor);
}

enum verdict { AGREES, DIFFERS, UNDECIDED };

// Whether the gradient along a direction of some boundary values is the slope. dx(i) are the gradients of value i.
static enum verdict compare(struct gradients *g, const ir_vid *of, size_t n, const float *const *dx, uint64_t stream,
                            double *got, double *want) {
    struct arena a;
    struct rt_rng rng;
    enum verdict verdict = UNDECIDED;
    rt_rng_init(&rng, g->v->seed, 2000 + stream);
    arena_init(&a);
    for (int attempt = 0; attempt < DIRECTIONS && verdict == UNDECIDED; attempt++) {
        struct ir_tensor **u = ARENA_ARRAY(&a, struct ir_tensor *, g->f->n_values + 1);
        double scale = 0;
        *got = 0;
        for (size_t i = 0; i < n; i++) {
            u[of[i]] = ir_tensor_new(&a, g->boundary[of[i]]->type);
            const size_t numel = ir_tensor_numel(u[of[i]]);
            verify_normal(&rng, u[of[i]]->f, numel);
            for (size_t k = 0; k < numel; k++) {
                const double term = dx[i][k] * u[of[i]]->f[k];
                *got += term;
                scale += term * term;
            }
        }
        double far[2], near[2];
        slopes(g, u, 1e-6, far);
        slopes(g, u, 1.3e-7, near);
        *want = (near[0] + near[1]) / 2;
        const double floor = sqrt(scale); // what the terms' roundings in float32 may add up to
        bool smooth = isfinite(*want);
        for (int k = 0; k < 4; k++) smooth &= close_to(*want, k < 2 ? far[k] : near[k - 2], 1e-3, floor + 1e-2);
        if (!smooth) continue;
        // An element near a kink is on one side of it in float32 and on the other in float64: networks have many.
        verdict = close_to(*got, *want, 10 * g->v->tolerance, floor + 1e-4) ? AGREES : DIFFERS;
    }
    arena_release(&a);
    return verdict;
}

static const char *what_of(struct gradients *g, const ir_vid *of, size_t n) {
    return n == 1 ? arena_printf(&g->m->arena, "\"%s\"", printable(g->f->values[of[0]].name))
                  : "all parameters together";
}

static size_t compare_all(struct gradients *g, const smkd_model *model, const char *grads) {
    ir_vid *params = ARENA_ARRAY(&g->m->arena, ir_vid, g->f->n_boundary + 1);
    const float **dx = ARENA_ARRAY(&g->m->arena, const float *, g->f->n_boundary + 1);
    size_t n_params = 0, inputs = 0, open = 0, bad = 0, zero = 0;
    for (size_t i = 0; i <= g->f->n_boundary; i++) {
        const bool last = i == g->f->n_boundary;
        const ir_vid b = last ? IR_NONE : g->f->boundary[i];
        const struct ir_value *v = last ? NULL : &g->f->values[b];
        const struct smkd_abi_tensor *row =
            v && v->role == IR_ROLE_PARAM ? smkd_model_find(model, SMKD_ABI_PARAM, v->name) : NULL;
        const struct rt_tensor *input = v && v->role == IR_ROLE_INPUT ? named(g, "grad ", v->name) : NULL;
        const float *one = input ? input->data : NULL;
        if (row) {
            dx[n_params] = (const float *)(grads + row->offset);
            params[n_params++] = b;
        }
        const ir_vid *of = last ? params : &b;
        const size_t n = last ? n_params : input ? 1 : 0;
        double got = 0, want = 0;
        if (n == 0) continue;
        const enum verdict verdict = compare(g, of, n, last ? dx : &one, i, &got, &want);
        inputs += !last;
        zero += verdict == AGREES && got == 0 && want == 0;
        open += verdict == UNDECIDED;
        bad += verdict == DIFFERS;
        if (verdict == DIFFERS)
            printf("differs     the gradient by %s: along a direction it is %.7g, finite differences are %.7g\n",
                   what_of(g, of, n), got, want);
        else if (args_given(g->v->args, "verbose"))
            printf("%-11s gradient by %s: %.7g, %.7g\n", verdict == AGREES ? "agrees" : "undecided", what_of(g, of, n),
                   got, want);
    }
    const size_t all = inputs + (n_params > 0);
    if (!all)
        printf("gradients   none: no float32 goes in and comes out\n");
    else if (bad)
        printf("gradients   %zu of %zu differ from finite differences\n", bad, all);
    else
        printf("gradients   by %zu inputs and %zu parameters agree with finite differences (of %zu comparisons %zu "
               "zero, %zu "
               "undecided)\n",
               inputs, n_params, all, zero, open);
    return bad;
}

// The graphs of a model that is differentiated, and its forward part again for the interpreter.
static enum smkd_status build(struct gradients *g, const char *artifact) {
    struct dc_build b = verify_build(g->v);
    g->f = ir_graph_clone(&g->m->arena, g->m->imported);
    TRY(dc_run_passes(&b, DC_MIDDLE_PASSES, g->f, IR_TRAIN));
    TRY(dc_model_graphs(g->m, &b, DC_GRAD));
    struct cg_model cm = dc_codegen_model(g->m, &b);
    return cg_compile(&cm, &b.cg, artifact, &g->m->diag);
}

static enum smkd_result fill_boundary(struct gradients *g) {
    g->boundary = ARENA_ARRAY(&g->m->arena, struct ir_tensor *, g->f->n_values + 1);
    int64_t batch;
    const enum smkd_result r = verify_boundary(g->v, g->m, g->f, &g->m->arena, g->boundary, &batch);
    for (size_t i = 0; i < g->f->n_boundary; i++) {
        const struct ir_value *v = &g->f->values[g->f->boundary[i]];
        if (v->role == IR_ROLE_PARAM || v->role == IR_ROLE_BUFFER)
            g->boundary[g->f->boundary[i]] = ir_tensor_from(&g->m->arena, ir_concrete(&v->type, 1), v->data);
    }
    return r;
}

int verify_gradients(struct verify *v, size_t *bad) {
    struct dc_model m;
    const char *path = arena_printf(&v->m.arena, "%s/g.smkd", v->dir.path);
    int code = dc_model_open_values(&m, v->args->pos[0], v->args, false);
    struct gradients g = {.v = v, .m = &m};
    m.diag.sink = verify_again;
    if (code == EXIT_DONE) code = dc_exit(build(&g, path), &m.diag);
    smkd_model *model = code == EXIT_DONE ? smkd_model_load(path) : NULL;
    smkd_session *s = model ? smkd_session_new(model, v->team) : NULL;
    enum smkd_result r = s ? run(&g, s, model) : SMKD_R_INVALID;
    if (r == SMKD_R_OK) r = fill_boundary(&g);
    if (r == SMKD_R_OK)
        *bad = compare_all(&g, model, smkd_model_grads(model));
    else if (code == EXIT_DONE)
        fprintf(stderr, "smkdc verify: error: %s\n", smkd_last_error());
    if (r != SMKD_R_OK) code = EXIT_FAILED;
    rt_tensors_release(&g.memory);
    smkd_session_free(s);
    smkd_model_free(model);
    dc_model_close(&m);
    return code;
}
