#include "peer.h"

#include "data.h"
#include "rt_internal.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static bool is_tap(const struct smkd_artifact *a, const char *name) {
    for (uint64_t i = 0; i < a->n_taps; i++)
        if (!strcmp(a->taps[i], name)) return true;
    return false;
}

bool rt_is_added(const smkd_model *m, const struct smkd_abi_tensor *t) {
    const struct smkd_artifact *a = smkd_model_info(m);
    for (uint64_t i = 0; t->role == SMKD_ABI_OUTPUT && i < a->n_heads; i++)
        if (a->heads[i].added && !strcmp(a->heads[i].logits, t->name)) return true;
    return t->role == SMKD_ABI_OUTPUT && is_tap(a, t->name);
}

// The i-th head of a model: of its table, or where that is empty (an artifact of version 2, or one made by other means)
// the i-th output [N,classes]. Numbers to learn are outputs as they are, whatever computes them.
static bool nth_head(const smkd_model *m, size_t i, bool numbers, struct smkd_abi_head *h) {
    const struct smkd_artifact *a = smkd_model_info(m);
    const struct smkd_abi_tensor *t;
    if (a->n_heads && !numbers) {
        if (i < a->n_heads) *h = a->heads[i];
        return i < a->n_heads;
    }
    for (size_t k = 0; (t = smkd_model_nth(m, SMKD_ABI_OUTPUT, k)); k++) {
        if (t->dtype != SMKD_ABI_F32 || t->rank != 2 || t->dims[0] != -1 || t->dims[1] < (numbers ? 1 : 2)) continue;
        if (rt_is_added(m, t) || i--) continue;
        *h = (struct smkd_abi_head){.output = t->name, .logits = t->name};
        return true;
    }
    return false;
}

// The one image input of a model; what else it has is said.
static enum smkd_result find_input(const smkd_model *m, const char *path, const struct smkd_abi_tensor **out) {
    static const char *const names[SMKD_ABI_DTYPES] = {
        [SMKD_ABI_F32] = "float32", [SMKD_ABI_I64] = "int64",   [SMKD_ABI_I32] = "int32",  [SMKD_ABI_U8] = "uint8",
        [SMKD_ABI_BOOL] = "bool",   [SMKD_ABI_F64] = "float64", [SMKD_ABI_I8] = "int8",    [SMKD_ABI_I16] = "int16",
        [SMKD_ABI_U16] = "uint16",  [SMKD_ABI_U32] = "uint32",  [SMKD_ABI_U64] = "uint64",
    };
    const struct smkd_abi_tensor *in = smkd_model_nth(m, SMKD_ABI_INPUT, 0), *t;
    *out = in;
    if (in && !smkd_model_nth(m, SMKD_ABI_INPUT, 1) && in->dtype == SMKD_ABI_F32 && in->rank >= 2 && in->dims[0] == -1)
        return SMKD_R_OK;
    struct str found = STR_INIT;
    for (size_t i = 0; (t = smkd_model_nth(m, SMKD_ABI_INPUT, i)); i++) {
        str_addf(&found, "%s\"%s\", %s [", i ? " and " : "", t->name, names[t->dtype]);
        for (uint32_t d = 0; d < t->rank; d++) {
            str_add(&found, d ? "," : "");
            if (t->dims[d] == -1)
                str_add(&found, "N");
            else
                str_addf(&found, "%lld", (long long)t->dims[d]);
        }
        str_add(&found, "]");
    }
    enum smkd_result r = rt_fail(SMKD_R_UNSUPPORTED,
                                 "%s: does not have exactly one float32 input [N,C,H,W], [N,H,W,C] or [N,F]; it has %s",
                                 path, found.s ? found.s : "none");
    str_release(&found);
    return r;
}

static enum smkd_result find_logits(struct rt_peer *p, const char *name, bool numbers) {
    struct smkd_abi_head h, found = {0};
    struct str all = STR_INIT;
    size_t n = 0;
    for (; nth_head(p->model, n, numbers, &h); n++) {
        const struct smkd_abi_tensor *t = smkd_model_find(p->model, SMKD_ABI_OUTPUT, h.logits);
        str_addf(&all, "%s\"%s\" [N,%lld]", n ? ", " : "", h.output, (long long)t->dims[1]);
        if (name ? !strcmp(name, h.output) || !strcmp(name, h.logits) : n == 0) found = h;
    }
    enum smkd_result r = SMKD_R_OK;
    if (n == 0)
        r = rt_fail(SMKD_R_UNSUPPORTED, "%s: has no float32 output [N,%s] to train", p->path,
                    numbers ? "T" : "classes");
    else if (name && !found.output)
        r = rt_fail(SMKD_R_MISMATCH, "--logits %s: %s has no such output [N,classes]; it has %s", name, p->path, all.s);
    else if (!name && n > 1)
        r = rt_fail(
            SMKD_R_MISMATCH,
            "%s: has several outputs [N,classes]: %s; say which of them are the logits with --logits NAME, here or "
            "in smkdc compile",
            p->path, all.s);
    str_release(&all);
    if (r != SMKD_R_OK) return r;
    p->logits = smkd_model_find(p->model, SMKD_ABI_OUTPUT, found.logits);
    p->output = found.output;
    p->op = found.op;
    return SMKD_R_OK;
}

bool rt_mixing(const smkd_model *m, struct str *out) {
    const struct smkd_artifact *a = smkd_model_info(m);
    if (!a->mixing_node) return false;
    str_addf(out, "node \"%s\"", a->mixing_node);
    if (a->mixing_op) str_addf(out, " (%s)", a->mixing_op);
    return true;
}

enum smkd_result rt_peer_load(struct rt_peer *p, const char *path, const struct rt_peer_want *want) {
    *p = (struct rt_peer){.path = path};
    p->model = want->known ? rt_model_load_known(path, want->known) : smkd_model_load(path);
    if (!p->model) return SMKD_R_INVALID;
    if (smkd_model_info(p->model)->kind != SMKD_ABI_MODEL)
        return rt_fail(SMKD_R_MISMATCH, "%s: is %s, not a model; give an artifact made with smkdc compile", path,
                       smkd_model_info(p->model)->kind == SMKD_ABI_LOSS ? "a loss" : "an optimizer");
    const struct smkd_abi_tensor *in;
    enum smkd_result r = find_input(p->model, path, &in);
    if (r != SMKD_R_OK) return r;
    p->input = in;
    if ((r = find_logits(p, want->logits, want->numbers)) != SMKD_R_OK) return r;
    if (in->rank != 4) {
        int64_t n;
        if (!checked_product(in->dims + 1, in->rank - 1, &n) || n < 1 || n > INT32_MAX)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s: its input has too many numbers a sample", path);
        p->channels = p->height = 1;
        p->width = (int)n;
        p->classes = (int)p->logits->dims[1];
        return SMKD_R_OK;
    }
    p->image = true;
    // TensorFlow's order shows where only the last dimension can be channels.
    p->channels_last = in->dims[1] > RT_MAX_CHANNELS && in->dims[3] <= RT_MAX_CHANNELS;
    p->channels = (int)in->dims[p->channels_last ? 3 : 1];
    p->height = (int)in->dims[p->channels_last ? 1 : 2];
    p->width = (int)in->dims[p->channels_last ? 2 : 3];
    p->classes = (int)p->logits->dims[1];
    return SMKD_R_OK;
}

void rt_peer_release(struct rt_peer *p) {
    smkd_session_free(p->session);
    smkd_model_free(p->model);
    free(p->out);
    free(p->cotangent);
    for (size_t i = 0; i < p->n_taps; i++) {
        free(p->tap[i].out);
        free(p->tap[i].cotangent);
    }
    free(p->tap);
    *p = (struct rt_peer){0};
}

char *rt_peer_single_statistic(const struct rt_peer *p) {
    const char *notes = smkd_model_info(p->model)->notes;
    cJSON *o = notes ? cJSON_Parse(notes) : NULL;
    const char *node = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(o, SMKD_NOTE_SINGLE_STATISTIC));
    char *copy = node ? rt_path_join("", node) : NULL;
    cJSON_Delete(o);
    return copy;
}

enum smkd_result rt_peers_agree(const struct rt_peer *a, const struct rt_peer *b) {
    if (a->channels != b->channels || a->height != b->height || a->width != b->width)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s takes %dx%dx%d images, %s %dx%dx%d: both peers see the same images; compile both "
                       "for the same input",
                       a->path, a->channels, a->height, a->width, b->path, b->channels, b->height, b->width);
    if (a->channels_last != b->channels_last)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s takes images channels-last, [N,H,W,C], and %s channels-first, [N,C,H,W]: both peers read "
                       "the same batches; export both in one order",
                       (a->channels_last ? a : b)->path, (a->channels_last ? b : a)->path);
    if (a->classes != b->classes)
        return rt_fail(SMKD_R_MISMATCH, "%s tells %d classes apart, %s %d: peers need the same classes", a->path,
                       a->classes, b->path, b->classes);
    return SMKD_R_OK;
}

static bool bind_cotangent(struct rt_peer *p, struct rt_tap *t) {
    t->cotangent = rt_floats(p->batch * (size_t)t->row->numel);
    if (!t->cotangent) rt_fail(SMKD_R_NOMEM, "%s: out of memory", p->path);
    return t->cotangent && smkd_bind(p->session, SMKD_ABI_COTANGENT, t->row->name, t->cotangent) == SMKD_R_OK;
}

// An output that no loss looks at gets the gradient zero; what is there for training alone has it where nothing is
// bound, and costs less then.
static enum smkd_result bind_taps(struct rt_peer *p) {
    const struct smkd_abi_tensor *t;
    size_t count = 0;
    while (smkd_model_nth(p->model, SMKD_ABI_COTANGENT, count)) count++;
    p->tap = xcalloc(count + 1, sizeof *p->tap);
    for (size_t i = 0; (t = smkd_model_nth(p->model, SMKD_ABI_COTANGENT, i)); i++) {
        if (strcmp(t->name, p->logits->name) == 0) continue;
        struct rt_tap *x = &p->tap[p->n_taps++];
        *x = (struct rt_tap){.row = smkd_model_find(p->model, SMKD_ABI_OUTPUT, t->name)};
        if (!x->row) return rt_fail(SMKD_R_INVALID, "%s: has no output \"%s\"", p->path, t->name);
        if (!is_tap(smkd_model_info(p->model), t->name) && !bind_cotangent(p, x)) return SMKD_R_NOMEM;
    }
    return SMKD_R_OK;
}

struct rt_tap *rt_peer_tap(struct rt_peer *p, const char *name) {
    for (size_t i = 0; i < p->n_taps; i++) {
        struct rt_tap *t = &p->tap[i];
        if (strcmp(t->row->name, name) != 0) continue;
        if (t->out) return t;
        if (!t->cotangent && !bind_cotangent(p, t)) return NULL;
        t->out = rt_floats(p->batch * (size_t)t->row->numel);
        if (!t->out) rt_fail(SMKD_R_NOMEM, "%s: out of memory for output \"%s\"", p->path, name);
        return t->out && smkd_bind(p->session, SMKD_ABI_OUTPUT, name, t->out) == SMKD_R_OK ? t : NULL;
    }
    return NULL;
}

enum smkd_result rt_peer_start(struct rt_peer *p, smkd_team *team, size_t batch, size_t views) {
    const struct smkd_artifact *info = smkd_model_info(p->model);
    if (views > 1 && batch * views > info->max_batch)
        return rt_fail(SMKD_R_MISMATCH,
                       "--batch-size %zu in %zu views of each row is a batch of %zu images: %s takes at most %llu; "
                       "compile it with --max-batch %zu, or give a smaller --batch-size",
                       batch, views, batch * views, p->path, (unsigned long long)info->max_batch, batch * views);
    batch *= views;
    if (batch > info->max_batch)
        return rt_fail(SMKD_R_MISMATCH,
                       "--batch-size %zu: %s takes at most %llu images; compile it with --max-batch %zu", batch,
                       p->path, (unsigned long long)info->max_batch, batch);
    p->session = smkd_session_new(p->model, team);
    if (!p->session) return SMKD_R_NOMEM;
    p->batch = batch;
    p->out = rt_floats(batch * (size_t)p->classes);
    p->cotangent = rt_floats(batch * (size_t)p->classes);
    if (!p->out || !p->cotangent) return rt_fail(SMKD_R_NOMEM, "%s: out of memory", p->path);
    enum smkd_result r = smkd_bind(p->session, SMKD_ABI_OUTPUT, p->logits->name, p->out);
    if (r != SMKD_R_OK || !smkd_model_find(p->model, SMKD_ABI_COTANGENT, p->logits->name)) return r;
    r = smkd_bind(p->session, SMKD_ABI_COTANGENT, p->logits->name, p->cotangent);
    return r == SMKD_R_OK ? bind_taps(p) : r;
}

enum smkd_result rt_peer_run(struct rt_peer *p, enum smkd_abi_phase phase, const float *images, size_t n) {
    // The input is bound for reading; the binding's type has no const.
    enum smkd_result r = smkd_bind(p->session, SMKD_ABI_INPUT, p->input->name, (void *)(uintptr_t)images);
    return r == SMKD_R_OK ? smkd_run(p->session, phase, (int64_t)n) : r;
}

enum smkd_result rt_set_if_there(smkd_session *s, const smkd_model *m, const char *name, double v) {
    return smkd_model_find(m, SMKD_ABI_SCALAR, name) ? smkd_set_scalar(s, name, v) : SMKD_R_OK;
}
