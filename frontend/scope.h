// Names in scope while nodes are imported: a hash map per graph, subgraph or function body, with a parent for captures.
#ifndef SMKD_FE_SCOPE_H
#define SMKD_FE_SCOPE_H

#include "onnx_internal.h"

struct fe_slot {
    const char *name;
    struct fe_val *val;              // NULL until its node has been imported
    size_t producer;                 // index of the node that makes it, SIZE_MAX for none
    bool used;                       // read by a live node or an output
    const Onnx__TypeProto *declared; // what the file says of a node's result, or NULL
};
struct fe_scope {
    struct fe_scope *parent;         // NULL for the main graph and function bodies
    const struct fe_node *call;      // function bodies: the calling node, for ref_attr_name
    const Onnx__FunctionProto *fn;   // NULL elsewhere
    Onnx__AttributeProto **defaults; // of attributes that the call leaves out
    size_t n_defaults;
    struct fe_infos {
        Onnx__ValueInfoProto **v;
        size_t n;
    } infos[2];            // what the file declares of values in here
    struct fe_slot *slots; // open addressing, power of two
    size_t n, cap;
};
struct fe_slot *fe_scope_find(struct fe_scope *s, const char *name); // this scope only; NULL when absent
struct fe_slot *fe_scope_add(struct fe_scope *s, struct arena *a, const char *name); // finds or makes
struct fe_val *fe_scope_value(struct fe_scope *s, const char *name);                 // here or in a parent; may be NULL

// Imports the nodes of one body that `outputs` need. Results are left in the scope. Reports names produced twice, names
// nobody produces, and cycles.
void fe_run_nodes(struct fe_ctx *c, struct fe_scope *s, Onnx__NodeProto **nodes, size_t n, const char *const *outputs,
                  size_t n_outputs);
// Imports one node: folds it, runs its table row, or inlines the function it calls (import.c).
void fe_import_node(struct fe_ctx *c, struct fe_scope *s, const Onnx__NodeProto *p);
struct fe_val *fe_val_new(struct fe_ctx *c, const char *name);
// A tensor of the file; `key` is what its meaning is known by: the initializer itself, or the Constant node.
struct fe_val *fe_val_blob(struct fe_ctx *c, const struct diag_loc *loc, const Onnx__TensorProto *t, const char *name,
                           const void *key);
void fe_add_initializers(struct fe_ctx *c, struct fe_scope *s, const Onnx__GraphProto *g);

#endif
