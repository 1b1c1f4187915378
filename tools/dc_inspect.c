// smkdc inspect: what an artifact holds, for people and (--json) for programs.
#include "../runtime/runtime.h"
#include "dc.h"

#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt opts[] = {{"json", 0, NULL, NULL, "print one JSON object", 0},
                                       {"tensors", 0, NULL, NULL, "list every parameter and statistic, too", 0},
                                       {0}};
static const struct args_cmd cmd = {
    "smkdc inspect",
    "M.smkd",
    1,
    1,
    "Prints inputs, outputs, parameters, memory, FLOPs and target of an artifact. "
    "The file is read, not loaded:\n"
    "nothing in it runs. (Whoever loads one runs it: an artifact is a program, everything "
    "else is data.)",
    opts};

static const char *const role_names[] = {
    [SMKD_ABI_INPUT] = "input",      [SMKD_ABI_OUTPUT] = "output",       [SMKD_ABI_PARAM] = "parameter",
    [SMKD_ABI_BUFFER] = "statistic", [SMKD_ABI_COTANGENT] = "cotangent", [SMKD_ABI_GRAD_INPUT] = "grad_input",
    [SMKD_ABI_SCALAR] = "scalar"};
static const char *const dtype_names[SMKD_ABI_DTYPES] = {
    [SMKD_ABI_F32] = "f32",   [SMKD_ABI_I64] = "i64", [SMKD_ABI_I32] = "i32", [SMKD_ABI_U8] = "u8",
    [SMKD_ABI_BOOL] = "bool", [SMKD_ABI_F64] = "f64", [SMKD_ABI_I8] = "i8",   [SMKD_ABI_I16] = "i16",
    [SMKD_ABI_U16] = "u16",   [SMKD_ABI_U32] = "u32", [SMKD_ABI_U64] = "u64"};
static const char *const phase_names[] = {[SMKD_ABI_INFER] = "infer",
                                          [SMKD_ABI_FORWARD] = "forward",
                                          [SMKD_ABI_BACKWARD] = "backward",
                                          [SMKD_ABI_UPDATE] = "update"};

// The table comes from a file: a number outside a name list is printed, not looked up.
#define NAME(list, i) ((i) < sizeof(list) / sizeof *(list) ? (list)[i] : "unknown")

static void type_text(const struct smkd_abi_tensor *t, struct str *out) {
    str_addf(out, "%s[", NAME(dtype_names, t->dtype));
    for (uint32_t i = 0; i < t->rank && i < SMKD_ABI_MAX_RANK; i++) {
        char buf[24];
        str_addf(out, "%s%s", i ? "," : "", ir_dim_text(t->dims[i], buf));
    }
    str_add(out, "]");
}

static uint64_t elements(const struct smkd_artifact *a, enum smkd_abi_role role, size_t *n) {
    uint64_t sum = 0;
    *n = 0;
    for (uint64_t i = 0; i < a->n_tensors; i++)
        if (a->tensors[i].role == role) {
            sum += a->tensors[i].numel;
            ++*n;
        }
    return sum;
}

// What stays as it is in training. The names are in the notes, so that a block tensor keeps its role for all who save
// and export.
struct frozen {
    const char **names; // sorted
    size_t n;
};

static int by_text(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static struct frozen frozen_of(const cJSON *notes) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(notes, "frozen"), *name;
    struct frozen f = {.names = xcalloc((size_t)cJSON_GetArraySize(list) + 1, sizeof *f.names)};
    cJSON_ArrayForEach(name, list) if (cJSON_IsString(name)) f.names[f.n++] = name->valuestring;
    qsort(f.names, f.n, sizeof *f.names, by_text);
    return f;
}

static bool is_frozen(const struct frozen *f, const struct smkd_abi_tensor *t) {
    return f->n && t->role == SMKD_ABI_BUFFER && bsearch(&t->name, f->names, f->n, sizeof *f->names, by_text);
}

static const char *role_of(const struct smkd_artifact *a, const struct frozen *f, const struct smkd_abi_tensor *t) {
    for (uint64_t i = 0; i < a->n_taps && t->role == SMKD_ABI_OUTPUT; i++)
        if (!strcmp(a->taps[i], t->name)) return "tap";
    return is_frozen(f, t) ? "frozen" : NAME(role_names, t->role);
}

static uint64_t frozen_elements(const struct smkd_artifact *a, const struct frozen *f, size_t *n) {
    uint64_t sum = 0;
    *n = 0;
    for (uint64_t i = 0; i < a->n_tensors; i++)
        if (is_frozen(f, &a->tensors[i])) {
            sum += a->tensors[i].numel;
            ++*n;
        }
    return sum;
}

static double note_number(const cJSON *notes, const char *key) {
    const cJSON *v = cJSON_GetObjectItemCaseSensitive(notes, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}

static const char *const kinds[SMKD_ABI_KINDS] = {"model", "loss", "optimizer"};

static void print_text(const struct smkd_artifact *a, const cJSON *notes, bool all) {
    size_t n_params, n_buffers, n_frozen;
    const uint64_t params = elements(a, SMKD_ABI_PARAM, &n_params), buffers = elements(a, SMKD_ABI_BUFFER, &n_buffers);
    printf("name        %s (%s)\n", printable(a->name), kinds[a->kind]);
    printf("made by     %s, ABI %u\n", printable(a->producer), a->abi_version);
    printf("target      %s (needs %s)\n", printable(a->target_cpu),
           *a->required_features ? printable(a->required_features) : "nothing special");
    const char *dtype = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(notes, "dtype"));
    if (dtype) printf("dtype       %s\n", printable(dtype));
    printf("batches     up to %llu\n", (unsigned long long)a->max_batch);
    printf("parameters  %llu in %zu tensors\n", (unsigned long long)params, n_params);
    struct frozen f = frozen_of(notes);
    const uint64_t frozen = frozen_elements(a, &f, &n_frozen);
    if (n_buffers > n_frozen)
        printf("statistics  %llu in %zu tensors\n", (unsigned long long)(buffers - frozen), n_buffers - n_frozen);
    if (n_frozen) printf("frozen      %llu in %zu tensors\n", (unsigned long long)frozen, n_frozen);
    printf("FLOPs       forward %.4g, backward %.4g per sample\n", note_number(notes, "flops_forward"),
           note_number(notes, "flops_backward"));
    printf("nodes       %.0f", note_number(notes, "nodes"));
    if (cJSON_HasObjectItem(notes, "nodes_infer"))
        printf(" in training, %.0f in inference", note_number(notes, "nodes_infer"));
    printf("\n");
    for (int p = 0; p < SMKD_ABI_PHASES; p++) {
        const struct smkd_abi_entry *e = &a->entries[p];
        if (e->run)
            printf("%-11s %.3f MiB + %.3f MiB per sample, %.3f MiB scratch per thread\n", phase_names[p],
                   (double)e->fixed_bytes / 1048576, (double)e->sample_bytes / 1048576,
                   (double)e->scratch_bytes / 1048576);
    }
    for (uint64_t i = 0; i < a->n_tensors; i++) {
        const struct smkd_abi_tensor *t = &a->tensors[i];
        if (!all && (t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER)) continue;
        struct str type = STR_INIT;
        type_text(t, &type);
        printf("%-11s %s %s\n", role_of(a, &f, t), printable(t->name), type.s);
        str_release(&type);
    }
    for (uint64_t i = 0; i < a->n_heads; i++) {
        const struct smkd_abi_head *h = &a->heads[i];
        printf("%-11s %s", i ? "         or" : "logits", h->logits);
        if (h->op) printf(", before the %s of %s", h->op, h->output);
        printf("\n");
    }
    if (a->mixing_node)
        printf("one batch   node \"%s\" (%s) computes with all samples of it\n", a->mixing_node,
               a->mixing_op ? a->mixing_op : "?");
    free(f.names);
}

static cJSON *heads_json(const struct smkd_artifact *a) {
    cJSON *all = cJSON_CreateArray();
    for (uint64_t i = 0; i < a->n_heads; i++) {
        cJSON *j = cJSON_CreateObject();
        cJSON_AddStringToObject(j, "output", a->heads[i].output);
        cJSON_AddStringToObject(j, "logits", a->heads[i].logits);
        if (a->heads[i].op) cJSON_AddStringToObject(j, "op", a->heads[i].op);
        cJSON_AddItemToArray(all, j);
    }
    return all;
}

static cJSON *tensor_json(const struct smkd_artifact *a, const struct smkd_abi_tensor *t, const struct frozen *f) {
    cJSON *j = cJSON_CreateObject(), *dims = cJSON_CreateArray();
    cJSON_AddStringToObject(j, "name", t->name);
    cJSON_AddStringToObject(j, "role", role_of(a, f, t));
    cJSON_AddStringToObject(j, "dtype", NAME(dtype_names, t->dtype));
    for (uint32_t i = 0; i < t->rank && i < SMKD_ABI_MAX_RANK; i++) {
        char buf[24];
        // "N" or "2N" for multiples of the batch, a number otherwise.
        cJSON_AddItemToArray(dims, t->dims[i] < 0 ? cJSON_CreateString(ir_dim_text(t->dims[i], buf))
                                                  : cJSON_CreateNumber((double)t->dims[i]));
    }
    cJSON_AddItemToObject(j, "shape", dims);
    if (t->role == SMKD_ABI_PARAM || t->role == SMKD_ABI_BUFFER)
        cJSON_AddNumberToObject(j, "offset", (double)t->offset);
    return j;
}

static void print_json(const struct smkd_artifact *a, const cJSON *notes) {
    size_t n;
    cJSON *j = cJSON_CreateObject();
    cJSON_AddStringToObject(j, "name", a->name);
    cJSON_AddStringToObject(j, "kind", kinds[a->kind]);
    cJSON_AddNumberToObject(j, "abi_version", a->abi_version);
    cJSON_AddStringToObject(j, "producer", a->producer);
    cJSON_AddStringToObject(j, "target_cpu", a->target_cpu);
    cJSON_AddStringToObject(j, "required_features", a->required_features);
    cJSON_AddNumberToObject(j, "max_batch", (double)a->max_batch);
    cJSON_AddNumberToObject(j, "parameters", (double)elements(a, SMKD_ABI_PARAM, &n));
    struct frozen f = frozen_of(notes);
    const double buffers = (double)elements(a, SMKD_ABI_BUFFER, &n), frozen = (double)frozen_elements(a, &f, &n);
    cJSON_AddNumberToObject(j, "statistics", buffers - frozen);
    cJSON_AddNumberToObject(j, "frozen", frozen);
    cJSON_AddNumberToObject(j, "param_bytes", (double)a->param_bytes);
    cJSON_AddNumberToObject(j, "trained_bytes", (double)a->trained_bytes);
    char hash[24];
    snprintf(hash, sizeof hash, "%016llx", (unsigned long long)a->content_hash);
    cJSON_AddStringToObject(j, "content_hash", hash); // 64 bits do not fit a JSON number
    cJSON *phases = cJSON_AddObjectToObject(j, "phases");
    for (int p = 0; p < SMKD_ABI_PHASES; p++) {
        const struct smkd_abi_entry *e = &a->entries[p];
        if (!e->run) continue;
        cJSON *phase = cJSON_AddObjectToObject(phases, phase_names[p]);
        cJSON_AddNumberToObject(phase, "fixed_bytes", (double)e->fixed_bytes);
        cJSON_AddNumberToObject(phase, "sample_bytes", (double)e->sample_bytes);
        cJSON_AddNumberToObject(phase, "scratch_bytes", (double)e->scratch_bytes);
    }
    cJSON_AddItemToObject(j, "heads", heads_json(a));
    if (a->mixing_node) cJSON_AddStringToObject(j, "mixing_node", a->mixing_node);
    cJSON *tensors = cJSON_AddArrayToObject(j, "tensors");
    for (uint64_t i = 0; i < a->n_tensors; i++) cJSON_AddItemToArray(tensors, tensor_json(a, &a->tensors[i], &f));
    free(f.names);
    cJSON_AddItemToObject(j, "notes", cJSON_IsObject(notes) ? cJSON_Duplicate(notes, 1) : cJSON_CreateObject());
    char *text = cJSON_Print(j);
    CHECK(text, "out of memory for the description");
    puts(text);
    cJSON_free(text);
    cJSON_Delete(j);
}

static int run(const struct args *a) {
    smkd_model *m = smkd_model_read(a->pos[0]);
    if (!m) {
        fprintf(stderr, "error: %s\n", smkd_last_error());
        return EXIT_FAILED;
    }
    const struct smkd_artifact *info = smkd_model_info(m);
    cJSON *notes = info->notes ? cJSON_Parse(info->notes) : NULL;
    if (args_given(a, "json"))
        print_json(info, notes);
    else
        print_text(info, notes, args_given(a, "tensors"));
    cJSON_Delete(notes);
    smkd_model_free(m);
    return EXIT_DONE;
}

int dc_inspect(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
