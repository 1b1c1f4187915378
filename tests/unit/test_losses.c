// The losses: golden vectors of methods.md 12 through the graphs of losses/, the limits ALL and ZERO, and the loss ops'
// expansions against their references and finite differences. Everything in the float64 interpreter.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "../../losses/losses.h"
#include "../ops/fd.h"

enum { ROWS = 3, C = 4 };
#define GOLDEN 1.5e-6 // the table has six decimals

static const double ZA[ROWS * C] = {4, 0, -1, .5, .2, .1, 0, -.1, -1, 3, 2.5, 0};
static const double ZB[ROWS * C] = {3, 1, 0, -2, 0, 2.5, -1, .5, .1, 0, .2, -.1};
static const int64_t Y[ROWS] = {0, 2, 1};

struct scalars {
    double progress, eta, b2, b1, rho, r0, r1;
};
static const struct scalars GOLDEN_SCALARS = {.progress = 0.6, .eta = 2, .b2 = -5, .b1 = 8, .rho = 0.5};

// One built loss and, after run(), its values.
struct run {
    struct arena arena;
    struct diag diag;
    struct ir_graph *g;
    struct ir_tensor **values;
};

// What a test asks of a loss; each method takes of it what it leaves free.
struct want {
    const char *refine, *peer_denom, *r_scope;
    bool detach_target;
    int64_t classes;
    int peers;
};
static struct want options(const char *refine, const char *denom) {
    return (struct want){refine, denom, "epoch", false, C, 2};
}

static struct loss_options of(const char *name, const struct want *w) {
    struct loss_options o;
    struct diag d = {0};
    assert_true(loss_options_init(&o, name, &d));
    const struct {
        const char *name, *text;
    } set[] = {{"refine", w->refine},
               {"peer-denom", w->peer_denom},
               {"r-scope", w->r_scope},
               {"detach-target", w->detach_target ? "true" : "false"}};
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        char fixed[32];
        int place;
        const struct method_param *p = method_param(o.method, set[i].name, &place);
        if (!method_fixed(o.method, p, fixed)) assert_true(method_set(o.method, &o.values, place, set[i].text));
    }
    o.classes = w->classes;
    o.peers = w->peers;
    return o;
}

static void run_peers(struct run *r, const char *name, const struct want *w, const struct scalars *s,
                      const double *const *z, const int64_t *y, int64_t rows) {
    arena_init(&r->arena);
    r->diag = (struct diag){0};
    const struct loss_options o = of(name, w);
    r->g = loss_build(&o, &r->arena, &r->diag);
    assert_non_null(r->g);
    r->values = ARENA_ARRAY(&r->arena, struct ir_tensor *, r->g->n_values);
    const struct {
        const char *name;
        double value;
    } scalars[] = {{"progress", s->progress}, {"eta", s->eta}, {"b2", s->b2}, {"b1", s->b1},
                   {"rho", s->rho},           {"r.0", s->r0},  {"r.1", s->r1}};
    for (size_t b = 0; b < r->g->n_boundary; b++) {
        const struct ir_value *v = &r->g->values[r->g->boundary[b]];
        struct ir_tensor *t = ir_tensor_new(&r->arena, ir_concrete(&v->type, rows));
        r->values[r->g->boundary[b]] = t;
        for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++) {
            if (strcmp(v->name, scalars[i].name) != 0) continue;
            t->f[0] = scalars[i].value;
        }
        if (strcmp(v->name, "labels") == 0) memcpy(t->i, y, (size_t)rows * sizeof *y);
        const struct method_name n = method_parse(v->name);
        if (n.role == METHOD_LOGITS) memcpy(t->f, z[n.peer], (size_t)(rows * o.classes) * sizeof *t->f);
    }
    ir_eval(r->g, &r->arena, rows, r->values);
}

static void run_rows(struct run *r, const char *name, const struct want *w, const struct scalars *s, const double *za,
                     const double *zb, const int64_t *y, int64_t rows) {
    run_peers(r, name, w, s, (const double *const[]){za, zb}, y, rows);
}

static void run(struct run *r, const char *name, const struct want *o, const struct scalars *s) {
    run_rows(r, name, o, s, ZA, ZB, Y, ROWS);
}

static const struct ir_tensor *result(const struct run *r, const char *name) {
    for (size_t k = 0; k < r->g->n_outputs; k++) {
        if (strcmp(r->g->outputs[k].name, name) == 0) return r->values[r->g->outputs[k].value];
    }
    fail_msg("no output %s", name);
    return NULL;
}

static double number(const struct run *r, const char *name) { return result(r, name)->f[0]; }

static void near(const struct ir_tensor *got, const double *want, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (!(fabs(got->f[i] - want[i]) <= GOLDEN))
            fail_msg("element %zu is %.8f, expected %.8f", i, got->f[i], want[i]);
    }
}
#define NEAR(got, ...)                                                                                                 \
    near((got), (const double[]){__VA_ARGS__}, sizeof((const double[]){__VA_ARGS__}) / sizeof(double))
#define NEAR1(got, want)                                                                                               \
    do {                                                                                                               \
        if (!(fabs((got) - (want)) <= GOLDEN))                                                                         \
            fail_msg("%s is %.8f, expected %.8f", #got, (double)(got), (double)(want));                                \
    } while (0)

static void test_cross_entropy(void **state) {
    (void)state;
    struct run r;
    struct want o = options("mylc", "K"); // ce refines nothing whatever it is told
    run(&r, "ce", &o, &GOLDEN_SCALARS);
    NEAR1(number(&r, "loss.0"), 0.670636);
    NEAR(result(&r, "grad.0"), -0.017453, 0.005786, 0.002128, 0.009539, 0.096217, 0.087061, -0.254557, 0.071279,
         0.003646, -0.134285, 0.120729, 0.009910);
    NEAR(result(&r, "entropy.0"), .255288, 1.380071, .829627);
    NEAR(result(&r, "entropy.1"), .556199, .687383, 1.380071);
    NEAR(result(&r, "trust.0"), 0, 0, 0);
    NEAR(result(&r, "selected.1"), 0, 0, 0);
    assert_true(number(&r, "threshold") == 0);
    arena_release(&r.arena);
}

static void test_proselflc(void **state) {
    (void)state;
    struct run r;
    struct want o = options("proselflc", "K");
    run(&r, "zero", &o, &GOLDEN_SCALARS);
    NEAR1(number(&r, "loss.0"), .737384);
    NEAR1(number(&r, "loss.1"), 1.480343);
    NEAR(result(&r, "trust.0"), .562915, .003098, .277060);
    NEAR(result(&r, "trust.1"), .413148, .347856, .003098);
    NEAR(result(&r, "grad.0"), -0.043460, 0.014900, 0.006679, 0.021881, 0.095878, 0.086781, -0.253754, 0.071094,
         0.006359, -0.114398, 0.093500, 0.014539);
    arena_release(&r.arena);

    o.detach_target = true; // the same loss, another gradient
    run(&r, "zero", &o, &GOLDEN_SCALARS);
    NEAR1(number(&r, "loss.0"), .737384);
    NEAR(result(&r, "grad.0"), -0.007628, 0.002529, 0.000930, 0.004169, 0.095919, 0.086791, -0.253769, 0.071059,
         0.002636, -0.097080, 0.087280, 0.007164);
    arena_release(&r.arena);
}

static void test_mylc(void **state) {
    (void)state;
    struct run r;
    struct want o = options("mylc", "K");
    struct scalars s = GOLDEN_SCALARS;
    s.b1 = 10;
    o.r_scope = "batch"; // r over these three rows
    run(&r, "zero", &o, &s);
    NEAR(result(&r, "trust.0"), .231314, .001273, .113850);
    double batch = number(&r, "loss.0");
    arena_release(&r.arena);

    o.r_scope = "epoch"; // the same r, given from outside
    s.r0 = .407296;
    run(&r, "zero", &o, &s);
    NEAR(result(&r, "trust.0"), .231314, .001273, .113850);
    NEAR1(number(&r, "loss.0"), batch);
    arena_release(&r.arena);
}

// What the peer adds to loss.0 and grad.0: the difference to the same loss without any exchange.
static double peer_part(const char *name, const char *denom, const struct scalars *s, double *grad) {
    struct run with, without;
    struct want o = options("proselflc", denom);
    run(&with, name, &o, s);
    run(&without, "zero", &o, s);
    double value = number(&with, "loss.0") - number(&without, "loss.0");
    for (int i = 0; grad && i < ROWS * C; i++)
        grad[i] = result(&with, "grad.0")->f[i] - result(&without, "grad.0")->f[i];
    arena_release(&with.arena);
    arena_release(&without.arena);
    return value;
}

static void near_rows(const double *got, const double *want) {
    for (int i = 0; i < ROWS * C; i++) {
        if (!(fabs(got[i] - want[i]) <= GOLDEN)) fail_msg("element %d is %.8f, expected %.8f", i, got[i], want[i]);
    }
}

static void test_peer_term(void **state) {
    (void)state;
    double g[ROWS * C];
    NEAR1(peer_part("smkd-s", "K", &GOLDEN_SCALARS, g), 0.874873);
    near_rows(g, (const double[]){0.007074, -0.014778, -0.005437, 0.013140, 0.132882, -0.008817, -0.212118, 0.088052, 0,
                                  0, 0, 0});
    NEAR1(peer_part("smkd-s", "N", &GOLDEN_SCALARS, g), 0.583249);
    near_rows(g, (const double[]){0.004716, -0.009852, -0.003624, 0.008760, 0.088588, -0.005878, -0.141412, 0.058702, 0,
                                  0, 0, 0});
    // The listing's swapped count: A chose 1 row where B chose 2.
    NEAR1(peer_part("smkd-s", "typo", &GOLDEN_SCALARS, NULL), 2 * 0.874873);
    static const double all[] = {0.004716,  -0.009852, -0.003624, 0.008760,  0.088588, -0.005878,
                                 -0.141412, 0.058702,  0.003376,  -0.133496, 0.120431, 0.009689};
    for (int i = 0; i < 3; i++) {
        NEAR1(peer_part("all", (const char *[]){"K", "N", "typo"}[i], &GOLDEN_SCALARS, g), 0.757003);
        near_rows(g, all);
    }
}

static void test_progressive(void **state) {
    (void)state;
    struct run r, zero;
    struct want o = options("proselflc", "K");
    run(&r, "smkd-p", &o, &GOLDEN_SCALARS);
    run(&zero, "zero", &o, &GOLDEN_SCALARS);
    NEAR1(number(&r, "threshold"), .523383);
    NEAR(result(&r, "selected.0"), 1, 0, 0);
    NEAR(result(&r, "selected.1"), 0, 0, 0);
    // B is confident about nothing: A's loss and gradient have no peer part, and nothing was divided by zero.
    assert_true(number(&r, "loss.0") == number(&zero, "loss.0"));
    for (int i = 0; i < ROWS * C; i++) assert_true(result(&r, "grad.0")->f[i] == result(&zero, "grad.0")->f[i]);
    NEAR1(number(&r, "loss.1") - number(&zero, "loss.1"), .286382);
    arena_release(&r.arena);

    // The listing would divide A's one row by B's count of 0; there the term is 0 by definition.
    o.peer_denom = "typo";
    run(&r, "smkd-p", &o, &GOLDEN_SCALARS);
    assert_true(number(&r, "loss.1") == number(&zero, "loss.1"));
    arena_release(&r.arena);
    arena_release(&zero.arena);

    struct scalars s = GOLDEN_SCALARS;
    s.b2 = 0;
    o.peer_denom = "K";
    run(&r, "smkd-p", &o, &s);
    NEAR1(number(&r, "threshold"), .693147);
    NEAR(result(&r, "selected.0"), 1, 0, 0);
    NEAR(result(&r, "selected.1"), 1, 1, 0);
    arena_release(&r.arena);
}

// Samples of the threshold for 100 classes (methods.md 1.3), and the static threshold that never looks at b2.
static void test_threshold(void **state) {
    (void)state;
    static const struct {
        double eta, b2, progress, chi;
    } rows[] = {{2, -10, 0, 4.5743}, {2, -5, .25, 3.5796}, {2, -2, .75, 1.7386},
                {2, 0, 1, 2.3026},   {4, -10, .75, .1747}, {1, -10, 1, .0616}};
    double z[100] = {0};
    int64_t y = 0;
    struct want o = options("none", "K");
    o.classes = 100;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct run r;
        struct scalars s = {.progress = rows[i].progress, .eta = rows[i].eta, .b2 = rows[i].b2};
        run_rows(&r, "smkd-p", &o, &s, z, z, &y, 1);
        if (!(fabs(number(&r, "threshold") - rows[i].chi) < 6e-5))
            fail_msg("chi is %.5f in row %zu", number(&r, "threshold"), i);
        arena_release(&r.arena);
        run_rows(&r, "smkd-s", &o, &s, z, z, &y, 1);
        NEAR1(number(&r, "threshold"), log(100) / rows[i].eta);
        arena_release(&r.arena);
    }
}

static void same_bits(const struct run *a, const struct run *b) {
    static const char *const names[] = {"loss.0",     "loss.1",     "grad.0",  "grad.1",
                                        "selected.0", "selected.1", "trust.0", "trust.1"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        const struct ir_tensor *x = result(a, names[k]), *y = result(b, names[k]);
        assert_memory_equal(x->f, y->f, ir_tensor_numel(x) * sizeof(double));
    }
}

// ALL is eta in (0,1] with b2 = 0, ZERO is eta = infinity or below 0: the same bits where no row sits on the limit.
static void test_limits(void **state) {
    (void)state;
    static const struct {
        const char *name;
        double eta;
    } limits[] = {{"all", 1}, {"all", .5}, {"zero", INFINITY}, {"zero", -1}};
    static const char *const refine[] = {"mylc", "proselflc", "none"}, *const denom[] = {"K", "N", "typo"};
    for (size_t i = 0; i < 4; i++) {
        for (int j = 0; j < 9; j++) {
            struct run limit, formula;
            struct want o = options(refine[j / 3], denom[j % 3]);
            struct scalars s = {.progress = .6, .eta = limits[i].eta, .b2 = 0, .b1 = 10, .rho = .5, .r0 = .4, .r1 = .7};
            run(&limit, limits[i].name, &o, &s);
            run(&formula, "smkd-p", &o, &s);
            same_bits(&limit, &formula);
            arena_release(&limit.arena);
            arena_release(&formula.arena);
        }
    }
    // On the limit they differ, and are meant to: a uniform prediction has entropy ln C, which isn't below ln C.
    struct run r;
    double z[C] = {0};
    int64_t y = 1;
    struct want o = options("none", "K");
    struct scalars s = {.eta = 1};
    run_rows(&r, "smkd-s", &o, &s, z, z, &y, 1);
    NEAR(result(&r, "selected.0"), 0);
    arena_release(&r.arena);
    run_rows(&r, "all", &o, &s, z, z, &y, 1);
    NEAR(result(&r, "selected.0"), 1);
    assert_true(isinf(number(&r, "threshold")));
    arena_release(&r.arena);
}

// A row without a number teaches nobody, and the peer's gradients stay finite.
static void test_nan(void **state) {
    (void)state;
    struct run r;
    double z[ROWS * C];
    memcpy(z, ZA, sizeof z);
    z[1] = NAN;
    struct want o = options("none", "K");
    struct scalars s = {.eta = 1, .progress = .5};
    run_rows(&r, "smkd-p", &o, &s, z, ZB, Y, ROWS);
    assert_true(isnan(result(&r, "entropy.0")->f[0]));
    NEAR(result(&r, "selected.0"), 0, 1, 1);
    for (int i = 0; i < ROWS * C; i++) assert_true(isfinite(result(&r, "grad.1")->f[i]));
    arena_release(&r.arena);
}

// One network has its own term; a third one leaves the terms of two as they are and adds its own.
static void test_peers(void **state) {
    (void)state;
    static const double ZC[ROWS * C] = {0, 0, 3, 1, -1, 2, 0, .5, .3, .2, -.4, 1};
    struct scalars s = {.progress = .6, .eta = 1.2, .b2 = -1, .b1 = 8, .rho = .5};
    for (int i = 0; i < 2; i++) {
        struct want w = options("proselflc", i ? "N" : "K");
        struct run one, zero, three, pair[3];
        const double *z[3] = {ZA, ZB, ZC};
        w.peers = 1;
        run_peers(&one, "zero", &w, &s, z, Y, ROWS);
        w.peers = 2;
        run(&zero, "zero", &w, &s);
        assert_true(number(&one, "loss.0") == number(&zero, "loss.0"));
        assert_memory_equal(result(&one, "grad.0")->f, result(&zero, "grad.0")->f, sizeof ZA);
        // L_0 of three is own + (taught by 1 + taught by 2) / 2; a pair's is own + taught by the one.
        w.peers = 3;
        run_peers(&three, "smkd-p", &w, &s, z, Y, ROWS);
        static const int pairs[3][2] = {{0, 1}, {0, 2}, {1, 2}};
        w.peers = 2;
        for (int k = 0; k < 3; k++)
            run_peers(&pair[k], "smkd-p", &w, &s, (const double *const[]){z[pairs[k][0]], z[pairs[k][1]]}, Y, ROWS);
        NEAR1(number(&three, "loss.0"), (number(&pair[0], "loss.0") + number(&pair[1], "loss.0")) / 2);
        NEAR1(number(&three, "loss.1"), (number(&pair[0], "loss.1") + number(&pair[2], "loss.0")) / 2);
        NEAR1(number(&three, "loss.2"), (number(&pair[1], "loss.1") + number(&pair[2], "loss.1")) / 2);
        for (int e = 0; e < ROWS * C; e++)
            NEAR1(result(&three, "grad.2")->f[e],
                  (result(&pair[1], "grad.1")->f[e] + result(&pair[2], "grad.1")->f[e]) / 2);
        struct run *all[] = {&one, &zero, &three, &pair[0], &pair[1], &pair[2]};
        for (size_t k = 0; k < sizeof all / sizeof *all; k++) arena_release(&all[k]->arena);
    }
}

struct lines {
    char text[512];
};
static void keep(void *env, enum diag_severity sev, const char *line) {
    struct lines *m = env;
    (void)sev;
    snprintf(m->text, sizeof m->text, "%s", line);
}

static void test_bad_options(void **state) {
    (void)state;
    struct lines m = {{0}};
    struct diag d = {.sink = keep, .env = &m};
    struct arena a;
    arena_init(&a);
    struct loss_options o;
    assert_false(loss_options_init(&o, "smkd", &d));
    assert_non_null(strstr(m.text, "smkd-p"));
    assert_true(loss_options_init(&o, "smkd-p", &d));
    int place;
    method_param(o.method, "refine", &place);
    assert_false(method_set(o.method, &o.values, place, "proself"));
    method_param(o.method, "log-floor", &place);
    assert_false(method_set(o.method, &o.values, place, "nan"));
    o.classes = 1;
    assert_null(loss_build(&o, &a, &d));
    assert_non_null(strstr(m.text, "classes"));
    o.classes = C;
    o.peers = 1; // nobody to teach
    assert_null(loss_build(&o, &a, &d));
    assert_non_null(strstr(m.text, "2 to 16 networks"));

    // Programs that are the same have the same key, and those that differ don't.
    struct want none = options("none", "K"), mylc = options("mylc", "K");
    struct loss_options p = of("ce", &none), q = of("ce", &mylc), x = of("zero", &none), z = of("zero", &mylc);
    assert_string_equal(loss_key(&p, &a), loss_key(&q, &a));
    assert_string_not_equal(loss_key(&x, &a), loss_key(&z, &a));
    method_param(x.method, "b1", &place);
    x.values.number[place]++; // set at run time, and without refinement not even that
    p = of("zero", &none);
    assert_string_equal(loss_key(&p, &a), loss_key(&x, &a));
    method_param(x.method, "label-smoothing", &place);
    x.values.number[place] = 0.1;
    assert_string_not_equal(loss_key(&p, &a), loss_key(&x, &a));
    q.classes++;
    p = of("ce", &none);
    assert_string_not_equal(loss_key(&p, &a), loss_key(&q, &a));
    arena_release(&a);
}

static double number_of(const struct loss_options *o, const char *name) {
    return method_number(o->method, &o->values, name);
}

// Defaults of a row before its family's, by the number of classes where they differ, and only where nobody set them.
static void test_defaults(void **state) {
    (void)state;
    static const struct {
        const char *method, *number;
        double few, many;
    } rows[] = {{"sce", "loss-alpha", .1, 6},   {"sce", "loss-beta", 1, .1},         {"apl", "loss-alpha", 1, 10},
                {"nce-mae", "loss-beta", 1, 1}, {"tf-kd-reg", "epsilon", .1, .1},    {"mkd", "epsilon", .5, .5},
                {"kdcl", "temperature", 2, 2},  {"tf-kd-reg", "temperature", 20, 20}};
    struct diag d = {0};
    struct arena a;
    arena_init(&a);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct loss_options few, many;
        int place;
        loss_options_init(&few, rows[i].method, &d);
        assert_true(isnan(number_of(&few, rows[i].number)) == (rows[i].few != rows[i].many));
        many = few;
        few.classes = 10;
        many.classes = 11;
        method_resolve(few.method, &few.values, few.classes);
        method_resolve(many.method, &many.values, many.classes);
        assert_true(number_of(&few, rows[i].number) == rows[i].few);
        assert_true(number_of(&many, rows[i].number) == rows[i].many);
        // What was set stays, and a program does not ask for what it is given when it runs.
        struct loss_options set;
        loss_options_init(&set, rows[i].method, &d);
        set.classes = 11;
        char *key = loss_key(&set, &a);
        method_param(set.method, rows[i].number, &place);
        assert_true(method_set(set.method, &set.values, place, "0.75"));
        method_resolve(set.method, &set.values, set.classes);
        assert_true(number_of(&set, rows[i].number) == .75);
        assert_string_equal(loss_key(&set, &a), key);
    }
    arena_release(&a);
}

// A flag that hangs on two words means something where both are so, and is a method's where they can be.
static void test_matters(void **state) {
    (void)state;
    static const struct {
        const char *method, *refine;
        bool matters, can;
    } rows[] = {{"smkd-p", "cp", true, true},
                {"smkd-p", "ls", false, true},
                {"zero", "cp", false, false},
                {"cp", NULL, false, false},
                {"ls", NULL, false, false}};
    struct diag d = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct loss_options o;
        int place;
        loss_options_init(&o, rows[i].method, &d);
        const struct method_param *p = method_param(o.method, "peer-log-floor", NULL);
        method_param(o.method, "refine", &place);
        if (rows[i].refine) assert_true(method_set(o.method, &o.values, place, rows[i].refine));
        assert_int_equal(method_matters(o.method, &o.values, p), rows[i].matters);
        assert_int_equal(method_matters(o.method, NULL, p), rows[i].can);
    }
}

// A linear ensemble is of two networks.
static void test_number_of_peers(void **state) {
    (void)state;
    struct lines m = {{0}};
    struct diag d = {.sink = keep, .env = &m};
    struct loss_options o;
    struct arena a;
    int place;
    arena_init(&a);
    loss_options_init(&o, "kdcl", &d);
    method_param(o.method, "kdcl-mode", &place);
    assert_true(method_set(o.method, &o.values, place, "linear"));
    assert_non_null(loss_build(&o, &a, &d));
    o.peers = 3;
    assert_null(loss_build(&o, &a, &d));
    assert_non_null(strstr(m.text, "--kdcl-mode linear"));
    arena_release(&a);
}

// --- the ops ---------------------------------------------------------------------------------------------------------

#define BUILD(name, ...)                                                                                               \
    static ir_vid build_##name(struct fd_inputs *in) {                                                                 \
        struct ir_graph *g = in->g;                                                                                    \
        ir_vid x[] = {__VA_ARGS__};                                                                                    \
        size_t n = sizeof x / sizeof *x;
#define EMIT(op, ...)                                                                                                  \
    return ir_emit(g, IR_OP_##op, x, n, __VA_ARGS__);                                                                  \
    }

BUILD(softmax, FD_IN(FD_ANY, IR_N, 5))
EMIT(softmax, IR_ATTRS(IR_I("axis", -1)))
BUILD(softmax_inner, FD_IN(FD_ANY, IR_N, 3, 2))
EMIT(softmax, IR_ATTRS(IR_I("axis", 1)))
BUILD(log_softmax, FD_IN(FD_ANY, IR_N, 5))
EMIT(log_softmax, IR_ATTRS(IR_I("axis", 1)))
BUILD(log_softmax_first, FD_IN(FD_ANY, 4, 3))
EMIT(log_softmax, IR_ATTRS(IR_I("axis", 0))) BUILD(entropy, FD_IN(FD_ANY, IR_N, 5)) EMIT(entropy, IR_NO_ATTRS)
    BUILD(cross_entropy, FD_IN(FD_ANY, IR_N, 5), FD_IN(FD_ANY, IR_N, 5)) EMIT(cross_entropy, IR_NO_ATTRS)
        BUILD(cross_entropy_floor, FD_IN(FD_ANY, IR_N, 5), FD_IN(FD_ANY, IR_N, 5))
            EMIT(cross_entropy, IR_ATTRS(IR_F("log_floor", 1e-2)))
                BUILD(kl_div, FD_IN(FD_POSITIVE, IR_N, 5), FD_IN(FD_ANY, IR_N, 5)) EMIT(kl_div, IR_NO_ATTRS)
                    BUILD(threshold, FD_IN0(FD_ANY), FD_IN0(FD_POSITIVE), FD_IN0(FD_ANY), ir_const_f(g, 10))
                        EMIT(smkd_threshold, IR_NO_ATTRS) BUILD(refine, FD_IN(FD_ANY, IR_N, 5), FD_IN(FD_ANY, IR_N, 5),
                                                                FD_IN(FD_ANY, IR_N, 1)) EMIT(smkd_refine, IR_NO_ATTRS)
                            BUILD(refine_scalar, FD_IN(FD_ANY, IR_N, 5), FD_IN(FD_ANY, IR_N, 5), FD_IN0(FD_ANY))
                                EMIT(smkd_refine, IR_NO_ATTRS)
                                    BUILD(trust, FD_IN(FD_ANY, IR_N, 5), FD_IN0(FD_ANY), FD_IN0(FD_ANY), FD_IN0(FD_ANY))
                                        EMIT(smkd_trust, IR_ATTRS(IR_S("rule", "mylc")))
                                            BUILD(select, FD_IN(FD_ANY, IR_N), FD_IN0(FD_ANY))
                                                EMIT(smkd_select, IR_NO_ATTRS)

                                                    static const struct fd_case cases[] = {
                                                        {"softmax", build_softmax},
                                                        {"softmax_inner", build_softmax_inner},
                                                        {"log_softmax", build_log_softmax},
                                                        {"log_softmax_first", build_log_softmax_first},
                                                        {"entropy", build_entropy},
                                                        {"cross_entropy", build_cross_entropy},
                                                        {"cross_entropy_floor", build_cross_entropy_floor},
                                                        {"kl_div", build_kl_div},
                                                        {"threshold", build_threshold},
                                                        {"refine", build_refine},
                                                        {"refine_scalar", build_refine_scalar},
                                                        {"trust", build_trust},
                                                        {"select", build_select}, // constants: no gradient to compare
};
enum { N_CASES = sizeof cases / sizeof *cases, N_DIFFERENTIABLE = N_CASES - 2 };

static void test_op_gradients(void **state) {
    (void)state;
    int bad = 0;
    for (int i = 0; i < N_DIFFERENTIABLE; i++) {
        for (uint64_t seed = 1; seed <= 3; seed++) bad += fd_check(&cases[i], 1 + (int64_t)seed, seed);
    }
    assert_int_equal(bad, 0);
}

// The expansion computes what the reference loop of the op computes.
static void test_expansions(void **state) {
    (void)state;
    for (int i = 0; i < N_CASES; i++) {
        struct arena a;
        struct diag d = {0};
        struct fd_inputs whole, parts;
        struct ir_tensor *inputs[FD_MAX_INPUTS];
        uint64_t rng = 42;
        arena_init(&a);
        fd_build(&cases[i], &a, &d, &whole);
        fd_build(&cases[i], &a, &d, &parts);
        fd_expand(parts.g, IR_TRAIN);
        for (size_t k = 0; k < whole.n; k++) {
            inputs[k] = ir_tensor_new(&a, ir_concrete(ir_typeof(whole.g, whole.v[k]), 6));
            fd_fill(inputs[k], whole.draw[k], &rng);
        }
        const struct ir_tensor *x = fd_eval(whole.g, &a, 6, &whole, inputs, 0)[whole.g->outputs[0].value];
        const struct ir_tensor *y = fd_eval(parts.g, &a, 6, &parts, inputs, 0)[parts.g->outputs[0].value];
        assert_int_equal(ir_tensor_numel(x), ir_tensor_numel(y));
        for (size_t k = 0; k < ir_tensor_numel(x); k++) {
            if (!(fabs(x->f[k] - y->f[k]) <=
                  1e-6 * fmax(1, fabs(x->f[k])))) // constants such as ln C are f32 in a graph
                fail_msg("%s: element %zu is %.9g expanded, %.9g by reference", cases[i].name, k, y->f[k], x->f[k]);
        }
        arena_release(&a);
    }
}

static void test_bad_attributes(void **state) {
    (void)state;
    struct lines m = {{0}};
    struct diag d = {.sink = keep, .env = &m};
    struct arena a;
    arena_init(&a);
    struct ir_graph *g = ir_graph_new(&a, &d, "bad");
    ir_vid z = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 2, (int64_t[]){IR_N, 5}), "z", NULL);
    ir_vid h = ir_boundary(g, IR_ROLE_INPUT, ir_type_make(IR_F32, 1, (int64_t[]){IR_N}), "h", NULL);
    ir_vid s = ir_const_f(g, 1);
    assert_int_equal(ir_node_new(g, IR_OP_smkd_trust, (ir_vid[]){z, s, s, s}, 4, IR_ATTRS(IR_S("rule", "mylk"))),
                     IR_NONE);
    assert_non_null(strstr(m.text, "mylc"));
    assert_int_equal(ir_node_new(g, IR_OP_smkd_select, (ir_vid[]){h, s}, 2, IR_ATTRS(IR_S("mode", "some"))), IR_NONE);
    assert_non_null(strstr(m.text, "below"));
    assert_int_equal(ir_node_new(g, IR_OP_softmax, &z, 1, IR_ATTRS(IR_I("axis", 2))), IR_NONE);
    assert_int_equal(ir_node_new(g, IR_OP_entropy, &h, 1, IR_NO_ATTRS), IR_NONE);
    assert_int_equal(ir_node_new(g, IR_OP_cross_entropy, (ir_vid[]){z, h}, 2, IR_NO_ATTRS), IR_NONE);
    assert_int_equal(ir_node_new(g, IR_OP_smkd_refine, (ir_vid[]){z, z, h}, 3, IR_NO_ATTRS), IR_NONE);
    arena_release(&a);
}

static void test_names(void **state) {
    (void)state;
    static const struct {
        const char *name;
        enum method_role role;
        int peer;
        const char *tap;
    } rows[] = {{"loss.0", METHOD_LOSS, 0, NULL},
                {"loss.15", METHOD_LOSS, 15, NULL},
                {"loss.all", METHOD_LOSS_ALL, -1, NULL},
                {"loss", METHOD_OTHER, -1, NULL},
                {"loss.all.0", METHOD_OTHER, 0, NULL},
                {"grad.all", METHOD_OTHER, -1, NULL},
                {"labels", METHOD_LABELS, -1, NULL},
                {"labels.mix", METHOD_LABELS_MIX, -1, NULL},
                {"teacher.1", METHOD_TEACHER, 1, NULL},
                {"teacher.1.hint", METHOD_TEACHER_TAP, 1, "hint"},
                {"teacher.12.3", METHOD_TEACHER_TAP, 12, "3"},
                {"average.2", METHOD_AVERAGE, 2, NULL},
                {"average.2.head1", METHOD_AVERAGE_TAP, 2, "head1"},
                {"average", METHOD_OTHER, -1, NULL},
                {"teacher.1.", METHOD_OTHER, -1, NULL},
                {"teacher", METHOD_OTHER, -1, NULL},
                {"tap.0./layer2/Relu_1", METHOD_TAP, 0, "/layer2/Relu_1"},
                {"grad.tap.0.feat1", METHOD_TAP_GRAD, 0, "feat1"},
                {"tap.0", METHOD_OTHER, -1, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct method_name n = method_parse(rows[i].name);
        if (n.role != rows[i].role || n.peer != rows[i].peer) fail_msg("%s", rows[i].name);
        if ((n.tap != NULL) != (rows[i].tap != NULL) || (n.tap && strcmp(n.tap, rows[i].tap) != 0))
            fail_msg("%s: tap %s", rows[i].name, n.tap ? n.tap : "none");
    }
}

// A name of the user's is kept, however the text goes; "auto" is the default.
static void test_any_word(void **state) {
    (void)state;
    const struct method *m = method_find("fitnets");
    struct method_values v, w;
    int place;
    char text[METHOD_LONGEST_WORD + 2] = "layer/1";
    assert_non_null(method_param(m, "hint", &place));
    method_defaults(m, &v);
    assert_string_equal(method_word(m, &v, "hint"), "auto");
    assert_true(method_set(m, &v, place, text));
    memset(text, 'x', sizeof text - 1);
    assert_string_equal(method_word(m, &v, "hint"), "layer/1");
    method_defaults(m, &w);
    assert_true(method_set(m, &w, place, "layer/1"));
    assert_ptr_equal(v.word[place], w.word[place]);
    assert_false(method_set(m, &v, place, text)); // too long
    assert_false(method_set(m, &v, place, ""));
    assert_false(method_set(m, &v, place, "two\nlines"));
    assert_string_equal(method_word(m, &v, "hint"), "layer/1");
    assert_true(method_set(m, &v, place, "auto"));
    assert_string_equal(method_word(m, &v, "hint"), "auto");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_proselflc),
        cmocka_unit_test(test_mylc),          cmocka_unit_test(test_names),
        cmocka_unit_test(test_any_word),      cmocka_unit_test(test_peer_term),
        cmocka_unit_test(test_progressive),   cmocka_unit_test(test_threshold),
        cmocka_unit_test(test_limits),        cmocka_unit_test(test_nan),
        cmocka_unit_test(test_peers),         cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_matters),       cmocka_unit_test(test_number_of_peers),
        cmocka_unit_test(test_bad_options),   cmocka_unit_test(test_op_gradients),
        cmocka_unit_test(test_expansions),    cmocka_unit_test(test_bad_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
