// Targets: the micro-architecture levels x86-64-v3 (AVX2, FMA) and x86-64-v4 (AVX-512), tuned for a CPU. Code is
// generated for the level, not for every feature of the machine at hand, so that an artifact runs on any machine of its
// level and the loader can say exactly what it needs. Products of bfloat16 are the exception: --dtype bf16 uses them
// where the CPU compiled for has them.
#include "program.h"

#include <llvm-c/Target.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

struct level {
    const char *cpu, *required;
    int vl, nregs;
    int64_t l2_bytes; // of the machines of the level, their smallest common one
};
static const struct level v3 = {"x86-64-v3", "avx avx2 fma bmi1 bmi2 f16c movbe abm", 8, 16, 512 << 10};
static const struct level v4 = {
    "x86-64-v4", "avx avx2 fma bmi1 bmi2 f16c movbe abm avx512f avx512bw avx512cd avx512dq avx512vl", 16, 32, 1 << 20};

static const struct {
    const char *name;
    const struct level *level;
    enum { NO_BF16, BF16, AMX } bf16; // AVX512_BF16; and AMX_BF16
} cpus[] = {
    {"x86-64-v3", &v3, NO_BF16},
    {"haswell", &v3, NO_BF16},
    {"broadwell", &v3, NO_BF16},
    {"skylake", &v3, NO_BF16},
    {"alderlake", &v3, NO_BF16},
    {"znver1", &v3, NO_BF16},
    {"znver2", &v3, NO_BF16},
    {"znver3", &v3, NO_BF16},
    {"x86-64-v4", &v4, NO_BF16},
    {"skylake-avx512", &v4, NO_BF16},
    {"cascadelake", &v4, NO_BF16},
    {"cooperlake", &v4, BF16},
    {"icelake-client", &v4, NO_BF16},
    {"icelake-server", &v4, NO_BF16},
    {"rocketlake", &v4, NO_BF16},
    {"tigerlake", &v4, NO_BF16},
    {"sapphirerapids", &v4, AMX},
    {"emeraldrapids", &v4, AMX},
    {"graniterapids", &v4, AMX},
    {"znver4", &v4, BF16},
    {"znver5", &v4, BF16},
};

static bool host_has(const char *features, const char *name) {
    size_t n = strlen(name);
    for (const char *p = features; (p = strstr(p, name)); p += n)
        if (p > features && p[-1] == '+' && (p[n] == ',' || p[n] == 0)) return true;
    return false;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init_llvm(void) {
    cg_guard_memory();
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
}

static const struct level *host_level(int *bf16) {
    static const char *const need4[] = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, *const need3[] = {
                                                                                                        "avx2", "fma",
                                                                                                        "bmi2"};
    char *f = LLVMGetHostCPUFeatures();
    if (!f) out_of_memory(0); // a strdup of its own
    bool is4 = true, is3 = true;
    for (size_t i = 0; i < 5; i++) is4 &= host_has(f, need4[i]);
    for (size_t i = 0; i < 3; i++) is3 &= host_has(f, need3[i]);
    bool tiles = host_has(f, "amx-bf16") && host_has(f, "amx-tile");
    *bf16 = !host_has(f, "avx512bf16") ? NO_BF16 : tiles ? AMX : BF16;
    LLVMDisposeMessage(f);
    return is4 && is3 ? &v4 : is3 ? &v3 : NULL;
}

static char *dup(const char *s) {
    char *p = xmalloc(strlen(s) + 1);
    return strcpy(p, s);
}

enum smkd_status cg_target_init(struct cg_target *t, const char *mcpu, bool bf16, struct diag *d) {
    pthread_once(&once, init_llvm);
    memset(t, 0, sizeof *t);
    const struct level *level = NULL;
    int has = NO_BF16;
    if (!mcpu || strcmp(mcpu, "native") == 0) {
        level = host_level(&has);
        if (!level) {
            diag_error(d, NULL,
                       "this machine has no AVX2 and FMA, which generated code needs; compile for another with --mcpu "
                       "x86-64-v3");
            return SMKD_UNSUPPORTED;
        }
    } else {
        struct str known = STR_INIT;
        for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++) {
            if (strcmp(mcpu, cpus[i].name) == 0) {
                level = cpus[i].level;
                has = (int)cpus[i].bf16;
            }
            str_addf(&known, " %s", cpus[i].name);
        }
        if (!level) diag_error(d, NULL, "unknown CPU '%s' for --mcpu; one of: native%s", mcpu, known.s);
        str_release(&known);
        if (!level) return SMKD_INVALID;
    }
    t->triple = dup("x86_64-pc-linux-gnu");
    t->cpu = dup(level->cpu);
    t->bf16_dot = bf16 && has != NO_BF16 && level == &v4;
    t->amx = t->bf16_dot && has == AMX;
    t->features = dup(t->amx ? "+avx512bf16,+amx-tile,+amx-bf16" : t->bf16_dot ? "+avx512bf16" : "");
    struct str required = STR_INIT;
    str_addf(&required, "%s%s", level->required,
             t->amx        ? " avx512_bf16 amx_tile amx_bf16"
             : t->bf16_dot ? " avx512_bf16"
                           : "");
    t->required = required.s;
    t->vl = level->vl;
    t->nregs = level->nregs;
    t->l2_bytes = level->l2_bytes;
    char *err = NULL;
    if (LLVMGetTargetFromTriple(t->triple, &t->llvm, &err)) BUG("LLVM has no target %s: %s", t->triple, err);
    return SMKD_OK;
}

void cg_target_release(struct cg_target *t) {
    free(t->triple);
    free(t->cpu);
    free(t->features);
    free(t->required);
    memset(t, 0, sizeof *t);
}

static void drop(void *env, enum diag_severity severity, const char *line) { (void)env, (void)severity, (void)line; }

bool cg_target_try(struct cg_target *t, const char *mcpu, bool bf16) {
    struct diag d = {.sink = drop};
    return cg_target_init(t, mcpu, bf16, &d) == SMKD_OK;
}

const char *cg_level(const char *mcpu, bool bf16) {
    struct cg_target t;
    if (!cg_target_try(&t, mcpu, bf16)) return NULL;
    const char *name = t.amx ? "x86-64-v4 amx" : t.bf16_dot ? "x86-64-v4 bf16" : t.vl == v4.vl ? v4.cpu : v3.cpu;
    cg_target_release(&t);
    return name;
}

LLVMTargetMachineRef cg_target_machine(const struct cg_target *t) {
    LLVMTargetMachineRef tm = LLVMCreateTargetMachine(t->llvm, t->triple, t->cpu, t->features, LLVMCodeGenLevelDefault,
                                                      LLVMRelocPIC, LLVMCodeModelDefault);
    CHECK(tm, "no target machine for %s", t->cpu);
    return tm;
}

static void attr(LLVMContextRef cx, LLVMValueRef fn, const char *key, const char *value) {
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex,
                            LLVMCreateStringAttribute(cx, key, (unsigned)strlen(key), value, (unsigned)strlen(value)));
}

void cg_fn_attributes(LLVMContextRef cx, LLVMValueRef fn, const struct cg_target *t) {
    attr(cx, fn, "target-cpu", t->cpu);
    attr(cx, fn, "target-features", t->features);
    if (t->vl == 16) { // v4's default tuning prefers 256 bits
        attr(cx, fn, "prefer-vector-width", "512");
        attr(cx, fn, "min-legal-vector-width", "512");
    }
    unsigned nounwind = LLVMGetEnumAttributeKindForName("nounwind", 8);
    LLVMAddAttributeAtIndex(fn, LLVMAttributeFunctionIndex, LLVMCreateEnumAttribute(cx, nounwind, 0));
}
