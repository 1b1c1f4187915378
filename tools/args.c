#include "args.h"

#include "guard.h"

#include "../base/base.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

int args_fail(const struct args_cmd *cmd, const char *fmt, ...) {
    struct str safe = STR_INIT;
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *text = xmalloc((size_t)(n < 0 ? 0 : n) + 1);
    *text = 0;
    va_start(ap, fmt);
    if (n >= 0) vsnprintf(text, (size_t)n + 1, fmt, ap);
    va_end(ap);
    str_add_escaped(&safe, text, strlen(text));
    fprintf(stderr, "%s: %s; see %s --help\n", cmd->prog, safe.s, cmd->prog);
    str_release(&safe);
    free(text);
    return EXIT_USAGE;
}

void args_help(const struct args_cmd *cmd, FILE *f) {
    fprintf(f, "usage: %s", cmd->prog);
    if (cmd->positionals) fprintf(f, " %s", cmd->positionals);
    bool any_optional = false;
    for (const struct args_opt *o = cmd->opts; o->name; o++) {
        if (o->flags & ARGS_HIDDEN) continue;
        if (!(o->flags & ARGS_REQUIRED))
            any_optional = true;
        else if (o->letter)
            fprintf(f, " -%c %s", o->letter, o->value);
        else
            fprintf(f, " --%s %s", o->name, o->value);
    }
    fprintf(f, "%s\n\n%s\n\noptions:\n", any_optional ? " [options]" : "", cmd->doc);
    for (const struct args_opt *o = cmd->opts; o->name; o++) {
        if (o->flags & ARGS_HIDDEN) continue;
        struct str left = STR_INIT;
        if (o->letter) str_addf(&left, "-%c, ", o->letter);
        str_addf(&left, "--%s", o->name);
        if (o->value) str_addf(&left, " %s", o->value);
        // A long left column gets a line of its own, so that the right one stays aligned.
        fprintf(f, left.len <= 28 ? "  %-28s  " : "  %s\n                                ", left.s);
        fputs(o->help, f);
        if (o->def) fprintf(f, " (default %s)", o->def);
        if (o->flags & ARGS_REPEAT) fputs(" (may be repeated)", f);
        fputc('\n', f);
        str_release(&left);
    }
    fprintf(f, "  %-28s  %s\n", "--max-memory BYTES",
            "refuse what would take more: 512M, 2G (default: what the machine has)");
    fprintf(f, "  %-28s  %s\n", "-h, --help", "print this text");
}

// --- slips of the finger ---------------------------------------------------------------------------------------------

static size_t smallest(size_t a, size_t b, size_t c) { return a < b ? (a < c ? a : c) : (b < c ? b : c); }

// Letters to insert, remove, replace or swap with their neighbour to make `b` of a[0..n).
static size_t slips(const char *a, size_t n, const char *b) {
    enum { LONGEST = 31 };
    size_t d[LONGEST + 1][LONGEST + 1];
    const size_t m = strlen(b);
    if (n > LONGEST || m > LONGEST) return SIZE_MAX;
    for (size_t i = 0; i <= n; i++)
        for (size_t j = 0; j <= m; j++) {
            if (!i || !j) {
                d[i][j] = i + j;
                continue;
            }
            d[i][j] = smallest(d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && d[i - 2][j - 2] + 1 < d[i][j])
                d[i][j] = d[i - 2][j - 2] + 1;
        }
    return d[n][m];
}

// Keeps the nearest of the names it is shown, as long as it is near enough to have been meant.
struct guess {
    const char *name;
    size_t slips;
};
static void guess_try(struct guess *g, const char *given, size_t n, const char *name) {
    const size_t s = slips(given, n, name);
    if (s <= n / 3 && (!g->name || s < g->slips)) *g = (struct guess){name, s};
}

const char *args_nearest(const struct args_opt *opts, const char *name, size_t n) {
    struct guess g = {0};
    for (; opts->name; opts++)
        if (!(opts->flags & ARGS_HIDDEN)) guess_try(&g, name, n, opts->name);
    return g.name;
}

static size_t find_opt(const struct args_cmd *cmd, const char *name, size_t len) {
    for (size_t i = 0; cmd->opts[i].name; i++)
        if (strlen(cmd->opts[i].name) == len && !memcmp(cmd->opts[i].name, name, len)) return i;
    return SIZE_MAX;
}

static size_t find_letter(const struct args_cmd *cmd, char letter) {
    for (size_t i = 0; cmd->opts[i].name; i++)
        if (cmd->opts[i].letter == letter) return i;
    return SIZE_MAX;
}

static bool is_option(const char *s) {
    if (s[0] != '-' || !s[1]) return false; // "-" alone is a positional: standard input or output
    return !(s[1] >= '0' && s[1] <= '9') && s[1] != '.';
}

static bool add_hit(struct args *a, size_t opt, const char *value) {
    const struct args_opt *o = &a->cmd->opts[opt];
    if (!(o->flags & ARGS_REPEAT) && o->value)
        for (size_t i = 0; i < a->n_hits; i++)
            if (a->hits[i].opt == opt) {
                args_fail(a->cmd, "--%s is given twice", o->name);
                return false;
            }
    a->hits[a->n_hits++] = (struct args_hit){opt, value};
    return true;
}

// Every command's --max-memory: what readers may ask for (budget.h), and a limit on the process for what nobody counts.
static bool limit_memory(const struct args *a, const char *value) {
    uint64_t bytes;
    if (!budget_parse(value, &bytes)) {
        args_fail(a->cmd, "--max-memory %s: expected a number of bytes such as 512M or 2G", value);
        return false;
    }
    budget_set(bytes);
    struct rlimit l;
    if (getrlimit(RLIMIT_DATA, &l) == 0 && bytes < l.rlim_cur) {
        l.rlim_cur = (rlim_t)bytes;
        setrlimit(RLIMIT_DATA, &l);
    }
    return true;
}
static const struct args_opt max_memory = {"max-memory", 0, "BYTES", NULL, NULL, 0};

// Parses the option at argv[*i], moving *i past a value it takes. ARGS_RUN when all is well.
static enum args_result parse_option(struct args *a, int argc, char **argv, int *i) {
    const char *arg = argv[*i], *value = NULL;
    size_t opt;
    bool memory = false;
    if (!strcmp(arg, "--help") || !strcmp(arg, "-h")) return ARGS_HELP;
    if (arg[1] == '-') {
        const char *eq = strchr(arg, '=');
        const size_t len = eq ? (size_t)(eq - arg - 2) : strlen(arg + 2);
        opt = find_opt(a->cmd, arg + 2, len);
        memory = len == strlen(max_memory.name) && !memcmp(arg + 2, max_memory.name, len);
        if (eq) value = eq + 1;
        if (opt == SIZE_MAX && !memory) {
            const int n = eq ? (int)(eq - arg) : (int)strlen(arg);
            const char *near = args_nearest(a->cmd->opts, arg + 2, (size_t)n - 2);
            if (near)
                args_fail(a->cmd, "unknown option %.*s, did you mean --%s", n, arg, near);
            else
                args_fail(a->cmd, "unknown option %.*s", n, arg);
            return ARGS_USAGE;
        }
    } else {
        opt = find_letter(a->cmd, arg[1]);
        if (opt == SIZE_MAX) {
            args_fail(a->cmd, "unknown option %s", arg);
            return ARGS_USAGE;
        }
        if (arg[2]) value = arg + 2;
    }
    const struct args_opt *o = memory ? &max_memory : &a->cmd->opts[opt];
    if (!o->value && value) {
        args_fail(a->cmd, "--%s takes no value", o->name);
        return ARGS_USAGE;
    }
    if (o->value && !value) {
        // `--output --verbose` is a forgotten value, not a file called "--verbose".
        if (*i + 1 >= argc || is_option(argv[*i + 1])) {
            args_fail(a->cmd, "--%s needs a value (%s)", o->name, o->value);
            return ARGS_USAGE;
        }
        value = argv[++*i];
    }
    if (memory) return limit_memory(a, value) ? ARGS_RUN : ARGS_USAGE;
    return add_hit(a, opt, value ? value : "") ? ARGS_RUN : ARGS_USAGE;
}

static enum args_result check_required(const struct args *a) {
    const struct args_cmd *cmd = a->cmd;
    if (a->n_pos < cmd->min_pos) {
        args_fail(cmd, "missing argument, expected: %s", cmd->positionals);
        return ARGS_USAGE;
    }
    if (a->n_pos > cmd->max_pos) {
        args_fail(cmd, "unexpected argument \"%s\"", a->pos[cmd->max_pos]);
        return ARGS_USAGE;
    }
    for (const struct args_opt *o = cmd->opts; o->name; o++)
        if ((o->flags & ARGS_REQUIRED) && !args_given(a, o->name)) {
            if (o->letter)
                args_fail(cmd, "-%c %s is missing (%s)", o->letter, o->value, o->help);
            else
                args_fail(cmd, "--%s %s is missing (%s)", o->name, o->value, o->help);
            return ARGS_USAGE;
        }
    return ARGS_RUN;
}

enum args_result args_parse(struct args *a, const struct args_cmd *cmd, int argc, char **argv) {
    size_t n = argc > 0 ? (size_t)argc : 0;
    *a = (struct args){.cmd = cmd, .hits = xcalloc(n + 1, sizeof *a->hits), .pos = xcalloc(n + 1, sizeof *a->pos)};
    enum args_result r = ARGS_RUN;
    bool only_positionals = false;
    for (int i = 0; i < argc && r == ARGS_RUN; i++) {
        if (!only_positionals && !strcmp(argv[i], "--"))
            only_positionals = true;
        else if (!only_positionals && is_option(argv[i]))
            r = parse_option(a, argc, argv, &i);
        else
            a->pos[a->n_pos++] = argv[i];
    }
    if (r == ARGS_RUN) r = check_required(a);
    if (r == ARGS_HELP) args_help(cmd, stdout);
    if (r != ARGS_RUN) args_release(a);
    return r;
}

void args_release(struct args *a) {
    free(a->hits);
    free(a->pos);
    *a = (struct args){0};
}

static size_t known_opt(const struct args *a, const char *name) {
    size_t opt = find_opt(a->cmd, name, strlen(name));
    CHECK(opt != SIZE_MAX, "%s has no option --%s in its table", a->cmd->prog, name);
    return opt;
}

size_t args_count(const struct args *a, const char *name) {
    size_t opt = known_opt(a, name), n = 0;
    for (size_t i = 0; i < a->n_hits; i++) n += a->hits[i].opt == opt;
    return n;
}

bool args_given(const struct args *a, const char *name) { return args_count(a, name) > 0; }

const char *args_nth(const struct args *a, const char *name, size_t i) {
    size_t opt = known_opt(a, name);
    for (size_t k = 0; k < a->n_hits; k++)
        if (a->hits[k].opt == opt && i-- == 0) return a->hits[k].value;
    return NULL;
}

const char *args_str(const struct args *a, const char *name) {
    const char *v = args_nth(a, name, 0);
    return v ? v : a->cmd->opts[known_opt(a, name)].def;
}

bool args_i64(const struct args *a, const char *name, int64_t min, int64_t max, int64_t *out) {
    const char *s = args_str(a, name);
    int64_t v;
    if (!s) return true;
    if (!parse_i64(s, &v) || v < min || v > max) {
        args_fail(a->cmd, "--%s %s: expected a whole number from %lld to %lld", name, s, (long long)min,
                  (long long)max);
        return false;
    }
    *out = v;
    return true;
}

bool args_f64(const struct args *a, const char *name, double min, double max, double *out) {
    const char *s = args_str(a, name);
    double v;
    if (!s) return true;
    if (!parse_f64(s, &v) || v < min || v > max) {
        args_fail(a->cmd, "--%s %s: expected a number from %g to %g", name, s, min, max);
        return false;
    }
    *out = v;
    return true;
}

bool args_u64(const struct args *a, const char *name, uint64_t *out) {
    const char *s = args_str(a, name);
    if (!s) return true;
    uint64_t v = 0;
    bool ok = *s != 0;
    for (const char *p = s; *p && ok; p++) {
        ok = *p >= '0' && *p <= '9' && v <= (UINT64_MAX - (uint64_t)(*p - '0')) / 10;
        if (ok) v = v * 10 + (uint64_t)(*p - '0');
    }
    if (!ok) {
        args_fail(a->cmd, "--%s %s: expected a whole number from 0 to 18446744073709551615", name, s);
        return false;
    }
    *out = v;
    return true;
}

bool args_choice(const struct args *a, const char *name, const char *const *choices, size_t *out) {
    const char *s = args_str(a, name);
    if (!s) return true;
    struct str list = STR_INIT;
    for (size_t i = 0; choices[i]; i++) {
        if (!strcmp(choices[i], s)) {
            *out = i;
            str_release(&list);
            return true;
        }
        str_addf(&list, "%s%s", i ? ", " : "", choices[i]);
    }
    args_fail(a->cmd, "--%s %s: expected one of %s", name, s, list.s ? list.s : "(none)");
    str_release(&list);
    return false;
}

// --- programs --------------------------------------------------------------------------------------------------------

static void program_help(const struct args_program *p) {
    printf("usage: %s COMMAND [arguments]\n\ncommands:\n", p->name);
    for (const struct args_program_cmd *c = p->cmds; c->name; c++)
        if (c->doc) printf("  %-10s %s\n", c->name, c->doc);
    printf("\n%s COMMAND --help describes a command; %s --version prints the version.\n", p->name, p->name);
}

static int run_command(const struct args_program *p, int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "%s: no command; see %s --help\n", p->name, p->name);
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        program_help(p);
        return EXIT_DONE;
    }
    if (!strcmp(name, "--version")) {
        printf("%s %s\n", p->name, p->version);
        return EXIT_DONE;
    }
    for (const struct args_program_cmd *c = p->cmds; c->name; c++)
        if (!strcmp(name, c->name)) {
            doing("running %s %s", p->name, c->name);
            return c->run(argc - 2, argv + 2);
        }
    struct guess g = {0};
    for (const struct args_program_cmd *c = p->cmds; c->name; c++) guess_try(&g, name, strlen(name), c->name);
    fprintf(stderr, "%s: unknown %s %s%s%s; see %s --help\n", p->name, name[0] == '-' ? "option" : "command",
            printable(name), g.name ? ", did you mean " : "", g.name ? g.name : "", p->name);
    return EXIT_USAGE;
}

int args_command_main(const struct args_cmd *cmd, int (*run)(const struct args *a), int argc, char **argv) {
    struct args a;
    enum args_result r = args_parse(&a, cmd, argc, argv);
    if (r != ARGS_RUN) return r == ARGS_HELP ? EXIT_DONE : EXIT_USAGE;
    int code = run(&a);
    args_release(&a);
    return code;
}

int args_program_main(const struct args_program *p, int argc, char **argv) {
    guard_install(p->name);
    int code = run_command(p, argc, argv);
    if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
        fprintf(stderr, "error: cannot write to standard output\n");
        code = EXIT_FAILED;
    }
    guard_done();
    return code;
}
