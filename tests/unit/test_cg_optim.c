// Optimizers as compiled programs: one pass over memory, in place, right, and SGD to the bit what a model's own UPDATE
// entry computes. (Fifty steps beside PyTorch: tests/oracle/test_optimizers.py.)
#include "../../codegen/codegen.h"
#include "../../ir/eval.h"
#include "../../optim/optim.h"
#include "../../runtime/include/smkd_runtime.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka wants some of the above first
#include <cmocka.h>

enum { LINES = 37, NUMBERS = LINES * OPTIM_LANES };

static struct ir_graph *drawn(struct arena *a, struct diag *d, const char *name) {
    struct ir_graph *g = optim_build(name, a, d);
    assert_non_null(g);
    return g;
}

static smkd_model *load(struct cg_model *m, struct diag *d) {
    char path[] = "/tmp/smkd_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct cg_options o = {.mcpu = "native", .max_batch = INT32_MAX, .emit = "lib", .verify = true, .share_all = true};
    if (m->kind == SMKD_ABI_MODEL) o.max_batch = 8;
    assert_int_equal(cg_compile(m, &o, path, d), SMKD_OK);
    smkd_model *loaded = smkd_model_load(path);
    unlink(path);
    if (!loaded) fail_msg("%s", smkd_last_error());
    return loaded;
}

static smkd_model *compiled(struct arena *a, struct diag *d, const char *name) {
    struct cg_model m = {.name = name, .kind = SMKD_ABI_OPTIMIZER, .train = drawn(a, d, name), .notes = "{}"};
    return load(&m, d);
}

static float *numbers(uint32_t seed, bool positive) {
    float *v = aligned_alloc(64, (NUMBERS + OPTIM_LANES) * sizeof *v);
    assert_non_null(v);
    for (int i = 0; i < NUMBERS; i++) {
        seed = seed * 1664525u + 1013904223u;
        v[i] = (float)(seed >> 8) / (1 << 23) - 1;
        if (positive) v[i] = v[i] * v[i];
    }
    for (int i = NUMBERS; i < NUMBERS + OPTIM_LANES; i++) v[i] = 77; // nobody's
    return v;
}

// param, grad and the states, in the order of the table.
enum { MOST = 2 + OPTIMIZER_STATES };
static int memory(const struct optimizer *o, float *at[MOST], const char *name[MOST], struct arena *a) {
    int n = 2;
    at[0] = numbers(1, false), name[0] = "param";
    at[1] = numbers(2, false), name[1] = "grad";
    for (int i = 0; o->states[i]; i++, n++) {
        const bool square = strstr(o->states[i], "sq") || strcmp(o->states[i], "sum") == 0;
        at[n] = numbers((uint32_t)n + 1, square);
        name[n] = arena_printf(a, "state.%s", o->states[i]);
    }
    return n;
}

static struct optimizer_now now_of(const struct optimizer *o) {
    struct optimizer_now now = {.lr = 0.07, .weight_decay = 0.03, .step = 3};
    for (int i = 0; o->numbers[i].name; i++) now.numbers[i] = o->numbers[i].def;
    return now;
}

static void set_scalars(smkd_session *s, const smkd_model *m, const struct optimizer *o) {
    const struct smkd_abi_tensor *t;
    const struct optimizer_now now = now_of(o);
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_SCALAR, i)); i++) {
        double v;
        assert_true(optimizer_scalar(o, &now, t->name, &v));
        assert_int_equal(smkd_set_scalar(s, t->name, v), SMKD_R_OK);
    }
}

// On `threads` threads, in place or not; the results are in at[0], at[2], ...
static void step(smkd_model *m, const struct optimizer *o, int threads, bool in_place, float *at[MOST],
                 struct arena *a) {
    const char *name[MOST];
    const int n = memory(o, at, name, a);
    smkd_team *team = smkd_team_new(threads);
    smkd_session *s = smkd_session_new(m, team);
    float *out[MOST] = {0};
    for (int i = 0; i < n; i++) {
        assert_int_equal(smkd_bind(s, SMKD_ABI_INPUT, name[i], at[i]), SMKD_R_OK);
        if (i == 1) continue;
        out[i] = in_place ? at[i] : numbers(99, false);
        assert_int_equal(smkd_bind(s, SMKD_ABI_OUTPUT, name[i], out[i]), SMKD_R_OK);
    }
    set_scalars(s, m, o);
    if (smkd_run(s, SMKD_ABI_FORWARD, LINES) != SMKD_R_OK) fail_msg("%s", smkd_last_error());
    for (int i = 0; i < n; i++) {
        for (int k = 0; k < OPTIM_LANES; k++) assert_true(at[i][NUMBERS + k] == 77);
        if (!out[i] || in_place) continue;
        free(at[i]);
        at[i] = out[i];
    }
    smkd_session_free(s);
    smkd_team_free(team);
}

static void compare_with_interpreter(const struct optimizer *o, float *const *got, struct arena *a, struct diag *d) {
    struct ir_graph *g = drawn(a, d, o->name);
    const char *name[MOST];
    float *at[MOST];
    const int n = memory(o, at, name, a);
    const struct optimizer_now now = now_of(o);
    struct ir_tensor **values = xcalloc(g->n_values, sizeof *values);
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        struct ir_type t = ir_concrete(&v->type, LINES);
        float x = 0;
        const void *data = &x;
        double number;
        if (optimizer_scalar(o, &now, v->name, &number)) x = (float)number;
        for (int k = 0; k < n; k++)
            if (strcmp(name[k], v->name) == 0) data = at[k];
        values[g->boundary[i]] = ir_tensor_from(a, t, data);
    }
    ir_eval(g, a, LINES, values);
    for (size_t i = 0; i < g->n_outputs; i++)
        for (int k = 0; k < n; k++) {
            if (strcmp(name[k], g->outputs[i].name) != 0) continue;
            const struct ir_tensor *ref = values[g->outputs[i].value];
            double e = 0, most = 0;
            for (int j = 0; j < NUMBERS; j++) {
                e = fmax(e, fabs(ref->f[j] - (double)got[k][j]));
                most = fmax(most, fabs(ref->f[j]));
            }
            e /= most;
            if (!(e < 1e-6)) fail_msg("%s: %s is off by %g of the largest", o->name, name[k], e);
        }
    for (int k = 0; k < n; k++) free(at[k]);
    free(values);
}

static void test_all(void **state) {
    (void)state;
    for (const struct optimizer *o = optimizers; o->name; o++) {
        struct arena a;
        struct diag d = {0};
        arena_init(&a);
        smkd_model *m = compiled(&a, &d, o->name);
        const struct smkd_artifact *info = smkd_model_info(m);
        assert_int_equal(info->kind, SMKD_ABI_OPTIMIZER);
        assert_int_equal(info->max_batch, INT32_MAX);
        const struct smkd_abi_entry *e = &info->entries[SMKD_ABI_FORWARD];
        if (!o->by_tensor) { // one pass: everything is read and written once
            assert_int_equal(e->n_kernels, 1);
            int states = 0;
            while (o->states[states]) states++;
            assert_true(e->kernels[0].sample_bytes == (3 + 2 * states) * OPTIM_LANES * 4.0);
        }
        float *first[MOST] = {0}, *at[MOST] = {0};
        step(m, o, 1, true, first, &a);
        compare_with_interpreter(o, first, &a, &d);
        for (int way = 0; way < 4; way++) {
            step(m, o, way < 2 ? 1 : 3, way % 2 == 1, at, &a);
            for (int i = 0; i < MOST; i++) {
                if (at[i]) assert_memory_equal(at[i], first[i], NUMBERS * sizeof **at);
                free(at[i]);
                at[i] = NULL;
            }
        }
        for (int i = 0; i < MOST; i++) free(first[i]);
        smkd_model_free(m);
        arena_release(&a);
    }
}

// y = sum over rows of w, whose gradient is what the test writes there.
static smkd_model *model_with_update(struct arena *a, struct diag *d) {
    struct ir_graph *g = ir_graph_new(a, d, "m");
    ir_vid x = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 2, (int64_t[]){IR_N, NUMBERS}), "x", NULL);
    ir_vid w = ir_boundary(g, IR_ROLE_PARAM, ir_type_make(IR_F32, 1, (int64_t[]){NUMBERS}), "w", NULL);
    ir_set_output(g, IR_OUT_OUTPUT, "y", ir_mul(g, x, w));
    assert_int_equal(ir_differentiate(g, NULL, 0, false), SMKD_OK);
    struct cg_model m = {.name = "m", .kind = SMKD_ABI_MODEL, .train = g, .update = true, .notes = "{}"};
    return load(&m, d);
}

static void test_sgd_is_update(void **state) {
    (void)state;
    for (int nesterov = 0; nesterov < 2; nesterov++) {
        struct arena a;
        struct diag d = {0};
        arena_init(&a);
        const struct optimizer *o = optimizer_find(nesterov ? "sgd_nesterov" : "sgd");
        smkd_model *m = compiled(&a, &d, o->name), *model = model_with_update(&a, &d);
        float *at[MOST] = {0}, *in[MOST];
        const char *name[MOST];
        memory(o, in, name, &a);
        memcpy(smkd_model_params(model), in[0], NUMBERS * 4);
        memcpy(smkd_model_grads(model), in[1], NUMBERS * 4);
        memcpy(smkd_model_momentum(model), in[2], NUMBERS * 4);
        smkd_team *team = smkd_team_new(2);
        smkd_session *s = smkd_session_new(model, team);
        const struct optimizer_now now = now_of(o);
        assert_int_equal(smkd_set_scalar(s, "lr", now.lr), SMKD_R_OK);
        assert_int_equal(smkd_set_scalar(s, "momentum", now.numbers[0]), SMKD_R_OK);
        assert_int_equal(smkd_set_scalar(s, "weight_decay", now.weight_decay), SMKD_R_OK);
        assert_int_equal(smkd_set_scalar(s, "nesterov", nesterov), SMKD_R_OK);
        assert_int_equal(smkd_run(s, SMKD_ABI_UPDATE, 1), SMKD_R_OK);
        step(m, o, 2, true, at, &a);
        assert_memory_equal(at[0], smkd_model_params(model), NUMBERS * 4);
        assert_memory_equal(at[2], smkd_model_momentum(model), NUMBERS * 4);
        for (int i = 0; i < 3; i++) free(at[i]), free(in[i]);
        smkd_session_free(s);
        smkd_team_free(team);
        smkd_model_free(m);
        smkd_model_free(model);
        arena_release(&a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all), cmocka_unit_test(test_sgd_is_update)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
