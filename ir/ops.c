// The op table: ops.def as data.
#include "ir.h"

#include "ops/ops_internal.h"

#include <string.h>

// An absent hook is spelled `none` in ops.def.
#define ir_vjp_none    NULL
#define ir_expand_none NULL

// The text form of an op is its id, but for these: IR_TEXT_<id> inserts a name before the id's.
#define IR_TEXT_smkd_threshold ~, "smkd.threshold"
#define IR_TEXT_smkd_select    ~, "smkd.select"
#define IR_TEXT_smkd_trust     ~, "smkd.trust"
#define IR_TEXT_smkd_refine    ~, "smkd.refine"
#define SECOND_OF(a, b, ...)   b
#define SECOND(...)            SECOND_OF(__VA_ARGS__)

const struct ir_op_info ir_ops[IR_OP_COUNT] = {
    [IR_OP_NONE] = {.name = "none", .schema = "", .doc = "no op"},
#define OP(id, kind_, in_min_, in_max_, n_out_, schema_, infer_, vjp_, expand_, eval_, doc_)                           \
    [IR_OP_##id] = {.name = SECOND(IR_TEXT_##id, #id, ~),                                                              \
                    .kind = IR_KIND_##kind_,                                                                           \
                    .in_min = in_min_,                                                                                 \
                    .in_max = in_max_,                                                                                 \
                    .n_out = n_out_,                                                                                   \
                    .schema = schema_,                                                                                 \
                    .infer = ir_infer_##infer_,                                                                        \
                    .vjp = ir_vjp_##vjp_,                                                                              \
                    .expand = ir_expand_##expand_,                                                                     \
                    .eval = ir_eval_##eval_,                                                                           \
                    .doc = doc_},
#include "ops.def"
#undef OP
};

enum ir_op ir_op_by_name(const char *name) {
    for (int op = 1; op < IR_OP_COUNT; op++) {
        if (!strcmp(ir_ops[op].name, name)) return (enum ir_op)op;
    }
    return IR_OP_NONE;
}
