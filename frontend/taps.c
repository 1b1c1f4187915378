// Taps: values that training looks at and that are none of the model's results, such as feature maps in the middle of
// it. A tap is an output of the ONNX file like any other, whose name the file's metadata has under "smkd.taps"; so the
// import, the artifact's skeleton and the export need to know no more than which outputs those are.
#include "scope.h"

#include <stdlib.h>
#include <string.h>

static const Onnx__ValueInfoProto *output_named(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->name && !strcmp(g->output[i]->name, name)) return g->output[i];
    return NULL;
}

static struct fe_tap *tap_named(const struct fe_model *m, const char *name) {
    for (size_t i = 0; i < m->n_taps; i++)
        if (!strcmp(m->taps[i].name, name)) return &m->taps[i];
    return NULL;
}

bool fe_is_tap(const struct fe_model *m, const char *name) { return tap_named(m, name) != NULL; }

const struct fe_tap *fe_taps(const struct fe_model *m, size_t *n) {
    *n = m->n_taps;
    return m->taps;
}

static void remember(struct fe_model *m, const char *name) {
    *ARENA_PUSH(m->arena, m->taps, m->n_taps, m->cap_taps) = (struct fe_tap){.name = name, .value = IR_NONE};
}

// What the file's metadata has, of names that are outputs: other programs may have taken some out.
void fe_taps_read(struct fe_model *m) {
    size_t n;
    const struct fe_meta *meta = fe_metadata(m, FE_TAPS_KEY, &n);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(meta[i].key, FE_TAPS_KEY)) continue;
        char *text = arena_strdup(m->arena, meta[i].value), *end = text + strlen(text);
        for (char *at = text; at < end; at += strlen(at) + 1) {
            at[strcspn(at, ",")] = 0;
            if (output_named(m->proto->graph, at) && !fe_is_tap(m, at)) remember(m, at);
        }
    }
}

static void write_metadata(struct fe_model *m) {
    struct str all = STR_INIT;
    for (size_t i = 0; i < m->n_taps; i++) str_addf(&all, "%s%s", i ? "," : "", m->taps[i].name);
    fe_set_metadata(m->proto, FE_TAPS_KEY, all.s);
    str_release(&all);
}

void fe_drop_taps(Onnx__ModelProto *p) {
    Onnx__GraphProto *g = p->graph;
    struct arena scratch;
    arena_init(&scratch);
    struct fe_model m = {.proto = p, .arena = &scratch};
    fe_taps_read(&m);
    size_t kept = 0;
    for (size_t i = 0; i < g->n_output; i++) {
        if (g->output[i]->name && fe_is_tap(&m, g->output[i]->name))
            onnx__value_info_proto__free_unpacked(g->output[i], NULL);
        else
            g->output[kept++] = g->output[i];
    }
    g->n_output = kept;
    fe_drop_metadata(p, FE_TAPS_KEY);
    arena_release(&scratch);
}

// --- --tap

// What a node computes for others: its first result, and others where something reads them. (Statistics of a norm in
// training form and the mask of a dropout are results that nobody reads.)
static size_t results(const Onnx__GraphProto *g, const Onnx__NodeProto *p, const char **first) {
    size_t n = 0;
    *first = NULL;
    for (size_t k = 0; k < p->n_output; k++) {
        bool read = k == 0;
        for (size_t i = 0; !read && i < g->n_node; i++)
            for (size_t j = 0; j < g->node[i]->n_input; j++) read |= !strcmp(g->node[i]->input[j], p->output[k]);
        if (!*p->output[k] || !read) continue;
        if (!*first) *first = p->output[k];
        n++;
    }
    return n;
}

// All names that could have been meant, from the end of the model on: of a block's values its result comes first.
static void near_names(const Onnx__GraphProto *g, const char *name, struct str *out) {
    size_t n = 0, n_names = 0;
    for (size_t i = 0; i < g->n_node; i++) n_names += g->node[i]->n_output;
    const char **names = xcalloc(n_names + 1, sizeof *names);
    for (size_t i = g->n_node; i-- > 0;)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (*g->node[i]->output[k]) names[n++] = g->node[i]->output[k];
    glob_near(out, name, names, n);
    free(names);
}

// The value that `name` stands for: a value's own, or that of the node that makes it. NULL after a report.
const char *fe_find_value(const Onnx__GraphProto *g, struct diag *d, const char *option, const char *name) {
    const Onnx__NodeProto *node = NULL;
    const char *value = NULL;
    size_t named = 0;
    for (size_t i = 0; i < g->n_node; i++) {
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (*name && !strcmp(g->node[i]->output[k], name)) return g->node[i]->output[k];
        if (!g->node[i]->name || strcmp(g->node[i]->name, name) || !*name) continue;
        node = g->node[i];
        named++;
    }
    bool input = fe_initializer(g, name) != NULL;
    for (size_t i = 0; i < g->n_input; i++) input |= g->input[i]->name && !strcmp(g->input[i]->name, name);
    if (named == 1 && results(g, node, &value) == 1) return value;
    if (named > 1) {
        diag_error(d, NULL, "%s %s: %zu nodes have this name; give that of a value", option, name, named);
    } else if (named == 1) {
        diag_error(d, NULL, "%s %s: this node (%s) makes several values, \"%s\" first; give the name of one", option,
                   name, node->op_type ? node->op_type : "", value ? value : "");
    } else if (input) {
        diag_error(d, NULL, "%s %s: it is an input or a weight; expected a value that a node makes", option, name);
    } else {
        struct str near = STR_INIT;
        near_names(g, name, &near);
        diag_error(d, NULL, "%s %s: the model has no such value%s%s", option, name, near.len ? "; near to it are " : "",
                   near.len ? near.s : "");
        str_release(&near);
    }
    return NULL;
}

bool fe_has_value(const Onnx__GraphProto *g, const char *name) {
    bool found = fe_initializer(g, name) || output_named(g, name);
    for (size_t i = 0; i < g->n_input; i++) found |= g->input[i]->name && !strcmp(g->input[i]->name, name);
    for (size_t i = 0; i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++) found |= !strcmp(g->node[i]->output[k], name);
    return found;
}

void fe_new_tap(struct fe_model *m, const char *name) {
    fe_add_output(m->proto->graph, name);
    remember(m, name);
    write_metadata(m);
}

bool fe_tap(struct fe_model *m, struct diag *d, const char *value, const char *name) {
    Onnx__GraphProto *g = m->proto->graph;
    const char *from = fe_find_value(g, d, "--tap", value);
    if (!from) return false;
    if (!name) name = from;
    const bool renamed = strcmp(name, from) != 0;
    if (!*name || strpbrk(name, ",\n")) {
        diag_error(d, NULL, "--tap %s=%s: the name of a tap has no comma in it; give it another with =NAME", value,
                   name);
        return false;
    }
    if (renamed ? fe_has_value(g, name) : output_named(g, name) != NULL) {
        if (renamed || fe_is_tap(m, name))
            diag_error(d, NULL, "--tap %s=%s: the model has a value of that name; choose another", value, name);
        else
            diag_error(d, NULL, "--tap %s: it is an output of the model, which methods can use as it is", value);
        return false;
    }
    name = arena_strdup(m->arena, name);
    if (renamed) fe_insert_node(g, g->n_node, fe_new_node("Identity", name, 1, &from));
    fe_new_tap(m, name);
    return true;
}

// --- import

// What the file says of an output that smkdc has added.
static void declare(struct fe_model *m, const char *name, const struct ir_type *t, enum ir_half half) {
    static const int32_t types[] = {[IR_HALF_NONE] = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT,
                                    [IR_HALF_F16] = ONNX__TENSOR_PROTO__DATA_TYPE__FLOAT16,
                                    [IR_HALF_BF16] = ONNX__TENSOR_PROTO__DATA_TYPE__BFLOAT16};
    for (size_t i = 0; i < m->proto->graph->n_output; i++) {
        Onnx__ValueInfoProto *v = m->proto->graph->output[i];
        if (v->name && !strcmp(v->name, name) && !v->type) v->type = fe_new_type(types[half], t);
    }
}

void fe_import_tap(struct fe_ctx *c, const char *name, struct fe_val *v) {
    struct fe_tap *tap = tap_named(c->m, name);
    const ir_vid x = v->is_moved || v->is_buffer ? IR_NONE : fe_vid(c, v);
    const struct ir_type *t = x == IR_NONE ? NULL : &c->g->values[x].type;
    if (!t || t->rank < 1 || t->dims[0] != IR_N || t->dtype != IR_F32) {
        const char *what = v->is_moved    ? "has the batch away from the first axis"
                           : v->is_buffer ? "is a running statistic"
                           : t            ? arena_printf(c->a, "is %s%s", ir_dtype_name(t->dtype), fe_dims_text(c, t))
                                          : "is not a tensor";
        diag_error(c->d, NULL, "tap \"%s\" %s; a tap is of float32 and [N,...], a row for each sample", name, what);
        return;
    }
    tap->value = x;
    declare(c->m, name, t, v->half);
}
