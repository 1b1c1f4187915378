// A C program that links the runtime, for tests/cli/out_of_memory.sh: every call that a program can make. What fails is
// told by its result and by smkd_last_error; nothing here, or in the library, ends the program. usage: embed_memory
// M.smkd WEIGHTS-TO-WRITE.safetensors; exit 0: all done, 1: out of memory, and one line that says so.
#include "smkd_runtime.h"

#include <stdio.h>
#include <string.h>

enum { BATCH = 2 };
static float x[BATCH * 64], dy[BATCH * 10];

static int failed(enum smkd_result r) {
    fprintf(stderr, "error: %s\n", smkd_last_error());
    return r == SMKD_R_NOMEM ? 1 : 3;
}

static int work(smkd_model *m, smkd_session *s, const char *weights) {
    enum smkd_result r = smkd_bind(s, SMKD_ABI_INPUT, "x", x);
    if (!r) r = smkd_bind(s, SMKD_ABI_COTANGENT, "logits", dy);
    if (!r) r = smkd_set_scalar(s, "lr", .1);
    if (!r) r = smkd_run(s, SMKD_ABI_INFER, BATCH);
    if (!r) r = smkd_run(s, SMKD_ABI_FORWARD, BATCH);
    if (!r) memcpy(dy, smkd_output(s, "logits"), sizeof dy);
    if (!r) r = smkd_run(s, SMKD_ABI_BACKWARD, BATCH);
    if (!r) r = smkd_run(s, SMKD_ABI_UPDATE, BATCH);
    if (!r) r = smkd_save_weights(m, weights, "some.prefix.");
    if (!r) r = smkd_load_weights(m, weights, "some.prefix.");
    return r ? failed(r) : 0;
}

int main(int argc, char **argv) {
    if (argc != 3) return 2;
    for (int i = 0; i < BATCH * 64; i++) x[i] = (float)(i % 7) / 7;
    smkd_model *read = smkd_model_read(argv[1]);
    if (!read) return failed(SMKD_R_NOMEM);
    smkd_model *m = smkd_model_load(argv[1]);
    smkd_team *t = m ? smkd_team_new(1) : NULL;
    smkd_session *s = t ? smkd_session_new(m, t) : NULL;
    int bad = s ? work(m, s, argv[2]) : failed(SMKD_R_NOMEM);
    smkd_session_free(s);
    smkd_team_free(t);
    smkd_model_free(m);
    smkd_model_free(read);
    return bad;
}
