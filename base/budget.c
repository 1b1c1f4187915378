#include "budget.h"

#include "str.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static _Atomic uint64_t allowed; // 0: not looked at yet
static atomic_bool asked_for;
static _Thread_local char why[160];

void budget_set(uint64_t bytes) {
    allowed = bytes;
    asked_for = true;
}

uint64_t budget_bytes(void) {
    if (allowed) return allowed;
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t all = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : UINT64_MAX;
    static const int limits[] = {RLIMIT_AS, RLIMIT_DATA};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        struct rlimit l;
        if (getrlimit(limits[i], &l) == 0 && l.rlim_cur != RLIM_INFINITY && l.rlim_cur < all) all = l.rlim_cur;
    }
    allowed = all ? all : 1;
    return allowed;
}

static void amount(char out[24], uint64_t bytes) {
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double v = (double)bytes;
    size_t u = 0;
    while (v >= 1024 && u + 1 < sizeof units / sizeof *units) {
        v /= 1024;
        u++;
    }
    snprintf(out, 24, u ? "%.1f %s" : "%.0f %s", v, units[u]);
}

bool budget_allows(uint64_t bytes) {
    if (bytes <= budget_bytes()) return true;
    char want[24], have[24];
    amount(want, bytes);
    amount(have, budget_bytes());
    snprintf(why, sizeof why,
             asked_for ? "it would take %s of memory, more than the %s that --max-memory allows"
                       : "it would take %s of memory, more than the %s there are (--max-memory allows more)",
             want, have);
    return false;
}

const char *budget_why(void) { return why; }

bool budget_parse(const char *text, uint64_t *bytes) {
    static const char units[] = "KMGT";
    char number[32];
    size_t n = strlen(text);
    const char *u = n ? strchr(units, text[n - 1]) : NULL;
    if (u) n--;
    double v;
    if (n == 0 || n >= sizeof number || text[0] < '0' || text[0] > '9') return false;
    memcpy(number, text, n);
    number[n] = 0;
    if (!parse_f64(number, &v)) return false;
    for (const char *k = units; u && k <= u; k++) v *= 1024;
    if (v < 1 || v >= 0x1p63) return false;
    *bytes = (uint64_t)v;
    return true;
}
