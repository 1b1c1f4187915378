"""smkdc verify beside onnxruntime: models with batches in several places, of several types, with a convolution and an attention."""
import sys
import warnings

import numpy as np

from common import SMKDC, Report, need, need_tools, run, save_onnx, temp_dir

need("onnx", "onnxruntime", "torch")
import onnx
import torch
from onnx import helper as h

vi, node = h.make_tensor_value_info, h.make_node


class Attention(torch.nn.Module):
    """Sequence first, as nn.MultiheadAttention computes."""

    def __init__(self):
        super().__init__()
        self.qkv, self.out, self.norm = torch.nn.Linear(16, 48), torch.nn.Linear(16, 16), torch.nn.LayerNorm(16)

    def forward(self, x):
        t, n, c = x.transpose(0, 1).shape
        q, k, v = (y.reshape(t, n * 2, c // 2).transpose(0, 1) for y in self.qkv(x.transpose(0, 1)).chunk(3, -1))
        y = torch.softmax(q @ k.transpose(1, 2) / 8**0.5, -1) @ v
        return self.norm(x + self.out(y.transpose(0, 1).reshape(t, n, c)).transpose(0, 1))


def verify(path, *opts, ok=True):
    return run(SMKDC, "verify", path, "--reference", "onnxruntime", "--python", sys.executable, *opts, ok=ok)


def agrees(report, what, path, *opts):
    p = verify(path, *opts, ok=False)
    lines = {line.split()[0]: line for line in p.stdout.splitlines()}
    good = p.returncode == 0 and "onnxruntime" in lines.get("reference", "") and "agree" in lines.get("inside", "") and "agree" in lines.get("compiled", "")
    report.check(f"{what}: {lines.get('inside', p.stderr.strip())}", not good, 0)


def main():
    need_tools(SMKDC)
    report = Report()
    with temp_dir() as tmp:
        path = tmp / "m.onnx"
        rng = np.random.default_rng(0)
        save_onnx(path, [node("Transpose", ["a"], ["t"], perm=[1, 0, 2]), node("Add", ["t", "s"], ["u"]), node("MatMul", ["u", "w"], ["y"])],
             [vi("a", 1, ["B", 4, 5]), vi("s", 1, [4, "B", 5])], [vi("y", 1, [4, "B", 3])], [("w", rng.standard_normal((5, 3)).astype(np.float32))])
        agrees(report, "batches on two axes", path)
        np.save(tmp / "a.npy", rng.standard_normal((7, 4, 5)).astype(np.float32))
        np.save(tmp / "s.npy", rng.standard_normal((4, 7, 5)).astype(np.float32))
        agrees(report, "given inputs", path, "--input", f"a={tmp}/a.npy", "--input", f"s={tmp}/s.npy")
        for t in (onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.INT64, onnx.TensorProto.UINT8):
            save_onnx(path, [node("Add", ["a", "a"], ["s"]), node("Mul", ["s", "a"], ["y"])], [vi("a", t, [2, 40])], [vi("y", t, [2, 40])])
            agrees(report, f"elements of type {t}", path)
        save_onnx(path, [node("Reshape", ["x", "shape"], ["y"]), node("Relu", ["y"], ["z"])], [vi("x", 1, [2, 3, 4]), vi("shape", 7, [2])], [vi("z", 1, [6, 4])])
        agrees(report, "a shape that is given", path, "--shape-input", "shape=6,4")
        torch.manual_seed(0)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(Attention().eval(), (torch.randn(2, 5, 16),), str(path), dynamo=False, opset_version=17, input_names=["x"],
                              dynamic_axes={"x": {0: "N"}})
        agrees(report, "attention", path)
        p = verify(path, "--tolerance", "0", ok=False)
        report.check("a difference is named", not (p.returncode == 1 and p.stdout.count("differs ") >= 1 and 'node "' in p.stdout), 0)
        save_onnx(path, [node("Relu", ["x"], ["y"])], [vi("x", 1, [2, 3])], [vi("y", 1, [2, 3])])
        p = verify(path, "--batch-size", "5", ok=False)
        report.check("what onnxruntime refuses is said", not (p.returncode == 1 and "onnxruntime: " in p.stderr), 0)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
