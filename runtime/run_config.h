// The resolved configuration of a training run: one table of fields from which the command line, config.json and the
// comparison on --resume are all made.
#ifndef SMKD_RT_RUN_CONFIG_H
#define SMKD_RT_RUN_CONFIG_H

#include "data.h"

struct rt_config {
    // data
    char *data, *labels, *noise, *augment, *mean, *std;
    int64_t train_limit, test_limit;
    double val_split;
    double noise_seed; // whole numbers up to 2^53, as JSON holds them exactly; NAN: the seed
    // loss
    char *loss, *logits, *refine, *peer_denom, *r_scope, *t_unit;
    double eta, b1, b2, rho, log_floor; // b2 NAN: -5 for smkd-p, 0 for smkd-s
    bool detach_target;
    // optimisation
    int64_t epochs, batch_size, lr_warmup_epochs, threads;
    double lr, momentum, weight_decay, lr_gamma, seed;
    bool nesterov, drop_last;
    char *lr_scheduler, *lr_milestones;
};

enum rt_field_kind { RT_FIELD_STR, RT_FIELD_F64, RT_FIELD_I64, RT_FIELD_WHOLE, RT_FIELD_FLAG };
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
};
extern const struct rt_field rt_fields[]; // ends with a NULL name

// All defaults. Release with rt_config_release.
void rt_config_init(struct rt_config *c);
void rt_config_release(struct rt_config *c);
// Sets one field from text ("" for a flag); the failure's message names flag, value and what was expected.
enum smkd_result rt_config_set(struct rt_config *c, const char *name, const char *text);
// Fills what "auto" stands for where nothing but the flags is needed: refine, b2, noise-seed, lr-milestones.
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

// --- learning rate ---------------------------------------------------------------------------------------------------

enum rt_scheduler { RT_MULTISTEP, RT_COSINE, RT_CONSTANT };
#define RT_MAX_MILESTONES 32
struct rt_schedule {
    enum rt_scheduler kind;
    double lr, gamma;
    int64_t epochs, warmup_epochs, steps; // steps an epoch
    int64_t milestones[RT_MAX_MILESTONES];
    size_t n_milestones;
};
enum smkd_result rt_schedule_init(struct rt_schedule *s, const struct rt_config *c, int64_t steps);
// Learning rate of a step: epoch from 1, step from 0. Warm-up is linear over steps from lr / (warm-up steps) to lr. A
// milestone m takes effect after m epochs. Cosine runs over the epochs after the warm-up, down towards 0.
double rt_schedule_lr(const struct rt_schedule *s, int64_t epoch, int64_t step);
// "12,24,32" -> numbers from 1 on (those beyond the last epoch have no effect); RT_MAX_MILESTONES at most.
enum smkd_result rt_milestones_parse(const char *text, int64_t *out, size_t *n);

// The paper's Eq. 6, for messages: ln C / eta * 2 h(progress - 0.5, b2).
double rt_threshold(double progress, double eta, double b2, int classes);

#endif
