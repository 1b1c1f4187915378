// Runs and trains an artifact from C: needs only smkd_runtime.h and libsmkd_runtime. usage: embed M.smkd
// M is any image classifier: one float input [N,...], one float output [N,classes].
#include "smkd_runtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { BATCH = 16, STEPS = 20 };

static int failed(const char *what) {
    fprintf(stderr, "embed: %s: %s\n", what, smkd_last_error());
    return 1;
}

// A row with a batch has a negative first dimension: -d stands for d times N.
static size_t per_sample(const struct smkd_abi_tensor *t) {
    size_t n = 1;
    for (uint32_t i = 0; i < t->rank; i++) n *= (size_t)(t->dims[i] < 0 ? -t->dims[i] : t->dims[i]);
    return n;
}

// Mean softmax cross-entropy of n rows; dy = (softmax - one_hot) / n is what BACKWARD starts from.
static double cross_entropy(const float *y, const int *labels, size_t n, size_t classes, float *dy) {
    double loss = 0;
    for (size_t i = 0; i < n; i++) {
        const float *row = y + i * classes;
        double top = row[0], sum = 0;
        for (size_t c = 1; c < classes; c++)
            if (row[c] > top) top = row[c];
        for (size_t c = 0; c < classes; c++) sum += exp(row[c] - top);
        for (size_t c = 0; c < classes; c++) {
            double p = exp(row[c] - top) / sum;
            dy[i * classes + c] = (float)((p - ((size_t)labels[i] == c)) / (double)n);
        }
        loss += log(sum) - (row[labels[i]] - top);
    }
    return loss / (double)n;
}

// The answer of the trained or untrained network to the first image.
static int show_top_class(smkd_session *s, const char *output, size_t classes) {
    if (smkd_run(s, SMKD_ABI_INFER, BATCH)) return failed("inference");
    const float *y = smkd_output(s, output);
    size_t top = 0;
    for (size_t c = 1; c < classes; c++)
        if (y[c] > y[top]) top = c;
    printf("image 0: class %zu of %zu, logit %.4f\n", top, classes, (double)y[top]);
    return 0;
}

// FORWARD keeps the activations that BACKWARD needs; UPDATE moves every parameter along its gradient.
static int train(smkd_session *s, const char *output, const int *labels, size_t classes, float *dy) {
    if (smkd_set_scalar(s, "lr", 0.05) || smkd_set_scalar(s, "momentum", 0.9))
        return failed("setting the learning rate");
    for (int step = 1; step <= STEPS; step++) {
        if (smkd_run(s, SMKD_ABI_FORWARD, BATCH)) return failed("forward");
        double loss = cross_entropy(smkd_output(s, output), labels, BATCH, classes, dy);
        if (step == 1 || step % 5 == 0) printf("step %2d: loss %.4f\n", step, loss);
        if (smkd_run(s, SMKD_ABI_BACKWARD, BATCH)) return failed("backward");
        if (smkd_run(s, SMKD_ABI_UPDATE, BATCH)) return failed("update");
    }
    return 0;
}

static int run(smkd_model *m, smkd_session *s) {
    const struct smkd_abi_tensor *in = smkd_model_nth(m, SMKD_ABI_INPUT, 0),
                                 *out = smkd_model_nth(m, SMKD_ABI_OUTPUT, 0);
    if (!in || !out || in->dtype != SMKD_ABI_F32 || out->dtype != SMKD_ABI_F32 ||
        smkd_model_nth(m, SMKD_ABI_INPUT, 1)) {
        fprintf(stderr, "embed: expected a model with one float input and one float output\n");
        return 1;
    }
    size_t pixels = per_sample(in), classes = per_sample(out);
    printf("%s: %zu numbers in, %zu classes out, compiled for %s\n", smkd_model_info(m)->name, pixels, classes,
           smkd_model_info(m)->target_cpu);

    float *x = malloc(BATCH * pixels * sizeof *x), *dy = malloc(BATCH * classes * sizeof *dy);
    int labels[BATCH], bad = !x || !dy;
    if (!bad) {
        srand(1); // random pictures, random answers: enough to see a network learn them by heart
        for (size_t i = 0; i < BATCH * pixels; i++) x[i] = (float)rand() / (float)RAND_MAX * 2 - 1;
        for (int i = 0; i < BATCH; i++) labels[i] = rand() % (int)classes;
        // The session borrows this memory until it is bound again; the outputs are its own.
        bad = smkd_bind(s, SMKD_ABI_INPUT, in->name, x) || smkd_bind(s, SMKD_ABI_COTANGENT, out->name, dy);
        if (bad) failed("binding");
    }
    bad = bad || show_top_class(s, out->name, classes) || train(s, out->name, labels, classes, dy) ||
          show_top_class(s, out->name, classes);
    free(x);
    free(dy);
    return bad;
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: embed M.smkd\n");
        return 2;
    }
    smkd_model *m = smkd_model_load(argv[1]);
    if (!m) return failed("loading");
    smkd_team *team = smkd_team_new(0); // all cores
    smkd_session *s = team ? smkd_session_new(m, team) : NULL;
    int bad = s ? run(m, s) : failed("starting");
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(m);
    return bad;
}
