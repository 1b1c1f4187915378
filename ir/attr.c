// Attributes: the schemas of ops.def parsed once, checking and canonical form of a node's list, access with defaults.
#include "ir_internal.h"

#include <stdlib.h>
#include <string.h>
#include <threads.h>

// --- schemas ---------------------------------------------------------------------------------------------------------

struct schema {
    struct ir_attr_field fields[IR_MAX_ATTRS];
    size_t n;
    char text[128]; // the schema with each separator made a NUL: names and string defaults point in here
};
static struct schema schemas[IR_OP_COUNT];
static once_flag schemas_once = ONCE_FLAG_INIT;

// "name:k" or "name:k=default", cut off from *text.
static void field_parse(struct ir_attr_field *f, char *token, enum ir_op op) {
    static const char letters[] = "ifIs"; // in the order of enum ir_attr_kind
    char *colon = strchr(token, ':');
    const char *letter = colon && colon[1] ? strchr(letters, colon[1]) : NULL;
    CHECK(letter && (!colon[2] || colon[2] == '='), "schema of op %s: \"%s\"", ir_ops[op].name, token);
    const char *value = colon[2] ? colon + 3 : NULL;
    *colon = 0;
    f->name = token;
    f->kind = (enum ir_attr_kind)(letter - letters);
    f->required = !value && f->kind != IR_ATTR_INTS;
    f->deflt = (struct ir_attr){.name = token, .kind = f->kind, .s = value};
    if (value && f->kind == IR_ATTR_INT) CHECK(parse_i64(value, &f->deflt.i), "default %s of %s", value, token);
    if (value && f->kind == IR_ATTR_FLOAT) CHECK(parse_f64(value, &f->deflt.f), "default %s of %s", value, token);
    CHECK(!value || f->kind != IR_ATTR_INTS, "default of ints %s", token);
}

static void schemas_parse(void) {
    for (int op = 1; op < IR_OP_COUNT; op++) {
        struct schema *s = &schemas[op];
        CHECK(strlen(ir_ops[op].schema) < sizeof s->text, "schema of op %s is too long", ir_ops[op].name);
        strcpy(s->text, ir_ops[op].schema);
        char *rest = NULL;
        for (char *t = strtok_r(s->text, " ", &rest); t; t = strtok_r(NULL, " ", &rest)) {
            CHECK(s->n < IR_MAX_ATTRS, "schema of op %s has too many attributes", ir_ops[op].name);
            field_parse(&s->fields[s->n++], t, (enum ir_op)op);
        }
    }
}

const struct ir_attr_field *ir_schema(enum ir_op op, size_t *n) {
    call_once(&schemas_once, schemas_parse);
    CHECK((unsigned)op < IR_OP_COUNT, "op %d", (int)op);
    *n = schemas[op].n;
    return schemas[op].fields;
}

// --- a node's list ---------------------------------------------------------------------------------------------------

bool ir_attr_equal(const struct ir_attr *a, const struct ir_attr *b) {
    if (a->kind != b->kind || strcmp(a->name, b->name)) return false;
    switch (a->kind) {
    case IR_ATTR_INT:
        return a->i == b->i;
    case IR_ATTR_FLOAT:
        return !memcmp(&a->f, &b->f, sizeof a->f); // bits: NaN equals itself, -0 differs from 0
    case IR_ATTR_INTS:
        return a->n == b->n && (!a->n || !memcmp(a->ints, b->ints, a->n * sizeof *a->ints));
    case IR_ATTR_STR:
        return !strcmp(a->s, b->s);
    }
    return false;
}

static bool attr_error(struct ir_graph *g, const struct ir_node *n, const char *what, const char *name) {
    diag_error(g->diag, &n->loc, "op %s: attribute '%s' %s; its attributes are \"%s\"", ir_ops[n->op].name, name, what,
               ir_ops[n->op].schema);
    return false;
}

bool ir_attrs_set(struct ir_graph *g, struct ir_node *n, const struct ir_attr *attrs, size_t n_attrs) {
    size_t n_fields;
    const struct ir_attr_field *fields = ir_schema(n->op, &n_fields);
    struct ir_attr kept[IR_MAX_ATTRS];
    size_t n_kept = 0, n_known = 0;
    for (size_t k = 0; k < n_fields; k++) {
        const struct ir_attr_field *f = &fields[k];
        const struct ir_attr *given = NULL;
        for (size_t i = 0; i < n_attrs; i++) {
            if (strcmp(attrs[i].name, f->name)) continue;
            if (given) return attr_error(g, n, "is given twice", f->name);
            given = &attrs[i];
        }
        if (!given && f->required) return attr_error(g, n, "is missing", f->name);
        if (!given) continue;
        n_known++;
        if (given->kind != f->kind || (f->kind == IR_ATTR_STR && !given->s))
            return attr_error(g, n, "has the wrong type", f->name);
        if (!f->required && ir_attr_equal(given, &f->deflt)) continue;
        struct ir_attr *to = &kept[n_kept++];
        *to = *given;
        to->name = f->name;
        if (f->kind == IR_ATTR_INTS) to->ints = arena_dup(g->arena, given->ints, given->n * sizeof *given->ints);
        if (f->kind == IR_ATTR_STR) to->s = arena_strdup(g->arena, given->s);
    }
    for (size_t i = 0; n_known < n_attrs && i < n_attrs; i++) {
        bool known = false;
        for (size_t k = 0; k < n_fields; k++) known |= !strcmp(attrs[i].name, fields[k].name);
        if (!known) return attr_error(g, n, "is unknown", attrs[i].name);
    }
    n->attrs = arena_dup(g->arena, kept, n_kept * sizeof *kept);
    n->n_attrs = (uint16_t)n_kept;
    return true;
}

// The node's own attribute or the schema's default; an INTS attribute that is absent is the empty list.
static const struct ir_attr *lookup(const struct ir_node *n, const char *name, enum ir_attr_kind kind) {
    for (size_t i = 0; i < n->n_attrs; i++) {
        if (!strcmp(n->attrs[i].name, name)) {
            CHECK(n->attrs[i].kind == kind, "attribute %s of %s asked for as another type", name, ir_ops[n->op].name);
            return &n->attrs[i];
        }
    }
    size_t n_fields;
    const struct ir_attr_field *fields = ir_schema(n->op, &n_fields);
    for (size_t k = 0; k < n_fields; k++) {
        if (strcmp(fields[k].name, name)) continue;
        CHECK(fields[k].kind == kind, "attribute %s of %s asked for as another type", name, ir_ops[n->op].name);
        CHECK(!fields[k].required, "node of op %s without its attribute %s", ir_ops[n->op].name, name);
        return &fields[k].deflt;
    }
    BUG("op %s has no attribute %s", ir_ops[n->op].name, name);
}

int64_t ir_attr_i(const struct ir_node *n, const char *name) { return lookup(n, name, IR_ATTR_INT)->i; }
double ir_attr_f(const struct ir_node *n, const char *name) { return lookup(n, name, IR_ATTR_FLOAT)->f; }
const char *ir_attr_s(const struct ir_node *n, const char *name) { return lookup(n, name, IR_ATTR_STR)->s; }

const int64_t *ir_attr_ints(const struct ir_node *n, const char *name, size_t *count) {
    const struct ir_attr *a = lookup(n, name, IR_ATTR_INTS);
    *count = a->n;
    return a->n ? a->ints : NULL;
}
