// Side heads of a model that has none (--head VALUE:byot): classifiers on feature maps inside it, as those of the
// built-in backbones (zoo/side_heads.c). They are nodes and initializers of the ONNX model, added before the import,
// and their results are taps: so parameters, checkpoints and export know them as they know all others.
#include "scope.h"
#include "zoo/zoo.h"

#include <stdlib.h>
#include <string.h>

static const struct kind {
    const char *name;
    zoo_head_fn *build;
} kinds[] = {{"byot", zoo_head_bottleneck}};

bool fe_is_head_kind(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name)) return true;
    return false;
}

static zoo_head_fn *builder_of(const char *name) {
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (!strcmp(kinds[i].name, name)) return kinds[i].build;
    BUG("no head %s", name);
}

static Onnx__NodeProto *producer(const Onnx__GraphProto *g, const char *name) {
    for (size_t i = 0; *name && i < g->n_node; i++)
        for (size_t k = 0; k < g->node[i]->n_output; k++)
            if (!strcmp(g->node[i]->output[k], name)) return g->node[i];
    return NULL;
}

// --- what the heads are built for

struct backbone {
    const char *features; // what its classifier reads, [N,F]
    struct zoo_val last;  // F, and height and width of the last map in front of it
    int64_t classes;
};

static bool is_map(const struct ir_type *t) { return t && t->rank == 4 && t->dims[0] == IR_N && t->dtype == IR_F32; }

// A copy of the model as it is now, imported for its types, with its memory in `scratch`; false where it cannot be
// imported, which the import of the model itself will say.
static bool study(const struct fe_model *m, const struct fe_options *o, struct arena *scratch, struct diag *quiet,
                  struct fe_model *copy) {
    *copy = (struct fe_model){.path = m->path, .real_path = m->real_path, .arena = scratch};
    const size_t size = onnx__model_proto__get_packed_size(m->proto);
    uint8_t *bytes = xmalloc(size + 1);
    onnx__model_proto__pack(m->proto, bytes);
    copy->proto = onnx__model_proto__unpack(&fe_allocator, size, bytes);
    free(bytes);
    CHECK(copy->proto, "a copy of the model is damaged");
    fe_taps_read(copy);
    // Patterns of names may mean the heads that are not there yet.
    const struct fe_options shapes = {.shapes = o->shapes, .n_shapes = o->n_shapes};
    return fe_import(copy, scratch, quiet, &shapes) != NULL;
}

static bool find_backbone(const struct fe_model *m, struct diag *d, const struct fe_model *types, const char *logits,
                          struct backbone *b) {
    const Onnx__GraphProto *g = m->proto->graph;
    const Onnx__NodeProto *layer = fe_last_layer(m, logits);
    if (!layer) {
        struct str what = STR_INIT;
        if (logits) str_addf(&what, "no linear layer makes \"%s\"", logits);
        diag_error(d, NULL, "--head: %s; side heads are for models that have one, --logits NAME says where it is",
                   logits ? what.s : "no linear layer, or more than one, makes the results");
        str_release(&what);
        return false;
    }
    b->features = layer->input[0];
    const struct ir_type *t = fe_type_of(types, b->features), *z = fe_type_of(types, layer->output[0]);
    if (!t || !z || t->rank != 2 || z->rank != 2 || t->dims[0] != IR_N || t->dtype != IR_F32) {
        diag_error(
            d, &(struct diag_loc){.node = layer->name, .op = layer->op_type},
            "--head: the last linear layer does not read features [N,F], so that there are none to compare with");
        return false;
    }
    b->classes = z->dims[1];
    b->last = (struct zoo_val){NULL, t->dims[1], 1, 1};
    const Onnx__NodeProto *p = layer;
    for (int steps = 0; p && p->n_input && steps < 64; steps++, p = producer(g, p->input[0])) {
        const struct ir_type *x = fe_type_of(types, p->input[0]);
        if (!is_map(x) || x->dims[2] * x->dims[3] == 1) continue;
        b->last.h = x->dims[2];
        b->last.w = x->dims[3];
        break;
    }
    return true;
}

// --- building

static void add_statistics(struct zoo *z, Onnx__NodeProto *n, size_t results) {
    char **out = ARENA_ARRAY(z->arena, char *, results);
    out[0] = n->output[0];
    for (size_t k = 1; k < results; k++) out[k] = arena_printf(z->arena, "%s.%zu", n->output[0], k);
    n->output = out;
    n->n_output = results;
}

// Norms in the form that the file's own have: beside norms in training form, one in inference form would be frozen; and
// before opset 14 the number of results says which form it is.
static void speak_as(struct zoo *z, const Onnx__ModelProto *m) {
    const bool old = fe_model_opset(m) < 14, training = fe_has_training_norms(m);
    for (size_t i = 0; i < z->graph.n_node; i++) {
        Onnx__NodeProto *n = z->graph.node[i];
        if (strcmp(n->op_type, "BatchNormalization")) continue;
        for (size_t k = 0; k < n->n_attribute; k++)
            if (!strcmp(n->attribute[k]->name, "training_mode")) {
                n->attribute[k]->i = training;
                if (old) n->attribute[k] = n->attribute[--n->n_attribute];
                break;
            }
        if (training) add_statistics(z, n, old ? 5 : 3);
    }
}

static bool names_are_free(const struct zoo *z, const Onnx__GraphProto *g, struct diag *d, const char *text) {
    const char *taken = NULL;
    for (size_t i = 0; i < z->graph.n_initializer; i++)
        if (fe_has_value(g, z->graph.initializer[i]->name)) taken = z->graph.initializer[i]->name;
    for (size_t i = 0; i < z->graph.n_node; i++)
        for (size_t k = 0; k < z->graph.node[i]->n_output; k++)
            if (fe_has_value(g, z->graph.node[i]->output[k])) taken = z->graph.node[i]->output[k];
    if (taken)
        diag_error(d, NULL, "--head %s: the model has a value \"%s\" already; give the head another name with =NAME",
                   text, taken);
    return !taken;
}

// Nodes and initializers of `from`, which lie in an arena, as messages of `to`.
static void graft(Onnx__GraphProto *to, const Onnx__GraphProto *from) {
    const size_t size = onnx__graph_proto__get_packed_size(from);
    uint8_t *bytes = xmalloc(size + 1);
    onnx__graph_proto__pack(from, bytes);
    Onnx__GraphProto *g = onnx__graph_proto__unpack(&fe_allocator, size, bytes);
    free(bytes);
    CHECK(g, "side heads are damaged");
    for (size_t i = 0; i < g->n_node; i++) fe_insert_node(to, to->n_node, g->node[i]);
    to->initializer = xrealloc(to->initializer, (to->n_initializer + g->n_initializer + 1) * sizeof *to->initializer);
    for (size_t i = 0; i < g->n_initializer; i++) to->initializer[to->n_initializer++] = g->initializer[i];
    g->n_node = g->n_initializer = 0; // they are the other graph's now
    onnx__graph_proto__free_unpacked(g, NULL);
}

struct made {
    const char *logits, *feat; // outputs
};

static bool add_head(struct fe_model *m, struct diag *d, const struct fe_side_head *h, size_t number,
                     const struct fe_model *types, const struct backbone *b, uint64_t seed, struct made *made) {
    Onnx__GraphProto *g = m->proto->graph;
    const char *value = fe_find_value(g, d, "--head", h->value);
    if (!value) return false;
    const struct ir_type *t = fe_type_of(types, value);
    if (!is_map(t)) {
        struct str what = STR_INIT;
        if (t) ir_print_type(t, &what);
        diag_error(d, NULL, "--head %s: %s%s; a head is for a feature map f32[N,C,H,W]", h->value,
                   t ? "it is " : "no result of the model is computed from it, or the batch is not its first axis",
                   t ? what.s : "");
        str_release(&what);
        return false;
    }
    const char *prefix = h->name ? h->name : arena_printf(m->arena, "heads.%zu", number);
    *made =
        (struct made){h->name ? h->name : arena_printf(m->arena, "head%zu", number),
                      h->name ? arena_printf(m->arena, "%s.feat", h->name) : arena_printf(m->arena, "feat%zu", number)};
    struct zoo z = {.arena = m->arena, .diag = d, .arch = "--head", .bn_eps = 1e-5};
    z.o = (struct fe_new_options){.classes = (int)b->classes, .seed = seed};
    onnx__graph_proto__init(&z.graph);
    const struct zoo_val x = {value, t->dims[1], t->dims[2], t->dims[3]};
    struct zoo_side side = builder_of(h->kind)(&z, x, prefix, b->last);
    zoo_named(&z, side.logits, made->logits);
    zoo_named(&z, side.feat, made->feat);
    if (z.failed) return false;
    speak_as(&z, m->proto);
    if (!names_are_free(&z, g, d, h->value)) return false;
    graft(g, &z.graph);
    return true;
}

bool fe_add_heads(struct fe_model *m, struct diag *d, const struct fe_side_head *heads, size_t n, const char *logits,
                  uint64_t seed, const struct fe_options *o) {
    struct arena scratch;
    struct fe_model types;
    struct backbone b;
    struct diag quiet = {.sink = fe_quiet};
    arena_init(&scratch);
    bool known = study(m, o, &scratch, &quiet, &types), ok = !known || find_backbone(m, d, &types, logits, &b);
    struct made *made = ARENA_ARRAY(m->arena, struct made, n);
    for (size_t i = 0; known && ok && i < n; i++) ok = add_head(m, d, &heads[i], i + 1, &types, &b, seed, &made[i]);
    if (known && ok) {
        if (m->proto->ir_version < 4) m->proto->ir_version = 4; // initializers had to be inputs, too
        for (size_t i = 0; i < n; i++) fe_new_tap(m, made[i].logits);
        for (size_t i = 0; i < n; i++) fe_new_tap(m, made[i].feat);
        ok = fe_tap(m, d, b.features, arena_printf(m->arena, "feat%zu", n + 1));
    }
    fe_close(&types);
    arena_release(&scratch);
    return ok;
}
