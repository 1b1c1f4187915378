#include "run_config.h"

#include "noise.h"
#include "schedule.h"
#include "transform_flags.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char *const unit_words[] = {"epoch", "iteration", NULL};
static const char *const part_words[] = {"val", "test", NULL};
static const char *const layout_words[] = {"auto", "nchw", "nhwc", NULL};
static const char *const cache_words[] = {"none", "ram", NULL};
static const char *const sampler_words[] = {"shuffle", "balanced", NULL};
static const char *const augment_words[] = {"auto", "crop-flip", "crop", "flip", "none", NULL};
static const char *const crop_words[] = {"auto", "resized", "plain", "center", NULL};
static const char *const interpolation_words[] = {"nearest", "bilinear", "bicubic", NULL};
#define WORD(name, uses, gamma) #name,
static const char *const scheduler_words[] = {RT_SCHEDULERS(WORD) NULL};
static const char *const warmup_words[] = {"steps", "linear", "constant", NULL};

#define WHOLE_MAX               9007199254740992.0
#define AT(f)                   offsetof(struct rt_config, f)
#define STR(n, v, d, h, f, ch)  {n, v, d, h, RT_FIELD_STR, AT(f), 0, 0, ch, false, 0, false}
#define LIST(n, v, h, f)        {n, v, NULL, h, RT_FIELD_STR, AT(f), 0, 0, NULL, false, 0, true}
#define F64(n, d, h, f, lo, hi) {n, "X", d, h, RT_FIELD_F64, AT(f), lo, hi, NULL, false, 0, false}
#define I64(n, d, h, f, lo, hi) {n, "N", d, h, RT_FIELD_I64, AT(f), lo, hi, NULL, false, 0, false}
#define WHOLE(n, d, h, f)       {n, "N", d, h, RT_FIELD_WHOLE, AT(f), 0, WHOLE_MAX, NULL, false, 0, false}
#define FLAG(n, h, f)           {n, NULL, NULL, h, RT_FIELD_FLAG, AT(f), 0, 0, NULL, false, 0, false}

const struct rt_field rt_fields[] = {
    {"data", "DATA", NULL,
     "a folder of class folders with images, a .csv or .jsonl with path and label, Food-101, WebVision, Clothing1M or "
     "Animal-10N; train_x.npy,train_y.npy,test_x.npy,test_y.npy or an .npz; a folder with IDX (MNIST), CIFAR-10 or "
     "CIFAR-100 binary files; fashion-mnist",
     RT_FIELD_STR, AT(data), 0, 0, NULL, true, 0, false}, // files may have moved: what was read from them is compared
    I64("train-limit", "0", "train on the first N images only (0: all)", train_limit, 0, 1e12),
    I64("test-limit", "0", "test on the first N images only (0: all)", test_limit, 0, 1e12),
    F64("val-split", "0", "share of the (noisy) training images kept for validation", val_split, 0, 0.9),
    {"labels", "FILE", NULL, "training labels from a .npy or text file (CIFAR-N) instead of the data set's own",
     RT_FIELD_STR, AT(labels), 0, 0, NULL, true, 0, false},
    {"keep", "FILE", NULL,
     "train on some of the training images only: a .npy or text with 1 for each that is trained on and 0 for the "
     "others, as smkd-run detect-noise --apply drop writes it",
     RT_FIELD_STR, AT(keep), 0, 0, NULL, true, 0, false},
    {"sample-weights", "FILE.npy", NULL,
     "bring each training image as often as its weight says: numbers from 0 on, as smkd-run detect-noise "
     "--apply weight writes them",
     RT_FIELD_STR, AT(sample_weights), 0, 0, NULL, true, 0, false},
    {"teacher", "FILE|RUN", NULL,
     "a frozen network that methods with a teacher learn from: an artifact, or a run folder with its trained networks. "
     "Several: one for each peer in turn",
     RT_FIELD_STR, AT(teacher), 0, 0, NULL, true, 0, true}, // may have moved: its hash is compared
    LIST("scalar", "NAME=X", "a number of the loss's program by its name, such as one of a loss of your own", scalar),
    {"state", "NAME=FILE", NULL,
     "the first value of a state of the loss's program, from a .npy file: transition=t.npy is that of every network, "
     "transition.0=t.npy the first one's",
     RT_FIELD_STR, AT(first_state), 0, 0, NULL, true, 0, true}, // what came of it is in the checkpoints
    {"label-column", "NAME", NULL, "column of a table that has the labels (label)", RT_FIELD_STR, AT(label_column), 0,
     0, NULL, true, 0, false},
    {"image-root", "DIR", NULL, "what the paths of a list are below (the folder of the list)", RT_FIELD_STR,
     AT(image_root), 0, 0, NULL, true, 0, false},
    {"test-split", "PART", NULL, "val or test, where the data have both (val)", RT_FIELD_STR, AT(test_split), 0, 0,
     part_words, false, 0, false},
    STR("layout", "ORDER", "auto", "how arrays hold images: nchw or nhwc (auto: by their size)", layout, layout_words),
    {"workers", "N", "0", "threads that decode images (0: all cores); results do not depend on it", RT_FIELD_I64,
     AT(workers), 0, 1024, NULL, true, 0, false},
    STR("cache", "WHERE", "none", "ram holds image files decoded, at their whole size", cache, cache_words),
    {"strict-data", NULL, NULL, "end the run at the first image that cannot be decoded, instead of leaving it out",
     RT_FIELD_FLAG, AT(strict_data), 0, 0, NULL, true, 0, false},
    FLAG("exif-orientation", "turn images as their EXIF orientation says", exif_orientation),
    STR("sampler", "NAME", "shuffle",
        "order of an epoch: shuffle, or balanced (each class equally often, with replacement)", sampler, sampler_words),
    FLAG("ra-sampler", "repeated augmentation: each image of an epoch three times, of a third of the images",
         ra_sampler),
    STR("noise", "KIND:R", "none",
        "wrong labels: symmetric:R, symmetric-inclusive:R, pairflip:R, asymmetric:R (CIFAR), instance:R or matrix:FILE",
        noise, NULL),
    WHOLE("noise-seed", "auto", "seed of the noise (auto: the seed)", noise_seed),
    STR("augment", "KIND", "auto", "crop-flip, crop, flip or none (auto: crop-flip for CIFAR, none for IDX)", augment,
        augment_words),
    STR("crop", "KIND", "auto",
        "resized (RandomResizedCrop), plain (RandomCrop) or center (auto: resized for photographs, plain for CIFAR)",
        augmentation.crop, crop_words),
    WHOLE("train-crop-size", "auto", "what training crops become (auto, and only: what the model takes)",
          augmentation.train_crop_size),
    WHOLE("train-resize-size", "auto", "shorter edge before a plain crop, 0: as it is (auto: --val-resize-size)",
          augmentation.train_resize_size),
    WHOLE("val-resize-size", "auto", "shorter edge in evaluation, 0: as it is (auto: 256/224 of the crop)",
          augmentation.val_resize_size),
    WHOLE("val-crop-size", "auto", "middle that is then cut out (auto, and only: what the model takes)",
          augmentation.val_crop_size),
    WHOLE("pad", "auto", "border around an image before a plain crop (auto: 4 for CIFAR, else 0)", augmentation.pad),
    STR("pad-mode", "HOW", "zero", "what the border is: zero or reflect", augmentation.pad_mode, rt_pad_modes),
    STR("interpolation", "HOW", "bilinear", "nearest, bilinear or bicubic, of resizing and --auto-augment",
        augmentation.interpolation, interpolation_words),
    F64("hflip-prob", "auto", "share of the images that are mirrored (auto: 0.5, or 0 where --augment has no flip)",
        augmentation.hflip_prob, 0, 1),
    STR("color-jitter", "B,C,S,H", NULL,
        "brightness, contrast, saturation and hue vary by so much (one number: the first "
        "three)",
        augmentation.color_jitter, NULL),
    STR("auto-augment", "POLICY", "none", "none, ra, ta_wide, augmix, imagenet, cifar10 or svhn",
        augmentation.auto_augment, rt_policies),
    WHOLE("ra-magnitude", "auto", "magnitude of ra, 0 to 30 (auto: 9)", augmentation.ra_magnitude),
    WHOLE("augmix-severity", "auto", "severity of augmix, 1 to 10 (auto: 3)", augmentation.augmix_severity),
    F64("random-erase", "0", "share of the images from which a random rectangle is erased", augmentation.random_erase,
        0, 1),
    I64("cutout", "0", "side of a square that is erased from every image (0: none)", augmentation.cutout, 0, 65535),
    F64("mixup-alpha", "0", "mix images of a batch: MixUp with Beta(A,A) (0: no)", augmentation.mix.mixup_alpha, 0,
        1e3),
    F64("cutmix-alpha", "0", "put parts of images into others: CutMix with Beta(A,A) (0: no)",
        augmentation.mix.cutmix_alpha, 0, 1e3),
    STR("mean", "M,..", "auto", "mean of each channel on a 0..1 scale", mean, NULL),
    STR("std", "S,..", "auto", "standard deviation of each channel", std, NULL),
    STR("method", "NAME", "smkd-p", "a row of smkd-run methods, or a file made with smkdc loss (its switches count)",
        method, NULL),
    STR("logits", "NAME", NULL, "the output to train, where a model has several [N,classes]", logits, NULL),
    STR("t-unit", "U", "epoch", "unit of the time that schedules of a method look at: epoch or iteration", t_unit,
        unit_words),
    STR("class-weights", "W,..", NULL, "weight of each class in the loss on given labels, or: balanced", class_weights,
        NULL),
    I64("epochs", "100", "passes over the training images", epochs, 1, 1e6),
    I64("batch-size", "128", "images a step; the last of an epoch may have fewer", batch_size, 1, 1e6),
    FLAG("drop-last", "leave out the last batch of an epoch where it has fewer images", drop_last),
    STR("opt", "NAME", "sgd",
        "sgd, sgd_nesterov, adam, adamw, rmsprop, adagrad, lamb, lion, or a file made with smkdc optimizer", opt, NULL),
    F64("lr", "auto", "learning rate (auto: 0.1 for sgd, else what PyTorch has)", lr, 0, 1e6),
    F64("momentum", "auto", "momentum of sgd and rmsprop (auto: 0.9 for sgd, 0 for rmsprop)", momentum, 0, 1),
    F64("weight-decay", "auto", "decay of every parameter (auto: 5e-4 for sgd, else what PyTorch has)", weight_decay, 0,
        1e6),
    FLAG("nesterov", "sgd with Nesterov momentum", nesterov),
    F64("beta1", "auto", "decay of the mean gradient of adam, adamw, lamb and lion (auto: 0.9)", beta1, 0, 1),
    F64("beta2", "auto", "decay of the mean squared gradient, of lion's mean gradient (auto: 0.999; lion 0.99)", beta2,
        0, 1),
    F64("opt-eps", "auto", "what is added to the root of squares (auto: 1e-8; lamb 1e-6, adagrad 1e-10)", opt_eps, 0,
        1),
    F64("alpha", "auto", "decay of rmsprop's mean squared gradient (auto: 0.99)", alpha, 0, 1),
    F64("norm-weight-decay", "auto", "decay of what normalisations multiply with and add (auto: --weight-decay)",
        norm_weight_decay, 0, 1e6),
    F64("bias-weight-decay", "auto", "decay of biases, those of normalisations included (auto: --weight-decay)",
        bias_weight_decay, 0, 1e6),
    LIST(
        "param-group", "GLOB:K=X,..",
        "own rate or decay of parameters of such names, 'fc.*:lr=0.1,wd=0;*.embed:wd=0': the first that matches counts",
        param_group),
    LIST("freeze", "GLOB;..", "parameters of such names stay as they are; '!GLOB' takes some out again", freeze),
    F64("clip-grad-norm", "0", "largest norm of a network's gradients over all its parameters (0: any)", clip_grad_norm,
        0, 1e30),
    I64("accumulate", "1", "batches whose gradients make one update", accumulate, 1, 1e6),
    FLAG("model-ema", "keep the moving average of the parameters, too (eval and export: --ema)", model_ema),
    F64("model-ema-decay", "0.99998", "decay of that average, adjusted to batch size and epochs as torchvision does",
        model_ema_decay, 0, 1),
    I64("model-ema-steps", "32", "steps between two updates of that average", model_ema_steps, 1, 1e9),
    STR("lr-scheduler", "KIND", "multistep",
        "how the rate falls: multistep, step, cosine, exponential, poly, onecycle, plateau, or constant", lr_scheduler,
        scheduler_words),
    STR("lr-milestones", "E,..", "auto", "epochs after which multistep lowers the rate (auto: 30, 60 and 80 % of all)",
        lr_milestones, NULL),
    F64("lr-gamma", "auto",
        "factor of multistep, step, plateau and, an epoch, exponential (auto: 0.2 for multistep, 0.1 for step and "
        "plateau)",
        lr_gamma, 0, 1e6),
    I64("lr-step-size", "30", "epochs after which step lowers the rate, again and again", lr_step_size, 1, 1e6),
    F64("lr-power", "0.9", "power of poly", lr_power, 0, 1e3),
    F64("lr-min", "0", "where cosine, poly and onecycle end, and plateau stops lowering", lr_min, 0, 1e6),
    I64("lr-patience", "10", "epochs without improvement that plateau lets pass", lr_patience, 0, 1e6),
    I64("lr-warmup-epochs", "0", "epochs of warm-up", lr_warmup_epochs, 0, 1e6),
    STR("lr-warmup-method", "HOW", "steps", "steps (raised with each step), linear (with each epoch) or constant",
        lr_warmup_method, warmup_words),
    F64("lr-warmup-decay", "0.01", "share of the rate at which linear begins and constant stays", lr_warmup_decay, 0,
        1),
    {"patience", "N", "0", "end the run after so many epochs without a better one (0: never)", RT_FIELD_I64,
     AT(patience), 0, 1e6, NULL, true, 0, false}, // what an epoch gives does not depend on it
    WHOLE("seed", "0", "seed of shuffling, augmentation, dropout and (unless given) noise", seed),
    {"threads", "N", "0", "threads (0: all cores); results do not depend on it", RT_FIELD_I64, AT(threads), 0, 4096,
     NULL, true, 0, false},
    {NULL, NULL, NULL, NULL, RT_FIELD_STR, 0, 0, 0, NULL, false, 0, false},
};
enum { N_FIELDS = sizeof rt_fields / sizeof *rt_fields - 1 };

// The method's numbers and switches as fields, behind those of every run.
static struct rt_field *make_fields(const struct method *m) {
    static const enum rt_field_kind kinds[] = {[METHOD_NUMBER] = RT_FIELD_F64,
                                               [METHOD_WORD] = RT_FIELD_WORD,
                                               [METHOD_ANY_WORD] = RT_FIELD_WORD,
                                               [METHOD_FLAG] = RT_FIELD_FLAG};
    const size_t offsets[] = {[METHOD_NUMBER] = AT(values.number),
                              [METHOD_WORD] = AT(values.word),
                              [METHOD_ANY_WORD] = AT(values.word),
                              [METHOD_FLAG] = AT(values.flag)};
    static const size_t sizes[] = {[METHOD_NUMBER] = sizeof(double),
                                   [METHOD_WORD] = sizeof(char *),
                                   [METHOD_ANY_WORD] = sizeof(char *),
                                   [METHOD_FLAG] = sizeof(bool)};
    struct rt_field *fields = xcalloc(N_FIELDS + METHOD_PARAMS + 1, sizeof *fields);
    size_t n = N_FIELDS;
    memcpy(fields, rt_fields, n * sizeof *fields);
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        if (!p->help) continue; // the method's row sets it
        fields[n++] = (struct rt_field){
            p->name, p->value, p->def,   p->help, kinds[p->kind], offsets[p->kind] + (size_t)i * sizes[p->kind],
            p->min,  p->max,   p->words, false,   i + 1,          false};
    }
    return fields;
}

void rt_number_text(double v, char text[RT_NUMBER_TEXT]) {
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(text, RT_NUMBER_TEXT, "%.*g", digits, v);
        if (strtod(text, NULL) == v) break;
    }
}

static void *field_at(struct rt_config *c, const struct rt_field *f) { return (char *)c + f->offset; }
static const void *field_of(const struct rt_config *c, const struct rt_field *f) { return (const char *)c + f->offset; }

static void add_expected(const struct rt_field *f, struct str *out) {
    switch (f->kind) {
    case RT_FIELD_STR:
    case RT_FIELD_WORD:
        str_add(out, f->choices ? "expected one of " : "expected a text");
        for (const char *const *w = f->choices; w && *w; w++) str_addf(out, "%s%s", w == f->choices ? "" : ", ", *w);
        break;
    case RT_FIELD_FLAG:
        str_add(out, "expected true or false");
        break;
    case RT_FIELD_I64:
    case RT_FIELD_F64:
    case RT_FIELD_WHOLE:
        str_addf(out, "expected a %snumber from %g to %g", f->kind == RT_FIELD_F64 ? "" : "whole ", f->min, f->max);
        break;
    }
}

static enum smkd_result wrong(const struct rt_field *f, const char *text) {
    struct str expected = STR_INIT;
    add_expected(f, &expected);
    enum smkd_result r = rt_fail(SMKD_R_INVALID, "--%s %s: %s", f->name, text, expected.s);
    str_release(&expected);
    return r;
}

static enum smkd_result set_field(struct rt_config *c, const struct rt_field *f, const char *text) {
    void *at = field_at(c, f);
    double v;
    int64_t i;
    if (f->param) {
        struct str why = STR_INIT;
        enum smkd_result r = SMKD_R_OK;
        if (!method_assign(c->row, &c->values, f->param - 1, text, &why)) r = rt_fail(SMKD_R_INVALID, "%s", why.s);
        str_release(&why);
        return r;
    }
    switch (f->kind) {
    case RT_FIELD_WORD:
        BUG("a word that is no method's: %s", f->name);
    case RT_FIELD_STR: {
        bool ok = f->choices == NULL;
        for (const char *const *w = f->choices; w && *w; w++) ok = ok || strcmp(*w, text) == 0;
        if (!ok) return wrong(f, text);
        free(*(char **)at);
        *(char **)at = xstrdup(text);
        return SMKD_R_OK;
    }
    case RT_FIELD_FLAG:
        *(bool *)at = true;
        return SMKD_R_OK;
    case RT_FIELD_I64:
        if (!parse_i64(text, &i) || (double)i < f->min || (double)i > f->max) return wrong(f, text);
        *(int64_t *)at = i;
        return SMKD_R_OK;
    case RT_FIELD_F64:
    case RT_FIELD_WHOLE:
        if (f->def && strcmp(f->def, "auto") == 0 && strcmp(text, "auto") == 0) {
            *(double *)at = NAN;
            return SMKD_R_OK;
        }
        if (!parse_f64(text, &v) || v < f->min || v > f->max) return wrong(f, text);
        if (f->kind == RT_FIELD_WHOLE && v != floor(v)) return wrong(f, text);
        *(double *)at = v;
        return SMKD_R_OK;
    }
    return SMKD_R_OK;
}

enum smkd_result rt_config_set(struct rt_config *c, const char *name, const char *text) {
    for (const struct rt_field *f = c->fields; f->name; f++)
        if (strcmp(f->name, name) == 0) return set_field(c, f, text);
    BUG("no configuration field %s", name);
}

void rt_config_init(struct rt_config *c, const struct method *m) {
    *c = (struct rt_config){.row = m};
    c->fields = make_fields(m);
    method_defaults(m, &c->values);
    for (const struct rt_field *f = rt_fields; f->name; f++)
        if (f->def) CHECK(set_field(c, f, f->def) == SMKD_R_OK, "default of %s", f->name);
}

void rt_config_release(struct rt_config *c) {
    for (const struct rt_field *f = rt_fields; f->name; f++)
        if (f->kind == RT_FIELD_STR) free(*(char **)field_at(c, f));
    free(c->fields);
    *c = (struct rt_config){0};
}

static const struct {
    const char *flag;
    size_t offset;
} opt_numbers[] = {{"momentum", AT(momentum)},
                   {"beta1", AT(beta1)},
                   {"beta2", AT(beta2)},
                   {"opt-eps", AT(opt_eps)},
                   {"alpha", AT(alpha)}};
enum { N_OPT_NUMBERS = sizeof opt_numbers / sizeof *opt_numbers };

double rt_config_opt_number(const struct rt_config *c, int i) {
    if (i >= OPTIMIZER_NUMBERS || !c->opt_row->numbers[i].name) return 0;
    for (int k = 0; k < N_OPT_NUMBERS; k++)
        if (strcmp(opt_numbers[k].flag, c->opt_row->numbers[i].flag) == 0)
            return *(const double *)((const char *)c + opt_numbers[k].offset);
    BUG("no flag for %s", c->opt_row->numbers[i].name);
}

// The row of a name, or of the program in a file.
static enum smkd_result find_optimizer(struct rt_config *c) {
    c->opt_row = optimizer_find(c->opt);
    if (!c->opt_row && (strchr(c->opt, '/') || str_has_suffix(c->opt, ".smkd"))) {
        smkd_model *file = smkd_model_read(c->opt);
        if (!file) return SMKD_R_INVALID;
        c->opt_row = optimizer_find(smkd_model_info(file)->name);
        smkd_model_free(file);
        if (!c->opt_row) return rt_fail(SMKD_R_INVALID, "--opt %s: is no optimizer of smkdc optimizer --list", c->opt);
    }
    if (c->opt_row && c->nesterov && strcmp(c->opt_row->name, "sgd") == 0) c->opt_row = optimizer_find("sgd_nesterov");
    if (c->opt_row) return SMKD_R_OK;
    struct str all = STR_INIT;
    optimizer_names(&all);
    rt_fail(SMKD_R_INVALID, "--opt %s: expected one of %s, or a file made with smkdc optimizer", c->opt, all.s);
    str_release(&all);
    return SMKD_R_INVALID;
}

static enum smkd_result resolve_optimizer(struct rt_config *c) {
    if (find_optimizer(c) != SMKD_R_OK) return SMKD_R_INVALID;
    const struct optimizer *o = c->opt_row;
    if (c->nesterov && strcmp(o->name, "sgd_nesterov") != 0)
        return rt_fail(SMKD_R_INVALID, "--nesterov: goes with --opt sgd, not with %s", o->name);
    for (int k = 0; k < N_OPT_NUMBERS; k++) {
        double *v = (double *)((char *)c + opt_numbers[k].offset);
        const int i = optimizer_number(o, opt_numbers[k].flag);
        if (i < 0 && !isnan(*v))
            return rt_fail(SMKD_R_INVALID, "--%s: the optimizer %s has no such number", opt_numbers[k].flag, o->name);
        if (i >= 0 && isnan(*v)) *v = o->numbers[i].def;
    }
    if (isnan(c->lr)) c->lr = o->lr;
    if (isnan(c->weight_decay)) c->weight_decay = o->weight_decay;
    if (c->param_group && !(c->lr > 0) && strstr(c->param_group, "lr="))
        return rt_fail(SMKD_R_INVALID, "--param-group %s: rates follow --lr, which must be more than 0",
                       c->param_group);
    return SMKD_R_OK;
}

enum smkd_result rt_config_resolve(struct rt_config *c) {
    if (!c->data) return rt_fail(SMKD_R_INVALID, "--data is missing: fashion-mnist, or a folder with data files");
    const char *why = method_refuse(c->row, &c->values, 0);
    if (why) return rt_fail(SMKD_R_INVALID, "%s", why);
    if (method_held_out(c->row, &c->values) && !(c->val_split > 0))
        return rt_fail(SMKD_R_INVALID,
                       "the method %s looks at validation images before each epoch: keep some of the training images "
                       "for that with --val-split 0.1",
                       c->row->name);
    if (c->accumulate > 1 && !method_by_rows(c->row, &c->values))
        return rt_fail(
            SMKD_R_INVALID,
            "--accumulate %lld: the method %s couples the rows of a batch, or trains numbers of its own after each, so "
            "several small batches are not one large one; give a larger --batch-size%s",
            (long long)c->accumulate, c->row->name,
            method_param(c->row, "peer-denom", NULL) ? ", or --peer-denom N without --r-scope batch" : "");
    const struct rt_mix_options *mix = &c->augmentation.mix;
    if ((mix->mixup_alpha > 0 || mix->cutmix_alpha > 0) && c->row->family->regression)
        return rt_fail(SMKD_R_INVALID,
                       "--%s: the method %s learns numbers, and only labels of classes are mixed; leave it out",
                       mix->mixup_alpha > 0 ? "mixup-alpha" : "cutmix-alpha", c->row->name);
    struct rt_noise noise;
    if (rt_noise_parse(c->noise, &noise) != SMKD_R_OK) return SMKD_R_INVALID;
    if (isnan(c->noise_seed)) c->noise_seed = c->seed;
    if (c->sample_weights && (c->ra_sampler || strcmp(c->sampler, "shuffle") != 0))
        return rt_fail(SMKD_R_INVALID,
                       "--sample-weights is an order of its own: give it without --sampler and --ra-sampler");
    if (c->ra_sampler && strcmp(c->sampler, "shuffle") != 0)
        return rt_fail(SMKD_R_INVALID, "--ra-sampler and --sampler %s exclude each other", c->sampler);
    if (rt_transform_flags_check(c) != SMKD_R_OK) return SMKD_R_INVALID;
    if (resolve_optimizer(c) != SMKD_R_OK) return SMKD_R_INVALID;
    return rt_schedule_resolve(c);
}

static void json_key(const struct rt_field *f, char key[64]) {
    size_t i = 0;
    for (; f->name[i] && i < 63; i++) key[i] = f->name[i] == '-' ? '_' : f->name[i];
    key[i] = 0;
}

// JSON has no infinity: it is written as the text "inf".
static cJSON *number(double v) {
    if (isnan(v)) return cJSON_CreateString("auto");
    if (isinf(v)) return cJSON_CreateString(v > 0 ? "inf" : "-inf");
    char text[RT_NUMBER_TEXT];
    rt_number_text(v, text);
    return cJSON_CreateRaw(text); // cJSON's own printing of numbers may lose the last bits
}

cJSON *rt_config_to_json(const struct rt_config *c) {
    cJSON *o = cJSON_CreateObject();
    for (const struct rt_field *f = c->fields; f->name; f++) {
        char key[64];
        json_key(f, key);
        const void *at = field_of(c, f);
        cJSON *v = NULL;
        switch (f->kind) {
        case RT_FIELD_STR: {
            const char *s = *(char *const *)at;
            v = s ? cJSON_CreateString(s) : cJSON_CreateNull();
            break;
        }
        case RT_FIELD_WORD:
            v = cJSON_CreateString(*(const char *const *)at);
            break;
        case RT_FIELD_FLAG:
            v = cJSON_CreateBool(*(const bool *)at);
            break;
        case RT_FIELD_I64:
            v = cJSON_CreateNumber((double)*(const int64_t *)at);
            break;
        case RT_FIELD_F64:
        case RT_FIELD_WHOLE:
            v = number(*(const double *)at);
            break;
        }
        cJSON_AddItemToObject(o, key, v);
    }
    return o;
}

// False where the value is none that the field takes.
static bool take_json(struct rt_config *c, const struct rt_field *f, const cJSON *v) {
    char text[40];
    const char *s = cJSON_GetStringValue(v);
    if (f->kind == RT_FIELD_FLAG) {
        *(bool *)field_at(c, f) = cJSON_IsTrue(v);
        return cJSON_IsBool(v);
    }
    if (f->kind != RT_FIELD_STR && f->kind != RT_FIELD_WORD && cJSON_IsNumber(v)) {
        bool whole = f->kind != RT_FIELD_F64 && fabs(v->valuedouble) <= 9007199254740992.0 &&
                     v->valuedouble == floor(v->valuedouble);
        snprintf(text, sizeof text, whole ? "%.0f" : "%.17g", v->valuedouble);
        s = text;
    }
    return s && set_field(c, f, s) == SMKD_R_OK;
}

enum smkd_result rt_config_from_json(struct rt_config *c, const cJSON *o, const char *path) {
    if (!cJSON_IsObject(o)) return rt_fail(SMKD_R_INVALID, "%s: \"config\" is missing or no object", path);
    for (const struct rt_field *f = c->fields; f->name; f++) {
        char key[64];
        json_key(f, key);
        const cJSON *v = cJSON_GetObjectItemCaseSensitive(o, key);
        if (!v && f->offset == AT(method)) v = cJSON_GetObjectItemCaseSensitive(o, "loss"); // as it was called once
        if (!v || cJSON_IsNull(v) || take_json(c, f, v)) continue;
        struct str expected = STR_INIT;
        char *is = cJSON_PrintUnformatted(v);
        add_expected(f, &expected);
        enum smkd_result r =
            rt_fail(SMKD_R_INVALID, "%s: \"%s\" is %.60s: %s", path, key, is ? is : "something else", expected.s);
        cJSON_free(is);
        str_release(&expected);
        return r;
    }
    return SMKD_R_OK;
}

static void field_text(const struct rt_config *c, const struct rt_field *f, struct str *out) {
    const void *at = field_of(c, f);
    const char *s = f->kind == RT_FIELD_STR || f->kind == RT_FIELD_WORD ? *(const char *const *)at : NULL;
    switch (f->kind) {
    case RT_FIELD_STR:
    case RT_FIELD_WORD:
        str_add(out, s ? s : "(none)");
        break;
    case RT_FIELD_FLAG:
        str_add(out, *(const bool *)at ? "on" : "off");
        break;
    case RT_FIELD_I64:
        str_addf(out, "%lld", (long long)*(const int64_t *)at);
        break;
    case RT_FIELD_F64:
    case RT_FIELD_WHOLE: {
        char text[RT_NUMBER_TEXT];
        double v = *(const double *)at;
        if (isfinite(v))
            rt_number_text(v, text);
        else
            snprintf(text, sizeof text, "%g", v);
        str_add(out, text);
        break;
    }
    }
}

int rt_config_differences(const struct rt_config *now, const struct rt_config *was, struct str *out) {
    int n = 0;
    for (const struct rt_field *f = now->fields; f->name; f++) {
        if (f->may_differ) continue;
        struct str a = STR_INIT, b = STR_INIT;
        field_text(now, f, &a);
        field_text(was, f, &b);
        if (strcmp(a.s, b.s) != 0) str_addf(out, "%s--%s %s (was %s)", n++ ? ", " : "", f->name, a.s, b.s);
        str_release(&a);
        str_release(&b);
    }
    return n;
}

cJSON *rt_json_read(const char *path) {
    const void *map;
    size_t size;
    if (io_map(path, &map, &size) != SMKD_OK) {
        rt_fail(SMKD_R_IO, "%s: %s", path, io_why());
        return NULL;
    }
    const char *text = map, *end = NULL, *wrong = json_refused(text, size);
    cJSON *o = wrong ? NULL : cJSON_ParseWithLengthOpts(text, size, &end, false);
    while (o && end < text + size && isspace((unsigned char)*end)) end++;
    if (wrong || !o)
        rt_fail(SMKD_R_INVALID, "%s: %s", path, wrong ? wrong : "is not JSON");
    else if (end < text + size)
        rt_fail(SMKD_R_INVALID, "%s: has something behind its JSON, at byte %zu", path, (size_t)(end - text));
    if (o && end < text + size) {
        cJSON_Delete(o);
        o = NULL;
    }
    io_unmap(map, size);
    return o;
}

enum smkd_result rt_json_write(const char *path, const cJSON *o) {
    char *text = cJSON_Print(o);
    if (!text) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", path);
    struct str s = STR_INIT;
    str_add(&s, text);
    str_add(&s, "\n");
    cJSON_free(text);
    enum smkd_result r = SMKD_R_OK;
    if (io_write_file(path, s.s, s.len) != SMKD_OK)
        r = rt_fail(SMKD_R_IO, "%s: cannot be written: %s", path, strerror(errno));
    str_release(&s);
    return r;
}
