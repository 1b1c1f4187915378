#include "parts.h"

#include "../base/base.h"
#include "../base/glob.h"
#include "rt_internal.h"

#include <stdlib.h>
#include <string.h>

static void add(struct rt_param_part *p, const char *text, size_t n, const char *end) {
    p->globs = xrealloc(p->globs, (p->n + 1) * sizeof *p->globs);
    char *glob = xcalloc(n + strlen(end) + 1, 1);
    memcpy(glob, text, n);
    memcpy(glob + n, end, strlen(end));
    p->globs[p->n++] = glob;
}

static const char *nth_name(const smkd_model *m, size_t i) {
    const struct smkd_abi_tensor *t = smkd_model_nth(m, SMKD_ABI_PARAM, i);
    return t ? t->name : NULL;
}

// All names that share what is in front of the last dot or slash of the last parameter's, or of the first of the one
// before those.
static void add_last(struct rt_param_part *p, const smkd_model *m, bool stage) {
    size_t count = 0;
    while (nth_name(m, count)) count++;
    if (!count) return;
    const char *last = nth_name(m, count - 1), *cut = last + strlen(last);
    while (cut > last && *cut != '.' && *cut != '/') cut--;
    const size_t n = cut > last ? (size_t)(cut - last) + 1 : strlen(last);
    add(p, last, n, cut > last ? "*" : "");
    while (stage && count && rt_param_part_has(p, nth_name(m, count - 1))) count--;
    if (!stage || !count) return;
    const char *before = nth_name(m, count - 1);
    const size_t first = strcspn(before, "./");
    add(p, before, first, before[first] ? "[./]*" : "");
}

static void split(struct rt_param_part *p, const char *text) {
    for (const char *s = text; *s; s += strcspn(s, ";"), s += *s == ';')
        if (strcspn(s, ";")) add(p, s, strcspn(s, ";"), "");
}

enum smkd_result rt_param_part_of(const char *text, const char *flag, const smkd_model *m, const char *path,
                                  struct rt_param_part *out) {
    *out = (struct rt_param_part){0};
    const bool stage = strcmp(text, "last-stage") == 0;
    if (stage || strcmp(text, "last-layer") == 0)
        add_last(out, m, stage);
    else
        split(out, text);
    size_t n = 0;
    bool found = false;
    for (; nth_name(m, n); n++) found = found || rt_param_part_has(out, nth_name(m, n));
    if (found) return SMKD_R_OK;
    const char **names = xcalloc(n + 1, sizeof *names);
    for (size_t i = 0; i < n; i++) names[i] = nth_name(m, i);
    struct str near = STR_INIT;
    glob_near(&near, out->n ? out->globs[0] : "", names, n);
    rt_fail(SMKD_R_MISMATCH, "--%s %s: %s has no trained parameter of such a name; there are %s ...", flag, text, path,
            near.s ? near.s : "none");
    str_release(&near);
    free(names);
    return SMKD_R_MISMATCH;
}

bool rt_param_part_has(const struct rt_param_part *part, const char *name) {
    return glob_chosen((const char *const *)part->globs, part->n, name);
}

void rt_param_part_release(struct rt_param_part *part) {
    for (size_t i = 0; i < part->n; i++) free(part->globs[i]);
    free(part->globs);
    *part = (struct rt_param_part){0};
}
