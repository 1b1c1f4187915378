// Where the numbers of a file go: for every value of a graph, what reads it, and whether it reaches a result as a
// number or only decides shapes, bounds, exponents and the like. Looks at names and operators alone, before anything is
// imported, through functions and branches.
#ifndef SMKD_FE_FLOW_H
#define SMKD_FE_FLOW_H

#include "onnx_internal.h"

// What a value is used for, a set. DATA: some output of the model is computed with it. All others are operands that are
// attributes in spirit.
enum fe_reach {
    FE_REACH_DATA = 1 << 0,
    FE_REACH_SHAPE = 1 << 1,    // sizes, scales of Resize, pads, repeats
    FE_REACH_INDEX = 1 << 2,    // positions, axes
    FE_REACH_BOUND = 1 << 3,    // of Clip
    FE_REACH_RATIO = 1 << 4,    // of dropout
    FE_REACH_MASK = 1 << 5,     // conditions and what they compare with
    FE_REACH_FILL = 1 << 6,     // what Pad and OneHot fill with
    FE_REACH_QUANTUM = 1 << 7,  // scales and zero points of quantisation
    FE_REACH_EXPONENT = 1 << 8, // of Pow
};
struct fe_flow_use {
    uint32_t node, operand;
};
struct fe_flow_value {
    const char *name;
    uint32_t node;          // that makes it, in its body; FE_FLOW_NONE: an operand, an initializer
    uint32_t first, n_uses; // in its body's uses
    unsigned reach;
    bool queued, captured; // captured: read by a branch, too
    bool stored;           // an initializer of the main graph
};
#define FE_FLOW_NONE UINT32_MAX

// The nodes of a graph, of a branch, or of a function as one node calls it.
struct fe_flow {
    struct fe_flow_shared *shared;
    struct fe_flow *parent, *next; // whose values a branch captures; the node's next branch
    int depth;
    Onnx__NodeProto **nodes;
    size_t n_nodes;
    struct fe_flow **inner; // by node: the function or the branches it runs; NULL entries for all others
    char **params, **results;
    size_t n_params, n_results;
    struct fe_flow_value *values;
    size_t n_values, cap_values;
    uint32_t *table; // of names: 1 + index into values
    size_t cap_table;
    struct fe_flow_use *uses;
    uint32_t *todo;
    size_t n_todo;
};

struct fe_flow *fe_flow_new(struct arena *a, const Onnx__ModelProto *m);
struct fe_flow_value *fe_flow_find(const struct fe_flow *f, const char *name); // NULL: no such name in this body
// The node that makes a value; NULL where none does.
const Onnx__NodeProto *fe_flow_producer(const struct fe_flow *f, const char *name);
// The attribute an operand stands for, or 0 where it is an ordinary one.
unsigned fe_flow_slot(const Onnx__NodeProto *p, size_t operand);
// Whether a result is operand 0 elsewhere or otherwise: its elements are the operand's.
bool fe_flow_moves(const Onnx__NodeProto *p, size_t operand);
// The name under which what a node runs, a function or the body of a loop, has its operand; NULL: it has none.
const char *fe_flow_inside(const struct fe_flow *f, size_t node, size_t operand);
bool fe_flow_is(const Onnx__NodeProto *p, const char *op); // false for NULL

#endif
