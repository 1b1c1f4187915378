// onnxruntime as the reference of smkdc verify: a Python program that this file has.
#include "dc_verify.h"

#include "../base/process.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NOT_THERE = 3 }; // exit code of the program below: no onnxruntime, or no numpy

// Reads FOLDER/inputs and FOLDER/values, a name a line, and in{K}.npy as the first says; writes out{K}.npy for each
// value. What .npy files do not have is written as float32.
static const char program[] =
    "import sys\n"
    "try:\n"
    "    import numpy as np, onnxruntime as ort\n"
    "except Exception as e:\n"
    "    print(e, file=sys.stderr)\n"
    "    sys.exit(3)\n"
    "folder = sys.argv[1]\n"
    "lines = lambda name: [x for x in open(f'{folder}/{name}', encoding='utf-8').read().split('\\n') if x]\n"
    "o = ort.SessionOptions()\n"
    "o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL\n"
    "o.log_severity_level = 4\n"
    "try:\n"
    "    s = ort.InferenceSession(f'{folder}/m.onnx', o, providers=['CPUExecutionProvider'])\n"
    "    feeds = {}\n"
    "    for line in lines('inputs'):\n"
    "        path, name = line.split('\\t', 1)\n"
    "        feeds[name] = np.load(path)\n"
    "    values = lines('values')\n"
    "    for k, v in enumerate(s.run(values, feeds)):\n"
    "        v = np.asarray(v)\n"
    "        np.save(f'{folder}/out{k}.npy', v if v.dtype.kind in 'biuf' else v.astype(np.float32))\n"
    "except Exception as e:\n"
    "    print(str(e).replace('\\n', ' '), file=sys.stderr)\n"
    "    sys.exit(1)\n";

static enum smkd_result write_text(const char *path, const char *text) {
    return io_write_file(path, text, strlen(text)) == SMKD_OK
               ? SMKD_R_OK
               : rt_fail(SMKD_R_IO, "cannot write %s: %s", path, strerror(errno));
}

static enum smkd_result prepare(struct verify *v, const struct rt_tensors *like) {
    struct dc_model *m = &v->m;
    const char *dir = v->dir.path;
    size_t n;
    const struct fe_form *f = fe_forms(m->file, &n);
    struct str inputs = STR_INIT, values = STR_INIT;
    for (size_t i = 0; i < n; i++)
        if (!f[i].output) str_addf(&inputs, "%s\t%s\n", verify_input(v, f[i].name, i), f[i].name);
    const char **names = ARENA_ARRAY(&m->arena, const char *, like->n + 1);
    for (size_t i = 0; i < like->n; i++) str_addf(&values, "%s\n", names[i] = like->t[i].name);
    enum smkd_result r = write_text(arena_printf(&m->arena, "%s/inputs", dir), inputs.s ? inputs.s : "");
    if (r == SMKD_R_OK) r = write_text(arena_printf(&m->arena, "%s/values", dir), values.s ? values.s : "");
    if (r == SMKD_R_OK) r = write_text(arena_printf(&m->arena, "%s/run.py", dir), program);
    str_release(&inputs);
    str_release(&values);
    if (r != SMKD_R_OK) return r;
    // The file again, as it was before the import made its edits.
    struct diag d = {.file = m->diag.file};
    struct fe_model *file = fe_open(&m->arena, &d, m->diag.file);
    const enum smkd_status s =
        file ? fe_write_values(file, names, like->n, arena_printf(&m->arena, "%s/m.onnx", dir), &d) : SMKD_INVALID;
    fe_close(file);
    return s == SMKD_OK ? SMKD_R_OK : rt_fail(SMKD_R_INVALID, "%s: cannot be written for the reference", m->diag.file);
}

enum smkd_result verify_onnxruntime(struct verify *v, const struct rt_tensors *like, bool must, struct rt_tensors *out,
                                    bool *there) {
    struct dc_model *m = &v->m;
    enum smkd_result r = prepare(v, like);
    if (r != SMKD_R_OK) return r;
    char line[400] = "";
    const char *python = args_str(v->args, "python");
    const int status =
        process_run((const char *const[]){python, arena_printf(&m->arena, "%s/run.py", v->dir.path), v->dir.path, NULL},
                    line, sizeof line);
    *there = status == 0;
    if (status == NOT_THERE || status == PROCESS_NOT_STARTED) {
        const char *why = status == NOT_THERE ? line : strerror(errno);
        if (must)
            return rt_fail(SMKD_R_UNSUPPORTED, "%s has no onnxruntime (%s); name another with --python", python, why);
        diag_note(&m->diag, NULL, "%s has no onnxruntime (%s): compared with smkdc's own interpreter instead", python,
                  why);
        return SMKD_R_OK;
    }
    if (status)
        return rt_fail(SMKD_R_INVALID, "%s: onnxruntime: %s", m->diag.file, *line ? line : "it ended without a word");
    out->t = xcalloc(like->n + 1, sizeof *out->t);
    for (size_t i = 0; i < like->n && r == SMKD_R_OK; i++) {
        struct rt_tensor *t = &out->t[out->n++];
        r = rt_npy_read(arena_printf(&m->arena, "%s/out%zu.npy", v->dir.path, i), t);
        if (r == SMKD_R_OK) t->name = strcpy(xmalloc(strlen(like->t[i].name) + 1), like->t[i].name);
    }
    return r;
}
