// smkdc, the compiler: ONNX files in, native training programs out. Commands only; the work is in dc_*.c and the rooms.
#include "dc.h"

#include <stdio.h>
#include <string.h>

static const struct command {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *doc; // NULL: not in --help
} commands[] = {
    {"new", dc_new, "write a built-in backbone with fresh weights as an ONNX file"},
    {"compile", dc_compile, "ONNX file -> native training program (.smkd)"},
    {"check", dc_check, "say whether an ONNX file can be compiled and trained, and what stands in the way"},
    {"inspect", dc_inspect, "print what a .smkd file holds"},
    {"loss", dc_loss, "compile a training loss, for runtimes built without LLVM"},
    {"ops", dc_ops, NULL},
};
enum { N_COMMANDS = sizeof commands / sizeof *commands };

static void help(FILE *f) {
    fprintf(f, "usage: smkdc COMMAND [arguments]\n\ncommands:\n");
    for (int i = 0; i < N_COMMANDS; i++)
        if (commands[i].doc) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].doc);
    fprintf(f, "\nsmkdc COMMAND --help describes a command; smkdc --version prints the version.\n");
}

// A full disk or a closed pipe behind stdout must not look like success.
static int finish(int code) {
    if ((fflush(stdout) || ferror(stdout)) && code == EXIT_DONE) {
        fprintf(stderr, "error: cannot write to standard output\n");
        return EXIT_FAILED;
    }
    return code;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "smkdc: no command; see smkdc --help\n");
        return EXIT_USAGE;
    }
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "help")) {
        help(stdout);
        return finish(EXIT_DONE);
    }
    if (!strcmp(name, "--version")) {
        printf("smkdc %s (%s)\n", SMKD_VERSION, cg_version());
        return finish(EXIT_DONE);
    }
    for (int i = 0; i < N_COMMANDS; i++)
        if (!strcmp(name, commands[i].name)) return finish(commands[i].run(argc - 2, argv + 2));
    fprintf(stderr, "smkdc: unknown %s %s; see smkdc --help\n", name[0] == '-' ? "option" : "command", name);
    return EXIT_USAGE;
}
