// Compiles a graph with the whole code generator, runs it through the runtime and compares every output with the
// reference interpreter. Many cases go into one graph, side by side, so that one compile and link serves them all.
//
//     struct cgh h;
//     cgh_begin(&h);
//     ir_vid x = cgh_input(&h, IR_F32, 4, (int64_t[]){IR_N, 3, 8, 8});
//     cgh_output(&h, ir_unary(h.g, IR_OP_relu, x), "relu %d", 8);
//     cgh_end(&h, (int64_t[]){1, 5}, 2, 1e-5);
#ifndef SMKD_TEST_CG_HARNESS_H
#define SMKD_TEST_CG_HARNESS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../codegen/codegen.h"
#include "../../ir/eval.h"
#include "../../runtime/include/smkd_runtime.h"

struct cgh {
    struct arena arena;
    struct diag diag;
    struct ir_graph *g;
    unsigned n_inputs, n_outputs, n_bad;
    uint32_t random;
    struct cg_options options;      // what a test wants different; cgh_end fills in the rest
    const char *cpu;                // the only CPU to compile for; NULL: this machine's and any with AVX2
    struct ir_graph *reference;     // what the interpreter runs: g; with bf16 as the passes left it, which say what is
                                    // rounded (they know no CPU)
    double worst;                   // largest error of an element over its output's largest, so far
    double most;                    // how large that may be; 0: the error of the norm alone counts
    double (*value)(struct cgh *h); // what inputs are filled with; the default is uniform in [-1, 1)
};

static double cgh_uniform(struct cgh *h) {
    h->random = h->random * 1664525u + 1013904223u;
    return (double)(h->random >> 8) / (1 << 23) - 1;
}

static void cgh_begin(struct cgh *h) {
    memset(h, 0, sizeof *h);
    arena_init(&h->arena);
    h->diag.file = "test";
    h->random = 12345;
    h->value = cgh_uniform;
    h->g = ir_graph_new(&h->arena, &h->diag, "test");
}

static ir_vid cgh_input(struct cgh *h, enum ir_dtype t, int rank, const int64_t *dims) {
    return ir_boundary(h->g, IR_ROLE_INPUT, ir_type_make(t, rank, dims), arena_printf(&h->arena, "in%u", h->n_inputs++),
                       NULL);
}

__attribute__((format(printf, 3, 4))) static void cgh_output(struct cgh *h, ir_vid v, const char *fmt, ...) {
    char text[256];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    ir_set_output(h->g, IR_OUT_OUTPUT, arena_printf(&h->arena, "%u: %s", h->n_outputs++, text), v);
}

// A buffer of t's elements, filled when `h` is given; 64-aligned. Free with free().
static void *cgh_buffer(struct cgh *h, const struct ir_type *t) {
    size_t n = (size_t)ir_numel(t), bytes = n * ir_dtype_size(t->dtype);
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    assert_non_null(p);
    memset(p, 0x7f, (bytes + 127) / 64 * 64);
    for (size_t i = 0; h && i < n; i++) {
        double v = h->value(h);
        switch (t->dtype) {
        case IR_F32:
            ((float *)p)[i] = (float)v;
            break;
        case IR_F64:
            ((double *)p)[i] = v;
            break;
        case IR_I64:
            ((int64_t *)p)[i] = (int64_t)(v * 4);
            break;
        case IR_I32:
            ((int32_t *)p)[i] = (int32_t)(v * 4);
            break;
        default:
            ((uint8_t *)p)[i] = v > 0;
            break;
        }
    }
    return p;
}

static double cgh_element(const void *p, enum ir_dtype t, size_t i) {
    switch (t) {
    case IR_F32:
        return ((const float *)p)[i];
    case IR_F64:
        return ((const double *)p)[i];
    case IR_I64:
        return (double)((const int64_t *)p)[i];
    case IR_I32:
        return ((const int32_t *)p)[i];
    default:
        return ((const uint8_t *)p)[i];
    }
}

// Error of the norm; equal non-finite elements count as right, others as infinitely wrong.
static double cgh_error(const struct ir_tensor *ref, const void *got) {
    double se = 0, sr = 0;
    for (size_t i = 0; i < ir_tensor_numel(ref); i++) {
        double r = ref->f ? ref->f[i] : (double)ref->i[i], v = cgh_element(got, ref->type.dtype, i);
        if (!isfinite(r) || !isfinite(v)) {
            if (!(r == v || (isnan(r) && isnan(v)))) return INFINITY;
            continue;
        }
        se += (v - r) * (v - r);
        sr += r * r;
    }
    return sqrt(se) / (sqrt(sr) + 1e-20);
}

static double cgh_max_error(const struct ir_tensor *ref, const void *got) {
    double e = 0, most = 1e-30;
    for (size_t i = 0; ref->f && i < ir_tensor_numel(ref); i++) {
        e = fmax(e, fabs(cgh_element(got, ref->type.dtype, i) - ref->f[i]));
        most = fmax(most, fabs(ref->f[i]));
    }
    return e / most;
}

// Where a test's code is run: this machine's own vectors and, where that is more, AVX2's.
static const char *const cgh_cpus[] = {"native", "x86-64-v3"};
enum { CGH_CPUS = 2, CGH_TEAMS = 3, CGH_MAX = 512 };

// Runs one model on 1, 2 and 3 threads and compares with the reference's values: right within tol, the same bits on
// every team, nothing written past an end.
static void cgh_compare(struct cgh *h, const char *cpu, smkd_model *m, int64_t batch, double tol, void *const *in,
                        struct ir_tensor *const *values) {
    struct ir_graph *g = h->reference;
    void *out[CGH_TEAMS][CGH_MAX];
    for (int k = 0; k < CGH_TEAMS; k++) {
        smkd_team *team = smkd_team_new(k + 1);
        smkd_session *s = smkd_session_new(m, team);
        assert_non_null(s);
        for (size_t i = 0; i < g->n_boundary; i++)
            assert_int_equal(smkd_bind(s, SMKD_ABI_INPUT, g->values[g->boundary[i]].name, in[i]), SMKD_R_OK);
        for (size_t i = 0; i < g->n_outputs; i++) {
            struct ir_type t = ir_concrete(&g->values[g->outputs[i].value].type, batch);
            out[k][i] = cgh_buffer(NULL, &t);
            assert_int_equal(smkd_bind(s, SMKD_ABI_OUTPUT, g->outputs[i].name, out[k][i]), SMKD_R_OK);
        }
        if (smkd_run(s, SMKD_ABI_FORWARD, batch) != SMKD_R_OK) fail_msg("run: %s", smkd_last_error());
        smkd_session_free(s);
        smkd_team_free(team);
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        const struct ir_tensor *ref = values[g->outputs[i].value];
        size_t n = ir_tensor_numel(ref), bytes = n * ir_dtype_size(ref->type.dtype);
        double e = cgh_error(ref, out[0][i]), most = cgh_max_error(ref, out[0][i]);
        h->worst = fmax(h->worst, most);
        if (!(e <= tol)) {
            print_error("%s, N = %d, %s: error %.2e\n", cpu, (int)batch, g->outputs[i].name, e);
            h->n_bad++;
        }
        if (h->most && !(most <= h->most)) {
            print_error("%s, N = %d, %s: an element is off by %.2e of the largest\n", cpu, (int)batch,
                        g->outputs[i].name, most);
            h->n_bad++;
        }
        for (int k = 0; k < CGH_TEAMS; k++) {
            if (k && memcmp(out[0][i], out[k][i], bytes)) {
                print_error("%s, N = %d, %s: %d threads give other bits than 1\n", cpu, (int)batch, g->outputs[i].name,
                            k + 1);
                h->n_bad++;
            }
            for (size_t b = bytes; b < bytes + 63; b++)
                if (((unsigned char *)out[k][i])[b] != 0x7f) {
                    print_error("%s, N = %d, %s: written past its end\n", cpu, (int)batch, g->outputs[i].name);
                    h->n_bad++;
                    break;
                }
        }
    }
    for (int k = 0; k < CGH_TEAMS; k++)
        for (size_t i = 0; i < g->n_outputs; i++) free(out[k][i]);
}

// One batch: its inputs and the reference's values, which serve all models.
static void cgh_batch(struct cgh *h, smkd_model *const *models, int64_t batch, double tol) {
    struct ir_graph *g = h->reference;
    struct ir_tensor **values = calloc(g->n_values, sizeof *values);
    void *in[CGH_MAX];
    assert_true(values && g->n_boundary <= CGH_MAX && g->n_outputs <= CGH_MAX);
    struct arena scratch;
    arena_init(&scratch);
    for (size_t i = 0; i < g->n_boundary; i++) {
        struct ir_type t = ir_concrete(&g->values[g->boundary[i]].type, batch);
        in[i] = cgh_buffer(h, &t);
        values[g->boundary[i]] = ir_tensor_from(&scratch, t, in[i]);
    }
    ir_eval(g, &scratch, batch, values);
    for (int c = 0; c < CGH_CPUS && models[c]; c++)
        cgh_compare(h, h->cpu ? h->cpu : cgh_cpus[c], models[c], batch, tol, in, values);
    for (size_t i = 0; i < g->n_boundary; i++) free(in[i]);
    free(values);
    arena_release(&scratch);
}

// Winograd wherever it can: these are tests of kernels, not of which one the cost model would take.
static int cgh_winograd(void *env, const struct cg_conv_site *site) {
    (void)env;
    return site->seconds[CG_WINOGRAD] >= 0 ? CG_WINOGRAD : -1;
}

static smkd_model *cgh_compile(struct cgh *h, const char *cpu) {
    char path[] = "/tmp/smkd_test_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    struct cg_model model = {
        .name = "test", .kind = SMKD_ABI_LOSS, .train = ir_graph_clone(&h->arena, h->g), .notes = "{}"};
    struct cg_options o = h->options;
    o.mcpu = cpu;
    o.max_batch = 256;
    o.emit = "lib";
    o.verify = true;
    o.share_all = strcmp(cpu, "x86-64-v3") != 0;
    if (!o.pick) o.pick = cgh_winograd;
    assert_int_equal(cg_compile(&model, &o, path, &h->diag), SMKD_OK);
    h->reference = o.bf16 ? model.train : h->g;
    smkd_model *m = smkd_model_load(path);
    unlink(path);
    if (!m) fail_msg("load: %s", smkd_last_error());
    return m;
}

// Compiles for this machine and for AVX2; runs each batch size on 1, 2 and 3 threads, which must give equal bits;
// releases everything.
static void cgh_end(struct cgh *h, const int64_t *batches, int n_batches, double tol) {
    smkd_model *models[CGH_CPUS] = {NULL};
#ifdef __SANITIZE_ADDRESS__ // sees what compiles, not what was compiled: the CPUs take turns
    static unsigned turn;
    if (!h->cpu) h->cpu = cgh_cpus[turn++ % CGH_CPUS];
#endif
    for (int c = 0; c < (h->cpu ? 1 : CGH_CPUS); c++) models[c] = cgh_compile(h, h->cpu ? h->cpu : cgh_cpus[c]);
    for (int b = 0; b < n_batches; b++) cgh_batch(h, models, batches[b], tol);
    for (int c = 0; c < CGH_CPUS && models[c]; c++) smkd_model_free(models[c]);
    unsigned bad = h->n_bad;
    arena_release(&h->arena);
    assert_int_equal(bad, 0);
}

#endif
