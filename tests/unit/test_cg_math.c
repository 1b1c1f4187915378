// Accuracy of the generated elementary functions over float32's range, in units of the last place, against libm's
// double results; and that special values come out as IEEE 754 has them. The bounds are those that
// codegen/kernels/vmath.h states.
#include "../../codegen/codegen.h"
#include "../../runtime/runtime.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
// cmocka wants the four above first
#include <cmocka.h>

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

static const struct fn {
    enum ir_op op;
    double (*ref)(double);
    double lo, hi; // uniform over [lo, hi]; lo > 0: uniform in the logarithm
    double ulp;
} fns[] = {
    {IR_OP_exp, exp, -104, 89, 1},     {IR_OP_exp, exp, -1, 1, 1},
    {IR_OP_log, log, 1e-38, 3e38, 1},  {IR_OP_log, log, .5, 2, 1},
    {IR_OP_log, log, 1e-44, 1e-38, 1}, {IR_OP_tanh, tanh, -10, 10, 1.5},
    {IR_OP_tanh, tanh, 1e-20, 1, 1.5}, {IR_OP_sigmoid, sigmoid, -80, 30, 2.5},
    {IR_OP_erf, erf, -5, 5, 2.5},      {IR_OP_erf, erf, 1e-20, 1, 2.5},
    {IR_OP_asin, asin, -1, 1, 2},      {IR_OP_asin, asin, 1e-40, 1, 2},
    {IR_OP_acos, acos, -1, 1, 2},      {IR_OP_acos, acos, 1e-20, 1, 2},
    {IR_OP_atan, atan, -5, 5, 2},      {IR_OP_atan, atan, 1e-40, 1e38, 2},
    {IR_OP_sinh, sinh, -90, 90, 2},    {IR_OP_sinh, sinh, 1e-40, 2, 2},
    {IR_OP_cosh, cosh, -90, 90, 2},    {IR_OP_cosh, cosh, 1e-20, 2, 2},
    {IR_OP_asinh, asinh, -9, 9, 2.5},  {IR_OP_asinh, asinh, 1e-40, 3e38, 2.5},
    {IR_OP_acosh, acosh, 1, 2, 2.5},   {IR_OP_acosh, acosh, 1, 3e38, 2.5},
    {IR_OP_atanh, atanh, -1, 1, 2.5},  {IR_OP_atanh, atanh, 1e-40, 1, 2.5},
};
enum { N_FNS = sizeof fns / sizeof *fns, N = 200000 };

// |got - want| in units of the last place of a float32 near want.
static double ulps(float got, double want) {
    if ((isnan(got) && isnan(want)) || (double)got == want) return 0;
    float w = (float)want;
    if (isinf(w) || isinf(got)) return w == got ? 0 : INFINITY;
    int e;
    frexp(want, &e);
    if (e < -125) e = -125; // denormals are equally spaced
    return fabs(got - want) / ldexp(1, e - 24);
}

static float *run(enum ir_op op, float *x, int64_t n, const char *mcpu) {
    struct arena a;
    struct diag d = {0};
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "math");
    ir_vid v = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 1, (int64_t[]){IR_N}), "x", NULL);
    ir_set_output(g, IR_OUT_OUTPUT, "y", ir_unary(g, op, v));
    struct cg_model m = {.name = "math", .kind = SMKD_ABI_MODEL, .train = g};
    struct cg_options o = {.mcpu = mcpu, .max_batch = n, .emit = "lib", .verify = true};
    char path[] = "/tmp/smkd_math_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_int_equal(cg_compile(&m, &o, path, &d), SMKD_OK);
    smkd_model *lib = smkd_model_load(path);
    if (!lib) print_error("%s\n", smkd_last_error());
    assert_non_null(lib);
    smkd_team *team = smkd_team_new(1);
    smkd_session *s = smkd_session_new(lib, team);
    float *y = malloc((size_t)n * sizeof *y);
    assert_non_null(y);
    assert_int_equal(smkd_bind(s, SMKD_ABI_INPUT, "x", x), SMKD_R_OK);
    assert_int_equal(smkd_bind(s, SMKD_ABI_OUTPUT, "y", y), SMKD_R_OK);
    assert_int_equal(smkd_run(s, SMKD_ABI_FORWARD, n), SMKD_R_OK);
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(lib);
    unlink(path);
    arena_release(&a);
    return y;
}

static void test_accuracy(void **state) {
    (void)state;
    float *x = malloc(N * sizeof *x);
    assert_non_null(x);
    for (int k = 0; k < N_FNS; k++) {
        const struct fn *f = &fns[k];
        struct rt_rng r;
        rt_rng_init(&r, 7, (uint64_t)k);
        for (int i = 0; i < N; i++) {
            double u = rt_rng_uniform(&r);
            x[i] = (float)(f->lo > 0 ? exp(log(f->lo) + u * (log(f->hi) - log(f->lo))) : f->lo + u * (f->hi - f->lo));
        }
        static const char *const cpus[] = {"x86-64-v3", "native"};
        for (int c = 0; c < 2; c++) {
            float *y = run(f->op, x, N, cpus[c]);
            double worst = 0;
            int at = 0;
            for (int i = 0; i < N; i++) {
                double u = ulps(y[i], f->ref(x[i]));
                if (u > worst) worst = u, at = i;
            }
            if (getenv("VERBOSE"))
                print_message("%s on [%g, %g]: %.2f ulp at %.9g (%s)\n", ir_ops[f->op].name, f->lo, f->hi, worst,
                              (double)x[at], cpus[c]);
            if (!(worst <= f->ulp)) {
                print_error("%s(%.9g) = %.9g, expected %.9g: %.2f ulp, %.1f allowed (%s)\n", ir_ops[f->op].name,
                            (double)x[at], (double)y[at], f->ref(x[at]), worst, f->ulp, cpus[c]);
                fail();
            }
            free(y);
        }
    }
    free(x);
}

static void test_special_values(void **state) {
    (void)state;
    static float x[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, -1.0f, 1e-45f, 200.0f, -200.0f, 1.0f, -1e-8f};
    enum { n = sizeof x / sizeof *x };
    static const struct {
        enum ir_op op;
        double (*ref)(double);
    } f[] = {{IR_OP_exp, exp},    {IR_OP_log, log},   {IR_OP_tanh, tanh},   {IR_OP_sigmoid, sigmoid},
             {IR_OP_erf, erf},    {IR_OP_asin, asin}, {IR_OP_acos, acos},   {IR_OP_atan, atan},
             {IR_OP_sinh, sinh},  {IR_OP_cosh, cosh}, {IR_OP_asinh, asinh}, {IR_OP_acosh, acosh},
             {IR_OP_atanh, atanh}};
    for (size_t k = 0; k < sizeof f / sizeof *f; k++) {
        float *y = run(f[k].op, x, n, "native");
        for (int i = 0; i < n; i++)
            if (!(ulps(y[i], f[k].ref(x[i])) <= 4)) {
                print_error("%s(%g) = %g, expected %g\n", ir_ops[f[k].op].name, (double)x[i], (double)y[i],
                            f[k].ref(x[i]));
                fail();
            }
        free(y);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_accuracy), cmocka_unit_test(test_special_values)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
