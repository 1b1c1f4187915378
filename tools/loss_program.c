#include "loss_program.h"

#include "../base/process.h"
#include "../losses/losses.h"
#include "../runtime/program.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool loss_is_file(const char *name) { return strchr(name, '/') || str_has_suffix(name, ".smkd"); }

static smkd_model *load(const char *path, const struct loss_request *want) {
    smkd_model *m =
        want->known && loss_is_file(want->name) ? rt_model_load_known(path, want->known) : smkd_model_load(path);
    if (m && rt_program_check(m, path, want->peers, want->classes, want->max_batch) == SMKD_R_OK) return m;
    smkd_model_free(m);
    return NULL;
}

// --- compiling -------------------------------------------------------------------------------------------------------
//
// By smkdc, in a process of its own: LLVM would otherwise take 40 MiB of a training run, and its loading a moment of
// every start.

enum { LOSS_BATCH = 4096 }; // programs for any smaller batch are one and the same

// smkdc beside this program; NULL: there is none, as in a build without LLVM.
static const char *compiler(struct arena *a) {
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return NULL;
    self[n] = 0;
    char *slash = strrchr(self, '/');
    if (!slash) return NULL;
    *slash = 0;
    const char *path = arena_printf(a, "%s/smkdc", self);
    return access(path, X_OK) == 0 ? path : NULL;
}

static int64_t batch_limit(const struct loss_request *want) {
    int64_t n = LOSS_BATCH;
    while (n < want->max_batch) n *= 2;
    return n;
}

static struct loss_options options(const struct loss_request *want) {
    return (struct loss_options){.method = want->method,
                                 .values = want->values,
                                 .peers = want->peers,
                                 .classes = want->classes,
                                 .mixed = want->mixed,
                                 .weighted = want->weighted};
}

static bool compile(const struct loss_request *want, const char *smkdc, const char *path, struct arena *a) {
    const char *argv[24 + 2 * METHOD_PARAMS] = {smkdc, "loss", want->name, "-o", path};
    size_t n = 5;
    const struct {
        const char *flag;
        int64_t value;
    } numbers[] = {{"--classes", want->classes}, {"--peers", want->peers}, {"--max-batch", batch_limit(want)}};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        argv[n++] = numbers[i].flag;
        argv[n++] = arena_printf(a, "%lld", (long long)numbers[i].value);
    }
    if (want->mixed) argv[n++] = "--mixed";
    if (want->weighted) argv[n++] = "--class-weights";
    // What is a matter of structure; the others are set when it runs.
    const struct method *m = want->method;
    const struct method_values v = method_canonical(m, &want->values);
    char fixed[32];
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        if (!p->help || method_fixed(m, p, fixed) || (p->scalar && !p->optional)) continue;
        const char *flag = arena_printf(a, "--%s", p->name);
        if (p->kind == METHOD_FLAG && !v.flag[i]) continue;
        argv[n++] = flag;
        if (p->kind == METHOD_FLAG) continue;
        argv[n++] = p->kind == METHOD_WORD ? v.word[i] : arena_printf(a, "%.17g", v.number[i]);
    }
    char line[1024];
    int status = process_run(argv, line, sizeof line);
    if (status == 0) return true;
    if (status == PROCESS_NOT_STARTED)
        rt_fail(SMKD_R_IO, "%s: cannot be run to compile the loss \"%s\": %s", smkdc, want->name, strerror(errno));
    else if (line[0])
        rt_fail(SMKD_R_INVALID, "%s", str_has_prefix(line, "error: ") ? line + 7 : line);
    else
        rt_fail(SMKD_R_INVALID,
                "the loss \"%s\" cannot be compiled: %s failed without a word; most likely it was out of memory",
                want->name, smkdc);
    return false;
}

static uint64_t hash_file(uint64_t h, const char *path) {
    const void *data;
    size_t size;
    if (io_map(path, &data, &size) != SMKD_OK) return h;
    h = fnv1a(h, data, size);
    io_unmap(data, size);
    return h;
}

// A home folder may be shared by different machines.
static uint64_t hash_cpu(uint64_t h) {
    static const char *const keys[] = {"cpu family", "model", "model name", "flags"};
    char room[CPUINFO_ROOM];
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const char *value = cpuinfo(keys[i], room);
        h = fnv1a(h, value, strlen(value) + 1);
    }
    return h;
}

// Where the program belongs; NULL when there is no place for a cache. The compiler's bytes stand for its version: a
// rebuilt one never meets programs of an older one.
static char *cache_path(const struct loss_request *want, const char *smkdc, struct arena *a) {
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    char *dir;
    if (xdg && xdg[0] == '/') // others are to be ignored, says the XDG specification
        dir = arena_printf(a, "%s/smkd", xdg);
    else if (home && home[0] == '/')
        dir = arena_printf(a, "%s/.cache/smkd", home);
    else
        return NULL;
    if (io_make_dirs(dir) != SMKD_OK || access(dir, W_OK | X_OK) != 0) return NULL;
    // Programs are code: a folder that others may write to is none of ours.
    struct stat st;
    if (stat(dir, &st) != 0 || st.st_uid != geteuid() || (st.st_mode & (S_IWGRP | S_IWOTH))) return NULL;
    struct loss_options o = options(want);
    char *key = loss_key(&o, a);
    uint64_t h = fnv1a(FNV_INIT, key, strlen(key));
    int64_t batch = batch_limit(want);
    h = fnv1a(h, &batch, sizeof batch);
    h = hash_cpu(hash_file(h, smkdc));
    return arena_printf(a, "%s/loss-%016llx.smkd", dir, (unsigned long long)h);
}

// Without a cache: compiled to a temporary file that is gone once it is loaded.
static smkd_model *once(const struct loss_request *want, const char *smkdc, struct arena *a) {
    struct io_temp dir;
    smkd_model *m = NULL;
    if (io_temp_make(&dir) != SMKD_OK) {
        rt_fail(SMKD_R_IO, "%s: cannot be made for the compiled loss: %s", dir.path, strerror(errno));
    } else {
        char *path = arena_printf(a, "%s/loss.smkd", dir.path);
        if (compile(want, smkdc, path, a)) m = load(path, want);
    }
    io_temp_remove(&dir);
    return m;
}

// Of several runs that want the same program one compiles it, the others wait for that.
static smkd_model *compile_once(const struct loss_request *want, const char *smkdc, const char *path, struct arena *a) {
    struct lock lock;
    lock_wait(&lock,
              arena_printf(a, "%s.lock", path)); // without one both compile: the same bytes, each put in place whole
    smkd_model *m = access(path, R_OK) == 0 ? load(path, want) : NULL;
    if (!m && compile(want, smkdc, path, a)) m = load(path, want);
    lock_drop(&lock);
    return m;
}

static smkd_model *build(const struct loss_request *want) {
    struct arena a;
    arena_init(&a);
    smkd_model *m = NULL;
    const char *smkdc = compiler(&a);
    if (!method_find(want->name)) {
        struct str all = STR_INIT;
        method_names(&all);
        rt_fail(SMKD_R_INVALID, "there is no method \"%s\"; expected one of %s, or a file made with smkdc loss",
                want->name, all.s);
        str_release(&all);
    } else if (!smkdc) {
        rt_fail(
            SMKD_R_UNSUPPORTED,
            "there is no compiler beside this program: where there is one, run smkdc loss %s -o L.smkd --classes %lld "
            "and give --loss L.smkd",
            want->name, (long long)want->classes);
    } else {
        char *path = cache_path(want, smkdc, &a);
        // A file that does not load (of a version in between, damaged) is replaced like one that is not there.
        if (path && access(path, R_OK) == 0) m = load(path, want);
        if (path && !m) m = compile_once(want, smkdc, path, &a);
        if (!m) m = once(want, smkdc, &a);
    }
    arena_release(&a);
    return m;
}

smkd_model *loss_program(const struct loss_request *want) {
    return loss_is_file(want->name) ? load(want->name, want) : build(want);
}
