#include "program.h"

#include "../base/base.h"
#include "../base/process.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool program_is_file(const char *name) { return strchr(name, '/') || str_has_suffix(name, ".smkd"); }

const char *program_self(struct arena *a) {
    char self[IO_PATH];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0) return NULL;
    self[n] = 0;
    return arena_strdup(a, self);
}

const char *program_compiler(struct arena *a) {
    const char *self = program_self(a), *slash = self ? strrchr(self, '/') : NULL;
    if (!slash) return NULL;
    const char *path = arena_printf(a, "%.*s/smkdc", (int)(slash - self), self);
    return access(path, X_OK) == 0 ? path : NULL;
}

static bool compile(const struct program_request *want, const char *smkdc, const char *path, struct arena *a) {
    size_t n = 0, fixed = 5;
    while (want->options[n]) n++;
    const char **argv = arena_array(a, n + fixed + 1, sizeof *argv);
    const char *const head[] = {smkdc, want->kind, want->name, "-o", path};
    memcpy(argv, head, sizeof head);
    memcpy(argv + fixed, want->options, (n + 1) * sizeof *argv);
    char line[1024];
    int status = process_run(argv, line, sizeof line);
    if (status == 0) return true;
    if (status == PROCESS_NOT_STARTED)
        rt_fail(SMKD_R_IO, "%s: cannot be run to compile the %s \"%s\": %s", smkdc, want->kind, want->name,
                strerror(errno));
    else if (line[0])
        rt_fail(SMKD_R_INVALID, "%s", str_has_prefix(line, "error: ") ? line + 7 : line);
    else
        rt_fail(SMKD_R_INVALID,
                "the %s \"%s\" cannot be compiled: %s failed without a word; most likely it was out of memory",
                want->kind, want->name, smkdc);
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
static char *cache_path(const struct program_request *want, const char *smkdc, struct arena *a) {
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
    uint64_t h = hash_cpu(hash_file(fnv1a(FNV_INIT, want->key, strlen(want->key)), smkdc));
    return arena_printf(a, "%s/%s-%016llx.smkd", dir, want->kind, (unsigned long long)h);
}

// Without a cache: compiled to a temporary file that is gone once it is loaded.
static smkd_model *once(const struct program_request *want, const char *smkdc, struct arena *a) {
    struct io_temp dir;
    smkd_model *m = NULL;
    if (io_temp_make(&dir) != SMKD_OK) {
        rt_fail(SMKD_R_IO, "%s: cannot be made for the compiled %s: %s", dir.path, want->kind, strerror(errno));
    } else {
        char *path = arena_printf(a, "%s/%s.smkd", dir.path, want->kind);
        if (compile(want, smkdc, path, a)) m = want->load(path, want->env);
    }
    io_temp_remove(&dir);
    return m;
}

// Of several runs that want the same program one compiles it, the others wait for that.
static smkd_model *compile_once(const struct program_request *want, const char *smkdc, const char *path,
                                struct arena *a) {
    struct lock lock;
    lock_wait(&lock,
              arena_printf(a, "%s.lock", path)); // without one both compile: the same bytes, each put in place whole
    smkd_model *m = access(path, R_OK) == 0 ? want->load(path, want->env) : NULL;
    if (!m && compile(want, smkdc, path, a)) m = want->load(path, want->env);
    lock_drop(&lock);
    return m;
}

smkd_model *program_get(const struct program_request *want) {
    struct arena a;
    arena_init(&a);
    smkd_model *m = NULL;
    const char *smkdc = program_compiler(&a);
    if (!smkdc) {
        rt_fail(SMKD_R_UNSUPPORTED, "there is no compiler beside this program: where there is one, run %s",
                want->beforehand);
    } else {
        char *path = cache_path(want, smkdc, &a);
        // A file that does not load (of a version in between, damaged) is replaced like one that is not there.
        if (path && access(path, R_OK) == 0) m = want->load(path, want->env);
        if (path && !m) m = compile_once(want, smkdc, path, &a);
        if (!m) m = once(want, smkdc, &a);
    }
    arena_release(&a);
    return m;
}
