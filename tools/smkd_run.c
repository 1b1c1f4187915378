// smkd-run: runs and trains artifacts of smkdc. Commands only; the work is in run_*.c and the runtime.
#include "run_io.h"
#include "run_train.h"

#include <string.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *doc;
} commands[] = {
    {"train", run_train, "train a pair of networks on noisy labels into a run folder"},
    {"eval", run_eval, "accuracy of trained networks and of their ensemble"},
    {"export", run_export, "write a trained network as the ONNX file it came from"},
    {"infer", run_infer, "outputs of a network for given inputs"},
    {"grad", run_grad, "outputs and gradients of a network in train mode"},
    {"loss", run_loss, "value, gradients and gates of a training loss"},
    {"bench", run_bench, "speed and memory of inference or training"},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *f) {
    fprintf(f, "usage: smkd-run COMMAND [arguments]\n\ncommands:\n");
    for (int i = 0; i < N_COMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].doc);
    fprintf(f, "\nsmkd-run COMMAND --help describes a command; smkd-run --version prints the version.\n");
}

// A full disk or a closed pipe behind stdout must not look like success.
static int finish(int code) {
    if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
        fprintf(stderr, "smkd-run: error: cannot write to standard output\n");
        return EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "smkd-run: no command; see smkd-run --help\n");
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        help(stdout);
        return finish(EXIT_DONE);
    }
    if (!strcmp(name, "--version")) {
        printf("smkd-run %s\n", smkd_version());
        return finish(EXIT_DONE);
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i].name)) return finish(commands[i].run(argc - 2, argv + 2));
    fprintf(stderr, "smkd-run: unknown %s %s; see smkd-run --help\n", name[0] == '-' ? "option" : "command", name);
    return EXIT_USAGE;
}
