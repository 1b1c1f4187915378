#include "guard.h"

#include "../base/base.h"
#include "args.h"

#include <cjson/cJSON.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *name = "";

// write(2) only: it is called without memory, and by signal handlers.
static void say(const char *const *parts) {
    char line[1024];
    size_t n = 0;
    for (; *parts; parts++) n += text_escape(line + n, sizeof line - n, *parts, strlen(*parts));
    line[n++] = '\n';
    if (write(STDERR_FILENO, line, n) < 0) return; // nobody to tell
}
#define SAY(...) say((const char *const[]){__VA_ARGS__, NULL})

static void no_memory(size_t bytes) {
    static atomic_flag said = ATOMIC_FLAG_INIT;
    (void)bytes;
    while (atomic_flag_test_and_set(&said)) pause(); // another thread is ending the program
    SAY("error: ", name, ": out of memory while ", doing_what(),
        "; close other programs, or give less at once (--batch-size, --max-batch)");
    cleanup_now();
    _exit(EXIT_FAILED);
}

static bool done;
void guard_done(void) { done = true; }

static void at_end(void) {
    if (done) return;
    SAY("error: ", name, ": ended by a library, most likely out of memory or of threads, while ", doing_what());
    cleanup_now();
}

static void on_bus(int sig, siginfo_t *info, void *context) {
    (void)context;
    const char *file = io_mapped_at(info->si_addr);
    if (!file) { // a fault of ours: end as without a handler
        signal(sig, SIG_DFL);
        return;
    }
    SAY("error: ", file, ": became shorter, or unreadable, while it was being read; nothing was written");
    cleanup_now();
    _exit(EXIT_FAILED);
}

static void on_end(int sig) {
    cleanup_now();
    signal(sig, SIG_DFL);
    raise(sig); // delivered when this returns
}

void guard_install(const char *program) {
    name = program;
    atexit(at_end);
    out_of_memory_handler = no_memory;
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = xmalloc, .free_fn = free});
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction a, was;
    memset(&a, 0, sizeof a);
    sigemptyset(&a.sa_mask);
    a.sa_handler = on_end;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        if (sigaction(ends[i], NULL, &was) == 0 && was.sa_handler != SIG_IGN) sigaction(ends[i], &a, NULL); // nohup
    a.sa_handler = NULL;
    a.sa_sigaction = on_bus;
    a.sa_flags = SA_SIGINFO;
    sigaction(SIGBUS, &a, NULL);
}
