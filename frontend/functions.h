// Operators that are functions of others (functions.def).
#ifndef SMKD_FE_FUNCTIONS_H
#define SMKD_FE_FUNCTIONS_H

#include "onnx_internal.h"

struct fe_builtin {
    const Onnx__FunctionProto *fn;
    int since;         // the first opset that has the operator
    const char *unmet; // nothing makes its first result: the attribute ("": unknown which) that has no such value
};
// The body of an operator as node p calls it, of which the operands `present` are there; false: no row has it.
bool fe_builtin(struct arena *a, const Onnx__NodeProto *p, const bool *present, struct fe_builtin *out);
// What node p runs: a function of the file, or a row's; false: an operator.
bool fe_body_of(struct arena *a, const Onnx__ModelProto *m, const Onnx__NodeProto *p, struct fe_builtin *out);
// Attributes of a function of the file that have a default, which holds where a call leaves them out.
Onnx__AttributeProto **fe_function_defaults(struct arena *a, const Onnx__FunctionProto *f, size_t *n);

#endif
