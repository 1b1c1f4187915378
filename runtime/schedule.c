// Learning rate schedules with torchvision's names, and the confidence threshold's schedule for messages.
#include "run_config.h"

#include <math.h>
#include <string.h>

enum smkd_result rt_milestones_parse(const char *text, int64_t *out, size_t *n) {
    *n = 0;
    while (*text) {
        char one[24];
        size_t len = strcspn(text, ", ");
        if (len == 0) {
            text++;
            continue;
        }
        if (*n == RT_MAX_MILESTONES)
            return rt_fail(SMKD_R_INVALID, "--lr-milestones: more than %d epochs", RT_MAX_MILESTONES);
        int64_t v = 0;
        if (len < sizeof one) {
            memcpy(one, text, len);
            one[len] = 0;
        }
        if (len >= sizeof one || !parse_i64(one, &v) || v < 1)
            return rt_fail(SMKD_R_INVALID, "--lr-milestones %s: expected epochs such as 30,60,80", text);
        out[(*n)++] = v;
        text += len;
    }
    return SMKD_R_OK;
}

enum smkd_result rt_schedule_init(struct rt_schedule *s, const struct rt_config *c, int64_t steps) {
    static const char *const kinds[] = {
        [RT_MULTISTEP] = "multistep", [RT_COSINE] = "cosine", [RT_CONSTANT] = "constant"};
    *s = (struct rt_schedule){
        .lr = c->lr, .gamma = c->lr_gamma, .epochs = c->epochs, .warmup_epochs = c->lr_warmup_epochs, .steps = steps};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (strcmp(c->lr_scheduler, kinds[i]) == 0) s->kind = (enum rt_scheduler)i;
    return rt_milestones_parse(c->lr_milestones, s->milestones, &s->n_milestones);
}

double rt_schedule_lr(const struct rt_schedule *s, int64_t epoch, int64_t step) {
    int64_t done = epoch - 1; // whole epochs behind this step
    if (done < s->warmup_epochs) {
        double at = (double)(done * s->steps + step + 1), of = (double)(s->warmup_epochs * s->steps);
        return s->lr * at / of;
    }
    double lr = s->lr;
    if (s->kind == RT_COSINE) {
        double at = (double)(done - s->warmup_epochs), of = (double)(s->epochs - s->warmup_epochs);
        lr *= 0.5 * (1 + cos(acos(-1.0) * at / of));
    } else if (s->kind == RT_MULTISTEP) {
        for (size_t i = 0; i < s->n_milestones; i++)
            if (done >= s->milestones[i]) lr *= s->gamma;
    }
    return lr;
}

double rt_threshold(double progress, double eta, double b2, int classes) {
    return log((double)classes) / eta * 2 / (1 + exp(-(progress - 0.5) * b2));
}
