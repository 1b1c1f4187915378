#include "words.h"

#include <string.h>

static bool is_separator(char c) { return c == ' ' || c == '\t' || c == ',' || c == ';' || c == '\r'; }

// Lines end with \n, \r\n or, on very old machines, \r.
static const char *line_end(const char *p, const char *end) {
    const char *stop = memchr(p, '\n', (size_t)(end - p));
    if (!stop) stop = end;
    const char *cr = memchr(p, '\r', (size_t)(stop - p));
    return cr && cr + 1 < stop ? cr : stop;
}

enum smkd_result rt_words_begin(struct rt_words *w, const char *path, const char *text, size_t size) {
    *w = (struct rt_words){.p = text, .end = text + size, .stop = NULL};
    const char *nul = memchr(text, 0, size);
    if (nul)
        return rt_fail(SMKD_R_INVALID, "%s: is neither a .npy nor text: byte %zu is 0", path, (size_t)(nul - text));
    if (size >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) w->p += 3;
    return SMKD_R_OK;
}

bool rt_words_line(struct rt_words *w) {
    if (w->stop) w->p = w->stop < w->end ? w->stop + 1 : w->end;
    if (w->p >= w->end) return false;
    w->stop = line_end(w->p, w->end);
    w->line++;
    return true;
}

const char *rt_words_next(struct rt_words *w, size_t *len) {
    while (w->p < w->stop && is_separator(*w->p)) w->p++;
    if (w->p >= w->stop || *w->p == '#') return NULL;
    const char *word = w->p;
    while (w->p < w->stop && !is_separator(*w->p)) w->p++;
    *len = (size_t)(w->p - word);
    return word;
}
