// smkd-run export: a trained peer as the ONNX file it came from, with the trained numbers in it.
#include "../frontend/frontend.h"
#include "run_train.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt opts[] = {
    {"output", 'o', "FILE.onnx", NULL, "file to write", ARGS_REQUIRED},
    {"peer", 0, "K", "0", "which of the peers, from 0", 0},
    {"checkpoint", 0, "WHICH", "last", "best or last", 0},
    {"ema", 0, NULL, NULL, "the average of --model-ema instead of the network itself", 0},
    {"heads", 0, NULL, NULL, "with the side heads and taps that it was trained with as outputs", 0},
    {"artifact", 0, "A.smkd", NULL, "the peer's artifact, where it's no longer where the run found it", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkd-run export",
    "DIR",
    1,
    1,
    "Writes a peer of a run folder as inference-mode ONNX: names kept, dynamic batch axis.",
    opts};

static char *checkpoint_path(const char *dir, bool best) {
    return rt_path_join(dir, best ? "best.safetensors" : "last.safetensors");
}

static enum smkd_status write_onnx(const struct run_saved *s, const struct rt_peer *p, int64_t trained, bool taps,
                                   const char *out) {
    const struct smkd_artifact *info = smkd_model_info(p->model);
    const char *block = smkd_model_params(p->model);
    struct fe_tensor *tensors = xcalloc(info->n_tensors + 1, sizeof *tensors);
    size_t n = 0;
    for (size_t i = 0; i < info->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &info->tensors[i];
        if ((t->role != SMKD_ABI_PARAM && t->role != SMKD_ABI_BUFFER) || t->dtype != SMKD_ABI_F32) continue;
        struct fe_tensor *f = &tensors[n++];
        *f = (struct fe_tensor){
            .name = t->name, .rank = (int)t->rank, .data = (const float *)(const void *)(block + t->offset)};
        memcpy(f->dims, t->dims, t->rank * sizeof *f->dims);
    }
    struct str classes = STR_INIT, input = STR_INIT, epochs = STR_INIT, producer = STR_INIT;
    str_addf(&classes, "%d", p->classes);
    str_addf(&input, "%dx%dx%d", p->channels, p->height, p->width);
    str_addf(&epochs, "%lld", (long long)trained);
    str_addf(&producer, "smkd %s", smkd_version());
    enum { OWN = 5 };
    cJSON *preparation = rt_preparation_json(&s->preparation); // its keys are the file's
    struct fe_meta *meta = xcalloc(OWN + (size_t)cJSON_GetArraySize(preparation), sizeof *meta);
    size_t n_meta = 0;
    meta[n_meta++] = (struct fe_meta){"smkd.classes", classes.s};
    meta[n_meta++] = (struct fe_meta){"smkd.input", input.s};
    meta[n_meta++] = (struct fe_meta){"smkd.producer", producer.s};
    meta[n_meta++] = (struct fe_meta){"smkd.loss", s->config.method};
    meta[n_meta++] = (struct fe_meta){"smkd.epochs", epochs.s};
    const cJSON *one;
    cJSON_ArrayForEach(one, preparation) meta[n_meta++] = (struct fe_meta){one->string, one->valuestring};
    struct diag d = {.file = out};
    enum smkd_status r = fe_export(info->onnx, info->onnx_bytes, tensors, n, meta, n_meta, taps, out, &d);
    if (r != SMKD_OK && !d.errors) diag_error(&d, NULL, "%s", smkd_status_text(r));
    struct str *all[] = {&classes, &input, &epochs, &producer};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) str_release(all[i]);
    cJSON_Delete(preparation);
    free(meta);
    free(tensors);
    return r;
}

static int export_peer(const struct run_saved *s, const struct args *a, int k, bool best) {
    char *weights = checkpoint_path(a->pos[0], best);
    struct rt_peer p = {0};
    struct rt_progress_state state;
    int code = EXIT_DONE;
    if (run_saved_load(s, a->pos[0], k, args_str(a, "artifact"), s->config.logits, &p) != SMKD_R_OK ||
        run_read_peer(weights, args_given(a, "ema"), k, p.model, &state) != SMKD_R_OK) {
        code = run_failed("export");
    } else if (!smkd_model_info(p.model)->onnx) {
        rt_fail(SMKD_R_UNSUPPORTED, "%s: holds no ONNX graph", p.path);
        code = run_failed("export");
    } else {
        if (state.unchecked) run_note_unchecked(weights);
        if (write_onnx(s, &p, state.epoch, args_given(a, "heads"), args_str(a, "output")) != SMKD_OK)
            code = EXIT_FAILED; // said by the export
    }
    rt_peer_release(&p);
    free(weights);
    return code;
}

int run_export(int argc, char **argv) {
    static const char *const which[] = {"best", "last", NULL};
    struct args a;
    enum args_result r = args_parse(&a, &cmd, argc, argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    size_t checkpoint = 0;
    int64_t peer = 0;
    int code = EXIT_USAGE;
    if (args_i64(&a, "peer", 0, METHOD_MAX_PEERS - 1, &peer) && args_choice(&a, "checkpoint", which, &checkpoint)) {
        struct run_saved s;
        enum smkd_result e = run_saved_read(&s, a.pos[0]);
        if (e == SMKD_R_OK && peer >= s.n_peers)
            e = rt_fail(SMKD_R_INVALID, "--peer %lld: %s has %d network%s, counted from 0", (long long)peer, a.pos[0],
                        s.n_peers, s.n_peers == 1 ? "" : "s");
        code = e == SMKD_R_OK ? export_peer(&s, &a, (int)peer, checkpoint == 0) : run_failed("export");
        run_saved_release(&s);
    }
    args_release(&a);
    return code;
}
