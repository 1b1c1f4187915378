"""--dtype bf16 against PyTorch's bfloat16 autocast: both are measured against PyTorch's float32, and ours may be off by half as
much again as theirs, in all gradients together and in the logits. (There is no exact answer that either could be held to.)
"""
import sys

import numpy as np

from common import CLASSES, RUN, SMKDC, TORCH_MODELS, Report, compiled, need, need_tools, onnx_of, read_safetensors, run, take_weights, torch_model

MODELS = ("resnet18", "shufflenet_v2_x1_0")
SLACK = 1.5


def off(got, want):
    """|got - want| / |want| of all tensors as one vector."""
    square = lambda tensors: sum(float((t.astype(np.float64) ** 2).sum()) for t in tensors)
    return np.sqrt(square(got[k] - want[k] for k in want) / square(want.values()))


def of_torch(path, name, x, dy, mixed):
    import torch
    m = take_weights(torch_model(name), path)
    with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
        z = m(torch.from_numpy(x))
    z.backward(torch.from_numpy(dy).to(z.dtype))
    return {k: p.grad.float().numpy() for k, p in m.named_parameters()}, {"logits": z.detach().float().numpy()}


def check(report, name, tmp):
    hw, n = TORCH_MODELS[name]
    path = onnx_of(name, "ts", hw, tmp)
    artifact = compiled(path, 64, "--dtype", "bf16")
    x = np.random.default_rng(5).normal(size=(n, 3, hw, hw)).astype(np.float32)
    dy = np.random.default_rng(1).normal(size=(n, CLASSES)).astype(np.float32)
    want, z = of_torch(path, name, x, dy, False)
    theirs, their_z = of_torch(path, name, x, dy, True)
    np.save(tmp / "x.npy", x)
    np.save(tmp / "dy.npy", dy)
    run(RUN, "grad", artifact, "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"logits={tmp / 'dy.npy'}", "-o", tmp / "g.safetensors")
    ours = read_safetensors(tmp / "g.safetensors")
    report.check(f"{name} gradients, of PyTorch's error {off(theirs, want):.1e}", off(ours, want) / off(theirs, want), SLACK)
    report.check(f"{name} logits, of PyTorch's error {off(their_z, z):.1e}", off(ours, z) / off(their_z, z), SLACK)


def main():
    need_tools(SMKDC, RUN)
    need("torch", "onnx")
    try:
        torch_model(MODELS[0])
    except Exception as e:
        print(f"skipped: torchvision's models ({type(e).__name__}: {e})")
        return 77
    report = Report()
    for name in MODELS:
        report.guard_in_folder(name, check, report, name)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
