#include "optimizer_program.h"

#include "../runtime/optimizer.h"
#include "program.h"

static smkd_model *load(const char *path, const void *row) {
    smkd_model *m = smkd_model_load(path);
    if (m && rt_optimizer_check(m, path, row) == SMKD_R_OK) return m;
    smkd_model_free(m);
    return NULL;
}

smkd_model *optimizer_program(const char *opt, const struct optimizer *row) {
    if (program_is_file(opt)) return load(opt, row);
    struct arena a;
    arena_init(&a);
    static const char *const none[] = {NULL};
    const struct program_request want = {
        .kind = "optimizer",
        .name = row->name,
        .options = none,
        .key = arena_printf(&a, "optimizer %s", row->name),
        .beforehand = arena_printf(&a, "smkdc optimizer %s -o O.smkd and give --opt O.smkd", row->name),
        .load = load,
        .env = row};
    smkd_model *m = program_get(&want);
    arena_release(&a);
    return m;
}
