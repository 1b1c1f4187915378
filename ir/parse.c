// Graphs from text: the inverse of print.c, for tests and for dumps made by --emit (ir/IR.md). Reads the syntax, the op
// names and the attributes; whether the graph makes sense is ir_verify's business. Stops at the first error.
#include "ir_internal.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

struct parser {
    struct ir_graph *g;
    struct diag *d;
    const char *text, *at;
    const struct ir_graph *data; // where constants given by hash, and weights, are looked up; may be NULL
    bool *defined, *used;        // by vid
    // Ids must lie below: bounded by the text, so that a short file cannot ask for gigabytes
    size_t n_ids;
    enum ir_phase phase;
};

// --- messages and tokens ---------------------------------------------------------------------------------------------

static bool parse_error(struct parser *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static bool parse_error(struct parser *p, const char *fmt, ...) {
    int line = 1, column = 1;
    for (const char *s = p->text; s < p->at; s++) {
        column = *s == '\n' ? 1 : column + 1;
        line += *s == '\n';
    }
    va_list ap;
    char what[512];
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    diag_error(p->d, NULL, "line %d, column %d: %s", line, column, what);
    return false;
}

static void skip_blanks(struct parser *p) {
    for (;;) {
        while (isspace((unsigned char)*p->at)) p->at++;
        if (p->at[0] != '/' || p->at[1] != '/') return;
        p->at += strcspn(p->at, "\n");
    }
}

static bool word_char(char c) { return isalnum((unsigned char)c) || c == '_' || c == '.'; }

// Consumes `token` when it comes next. A word must not go on: "in" is not the start of "inline".
static bool accept(struct parser *p, const char *token) {
    skip_blanks(p);
    size_t n = strlen(token);
    if (strncmp(p->at, token, n) != 0 || (word_char(token[n - 1]) && word_char(p->at[n]))) return false;
    p->at += n;
    return true;
}

static bool expect(struct parser *p, const char *token) {
    if (accept(p, token)) return true;
    char found[24];
    snprintf(found, sizeof found, "%.16s", *p->at ? p->at : "the end");
    return parse_error(p, "'%s' was expected before '%s'", token, found);
}

// Letters, digits, '_' and '.', into buf.
static bool word(struct parser *p, char *buf, size_t size, const char *what) {
    skip_blanks(p);
    size_t n = 0;
    while (word_char(p->at[n])) n++;
    if (n == 0 || n >= size) return parse_error(p, "%s was expected", what);
    memcpy(buf, p->at, n);
    buf[n] = 0;
    p->at += n;
    return true;
}

static bool integer(struct parser *p, int64_t *out) {
    skip_blanks(p);
    char buf[24];
    size_t n = *p->at == '-';
    while (isdigit((unsigned char)p->at[n])) n++;
    if (n >= sizeof buf) return parse_error(p, "the number is out of range");
    memcpy(buf, p->at, n);
    buf[n] = 0;
    if (!parse_i64(buf, out)) return parse_error(p, "an integer was expected");
    p->at += n;
    return true;
}

// Any spelling strtod knows; *integral tells "1" from "1.0".
static bool number(struct parser *p, double *out, bool *integral) {
    skip_blanks(p);
    char *end;
    double v = strtod(p->at, &end);
    if (end == p->at) return parse_error(p, "a number was expected");
    *integral = true;
    for (const char *s = p->at; s < end; s++) *integral &= isdigit((unsigned char)*s) || *s == '-';
    p->at = end;
    *out = v;
    return true;
}

static int hex_digit(char c) { return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1; }

static bool string(struct parser *p, const char **out) {
    if (!expect(p, "\"")) return false;
    size_t n = 0, max = strcspn(p->at, "\n");
    char *s = arena_alloc(p->g->arena, max + 1);
    for (; *p->at != '"'; p->at++) {
        char c = *p->at;
        if (c == 0 || c == '\n') return parse_error(p, "the string does not end on its line");
        if (c == '\\') {
            c = *++p->at;
            if (c == 'x' && hex_digit(p->at[1]) >= 0 && hex_digit(p->at[2]) >= 0) {
                c = (char)(hex_digit(p->at[1]) * 16 + hex_digit(p->at[2]));
                p->at += 2;
            } else if (c != '"' && c != '\\') {
                return parse_error(p, "unknown escape in a string; known are \\\\ \\\" \\xHH");
            }
        }
        s[n++] = c;
    }
    p->at++;
    *out = s;
    return true;
}

// "string" or _ for NULL.
static bool optional_string(struct parser *p, const char **out) { return accept(p, "_") || string(p, out); }

// --- types and ids ---------------------------------------------------------------------------------------------------

static bool dim(struct parser *p, int64_t *d) {
    *d = IR_N;
    if (accept(p, "N")) return true;
    if (!integer(p, d)) return false;
    if (*d < 0 || *d > INT64_C(1) << 40) return parse_error(p, "a dimension of %" PRId64 " is out of range", *d);
    if (*p->at == 'N') {
        p->at++;
        *d = -*d;
    }
    return true;
}

static bool type(struct parser *p, struct ir_type *t) {
    char name[16];
    if (!word(p, name, sizeof name, "a type such as f32[N,3]")) return false;
    bool narrow = !strcmp(name, "bf16");
    enum ir_dtype dtype = IR_F32;
    while (!narrow && dtype < IR_DTYPE_COUNT && strcmp(name, ir_dtype_name(dtype))) dtype++;
    if (dtype == IR_DTYPE_COUNT)
        return parse_error(p, "unknown element type '%s'; known are f32 i64 i32 u8 bool f64, and bf16 in memory", name);
    int64_t dims[IR_MAX_RANK];
    int rank = 0;
    if (!expect(p, "[")) return false;
    while (!accept(p, "]")) {
        if (rank == IR_MAX_RANK) return parse_error(p, "more than %d dimensions", IR_MAX_RANK);
        if ((rank && !expect(p, ",")) || !dim(p, &dims[rank])) return false;
        rank++;
    }
    *t = ir_type_make(dtype, rank, dims);
    t->narrow = narrow;
    double numel = 1;
    for (int i = 0; i < rank; i++) numel *= fabs((double)dims[i]);
    if (numel > 0x1p40) return parse_error(p, "the type has too many elements");
    if (*p->at != '{') return true;
    p->at++;
    unsigned seen = 0;
    for (int i = 0; i < rank; i++) {
        int64_t k;
        if ((i && !expect(p, ",")) || !integer(p, &k)) return false;
        if (k < 0 || k >= rank || (seen >> k & 1))
            return parse_error(p, "the memory order is not a permutation of the dimensions");
        seen |= 1u << k;
        t->perm[i] = (uint8_t)k;
    }
    return expect(p, "}");
}

static bool id(struct parser *p, ir_vid *v) {
    int64_t k;
    if (!expect(p, "%") || !integer(p, &k)) return false;
    if (k < 0 || (uint64_t)k >= p->n_ids) return parse_error(p, "value id %" PRId64 " is out of range", k);
    *v = (ir_vid)k;
    return true;
}

static bool use(struct parser *p, ir_vid *v) {
    if (!id(p, v)) return false;
    p->used[*v] = true;
    return true;
}

// "%7: f32[N]": a place for value 7. The gaps that passes leave between ids stay gaps.
static bool definition(struct parser *p, struct ir_value value, ir_vid *v) {
    if (!id(p, v)) return false;
    if (p->defined[*v]) return parse_error(p, "%%%u is defined twice", *v);
    p->defined[*v] = true;
    if (!expect(p, ":") || !type(p, &value.type)) return false;
    struct ir_graph *g = p->g;
    g->values = arena_grow(g->arena, g->values, *v, &g->cap_values, sizeof *g->values);
    for (; g->n_values <= *v; g->n_values++) g->values[g->n_values] = (struct ir_value){.def = IR_NONE};
    g->values[*v] = value;
    return true;
}

// --- boundary and constants ------------------------------------------------------------------------------------------

// Initial values of weights are not in the text: they come from the value of the same role, name and type in `data`.
static const void *initial_data(const struct parser *p, const struct ir_value *v) {
    for (size_t i = 0; p->data && i < p->data->n_boundary; i++) {
        const struct ir_value *o = &p->data->values[p->data->boundary[i]];
        if (o->role == v->role && !strcmp(o->name, v->name) && ir_type_equal(&o->type, &v->type)) return o->data;
    }
    return NULL;
}

static bool boundary(struct parser *p) {
    ir_vid v;
    if (!definition(p, (struct ir_value){.def = IR_NONE}, &v)) return false;
    enum ir_role role = IR_ROLE_INPUT;
    while (role <= IR_ROLE_COTANGENT && !accept(p, ir_role_names[role])) role++;
    if (role > IR_ROLE_COTANGENT)
        return parse_error(p, "a role was expected: input, param, buffer, scalar or cotangent");
    struct ir_value *value = &p->g->values[v];
    value->role = role;
    if (!string(p, &value->name)) return false;
    value->data = initial_data(p, value);
    *ARENA_PUSH(p->g->arena, p->g->boundary, p->g->n_boundary, p->g->cap_boundary) = v;
    return true;
}

static bool const_by_hash(struct parser *p, struct ir_value *c) {
    char *end;
    uint64_t want = strtoull(p->at, &end, 16);
    if (end - p->at != 16) return parse_error(p, "a hash of 16 hexadecimal digits was expected");
    for (size_t i = 0; p->data && i < p->data->n_values; i++) {
        const struct ir_value *o = &p->data->values[i];
        if (o->role != IR_ROLE_CONST || !ir_type_equal(&o->type, &c->type) || ir_const_hash(&o->type, o->data) != want)
            continue;
        c->data = o->data;
        p->at = end;
        return true;
    }
    return parse_error(p, "the constant #%016" PRIx64 " is too large to be in the text; give the graph it comes from",
                       want);
}

// An integer that type t holds.
static bool element_int(struct parser *p, enum ir_dtype t, int64_t *i) {
    skip_blanks(p);
    if (t == IR_U64 && isdigit((unsigned char)*p->at)) { // beyond int64_t
        char *end;
        errno = 0;
        *i = (int64_t)strtoull(p->at, &end, 10);
        if (errno) return parse_error(p, "the number is out of range");
        p->at = end;
        return true;
    }
    if (!integer(p, i)) return false;
    if (*i < ir_int_min(t) || *i > ir_int_max(t) || t == IR_U64)
        return parse_error(p, "%" PRId64 " is out of range for %s", *i, ir_dtype_name(t));
    return true;
}

static bool const_element(struct parser *p, enum ir_dtype t, void *data, int64_t at) {
    double f = 0;
    int64_t i = 0;
    bool integral = false;
    if (ir_is_float(t) ? !number(p, &f, &integral) : !element_int(p, t, &i)) return false;
    if (ir_is_float(t))
        ir_put_float(t, data, (size_t)at, f);
    else
        ir_put_int(t, data, (size_t)at, i);
    return true;
}

static bool constant(struct parser *p, ir_vid v) {
    struct ir_value *c = &p->g->values[v];
    c->role = IR_ROLE_CONST;
    if (ir_is_batched(&c->type) || !ir_is_row_major(&c->type))
        return parse_error(p, "a constant must be row-major and cannot depend on the batch size");
    if (accept(p, "#")) return const_by_hash(p, c);
    int64_t n = ir_numel(&c->type);
    if (n > IR_INLINE_CONST_MAX)
        return parse_error(p, "at most %d elements can be given in the text", IR_INLINE_CONST_MAX);
    void *data = arena_alloc(p->g->arena, ir_type_bytes(&c->type));
    if (!expect(p, "[")) return false;
    for (int64_t i = 0; i < n; i++) {
        if ((i && !expect(p, ",")) || !const_element(p, c->type.dtype, data, i)) return false;
    }
    c->data = data;
    return expect(p, "]");
}

// --- nodes -----------------------------------------------------------------------------------------------------------

static bool int_list(struct parser *p, struct ir_attr *a) {
    int64_t *v = NULL;
    size_t cap = 0;
    a->kind = IR_ATTR_INTS;
    while (!accept(p, "]")) {
        int64_t k;
        if ((a->n && !expect(p, ",")) || !integer(p, &k)) return false;
        *ARENA_PUSH(p->g->arena, v, a->n, cap) = k;
    }
    a->ints = v;
    return true;
}

static bool attribute(struct parser *p, struct ir_attr *a) {
    char name[32];
    if (!word(p, name, sizeof name, "the name of an attribute") || !expect(p, "=")) return false;
    *a = (struct ir_attr){.name = arena_strdup(p->g->arena, name)};
    skip_blanks(p);
    if (accept(p, "[")) return int_list(p, a);
    if (*p->at == '"') {
        a->kind = IR_ATTR_STR;
        return string(p, &a->s);
    }
    const char *start = p->at;
    bool integral = false;
    if (!number(p, &a->f, &integral)) return false;
    a->kind = IR_ATTR_FLOAT;
    if (!integral) return true;
    a->kind = IR_ATTR_INT;
    p->at = start; // again, because a double does not hold every int64
    return integer(p, &a->i);
}

// Schema errors come without a position: it is put before them.
static void with_position(void *env, enum diag_severity sev, const char *line) {
    (void)sev;
    const char *colon = strstr(line, ": ");
    parse_error(env, "%s", colon ? colon + 2 : line);
}

static bool attributes(struct parser *p, struct ir_node *n) {
    struct ir_attr attrs[IR_MAX_ATTRS + 1];
    size_t count = 0;
    if (accept(p, "{")) {
        do {
            if (count == IR_MAX_ATTRS) return parse_error(p, "too many attributes");
            if (!attribute(p, &attrs[count])) return false;
            count++;
        } while (accept(p, ","));
        if (!expect(p, "}")) return false;
    }
    struct diag placed = {.sink = with_position, .env = p}, *own = p->g->diag;
    p->g->diag = &placed;
    bool ok = ir_attrs_set(p->g, n, attrs, count);
    p->g->diag = own;
    return ok;
}

static bool operands(struct parser *p, struct ir_node *n) {
    ir_vid in[UINT8_MAX];
    size_t count = 0;
    if (!expect(p, "(")) return false;
    while (!accept(p, ")")) {
        if (count && !expect(p, ",")) return false;
        if (count == ir_ops[n->op].in_max)
            return parse_error(p, "%s takes at most %d operands", ir_ops[n->op].name, ir_ops[n->op].in_max);
        in[count] = IR_NONE;
        if (!accept(p, "_") && !use(p, &in[count])) return false;
        count++;
    }
    if (count < ir_ops[n->op].in_min)
        return parse_error(p, "%s takes at least %d operands", ir_ops[n->op].name, ir_ops[n->op].in_min);
    n->n_in = (uint8_t)count;
    n->in = arena_dup(p->g->arena, in, count * sizeof *in);
    return true;
}

static bool location(struct parser *p, struct diag_loc *loc) {
    if (!accept(p, "@")) return true;
    return expect(p, "(") && optional_string(p, &loc->node) && expect(p, ",") && optional_string(p, &loc->op) &&
           expect(p, ",") && optional_string(p, &loc->note) && expect(p, ")");
}

// Everything after "%1: T, %2: T =".
static bool node(struct parser *p, const ir_vid *out, size_t n_out) {
    struct ir_node n = {.phase = (uint8_t)p->phase};
    char name[48];
    n.is_inline = accept(p, "inline");
    if (!word(p, name, sizeof name, "the name of an op")) return false;
    n.op = ir_op_by_name(name);
    if (n.op == IR_OP_NONE) return parse_error(p, "unknown op '%s'", name);
    if (ir_ops[n.op].n_out != n_out)
        return parse_error(p, "%s has %d results; %zu are named", name, ir_ops[n.op].n_out, n_out);
    if (!operands(p, &n) || !attributes(p, &n) || !location(p, &n.loc)) return false;
    struct ir_graph *g = p->g;
    n.n_out = (uint8_t)n_out;
    n.out = arena_dup(g->arena, out, n_out * sizeof *out);
    for (size_t k = 0; k < n_out; k++) {
        g->values[out[k]].def = (ir_nid)g->n_nodes;
        g->values[out[k]].def_index = (uint8_t)k;
    }
    *ARENA_PUSH(g->arena, g->nodes, g->n_nodes, g->cap_nodes) = n;
    return true;
}

static bool statement(struct parser *p) {
    ir_vid out[8];
    size_t n = 0;
    do {
        if (n == sizeof out / sizeof *out) return parse_error(p, "too many results");
        if (!definition(p, (struct ir_value){.role = IR_ROLE_NODE, .def = IR_NONE}, &out[n])) return false;
        n++;
    } while (accept(p, ","));
    if (!expect(p, "=")) return false;
    return n == 1 && accept(p, "const") ? constant(p, out[0]) : node(p, out, n);
}

static bool output(struct parser *p) {
    struct ir_output o = {.kind = IR_OUT_OUTPUT};
    while (o.kind <= IR_OUT_BUFFER && !accept(p, ir_out_names[o.kind])) o.kind++;
    if (o.kind > IR_OUT_BUFFER)
        return parse_error(p, "the kind of the result was expected: output, grad_param, grad_input or buffer");
    if (!string(p, &o.name) || !use(p, &o.value)) return false;
    *ARENA_PUSH(p->g->arena, p->g->outputs, p->g->n_outputs, p->g->cap_outputs) = o;
    return true;
}

// --- the whole -------------------------------------------------------------------------------------------------------

static bool graph(struct parser *p) {
    char name[256];
    if (!expect(p, "graph") || !expect(p, "@")) return false;
    if (*p->at == '"') {
        if (!string(p, &p->g->name)) return false;
    } else {
        if (!word(p, name, sizeof name, "the name of the graph")) return false;
        p->g->name = arena_strdup(p->g->arena, name);
    }
    if (!expect(p, "(")) return false;
    for (bool first = true; !accept(p, ")"); first = false) {
        if ((!first && !expect(p, ",")) || !boundary(p)) return false;
    }
    if (!expect(p, "{")) return false;
    while (!accept(p, "}")) {
        if (accept(p, "forward:"))
            p->phase = IR_FORWARD;
        else if (accept(p, "backward:"))
            p->phase = IR_BACKWARD;
        else if (accept(p, "return") ? !output(p) : !statement(p))
            return false;
    }
    skip_blanks(p);
    if (*p->at) return parse_error(p, "text after the end of the graph");
    for (size_t v = 0; v < p->n_ids; v++) {
        if (p->used[v] && !p->defined[v]) return parse_error(p, "%%%zu is used but never defined", v);
    }
    return true;
}

struct ir_graph *ir_parse_with(struct arena *a, struct diag *d, const char *text, const struct ir_graph *data) {
    struct parser p = {.g = ir_graph_new(a, d, NULL), .d = d, .text = text, .at = text, .data = data};
    size_t marks = 0;
    for (const char *s = text; *s; s++) marks += *s == '%';
    p.n_ids = 1024 + 64 * marks;
    p.defined = xcalloc(p.n_ids, sizeof *p.defined);
    p.used = xcalloc(p.n_ids, sizeof *p.used);
    bool ok = graph(&p);
    free(p.defined);
    free(p.used);
    return ok ? p.g : NULL;
}

struct ir_graph *ir_parse(struct arena *a, struct diag *d, const char *text) { return ir_parse_with(a, d, text, NULL); }
