#include "optimizers.h"

#include <math.h>
#include <string.h>

#define MOMENTUM(def) {"momentum", "momentum", def}
#define BETAS(b1, b2)                                                                                                  \
    {"beta1", "beta1", b1}, { "beta2", "beta2", b2 }
#define EPS(def)   {"eps", "opt-eps", def}
#define ALPHA(def) {"alpha", "alpha", def}

const struct optimizer optimizers[] = {
    {"sgd", "SGD with momentum", {"momentum"}, {MOMENTUM(0.9)}, 0.1, 5e-4, false},
    {"sgd_nesterov", "SGD with Nesterov momentum", {"momentum"}, {MOMENTUM(0.9)}, 0.1, 5e-4, false},
    {"adam",
     "Adam; decay is added to the gradient",
     {"exp_avg", "exp_avg_sq"},
     {BETAS(0.9, 0.999), EPS(1e-8)},
     1e-3,
     0,
     false},
    {"adamw",
     "Adam with decay of its own",
     {"exp_avg", "exp_avg_sq"},
     {BETAS(0.9, 0.999), EPS(1e-8)},
     1e-3,
     1e-2,
     false},
    {"rmsprop",
     "RMSprop with momentum",
     {"square_avg", "momentum_buffer"},
     {ALPHA(0.99), EPS(1e-8), MOMENTUM(0)},
     1e-2,
     0,
     false},
    {"adagrad", "Adagrad", {"sum"}, {EPS(1e-10)}, 1e-2, 0, false},
    {"lamb",
     "LAMB (You et al., 2020), as timm has it without its clipping",
     {"exp_avg", "exp_avg_sq"},
     {BETAS(0.9, 0.999), EPS(1e-6)},
     1e-3,
     1e-2,
     true},
    {"lion", "Lion (Chen et al., 2023)", {"exp_avg"}, {BETAS(0.9, 0.99)}, 1e-4, 0, false},
    {0},
};

const struct optimizer *optimizer_find(const char *name) {
    for (const struct optimizer *o = optimizers; o->name; o++)
        if (name && strcmp(o->name, name) == 0) return o;
    return NULL;
}

void optimizer_names(struct str *out) {
    for (const struct optimizer *o = optimizers; o->name; o++)
        str_addf(out, "%s%s", o == optimizers ? "" : ", ", o->name);
}

int optimizer_number(const struct optimizer *o, const char *flag) {
    for (int i = 0; o->numbers[i].name; i++)
        if (strcmp(o->numbers[i].flag, flag) == 0) return i;
    return -1;
}

static double itself(const struct optimizer_now *n, double x) { return (void)n, x; }
static double rest(const struct optimizer_now *n, double x) { return (void)n, 1 - x; }
static double bias(const struct optimizer_now *n, double x) { return 1 - pow(x, (double)n->step); }
static double root_bias(const struct optimizer_now *n, double x) { return sqrt(bias(n, x)); }
static double lr_bias(const struct optimizer_now *n, double x) { return n->lr / bias(n, x); }

bool optimizer_scalar(const struct optimizer *o, const struct optimizer_now *now, const char *name, double *v) {
    const struct {
        const char *name;
        double value;
    } whole[] = {{"lr", now->lr}, {"weight_decay", now->weight_decay}, {"keep", 1 - now->lr * now->weight_decay}};
    static const struct {
        const char *prefix;
        double (*of)(const struct optimizer_now *n, double x);
    } made[] = {{"", itself}, {"rest.", rest}, {"bias.", bias}, {"root_bias.", root_bias}, {"lr_bias.", lr_bias}};
    for (size_t i = 0; i < sizeof whole / sizeof *whole; i++) {
        if (strcmp(whole[i].name, name) != 0) continue;
        *v = whole[i].value;
        return true;
    }
    for (size_t k = 0; k < sizeof made / sizeof *made; k++)
        for (int i = 0; o->numbers[i].name; i++) {
            size_t n = strlen(made[k].prefix);
            if (strncmp(name, made[k].prefix, n) != 0 || strcmp(name + n, o->numbers[i].name) != 0) continue;
            *v = made[k].of(now, now->numbers[i]);
            return true;
        }
    return false;
}
