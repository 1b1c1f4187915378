"""Operators that are functions of others, by elements, losses, quantisation: values and gradients against PyTorch, onnxruntime and numpy.

Values come from PyTorch in float64 and gradients from its autograd, by the input and by every weight.
"""
import sys

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, read_safetensors, rel, run, temp_dir

need("onnx", "torch")
import onnx
import torch
from onnx import TensorProto as T
from onnx import helper, numpy_helper

RNG = np.random.default_rng(11)


def w(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def save(path, nodes, x, weights, opset=21, domains=(), batch="N"):
    """A file of float results `y` from the input x [N,..]."""
    kind = helper.np_dtype_to_tensor_dtype(x.dtype)
    g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", kind, [batch, *x.shape[1:]])],
                          [helper.make_tensor_value_info("y", T.FLOAT, None)], [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()])
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", opset), *(helper.make_opsetid(d, 1) for d in domains)], ir_version=10),
              str(path))


def infer(tmp, nodes, x, weights, **how):
    save(tmp / "m.onnx", nodes, x, weights, **how)
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--inference", "--max-batch", 64)
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "y.st")
    return read_safetensors(tmp / "y.st")["y"]


def compare(report, name, nodes, x, weights, f, limit=1e-5, **how):
    """y and the gradients by x and the float weights against f(x, weights) in PyTorch."""
    with temp_dir() as tmp:
        save(tmp / "m.onnx", nodes, x, weights, **how)
        run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 64)
        tx = torch.from_numpy(x.astype(np.float64)).requires_grad_(True)
        tw = {k: torch.from_numpy(np.asarray(v)) for k, v in weights.items()}
        tw = {k: v.double().requires_grad_(True) if v.is_floating_point() else v for k, v in tw.items()}
        want = f(tx, **tw)
        dy = RNG.standard_normal(want.shape).astype(np.float32)
        np.save(tmp / "x.npy", x)
        np.save(tmp / "dy.npy", dy)
        run(RUN, "grad", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"y={tmp / 'dy.npy'}", "-o", tmp / "g.st")
        got = read_safetensors(tmp / "g.st")
        want.backward(torch.from_numpy(dy.astype(np.float64)).reshape(want.shape))
        worst = rel(got["y"], want.detach().numpy())
        for k, v in {"grad.x": tx, **tw}.items():
            if k in got:
                worst = max(worst, rel(got[k], v.grad.numpy() if v.grad is not None else np.zeros(v.shape), floor=1e-3))
        assert "grad.x" in got
        report.check(name, worst, limit)


def node(op, ins, outs="y", **attrs):
    return helper.make_node(op, ins.split(), outs.split(), **attrs)


# --- elementwise ------------------------------------------------------------------------------------------------------

INSIDE = np.concatenate([np.linspace(-.999, .999, 40), [1e-8, -1e-8, 1e-30, 0]]).astype(np.float32).reshape(4, 11)
ALL = np.concatenate([np.linspace(-9, 9, 40), [1e-8, -1e-8, 1e-30, 0]]).astype(np.float32).reshape(4, 11)
ABOVE = (1 + np.logspace(-4, 6, 44)).astype(np.float32).reshape(4, 11)


def elementwise(report):
    for op, x in [("Tan", ALL), ("Asin", INSIDE), ("Acos", INSIDE), ("Atan", ALL), ("Sinh", ALL), ("Cosh", ALL), ("Asinh", ALL), ("Acosh", ABOVE),
                  ("Atanh", INSIDE)]:
        compare(report, op.lower(), [node(op, "x")], x, {}, getattr(torch, op.lower()))


def edges(report):
    """Gradients at the ends of the domains: infinite as PyTorch's, never NaN."""
    x = np.array([[-1, 1, 0]], np.float32)
    for op in ("Asin", "Acos", "Atanh"):
        compare(report, f"{op.lower()} at -1 and 1", [node(op, "x")], x, {}, getattr(torch, op.lower()))


def main():
    need_tools(SMKDC, RUN)
    report = Report()
    for part in (elementwise, edges):
        report.guard(part.__name__, part, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
