// Plain SGD steps with cross entropy through the public API, for tests that replay them in PyTorch: no data loader, no
// shuffling, no schedule between the two programs. Prints one loss a line.
//
// usage: oracle_steps MODEL.smkd X.bin Y.bin STEPS BATCH LR MOMENTUM WEIGHT_DECAY NESTEROV OUT.safetensors
// X.bin holds STEPS*BATCH samples of f32, Y.bin as many labels of i64, both raw little endian.
#include "../../runtime/include/smkd_runtime.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail(const char *what) {
    fprintf(stderr, "oracle_steps: %s: %s\n", what, smkd_last_error());
    return 1;
}

// A whole file of exactly `bytes` bytes; NULL after a message. Owned by the caller.
static void *read_exactly(const char *path, size_t bytes) {
    FILE *f = fopen(path, "rb");
    void *data = malloc(bytes ? bytes : 1);
    if (!f || !data || fread(data, 1, bytes, f) != bytes || fgetc(f) != EOF) {
        fprintf(stderr, "oracle_steps: %s is not a file of exactly %zu bytes\n", path, bytes);
        free(data);
        data = NULL;
    }
    if (f) fclose(f);
    return data;
}

// Mean cross entropy of logits [n,c]; dz [n,c] receives its gradient.
static double cross_entropy(const float *z, const int64_t *y, int64_t n, int64_t c, float *dz) {
    double loss = 0;
    for (int64_t i = 0; i < n; i++, z += c, dz += c) {
        double m = -INFINITY, s = 0;
        for (int64_t j = 0; j < c; j++) m = fmax(m, z[j]);
        for (int64_t j = 0; j < c; j++) s += exp(z[j] - m);
        loss -= z[y[i]] - m - log(s);
        for (int64_t j = 0; j < c; j++) dz[j] = (float)((exp(z[j] - m) / s - (j == y[i])) / (double)n);
    }
    return loss / (double)n;
}

static int train(smkd_model *m, smkd_session *s, char **argv) {
    int64_t steps = atoll(argv[4]), batch = atoll(argv[5]);
    const struct smkd_abi_tensor *x = smkd_model_nth(m, SMKD_ABI_INPUT, 0), *z = smkd_model_nth(m, SMKD_ABI_OUTPUT, 0);
    if (!x || !z || z->rank != 2 || steps < 1 || batch < 1)
        return fail("expected an input, logits [N,C], steps and a batch");
    int64_t classes = z->dims[1];
    size_t sample = x->numel, n = (size_t)(steps * batch);
    float *images = read_exactly(argv[2], n * sample * sizeof(float));
    int64_t *labels = read_exactly(argv[3], n * sizeof(int64_t));
    float *dz = calloc((size_t)(batch * classes), sizeof(float));
    int bad = !images || !labels || !dz;
    for (size_t i = 0; !bad && i < n; i++) bad = labels[i] < 0 || labels[i] >= classes;

    const char *const names[] = {"lr", "momentum", "weight_decay", "nesterov"};
    for (int i = 0; !bad && i < 4; i++) bad = smkd_set_scalar(s, names[i], atof(argv[6 + i])) != SMKD_R_OK;
    bad = bad || smkd_bind(s, SMKD_ABI_COTANGENT, z->name, dz) != SMKD_R_OK;
    for (int64_t t = 0; !bad && t < steps; t++) {
        bad = smkd_bind(s, SMKD_ABI_INPUT, x->name, images + (size_t)(t * batch) * sample) != SMKD_R_OK ||
              smkd_run(s, SMKD_ABI_FORWARD, batch) != SMKD_R_OK;
        if (bad) break;
        printf("%.9g\n", cross_entropy(smkd_output(s, z->name), labels + t * batch, batch, classes, dz));
        bad = smkd_run(s, SMKD_ABI_BACKWARD, batch) != SMKD_R_OK || smkd_run(s, SMKD_ABI_UPDATE, batch) != SMKD_R_OK;
    }
    bad = bad || smkd_save_weights(m, argv[10], "") != SMKD_R_OK;
    free(images);
    free(labels);
    free(dz);
    return bad ? fail("step") : 0;
}

int main(int argc, char **argv) {
    if (argc != 11) {
        fputs("usage: oracle_steps MODEL.smkd X.bin Y.bin STEPS BATCH LR MOMENTUM WEIGHT_DECAY NESTEROV "
              "OUT.safetensors\n",
              stderr);
        return 2;
    }
    smkd_model *m = smkd_model_load(argv[1]);
    smkd_team *team = smkd_team_new(0);
    smkd_session *s = m && team ? smkd_session_new(m, team) : NULL;
    int rc = s ? train(m, s, argv) : fail(argv[1]);
    smkd_session_free(s);
    smkd_team_free(team);
    smkd_model_free(m);
    return rc;
}
