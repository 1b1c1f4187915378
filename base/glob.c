#include "glob.h"

#include <fnmatch.h>
#include <string.h>

bool glob_matches(const char *glob, const char *name) { return !strcmp(glob, name) || !fnmatch(glob, name, 0); }

bool glob_chosen(const char *const *globs, size_t n, const char *name) {
    bool chosen = false;
    for (size_t i = 0; i < n; i++) {
        const bool out = *globs[i] == '!';
        if (glob_matches(globs[i] + out, name)) chosen = !out;
    }
    return chosen;
}

static size_t common_length(const char *a, const char *b) { // of the longest text that both have
    size_t best = 0;
    for (const char *p = a; *p; p++)
        for (const char *q = b; *q; q++) {
            size_t k = 0;
            while (p[k] && p[k] == q[k]) k++;
            if (k > best) best = k;
        }
    return best;
}

void glob_near(struct str *out, const char *glob, const char *const *names, size_t n) {
    enum { SHOWN = 3 };
    size_t best[SHOWN] = {0}, length[SHOWN] = {0}, found = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t c = common_length(glob, names[i]) + 1;
        size_t at = found < SHOWN ? found++ : SHOWN;
        for (; at > 0 && length[at - 1] < c; at--)
            if (at < SHOWN) best[at] = best[at - 1], length[at] = length[at - 1];
        if (at < SHOWN) best[at] = i, length[at] = c;
    }
    for (size_t i = 0; i < found; i++) str_addf(out, "%s\"%s\"", i ? ", " : "", names[best[i]]);
}
