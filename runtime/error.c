// The last error of each thread, as one line.
#include "runtime.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#ifndef SMKD_VERSION
#define SMKD_VERSION "dev"
#endif

static _Thread_local char last[1024];

const char *smkd_last_error(void) { return last; }
const char *smkd_version(void) { return SMKD_VERSION; }

enum smkd_result rt_fail(enum smkd_result r, const char *fmt, ...) {
    char text[sizeof last]; // the old message may be an argument
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_escape(last, sizeof last, text, strlen(text));
    return r;
}

enum smkd_result rt_result(enum smkd_status s) {
    static const enum smkd_result map[] = {
        [SMKD_OK] = SMKD_R_OK,       [SMKD_INVALID] = SMKD_R_INVALID,         [SMKD_IO] = SMKD_R_IO,
        [SMKD_NOMEM] = SMKD_R_NOMEM, [SMKD_UNSUPPORTED] = SMKD_R_UNSUPPORTED, [SMKD_MISMATCH] = SMKD_R_MISMATCH};
    return map[s];
}
