// The catalogue of optimizers as data: what they are called, which states they keep, which numbers they have and what
// PyTorch starts them with. Their mathematics are graphs (optim/); flags, checkpoints and the scalars of a step are
// made from these rows.
#ifndef SMKD_METHODS_OPTIMIZERS_H
#define SMKD_METHODS_OPTIMIZERS_H

#include "../base/base.h"

enum { OPTIMIZER_STATES = 2, OPTIMIZER_NUMBERS = 3 };

struct optimizer_number {
    const char *name; // of the program's scalar
    const char *flag; // of the command line
    double def;
};
struct optimizer {
    const char *name, *doc;
    const char *states[OPTIMIZER_STATES + 1];               // a number a parameter each, 0 at first; ends with NULL
    struct optimizer_number numbers[OPTIMIZER_NUMBERS + 1]; // ends with a NULL name
    double lr, weight_decay;                                // where none is given
    bool by_tensor; // looks at a tensor as a whole: tensors cannot be updated several at once
};
extern const struct optimizer optimizers[]; // ends with a NULL name

const struct optimizer *optimizer_find(const char *name); // NULL: there is none
// The names of all, "sgd, adam, ...", added to `out`.
void optimizer_names(struct str *out);
// The place of the number with that flag; -1: it has none.
int optimizer_number(const struct optimizer *o, const char *flag);

// A program's scalars are told by their names. X being one of the optimizer's numbers and t the step, from 1:
//
//   lr, weight_decay, X       themselves          keep        1 - lr weight_decay
//   rest.X                    1 - X               bias.X      1 - X^t
//   root_bias.X               sqrt(1 - X^t)       lr_bias.X   lr / (1 - X^t)
//
// All in float64, rounded once when the program reads them.
struct optimizer_now {
    double numbers[OPTIMIZER_NUMBERS];
    double lr, weight_decay;
    int64_t step;
};
// False where there is no such scalar.
bool optimizer_scalar(const struct optimizer *o, const struct optimizer_now *now, const char *name, double *v);

#endif
