// Loading artifacts, sessions, the thread team, weights: over a handmade artifact, so without the compiler.
#include "../../runtime/peer.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <elf.h>

enum { D = 4, BATCH = 32 };
static char dir[] = "/tmp/smkd-test-XXXXXX";

// A path in the test's folder; good until the fourth call from now.
static const char *at(const char *name) {
    static char paths[4][256];
    static int next;
    char *p = paths[next++ % 4];
    snprintf(p, 256, "%s/%s", dir, name);
    return p;
}

static const char *artifact(int bad) {
    char name[32], cmd[600];
    snprintf(name, sizeof name, "bad%d.smkd", bad);
    const char *path = at(name);
    snprintf(cmd, sizeof cmd, "cc -std=c17 -O1 -shared -fPIC -nostdlib -DBAD=%d -o %s %s/tools/handmade_artifact.c",
             bad, path, TEST_DIR);
    if (access(path, R_OK) == 0) return path;
    assert_int_equal(system(cmd), 0);
    assert_int_equal(seal_file(path), SMKD_OK);
    return path;
}

static void refuses(const char *path, const char *words) {
    smkd_model *m = smkd_model_load(path);
    if (m) fail_msg("%s was loaded", path);
    const char *e = smkd_last_error();
    if (!strstr(e, words) || !strstr(e, path) || strchr(e, '\n'))
        fail_msg("\"%s\" should name %s and say \"%s\"", e, path, words);
}

static void faulty_artifacts(void **state) {
    (void)state;
    static const struct {
        int bad;
        const char *words;
    } cases[] = {{1, "damaged"},  {2, "damaged"},  {3, "damaged"},  {4, "damaged"},
                 {5, "damaged"},  {6, "damaged"},  {7, "damaged"},  {8, "avx512imaginary"},
                 {9, "damaged"},  {10, "damaged"}, {11, "damaged"}, {12, "another version"},
                 {21, "damaged"}, {22, "damaged"}, {23, "damaged"}, {24, "damaged"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) refuses(artifact(cases[i].bad), cases[i].words);
    refuses(artifact(8), "--mcpu native");
    smkd_model *m = smkd_model_read(artifact(8)); // its description can be read all the same, but not run
    assert_non_null(m);
    assert_non_null(strstr(smkd_model_info(m)->required_features, "avx512imaginary"));
    smkd_team *t = smkd_team_new(1);
    assert_null(smkd_session_new(m, t));
    assert_non_null(strstr(smkd_last_error(), "smkd_model_load"));
    smkd_team_free(t);
    smkd_model_free(m);
}

// A table of version 2 ends earlier.
static void older_artifact(void **state) {
    (void)state;
    smkd_model *(*const ways[])(const char *path) = {smkd_model_load, smkd_model_read};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        smkd_model *m = ways[i](artifact(20));
        if (!m) fail_msg("%s", smkd_last_error());
        const struct smkd_artifact *a = smkd_model_info(m);
        assert_int_equal(a->abi_version, 2);
        assert_int_equal(a->n_heads, 0);
        assert_null(a->heads);
        assert_null(a->mixing_node);
        assert_int_equal(a->n_taps, 0);
        assert_null(a->taps);
        smkd_model_free(m);
    }
}

// What is there for training is told from the model's results.
static void taps(void **state) {
    (void)state;
    smkd_model *(*const ways[])(const char *path) = {smkd_model_load, smkd_model_read};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        smkd_model *m = ways[i](artifact(25));
        if (!m) fail_msg("%s", smkd_last_error());
        assert_true(rt_is_added(m, smkd_model_find(m, SMKD_ABI_OUTPUT, "y")));
        assert_false(rt_is_added(m, smkd_model_find(m, SMKD_ABI_OUTPUT, "threads")));
        assert_false(rt_is_added(m, smkd_model_find(m, SMKD_ABI_COTANGENT, "y")));
        smkd_model_free(m);
    }
}

static void not_artifacts(void **state) {
    (void)state;
    refuses(at("nothing"), "cannot be read");
    refuses(dir, "cannot be read");
    assert_int_equal(io_write_file(at("empty"), "", 0), SMKD_OK);
    refuses(at("empty"), "not an artifact");
    assert_int_equal(
        io_write_file(at("text"), "hello, this is text and long enough to be an ELF header, but it is not one", 74),
        SMKD_OK);
    refuses(at("text"), "not an artifact");
    char cmd[600];
    snprintf(cmd, sizeof cmd, "echo 'int x;' | cc -shared -fPIC -x c -o %s -", at("plain.so"));
    assert_int_equal(system(cmd), 0);
    refuses(at("plain.so"), "without the seal");
    assert_int_equal(seal_file(at("plain.so")), SMKD_OK);
    refuses(at("plain.so"), "code that runs"); // the C library's own
    snprintf(cmd, sizeof cmd, "echo 'int x;' | cc -shared -fPIC -nostdlib -x c -o %s -", at("bare.so"));
    assert_int_equal(system(cmd), 0);
    assert_int_equal(seal_file(at("bare.so")), SMKD_OK);
    refuses(at("bare.so"), "no smkd_query");
}

// Cut off anywhere, or of another machine: refused before the dynamic loader sees it.
static void damaged_elf(void **state) {
    (void)state;
    const void *data;
    size_t size;
    assert_int_equal(io_map(artifact(0), &data, &size), SMKD_OK);
    for (size_t n = 0; n < size; n += 1 + n / 7) {
        assert_int_equal(io_write_file(at("cut.smkd"), data, n), SMKD_OK);
        refuses(at("cut.smkd"), n < 64 ? "not an artifact" : "cut off");
    }
    unsigned char *copy = xmalloc(size);
    memcpy(copy, data, size);
    copy[18] = 183; // AArch64
    assert_int_equal(io_write_file(at("arm.smkd"), copy, size), SMKD_OK);
    refuses(at("arm.smkd"), "x86-64");
    free(copy);
    io_unmap(data, size);
}

// A constructor, another library, a resolver of symbols: what would run before anybody asked for it. Each writes a file
// when it does.
static void runs_nothing(void **state) {
    (void)state;
    static const char *const code[] = {
        "__attribute__((constructor)) static void f(void) { mark(); } int x;",
        "__attribute__((destructor)) static void f(void) { mark(); } int x;",
        "static int g(void) { return 1; } static int (*pick(void))(void) { mark(); return g; }\n"
        "int f(void) __attribute__((ifunc(\"pick\"))); int (*volatile p)(void) = f;",
        "void _init(void) { mark(); } int x;",
    };
    char cmd[900];
    for (size_t i = 0; i < sizeof code / sizeof *code; i++) {
        FILE *f = fopen(at("evil.c"), "w");
        assert_non_null(f);
        fprintf(f, "#include <fcntl.h>\nstatic void mark(void) { open(\"%s\", O_CREAT, 0600); }\n%s\n", at("RAN"),
                code[i]);
        fclose(f);
        snprintf(cmd, sizeof cmd, "cc -shared -fPIC %s -o %s %s", i == 3 ? "-nostartfiles" : "", at("evil.smkd"),
                 at("evil.c"));
        assert_int_equal(system(cmd), 0);
        refuses(at("evil.smkd"), "without the seal");
        assert_int_equal(seal_file(at("evil.smkd")), SMKD_OK);
        refuses(at("evil.smkd"), "never writes");
        assert_null(smkd_model_read(at("evil.smkd")));
        assert_int_equal(access(at("RAN"), F_OK), -1);
    }
}

// Headers that say one thing to a reader and another to the dynamic loader, or that change the process: each of these
// is a change of a good artifact, sealed again.
static Elf64_Phdr *segment(unsigned char *b, uint32_t type) {
    const Elf64_Ehdr *h = (const Elf64_Ehdr *)(const void *)b;
    Elf64_Phdr *p = (Elf64_Phdr *)(void *)(b + h->e_phoff);
    for (size_t i = 0; i < h->e_phnum; i++)
        if (p[i].p_type == type) return &p[i];
    fail_msg("no segment of type %u", type);
    return NULL;
}
static Elf64_Dyn *entry(unsigned char *b, int64_t tag) {
    Elf64_Dyn *d = (Elf64_Dyn *)(void *)(b + segment(b, PT_DYNAMIC)->p_offset);
    while (d->d_tag != tag) d++;
    return d;
}
static Elf64_Rela *relocation(unsigned char *b) { // its section lies in the first segment, at its address
    return (Elf64_Rela *)(void *)(b + entry(b, DT_RELA)->d_un.d_ptr);
}
static void at_zero(unsigned char *b) { *entry(b, DT_RELACOUNT) = (Elf64_Dyn){.d_tag = DT_INIT}; }
static void needs_nothing(unsigned char *b) { *entry(b, DT_RELACOUNT) = (Elf64_Dyn){.d_tag = DT_NEEDED}; }
static void twice(unsigned char *b) { entry(b, DT_RELACOUNT)->d_tag = DT_RELASZ; }
static void compact(unsigned char *b) { entry(b, DT_RELACOUNT)->d_tag = 36; } // DT_RELR
static void no_end(unsigned char *b) {
    Elf64_Phdr *p = segment(b, PT_DYNAMIC);
    p->p_filesz = (uint64_t)((unsigned char *)entry(b, DT_NULL) - (b + p->p_offset));
}
static void elsewhere(unsigned char *b) { segment(b, PT_DYNAMIC)->p_vaddr += sizeof(Elf64_Dyn); }
static void stack(unsigned char *b) { segment(b, PT_GNU_STACK)->p_flags |= PF_X; }
static void outside(unsigned char *b) { relocation(b)->r_offset += UINT64_C(1) << 30; }
static void into_code(unsigned char *b) { relocation(b)->r_offset = 64; }
static void writable_code(unsigned char *b) { segment(b, PT_LOAD)->p_flags |= PF_W | PF_X; }

static void two_tongues(void **state) {
    (void)state;
    static const struct {
        void (*change)(unsigned char *b);
        const char *words;
    } cases[] = {{at_zero, "runs when it is loaded"},
                 {needs_nothing, "wants another library"},
                 {twice, "entries of other kinds"},
                 {compact, "entries of other kinds"},
                 {no_end, "has no end"},
                 {elsewhere, "lies elsewhere"},
                 {stack, "executable stack"},
                 {outside, "relocations lie outside"},
                 {into_code, "relocations lie outside"},
                 {writable_code, "code that can be changed"}};
    const void *data;
    size_t size;
    assert_int_equal(io_map(artifact(0), &data, &size), SMKD_OK);
    unsigned char *copy = xmalloc(size);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        memcpy(copy, data, size);
        cases[i].change(copy);
        seal_make(copy, size - SEAL_BYTES, copy + size - SEAL_BYTES);
        assert_int_equal(io_write_file(at("tongues.smkd"), copy, size), SMKD_OK);
        refuses(at("tongues.smkd"), cases[i].words);
        assert_null(smkd_model_read(at("tongues.smkd")));
    }
    free(copy);
    io_unmap(data, size);
}

// Bytes changed anywhere and sealed again, as somebody could who wants more than damage: read, or refused, never a
// crash; and what is read is inside the file.
static void hostile_tables(void **state) {
    (void)state;
    const void *data;
    size_t size, read = 0;
    assert_int_equal(io_map(artifact(0), &data, &size), SMKD_OK);
    size -= SEAL_BYTES;
    unsigned char *copy = xmalloc(size + SEAL_BYTES);
    uint32_t random = 1;
    for (int i = 0; i < 4000; i++) {
        memcpy(copy, data, size);
        for (int k = 0; k <= i % 3; k++) {
            random = random * 1664525u + 1013904223u;
            // Zeros are most of the file: look for a byte that says something.
            size_t where = random % size;
            for (int tries = 0; !copy[where] && tries < 64; tries++) where = (where + 1) % size;
            copy[where] = (unsigned char)(i % 2 ? random >> 24 : copy[where] ^ 1u << (random >> 29));
        }
        seal_make(copy, size, copy + size);
        FILE *f = fopen(at("hostile.smkd"), "wb"); // not by rename: quick
        assert_non_null(f);
        assert_int_equal(fwrite(copy, 1, size + SEAL_BYTES, f), size + SEAL_BYTES);
        fclose(f);
        smkd_model *m = smkd_model_read(at("hostile.smkd"));
        if (!m) continue;
        read++;
        const struct smkd_artifact *a = smkd_model_info(m);
        size_t sum = strlen(a->name) + strlen(a->target_cpu) + (a->notes ? strlen(a->notes) : 0);
        for (uint64_t t = 0; t < a->n_tensors; t++) sum += strlen(a->tensors[t].name);
        assert_true(sum < 100000);
        assert_non_null(smkd_model_params(m));
        smkd_model_free(m);
    }
    free(copy);
    io_unmap(data, size + SEAL_BYTES);
    assert_true(read > 100 && read < 3900);
}

// Models that come and go get numbers of descriptors that others had: each name must still mean its own file.
static void many_at_once(void **state) {
    (void)state;
    smkd_model *a = smkd_model_load(artifact(0)), *same = smkd_model_load(artifact(0));
    assert_non_null(a);
    assert_non_null(same);
    smkd_model_free(same);
    refuses(artifact(12), "another version"); // not the tables of `a`
    for (int i = 0; i < 50; i++) {
        smkd_model *b = smkd_model_load(artifact(i % 2 ? 0 : 13));
        assert_non_null(b);
        assert_string_equal(smkd_model_info(b)->target_cpu, i % 2 ? "imaginary" : "another");
        smkd_model_free(b);
    }
    smkd_model_free(a);
}

struct fixture {
    smkd_model *m;
    smkd_team *t;
    smkd_session *s;
    float x[BATCH * D], dy[BATCH * D], dx[BATCH * D];
};

static void start(struct fixture *f, int threads) {
    f->m = smkd_model_load(artifact(0));
    assert_non_null(f->m);
    f->t = smkd_team_new(threads);
    assert_non_null(f->t);
    f->s = smkd_session_new(f->m, f->t);
    assert_non_null(f->s);
    for (int i = 0; i < BATCH * D; i++) {
        f->x[i] = (float)(i % 13) - 6;
        f->dy[i] = (float)(i % 5) - 2;
        f->dx[i] = NAN;
    }
}

static void end(struct fixture *f) {
    smkd_session_free(f->s);
    smkd_team_free(f->t);
    smkd_model_free(f->m);
}

static void wants(enum smkd_result got, enum smkd_result want, const char *words) {
    assert_int_equal(got, want);
    if (!strstr(smkd_last_error(), words)) fail_msg("\"%s\" should say \"%s\"", smkd_last_error(), words);
}

static void check_forward(struct fixture *f, int64_t n) {
    assert_int_equal(smkd_run(f->s, SMKD_ABI_FORWARD, n), SMKD_R_OK);
    const float *y = smkd_output(f->s, "y");
    for (int64_t i = 0; i < n * D; i++) assert_true(y[i] == (float)(1 + i % D) * f->x[i] + 10 * (float)(1 + i % D));
}

static void steps(void **state) {
    (void)state;
    struct fixture f;
    start(&f, 2);
    assert_int_equal(smkd_bind(f.s, SMKD_ABI_INPUT, "x", f.x), SMKD_R_OK);
    assert_int_equal(smkd_bind(f.s, SMKD_ABI_COTANGENT, "y", f.dy), SMKD_R_OK);
    const int64_t batches[] = {1, 5, BATCH, 3}; // growing and shrinking
    for (int i = 0; i < 4; i++) check_forward(&f, batches[i]);
    assert_int_equal(smkd_run(f.s, SMKD_ABI_BACKWARD, 3), SMKD_R_OK); // no input gradient bound: none computed
    const float *g = smkd_model_grads(f.m);
    for (int j = 0; j < D; j++) {
        float want = 0;
        for (int i = 0; i < 3; i++) want += f.dy[i * D + j] * f.x[i * D + j];
        assert_true(g[j] == want);
    }
    assert_int_equal(smkd_bind(f.s, SMKD_ABI_GRAD_INPUT, "x", f.dx), SMKD_R_OK);
    assert_int_equal(smkd_run(f.s, SMKD_ABI_BACKWARD, 3), SMKD_R_OK);
    for (int i = 0; i < 3 * D; i++) assert_true(f.dx[i] == f.dy[i] * (float)(1 + i % D));
    assert_true(isnan(f.dx[3 * D]));
    assert_int_equal(smkd_set_scalar(f.s, "lr", 0.5), SMKD_R_OK);
    assert_int_equal(smkd_run(f.s, SMKD_ABI_UPDATE, 3), SMKD_R_OK);
    const float *w = smkd_model_params(f.m);
    for (int j = 0; j < D; j++) assert_true(w[j] == (float)(1 + j) - 0.5f * g[j]);
    // A bound output is written where it is bound.
    float mine[BATCH * D];
    assert_int_equal(smkd_bind(f.s, SMKD_ABI_OUTPUT, "y", mine), SMKD_R_OK);
    assert_int_equal(smkd_run(f.s, SMKD_ABI_FORWARD, 2), SMKD_R_OK);
    assert_ptr_equal(smkd_output(f.s, "y"), mine);
    end(&f);
}

static void misuse(void **state) {
    (void)state;
    struct fixture f;
    start(&f, 1);
    wants(smkd_run(f.s, SMKD_ABI_FORWARD, 1), SMKD_R_INVALID, "\"x\" is not bound");
    assert_int_equal(smkd_bind(f.s, SMKD_ABI_INPUT, "x", f.x), SMKD_R_OK);
    wants(smkd_run(f.s, SMKD_ABI_FORWARD, 0), SMKD_R_INVALID, "1 to 32");
    wants(smkd_run(f.s, SMKD_ABI_FORWARD, BATCH + 1), SMKD_R_INVALID, "--max-batch");
    wants(smkd_run(f.s, SMKD_ABI_FORWARD, INT64_MAX), SMKD_R_INVALID, "1 to 32");
    wants(smkd_run(f.s, SMKD_ABI_PHASES, 1), SMKD_R_UNSUPPORTED, "phase");
    wants(smkd_run(f.s, SMKD_ABI_BACKWARD, 1), SMKD_R_INVALID, "without a training forward");
    check_forward(&f, 4);
    wants(smkd_run(f.s, SMKD_ABI_BACKWARD, 4), SMKD_R_INVALID, "\"y\" is not bound");
    assert_int_equal(smkd_bind(f.s, SMKD_ABI_COTANGENT, "y", f.dy), SMKD_R_OK);
    wants(smkd_run(f.s, SMKD_ABI_BACKWARD, 3), SMKD_R_INVALID, "without a training forward of that batch");
    assert_int_equal(smkd_run(f.s, SMKD_ABI_BACKWARD, 4), SMKD_R_OK);
    // Inference takes the arena, and with it the activations.
    assert_int_equal(smkd_run(f.s, SMKD_ABI_INFER, 4), SMKD_R_OK);
    wants(smkd_run(f.s, SMKD_ABI_BACKWARD, 4), SMKD_R_INVALID, "without a training forward");
    wants(smkd_bind(f.s, SMKD_ABI_INPUT, "z", f.x), SMKD_R_INVALID, "no input named \"z\"; the first one is \"x\"");
    wants(smkd_bind(f.s, SMKD_ABI_PARAM, "w", f.x), SMKD_R_INVALID, "cannot be bound");
    wants(smkd_set_scalar(f.s, "speed", 1), SMKD_R_INVALID, "\"speed\"");
    assert_null(smkd_output(f.s, "z"));
    assert_null(smkd_team_new(-1));
    end(&f);
}

// More threads than cores make progress, too, and nobody leaves the barrier early.
static void barrier(void **state) {
    (void)state;
    const int counts[] = {1, 2, 3, 8};
    for (int i = 0; i < 4; i++) {
        struct fixture f;
        start(&f, counts[i]);
        assert_int_equal(smkd_bind(f.s, SMKD_ABI_INPUT, "x", f.x), SMKD_R_OK);
        assert_int_equal(smkd_run(f.s, SMKD_ABI_INFER, 4), SMKD_R_OK);
        assert_true(*(const float *)smkd_output(f.s, "y") == 0);
        int32_t threads = *(const int32_t *)smkd_output(f.s, "threads");
        assert_true(threads >= 1 && threads <= counts[i]);
        for (int k = 0; k < 20; k++) check_forward(&f, 1 + k);
        end(&f);
    }
}

static void weights(void **state) {
    (void)state;
    struct fixture f;
    start(&f, 1);
    float *w = smkd_model_params(f.m), saved[32];
    w[2] = 0.1f;
    w[17] = -7;
    memcpy(saved, w, sizeof saved);
    assert_int_equal(smkd_save_weights(f.m, at("w.safetensors"), "peer."), SMKD_R_OK);
    memset(w, 0, 32 * sizeof *w);
    wants(smkd_load_weights(f.m, at("w.safetensors"), ""), SMKD_R_MISMATCH, "no tensor \"w\"");
    assert_true(w[2] == 0); // unchanged
    assert_int_equal(smkd_load_weights(f.m, at("w.safetensors"), "peer."), SMKD_R_OK);
    for (int i = 0; i < D; i++) assert_true(w[i] == saved[i] && w[16 + i] == saved[16 + i]);
    // The second tensor does not fit: the first one is not taken either.
    float four[4] = {9, 9, 9, 9};
    struct rt_tensor t[2] = {
        {.name = (char *)"w", .rank = 1, .dims = {4}, .numel = 4, .bytes = 16, .data = four, .borrowed = true},
        {.name = (char *)"b", .rank = 2, .dims = {2, 2}, .numel = 4, .bytes = 16, .data = four, .borrowed = true}};
    struct rt_tensors ts = {.t = t, .n = 2};
    assert_int_equal(rt_safetensors_write(at("v.safetensors"), &ts), SMKD_R_OK);
    wants(smkd_load_weights(f.m, at("v.safetensors"), NULL), SMKD_R_MISMATCH, "another shape");
    assert_true(w[2] == saved[2]);
    wants(smkd_load_weights(f.m, at("v.safetensors"), NULL), SMKD_R_MISMATCH, "[2,2] where the model has [4]");
    end(&f);
}

// Floats of other sizes; names that do not match are counted, and a prefix that would do is said.
static void foreign_weights(void **state) {
    (void)state;
    struct fixture f;
    start(&f, 1);
    float *p = smkd_model_params(f.m), b32[D] = {0};
    double w64[D] = {0};
    uint16_t b16[D], b_brain[D];
    int64_t count = 3;
    for (int i = 0; i < D; i++) {
        w64[i] = i + 0.1;
        b16[i] = (uint16_t)(0x3c00 + i); // 1 and a little more
        b_brain[i] = 0x3f80;
        b32[i] = 2;
    }
    const struct smkd_abi_tensor *row = smkd_model_find(f.m, SMKD_ABI_PARAM, "w");
    struct rt_tensor t[4];
    const struct {
        const char *name;
        enum rt_dtype t;
        void *data;
    } rows[] = {
        {"module.w", RT_F64, w64}, {"module.b", RT_F16, b16}, {"steps", RT_I64, &count}, {"ema.b", RT_F32, b32}};
    for (int i = 0; i < 4; i++) {
        t[i] = (struct rt_tensor){.name = (char *)(uintptr_t)rows[i].name,
                                  .dtype = rows[i].t,
                                  .rank = (int)row->rank,
                                  .numel = D,
                                  .data = rows[i].data,
                                  .borrowed = true};
        memcpy(t[i].dims, row->dims, sizeof t[i].dims);
        t[i].bytes = D * rt_dtype_size(t[i].dtype);
    }
    t[2].rank = 0;
    t[2].numel = 1;
    t[2].bytes = 8;
    struct rt_tensors ts = {.t = t, .n = 4};
    const char *file = at("f.safetensors");
    assert_int_equal(rt_safetensors_write(file, &ts), SMKD_R_OK);
    wants(smkd_load_weights(f.m, file, ""), SMKD_R_MISMATCH, "has no tensor \"w\"");
    wants(smkd_load_weights(f.m, file, ""), SMKD_R_MISMATCH,
          "2 of 2 are missing; 4 of its own are not the model's, the first is \"module.w\": --weights-prefix module. "
          "would match");
    wants(smkd_load_weights(f.m, file, "ema."), SMKD_R_MISMATCH, "has no tensor \"ema.w\"");
    wants(smkd_load_weights(f.m, file, "ema."), SMKD_R_MISMATCH, "1 of 2 are missing");
    assert_int_equal(smkd_load_weights(f.m, file, "module."), SMKD_R_OK);
    for (int i = 0; i < D; i++) assert_true(p[i] == (float)w64[i] && p[16 + i] == 1 + (float)i / 1024);
    t[1].dtype = RT_BF16;
    t[1].data = b_brain;
    assert_int_equal(rt_safetensors_write(file, &ts), SMKD_R_OK);
    assert_int_equal(smkd_load_weights(f.m, file, "module."), SMKD_R_OK);
    assert_true(p[16] == 1 && p[16 + D - 1] == 1);
    w64[1] = -1e300;
    assert_int_equal(rt_safetensors_write(file, &ts), SMKD_R_OK);
    wants(smkd_load_weights(f.m, file, "module."), SMKD_R_INVALID,
          "tensor \"module.w\": element 1 is -1e+300, which float32 does not hold");
    assert_true(p[1] == 1.1f && p[16] == 1); // unchanged
    w64[1] = NAN;
    assert_int_equal(rt_safetensors_write(file, &ts), SMKD_R_OK);
    wants(smkd_load_weights(f.m, file, "module."), SMKD_R_INVALID, "element 1 of tensor \"module.w\" is nan");
    w64[1] = -INFINITY;
    assert_int_equal(rt_safetensors_write(file, &ts), SMKD_R_OK);
    wants(smkd_load_weights(f.m, file, "module."), SMKD_R_INVALID, "element 1 of tensor \"module.w\" is infinite");
    assert_true(p[1] == 1.1f && p[16] == 1);
    t[0].dtype = RT_I64;
    assert_int_equal(rt_safetensors_write(file, &ts), SMKD_R_OK);
    wants(smkd_load_weights(f.m, file, "module."), SMKD_R_MISMATCH, "tensor \"module.w\" is int64");
    end(&f);
}

static int make_dir(void **state) {
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int drop_dir(void **state) {
    (void)state;
    char cmd[64];
    snprintf(cmd, sizeof cmd, "rm -r %s", dir);
    return system(cmd);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(faulty_artifacts),
        cmocka_unit_test(older_artifact),
        cmocka_unit_test(taps),
        cmocka_unit_test(not_artifacts),
        cmocka_unit_test(damaged_elf),
        cmocka_unit_test(runs_nothing),
        cmocka_unit_test(two_tongues),
        cmocka_unit_test(hostile_tables),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(steps),
        cmocka_unit_test(misuse),
        cmocka_unit_test(barrier),
        cmocka_unit_test(weights),
        cmocka_unit_test(foreign_weights),
    };
    return cmocka_run_group_tests(tests, make_dir, drop_dir);
}
