// cg_compile: passes -> plan -> lowering -> modules (in parallel) -> objects -> linked artifact.
#include "../base/process.h"
#include "program.h"

#include <errno.h>
#include <fcntl.h>
#include <llvm-c/Analysis.h>
#include <llvm-c/Transforms/PassBuilder.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef SMKD_LLVM_VERSION
#define SMKD_LLVM_VERSION "?"
#endif
#ifndef SMKD_VERSION
#define SMKD_VERSION "dev"
#endif

#define WEIGHTS_SYMBOL "smkd_weights"

const char *cg_version(void) { return SMKD_VERSION " (LLVM " SMKD_LLVM_VERSION ")"; }

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Kernels are emitted in their final shape; only what the emitters leave to LLVM on purpose runs here.
static void optimize(LLVMModuleRef m, LLVMTargetMachineRef tm, bool verify) {
    char *msg = NULL;
    if (verify && LLVMVerifyModule(m, LLVMReturnStatusAction, &msg)) BUG("generated LLVM IR is invalid: %s", msg);
    LLVMDisposeMessage(msg);
    LLVMPassBuilderOptionsRef o = LLVMCreatePassBuilderOptions();
    LLVMErrorRef err = LLVMRunPasses(m, "function(sroa,early-cse,instcombine<no-verify-fixpoint>,simplifycfg)", tm, o);
    if (err) BUG("LLVM passes failed: %s", LLVMGetErrorMessage(err));
    LLVMDisposePassBuilderOptions(o);
}

struct job {
    const struct cg_program *p;
    const char *dir, *weights_symbol;
    size_t n_modules; // of kernels; module n_modules is the entry
    bool verify;
    int file_type; // -1: LLVM text
    pthread_mutex_t lock;
    size_t next;
    char **texts; // text output by module
    char **errors;
};

static void run_module(struct job *j, size_t i) {
    LLVMContextRef cx = LLVMContextCreate();
    LLVMTargetMachineRef tm = cg_target_machine(j->p->t);
    bug_pass = "emit";
    LLVMModuleRef m =
        i == j->n_modules ? cg_emit_entry(j->p, cx, j->weights_symbol) : cg_emit_kernels(j->p, cx, i, j->n_modules);
    optimize(m, tm, j->verify);
    char *err = NULL;
    if (j->file_type < 0) {
        char *t = LLVMPrintModuleToString(m);
        j->texts[i] = strcpy(xmalloc(strlen(t) + 1), t);
        LLVMDisposeMessage(t);
    } else {
        LLVMMemoryBufferRef buf = NULL;
        if (LLVMTargetMachineEmitToMemoryBuffer(tm, m, (LLVMCodeGenFileType)j->file_type, &err, &buf))
            BUG("LLVM code generation failed: %s", err);
        size_t n = LLVMGetBufferSize(buf);
        if (j->file_type == LLVMAssemblyFile) {
            j->texts[i] = xcalloc(n + 1, 1);
            memcpy(j->texts[i], LLVMGetBufferStart(buf), n);
        } else {
            struct str path = STR_INIT;
            str_addf(&path, "%s/m%zu.o", j->dir, i);
            FILE *f = fopen(path.s, "wb");
            if (!f) end_if_no_memory(errno);
            if (!f || fwrite(LLVMGetBufferStart(buf), 1, n, f) != n || fflush(f)) {
                j->errors[i] = xcalloc(1, strlen(path.s) + 128);
                sprintf(j->errors[i], "cannot write %s: %.80s", path.s, strerror(errno));
            }
            if (f) fclose(f);
            str_release(&path);
        }
        LLVMDisposeMemoryBuffer(buf);
    }
    bug_pass = NULL;
    LLVMDisposeTargetMachine(tm);
    LLVMDisposeModule(m);
    LLVMContextDispose(cx);
}

static void *worker(void *arg) {
    struct job *j = arg;
    for (;;) {
        pthread_mutex_lock(&j->lock);
        size_t i = j->next++;
        pthread_mutex_unlock(&j->lock);
        if (i > j->n_modules) return NULL;
        run_module(j, i);
    }
}

static void run_all(struct job *j, int threads) {
    pthread_t t[64];
    int n = threads > 0 ? threads : (int)sysconf(_SC_NPROCESSORS_ONLN), started = 0;
    if (n > 64) n = 64;
    pthread_mutex_init(&j->lock, NULL);
    while (started < n - 1 && pthread_create(&t[started], NULL, worker, j) == 0) started++;
    worker(j);
    for (int i = 0; i < started; i++) pthread_join(t[i], NULL);
    pthread_mutex_destroy(&j->lock);
}

// --- temporary folder and linker ------------------------------------------------------------------------------------

static enum smkd_status write_weights(const struct cg_program *p, const char *path, struct diag *d) {
    FILE *f = fopen(path, "wb");
    if (!f) end_if_no_memory(errno);
    static const char zeros[64];
    bool ok = f != NULL;
    for (int pass = 0; ok && pass < 2; pass++)
        for (size_t i = 0; ok && i < p->n_tensors; i++) {
            const struct cg_tensor *t = &p->tensors[i];
            if (t->role != (pass ? SMKD_ABI_BUFFER : SMKD_ABI_PARAM)) continue;
            size_t n = (size_t)t->numel * 4, pad = (64 - n % 64) % 64;
            if (t->data)
                ok = fwrite(t->data, 1, n, f) == n;
            else
                for (size_t k = 0; ok && k < n; k += 64)
                    ok = fwrite(zeros, 1, n - k < 64 ? n - k : 64, f) == (n - k < 64 ? n - k : 64);
            ok = ok && fwrite(zeros, 1, pad, f) == pad;
        }
    if (f && fflush(f)) ok = false;
    if (!ok) diag_error(d, NULL, "cannot write %s: %s; set TMPDIR to a folder with more room", path, strerror(errno));
    if (f) fclose(f);
    return ok ? SMKD_OK : SMKD_IO;
}

static enum smkd_status run_linker(const char *const *argv, const char *what, struct diag *d) {
    char text[2048];
    int status = process_run(argv, text, sizeof text);
    if (status == 0) return SMKD_OK;
    if (status == PROCESS_NOT_STARTED)
        diag_error(d, NULL, "cannot run the linker '%s': %s; install binutils", argv[0], strerror(errno));
    else
        diag_error(d, NULL, "cannot write %s: %s", what,
                   text[0] ? text : "the linker failed without a word; most likely it was out of memory");
    return SMKD_IO;
}

// ld names a binary file's symbols after its path, every other character turned into '_'.
static void binary_symbol(struct str *s, const char *path) {
    str_add(s, "_binary_");
    size_t at = s->len;
    str_addf(s, "%s_start", path);
    for (char *c = s->s + at; *c; c++)
        if (!((*c >= '0' && *c <= '9') || (*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z'))) *c = '_';
}

static enum smkd_status link_artifact(const char *dir, size_t n_modules, bool weights, bool relocatable,
                                      const char *path, struct diag *d) {
    struct stat st;
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) { // such as /dev/null, which a rename would replace
        diag_error(d, NULL, "cannot write %s: it is not a regular file; give -o another name", path);
        return SMKD_IO;
    }
    struct str out = STR_INIT, script = STR_INIT, wpath = STR_INIT, alias = STR_INIT;
    str_addf(&out, "%s.tmp%ld", path, (long)getpid());
    int guard = cleanup_add(out.s);
    str_addf(&script, "--version-script=%s/exports", dir);
    str_addf(&wpath, "%s/weights", dir);
    const char **argv = xcalloc(n_modules + 24, sizeof *argv);
    char **objs = xcalloc(n_modules + 1, sizeof *objs);
    size_t n = 0;
    argv[n++] = "ld";
    if (relocatable) {
        argv[n++] = "-r";
    } else {
        static const char *const opts[] = {
            "-shared", "-s", "--hash-style=gnu", "--build-id=none", "-z", "noexecstack", "-z", "relro"};
        for (size_t i = 0; i < sizeof opts / sizeof *opts; i++) argv[n++] = opts[i];
        argv[n++] = script.s;
    }
    argv[n++] = "-o";
    argv[n++] = out.s;
    for (size_t i = 0; i <= n_modules; i++) {
        struct str o = STR_INIT;
        str_addf(&o, "%s/m%zu.o", dir, i);
        argv[n++] = objs[i] = o.s;
    }
    if (weights) {
        // The generated code knows the weights by a fixed name, so that it is the same text every time.
        str_add(&alias, "--defsym=" WEIGHTS_SYMBOL "=");
        binary_symbol(&alias, wpath.s);
        argv[n++] = alias.s;
        argv[n++] = "--format=binary";
        argv[n++] = wpath.s;
        argv[n++] = "--format=default";
    }
    enum smkd_status s = run_linker((const char *const *)argv, path, d);
    if (s == SMKD_OK) {
        int fd = open(out.s, O_WRONLY | O_CLOEXEC);
        if (fd < 0 || (!relocatable && seal_file(out.s) != SMKD_OK) || fsync(fd) || io_rename(out.s, path) != SMKD_OK) {
            diag_error(d, NULL, "cannot write %s: %s", path, strerror(errno));
            s = SMKD_IO;
        }
        if (fd >= 0) close(fd);
    }
    if (s != SMKD_OK) unlink(out.s);
    cleanup_drop(guard);
    for (size_t i = 0; i <= n_modules; i++) free(objs[i]);
    free(objs);
    free(argv);
    str_release(&out);
    str_release(&script);
    str_release(&wpath);
    str_release(&alias);
    return s;
}

static enum smkd_status put_text(const char *path, const char *text, size_t n, struct diag *d) {
    bool ok = strcmp(path, "-") == 0 ? fwrite(text, 1, n, stdout) == n && !fflush(stdout)
                                     : io_write_file(path, text, n) == SMKD_OK;
    if (!ok) diag_error(d, NULL, "cannot write %s: %s", path, strerror(errno));
    return ok ? SMKD_OK : SMKD_IO;
}

static enum smkd_status emit_files(struct cg_program *p, const struct cg_options *o, const char *path, struct diag *d) {
    struct job j = {.p = p, .verify = o->verify, .file_type = LLVMObjectFile};
    bool llvm = strcmp(o->emit, "llvm") == 0, assembly = strcmp(o->emit, "asm") == 0, obj = strcmp(o->emit, "obj") == 0;
    if (llvm) j.file_type = -1;
    if (assembly) j.file_type = LLVMAssemblyFile;
    j.n_modules = p->n_kernels < 8        ? 1
                  : p->n_kernels / 8 > 32 ? 32
                                          : p->n_kernels / 8; // fixed: the bytes must not depend on the machine
    j.texts = xcalloc(j.n_modules + 1, sizeof *j.texts);
    j.errors = xcalloc(j.n_modules + 1, sizeof *j.errors);
    struct io_temp dir;
    struct str wpath = STR_INIT, exports = STR_INIT;
    bool weights = p->param_bytes > 0;
    enum smkd_status s = io_temp_make(&dir);
    if (s != SMKD_OK) {
        diag_error(d, NULL, "cannot make a temporary folder %s: %s; set TMPDIR", dir.path, strerror(errno));
    } else {
        j.dir = dir.path;
        str_addf(&wpath, "%s/weights", dir.path);
        str_addf(&exports, "%s/exports", dir.path);
        if (weights) j.weights_symbol = WEIGHTS_SYMBOL;
        double t0 = seconds();
        run_all(&j, o->threads);
        if (o->time)
            fprintf(stderr, "%8.3f s  emit %zu kernels in %zu modules\n", seconds() - t0, p->n_kernels, j.n_modules);
        for (size_t i = 0; i <= j.n_modules; i++)
            if (j.errors[i] && s == SMKD_OK) {
                diag_error(d, NULL, "%s; set TMPDIR to a folder with more room", j.errors[i]);
                s = SMKD_IO;
            }
        t0 = seconds();
        if (s == SMKD_OK && (llvm || assembly)) {
            struct str all = STR_INIT;
            for (size_t i = 0; i <= j.n_modules; i++) str_add(&all, j.texts[i]);
            s = put_text(path, all.s, all.len, d);
            str_release(&all);
        } else if (s == SMKD_OK) {
            static const char script[] = "{ global: " SMKD_QUERY_SYMBOL "; " SMKD_TABLE_SYMBOL "; local: *; };\n";
            if (weights && !obj) s = write_weights(p, wpath.s, d);
            if (s == SMKD_OK && io_write_file(exports.s, script, sizeof script - 1) != SMKD_OK) {
                diag_error(d, NULL, "cannot write %s: %s; set TMPDIR to a folder with more room", exports.s,
                           strerror(errno));
                s = SMKD_IO;
            }
            if (s == SMKD_OK) s = link_artifact(dir.path, j.n_modules, weights && !obj, obj, path, d);
            if (o->time) fprintf(stderr, "%8.3f s  link\n", seconds() - t0);
        }
    }
    io_temp_remove(&dir);
    for (size_t i = 0; i <= j.n_modules; i++) {
        free(j.texts[i]);
        free(j.errors[i]);
    }
    free(j.texts);
    free(j.errors);
    str_release(&wpath);
    str_release(&exports);
    return s;
}

// Inference leaves running statistics alone: outputs that would store them again go, and what only they need.
static void drop_buffer_outputs(struct ir_graph *g) {
    size_t n = 0;
    for (size_t i = 0; i < g->n_outputs; i++)
        if (g->outputs[i].kind != IR_OUT_BUFFER) g->outputs[n++] = g->outputs[i];
    g->n_outputs = n;
}

// From the graphs to what is emitted, with the texts of the stages on the way.
struct stages {
    struct cg_program p;
    struct cg_choices choices;
    struct cg_target target;
    struct arena arena;
    struct str text; // of the stage that was asked for; without one, `p` is complete
};

static void print_graphs(struct ir_graph *const *graphs, struct ir_plan *const *plans, struct str *text) {
    for (int i = 0; i < 2; i++)
        if (graphs[i] && plans)
            ir_plan_print(graphs[i], plans[i], text);
        else if (graphs[i])
            ir_print(graphs[i], text);
}

// Whether a loader will take the plan (smkd_abi.h); the message names the node of the largest value.
static bool fits(const struct cg_program *p, const struct ir_graph *g, const struct ir_plan *plan, struct diag *d) {
    const uint64_t most = SMKD_ABI_MAX_BYTES / (uint64_t)(p->max_batch > 0 ? p->max_batch : 1);
    if (!plan || ((uint64_t)plan->sample_bytes <= most && (uint64_t)plan->fixed_bytes <= SMKD_ABI_MAX_BYTES))
        return true;
    const struct ir_value *largest = &g->values[0];
    for (size_t v = 0; v < g->n_values; v++)
        if (g->values[v].role == IR_ROLE_NODE && ir_numel(&g->values[v].type) > ir_numel(&largest->type))
            largest = &g->values[v];
    const struct diag_loc *loc = largest->role == IR_ROLE_NODE ? &g->nodes[largest->def].loc : NULL;
    diag_error(d, loc,
               "a batch of %lld would take %.3g GiB of memory, its result alone %.3g GiB a sample; make it or "
               "--max-batch smaller",
               (long long)p->max_batch,
               (double)plan->sample_bytes * (double)p->max_batch / 0x1p30 + (double)plan->fixed_bytes / 0x1p30,
               (double)ir_numel(&largest->type) * (double)ir_stored_size(&largest->type) / 0x1p30);
    return false;
}

static enum smkd_status prepare(struct stages *s, struct cg_model *m, const struct cg_options *o, struct diag *d) {
    struct cg_program *p = &s->p;
    struct ir_graph *graphs[2] = {m->train, m->infer};
    struct ir_plan *plans[2] = {NULL, NULL};
    struct ir_pass_options po = {.mode = IR_TRAIN,
                                 .verify = o->verify,
                                 .dump_after = o->dump_after,
                                 .stop_after = o->stop_after,
                                 .dump = stderr,
                                 .time = o->time};
    const char *passes =
        arena_printf(&s->arena, "dce,%sfuse,layout%s", o->no_recompute ? "" : "recompute,", o->bf16 ? ",bf16" : "");
    if (m->infer) drop_buffer_outputs(m->infer);
    for (int i = 0; i < 2; i++)
        if (graphs[i]) TRY(ir_run_passes(graphs[i], passes, &po));
    if (strcmp(o->emit, "layout") == 0) {
        print_graphs(graphs, NULL, &s->text);
        return SMKD_OK;
    }
    TRY(cg_tensors_build(p, d));
    for (int i = 0; i < 2; i++)
        if (graphs[i]) cg_choose(&s->choices, &s->arena, &s->target, graphs[i], i == 1, o);
    for (int i = 0; i < 2; i++) {
        if (graphs[i]) plans[i] = cg_plan(p, graphs[i]);
        if (!fits(p, graphs[i], plans[i], d)) return SMKD_UNSUPPORTED;
    }
    if (strcmp(o->emit, "plan") == 0) {
        print_graphs(graphs, plans, &s->text);
        return SMKD_OK;
    }
    if (m->train) {
        enum smkd_abi_phase back = m->kind != SMKD_ABI_MODEL ? SMKD_ABI_FORWARD : SMKD_ABI_BACKWARD;
        cg_lower_graph(p, m->train, plans[0], SMKD_ABI_FORWARD, back, d);
        // They share an arena, and scratch sized for either serves both.
        int64_t sb = p->phases[SMKD_ABI_FORWARD].scratch_bytes;
        if (p->phases[SMKD_ABI_BACKWARD].scratch_bytes > sb) sb = p->phases[SMKD_ABI_BACKWARD].scratch_bytes;
        p->phases[SMKD_ABI_FORWARD].scratch_bytes = p->phases[SMKD_ABI_BACKWARD].scratch_bytes = sb;
    }
    if (m->infer) cg_lower_graph(p, m->infer, plans[1], SMKD_ABI_INFER, SMKD_ABI_INFER, d);
    if (m->update) cg_lower_update(p);
    return d->errors ? SMKD_UNSUPPORTED : SMKD_OK;
}

static enum smkd_status run(struct cg_model *m, const struct cg_options *o, const char *path, struct diag *d) {
    struct stages s = {.text = STR_INIT};
    doing("compiling %s", m->name ? m->name : path ? path : "a model");
    TRY(cg_target_init(&s.target, o->mcpu, o->bf16, d));
    s.target.choices = &s.choices;
    arena_init(&s.arena);
    s.p = (struct cg_program){
        .arena = &s.arena, .t = &s.target, .model = m, .max_batch = o->max_batch, .share_all = o->share_all};
    double t0 = seconds();
    enum smkd_status r = prepare(&s, m, o, d);
    if (r == SMKD_OK && path && s.text.len) {
        r = put_text(path, s.text.s, s.text.len, d);
    } else if (r == SMKD_OK && path) {
        if (o->time) fprintf(stderr, "%8.3f s  fuse, layout, plan, lower\n", seconds() - t0);
        r = emit_files(&s.p, o, path, d);
    }
    str_release(&s.text);
    arena_release(&s.arena);
    cg_target_release(&s.target);
    return r;
}

enum smkd_status cg_compile(struct cg_model *m, const struct cg_options *o, const char *path, struct diag *d) {
    return run(m, o, path, d);
}

enum smkd_status cg_check(struct cg_model *m, const struct cg_options *o, struct diag *d) { return run(m, o, NULL, d); }
