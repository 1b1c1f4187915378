#include "loss_program.h"

#include "../losses/losses.h"
#include "../runtime/program.h"
#include "program.h"

#include <errno.h>
#include <string.h>

bool loss_is_text(const char *name) { return str_has_suffix(name, ".ir"); }

bool loss_is_file(const char *name) { return program_is_file(name) || loss_is_text(name); }

static smkd_model *load(const char *path, const void *request) {
    const struct loss_request *want = request;
    smkd_model *m =
        want->known && loss_is_file(want->name) ? rt_model_load_known(path, want->known) : smkd_model_load(path);
    const struct method_views views =
        want->predict ? (struct method_views){.count = 1} : method_views(want->method, &want->values, want->peers);
    if (m && rt_program_check(m, path, want->peers, want->classes, want->max_batch, &views) == SMKD_R_OK) return m;
    smkd_model_free(m);
    return NULL;
}

enum { LOSS_BATCH = 4096 }; // programs for any smaller batch are one and the same

static int64_t batch_limit(const struct loss_request *want) {
    int64_t n = LOSS_BATCH;
    while (n < want->max_batch) n *= 2;
    return n;
}

// Those of one network, as of peer k or of its teacher.
static void add_taps(const struct rt_peer *p, int k, bool teacher, struct loss_tap *taps, size_t *count) {
    const struct smkd_abi_tensor *t;
    for (size_t i = 0; (t = smkd_model_nth(p->model, teacher ? SMKD_ABI_OUTPUT : SMKD_ABI_COTANGENT, i)); i++) {
        if (strcmp(t->name, p->logits->name) == 0 || t->dtype != SMKD_ABI_F32) continue;
        if (t->rank < 2 || t->rank > IR_MAX_RANK || t->dims[0] != -1) continue; // nothing of each image
        struct loss_tap *x = &taps[(*count)++];
        *x = (struct loss_tap){.teacher = teacher, .peer = k, .name = t->name, .rank = (int)t->rank};
        for (uint32_t d = 0; d < t->rank; d++) x->dims[d] = t->dims[d];
    }
}

struct loss_tap *loss_taps(const struct rt_peer *peers, int n, const struct rt_peer *teachers, int n_teachers,
                           size_t *count) {
    size_t most = 0;
    for (int k = 0; k < n; k++) {
        most += (size_t)smkd_model_info(peers[k].model)->n_tensors;
        if (n_teachers) most += (size_t)smkd_model_info(teachers[k % n_teachers].model)->n_tensors;
    }
    struct loss_tap *taps = xcalloc(most + 1, sizeof *taps);
    *count = 0;
    for (int k = 0; k < n; k++) {
        add_taps(&peers[k], k, false, taps, count);
        if (n_teachers) add_taps(&teachers[k % n_teachers], k, true, taps, count);
    }
    return taps;
}

static struct loss_options options(const struct loss_request *want) {
    return (struct loss_options){.method = want->method,
                                 .values = want->values,
                                 .peers = want->peers,
                                 .classes = want->classes,
                                 .taps = want->taps,
                                 .n_taps = want->method->family->taps ? want->n_taps : 0,
                                 .predict = want->predict,
                                 .mixed = want->mixed,
                                 .weighted = want->weighted};
}

// What is a matter of structure; the others are set when it runs.
static const char *const *command(const struct loss_request *want, const struct loss_options *o, struct arena *a) {
    const char **argv = arena_array(a, 24 + 2 * METHOD_PARAMS + 2 * o->n_taps, sizeof *argv);
    size_t n = 0;
    const struct {
        const char *flag;
        int64_t value;
    } numbers[] = {{"--classes", want->classes}, {"--peers", want->peers}, {"--max-batch", batch_limit(want)}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        argv[n++] = numbers[i].flag;
        argv[n++] = arena_printf(a, "%lld", (long long)numbers[i].value);
    }
    for (size_t i = 0; i < o->n_taps; i++) {
        struct str tap = STR_INIT;
        str_addf(&tap, "%d.%s=", o->taps[i].peer, o->taps[i].name);
        for (int d = 1; d < o->taps[i].rank; d++)
            str_addf(&tap, "%s%lld", d > 1 ? "x" : "", (long long)o->taps[i].dims[d]);
        argv[n++] = o->taps[i].teacher ? "--teacher-tap" : "--tap";
        argv[n++] = arena_printf(a, "%s", tap.s);
        str_release(&tap);
    }
    if (want->predict) argv[n++] = "--predict";
    if (want->mixed) argv[n++] = "--mixed";
    if (want->weighted) argv[n++] = "--class-weights";
    const struct method *m = want->method;
    struct method_values v = want->values;
    method_resolve(m, &v, want->classes);
    v = method_canonical(m, &v);
    char fixed[32];
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        if (!p->help || method_fixed(m, p, fixed) || (p->scalar && !p->optional)) continue;
        const char *flag = arena_printf(a, "--%s", p->name);
        if (p->kind == METHOD_FLAG && !v.flag[i]) continue;
        argv[n++] = flag;
        if (p->kind == METHOD_FLAG) continue;
        argv[n++] = v.word[i] ? v.word[i] : arena_printf(a, "%.17g", v.number[i]);
    }
    return argv;
}

static smkd_model *build(const struct loss_request *want) {
    if (!method_find(want->name)) {
        struct str all = STR_INIT;
        method_names(&all);
        rt_fail(SMKD_R_INVALID, "there is no method \"%s\"; expected one of %s, or a file made with smkdc loss",
                want->name, all.s);
        str_release(&all);
        return NULL;
    }
    const char *why = method_refuse(want->method, &want->values, want->peers);
    if (why) {
        rt_fail(SMKD_R_INVALID, "%s", why);
        return NULL;
    }
    struct arena a;
    arena_init(&a);
    struct loss_options o = options(want);
    const struct program_request p = {
        .kind = "loss",
        .name = want->name,
        .options = command(want, &o, &a),
        .key = arena_printf(&a, "%s batch=%lld", loss_key(&o, &a), (long long)batch_limit(want)),
        .beforehand = arena_printf(&a, "smkdc loss %s -o L.smkd --classes %lld and give --loss L.smkd", want->name,
                                   (long long)want->classes),
        .load = load,
        .env = want};
    smkd_model *m = program_get(&p);
    arena_release(&a);
    return m;
}

// A loss of the user's own, as text: known by its bytes.
static smkd_model *build_text(const struct loss_request *want) {
    const void *data;
    size_t size;
    if (io_map(want->name, &data, &size) != SMKD_OK) {
        rt_fail(SMKD_R_IO, "%s: cannot be read: %s", want->name, strerror(errno));
        return NULL;
    }
    const uint64_t h = fnv1a(FNV_INIT, data, size);
    io_unmap(data, size);
    struct arena a;
    arena_init(&a);
    const char *const options[] = {"--max-batch", arena_printf(&a, "%lld", (long long)batch_limit(want)), NULL};
    const struct program_request p = {
        .kind = "loss",
        .name = want->name,
        .options = options,
        .key = arena_printf(&a, "text %016llx batch=%lld", (unsigned long long)h, (long long)batch_limit(want)),
        .beforehand = arena_printf(&a, "smkdc loss %s -o L.smkd and give --loss L.smkd", want->name),
        .load = load,
        .env = want};
    smkd_model *m = program_get(&p);
    arena_release(&a);
    return m;
}

smkd_model *loss_program(const struct loss_request *want) {
    if (loss_is_text(want->name)) return build_text(want);
    return loss_is_file(want->name) ? load(want->name, want) : build(want);
}

enum smkd_result loss_predictor(const struct loss_request *want, smkd_model **m) {
    const struct method_family *f = want->method->family;
    *m = NULL;
    if (!f->predicts || !f->predicts(want->method, &want->values) || loss_is_file(want->name)) return SMKD_R_OK;
    struct loss_request other = *want;
    other.predict = true;
    other.mixed = other.weighted = false;
    *m = loss_program(&other);
    return *m ? SMKD_R_OK : SMKD_R_INVALID;
}
