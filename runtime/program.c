#include "program.h"

#include "rt_internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

bool rt_program_has(const smkd_model *m, enum smkd_abi_role role, const char *name) {
    return smkd_model_find(m, role, name) != NULL;
}

enum { ANY_RANK = SMKD_ABI_MAX_RANK + 1 };

// What the inputs and outputs of each role look like. `columns`: as many as the peers have. Of several views they are
// [N,V,..], those of numbers alone [VN].
static const struct face {
    enum method_role role;
    enum smkd_abi_role as;
    uint32_t dtype, rank;
    bool batched, columns;
    enum { OF_ROW, OF_STACKED, OF_FED } views; // OF_STACKED: where peers see them as one batch; OF_FED: where feeds do
} faces[] = {
    {METHOD_TAP, SMKD_ABI_INPUT, SMKD_ABI_F32, ANY_RANK, true, false, OF_ROW},
    {METHOD_TAP_GRAD, SMKD_ABI_OUTPUT, SMKD_ABI_F32, ANY_RANK, true, false, OF_ROW},
    {METHOD_PROBS, SMKD_ABI_OUTPUT, SMKD_ABI_F32, 2, true, true, OF_ROW},
    {METHOD_INDEX, SMKD_ABI_INPUT, SMKD_ABI_I64, 1, true, false, OF_ROW},
    {METHOD_LABELS_DRAW, SMKD_ABI_INPUT, SMKD_ABI_I64, 1, true, false, OF_ROW},
    {METHOD_TEACHER, SMKD_ABI_INPUT, SMKD_ABI_F32, 2, true, true, OF_FED},
    {METHOD_TEACHER_TAP, SMKD_ABI_INPUT, SMKD_ABI_F32, ANY_RANK, true, false, OF_ROW},
    {METHOD_AVERAGE, SMKD_ABI_INPUT, SMKD_ABI_F32, 2, true, true, OF_FED},
    {METHOD_AVERAGE_TAP, SMKD_ABI_INPUT, SMKD_ABI_F32, ANY_RANK, true, false, OF_ROW},
    {METHOD_GUESS, SMKD_ABI_INPUT, SMKD_ABI_F32, 2, true, true, OF_FED},
    {METHOD_MIX_ROW, SMKD_ABI_INPUT, SMKD_ABI_I64, 1, true, false, OF_STACKED},
    {METHOD_TABLE, SMKD_ABI_INPUT, SMKD_ABI_F32, ANY_RANK, true, false, OF_ROW},
    {METHOD_TABLE, SMKD_ABI_OUTPUT, SMKD_ABI_F32, ANY_RANK, true, false, OF_ROW},
    {METHOD_STATE, SMKD_ABI_INPUT, SMKD_ABI_F32, ANY_RANK, false, false, OF_ROW},
    {METHOD_STATE, SMKD_ABI_OUTPUT, SMKD_ABI_F32, ANY_RANK, false, false, OF_ROW},
    {METHOD_LOGITS, SMKD_ABI_INPUT, SMKD_ABI_F32, 2, true, true, OF_STACKED},
    {METHOD_LABELS, SMKD_ABI_INPUT, SMKD_ABI_I64, 1, true, false, OF_ROW},
    {METHOD_LABELS_MIX, SMKD_ABI_INPUT, SMKD_ABI_I64, 1, true, false, OF_ROW},
    {METHOD_TARGETS, SMKD_ABI_INPUT, SMKD_ABI_F32, 2, true, true, OF_ROW},
    {METHOD_CLASS_WEIGHT, SMKD_ABI_INPUT, SMKD_ABI_F32, 1, false, true, OF_ROW},
    {METHOD_LOSS, SMKD_ABI_OUTPUT, SMKD_ABI_F32, 0, false, false, OF_ROW},
    {METHOD_LOSS_ALL, SMKD_ABI_OUTPUT, SMKD_ABI_F32, 0, false, false, OF_ROW},
    {METHOD_GRAD, SMKD_ABI_OUTPUT, SMKD_ABI_F32, 2, true, true, OF_STACKED},
};

static const struct face *face_of(enum method_role role, enum smkd_abi_role as) {
    for (size_t i = 0; i < sizeof faces / sizeof *faces; i++)
        if (faces[i].role == role && faces[i].as == as) return &faces[i];
    return NULL;
}

static const struct method_views one_view = {.count = 1};

static int64_t views_of(const struct face *f, const struct method_views *v) {
    const bool all = (f->views == OF_STACKED && v->stacked) || (f->views == OF_FED && v->feed == METHOD_ALL_VIEWS);
    return all ? v->count : 1;
}

static bool looks_like(const struct smkd_abi_tensor *t, const struct face *f, const struct method_views *v) {
    const int64_t views = views_of(f, v);
    const bool number = f->rank == 1; // of an image
    if (t->dtype != f->dtype || (f->rank != ANY_RANK && t->rank != f->rank + (views > 1 && !number))) return false;
    if (!f->batched) return t->rank == 0 || t->dims[0] >= 0;
    return t->rank > 0 && t->dims[0] == (number ? -views : -1) && (views == 1 || number || t->dims[1] == views);
}

static enum smkd_result check_row(const struct smkd_abi_tensor *t, const char *path, int peers, int64_t columns,
                                  const struct method_views *views) {
    const struct method_name n = method_parse(t->name);
    const struct face *f = face_of(n.role, (enum smkd_abi_role)t->role);
    const char *what = t->role == SMKD_ABI_INPUT ? "input" : "output";
    if (t->role == SMKD_ABI_INPUT && !f)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: has an input \"%s\", which no run can give; inputs are logits.K, tap.K.NAME, labels, "
                       "labels.mix, labels.draw, mix.row, index, targets, class.weight, teacher.K, teacher.K.NAME, "
                       "average.K, average.K.NAME, guess.K, table.NAME and state.NAME",
                       path, t->name);
    if (!f) return SMKD_R_OK;
    if (!looks_like(t, f, views))
        return rt_fail(SMKD_R_MISMATCH, "%s: has no %s \"%s\" as losses have it; compile it again with smkdc loss",
                       path, what, t->name);
    if (f->columns && t->dims[t->rank - 1] != columns)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: is for %lld classes, not for %lld; compile it with smkdc loss --classes %lld", path,
                       (long long)t->dims[t->rank - 1], (long long)columns, (long long)columns);
    if (n.peer >= peers)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: is for more than %d network%s: it has \"%s\"; compile it with smkdc loss --peers %d", path,
                       peers, peers == 1 ? "" : "s", t->name, peers);
    return SMKD_R_OK;
}

// The loss that peer k has: its own, or the one of all.
static void loss_name(const smkd_model *m, int k, char name[16]) {
    static const char all[] = "loss.all";
    if (rt_program_has(m, SMKD_ABI_OUTPUT, all))
        snprintf(name, 16, "%s", all);
    else
        snprintf(name, 16, "loss.%d", k);
}

enum smkd_result rt_program_check(const smkd_model *m, const char *path, int peers, int64_t columns, int64_t batch,
                                  const struct method_views *views) {
    const struct smkd_artifact *info = smkd_model_info(m);
    if (info->kind != SMKD_ABI_LOSS)
        return rt_fail(SMKD_R_INVALID, "%s: is %s, not a loss; make one with smkdc loss NAME -o L.smkd --classes %lld",
                       path, info->kind == SMKD_ABI_MODEL ? "a model" : "an optimizer", (long long)columns);
    for (uint64_t i = 0; i < info->n_tensors; i++) {
        enum smkd_result r = check_row(&info->tensors[i], path, peers, columns, views ? views : &one_view);
        if (r != SMKD_R_OK) return r;
    }
    for (int k = 0; k < peers && rt_program_has(m, SMKD_ABI_OUTPUT, "loss.all"); k++) {
        char own[16];
        snprintf(own, sizeof own, "loss.%d", k);
        if (rt_program_has(m, SMKD_ABI_OUTPUT, own))
            return rt_fail(SMKD_R_MISMATCH,
                           "%s: has the outputs \"loss.all\" and \"%s\", so that nobody knows which network %d learns "
                           "by; make it again with one of them",
                           path, own, k);
    }
    // One that predicts has no losses.
    bool predicts = false;
    const struct smkd_abi_tensor *out;
    for (size_t i = 0; (out = smkd_model_nth(m, SMKD_ABI_OUTPUT, i)); i++)
        predicts = predicts || method_parse(out->name).role == METHOD_PROBS;
    for (int k = 0; k < peers && !predicts; k++) {
        struct {
            enum smkd_abi_role role;
            char name[32];
        } need[] = {{SMKD_ABI_INPUT, ""}, {SMKD_ABI_OUTPUT, ""}, {SMKD_ABI_OUTPUT, ""}};
        snprintf(need[0].name, sizeof need[0].name, "logits.%d", k);
        loss_name(m, k, need[1].name);
        snprintf(need[2].name, sizeof need[2].name, "grad.%d", k);
        for (size_t i = 0; i < sizeof need / sizeof *need; i++) {
            if (rt_program_has(m, need[i].role, need[i].name)) continue;
            return rt_fail(
                SMKD_R_MISMATCH,
                "%s: has no %s \"%s\": it is no loss for %d network%s; compile it with smkdc loss --peers %d", path,
                need[i].role == SMKD_ABI_INPUT ? "input" : "output", need[i].name, peers, peers == 1 ? "" : "s", peers);
        }
    }
    if (info->max_batch < (uint64_t)batch)
        return rt_fail(SMKD_R_MISMATCH,
                       "%s: takes batches of at most %llu; compile it with smkdc loss --max-batch %lld", path,
                       (unsigned long long)info->max_batch, (long long)batch);
    return SMKD_R_OK;
}

// A network's output beside its logits as the program's input, and the gradient by it, where the program has one, as
// what its BACKWARD begins with.
static enum smkd_result bind_tap(struct rt_program *p, struct rt_peer *peers, const struct smkd_abi_tensor *row) {
    const struct method_name name = method_parse(row->name);
    struct rt_peer *peer = &peers[name.peer];
    struct rt_tap *t = rt_peer_tap(peer, name.tap);
    if (!t && smkd_model_find(peer->model, SMKD_ABI_COTANGENT, name.tap)) return SMKD_R_NOMEM;
    bool same = t && t->row->rank == row->rank;
    for (uint32_t d = 1; same && d < row->rank; d++) same = t->row->dims[d] == row->dims[d];
    if (!same)
        return rt_fail(
            SMKD_R_MISMATCH,
            "%s: looks at \"%s\" of network %d, %s: there is no such output with a gradient of that shape; make "
            "one with smkdc compile --tap or --head",
            smkd_model_info(p->model)->name, name.tap, name.peer, peer->path);
    return smkd_bind(p->session, (enum smkd_abi_role)row->role, row->name,
                     row->role == SMKD_ABI_INPUT ? t->out : t->cotangent);
}

enum smkd_result rt_program_start(struct rt_program *p, smkd_model *m, struct rt_peer *peers, int n, smkd_team *team) {
    const struct smkd_artifact *info = smkd_model_info(m);
    *p = (struct rt_program){.model = m, .peers = n};
    p->session = smkd_session_new(m, team);
    if (!p->session) return SMKD_R_NOMEM;
    p->loss = xcalloc((size_t)n, sizeof *p->loss);
    p->sum = xcalloc((size_t)n, sizeof *p->sum);
    p->rows = xcalloc((size_t)n + 1, sizeof *p->rows);
    p->metric = xcalloc(info->n_tensors + 1, sizeof *p->metric);
    for (int k = 0; k < n; k++) {
        char logits[32], grad[32];
        snprintf(logits, sizeof logits, "logits.%d", k);
        snprintf(grad, sizeof grad, "grad.%d", k);
        loss_name(m, k, p->loss[k]);
        enum smkd_result r = smkd_bind(p->session, SMKD_ABI_INPUT, logits, peers[k].out);
        if (r == SMKD_R_OK && rt_program_has(m, SMKD_ABI_OUTPUT, grad))
            r = smkd_bind(p->session, SMKD_ABI_OUTPUT, grad, peers[k].cotangent);
        if (r != SMKD_R_OK) return r;
    }
    for (uint64_t i = 0; i < info->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &info->tensors[i];
        const struct method_name name = method_parse(t->name);
        if ((name.role == METHOD_TAP || name.role == METHOD_TAP_GRAD) && t->role <= SMKD_ABI_OUTPUT) {
            enum smkd_result r = bind_tap(p, peers, t);
            if (r != SMKD_R_OK) return r;
        }
        bool number = t->dtype == SMKD_ABI_F32 && (t->rank == 0 || (t->rank == 1 && t->dims[0] == -1));
        if (t->role != SMKD_ABI_OUTPUT || name.role != METHOD_OTHER || !number || name.peer >= n) continue;
        struct rt_program_metric *x = &p->metric[p->n_metrics++];
        *x = (struct rt_program_metric){.output = t->name, .peer = name.peer, .rows = t->rank == 1, .last = NAN};
        snprintf(x->stem, sizeof x->stem, "%s", name.stem);
    }
    return SMKD_R_OK;
}

void rt_program_release(struct rt_program *p) {
    smkd_session_free(p->session);
    free(p->loss);
    free(p->sum);
    free(p->rows);
    free(p->metric);
    *p = (struct rt_program){0};
}

enum smkd_result rt_program_set(struct rt_program *p, const char *scalar, double v) {
    return rt_set_if_there(p->session, p->model, scalar, v);
}

enum smkd_result rt_program_bind(struct rt_program *p, const char *input, const void *data) {
    if (!rt_program_has(p->model, SMKD_ABI_INPUT, input)) return SMKD_R_OK;
    return smkd_bind(p->session, SMKD_ABI_INPUT, input, (void *)(uintptr_t)data); // bound for reading
}

enum smkd_result rt_program_run(struct rt_program *p, size_t n) {
    return smkd_run(p->session, SMKD_ABI_FORWARD, (int64_t)n);
}

double rt_program_loss(const struct rt_program *p, int k) {
    const float *v = smkd_output(p->session, p->loss[k]);
    return v ? (double)*v : NAN;
}

static const struct rt_program_metric *find(const struct rt_program *p, const char *stem, int peer) {
    for (size_t i = 0; i < p->n_metrics; i++)
        if (p->metric[i].peer == peer && strcmp(p->metric[i].stem, stem) == 0) return &p->metric[i];
    return NULL;
}

const float *rt_program_rows(const struct rt_program *p, const char *stem, int peer) {
    const struct rt_program_metric *x = find(p, stem, peer);
    return x && x->rows ? smkd_output(p->session, x->output) : NULL;
}

double rt_program_number(const struct rt_program *p, const char *stem, int peer) {
    const struct rt_program_metric *x = find(p, stem, peer);
    const float *v = x && !x->rows ? smkd_output(p->session, x->output) : NULL;
    return v ? (double)*v : NAN;
}

void rt_program_begin(struct rt_program *p) {
    for (int k = 0; k <= p->peers; k++) p->rows[k] = 0;
    for (int k = 0; k < p->peers; k++) p->sum[k] = 0;
    for (size_t i = 0; i < p->n_metrics; i++) p->metric[i].sum = 0;
}

void rt_program_add(struct rt_program *p, size_t n, int trained) {
    for (int k = 0; k < p->peers; k++) {
        if (trained >= 0 && trained != k) continue;
        p->sum[k] += rt_program_loss(p, k) * (double)n;
        p->rows[k] += n;
    }
    for (size_t i = 0; i < p->n_metrics; i++) {
        struct rt_program_metric *x = &p->metric[i];
        if (trained >= 0 && x->peer >= 0 && x->peer != trained) continue;
        const float *v = smkd_output(p->session, x->output);
        double s = 0;
        for (size_t j = 0; x->rows && j < n; j++) s += v[j];
        x->sum += s;
        x->last = x->rows ? s / (double)n : (double)*v;
    }
    p->rows[p->peers] += n;
}

// Rows that are counted, and those that a run looks at beside the true labels (detection.h); of others the mean is
// told.
static const struct rows {
    const char *stem;
    bool counted;
} rows_of[] = {{"selected", true}, {"kept", true}, {"corrected", false}};

static const struct rows *rows_named(const char *stem) {
    for (size_t i = 0; i < sizeof rows_of / sizeof *rows_of; i++)
        if (strcmp(rows_of[i].stem, stem) == 0) return &rows_of[i];
    return NULL;
}

// Fig. 2 of SMKD: rows that taught somebody, of all peers together.
static void add_frequency(struct rt_epoch_metrics *m) {
    double sum = 0;
    for (int k = 0; k < m->peers; k++) sum += rt_metrics_get(m, RT_OF_PEER, k, "selected_count");
    if (!isnan(sum)) rt_metrics_set(m, RT_OF_EPOCH, 0, "communication_frequency", sum);
}

void rt_program_metrics(const struct rt_program *p, struct rt_epoch_metrics *m) {
    for (size_t i = 0; i < p->n_metrics; i++) {
        const struct rt_program_metric *x = &p->metric[i];
        enum rt_group g = x->peer < 0 ? RT_OF_EPOCH : RT_OF_PEER;
        int peer = x->peer < 0 ? 0 : x->peer;
        const size_t of = p->rows[x->peer < 0 ? p->peers : x->peer];
        double mean = of ? x->sum / (double)of : NAN;
        const struct rows *rows = rows_named(x->stem);
        char name[64];
        if (!x->rows) {
            rt_metrics_set(m, g, peer, x->stem, x->last);
        } else if (rows) {
            if (!rows->counted) continue;
            snprintf(name, sizeof name, "%s_share", x->stem);
            rt_metrics_set(m, g, peer, name, mean);
            snprintf(name, sizeof name, "%s_count", x->stem);
            rt_metrics_set(m, g, peer, name, x->sum);
        } else {
            snprintf(name, sizeof name, "mean_%s", x->stem);
            rt_metrics_set(m, g, peer, name, mean);
        }
    }
    add_frequency(m);
}
