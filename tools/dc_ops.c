// smkdc ops: the op table as text; docs/ops.md is `smkdc ops --markdown`.
#include "dc.h"

#include <string.h>

static const struct args_opt opts[] = {{"markdown", 0, NULL, NULL, "as docs/ops.md", 0}, {0}};
static const struct args_cmd cmd = {"smkdc ops", NULL, 0, 0, "Prints the op table of the graph IR.", opts};

static const struct {
    const char *name, *doc;
} kinds[] = {
    [IR_KIND_PW] = {"pointwise",
                    "one output element from the same-index element of each (broadcast) operand; fuses with anything"},
    [IR_KIND_VIEW] = {"view", "the same elements at other indices; never computed on its own"},
    [IR_KIND_RED] = {"reduction", "sum or maximum over axes of a pointwise expression, which fuses into it"},
    [IR_KIND_KERNEL] = {"kernel", "has machine code of its own"},
    [IR_KIND_EXPAND] = {"expands", "replaced by other ops before code generation; its gradient is theirs"},
};

static void operands(const struct ir_op_info *op, char *buf, size_t size) {
    if (op->in_min == op->in_max)
        snprintf(buf, size, "%d", op->in_min);
    else
        snprintf(buf, size, "%d-%d", op->in_min, op->in_max);
}

static const char *gradient(const struct ir_op_info *op) {
    return op->kind == IR_KIND_EXPAND ? "expansion" : op->vjp ? "yes" : "no";
}

// A cell may not contain the bar that ends it.
static void cell(const char *text) {
    for (; *text; text++) {
        if (*text == '|') putchar('\\');
        putchar(*text);
    }
}

static void markdown(void) {
    printf(
        "# Operators\n\n"
        "The graph IR's op table (`ir/ops.def`), written by `smkdc ops --markdown`: do not edit.\n\n"
        "- *attributes*: `name:type=default`, types `i` integer, `f` float, `I` integers, `s` string; no default: "
        "required.\n"
        "- *gradient*: \"no\" marks ops of integer or boolean results, and those that occur only in backward graphs;\n"
        "  \"expansion\" means that the ops it expands to are differentiated.\n"
        "- *kind*:\n");
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) printf("  - %s: %s\n", kinds[i].name, kinds[i].doc);
    printf("\n| op | kind | operands | results | gradient | attributes | meaning |\n|---|---|---|---|---|---|---|\n");
    for (int i = 0; i < IR_OP_COUNT; i++) {
        const struct ir_op_info *op = &ir_ops[i];
        char in[16];
        if (i == IR_OP_NONE) continue;
        operands(op, in, sizeof in);
        printf("| `%s` | %s | %s | %d | %s | %s%s%s | ", op->name, kinds[op->kind].name, in, op->n_out, gradient(op),
               *op->schema ? "`" : "", op->schema, *op->schema ? "`" : "");
        cell(op->doc);
        printf(" |\n");
    }
}

static void plain(void) {
    for (int i = 0; i < IR_OP_COUNT; i++) {
        const struct ir_op_info *op = &ir_ops[i];
        char in[16];
        if (i == IR_OP_NONE) continue;
        operands(op, in, sizeof in);
        printf("%-16s %-9s %5s -> %d  %s\n", op->name, kinds[op->kind].name, in, op->n_out, op->doc);
    }
}

int dc_ops(int argc, char **argv) {
    struct args a;
    enum args_result r = args_parse(&a, &cmd, argc, argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    if (args_given(&a, "markdown"))
        markdown();
    else
        plain();
    args_release(&a);
    return EXIT_DONE;
}
