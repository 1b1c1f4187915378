// smkd-run methods: the catalogue of training methods, from the rows of methods/.
#include "method_args.h"
#include "run_train.h"

#include <string.h>

static const struct args_opt opts[] = {{"markdown", 0, NULL, NULL, "as docs/methods.md has it", 0}, {0}};
static const struct args_cmd cmd = {
    "smkd-run methods",
    "[NAME]",
    0,
    1,
    "Lists the training methods; with NAME one of them whole: what it comes from, how many "
    "networks it takes, its flags.",
    opts};

static void networks(const struct method *m, char text[32]) {
    if (m->least == m->most)
        snprintf(text, 32, "%d", m->least);
    else if (m->most == METHOD_MAX_PEERS)
        snprintf(text, 32, "%d or more", m->least);
    else
        snprintf(text, 32, "%d to %d", m->least, m->most);
}

// Whether a parameter is a flag of this method that does something.
static bool is_flag(const struct method *m, const struct method_param *p) {
    char fixed[32];
    return p->help && !method_fixed(m, p, fixed) && method_matters(m, NULL, p);
}

// "refine=mylc|proselflc,gate=all" as words.
static const char *where(const struct method_param *p, char text[64]) {
    size_t n = 0;
    for (const char *s = p->only ? p->only : ""; *s && n + 6 < 64; s++) {
        if (*s == '|' || *s == ',')
            n += (size_t)snprintf(text + n, 64 - n, *s == '|' ? " or " : " and ");
        else
            text[n++] = *s;
    }
    text[n] = 0;
    return text;
}

static void print_one(const struct method *m) {
    char text[METHOD_TEXT], count[32], fixed[32], only[64];
    struct method_values v;
    networks(m, count);
    method_defaults(m, &v);
    printf("%s: %s\nFrom %s. Family %s (%s).\nNetworks: %s. Learns: %s.\n", m->name, m->doc, m->paper, m->family->name,
           m->family->doc, count, m->family->regression ? "numbers" : "classes");
    if (m->family->teacher && m->family->teacher(m, &v)) printf("Teacher: a frozen network, which --teacher names.\n");
    if (m->family->predicts && m->family->predicts(m, &v))
        printf("Heads: networks have classifiers at their sides (smkdc new --heads, smkdc compile --head).\n");
    if (method_rounds(m, &v) > 1)
        printf("Rounds: %lld of --epochs each; what a network has become teaches it in the next.\n",
               (long long)method_rounds(m, &v));
    printf("Batches in parts (--accumulate): %s.\n",
           method_by_rows(m, &v) ? "yes" : "no, its rows depend on each other");
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        const char *is = method_fixed(m, p, fixed);
        if (is) printf("%s is %s.\n", p->name, is);
    }
    printf("\n");
    for (int i = 0; m->family->params[i].name; i++) {
        const struct method_param *p = &m->family->params[i];
        if (!is_flag(m, p)) continue;
        struct str flag = STR_INIT;
        method_default_words(m, p, text);
        str_addf(&flag, "--%s%s%s", p->name, p->value ? " " : "", p->value ? p->value : "");
        printf("  %-22s %s (%s)%s%s\n", flag.s, p->help, text, p->only ? ", with " : "", where(p, only));
        str_release(&flag);
    }
}

static void print_markdown(void) {
    char only[64];
    printf("# Methods\n\nMade with `smkd-run methods --markdown` from the rows of `methods/`. Equations and what to "
           "choose when: "
           "[losses.md](losses.md).\n\n| method | networks | what | from | fixed (=), defaults (:) | flags "
           "|\n|---|---|---|---|---|---|\n");
    for (const struct method *m = methods; m->name; m++) {
        char count[32];
        networks(m, count);
        struct str flags = STR_INIT, set = STR_INIT;
        for (const struct method_param *p = m->family->params; p->name; p++)
            if (is_flag(m, p)) str_addf(&flags, "%s`--%s`", flags.len ? " " : "", p->name);
        for (const char *s = m->set; *s; s++)
            if (*s == '|')
                str_add(&set, " or ");
            else
                str_addf(&set, "%c%s", *s, *s == ',' ? " " : "");
        printf("| `%s` | %s | %s | %s | %s | %s |\n", m->name, count, m->doc, m->paper, set.s,
               flags.len ? flags.s : "");
        str_release(&flags);
        str_release(&set);
    }
    for (const struct method *m = methods; m->name; m++) {
        bool first = true, any = false; // of its family
        for (const struct method *x = methods; x < m; x++) first = first && x->family != m->family;
        for (const struct method_param *p = m->family->params; first && p->name; p++) {
            if (!p->help) continue;
            if (!any)
                printf("\n## Flags of the family `%s`: %s\n\n| flag | default | what it is | counts where "
                       "|\n|---|---|---|---|\n",
                       m->family->name, m->family->doc);
            any = true;
            printf("| `--%s` | %s | %s | %s |\n", p->name, p->def ? p->def : "off", p->help, where(p, only));
        }
    }
}

static int run(const struct args *a) {
    if (args_given(a, "markdown")) {
        print_markdown();
        return EXIT_DONE;
    }
    if (a->n_pos) {
        const struct method *m = run_method(a->pos[0]);
        if (!m) return run_failed("methods");
        print_one(m);
        return EXIT_DONE;
    }
    for (const struct method *m = methods; m->name; m++) {
        char count[32];
        networks(m, count);
        printf("%-20s %-10s %s (%s)\n", m->name, count, m->doc, m->paper);
    }
    return EXIT_DONE;
}

int run_methods(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
