// The catalogue of training methods as data: what they are called, what they come from, which numbers and switches they
// have. Their mathematics are graphs (losses/), one builder for each family; a method is a row: a family and what it
// sets in it. Command lines, config.json, `smkd-run methods` and the key of a compiled program are made from these
// rows.
#ifndef SMKD_METHODS_H
#define SMKD_METHODS_H

#include "../base/base.h"

enum { METHOD_PARAMS = 32, METHOD_MAX_PEERS = 16, METHOD_LONGEST_WORD = 200 };

enum method_kind { METHOD_NUMBER, METHOD_WORD, METHOD_ANY_WORD, METHOD_FLAG };
struct method_param {
    const char *name;  // of the flag; in config.json with _ for -
    const char *value; // what --help calls the value; NULL for a flag
    enum method_kind kind;
    const char *def;          // as text, "A|B" for A up to 10 classes and B above; NULL for a flag, which is off
    double min, max;          // of a number
    bool infinite;            // infinity of either sign is a value, too
    const char *const *words; // of a word; ends with NULL. A METHOD_ANY_WORD has none: it is a name of the user's
    const char *help;         // NULL: no flag of its own, a method's row sets it
    // The program's run-time scalar that a number is. NULL: a switch, which makes another program. A number with both a
    // scalar and `optional` is a switch in so far as a program for 0 does not have it.
    const char *scalar;
    bool optional;
    // "WORD=VALUE|VALUE,WORD=VALUE": means something only where other parameters of the family have such values. NULL:
    // always.
    const char *only;
    bool of_run; // a word that a run looks at: the program is the same for all of them
};

// Values of a family's parameters, by their place in its list. Words are those of the list, or live as long as the
// program, so that values are copied as they are.
struct method_values {
    double number[METHOD_PARAMS];
    const char *word[METHOD_PARAMS];
    bool flag[METHOD_PARAMS];
};

// How a table or a state of a program starts: one that no row names starts as zeros.
enum method_start { METHOD_VALUE, METHOD_ONE_HOT, METHOD_NORMAL, METHOD_SHARES, METHOD_KAIMING, METHOD_IDENTITY };
struct method_begin {
    const char *name; // "table.NAME" or "state.NAME", without the peer
    enum method_start start;
    double value; // VALUE: of every number; ONE_HOT: unused, the given labels; NORMAL: the deviation around 0; SHARES:
                  // unused, of a state of as many numbers as there are classes: their shares of the given labels;
                  // KAIMING: of a state [out,in,..], a layer's weight: uniform between -value and value over the root
                  // of its fan-in, in times what is behind it (1: PyTorch's own layers; root of 6: He 2015 for relu);
                  // IDENTITY: unused, a state [C,C]
};

// Of which images a step is made, for each row of its batch. Views are augmented independently of each other and count
// from 0; view 0 is what a step with one view is made of, and whose label the row has.
enum { METHOD_MAX_VIEWS = METHOD_MAX_PEERS, METHOD_ALL_VIEWS = -1 };
enum method_image {
    METHOD_ROW,     // of the row's own image
    METHOD_PARTNER, // of another image with the same given label
    METHOD_MORE     // of an image that the pass does not have as rows
};
struct method_view {
    enum method_image of;
    bool strong; // augmented by the policy that the parameter strong-augment names, beside the run's own flags
};
struct method_views {
    int count;
    struct method_view view[METHOD_MAX_VIEWS];
    // Each peer sees all of them as one batch, image i * count + v: its logits.K and grad.K are [N,V,C]. Else one: peer
    // K sees view peer[K], forward and backward.
    bool stacked;
    int peer[METHOD_MAX_PEERS];
    int feed;   // which one teachers, averages and guesses see; METHOD_ALL_VIEWS: all, and what they say is [N,V,C]
    bool mixes; // its passes may mix
};

// How an epoch goes through the images.
struct method_pass {
    bool narrow; // of view 0 alone: where a program asks for several, all are that one
    double mix;  // images are mixed with others of their batch: alpha of the Beta distribution; 0: they are not
    bool each;   // one pass for each peer, in which it alone is trained
    // The images come by a table [D] of 0 and 1, "table.NAME", of the peer whose pass it is, or of the other one: those
    // with 1 as rows, the others as METHOD_MORE. Where there are none of one kind, all images take their place. NULL:
    // all come as rows.
    const char *rows;
    bool of_other;
};

// Blind knowledge distillation: how many epochs what the networks said of the labels is kept, by which its hook makes
// so many groups of images.
enum { METHOD_BLIND_EPOCHS = 4, METHOD_BLIND_GROUPS = 4 };
enum { METHOD_SPLIT_EPOCHS = 5 };  // whose losses DivideMix may average
enum { METHOD_DMI_CLASSES = 200 }; // beyond which a determinant takes too many steps

// A part of a run with a length and a rate of its own. Between two of them the networks go on, or begin anew.
struct method_stage {
    const char *name;   // what people are told: "estimate"
    const char *epochs; // the number that says how many; NULL, or where that is 0: --epochs
    const char *rate;   // the number that is its learning rate, which is then constant; NULL: --lr and its schedule
    bool anew;          // begins with the numbers that the networks came with
    const char *only;   // as of a parameter
    const char *part;   // the word that names a part of each network: it begins anew, and is trained alone; NULL: none
};

// When something is: an epoch of a stage, both from 1.
struct method_moment {
    const struct method_stage *stage;
    int64_t epoch, epochs; // of all that it has
};

struct method;
struct method_family {
    const char *name, *doc;
    // Ends with a NULL name. A number called `rounds` that is more than 1: the method has so many stages of --epochs,
    // and between two of them what a network has become turns into its teacher, and the network begins anew.
    const struct method_param *params;
    const struct method_stage *stages; // ends with a NULL name; NULL: one of --epochs, or `rounds`
    int64_t most_classes;              // 0: as many as any
    // What a person should know of values that are right, with so many classes and images a batch. False: nothing.
    bool (*warn)(const struct method *m, const struct method_values *v, int64_t classes, int64_t batch,
                 struct str *out);
    bool regression; // learns numbers (`targets`) instead of classes (`labels`)
    // Whether the loss of a batch is the mean of its rows' losses, each of which depends on its own row alone: then
    // batches may be summed up in parts. NULL: always.
    bool (*by_rows)(const struct method *m, const struct method_values *v);
    // What is wrong with values that are possible one by one, with what to do; NULL: nothing. Peers 0: not known yet.
    const char *(*refuse)(const struct method *m, const struct method_values *v, int peers);
    // Whether it learns from a frozen network that a user gives. NULL: never.
    bool (*teacher)(const struct method *m, const struct method_values *v);
    // Fills in who sees which views of an image; `out` is one view for all. NULL: that.
    void (*views)(const struct method *m, const struct method_values *v, int peers, struct method_views *out);
    // Fills in how an epoch goes through the images; `out` is one pass through all. NULL: that.
    void (*pass)(const struct method *m, const struct method_values *v, const struct method_moment *at,
                 struct method_pass *out);
    // Whether all training images are looked at, without training, before this epoch (from 1). NULL: never.
    bool (*survey)(const struct method *m, const struct method_values *v, const struct method_moment *at);
    // Whether it is the validation images that are looked at then. NULL: never.
    bool (*held_out)(const struct method *m, const struct method_values *v);
    bool taps;          // looks at outputs inside networks and at their sides (tap.K.NAME, teacher.K.NAME)
    const char *inside; // which of them it needs, for people; NULL: none, or heads
    bool (*predicts)(const struct method *m, const struct method_values *v); // has a program that predicts; NULL: never
    const char *edit; // what becomes of the gradients before the update (runtime/edits.h); NULL: nothing
    const char *hook; // what happens after each epoch beside programs (runtime/hooks.h); NULL: nothing
    const struct method_begin *begins; // ends with a NULL name; NULL: every table and state starts as zeros
};

struct method {
    const char *name;
    const struct method_family *family;
    const char *set; // "gate=below,b2=0,eta:2|3": parameters of the family that it fixes, and others' defaults
    int least, most; // peers
    const char *doc, *paper;
};
extern const struct method methods[];  // ends with a NULL name
extern const struct method method_own; // of a loss that a user wrote: no numbers, any networks

const struct method *method_find(const char *name); // NULL: there is none
// The names of all, "smkd-p, smkd-s, ...", added to `out`.
void method_names(struct str *out);
// A parameter of the family by its name, and its place; NULL: it has none.
const struct method_param *method_param(const struct method *m, const char *name, int *place);
// The text of what the method itself fixes; NULL where it is free.
const char *method_fixed(const struct method *m, const struct method_param *p, char text[32]);
// The text of what a parameter is where nobody sets it: fixed, the method's default, the family's, "false" for a flag.
const char *method_default(const struct method *m, const struct method_param *p, char text[32]);

// Every parameter's default, or what the method fixes. A number whose default depends on the classes is NaN until
// method_resolve.
void method_defaults(const struct method *m, struct method_values *v);
void method_resolve(const struct method *m, struct method_values *v, int64_t classes);
// Sets the parameter at `place` from text ("auto": its default). Flags take "true" or "false". False: it does not take
// that.
bool method_set(const struct method *m, struct method_values *v, int place, const char *text);
// The same with a message where that is not possible, or not in this method: "--refine mylk: expected one of ...",
// added to `wrong`; `v` is then unchanged. Text "" turns a flag on.
bool method_assign(const struct method *m, struct method_values *v, int place, const char *text, struct str *wrong);
// "a number from 0 to 1", "one of K, N, typo": what a parameter takes, added to `out`.
void method_expected(const struct method_param *p, struct str *out);
// Whether the parameter means something beside these values (its `only`); beside NULL: whether it can, with what the
// method leaves free.
bool method_matters(const struct method *m, const struct method_values *v, const struct method_param *p);
// The family's questions, answered.
bool method_by_rows(const struct method *m, const struct method_values *v);
const char *method_refuse(const struct method *m, const struct method_values *v, int peers);
struct method_views method_views(const struct method *m, const struct method_values *v, int peers);
struct method_pass method_pass(const struct method *m, const struct method_values *v, const struct method_moment *at);
// The views in a program's logits: 1, where it is [N,C].
int method_stacked(const struct method *m, const struct method_values *v);
bool method_survey(const struct method *m, const struct method_values *v, const struct method_moment *at);
bool method_held_out(const struct method *m, const struct method_values *v);
// Its `rounds`, or 1.
int64_t method_rounds(const struct method *m, const struct method_values *v);
// The stage at a place, from 0: a round, or one of the family's that matters beside these values. False: there is none,
// it has fewer. Values are resolved.
bool method_stage(const struct method *m, const struct method_values *v, int64_t at, struct method_stage *out);
// How many epochs that stage has, and all of them together, of --epochs; of values that are not resolved, a guess.
int64_t method_epochs(const struct method *m, const struct method_values *v, const struct method_stage *s,
                      int64_t epochs);
int64_t method_all_epochs(const struct method *m, const struct method_values *v, int64_t epochs);
// By name; a name that the family lacks is a BUG.
double method_number(const struct method *m, const struct method_values *v, const char *name);
const char *method_word(const struct method *m, const struct method_values *v, const char *name);
bool method_flag(const struct method *m, const struct method_values *v, const char *name);

// Of resolved values: those under which two equal programs are equal texts: what does not matter, or to the run alone,
// is brought to its default, numbers that are set at run time to 0, or to 1 where their program differs from that for
// 0.
struct method_values method_canonical(const struct method *m, const struct method_values *v);

// --- names: the interface of programs --------------------------------------------------------------------------------
//
// A program's tensors say by their names what they are; whoever runs it does what the names ask for.
//
//   inputs   logits.K f32[N,C]    peer K's output, in its memory       labels i64[N]  given labels
//            labels.mix i64[N]    labels of the images mixed in        targets f32[N,T]  numbers to learn
//            class.weight f32[C]                                       index i64[N]   numbers of the images
//            labels.draw i64[N]   given labels of images drawn at random
//            tap.K.NAME f32[N,..] output NAME of peer K, inside it or at its side
//            teacher.K f32[N,C]   what a frozen teacher says of the batch, for peer K
//            teacher.K.NAME f32[N,..]  output NAME of that teacher, inside it
//            average.K f32[N,C]   what the moving average of peer K says of it
//            average.K.NAME f32[N,..]  output NAME of that average, inside it or at its side
//            guess.K f32[N,C]     what peer K itself says of it, without gradient: a peer that is being trained as it
//                                 does in training, another as it does in inference
//            mix.row i64[N]       the row that each image of the batch is mixed with (of all views, [VN])
//            table.NAME f32[N,W] or [N], table.NAME.K (of peer K): the batch's rows of a table with a row an image
//            state.NAME, state.NAME.K f32, any fixed shape: a tensor of the run
//   Where peers see several views as one batch (method_views), logits.K, grad.K and what else says something of all of
//   them is [N,V,C].
//   scalars  progress (0 to 1), epoch (from 1), epochs, step (of the run, from 0), steps (of an epoch), part (of the
//            pass through the images, 0 up to 1), lr (the run's rate in this step), momentum, nesterov and weight_decay
//            (of its optimizer; momentum is beta1 where it has that instead, else 0; nesterov 1 where it has that, else
//            0), mix.lambda and r.K, and the numbers of the method by their names
//   outputs  loss.K [], which grad.K f32[N,C] differentiates by logits.K; or loss.all [], one for all peers
//            grad.tap.K.NAME: of the sum of losses of peer K, by that tap
//            table.NAME..., state.NAME...: what they are after the step, rows by their images
//            kept.K f32[N]        1 where a row's given label is trusted, 0 where it is taken for wrong
//            corrected.K f32[N]   the class that a row's label is taken for; both are compared with the true labels
//            anything else, f32 [N] or []: a metric, with .K of peer K

// A program that predicts takes logits.K, tap.K.NAME and states of the program that is trained with, and puts out
// f32[N,C]: probs.NAME.K, what peer K says in another way than by its logits, and probs.ensemble, what all of them say.

enum method_role {
    METHOD_LOGITS,
    METHOD_LABELS,
    METHOD_LABELS_MIX,
    METHOD_TARGETS,
    METHOD_CLASS_WEIGHT,
    METHOD_TAP,
    METHOD_TAP_GRAD,
    METHOD_PROBS,
    METHOD_INDEX,
    METHOD_LABELS_DRAW,
    METHOD_TEACHER,
    METHOD_TEACHER_TAP,
    METHOD_AVERAGE,
    METHOD_AVERAGE_TAP,
    METHOD_GUESS,
    METHOD_MIX_ROW,
    METHOD_TABLE,
    METHOD_STATE,
    METHOD_LOSS,
    METHOD_LOSS_ALL,
    METHOD_GRAD,
    METHOD_OTHER // of an output: a metric; of a scalar: a number; of an input: nothing that exists
};
struct method_name {
    enum method_role role;
    int peer;        // -1: of none
    char stem[48];   // without the peer: "entropy", "table.target"
    const char *tap; // of a tap, a peer's, its teacher's or its average's: NAME, in the text that was parsed
};
struct method_name method_parse(const char *name);
// How the table or state of that stem starts; NULL: as zeros.
const struct method_begin *method_begin(const struct method *m, const char *stem);

#endif
