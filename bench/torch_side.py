"""A PyTorch process with one model: training steps, inference, and the numbers that ours are compared with."""
import contextlib

import numpy as np

import models
from oracle import write_safetensors
from worker import serve, timed_steps

import torch

# As small as ours in `smkd-run bench`: weights move and never run away, and what a step costs does not depend on it.
LR = 1e-6


def make(o):
    fmt = models.set_up(o)
    net = models.build(o["arch"], o["side"], o["classes"]).to(memory_format=fmt)
    x = torch.from_numpy(np.load(o["x"])).to(memory_format=fmt)
    models.load(net, o["weights"])
    mixed = torch.autocast("cpu", torch.bfloat16) if o["dtype"] == "bf16" else contextlib.nullcontext()
    return training(o, net, x, mixed, fmt) if o["kind"] == "train" else inference(o, net, x, mixed)


def training(o, net, x, mixed, fmt):
    net.train()
    dy = torch.from_numpy(np.load(o["dy"]))
    run = torch.compile(net) if o["compile"] else net
    optimizer = models.sgd(net, LR)

    def backward(forward, context, x, dy):
        with context:
            y = forward(x)
        y.backward(dy.to(y.dtype))

    def step():
        optimizer.zero_grad()
        backward(run, mixed, x, dy)
        optimizer.step()

    def gradients(inputs, to, reference=False):
        """Of the initial weights; `reference` is eager float32, whatever this process times."""
        models.load(net, o["weights"])
        optimizer.zero_grad()
        a, b = (torch.from_numpy(np.load(f)) for f in inputs)
        backward(net if reference else run, contextlib.nullcontext() if reference else mixed, a.to(memory_format=fmt), b)
        write_safetensors(to, {k: p.grad.float().contiguous().numpy() for k, p in net.named_parameters()})
        optimizer.zero_grad()

    return {"steps": timed_steps(step), "gradients": gradients, "threads": torch.get_num_threads,
            "flops": lambda: models.step_flops([net], x)}


def inference(o, net, x, mixed):
    net.eval()
    run = net
    if o["compile"]:
        import torch._inductor.config as inductor
        inductor.freezing = True  # folds BatchNorm into the convolutions, as ours and onnxruntime do
        run = torch.compile(net)

    def step():
        with torch.no_grad(), mixed:
            return run(x)

    def outputs(to):
        write_safetensors(to, {"logits": step().float().contiguous().numpy()})

    return {"steps": timed_steps(step), "outputs": outputs, "threads": torch.get_num_threads}


if __name__ == "__main__":
    serve(make)
