// Every kernel family over odd sizes: each sweep's cases hold every pair of values of its factors (pairwise.h), one of
// which is the CPU, are compiled together and compared with the float64 reference on 1, 2 and 3 threads (the same
// bits). The hand-picked edges are in unit/test_cg_*.c, each for both vector widths; here is what nobody thought of.
#include "../unit/cg_convs.h"
#include "../unit/pairwise.h"

#define LEN(a) ((int)(sizeof(a) / sizeof *(a)))

static const int channels[] = {1, 3, 7, 17, 24, 58, 116}, planes[] = {1, 2, 7, 14, 17, 35}, batches[] = {3, 128};

// Multiplications that the reference can afford a case.
enum { MOST_WORK = 20000000 };

// The factors' pairs and, as the last factor, the CPU.
static void make(struct pairwise *p) {
    p->size[p->factors++] = CGH_CPUS;
    pairwise_make(p);
}

// Compiles the rows of one batch size and CPU at a time, since a module has one; those of 3 run with 1, too. `add`
// appends a row's nodes to the graph; no_winograd, tol and most are the harness's. Returns the largest error of an
// element.
static double sweep(const struct pairwise *p, int batch_factor, bool no_winograd, double tol, double most,
                    void (*add)(struct cgh *h, const int *row)) {
    double worst = 0;
    for (int k = 0; k < LEN(batches) * CGH_CPUS; k++) {
        enum { CASES = 40 }; // a module: what the harness has buffers for
        int b = k / CGH_CPUS, cpu = k % CGH_CPUS;
        for (size_t i = 0; i < p->rows;) {
            struct cgh h;
            cgh_begin(&h);
            h.options.no_winograd = no_winograd;
            h.most = most;
            h.cpu = cgh_cpus[cpu];
            int n = 0;
            for (; i < p->rows && n < CASES; i++)
                if (p->row[i][batch_factor] == b && p->row[i][p->factors - 1] == cpu) add(&h, p->row[i]), n++;
            if (!n) break;
            if (batches[b] == 3)
                cgh_end(&h, (int64_t[]){1, 3}, 2, tol);
            else
                cgh_end(&h, (int64_t[]){batches[b]}, 1, tol);
            worst = fmax(worst, h.worst);
        }
    }
    print_message("%zu cases, largest error of an element %.1e of the largest\n", p->rows, worst);
    return worst;
}

// --- convolutions ----------------------------------------------------------------------------------------------------

static bool conv_fits(const struct cgh_conv *c, int64_t batch) {
    int64_t pixels = cgh_conv_out(c, 0) * cgh_conv_out(c, 1);
    return pixels > 0 && batch * c->K * c->C / c->group * c->R * c->S * pixels <= MOST_WORK;
}

static const struct {
    int64_t r, s;
} windows[] = {{1, 1}, {2, 2}, {3, 3}, {5, 5}, {1, 7}, {7, 1}};
enum { NO_PAD, SAME_PAD, UNEVEN_PAD, PADS };
enum { DENSE, FEW_GROUPS, MANY_GROUPS, GROUPS };
enum { F_C, F_K, F_H, F_W, F_WINDOW, F_SH, F_SW, F_DIL, F_PAD, F_GROUP, F_BATCH, F_CONV };

// The groups of C and K channels: 1, the fewest above, or the most that divide both (all of them is depthwise).
static int64_t groups_of(int64_t c, int64_t k, int kind) {
    int64_t few = 1, many = 1;
    for (int64_t g = 2; g <= c && g <= k; g++)
        if (c % g == 0 && k % g == 0) {
            if (few == 1) few = g;
            many = g;
        }
    return kind == DENSE ? 1 : kind == FEW_GROUPS ? few : many;
}

static struct cgh_conv conv_of(const int *row) {
    struct cgh_conv c = {
        .C = channels[row[F_C]],
        .K = channels[row[F_K]],
        .H = planes[row[F_H]],
        .W = planes[row[F_W]],
        .R = windows[row[F_WINDOW]].r,
        .S = windows[row[F_WINDOW]].s,
        .st = {row[F_SH] + 1, row[F_SW] + 1},
        .dil = row[F_DIL] + 1,
    };
    c.group = (int)groups_of(c.C, c.K, row[F_GROUP]);
    for (int d = 0; d < 2; d++) {
        int reach = c.dil * ((d ? c.S : c.R) - 1);
        c.pad[d] = row[F_PAD] == SAME_PAD ? reach / 2 : row[F_PAD] == UNEVEN_PAD && d == 0 ? reach : 0;
        c.pad[d + 2] = row[F_PAD] == SAME_PAD ? reach / 2 : row[F_PAD] == UNEVEN_PAD ? (d ? reach : reach / 2) : 0;
    }
    return c;
}

static bool conv_valid(const int *row) {
    struct cgh_conv c = conv_of(row);
    if (row[F_GROUP] != DENSE && c.group == 1) return false;
    return conv_fits(&c, batches[row[F_BATCH]]);
}

static void add_conv_row(struct cgh *h, const int *row) {
    struct cgh_conv c = conv_of(row);
    cgh_conv(h, &c, IR_N, false);
}

// By the definition: Winograd has a sweep of its own.
static void test_convolutions(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = F_CONV,
        .size = {LEN(channels), LEN(channels), LEN(planes), LEN(planes), LEN(windows), 3, 3, 2, PADS, GROUPS,
                 LEN(batches)},
        .valid = conv_valid,
    };
    make(&p);
    assert_int_equal(p.impossible, 4); // one channel, in or out, in few groups or many
    sweep(&p, F_BATCH, true, 1e-5, 0, add_conv_row);
}

enum { W_C, W_K, W_H, W_W, W_TOP, W_LEFT, W_BOTTOM, W_RIGHT, W_BATCH, W_FACTORS };
static const int wide[] = {16, 17, 24, 58, 116}; // 16: the fewest channels it is for

static struct cgh_conv wino_of(const int *row) {
    return (struct cgh_conv){.C = wide[row[W_C]],
                             .K = wide[row[W_K]],
                             .H = planes[row[W_H]],
                             .W = planes[row[W_W]],
                             .R = 3,
                             .S = 3,
                             .st = {1, 1},
                             .dil = 1,
                             .pad = {row[W_TOP], row[W_LEFT], row[W_BOTTOM], row[W_RIGHT]},
                             .group = 1};
}

static bool wino_valid(const int *row) {
    struct cgh_conv c = wino_of(row);
    return conv_fits(&c, batches[row[W_BATCH]]);
}

static void add_wino_row(struct cgh *h, const int *row) {
    struct cgh_conv c = wino_of(row);
    cgh_conv(h, &c, IR_N, false);
}

// Every 3x3 shape that Winograd takes, with it and without: no element off by more than 5e-5 of the largest.
static void test_winograd(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = W_FACTORS,
        .size = {LEN(wide), LEN(wide), LEN(planes), LEN(planes), 3, 3, 3, 3, LEN(batches)},
        .valid = wino_valid,
    };
    make(&p);
    assert_int_equal(p.impossible, 0);
    double on = sweep(&p, W_BATCH, false, 1e-5, 5e-5, add_wino_row);
    double off = sweep(&p, W_BATCH, true, 1e-5, 5e-6, add_wino_row);
    assert_true(on > 2 * off); // its transforms cost digits: equal errors mean that it did not run
}

// --- pooling ---------------------------------------------------------------------------------------------------------

enum { P_C, P_H, P_W, P_WINDOW, P_SH, P_SW, P_DIL, P_PAD, P_CEIL, P_COUNT, P_BATCH, P_FACTORS };
static const struct {
    int64_t r, s;
} pool_windows[] = {{1, 1}, {2, 2}, {3, 3}, {3, 2}, {7, 7}};

struct pool {
    int64_t C, hw[2], rs[2], st[2], dil[2], pad[4], ceil, include_pad;
};

static struct pool pool_of(const int *row) {
    struct pool c = {
        .C = channels[row[P_C]],
        .hw = {planes[row[P_H]], planes[row[P_W]]},
        .rs = {pool_windows[row[P_WINDOW]].r, pool_windows[row[P_WINDOW]].s},
        .st = {row[P_SH] + 1, row[P_SW] + 1},
        .dil = {row[P_DIL] + 1, row[P_DIL] + 1},
        .ceil = row[P_CEIL],
        .include_pad = row[P_COUNT],
    };
    for (int d = 0; d < 2; d++) { // always less than the window's reach
        int64_t most = c.dil[d] * (c.rs[d] - 1);
        c.pad[d] = row[P_PAD] == SAME_PAD ? most / 2 : row[P_PAD] == UNEVEN_PAD && d == 0 ? most : 0;
        c.pad[d + 2] = row[P_PAD] == SAME_PAD ? most / 2 : row[P_PAD] == UNEVEN_PAD && d ? most : 0;
    }
    return c;
}

static bool pool_valid(const int *row) {
    struct pool c = pool_of(row);
    if (row[P_COUNT] && row[P_DIL]) return false; // the one is of averages, the other of maxima
    int64_t work = batches[row[P_BATCH]] * c.C * c.rs[0] * c.rs[1];
    for (int d = 0; d < 2; d++) {
        int64_t room = c.hw[d] + c.pad[d] + c.pad[d + 2] - c.dil[d] * (c.rs[d] - 1) - 1;
        if (room < 0) return false;
        work *= room / c.st[d] + 1;
    }
    return work <= MOST_WORK;
}

static void add_pool_row(struct cgh *h, const int *row) {
    struct pool c = pool_of(row);
    ir_vid x = cgh_input(h, IR_F32, 4, (int64_t[]){IR_N, c.C, c.hw[0], c.hw[1]});
    struct str text = STR_INIT;
    str_addf(&text, "C%d %dx%d window %dx%d stride %d,%d dilation %d pads %d,%d,%d,%d ceil %d include_pad %d", (int)c.C,
             (int)c.hw[0], (int)c.hw[1], (int)c.rs[0], (int)c.rs[1], (int)c.st[0], (int)c.st[1], (int)c.dil[0],
             (int)c.pad[0], (int)c.pad[1], (int)c.pad[2], (int)c.pad[3], (int)c.ceil, (int)c.include_pad);
#define COMMON IR_IS("kernel", c.rs, 2), IR_IS("strides", c.st, 2), IR_IS("pads", c.pad, 4)
    ir_nid n =
        ir_node_new(h->g, IR_OP_max_pool, &x, 1, IR_ATTRS(COMMON, IR_IS("dilations", c.dil, 2), IR_I("ceil", c.ceil)));
    assert_true(n != IR_NONE);
    ir_vid y = h->g->nodes[n].out[0], pos = h->g->nodes[n].out[1];
    ir_vid dy = cgh_input(h, IR_F32, 4, h->g->values[y].type.dims);
    cgh_output(h, y, "max_pool %s", text.s);
    cgh_output(h, pos, "max_pool's position %s", text.s);
    cgh_output(h,
               ir_emit(h->g, IR_OP_max_pool_grad, (ir_vid[]){dy, pos}, 2,
                       IR_ATTRS(COMMON, IR_IS("dilations", c.dil, 2), IR_IS("hw", c.hw, 2))),
               "max_pool_grad %s", text.s);
    if (c.dil[0] == 1) {
        ir_vid a = ir_emit(h->g, IR_OP_avg_pool, &x, 1,
                           IR_ATTRS(COMMON, IR_I("ceil", c.ceil), IR_I("include_pad", c.include_pad)));
        cgh_output(h, a, "avg_pool %s", text.s);
        cgh_output(
            h,
            ir_emit(h->g, IR_OP_avg_pool_grad, &dy, 1,
                    IR_ATTRS(COMMON, IR_I("ceil", c.ceil), IR_I("include_pad", c.include_pad), IR_IS("hw", c.hw, 2))),
            "avg_pool_grad %s", text.s);
    }
#undef COMMON
    str_release(&text);
}

static void test_pools(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = P_FACTORS,
        .size = {LEN(channels), LEN(planes), LEN(planes), LEN(pool_windows), 3, 3, 2, PADS, 2, 2, LEN(batches)},
        .valid = pool_valid,
    };
    make(&p);
    assert_int_equal(p.impossible, 1); // a dilated average
    sweep(&p, P_BATCH, false, 1e-6, 2e-6, add_pool_row);
}

// --- BatchNorm -------------------------------------------------------------------------------------------------------

enum { B_C, B_H, B_W, B_ORDER, B_BATCH, B_FACTORS };

// A tensor whose order in memory is channels first (as inputs are) or last (as a kernel that insists on it leaves it).
static ir_vid ordered(struct cgh *h, const int64_t *dims, bool last) {
    ir_vid x = cgh_input(h, IR_F32, 4, dims);
    int64_t one[2] = {1, 1}, none[4] = {0};
    return last ? ir_emit(h->g, IR_OP_avg_pool, &x, 1,
                          IR_ATTRS(IR_IS("kernel", one, 2), IR_IS("strides", one, 2), IR_IS("pads", none, 4)))
                : x;
}

static void add_norm_row(struct cgh *h, const int *row) {
    int64_t C = channels[row[B_C]], dims[4] = {IR_N, C, planes[row[B_H]], planes[row[B_W]]};
    ir_vid x = ordered(h, dims, row[B_ORDER]), dy = ordered(h, dims, row[B_ORDER]), v[4];
    for (int i = 0; i < 4; i++) v[i] = cgh_input(h, IR_F32, 1, &C);
    ir_nid stats = ir_node_new(h->g, IR_OP_bn_stats, &x, 1, IR_NO_ATTRS);
    ir_nid grad = ir_node_new(h->g, IR_OP_bn_grad_reduce, (ir_vid[]){dy, x, v[0], v[1]}, 4, IR_NO_ATTRS);
    assert_true(stats != IR_NONE && grad != IR_NONE);
    ir_vid y = ir_emit(h->g, IR_OP_bn_apply, (ir_vid[]){x, v[0], v[1], v[2], v[3]}, 5, IR_NO_ATTRS);
    ir_vid out[] = {h->g->nodes[stats].out[0],
                    h->g->nodes[stats].out[1],
                    h->g->nodes[grad].out[0],
                    h->g->nodes[grad].out[1],
                    y,
                    ir_unary(h->g, IR_OP_relu, ir_add(h->g, y, dy))};
    static const char *const names[] = {"mean",  "variance",   "dgamma",
                                        "dbeta", "normalised", "relu of it and a residual"};
    for (int i = 0; i < LEN(names); i++)
        cgh_output(h, out[i], "%s C%d %dx%d, channels %s", names[i], (int)C, (int)dims[2], (int)dims[3],
                   row[B_ORDER] ? "last" : "first");
}

// The variance of one value is 0, of which no error is a share.
static bool norm_valid(const int *row) { return batches[row[B_BATCH]] != 3 || planes[row[B_H]] * planes[row[B_W]] > 1; }

static void test_batch_norm(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = B_FACTORS, .size = {LEN(channels), LEN(planes), LEN(planes), 2, LEN(batches)}, .valid = norm_valid};
    make(&p);
    assert_int_equal(p.impossible, 0);
    sweep(&p, B_BATCH, false, 1e-5, 2e-5, add_norm_row);
}

// --- matrix products -------------------------------------------------------------------------------------------------

enum { M_M, M_N, M_K, M_TA, M_TB, M_WHERE, M_BATCH, M_FACTORS };
enum { NOWHERE, ROWS, CONTRACTION, BATCHED, BATCHED_A, WHERES }; // where the batch is

static void add_matmul_row(struct cgh *h, const int *row) {
    int64_t m = channels[row[M_M]], n = channels[row[M_N]], k = channels[row[M_K]];
    int where = row[M_WHERE], ta = row[M_TA], tb = row[M_TB];
    if (where == ROWS) m = IR_N, ta = 0;                // only a first dimension may be the batch,
    if (where == CONTRACTION) k = IR_N, ta = 1, tb = 0; // so these have one way to be written
    int64_t a[3] = {IR_N, ta ? k : m, ta ? m : k}, b[3] = {IR_N, tb ? n : k, tb ? k : n};
    bool three = where == BATCHED || where == BATCHED_A;
    ir_vid x = cgh_input(h, IR_F32, three ? 3 : 2, three ? a : a + 1);
    ir_vid y = cgh_input(h, IR_F32, where == BATCHED ? 3 : 2, where == BATCHED ? b : b + 1);
    cgh_output(h, ir_matmul(h->g, x, y, ta, tb), "matmul %d x %d x %d, trans %d %d, batch %d", (int)m, (int)k, (int)n,
               ta, tb, where);
}

static void test_matmul(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = M_FACTORS,
        .size = {LEN(channels), LEN(channels), LEN(channels), 2, 2, WHERES, LEN(batches)},
    };
    make(&p);
    assert_int_equal(p.impossible, 0);
    sweep(&p, M_BATCH, false, 1e-6, 2e-6, add_matmul_row);
}

// --- pointwise, broadcast, reductions --------------------------------------------------------------------------------

enum { E_C, E_H, E_W, E_ORDER, E_BATCH, E_Y, E_WHAT, E_FACTORS };
static const int some_masks[] = {0x0, 0x1, 0x2, 0xc, 0xe, 0xf}; // nothing, N, C, HW, CHW, all

static void masked(int64_t *out, const int64_t *dims, int mask) {
    for (int d = 0; d < 4; d++) out[d] = mask >> d & 1 ? 1 : dims[d];
}

static bool elements_fit(const int *row) {
    return batches[row[E_BATCH]] * channels[row[E_C]] * planes[row[E_H]] * planes[row[E_W]] <= MOST_WORK / 10;
}

static ir_vid shaped(struct cgh *h, const int *row, int64_t *dims, char *what, size_t size) {
    memcpy(dims, (int64_t[]){IR_N, channels[row[E_C]], planes[row[E_H]], planes[row[E_W]]}, 4 * sizeof *dims);
    snprintf(what, size, "C%d %dx%d, channels %s", (int)dims[1], (int)dims[2], (int)dims[3],
             row[E_ORDER] ? "last" : "first");
    return ordered(h, dims, row[E_ORDER]);
}

// relu(x) * y - z with y broadcast along any set of dimensions, z along some.
static void add_pointwise_row(struct cgh *h, const int *row) {
    int64_t dims[4], dy[4], dz[4];
    char what[96];
    ir_vid x = shaped(h, row, dims, what, sizeof what);
    masked(dy, dims, row[E_Y]);
    masked(dz, dims, some_masks[row[E_WHAT]]);
    ir_vid y = cgh_input(h, IR_F32, 4, dy), z = cgh_input(h, IR_F32, 4, dz);
    cgh_output(h, ir_sub(h->g, ir_mul(h->g, ir_unary(h->g, IR_OP_relu, x), y), z),
               "relu(x)*y-z %s, 1s of y %x, of z %x", what, (unsigned)row[E_Y], (unsigned)some_masks[row[E_WHAT]]);
}

static void test_pointwise(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = E_FACTORS,
        .size = {LEN(channels), LEN(planes), LEN(planes), 2, LEN(batches), 16, LEN(some_masks)},
        .valid = elements_fit,
    };
    make(&p);
    assert_int_equal(p.impossible, 0);
    sweep(&p, E_BATCH, false, 1e-6, 2e-6, add_pointwise_row);
}

// Sums of (x - y)^2 and maxima of x - y over any set of dimensions, y broadcast along some.
static void add_reduction_row(struct cgh *h, const int *row) {
    int64_t dims[4], dy[4], axes[4];
    size_t n_axes = 0;
    char what[96];
    ir_vid x = shaped(h, row, dims, what, sizeof what);
    masked(dy, dims, some_masks[row[E_WHAT]]);
    unsigned over = (unsigned)row[E_Y] + 1;
    for (int d = 0; d < 4; d++)
        if (over >> d & 1) axes[n_axes++] = d;
    ir_vid e = ir_sub(h->g, x, cgh_input(h, IR_F32, 4, dy));
    cgh_output(h, ir_reduce(h->g, IR_OP_reduce_sum, ir_mul(h->g, e, e), axes, n_axes, 0), "sum of squares over %x, %s",
               over, what);
    cgh_output(h, ir_reduce(h->g, IR_OP_reduce_max, e, axes, n_axes, 1), "maximum over %x, %s", over, what);
}

static void test_reductions(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = E_FACTORS,
        .size = {LEN(channels), LEN(planes), LEN(planes), 2, LEN(batches), 15, LEN(some_masks)},
        .valid = elements_fit,
    };
    make(&p);
    assert_int_equal(p.impossible, 0);
    sweep(&p, E_BATCH, false, 1e-6, 2e-6, add_reduction_row);
}

// --- concatenation, slices, shuffles ---------------------------------------------------------------------------------

enum { V_C, V_H, V_W, V_ORDER, V_CUT, V_SHUFFLE, V_STEP, V_START, V_BATCH, V_FACTORS };
static const int steps[] = {1, 2, 3, -1, -2};
static const int splits[] = {1, 2, 4}; // of the channels that the concatenation makes

static ir_vid slice(struct cgh *h, ir_vid x, const int64_t *start, const int64_t *size, const int64_t *step) {
    return ir_emit(h->g, IR_OP_slice, &x, 1,
                   IR_ATTRS(IR_IS("starts", start, 4), IR_IS("sizes", size, 4), IR_IS("steps", step, 4)));
}

// ShuffleNet's way: a part of x beside a function of another, shuffled; then planes with steps. Where the groups of the
// shuffle do not divide the channels it is left out.
static void add_moves_row(struct cgh *h, const int *row) {
    int64_t C = channels[row[V_C]], H = planes[row[V_H]], W = planes[row[V_W]], dims[4] = {IR_N, C, H, W};
    int64_t cut = row[V_CUT] == 0 ? 1 : row[V_CUT] == 1 ? (C + 1) / 2 : C, rest = C > cut ? C - cut : C;
    ir_vid x = ordered(h, dims, row[V_ORDER]);
    int64_t zero[4] = {0}, one[4] = {1, 1, 1, 1};
    ir_vid a = slice(h, x, zero, (int64_t[]){IR_N, cut, H, W}, one);
    ir_vid b =
        ir_unary(h->g, IR_OP_relu, slice(h, x, (int64_t[]){0, C - rest, 0, 0}, (int64_t[]){IR_N, rest, H, W}, one));
    ir_vid y = ir_emit(h->g, IR_OP_concat, (ir_vid[]){a, b, a}, 3, IR_ATTRS(IR_I("axis", 1)));
    int64_t all = 2 * cut + rest, g = splits[row[V_SHUFFLE]];
    cgh_output(h, y, "concat C%d cut %d %dx%d, channels %s", (int)C, (int)cut, (int)H, (int)W,
               row[V_ORDER] ? "last" : "first");
    if (all % g == 0) {
        y = ir_reshape(h->g, y, 5, (int64_t[]){IR_N, g, all / g, H, W});
        y = ir_transpose(h->g, y, 5, (int64_t[]){0, 2, 1, 3, 4});
        y = ir_reshape(h->g, y, 4, (int64_t[]){IR_N, all, H, W});
        cgh_output(h, y, "shuffle by %d of C%d %dx%d, channels %s", (int)g, (int)all, (int)H, (int)W,
                   row[V_ORDER] ? "last" : "first");
    }
    int64_t step[4] = {1, 1, 1, 1}, start[4] = {0}, size[4] = {IR_N, all, H, W};
    for (int d = 2; d < 4; d++) { // rows by this step, columns by the next of the table
        step[d] = steps[(row[V_STEP] + d - 2) % LEN(steps)];
        int64_t n = d == 2 ? H : W, skip = row[V_START] && n > 1, far = step[d] < 0 ? -step[d] : step[d];
        size[d] = (n - skip + far - 1) / far;
        start[d] = step[d] > 0 ? skip : n - 1 - skip;
    }
    ir_vid s = slice(h, y, start, size, step);
    cgh_output(h, ir_mul(h->g, s, s), "every %d,%d from %d,%d of C%d %dx%d, channels %s", (int)step[2], (int)step[3],
               (int)start[2], (int)start[3], (int)all, (int)H, (int)W, row[V_ORDER] ? "last" : "first");
}

static bool moves_valid(const int *row) {
    return batches[row[V_BATCH]] * channels[row[V_C]] * planes[row[V_H]] * planes[row[V_W]] <= MOST_WORK / 10;
}

static void test_moves(void **state) {
    (void)state;
    static struct pairwise p = {
        .factors = V_FACTORS,
        .size = {LEN(channels), LEN(planes), LEN(planes), 2, 3, LEN(splits), LEN(steps), 2, LEN(batches)},
        .valid = moves_valid,
    };
    make(&p);
    assert_int_equal(p.impossible, 0);
    sweep(&p, V_BATCH, false, 1e-7, 1e-7, add_moves_row);
}

// Every pair is in a row, and only rows that are allowed.
static bool not_both_zero(const int *row) { return row[0] || row[1]; }

static void test_pairs_are_covered(void **state) {
    (void)state;
    static struct pairwise p = {.factors = 4, .size = {3, 4, 2, 5}, .valid = not_both_zero};
    pairwise_make(&p);
    assert_int_equal(p.impossible, 1);
    assert_in_range(p.rows, 20, 30); // 4 x 5 pairs of the two largest factors; the full product has 110
    for (int f = 0; f < 4; f++)
        for (int g = f + 1; g < 4; g++)
            for (int v = 0; v < p.size[f]; v++)
                for (int w = 0; w < p.size[g]; w++) {
                    bool there = false;
                    for (size_t i = 0; i < p.rows; i++) there |= p.row[i][f] == v && p.row[i][g] == w;
                    assert_int_equal(there, !(f == 0 && g == 1 && v == 0 && w == 0));
                }
    for (size_t i = 0; i < p.rows; i++) assert_true(not_both_zero(p.row[i]));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pairs_are_covered),
        cmocka_unit_test(test_convolutions),
        cmocka_unit_test(test_winograd),
        cmocka_unit_test(test_pools),
        cmocka_unit_test(test_batch_norm),
        cmocka_unit_test(test_matmul),
        cmocka_unit_test(test_pointwise),
        cmocka_unit_test(test_reductions),
        cmocka_unit_test(test_moves),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
