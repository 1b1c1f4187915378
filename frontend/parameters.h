// What is a parameter: the parts of the rule in parameters.c.
#ifndef SMKD_FE_PARAMETERS_H
#define SMKD_FE_PARAMETERS_H

#include "flow.h"

// A float tensor of the main graph: an initializer, or what a Constant node makes. The two mean the same.
struct fe_float {
    const char *name;
    const void *key; // the TensorProto of an initializer, the NodeProto of a Constant node
    struct fe_blob blob;
    const char *kind;   // what the exporter calls it: "PARAMETER", "BUFFER" ...; NULL: it does not say
    const char *folded; // the names the exporter computed it from: "['scale', 'val_3']"; NULL: none
};

// --- what the exporter says (marks.c)

struct fe_dialect {
    bool marks;       // the exporter marks its parameters (PyTorch's default one)
    bool state_names; // names of PyTorch's state dict: what is not made up by the exporter is a parameter or a buffer
    bool torchscript; // a Constant of its naming is a constant: the weights are there under their own names
};
// Fills kind and folded of the tensors, which are sorted by name.
void fe_read_marks(struct arena *a, const Onnx__ModelProto *m, struct fe_float *ts, size_t n, struct fe_dialect *out);
// An exporter or optimizer made the name up for a constant: "/layer/Constant_3_output_0", "val_12".
bool fe_made_up(const char *name);
bool fe_torchscript_constant(const char *name);
// The name of a learned number: of a state dict, or one that says so ("logit_scale").
bool fe_learned_name(const struct fe_dialect *d, const char *name);
// All the names that a folded tensor was computed from are constants.
bool fe_folded_constants(const char *names);

// --- what the operators do with it (roles.c)

enum fe_role {                  // a set
    FE_ROLE_WEIGHT = 1 << 0,    // of a convolution, product, norm, table; a bias
    FE_ROLE_ANY = 1 << 1,       // arithmetic with data: it could be either
    FE_ROLE_STATISTIC = 1 << 2, // of BatchNormalization
    FE_ROLE_EXPONENT = 1 << 3,
    FE_ROLE_EPSILON = 1 << 4,    // added in front of a root, a logarithm, a division
    FE_ROLE_BOUND = 1 << 5,      // of Max or Min
    FE_ROLE_FILL = 1 << 6,       // of Where
    FE_ROLE_ACTIVATION = 1 << 7, // the numbers of a formula: 1 - x, 1 / x, GELU's, the scale of attention
    FE_ROLE_MASK = 1 << 8,       // zeros and -inf added, zeros and ones multiplied
    FE_ROLE_FILTER = 1 << 9,     // a depthwise convolution with one symmetric kernel for all channels
    FE_ROLE_INPUT = 1 << 10,     // mean and deviation of the model's input
};
// How `t` enters data; operands that are attributes in spirit are not in it.
unsigned fe_roles(const struct fe_flow *f, const Onnx__GraphProto *g, const struct fe_float *t);

#endif
