// smkdc new: built-in backbones.
#include "dc.h"

#include <limits.h>
#include <string.h>

static const struct args_opt opts[] = {
    {"output", 'o', "F.onnx", NULL, "file to write", 0},
    {"input", 0, "CxHxW", NULL, "channels, height and width (default 3x32x32; Inception-ResNet-v2: 3x299x299)", 0},
    {"classes", 0, "N", "10", "number of classes", 0},
    {"width", 0, "N", NULL, "channels of the first stage of CIFAR ResNets (default 16)", 0},
    {"heads", 0, "N", "0", "side heads of ResNets behind their first N stages, for self-distillation: 3 are BYOT's", 0},
    {"seed", 0, "N", "0", "seed of the initial weights; equal seeds give equal files", 0},
    {"list", 0, NULL, NULL, "list the architectures", 0},
    {0}};
static const struct args_cmd cmd = {
    "smkdc new",
    "ARCH",
    0,
    1,
    "Writes a backbone with He-initialised weights as an ONNX file: input \"x\", output \"logits\", dynamic batch.",
    opts};

// "3x32x32"
static bool parse_input(const char *s, struct fe_new_options *o) {
    int *const parts[] = {&o->channels, &o->height, &o->width};
    for (int i = 0; i < 3; i++) {
        char buf[12];
        int64_t v;
        const size_t n = strcspn(s, "x");
        if (n == 0 || n >= sizeof buf) return false;
        memcpy(buf, s, n);
        buf[n] = 0;
        if (!parse_i64(buf, &v) || v < 1 || v > INT_MAX) return false;
        *parts[i] = (int)v;
        s += n;
        if (*s != (i < 2 ? 'x' : 0)) return false;
        s += i < 2;
    }
    return true;
}

static int list(void) {
    for (const struct fe_arch *a = fe_archs; a->name; a++) printf("%-20s %s\n", a->name, a->doc);
    return EXIT_DONE;
}

static int run(const struct args *a) {
    struct fe_new_options o = {0};
    int64_t classes = 0, width = 0, heads = 0;
    if (args_given(a, "list")) return list();
    if (!a->n_pos) return args_fail(&cmd, "missing ARCH (smkdc new --list prints them)");
    if (!args_given(a, "output")) return args_fail(&cmd, "-o F.onnx is missing");
    if (args_given(a, "input") && !parse_input(args_str(a, "input"), &o))
        return args_fail(&cmd, "--input %s: expected CxHxW such as 3x32x32", args_str(a, "input"));
    if (!args_i64(a, "classes", 1, 1000000, &classes) || !args_i64(a, "width", 1, 4096, &width) ||
        !args_i64(a, "heads", 0, 1000, &heads) || !args_u64(a, "seed", &o.seed))
        return EXIT_USAGE;
    o.classes = (int)classes;
    o.width_base = (int)width;
    o.heads = (int)heads;
    struct diag d = {0};
    return dc_exit(fe_new(a->pos[0], &o, args_str(a, "output"), &d), &d);
}

int dc_new(int argc, char **argv) { return args_command_main(&cmd, run, argc, argv); }
