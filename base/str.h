// A growable string. Always NUL-terminated once anything was appended; `s` may be NULL while empty.
#ifndef SMKD_BASE_STR_H
#define SMKD_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct str {
    char *s;
    size_t len, cap;
};
#define STR_INIT {0}

void str_release(struct str *b);
void str_clear(struct str *b); // length 0, memory kept
void str_add(struct str *b, const char *text);
void str_addn(struct str *b, const char *text, size_t n);
void str_addf(struct str *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

// --- text of others ---
// Names out of files go into messages, tables and terminals. What could change a terminal or hide there (control
// characters in UTF-8 or bare, marks that turn the direction of writing, separators of lines, byte-order marks) and
// bytes that are no UTF-8 are shown as \xNN, a byte each; everything else is kept. Writes whole characters and escapes
// only, as many as fit, and a NUL (room >= 1). Returns what it wrote without the NUL. `to` must not overlap `from`.
// Allocates nothing: also for handlers of signals.
size_t text_escape(char *to, size_t room, const char *from, size_t n);
void str_add_escaped(struct str *b, const char *text, size_t n);
// `s` itself where nothing needs escaping, else an escaped copy (its first 1,023 bytes) that lives until the eighth
// later call in this thread.
const char *printable(const char *s);
// Whether all of it is UTF-8 (no surrogates, nothing overlong). A NUL is a character.
bool utf8_valid(const char *s, size_t n);

// --- text for programs ---
// A field of a CSV file (RFC 4180): quoted where a comma, a quote, an end of line, or a blank at either end is in it.
void str_add_csv(struct str *b, const char *text);
// Text between XML's tags: its special characters as entities, others that it may not have as \xNN.
void str_add_xml(struct str *b, const char *text);
// A JSON string with its quotes. A byte that is no UTF-8, which names of files may have, becomes \udcNN, as Python's
// json.dumps(os.fsdecode(name)) writes it: os.fsencode makes the name of it again.
void str_add_json(struct str *b, const char *text);

// FNV-1a over bytes, for content keys (never for security). Chain by passing the previous value; start with FNV_INIT.
#define FNV_INIT 0xcbf29ce484222325u
uint64_t fnv1a(uint64_t h, const void *data, size_t n);

// A sum over the bytes of a whole file, several times faster than fnv1a. No change of a single byte goes unnoticed.
uint64_t checksum64(const void *data, size_t n);

bool str_has_prefix(const char *s, const char *prefix);
bool str_has_suffix(const char *s, const char *suffix);

// Strict number parsing: the whole string, no leading blanks, in range. Return false and leave *out alone otherwise.
bool parse_i64(const char *s, int64_t *out);
bool parse_f64(const char *s, double *out); // accepts inf; rejects nan

#endif
