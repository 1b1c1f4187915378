// LLVM is C++: where memory runs out, `operator new` throws, nobody catches, and the program is "terminated". C++ has a
// handler for that and LLVM one for its own malloc; neither has a name in C, so both are looked up by their mangled
// ones (stable: the Itanium C++ ABI; where one is not found, LLVM ends the program in its own words).
#include "program.h"

#include <dlfcn.h>
#include <llvm-c/ErrorHandling.h>
#include <string.h>

static void no_memory(void) { out_of_memory(0); }
static void no_memory_for(void *env, const char *reason, bool diagnose) {
    (void)env, (void)reason, (void)diagnose;
    out_of_memory(0);
}
static void on_fatal(const char *reason) { BUG("LLVM: %s", reason); }

static void *symbol(const char *name) {
    void *self = dlopen(NULL, RTLD_LAZY), *p = self ? dlsym(self, name) : NULL;
    if (self) dlclose(self);
    return p;
}

void cg_guard_memory(void) {
    void (*(*set_new_handler)(void (*)(void)))(void); // std::set_new_handler
    void (*set_bad_alloc)(void (*)(void *, const char *, bool), void *);
    void *p = symbol("_ZSt15set_new_handlerPFvvE");
    memcpy(&set_new_handler, &p, sizeof p);
    if (p) set_new_handler(no_memory);
    p = symbol("_ZN4llvm31install_bad_alloc_error_handlerEPFvPvPKcbES0_");
    memcpy(&set_bad_alloc, &p, sizeof p);
    if (p) set_bad_alloc(no_memory_for, NULL);
    LLVMInstallFatalErrorHandler(on_fatal);
}
