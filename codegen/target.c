// Targets: the micro-architecture levels x86-64-v3 (AVX2, FMA) and x86-64-v4 (AVX-512), tuned for a CPU. Code is
// generated for the level, not for every feature of the machine at hand, so that an artifact runs on any machine of its
// level and the loader can say exactly what it needs.
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
} cpus[] = {
    {"x86-64-v3", &v3},      {"haswell", &v3},        {"broadwell", &v3},     {"skylake", &v3},
    {"alderlake", &v3},      {"znver1", &v3},         {"znver2", &v3},        {"znver3", &v3},
    {"x86-64-v4", &v4},      {"skylake-avx512", &v4}, {"cascadelake", &v4},   {"cooperlake", &v4},
    {"icelake-client", &v4}, {"icelake-server", &v4}, {"rocketlake", &v4},    {"tigerlake", &v4},
    {"sapphirerapids", &v4}, {"emeraldrapids", &v4},  {"graniterapids", &v4}, {"znver4", &v4},
    {"znver5", &v4},
};

static bool host_has(const char *features, const char *name) {
    size_t n = strlen(name);
    for (const char *p = features; (p = strstr(p, name)); p += n)
        if (p > features && p[-1] == '+' && (p[n] == ',' || p[n] == 0)) return true;
    return false;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static void init_llvm(void) {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeX86AsmParser();
}

static const struct level *host_level(void) {
    static const char *const need4[] = {"avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"}, *const need3[] = {
                                                                                                        "avx2", "fma",
                                                                                                        "bmi2"};
    char *f = LLVMGetHostCPUFeatures();
    bool is4 = true, is3 = true;
    for (size_t i = 0; i < 5; i++) is4 &= host_has(f, need4[i]);
    for (size_t i = 0; i < 3; i++) is3 &= host_has(f, need3[i]);
    LLVMDisposeMessage(f);
    return is4 && is3 ? &v4 : is3 ? &v3 : NULL;
}

static char *dup(const char *s) {
    char *p = xmalloc(strlen(s) + 1);
    return strcpy(p, s);
}

enum smkd_status cg_target_init(struct cg_target *t, const char *mcpu, struct diag *d) {
    pthread_once(&once, init_llvm);
    memset(t, 0, sizeof *t);
    const struct level *level = NULL;
    if (!mcpu || strcmp(mcpu, "native") == 0) {
        level = host_level();
        if (!level) {
            diag_error(d, NULL,
                       "this machine has no AVX2 and FMA, which generated code needs; compile for another with --mcpu "
                       "x86-64-v3");
            return SMKD_UNSUPPORTED;
        }
    } else {
        struct str known = STR_INIT;
        for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++) {
            if (strcmp(mcpu, cpus[i].name) == 0) level = cpus[i].level;
            str_addf(&known, " %s", cpus[i].name);
        }
        if (!level) diag_error(d, NULL, "unknown CPU '%s' for --mcpu; one of: native%s", mcpu, known.s);
        str_release(&known);
        if (!level) return SMKD_INVALID;
    }
    t->triple = dup("x86_64-pc-linux-gnu");
    t->cpu = dup(level->cpu);
    t->features = dup("");
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
    memset(t, 0, sizeof *t);
}

const char *cg_target_required(const struct cg_target *t) { return t->vl == 16 ? v4.required : v3.required; }

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
