// Whether this machine can run an artifact's code, and leave to use what the system gives on request only.
#define _DEFAULT_SOURCE // syscall
#include "rt_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { REQUEST_STATE = 0x1023, TILE_DATA = 18 }; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA of Linux's asm/prctl.h

// Is `word` among the blank-separated words of `list`?
static bool has_word(const char *list, const char *word, size_t n) {
    for (const char *p = list; (p = strstr(p, word)); p += n)
        if ((p == list || p[-1] == ' ' || p[-1] == '\t') && (p[n] == ' ' || p[n] == 0 || p[n] == '\n')) return true;
    return false;
}

enum smkd_result rt_check_cpu(const char *path, const struct smkd_artifact *a) {
    const char *features = a->required_features ? a->required_features : "", *check = getenv("SMKD_CPU_CHECK");
    const bool off = check && strcmp(check, "off") == 0, tiles = has_word(features, "amx_tile", strlen("amx_tile"));
    if (off) return SMKD_R_OK;
    char room[CPUINFO_ROOM];
    const char *flags = cpuinfo("flags", room);
    if (!*flags) return SMKD_R_OK; // no /proc: nothing to compare with
    char missing[512] = "";
    size_t used = 0;
    for (const char *p = features; *p;) {
        size_t n = strcspn(p, " ");
        char word[64];
        if (n && n < sizeof word) {
            memcpy(word, p, n);
            word[n] = 0;
            if (!has_word(flags, word, n) && used < sizeof missing)
                used += (size_t)snprintf(missing + used, sizeof missing - used, "%s%s", used ? ", " : "", word);
        }
        p += n;
        while (*p == ' ') p++;
    }
    enum smkd_result r = SMKD_R_OK;
    if (used)
        r = rt_fail(
            SMKD_R_MISMATCH,
            "%s: was compiled for %s, which has %s; this CPU has not: compile the model again with --mcpu native", path,
            a->target_cpu, missing);
    if (r == SMKD_R_OK && tiles && syscall(SYS_arch_prctl, REQUEST_STATE, TILE_DATA) != 0)
        r = rt_fail(
            SMKD_R_MISMATCH,
            "%s: this system does not let programs use AMX tiles (%s): it takes Linux 5.16; or compile the model "
            "again with --mcpu znver4",
            path, strerror(errno));
    return r;
}
