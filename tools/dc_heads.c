// What training looks at: which output holds the logits, and whether samples of a batch meet on the way.
#include "dc.h"

#include <string.h>

static void list_heads(const struct dc_model *m, const struct ir_head *heads, size_t n, struct str *out) {
    for (size_t i = 0; i < n; i++) {
        str_addf(out, "%s\"%s\" ", i ? ", " : "", heads[i].output);
        ir_print_type(&m->imported->values[heads[i].value].type, out);
    }
    if (!n) str_add(out, "none");
}

enum smkd_status dc_find_heads(struct dc_model *m, const char *logits) {
    struct ir_graph *g = m->imported;
    struct str all = STR_INIT;
    m->n_heads = ir_heads(g, &m->arena, &m->heads);
    list_heads(m, m->heads, m->n_heads, &all);
    struct ir_head *one = ARENA_NEW(&m->arena, struct ir_head);
    bool found = logits && ir_head_named(g, logits, one);
    if (logits && !found)
        diag_error(
            &m->diag, NULL,
            "--logits %s: the model has no output or value of that name and shape [N,classes]; its outputs of that "
            "shape: %s",
            logits, all.s);
    if (found) {
        m->heads = one;
        m->n_heads = 1;
    }
    for (size_t i = 0; i < m->n_heads; i++) {
        struct ir_head *h = &m->heads[i];
        ir_head_attach(g, h);
        if (h->op)
            diag_note(&m->diag, &h->loc,
                      "output \"%s\" is its result: losses apply their own, and training takes what goes "
                      "into it, \"%s\", for logits",
                      h->output, h->logits);
    }
    if (m->n_heads > 1 && !logits)
        diag_note(&m->diag, NULL,
                  "several outputs could be logits: %s; say which with --logits NAME, here or in smkd-run train",
                  all.s);
    str_release(&all);
    return logits && !found ? SMKD_INVALID : SMKD_OK;
}

bool dc_is_added(const struct dc_model *m, const char *output) {
    for (size_t i = 0; i < m->n_heads; i++)
        if (m->heads[i].added && !strcmp(m->heads[i].logits, output)) return true;
    for (size_t i = 0; i < m->n_taps; i++)
        if (!strcmp(m->taps[i], output)) return true;
    return false;
}

// Behind the heads, which they are none of.
void dc_attach_taps(struct dc_model *m) {
    struct ir_graph *g = m->imported;
    size_t n;
    const struct fe_tap *taps = fe_taps(m->file, &n);
    m->taps = ARENA_ARRAY(&m->arena, const char *, n + 1);
    for (size_t i = 0; i < n; i++) {
        ir_vid x = taps[i].value;
        bool there = false, twice = g->values[x].role != IR_ROLE_NODE;
        for (size_t k = 0; k < g->n_outputs; k++) {
            there |= g->outputs[k].kind == IR_OUT_OUTPUT && !strcmp(g->outputs[k].name, taps[i].name);
            twice |= g->outputs[k].value == x;
        }
        m->taps[m->n_taps++] = taps[i].name;
        if (there) continue; // --logits names it: it is what is trained, too
        ir_set_output(g, IR_OUT_OUTPUT, taps[i].name, twice ? ir_unary(g, IR_OP_copy, x) : x);
    }
}

void dc_report_mixing(struct dc_model *m) {
    ir_nid n = ir_first_mixing(m->infer);
    if (n == IR_NONE) return;
    m->mixing = m->infer->nodes[n].loc;
    if (!m->mixing.node) m->mixing.node = ir_ops[m->infer->nodes[n].op].name;
    diag_warning(
        &m->diag, &m->mixing,
        "it computes with all samples of a batch: results depend on what else is in it, so that smkd-run infer "
        "takes all samples in one run (--max-batch), and in training the loss of one depends on the others");
}
