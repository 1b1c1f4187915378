"""Runs an ONNX graph in PyTorch, differentiably and in training mode: the oracle of files that have no module.

Covers the operators of the built-in backbones and of the default exporter's folded files; an operator it doesn't know is an
error, never skipped. BatchNormalization uses batch statistics; `buffers` then holds the running ones as PyTorch keeps them.
"""
import numpy as np
import onnx
import torch
import torch.nn.functional as F
from onnx import numpy_helper


class OnnxTorch:
    def __init__(self, path, dtype=torch.float64):
        self.model = onnx.load(str(path))
        self.dtype = dtype
        self.params, self.constants = {}, {}
        stats = {x for n in self.model.graph.node if n.op_type == "BatchNormalization" for x in n.input[3:5]}
        for t in self.model.graph.initializer:
            v = torch.from_numpy(numpy_helper.to_array(t).copy())
            if v.is_floating_point():
                v = v.to(dtype)
            if v.is_floating_point() and v.ndim and t.name not in stats:
                self.params[t.name] = v.requires_grad_(True)
            else:
                self.constants[t.name] = v
        self.buffers = {}

    def __call__(self, x, training=True):
        return next(iter(self.outputs(x, training).values()))

    def outputs(self, x, training=True):
        """All outputs by their names, in the file's order."""
        env = {"": None, **self.params, **self.constants}
        fed = [i.name for i in self.model.graph.input if i.name not in env]
        env[fed[0]] = x
        for n in self.model.graph.node:
            a = {t.name: onnx.helper.get_attribute_value(t) for t in n.attribute}
            f = getattr(self, "op_" + n.op_type, None)
            assert f, f"operator {n.op_type} is unknown to the reference"
            out = f(n, a, training, *[env[i] for i in n.input])
            for name, v in zip(n.output, out if isinstance(out, (tuple, list)) else (out,)):
                env[name] = v
        return {o.name: env[o.name] for o in self.model.graph.output}

    def op_Conv(self, n, a, training, x, w, b=None):
        r = w.ndim - 2
        pads = a.get("pads", [0] * 2 * r)
        x = F.pad(x, [p for d in reversed(range(r)) for p in (pads[d], pads[d + r])])
        return F.conv2d(x, w, b, a.get("strides", [1] * r), 0, a.get("dilations", [1] * r), a.get("group", 1))

    def op_BatchNormalization(self, n, a, training, x, scale, bias, mean, var):
        new = (mean.clone(), var.clone())
        y = F.batch_norm(x, *new, scale, bias, training, 1 - a.get("momentum", 0.9), a.get("epsilon", 1e-5))
        self.buffers.update(zip(n.input[3:5], new))
        return (y, *new)

    def op_MaxPool(self, n, a, training, x):
        k, pads = a["kernel_shape"], a.get("pads", [0] * 4)
        x = F.pad(x, (pads[1], pads[3], pads[0], pads[2]), value=-np.inf)
        return F.max_pool2d(x, k, a.get("strides", [1, 1]), 0, a.get("dilations", [1, 1]), bool(a.get("ceil_mode", 0)))

    def op_AveragePool(self, n, a, training, x):
        k, s, pads = a["kernel_shape"], a.get("strides", [1, 1]), a.get("pads", [0] * 4)
        box = (pads[1], pads[3], pads[0], pads[2])
        total = F.avg_pool2d(F.pad(x, box), k, s, divisor_override=1)
        if a.get("count_include_pad", 0):
            return total / (k[0] * k[1])
        return total / F.avg_pool2d(F.pad(torch.ones_like(x), box), k, s, divisor_override=1)

    def op_Clip(self, n, a, training, x, lo=None, hi=None): return torch.clamp(x, lo, hi)
    def op_Relu(self, n, a, training, x): return F.relu(x)
    def op_Tanh(self, n, a, training, x): return torch.tanh(x)
    def op_Add(self, n, a, training, x, y): return x + y
    def op_Sub(self, n, a, training, x, y): return x - y
    def op_Mul(self, n, a, training, x, y): return x * y
    def op_Div(self, n, a, training, x, y): return x / y
    def op_GlobalAveragePool(self, n, a, training, x): return x.mean(dim=(2, 3), keepdim=True)
    def op_Identity(self, n, a, training, x): return x
    def op_Dropout(self, n, a, training, x, *rest): return x
    def op_MatMul(self, n, a, training, x, y): return x @ y
    def op_Concat(self, n, a, training, *xs): return torch.cat(xs, a["axis"])
    def op_Transpose(self, n, a, training, x): return x.permute(a["perm"])
    def op_Constant(self, n, a, training): return torch.from_numpy(numpy_helper.to_array(a["value"]).copy())

    def op_Flatten(self, n, a, training, x):
        axis = a.get("axis", 1)
        return x.reshape(int(np.prod(x.shape[:axis])), -1)

    def op_Gemm(self, n, a, training, x, w, b=None):
        y = a.get("alpha", 1.0) * ((x.T if a.get("transA", 0) else x) @ (w.T if a.get("transB", 0) else w))
        return y if b is None else y + a.get("beta", 1.0) * b

    def op_ReduceMean(self, n, a, training, x, axes=None):
        axes = a.get("axes") if axes is None else axes.tolist()
        return x.mean(dim=list(axes), keepdim=bool(a.get("keepdims", 1)))

    def op_Reshape(self, n, a, training, x, shape):
        # A file made with a fixed batch says that batch here; the batch that runs is the one of x.
        dims = [x.shape[i] if d == 0 else d for i, d in enumerate(shape.tolist())]
        fixed = self.model.graph.input[0].type.tensor_type.shape.dim[0].dim_value
        if fixed and dims[0] == fixed:
            dims[0] = x.shape[0]
        return x.reshape(dims)

    def op_Pad(self, n, a, training, x, pads, value=None, axes=None):
        assert a.get("mode", b"constant") == b"constant" and axes is None, "only constant padding of all axes is known"
        r, p = x.ndim, pads.tolist()
        return F.pad(x, [v for d in reversed(range(r)) for v in (p[d], p[d + r])], value=0.0 if value is None else float(value))

    def op_Split(self, n, a, training, x, split=None):
        axis = a.get("axis", 0)
        sizes = split.tolist() if split is not None else [x.shape[axis] // len(n.output)] * len(n.output)
        return torch.split(x, sizes, axis)

    def op_Slice(self, n, a, training, x, starts, ends, axes=None, steps=None):
        for i, d in enumerate(axes.tolist() if axes is not None else range(len(starts))):
            assert steps is None or steps[i] > 0, "negative steps are unknown to the reference"
            cut = [slice(None)] * x.ndim
            cut[d] = slice(int(starts[i]), int(ends[i]), int(steps[i]) if steps is not None else 1)
            x = x[tuple(cut)]
        return x
