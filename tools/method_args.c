#include "method_args.h"

#include <string.h>

const char *method_in_args(int argc, char **argv, const char *const *flags) {
    for (int i = 0; i < argc; i++) {
        if (!flags && method_find(argv[i])) return argv[i];
        for (const char *const *f = flags; f && *f; f++) {
            size_t n = strlen(*f);
            if (strncmp(argv[i], "--", 2) != 0 || strncmp(argv[i] + 2, *f, n) != 0) continue;
            if (argv[i][2 + n] == '=') return argv[i] + 3 + n;
            if (!argv[i][2 + n] && i + 1 < argc) return argv[i + 1];
        }
    }
    return NULL;
}

const char *method_default_words(const struct method *m, const struct method_param *p, char text[METHOD_TEXT]) {
    char def[32];
    const char *is = p->kind == METHOD_FLAG ? "off" : method_default(m, p, def), *many = strchr(is, '|');
    snprintf(text, METHOD_TEXT, "%.*s%s%s", (int)strcspn(is, "|"), is, many ? ", above 10 classes " : "",
             many ? many + 1 : "");
    return text;
}

size_t method_opts(const struct method *m, struct args_opt *opts, size_t n, size_t cap) {
    static char defaults[METHOD_PARAMS][METHOD_TEXT];
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        if (!p->help) continue;
        CHECK(n + 1 < cap, "more options than there is room for");
        method_default_words(m, p, defaults[i]);
        opts[n++] = (struct args_opt){p->name, 0, p->value, p->value ? defaults[i] : NULL, p->help, 0};
    }
    return n;
}

int method_foreign(const struct args_cmd *cmd, const struct method *m, int argc, char **argv) {
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strncmp(argv[i], "--", 2) != 0) continue;
        char name[64];
        snprintf(name, sizeof name, "%.*s", (int)strcspn(argv[i] + 2, "="), argv[i] + 2);
        bool known = method_param(m, name, NULL) != NULL;
        for (const struct args_opt *o = cmd->opts; o->name; o++) known = known || strcmp(o->name, name) == 0;
        if (known) continue;
        struct str of = STR_INIT;
        for (const struct method *x = methods; x->name; x++)
            if (method_param(x, name, NULL)) str_addf(&of, "%s%s", of.len ? ", " : "", x->name);
        int code = EXIT_DONE;
        if (of.len) code = args_fail(cmd, "--%s belongs to other methods (%s), not to %s", name, of.s, m->name);
        str_release(&of);
        if (code != EXIT_DONE) return code;
    }
    return EXIT_DONE;
}

void method_read(const struct method *m, const struct args *a, struct method_values *v, struct str *wrong) {
    for (int i = 0; m->family->params[i].name && !wrong->len; i++) {
        const struct method_param *p = &m->family->params[i];
        char fixed[32];
        // The program of smkd-s has no b2, whatever is given; train refuses it, where it would be a misunderstanding.
        if (p->scalar && method_fixed(m, p, fixed)) continue;
        if (p->help && args_given(a, p->name)) method_assign(m, v, i, args_nth(a, p->name, 0), wrong);
    }
    const char *why = wrong->len ? NULL : method_refuse(m, v, 0);
    if (why) str_add(wrong, why);
}
