// smkd-run: runs and trains artifacts of smkdc. Commands only; the work is in run_*.c and the runtime.
#include "run_io.h"
#include "run_profile.h"
#include "run_train.h"

static const struct args_program_cmd commands[] = {
    {"train", run_train, "train networks on noisy labels into a run folder"},
    {"sweep", run_sweep, "a grid of training runs, its table and its figure"},
    {"methods", run_methods, "the training methods, and the flags of each"},
    {"eval", run_eval, "accuracy of trained networks and of their ensemble"},
    {"detect-noise", run_detect, "training labels that are likely to be wrong"},
    {"predict", run_predict, "classes of image files"},
    {"export", run_export, "write a trained network as the ONNX file it came from"},
    {"infer", run_infer, "outputs of a network for given inputs"},
    {"grad", run_grad, "outputs and gradients of a network in train mode"},
    {"loss", run_loss, "value, gradients and gates of a training loss"},
    {"bench", run_bench, "speed and memory of inference or training, by step or by node"},
    {"limits", run_limits, "operations and bytes a second that this machine can do"},
    {0}};

int main(int argc, char **argv) {
    const struct args_program p = {"smkd-run", smkd_version(), commands};
    return args_program_main(&p, argc, argv);
}
