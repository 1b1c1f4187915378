// smkdc, the compiler: ONNX files in, native training programs out. Commands only; the work is in dc_*.c and the rooms.
#include "dc.h"

static const struct args_program_cmd commands[] = {
    {"new", dc_new, "write a built-in backbone with fresh weights as an ONNX file"},
    {"compile", dc_compile, "ONNX file -> native training program (.smkd)"},
    {"check", dc_check, "say whether an ONNX file can be compiled and trained, and what stands in the way"},
    {"verify", dc_verify, "compare what every node of an ONNX file makes with onnxruntime"},
    {"inspect", dc_inspect, "print what a .smkd file holds"},
    {"loss", dc_loss, "compile a training loss, for runtimes built without LLVM"},
    {"emit-loss", dc_emit_loss, "print the loss of a method as its paper writes it, as text that loss reads"},
    {"optimizer", dc_optimizer, "compile an optimizer, likewise"},
    {"ops", dc_ops, NULL},
    {0}};

int main(int argc, char **argv) {
    const struct args_program p = {"smkdc", cg_version(), commands};
    return args_program_main(&p, argc, argv);
}
