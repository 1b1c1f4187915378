#include "str.h"

#include "arena.h"
#include "diag.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void str_release(struct str *b) {
    free(b->s);
    *b = (struct str)STR_INIT;
}

void str_clear(struct str *b) {
    b->len = 0;
    if (b->s) b->s[0] = 0;
}

static void reserve(struct str *b, size_t extra) {
    if (b->len + extra + 1 <= b->cap) return;
    size_t cap = b->cap ? b->cap : 64;
    while (cap < b->len + extra + 1) cap *= 2;
    b->s = xrealloc(b->s, cap);
    b->cap = cap;
}

void str_addn(struct str *b, const char *text, size_t n) {
    reserve(b, n);
    if (n) memcpy(b->s + b->len, text, n);
    b->len += n;
    b->s[b->len] = 0;
}

void str_add(struct str *b, const char *text) { str_addn(b, text, strlen(text)); }

void str_addf(struct str *b, const char *fmt, ...) {
    va_list ap, ap2;
    va_start(ap, fmt);
    va_copy(ap2, ap);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    if (n < 0) BUG("bad format \"%s\"", fmt);
    reserve(b, (size_t)n);
    vsnprintf(b->s + b->len, (size_t)n + 1, fmt, ap2);
    va_end(ap2);
    b->len += (size_t)n;
}

// --- text of others
// ---------------------------------------------------------------------------------------------------

// The character at p[0..n), n > 0: its length in bytes, or 0 where there is none.
static size_t utf8_next(const unsigned char *p, size_t n, uint32_t *code) {
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t len = p[0] < 0x80             ? 1
                 : (p[0] & 0xe0) == 0xc0 ? 2
                 : (p[0] & 0xf0) == 0xe0 ? 3
                 : (p[0] & 0xf8) == 0xf0 ? 4
                                         : 0;
    if (!len || len > n) return 0;
    uint32_t c = len == 1 ? p[0] : p[0] & (0x7fu >> len);
    for (size_t i = 1; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    if (c < least[len] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff)) return 0;
    *code = c;
    return len;
}

bool utf8_valid(const char *s, size_t n) {
    const unsigned char *p = (const unsigned char *)s;
    uint32_t c;
    for (size_t len; n; p += len, n -= len)
        if (!(len = utf8_next(p, n, &c))) return false;
    return true;
}

void str_add_csv(struct str *b, const char *text) {
    size_t n = strlen(text);
    bool blank = n && (strchr(" \t", text[0]) || strchr(" \t", text[n - 1]));
    if (!blank && !text[strcspn(text, ",\"\r\n")]) {
        str_add(b, text);
        return;
    }
    str_add(b, "\"");
    for (const char *quote; (quote = strchr(text, '"')); text = quote + 1) {
        str_addn(b, text, (size_t)(quote - text));
        str_add(b, "\"\"");
    }
    str_add(b, text);
    str_add(b, "\"");
}

void str_add_xml(struct str *b, const char *text) {
    struct str safe = STR_INIT;
    str_add_escaped(&safe, text, strlen(text));
    for (const char *p = safe.s ? safe.s : ""; *p; p++) {
        const char *entity = *p == '<' ? "&lt;" : *p == '&' ? "&amp;" : *p == '>' ? "&gt;" : NULL;
        if (entity)
            str_add(b, entity);
        else
            str_addn(b, p, 1);
    }
    str_release(&safe);
}

void str_add_json(struct str *b, const char *text) {
    const unsigned char *p = (const unsigned char *)text;
    size_t n = strlen(text), len;
    uint32_t c;
    str_add(b, "\"");
    for (; n; p += len, n -= len) {
        if (!(len = utf8_next(p, n, &c))) {
            len = 1;
            str_addf(b, "\\udc%02x", *p);
        } else if (c == '"' || c == '\\') {
            str_addf(b, "\\%c", (char)c);
        } else if (c < 0x20 || c == 0x7f) {
            str_addf(b, "\\u%04x", (unsigned)c);
        } else {
            str_addn(b, (const char *)p, len);
        }
    }
    str_add(b, "\"");
}

static bool hidden(uint32_t c) {
    static const struct {
        uint32_t first, last;
    } ranges[] = {{0, 0x1f},        {0x7f, 0x9f},     {0xad, 0xad},     {0x61c, 0x61c},   {0x200b, 0x200f},
                  {0x2028, 0x202e}, {0x2060, 0x2069}, {0xfeff, 0xfeff}, {0xfff9, 0xfffb}, {0xe0000, 0xe007f}};
    for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++)
        if (c >= ranges[i].first && c <= ranges[i].last) return true;
    return false;
}

size_t text_escape(char *to, size_t room, const char *from, size_t n) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *p = (const unsigned char *)from;
    size_t at = 0;
    while (n) {
        uint32_t c;
        size_t len = utf8_next(p, n, &c);
        bool escape = !len || hidden(c);
        if (!len) len = 1;
        if (at + (escape ? 4 * len : len) >= room) break;
        for (size_t i = 0; i < len; i++) {
            if (escape) {
                to[at++] = '\\';
                to[at++] = 'x';
                to[at++] = digits[p[i] >> 4];
                to[at++] = digits[p[i] & 15];
            } else {
                to[at++] = (char)p[i];
            }
        }
        p += len;
        n -= len;
    }
    to[at] = 0;
    return at;
}

void str_add_escaped(struct str *b, const char *text, size_t n) {
    reserve(b, 4 * n);
    b->len += text_escape(b->s + b->len, 4 * n + 1, text, n);
}

static bool plain(const char *s) {
    for (; *s; s++)
        if ((unsigned char)*s < 0x20 || (unsigned char)*s > 0x7e) return false;
    return true;
}

const char *printable(const char *s) {
    static _Thread_local char kept[8][1024];
    static _Thread_local unsigned next;
    if (plain(s)) return s;
    char *to = kept[next++ % 8];
    text_escape(to, sizeof *kept, s, strlen(s));
    return to;
}

uint64_t fnv1a(uint64_t h, const void *data, size_t n) {
    const unsigned char *p = data;
    for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
    return h;
}

uint64_t checksum64(const void *data, size_t n) {
    // Four sums side by side keep the multiplier busy. Each step is a bijection of its sum: a changed word changes it
    // for good.
    uint64_t sums[4] = {1, 2, 3, 4}, words[4];
    const char *p = data;
    size_t i = 0;
    for (; n - i >= sizeof words; i += sizeof words) {
        memcpy(words, p + i, sizeof words);
        for (int k = 0; k < 4; k++) {
            sums[k] = (sums[k] ^ words[k]) * UINT64_C(0x9e3779b97f4a7c15);
            sums[k] ^= sums[k] >> 32;
        }
    }
    return fnv1a(fnv1a(fnv1a(FNV_INIT, sums, sizeof sums), p + i, n - i), &n, sizeof n);
}

bool str_has_prefix(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

bool str_has_suffix(const char *s, const char *suffix) {
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static bool plain_start(const char *s) {
    return *s == '-' || *s == '+' || *s == '.' || (*s >= '0' && *s <= '9') || *s == 'i';
}

bool parse_i64(const char *s, int64_t *out) {
    if (!s || !plain_start(s)) return false;
    char *end;
    errno = 0;
    long long v = strtoll(s, &end, 10);
    if (errno || end == s || *end) return false;
    *out = v;
    return true;
}

bool parse_f64(const char *s, double *out) {
    if (!s || !plain_start(s)) return false;
    char *end;
    errno = 0;
    double v = strtod(s, &end);
    if (end == s || *end || isnan(v) || (errno == ERANGE && fabs(v) > 1)) return false;
    *out = v;
    return true;
}
