// Graphs as text (ir/IR.md).
#include "ir_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

const char *const ir_role_names[] = {[IR_ROLE_INPUT] = "input",
                                     [IR_ROLE_PARAM] = "param",
                                     [IR_ROLE_BUFFER] = "buffer",
                                     [IR_ROLE_SCALAR] = "scalar",
                                     [IR_ROLE_COTANGENT] = "cotangent"};
const char *const ir_out_names[] = {[IR_OUT_OUTPUT] = "output",
                                    [IR_OUT_GRAD_PARAM] = "grad_param",
                                    [IR_OUT_GRAD_INPUT] = "grad_input",
                                    [IR_OUT_BUFFER] = "buffer"};

void ir_print_type(const struct ir_type *t, struct str *out) {
    char buf[24];
    str_addf(out, "%s[", t->narrow ? "bf16" : ir_dtype_name(t->dtype));
    for (int i = 0; i < t->rank; i++) str_addf(out, "%s%s", i ? "," : "", ir_dim_text(t->dims[i], buf));
    str_add(out, "]");
    if (ir_is_row_major(t)) return;
    for (int i = 0; i < t->rank; i++) str_addf(out, "%s%d", i ? "," : "{", t->perm[i]);
    str_add(out, "}");
}

uint64_t ir_const_hash(const struct ir_type *t, const void *data) {
    struct str s = STR_INIT;
    ir_print_type(t, &s);
    uint64_t h = fnv1a(FNV_INIT, s.s, s.len);
    str_release(&s);
    return fnv1a(h, data, (size_t)ir_numel(t) * ir_dtype_size(t->dtype));
}

static void print_string(const char *s, struct str *out) {
    str_add(out, "\"");
    while (*s) {
        const size_t n = strcspn(s, "\"\\");
        str_add_escaped(out, s, n);
        s += n;
        if (*s) str_addf(out, "\\%c", *s++);
    }
    str_add(out, "\"");
}

// A model may be called anything: what is no plain word goes in quotes.
static void print_name(const char *s, struct str *out) {
    bool plain = *s && strlen(s) < 200;
    for (const char *c = s; *c; c++) plain &= isalnum((unsigned char)*c) || *c == '_' || *c == '.';
    if (plain)
        str_add(out, s);
    else
        print_string(s, out);
}

static void print_float(double v, bool single, struct str *out) {
    if (isnan(v))
        str_add(out, "nan");
    else if (isinf(v))
        str_add(out, v < 0 ? "-inf" : "inf");
    else {
        // The fewest digits that read back as the same number.
        char buf[40];
        int digits = single ? 6 : 15, enough = single ? 9 : 17;
        do snprintf(buf, sizeof buf, "%.*g", digits, v);
        while (digits++ < enough && (single ? (double)strtof(buf, NULL) != v : strtod(buf, NULL) != v));
        str_add(out, buf);
    }
}

static void print_const(const struct ir_type *t, const void *data, struct str *out) {
    int64_t n = ir_numel(t);
    if (n > IR_INLINE_CONST_MAX) {
        str_addf(out, "#%016" PRIx64, ir_const_hash(t, data));
        return;
    }
    str_add(out, "[");
    for (int64_t i = 0; i < n; i++) {
        if (i) str_add(out, ", ");
        size_t k = (size_t)i;
        if (ir_is_float(t->dtype))
            print_float(ir_get_float(t->dtype, data, k), t->dtype == IR_F32, out);
        else if (t->dtype == IR_U64)
            str_addf(out, "%" PRIu64, (uint64_t)ir_get_int(t->dtype, data, k));
        else
            str_addf(out, "%" PRId64, ir_get_int(t->dtype, data, k));
    }
    str_add(out, "]");
}

static void print_attr(const struct ir_attr *a, struct str *out) {
    str_addf(out, "%s = ", a->name);
    switch (a->kind) {
    case IR_ATTR_INT:
        str_addf(out, "%" PRId64, a->i);
        break;
    case IR_ATTR_FLOAT: {
        size_t at = out->len;
        print_float(a->f, false, out);
        if (isfinite(a->f) && !strpbrk(out->s + at, ".e")) str_add(out, ".0"); // so that the kind can be read back
        break;
    }
    case IR_ATTR_INTS:
        str_add(out, "[");
        for (size_t i = 0; i < a->n; i++) str_addf(out, "%s%" PRId64, i ? ", " : "", a->ints[i]);
        str_add(out, "]");
        break;
    case IR_ATTR_STR:
        print_string(a->s, out);
        break;
    }
}

static void print_node(const struct ir_graph *g, const struct ir_node *n, struct str *out) {
    str_add(out, "  ");
    for (int k = 0; k < n->n_out; k++) {
        str_addf(out, "%s%%%u: ", k ? ", " : "", n->out[k]);
        ir_print_type(&g->values[n->out[k]].type, out);
    }
    str_addf(out, " = %s%s(", n->is_inline ? "inline " : "", ir_ops[n->op].name);
    for (int k = 0; k < n->n_in; k++) {
        if (k) str_add(out, ", ");
        if (n->in[k] == IR_NONE)
            str_add(out, "_");
        else
            str_addf(out, "%%%u", n->in[k]);
    }
    str_add(out, ")");
    for (int k = 0; k < n->n_attrs; k++) {
        str_add(out, k ? ", " : " {");
        print_attr(&n->attrs[k], out);
    }
    if (n->n_attrs) str_add(out, "}");
    if (n->loc.node || n->loc.op || n->loc.note) { // where it came from
        str_add(out, " @(");
        const char *part[3] = {n->loc.node, n->loc.op, n->loc.note};
        for (int k = 0; k < 3; k++) {
            if (k) str_add(out, ", ");
            if (part[k])
                print_string(part[k], out);
            else
                str_add(out, "_");
        }
        str_add(out, ")");
    }
    str_add(out, "\n");
}

void ir_print(const struct ir_graph *g, struct str *out) {
    str_add(out, "graph @");
    print_name(g->name ? g->name : "", out);
    str_add(out, "(");
    for (size_t i = 0; i < g->n_boundary; i++) {
        const struct ir_value *v = &g->values[g->boundary[i]];
        str_addf(out, "%s\n    %%%u: ", i ? "," : "", g->boundary[i]);
        ir_print_type(&v->type, out);
        str_addf(out, " %s ", ir_role_names[v->role]);
        print_string(v->name ? v->name : "", out);
    }
    str_add(out, ") {\n");
    for (size_t v = 0; v < g->n_values; v++) {
        if (g->values[v].role != IR_ROLE_CONST) continue;
        str_addf(out, "  %%%zu: ", v);
        ir_print_type(&g->values[v].type, out);
        str_add(out, " = const ");
        print_const(&g->values[v].type, g->values[v].data, out);
        str_add(out, "\n");
    }
    uint8_t phase = IR_FORWARD;
    for (size_t i = 0; i < g->n_nodes; i++) {
        if (g->nodes[i].phase != phase) str_add(out, phase == IR_FORWARD ? "  backward:\n" : "  forward:\n");
        phase = g->nodes[i].phase;
        print_node(g, &g->nodes[i], out);
    }
    for (size_t i = 0; i < g->n_outputs; i++) {
        str_addf(out, "  return %s ", ir_out_names[g->outputs[i].kind]);
        print_string(g->outputs[i].name, out);
        str_addf(out, " %%%u\n", g->outputs[i].value);
    }
    str_add(out, "}\n");
}
