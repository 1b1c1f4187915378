// Operators that are functions of others: rows of text (functions.def), read as a node needs them into what a function
// of the file is, so that the import, the flow of numbers and the roles of weights look through both alike.
//
// A body is statements `results = Op<attributes>(operands)`, separated by `;`:
//   an operand is a name, a number or a list (a constant of it), `@alpha:0.5` (a constant of the node's attribute, by
//   default 0.5), or `_` (none);
//   an attribute is a number, a list, a 'string', `@alpha` or `@alpha:0.5` (the node's, by default the operator's own
//   or 0.5), or `@params[1]:0.5` (an element of the node's list of floats); [x] in front of a statement: only where the
//   node has the operand x, [!x]: only where not; [kind='a'], [kind=1] and != for an attribute, which is '' and 0 where
//   the node has none; several conditions are separated by commas.
#include "functions.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const struct row {
    const char *domain, *op, *operands, *results, *body;
    int since;
} rows[] = {
#define FUNCTION(domain, op, since, operands, results, body) {domain, op, operands, results, body, since},
#include "functions.def"
#undef FUNCTION
};
enum { N_ROWS = sizeof rows / sizeof *rows };
#define BODY_OPSET 23 // of the operators in the bodies

struct reader {
    struct arena *a;
    const struct row *row;
    const char *at;
    const Onnx__NodeProto *p;
    const bool *present;
    Onnx__FunctionProto *f;
    size_t cap_nodes, n_constants;
    const char *unmet;   // the first attribute that a condition found otherwise
    const char *unclear; // one whose value is that of a function's caller, which is not here
};

// --- words

#define MALFORMED(r, what) BUG("functions.def, %s: %s expected at \"%.20s\"", (r)->row->op, what, (r)->at)

static void skip(struct reader *r) {
    while (isspace((unsigned char)*r->at)) r->at++;
}

static bool accept(struct reader *r, const char *mark) {
    skip(r);
    size_t n = strlen(mark);
    if (strncmp(r->at, mark, n)) return false;
    r->at += n;
    return true;
}

static void expect(struct reader *r, const char *mark) {
    if (!accept(r, mark)) MALFORMED(r, mark);
}

static char *name(struct reader *r) {
    skip(r);
    size_t n = 0;
    while (isalnum((unsigned char)r->at[n]) || r->at[n] == '_') n++;
    if (!n) MALFORMED(r, "a name");
    char *s = arena_printf(r->a, "%.*s", (int)n, r->at);
    r->at += n;
    return s;
}

static bool ahead_number(struct reader *r) {
    skip(r);
    return isdigit((unsigned char)*r->at) || *r->at == '-' || *r->at == '.';
}

// A number, and whether it is written as a float.
static double number(struct reader *r, bool *real) {
    char *end;
    double v = strtod(r->at, &end);
    if (end == r->at) MALFORMED(r, "a number");
    *real = memchr(r->at, '.', (size_t)(end - r->at)) || memchr(r->at, 'e', (size_t)(end - r->at));
    r->at = end;
    return v;
}

static char *quoted(struct reader *r) {
    expect(r, "'");
    size_t n = strcspn(r->at, "'");
    char *s = arena_printf(r->a, "%.*s", (int)n, r->at);
    r->at += n;
    expect(r, "'");
    return s;
}

// --- attributes

static const Onnx__AttributeProto *given(const struct reader *r, const char *attr) {
    for (size_t i = 0; i < r->p->n_attribute; i++)
        if (r->p->attribute[i]->name && !strcmp(r->p->attribute[i]->name, attr)) return r->p->attribute[i];
    return NULL;
}

static bool is_reference(const Onnx__AttributeProto *a) { return a->ref_attr_name && *a->ref_attr_name; }

static Onnx__AttributeProto *attribute(struct reader *r, const char *attr, Onnx__AttributeProto__AttributeType type) {
    Onnx__AttributeProto *a = ARENA_NEW(r->a, Onnx__AttributeProto);
    onnx__attribute_proto__init(a);
    a->name = arena_strdup(r->a, attr);
    a->has_type = true;
    a->type = type;
    return a;
}

static Onnx__AttributeProto *real_attribute(struct reader *r, const char *attr, double v) {
    Onnx__AttributeProto *a = attribute(r, attr, ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__FLOAT);
    a->has_f = true;
    a->f = (float)v;
    return a;
}

// A number, list or string as an attribute. Constants' names say their type: `attr` NULL.
static Onnx__AttributeProto *literal(struct reader *r, const char *attr) {
    Onnx__AttributeProto *a;
    bool real;
    skip(r);
    if (*r->at == '\'') {
        char *s = quoted(r);
        a = attribute(r, attr ? attr : "value_string", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__STRING);
        a->has_s = true;
        a->s.data = (uint8_t *)s;
        a->s.len = strlen(s);
        return a;
    }
    if (accept(r, "[")) {
        a = attribute(r, attr ? attr : "value_ints", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INTS);
        size_t cap = 0;
        while (!accept(r, "]")) {
            *ARENA_PUSH(r->a, a->ints, a->n_ints, cap) = (int64_t)number(r, &real);
            accept(r, ",");
        }
        return a;
    }
    double v = number(r, &real);
    if (real) return real_attribute(r, attr ? attr : "value_float", v);
    a = attribute(r, attr ? attr : "value_int", ONNX__ATTRIBUTE_PROTO__ATTRIBUTE_TYPE__INT);
    a->has_i = true;
    a->i = (int64_t)v;
    return a;
}

// What follows `@`: the node's attribute, its default, or NULL for the operator's own default.
static Onnx__AttributeProto *reference(struct reader *r, const char *attr) {
    const char *of = name(r);
    const Onnx__AttributeProto *have = given(r, of);
    bool real;
    if (accept(r, "[")) {
        size_t i = (size_t)number(r, &real);
        expect(r, "]:");
        double v = number(r, &real);
        if (have && is_reference(have)) r->unclear = of;
        if (have && i < have->n_floats) v = (double)have->floats[i];
        return real_attribute(r, attr ? attr : "value_float", v);
    }
    Onnx__AttributeProto *def = accept(r, ":") ? literal(r, attr) : NULL;
    if (!have) return def;
    Onnx__AttributeProto *a = attribute(r, def ? def->name : attr, def ? def->type : have->type);
    a->has_type = def || have->has_type;
    a->ref_attr_name = arena_strdup(r->a, of);
    return a;
}

// --- conditions

static bool has_operand(struct reader *r, const char *operand) {
    for (size_t i = 0; i < r->f->n_input; i++)
        if (!strcmp(r->f->input[i], operand)) return i < r->p->n_input && r->present[i];
    MALFORMED(r, "an operand's name");
}

static bool attribute_is(struct reader *r, const char *attr) {
    const Onnx__AttributeProto *have = given(r, attr);
    bool real, same;
    skip(r);
    if (*r->at == '\'') {
        const char *want = quoted(r);
        same = have ? have->s.len == strlen(want) && !memcmp(have->s.data, want, have->s.len) : !*want;
    } else {
        same = (have ? have->i : 0) == (int64_t)number(r, &real) && (!have || !have->n_ints); // a list is no number
    }
    if (have && is_reference(have)) r->unclear = attr;
    return same;
}

static bool condition(struct reader *r) {
    bool holds = true;
    do {
        bool no = accept(r, "!");
        const char *what = name(r);
        bool differs = accept(r, "!=");
        if (!differs && !accept(r, "=")) {
            holds &= has_operand(r, what) != no;
            continue;
        }
        bool good = attribute_is(r, what) != differs;
        if (!good && !r->unmet) r->unmet = what;
        holds &= good;
    } while (accept(r, ","));
    expect(r, "]");
    return holds;
}

// --- statements

static Onnx__NodeProto *new_node(struct reader *r, const char *op) {
    Onnx__NodeProto *p = ARENA_NEW(r->a, Onnx__NodeProto);
    onnx__node_proto__init(p);
    p->op_type = arena_strdup(r->a, op);
    p->name = r->p->name; // reports name the node of the file
    return p;
}

static void keep(struct reader *r, Onnx__NodeProto *p) {
    *ARENA_PUSH(r->a, r->f->node, r->f->n_node, r->cap_nodes) = p;
}

static void add_attribute(struct reader *r, Onnx__NodeProto *p, size_t *cap, Onnx__AttributeProto *a) {
    if (a) *ARENA_PUSH(r->a, p->attribute, p->n_attribute, *cap) = a;
}

// An operand's name; numbers become Constant nodes where the statement is meant.
static char *operand(struct reader *r, bool meant) {
    const bool is_attribute = accept(r, "@");
    if (is_attribute || ahead_number(r) || *r->at == '[') {
        Onnx__AttributeProto *v = is_attribute ? reference(r, NULL) : literal(r, NULL);
        if (!v || !v->name) MALFORMED(r, "a default");
        Onnx__NodeProto *p = new_node(r, "Constant");
        char *out = arena_printf(r->a, "#%zu", r->n_constants++);
        size_t cap = 0, cap_out = 0;
        add_attribute(r, p, &cap, v);
        *ARENA_PUSH(r->a, p->output, p->n_output, cap_out) = out;
        if (meant) keep(r, p);
        return out;
    }
    char *s = name(r);
    return strcmp(s, "_") ? s : arena_strdup(r->a, "");
}

static void statement(struct reader *r) {
    const bool meant = !accept(r, "[") || condition(r);
    size_t cap_in = 0, cap_out = 0, cap_attr = 0;
    Onnx__NodeProto *p = new_node(r, "");
    do *ARENA_PUSH(r->a, p->output, p->n_output, cap_out) = name(r);
    while (accept(r, ","));
    expect(r, "=");
    p->op_type = name(r);
    if (accept(r, "<")) {
        do {
            const char *attr = name(r);
            expect(r, "=");
            add_attribute(r, p, &cap_attr, accept(r, "@") ? reference(r, attr) : literal(r, attr));
        } while (accept(r, ","));
        expect(r, ">");
    }
    expect(r, "(");
    while (!accept(r, ")")) {
        *ARENA_PUSH(r->a, p->input, p->n_input, cap_in) = operand(r, meant);
        accept(r, ",");
    }
    if (meant) keep(r, p);
}

static char **names(struct reader *r, const char *text, size_t *n) {
    char **list = NULL;
    size_t cap = 0;
    *n = 0;
    r->at = text;
    for (skip(r); *r->at; skip(r)) {
        *ARENA_PUSH(r->a, list, *n, cap) = name(r);
        accept(r, ",");
    }
    return list;
}

static const struct row *find(const Onnx__NodeProto *p) {
    const char *domain = p->domain && strcmp(p->domain, "ai.onnx") ? p->domain : "";
    for (size_t i = 0; i < N_ROWS && p->op_type; i++)
        if (!strcmp(rows[i].op, p->op_type) && !strcmp(rows[i].domain, domain)) return &rows[i];
    return NULL;
}

static bool makes(const Onnx__FunctionProto *f, const char *result) {
    for (size_t i = 0; i < f->n_node; i++)
        for (size_t k = 0; k < f->node[i]->n_output; k++)
            if (!strcmp(f->node[i]->output[k], result)) return true;
    return false;
}

bool fe_builtin(struct arena *a, const Onnx__NodeProto *p, const bool *present, struct fe_builtin *out) {
    const struct row *row = find(p);
    *out = (struct fe_builtin){0};
    if (!row) return false;
    Onnx__FunctionProto *f = ARENA_NEW(a, Onnx__FunctionProto);
    onnx__function_proto__init(f);
    f->name = arena_strdup(a, row->op);
    Onnx__OperatorSetIdProto *set = ARENA_NEW(a, Onnx__OperatorSetIdProto);
    onnx__operator_set_id_proto__init(set);
    set->has_version = true;
    set->version = BODY_OPSET;
    f->opset_import = ARENA_ARRAY(a, Onnx__OperatorSetIdProto *, 1);
    f->opset_import[0] = set;
    f->n_opset_import = 1;
    struct reader r = {.a = a, .row = row, .p = p, .present = present, .f = f};
    f->input = names(&r, row->operands, &f->n_input);
    f->output = names(&r, row->results, &f->n_output);
    r.at = row->body;
    do statement(&r);
    while (accept(&r, ";"));
    skip(&r);
    if (*r.at) MALFORMED(&r, "the end");
    out->fn = f;
    out->since = row->since;
    out->unmet = r.unclear ? r.unclear : makes(f, f->output[0]) ? NULL : r.unmet ? r.unmet : "";
    return true;
}

// --- functions of the file

static void *take(void *a, size_t n) { return arena_alloc(a, n); }
static void leave(void *a, void *p) { (void)a, (void)p; }

Onnx__AttributeProto **fe_function_defaults(struct arena *a, const Onnx__FunctionProto *f, size_t *n) {
    ProtobufCAllocator in_arena = {take, leave, a};
    Onnx__AttributeProto **list = NULL;
    size_t cap = 0;
    *n = 0;
    for (size_t i = 0; i < f->base.n_unknown_fields; i++) {
        const ProtobufCMessageUnknownField *u = &f->base.unknown_fields[i];
        if (u->tag != FE_DEFAULTS_TAG || u->wire_type != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) continue;
        size_t prefix = 0; // the length, which is known
        while (prefix < u->len && u->data[prefix] & 128) prefix++;
        if (++prefix > u->len) continue;
        Onnx__AttributeProto *v = onnx__attribute_proto__unpack(&in_arena, u->len - prefix, u->data + prefix);
        if (v && v->name) *ARENA_PUSH(a, list, *n, cap) = v;
    }
    return list;
}

bool fe_body_of(struct arena *a, const Onnx__ModelProto *m, const Onnx__NodeProto *p, struct fe_builtin *out) {
    *out = (struct fe_builtin){.fn = fe_find_function(m, p)};
    if (out->fn) return true;
    bool *present = ARENA_ARRAY(a, bool, p->n_input + 1);
    for (size_t i = 0; i < p->n_input; i++) present[i] = *p->input[i] != 0;
    return fe_builtin(a, p, present, out) && !out->unmet;
}
