#include "hooks.h"

#include <string.h>

static const struct rt_hook hooks[] = {{"tipping", NULL, NULL, rt_hook_tipping},
                                       {"transition", rt_hook_matrix_given, NULL, rt_hook_transition},
                                       {"betas", NULL, rt_hook_betas, NULL},
                                       {"split", rt_hook_split_start, rt_hook_split, NULL}};

static const struct rt_hook *hook_of(const struct run *r) {
    const char *name = r->c->row->family->hook;
    for (size_t i = 0; name && i < sizeof hooks / sizeof *hooks; i++)
        if (strcmp(hooks[i].name, name) == 0) return &hooks[i];
    CHECK(!name, "no hook \"%s\"", name);
    return NULL;
}

void rt_hook_keep(struct run *r) {
    const int64_t n = RT_HOOK_MEMORY;
    if (hook_of(r)) rt_keep(&r->kept, "hook.memory", RT_F64, 1, &n, r->hook_memory, true);
}

enum smkd_result rt_hook_start(struct run *r) {
    const struct rt_hook *h = hook_of(r);
    return h && h->start ? h->start(r) : SMKD_R_OK;
}

enum smkd_result rt_hook_before(struct run *r, int64_t epoch) {
    const struct rt_hook *h = hook_of(r);
    return h && h->before ? h->before(r, epoch) : SMKD_R_OK;
}

enum smkd_result rt_hook_after(struct run *r, int64_t epoch, const struct rt_epoch_metrics *m) {
    const struct rt_hook *h = hook_of(r);
    return h && h->after ? h->after(r, epoch, m) : SMKD_R_OK;
}
