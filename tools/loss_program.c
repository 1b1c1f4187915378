#include "loss_program.h"

#include "../losses/losses.h"
#include "../runtime/program.h"
#include "program.h"

#include <string.h>

bool loss_is_file(const char *name) { return program_is_file(name); }

static smkd_model *load(const char *path, const void *request) {
    const struct loss_request *want = request;
    smkd_model *m =
        want->known && loss_is_file(want->name) ? rt_model_load_known(path, want->known) : smkd_model_load(path);
    if (m && rt_program_check(m, path, want->peers, want->classes, want->max_batch) == SMKD_R_OK) return m;
    smkd_model_free(m);
    return NULL;
}

enum { LOSS_BATCH = 4096 }; // programs for any smaller batch are one and the same

static int64_t batch_limit(const struct loss_request *want) {
    int64_t n = LOSS_BATCH;
    while (n < want->max_batch) n *= 2;
    return n;
}

static struct loss_options options(const struct loss_request *want) {
    return (struct loss_options){.method = want->method,
                                 .values = want->values,
                                 .peers = want->peers,
                                 .classes = want->classes,
                                 .mixed = want->mixed,
                                 .weighted = want->weighted};
}

// What is a matter of structure; the others are set when it runs.
static const char *const *command(const struct loss_request *want, struct arena *a) {
    const char **argv = arena_array(a, 24 + 2 * METHOD_PARAMS, sizeof *argv);
    size_t n = 0;
    const struct {
        const char *flag;
        int64_t value;
    } numbers[] = {{"--classes", want->classes}, {"--peers", want->peers}, {"--max-batch", batch_limit(want)}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        argv[n++] = numbers[i].flag;
        argv[n++] = arena_printf(a, "%lld", (long long)numbers[i].value);
    }
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
        argv[n++] = p->kind == METHOD_WORD ? v.word[i] : arena_printf(a, "%.17g", v.number[i]);
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
        .options = command(want, &a),
        .key = arena_printf(&a, "%s batch=%lld", loss_key(&o, &a), (long long)batch_limit(want)),
        .beforehand = arena_printf(&a, "smkdc loss %s -o L.smkd --classes %lld and give --loss L.smkd", want->name,
                                   (long long)want->classes),
        .load = load,
        .env = want};
    smkd_model *m = program_get(&p);
    arena_release(&a);
    return m;
}

smkd_model *loss_program(const struct loss_request *want) {
    return loss_is_file(want->name) ? load(want->name, want) : build(want);
}
