// smkd-run methods: the catalogue of training methods, from the rows of methods/.
#include "../runtime/words.h"
#include "method_args.h"
#include "run_train.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const struct args_opt opts[] = {
    {"markdown", 0, NULL, NULL, "as docs/methods.md has it", 0},
    {"costs", 0, "FILE.csv", NULL, "with --markdown: lines METHOD,COST of bench/method_costs.py become a column", 0},
    {0}};
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

// How its last epochs go through the images.
static struct method_pass last_pass(const struct method *m, const struct method_values *v) {
    enum { LATE = 1000000 };
    struct method_stage stage = {.name = ""}, next;
    for (int64_t i = 0; method_stage(m, v, i, &next); i++) stage = next;
    const struct method_moment at = {&stage, LATE, LATE};
    return method_pass(m, v, &at);
}

static void print_one(const struct method *m) {
    char text[METHOD_TEXT], count[32], fixed[32], only[64];
    struct method_values v;
    networks(m, count);
    method_defaults(m, &v);
    printf("%s: %s\nFrom %s. Family %s (%s).\nNetworks: %s. Learns: %s.\n", m->name, m->doc, m->paper, m->family->name,
           m->family->doc, count, m->family->regression ? "numbers" : "classes");
    if (m->family->teacher && m->family->teacher(m, &v)) printf("Teacher: a frozen network, which --teacher names.\n");
    if (m->family->taps && !m->family->inside && m->family->predicts && m->family->predicts(m, &v))
        printf("Heads: networks have classifiers at their sides (smkdc new --heads, smkdc compile --head).\n");
    if (m->family->inside) printf("Inside: %s.\n", m->family->inside);
    if (method_rounds(m, &v) > 1)
        printf("Rounds: %lld of --epochs each; what a network has become teaches it in the next.\n",
               (long long)method_rounds(m, &v));
    struct method_stage s;
    const bool several = m->family->stages && method_stage(m, &v, 1, &s);
    for (int64_t i = 0; several && method_stage(m, &v, i, &s); i++)
        printf("Stage %lld: %s%s%s%s%s%s%s%s%s.\n", (long long)i + 1, s.name, s.epochs ? ", --" : "",
               s.epochs ? s.epochs : "", s.rate ? ", --" : "", s.rate ? s.rate : "",
               i && s.anew ? ", from the first numbers again" : "", s.part ? ", of --" : "", s.part ? s.part : "",
               s.part ? " alone, anew" : "");
    const struct method_views views = method_views(m, &v, m->least);
    const struct method_pass pass = last_pass(m, &v);
    if (views.stacked)
        printf("Views: %d of each row, as one batch: smkdc compile --max-batch is at least %d times --batch-size.\n",
               views.count, views.count);
    if (pass.rows) printf("Rows: the images whose labels are believed; the others come beside them, without theirs.\n");
    if (pass.each) printf("Passes: one through the images for each network, which it alone learns from.\n");
    printf("Batches in parts (--accumulate): %s.\n", method_by_rows(m, &v) ? "yes" : "no, each counts as a whole");
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

// Puts what a line says of a method in its place.
static enum smkd_result read_cost(const char *path, struct rt_words *w, double *cost) {
    const char *word[3];
    size_t len[3], n = 0;
    while (n < 3 && (word[n] = rt_words_next(w, &len[n]))) n++;
    if (n == 0) return SMKD_R_OK;
    char name[64] = "", number[64] = "";
    double x = 0;
    if (n > 1) {
        snprintf(name, sizeof name, "%.*s", (int)len[0], word[0]);
        snprintf(number, sizeof number, "%.*s", (int)len[1], word[1]);
    }
    if (n == 2 && w->line == 1 && strcmp(name, "method") == 0) return SMKD_R_OK; // the columns' names
    if (n != 2 || !parse_f64(number, &x) || !isfinite(x) || x <= 0)
        return rt_fail(SMKD_R_INVALID, "--costs %s: line %zu: expected METHOD,COST with a cost over 0", path, w->line);
    const struct method *m = method_find(name);
    if (!m)
        return rt_fail(SMKD_R_INVALID,
                       "--costs %s: line %zu: there is no method \"%s\" (smkd-run methods lists them): take it out, or "
                       "run bench/method_costs.py again",
                       path, w->line, printable(name));
    if (cost[m - methods] > 0)
        return rt_fail(SMKD_R_INVALID, "--costs %s: line %zu: %s is there twice", path, w->line, name);
    cost[m - methods] = x;
    return SMKD_R_OK;
}

// cost: one for each method; those that the file does not name keep their 0.
static enum smkd_result read_costs(const char *path, double *cost) {
    const void *text;
    size_t size;
    struct rt_words w;
    if (io_map(path, &text, &size) != SMKD_OK)
        return rt_fail(SMKD_R_IO, "--costs %s: cannot be read: %s", path, io_why());
    enum smkd_result r = rt_words_begin(&w, path, text, size);
    while (r == SMKD_R_OK && rt_words_line(&w)) r = read_cost(path, &w, cost);
    io_unmap(text, size);
    return r;
}

// cost: NULL, or one for each method, 0 where it was not measured.
static void print_markdown(const double *cost) {
    char only[64];
    printf("# Methods\n\nMade with `smkd-run methods --markdown%s` from the rows of `methods/`. Equations and what to "
           "choose when: [losses.md](losses.md).\n\n",
           cost ? " --costs bench/method_costs.csv" : "");
    if (cost)
        printf(
            "Cost: time of an epoch over that of `ce` with as many networks, ResNet-18 on 3x32x32 in batches of 128, "
            "measured with `bench/method_costs.py`. It has what a method needs beside its loss: heads, teachers, "
            "averages. Blank: not measured.\n\n");
    printf("| method | networks |%s what | from | fixed (=), defaults (:) | flags |\n|---|---|%s---|---|---|---|\n",
           cost ? " cost over `ce` |" : "", cost ? "---|" : "");
    for (const struct method *m = methods; m->name; m++) {
        char count[32];
        networks(m, count);
        struct str flags = STR_INIT, set = STR_INIT, over = STR_INIT;
        for (const struct method_param *p = m->family->params; p->name; p++)
            if (is_flag(m, p)) str_addf(&flags, "%s`--%s`", flags.len ? " " : "", p->name);
        for (const char *s = m->set; *s; s++)
            if (*s == '|')
                str_add(&set, " or ");
            else
                str_addf(&set, "%c%s", *s, *s == ',' ? " " : "");
        if (cost && cost[m - methods] > 0)
            str_addf(&over, " %.2f |", cost[m - methods]);
        else if (cost)
            str_add(&over, " |");
        printf("| `%s` | %s |%s %s | %s | %s | %s |\n", m->name, count, over.len ? over.s : "", m->doc, m->paper,
               set.len ? set.s : "", flags.len ? flags.s : "");
        str_release(&over);
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

static int markdown(const char *costs) {
    size_t n = 0;
    while (methods[n].name) n++;
    double *cost = costs ? xcalloc(n, sizeof *cost) : NULL;
    bool ok = !cost || read_costs(costs, cost) == SMKD_R_OK;
    if (ok) print_markdown(cost);
    free(cost);
    return ok ? EXIT_DONE : run_failed("methods");
}

static int run(const struct args *a) {
    if (args_given(a, "markdown")) return markdown(args_str(a, "costs"));
    if (args_given(a, "costs")) return args_fail(a->cmd, "--costs goes with --markdown");
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
