// What the runtime makes of a --data argument that lists images, for test_listing.py.
//     oracle_listing WHERE [LABEL_COLUMN]
// Lines on stdout: "class NAME", "note TEXT", "train LABEL PATH", "test LABEL PATH", with \n and \r in names escaped as
// in C, and last "took SECONDS PEAK_KB".
#include "../../runtime/listing.h"

#include <stdio.h>
#include <time.h>

static void line(const char *what, const char *text) {
    printf("%s ", what);
    for (; *text; text++) {
        if (*text == '\n' || *text == '\r' || *text == '\\') putchar('\\');
        putchar(*text == '\n' ? 'n' : *text == '\r' ? 'r' : *text);
    }
    putchar('\n');
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Of this program alone: getrusage counts what it was before exec.
static long peak_kb(void) {
    FILE *f = fopen("/proc/self/status", "r");
    char text[256];
    long kb = 0;
    while (f && fgets(text, sizeof text, f)) sscanf(text, "VmHWM: %ld", &kb);
    if (f) fclose(f);
    return kb;
}

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    struct rt_listing l;
    struct rt_listing_options o = {.label_column = argc > 2 ? argv[2] : NULL};
    double begin = now();
    if (rt_listing_load(argv[1], &o, &l) != SMKD_R_OK) {
        printf("error %s\n", smkd_last_error());
        rt_listing_release(&l);
        return 1;
    }
    double end = now();
    long peak = peak_kb();
    for (int i = 0; i < l.n_classes; i++) line("class", l.classes[i]);
    for (int i = 0; i < l.n_notes; i++) line("note", l.notes[i]);
    for (int p = 0; p < 2; p++) {
        const struct rt_list *list = p ? &l.test : &l.train;
        for (size_t i = 0; i < list->n; i++) {
            char what[32];
            snprintf(what, sizeof what, "%s %d", p ? "test" : "train", list->label[i]);
            line(what, rt_list_path(list, i));
        }
    }
    printf("took %.3f %ld\n", end - begin, peak);
    rt_listing_release(&l);
    return 0;
}
