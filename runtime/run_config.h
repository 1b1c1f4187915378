// The resolved configuration of a training run: one table of fields from which the command line, config.json and the
// comparison on --resume are all made.
#ifndef SMKD_RT_RUN_CONFIG_H
#define SMKD_RT_RUN_CONFIG_H

#include "../methods/methods.h"
#include "../methods/optimizers.h"
#include "data.h"

// torchvision's flags about images, by their names (transform_flags.h says what they become). NAN: auto.
struct rt_augment_config {
    char *crop, *pad_mode, *interpolation, *auto_augment, *color_jitter; // color_jitter NULL: none
    double train_crop_size, train_resize_size, val_resize_size, val_crop_size, pad, hflip_prob, ra_magnitude,
        augmix_severity;
    double random_erase;
    int64_t cutout;
    struct rt_mix_options mix;
};

struct rt_config {
    // data
    char *data, *labels, *keep, *sample_weights, *noise, *augment, *mean, *std, *label_column, *image_root, *test_split,
        *layout, *cache, *sampler;
    int64_t train_limit, test_limit;
    struct rt_augment_config augmentation;
    double val_split;
    int64_t workers;
    bool strict_data, exif_orientation, ra_sampler;
    double noise_seed; // whole numbers up to 2^53, as JSON holds them exactly; NAN: the seed
    // method: its name, or a file made with smkdc loss; the row that says which numbers it has, and their values
    char *method, *logits, *t_unit, *class_weights;
    const struct method *row;
    struct method_values values;
    // optimisation
    int64_t epochs, batch_size, lr_warmup_epochs, threads;
    double lr, momentum, weight_decay, seed;
    bool nesterov, drop_last;
    // the optimizer: its name, or a file made with smkdc optimizer; its row and numbers; NAN: the row's own, and where
    // it has no such number
    char *opt, *param_group, *freeze;
    const struct optimizer *opt_row; // of rt_config_resolve
    double beta1, beta2, opt_eps, alpha, norm_weight_decay, bias_weight_decay;
    double clip_grad_norm, model_ema_decay;
    int64_t accumulate, model_ema_steps;
    bool model_ema;
    // learning rate; see schedule.h
    char *lr_scheduler, *lr_milestones, *lr_warmup_method;
    double lr_gamma, lr_min, lr_power, lr_warmup_decay; // lr_gamma NAN: the scheduler's own
    int64_t lr_step_size, lr_patience, patience;
    char *scalar;            // "NAME=X;...", scalars of a program; NULL: none
    char *first_state;       // "NAME=FILE;...", states of a program; NULL: none
    char *teacher;           // "FILE;RUN;...", whole paths; NULL: none
    struct rt_field *fields; // those of every run, then the method's; ends with a NULL name; owned
};

// A word is one of the choices themselves, borrowed; a text is owned.
enum rt_field_kind { RT_FIELD_STR, RT_FIELD_F64, RT_FIELD_I64, RT_FIELD_WHOLE, RT_FIELD_FLAG, RT_FIELD_WORD };
struct rt_field {
    const char *name;  // the flag's name; in config.json with _ for -
    const char *value; // what --help calls the value; NULL for a flag
    const char *def;   // default as text; "auto" is resolved when the run starts; NULL: none
    const char *help;
    enum rt_field_kind kind;
    size_t offset;
    double min, max;            // of numbers
    const char *const *choices; // of strings; ends with NULL; NULL: anything
    bool may_differ;            // on --resume: does not change the results
    int param;                  // of a method's: its place in the family's list + 1; else 0
    bool list;                  // a text of parts with ; between them: the flag may be given several times
};
extern const struct rt_field rt_fields[]; // what every run has; ends with a NULL name

// All defaults of a run with this method. Release with rt_config_release.
void rt_config_init(struct rt_config *c, const struct method *m);
void rt_config_release(struct rt_config *c);
// Sets one field from text ("" for a flag); the failure's message names flag, value and what was expected.
enum smkd_result rt_config_set(struct rt_config *c, const char *name, const char *text);
// The i-th number of the optimizer; 0: it has none. After rt_config_resolve.
double rt_config_opt_number(const struct rt_config *c, int i);
// Fills what "auto" stands for where nothing but the flags is needed: noise-seed, lr-milestones.
enum smkd_result rt_config_resolve(struct rt_config *c);

struct cJSON;
// The fields as a JSON object (caller deletes), and back: unknown keys are ignored, missing ones keep their value.
struct cJSON *rt_config_to_json(const struct rt_config *c);
enum smkd_result rt_config_from_json(struct rt_config *c, const struct cJSON *o, const char *path);
// Names the fields in which two resolved configurations differ in a way that changes results: "--lr 0.1 (was 0.05),
// ...". Returns their count.
int rt_config_differences(const struct rt_config *now, const struct rt_config *was, struct str *out);

// Shortest text that reads back as the same (finite) number.
#define RT_NUMBER_TEXT 32
void rt_number_text(double v, char text[RT_NUMBER_TEXT]);

// A whole JSON file; NULL after rt_fail. And written completely or not at all.
struct cJSON *rt_json_read(const char *path);
enum smkd_result rt_json_write(const char *path, const struct cJSON *o);

#endif
