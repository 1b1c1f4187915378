// Predicted seconds of an algorithm for a convolution: multiply-adds at what the micro-kernel reaches, with what
// partial vectors and tiles waste, and every byte that is moved on the way at the speed measured for that kind of move.
//
// A prediction has to tell algorithms apart, so what they share matters little and what differs much: how large packed
// weights are and how often they are read again, how few tiles a small plane has. It depends on the shape, the batch
// and the target's constants alone.
#include "kernels/winograd.h"
#include "program.h"

// One thread of a machine that the target's code runs on. Speeds are bytes a second of packed floats (or sums).
struct machine {
    int vl;                         // of the target
    double macs;                    // multiply-adds a second in registers
    double kernel;                  // share of them that the micro-kernel reaches on whole tiles
    double pack;                    // weights and their gradients packed, unpacked, transformed
    double tiles;                   // Winograd tiles, transformed, stored and read by the products
    double weights;                 // packed weights read by an item, from the last level of cache
    double streamed;                // the same from memory: larger than that cache, or others were read since
    double sums;                    // sums loaded, added to and stored again
    double operands;                // x read and y written by Winograd's transforms, from memory
    double call;                    // seconds of a call and its barrier
    int64_t l2_weights, l3_weights; // packed weights up to here stay in a thread's own cache; in the last level
    int64_t l3_operands;            // x and y up to here are still in cache from the node in front
};
// Measured on two cores of a Zen 4 (EPYC, 1 MiB of L2 each, 32 MiB of L3): macs by `smkd-run limits`, the others by
// least squares of the model's terms over what --tune measured of the 3x3 convolutions of ResNet-18 (32x32, batch 128),
// ResNet-50 (224x224, batches of 16 and 1) and ResNet-8 (widths 16 and 32): 56 shapes, direct and Winograd. x86-64-v3
// has the same peak there (two multiply-adds of 256 bits a cycle) and the same caches behind it; it has not been
// measured on a CPU without AVX-512.
#define ZEN4 58e9, 0.91, 6e9, 30e9, 50e9, 21e9, 16e9, 14e9, 1.5e-6, 512 << 10, 16 << 20, 6 << 20
static const struct machine machines[] = {{16, ZEN4}, {8, ZEN4}};

enum { THREADS = 2 }; // decided for: work is dealt out by the thread, and a small plane has few tiles to deal out

static const struct machine *machine_of(const struct cg_target *t) {
    return &machines[machines[0].vl == t->vl ? 0 : 1];
}

static double lanes(const struct cg_target *t, int64_t channels) { return (double)cg_blocks_of(t, channels).floats; }

// By data the channels change sides.
static void sides(const struct cg_conv_shape *s, int64_t *from, int64_t *to) {
    *from = s->pass == CG_BY_DATA ? s->K : s->C;
    *to = s->pass == CG_BY_DATA ? s->C : s->K;
}

// --- direct ----------------------------------------------------------------------------------------------------------

enum { BAND = 400 }; // pixels between which a weight gradient's sums are loaded and stored

static bool any(const struct cg_target *t, const struct cg_conv_shape *s) {
    (void)t, (void)s;
    return true;
}

// Products of an instruction beside those of float32, as lower/conv.c has them made: bfloat16 in pairs, or in tiles.
static double products(const struct cg_target *t, const struct cg_conv_shape *s) {
    bool weights = s->pass == CG_BY_WEIGHTS, from = s->pass == CG_BY_DATA ? s->y_bf16 : s->x_bf16;
    if (!t->bf16_dot || !from || (weights && !s->y_bf16) || s->group == s->C) return 1;
    return t->amx && s->y_bf16 && s->x_bf16 && !weights ? 16 : 2;
}

static double direct(const struct cg_target *t, const struct cg_conv_shape *s) {
    const struct machine *m = machine_of(t);
    int64_t from, to, pixels = s->images * s->P * s->Q;
    sides(s, &from, &to);
    double weights = (double)(s->R * s->S) * (double)from / (double)s->group * lanes(t, to); // packed
    double seconds = (double)pixels * weights / (m->macs * m->kernel * products(t, s));
    if (s->pass == CG_BY_WEIGHTS) seconds += (double)cg_ceil_div(pixels, BAND) * weights * 8 / m->sums;
    if (!s->kept) seconds += 4 * weights / m->pack;
    return seconds / THREADS + 2 * m->call;
}

// --- Winograd -------------------------------------------------------------------------------------------------------

// F(4x4, 3x3), stride 1, dense; narrower layers would leave most of a vector empty.
static bool winograd_can(const struct cg_target *t, const struct cg_conv_shape *s) {
    if (t->amx && s->x_bf16 && s->y_bf16) return false; // tiles make 16 times the products of a float32 kernel
    if (s->R != 3 || s->S != 3 || s->group != 1) return false;
    for (int i = 0; i < 2; i++)
        if (s->st[i] != 1 || s->dil[i] != 1 || s->pad[i] > 2) return false;
    // Padding at the far side follows from the sizes.
    if (s->P - s->H - s->pad[0] + 2 > 2 || s->Q - s->W - s->pad[1] + 2 > 2) return false;
    return s->C >= 16 && s->K >= 16;
}

// Rows that the products of `tiles` tiles compute: whole blocks, and the smallest of three that covers the rest.
static double rows_of(const struct cg_target *t, int64_t tiles) {
    int64_t most = cg_micro_rows(t, 2), rest = tiles % most, last = most;
    if (rest <= cg_ceil_div(most, 2) + 1) last = cg_ceil_div(most, 2) + 1;
    if (rest <= cg_ceil_div(most, 4)) last = cg_ceil_div(most, 4);
    return (double)(tiles - rest + (rest ? last : 0));
}

static double winograd_by_weights(const struct cg_target *t, const struct cg_conv_shape *s, int64_t tiles) {
    const struct machine *m = machine_of(t);
    double U = 36 * (double)s->C * lanes(t, s->K), parts = (double)cg_wino_parts(s->C, s->K);
    double seconds = (double)tiles * U / (m->macs * m->kernel);
    seconds += (double)cg_ceil_div(tiles, CG_WINO_TILES) * U * 8 / m->sums; // dU is loaded and stored for each block
    seconds += parts * U / m->pack;                                         // 9 of 36 floats, 4 bytes each
    return seconds / THREADS + 2 * m->call;
}

static double winograd(const struct cg_target *t, const struct cg_conv_shape *s) {
    const struct machine *m = machine_of(t);
    bool data = s->pass == CG_BY_DATA; // whose results are x's plane
    int64_t tiles = s->images * cg_ceil_div(data ? s->H : s->P, 4) * cg_ceil_div(data ? s->W : s->Q, 4);
    if (s->pass == CG_BY_WEIGHTS) return winograd_by_weights(t, s, tiles);
    struct cg_wino w = {0};
    sides(s, &w.C, &w.K);
    int64_t items = cg_ceil_div(cg_ceil_div(tiles, cg_wino_item_tiles(t, &w)), THREADS); // a thread's
    int64_t item = cg_ceil_div(tiles, items * THREADS);                                  // tiles of one
    double from = (double)w.C, to = lanes(t, w.K), n = (double)items, U = 36 * from * to;
    double x = (double)(s->C * s->H * s->W * (s->x_bf16 ? 2 : 4)),
           y = (double)(s->K * s->P * s->Q * (s->y_bf16 ? 2 : 4));
    double operands = (double)s->images * (x + y);
    double seconds = n * rows_of(t, item) * U / (m->macs * m->kernel);
    seconds += n * (double)item * 36 * 4 * (from + to) / m->tiles;
    if (s->kept || 4 * U > (double)m->l3_weights)
        seconds += n * 4 * U / m->streamed;
    else if (4 * U > (double)m->l2_weights)
        seconds += n * 4 * U / m->weights;
    if (!s->kept) seconds += 4 * U / m->pack / THREADS;
    if (operands > (double)m->l3_operands) seconds += operands / m->operands / THREADS;
    return seconds + 2 * m->call;
}

// --- the table -------------------------------------------------------------------------------------------------------

static const struct {
    bool (*can)(const struct cg_target *t, const struct cg_conv_shape *s);
    double (*seconds)(const struct cg_target *t, const struct cg_conv_shape *s);
} algorithms[CG_ALGORITHMS] = {
    [CG_DIRECT] = {any, direct},
    [CG_WINOGRAD] = {winograd_can, winograd},
};
const char *const cg_algorithm_names[CG_ALGORITHMS] = {[CG_DIRECT] = "direct", [CG_WINOGRAD] = "winograd"};
const char *const cg_conv_pass_names[CG_CONV_PASSES] = {
    [CG_FORWARD] = "forward", [CG_BY_DATA] = "by data", [CG_BY_WEIGHTS] = "by weights"};

double cg_conv_cost(const struct cg_target *t, const struct cg_conv_shape *s, enum cg_algorithm a) {
    return algorithms[a].can(t, s) ? algorithms[a].seconds(t, s) : -1;
}

enum cg_algorithm cg_fastest(const double seconds[CG_ALGORITHMS]) {
    int best = CG_DIRECT;
    for (int a = 0; a < CG_ALGORITHMS; a++)
        if (seconds[a] >= 0 && seconds[a] < seconds[best]) best = a;
    return (enum cg_algorithm)best;
}

bool cg_conv_seconds(const char *mcpu, const struct cg_conv_shape *s, double seconds[CG_ALGORITHMS]) {
    struct cg_target t;
    if (!cg_target_try(&t, mcpu, s->x_bf16 || s->y_bf16)) return false;
    for (int a = 0; a < CG_ALGORITHMS; a++) seconds[a] = cg_conv_cost(&t, s, (enum cg_algorithm)a);
    cg_target_release(&t);
    return true;
}
