// Which output inside a network, or inside its teacher, a method looks at: where a word of the family names it
// ("hint"), the tap of that name; where that is "auto", the tap called like the parameter, or the only one that there
// is.
#include "losses_internal.h"

#include <string.h>

// The taps of one network by their names, and how many they are.
static const char *list(struct loss_builder *b, bool teacher, int k, int *n, const char **last) {
    const char *all = "";
    *n = 0;
    for (size_t i = 0; i < b->o->n_taps; i++) {
        const struct loss_tap *t = &b->o->taps[i];
        if (t->teacher != teacher || t->peer != k) continue;
        *last = t->name;
        all = arena_printf(b->a, "%s%s%s", all, (*n)++ ? ", " : "", t->name);
    }
    return all;
}

ir_vid loss_find_tap(struct loss_builder *b, bool teacher, int k, const char *param) {
    ir_vid (*const tap)(struct loss_builder *b, int k, const char *name) = teacher ? loss_teacher_tap : loss_tap;
    const char *wanted = method_word(b->o->method, &b->o->values, param), *only = NULL;
    const char *whose = teacher ? "the teacher of network" : "network";
    const bool unnamed = strcmp(wanted, "auto") == 0;
    int n;
    const char *all = list(b, teacher, k, &n, &only);
    ir_vid v = tap(b, k, unnamed ? param : wanted);
    if (v == IR_NONE && unnamed && n == 1) v = tap(b, k, only);
    if (v != IR_NONE) return v;
    if (n == 0)
        diag_error(b->d, NULL,
                   "the method %s looks at an output inside %s %d, which has none beside its logits: compile it with "
                   "smkdc compile --tap VALUE=%s",
                   b->o->method->name, whose, k, param);
    else if (unnamed)
        diag_error(b->d, NULL, "%s %d has several outputs beside its logits: %s; say which with --%s NAME", whose, k,
                   all, param);
    else
        diag_error(b->d, NULL,
                   "--%s %s: %s %d has no such output; it has %s; make one with smkdc compile --tap VALUE=%s", param,
                   wanted, whose, k, all, wanted);
    return IR_NONE;
}

static bool fits(struct loss_builder *b, ir_vid map, ir_vid first) {
    const struct ir_value *v = &b->g->values[map], *w = &b->g->values[first];
    if (v->type.rank == 4 && v->type.dims[2] == w->type.dims[2] && v->type.dims[3] == w->type.dims[3]) return true;
    struct str is = STR_INIT, was = STR_INIT;
    ir_print_type(&v->type, &is);
    ir_print_type(&w->type, &was);
    diag_error(b->d, NULL,
               "the method %s looks at \"%s\" %s beside \"%s\" %s; take outputs [N,C,H,W] of one height and width",
               b->o->method->name, v->name, is.s, w->name, was.s);
    str_release(&is);
    str_release(&was);
    return false;
}

bool loss_find_maps(struct loss_builder *b, const char *param, ir_vid *map) {
    for (int k = 0; k < b->o->peers; k++) {
        map[k] = loss_find_tap(b, false, k, param);
        if (map[k] == IR_NONE || !fits(b, map[k], map[0])) return false;
    }
    return true;
}

// Maps [N,C,H,W] have their channels second; rows [N,C] and tokens [N,T,C] last.
int loss_channels_at(const struct ir_type *t) { return t->rank == 4 ? 1 : t->rank - 1; }

// --- classifiers at the sides ----------------------------------------------------------------------------------------

static int64_t columns(const struct loss_builder *b, ir_vid v) {
    const struct ir_type *t = &b->g->values[v].type;
    return t->rank == 2 ? t->dims[1] : -1;
}

bool loss_find_heads(struct loss_builder *b, int k, struct loss_heads *net) {
    *net = (struct loss_heads){.z = loss_logits(b, k)};
    for (; net->n < LOSS_MAX_HEADS; net->n++) {
        const char *name = arena_printf(b->a, "head%d", net->n + 1);
        ir_vid z = loss_tap(b, k, name);
        if (z == IR_NONE) break;
        if (columns(b, z) != b->o->classes) {
            diag_error(b->d, NULL, "network %d: \"%s\" is not [N,%lld] as the logits are", k, name,
                       (long long)b->o->classes);
            return false;
        }
        net->head[net->n] = z;
    }
    if (net->n) return true;
    diag_error(b->d, NULL,
               "the method %s needs heads at the sides of network %d (outputs head1, head2, ...): make one with "
               "smkdc new resnet18 --heads 3, or give a model some with smkdc compile --head",
               b->o->method->name, k);
    return false;
}

// Features of any shape as rows.
static ir_vid rows_of(struct loss_builder *b, ir_vid v) {
    if (v == IR_NONE) return v;
    const struct ir_type *t = &b->g->values[v].type;
    int64_t n = 1;
    for (int i = 1; i < t->rank; i++) n *= t->dims[i];
    return t->rank == 2 ? v : ir_reshape(b->g, v, 2, (int64_t[]){IR_N, n});
}

bool loss_find_features(struct loss_builder *b, int k, struct loss_heads *net, bool one_size) {
    net->f = rows_of(b, loss_tap(b, k, "featF"));
    if (net->f == IR_NONE) net->f = rows_of(b, loss_tap(b, k, arena_printf(b->a, "feat%d", net->n + 1)));
    for (int i = 0; i < net->n; i++) {
        const char *name = arena_printf(b->a, "feat%d", i + 1);
        net->feature[i] = rows_of(b, loss_tap(b, k, name));
        const bool there = net->f != IR_NONE && net->feature[i] != IR_NONE;
        if (there && (!one_size || columns(b, net->feature[i]) == columns(b, net->f))) continue;
        diag_error(b->d, NULL,
                   "the method %s looks at the features of network %d: there are no \"%s\" and \"feat%d\" (or "
                   "\"featF\")%s",
                   b->o->method->name, k, name, net->n + 1, one_size ? " of one size" : "");
        return false;
    }
    return true;
}
