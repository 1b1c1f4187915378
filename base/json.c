#include "json.h"

#include "budget.h"
#include "str.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

// Nothing that is read here has more than three levels.
enum { MAX_NESTING = 32 };
// Of cJSON: a node and malloc's part of it, and the block of a string.
enum { NODE_BYTES = 96, STRING_BYTES = 32 };

const char *json_refused(const char *text, size_t n) {
    static _Thread_local char why[240];
    if (memchr(text, 0, n)) return "has a NUL in it";
    uint64_t memory = n;
    int depth = 0;
    bool inside = false; // a string
    for (size_t i = 0; i < n; i++) {
        const char c = text[i];
        if (inside && c == '\\') {
            if (n - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) return "has a NUL in it (\\u0000)";
            i++;
        } else if (c == '"') {
            if (!inside) memory += STRING_BYTES;
            inside = !inside;
        } else if (!inside && (c == ',' || c == '[' || c == '{')) {
            memory += NODE_BYTES;
            depth += c != ',';
            if (depth > MAX_NESTING) {
                snprintf(why, sizeof why, "is nested more than %d deep", MAX_NESTING);
                return why;
            }
        } else if (!inside && (c == ']' || c == '}')) {
            depth--;
        }
    }
    if (budget_allows(memory)) return NULL;
    snprintf(why, sizeof why, "is too much JSON: %s", budget_why());
    return why;
}
