// Status codes shared by every room. A function that can fail for a reason outside our control returns one; the
// human-readable reason goes to a `struct diag` (compiler side) or to `smkd_last_error` (runtime side).
#ifndef SMKD_BASE_STATUS_H
#define SMKD_BASE_STATUS_H

#define SMKD_STATUS_MAP(X)                                                                                             \
    X(OK, "ok")                                                                                                        \
    X(INVALID, "invalid input") /* a file or an argument is wrong; the message says which and how to mend it */        \
    X(IO, "input/output error") /* the operating system refused: the message carries errno's text */                   \
    X(NOMEM, "out of memory")                                                                                          \
    X(UNSUPPORTED, "not supported") /* valid, but outside what this build can do */                                    \
    X(MISMATCH, "mismatch")         /* two valid things that do not fit together: shapes, ABI versions, CPUs */

enum smkd_status {
#define X(id, text) SMKD_##id,
    SMKD_STATUS_MAP(X)
#undef X
};

// Text of a status code, never NULL. Static storage.
const char *smkd_status_text(enum smkd_status s);

// Returns from the calling function when `expr` is not SMKD_OK.
#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        enum smkd_status try_status_ = (expr);                                                                         \
        if (try_status_ != SMKD_OK) return try_status_;                                                                \
    } while (0)

#endif
