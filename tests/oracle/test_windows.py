"""Convolutions, their transposes and pools over one to four spatial dims: values and gradients against PyTorch in float64.

Convolutions of 1 to 3 dims are PyTorch's own. Those of more, and pools, are written out here over windows taken with `unfold`, since
PyTorch has no ceil_mode, dilation, uneven padding or norm for all of them. Maxima's indices are ONNX's, flat and row by row or column by
column. What is refused is named.
"""
import itertools
import math
import re
import sys

import numpy as np

from common import MCPU, RUN, SMKDC, Report, need, need_tools, options, read_safetensors, rel, run, temp_dir

need("onnx", "torch")
import onnx
import torch
import torch.nn.functional as F
from onnx import TensorProto as T
from onnx import helper, numpy_helper

RNG = np.random.default_rng(11)
BATCH = 3

# --- the reference ----------------------------------------------------------------------------------------------------


def reach(a, i):
    return (a["kernel"][i] - 1) * a["dilations"][i] + 1


def complete(a, dims, kernel, ceil=False):
    """Attributes with what they leave out, pads as (lo, hi) and the number of windows along each dim."""
    k = len(dims)
    a = dict(a, kernel=list(kernel), strides=a.get("strides", [1] * k), dilations=a.get("dilations", [1] * k))
    pads, mode = a.get("pads", [0] * 2 * k), a.get("auto_pad", "NOTSET")
    lo, hi, out = list(pads[:k]), list(pads[k:]), []
    for i in range(k):
        if mode.startswith("SAME"):
            total = max(0, (-(-dims[i] // a["strides"][i]) - 1) * a["strides"][i] + reach(a, i) - dims[i])
            lo[i], hi[i] = (total // 2, total - total // 2) if mode == "SAME_UPPER" else (total - total // 2, total // 2)
        room = dims[i] + lo[i] + hi[i] - reach(a, i)
        n = (-(-room // a["strides"][i]) if a.get("ceil_mode") else room // a["strides"][i]) + 1
        if a.get("ceil_mode") and (n - 1) * a["strides"][i] >= dims[i] + lo[i]:
            n -= 1
        out.append(n)
    a.update(lo=lo, hi=hi, out=out)
    return a


def windows(x, a, value):
    """x [N, C, ..] padded with `value`, as [N, C, out .., window ..]."""
    k = len(a["kernel"])
    for i in range(k):
        need_hi = max(0, (a["out"][i] - 1) * a["strides"][i] + reach(a, i) - a["lo"][i] - x.shape[2 + i])
        x = F.pad(x, [0] * 2 * (k - 1 - i) + [a["lo"][i], need_hi], value=value)
    for i in range(k):
        x = x.unfold(2 + i, reach(a, i), a["strides"][i]).narrow(2 + i, 0, a["out"][i])[..., ::a["dilations"][i]]
    return x


def conv(x, w, b, a):
    g, K = a.get("group", 1), w.shape[0]
    a = complete(a, x.shape[2:], w.shape[2:])
    v = windows(x, a, 0)
    k, N = w.ndim - 2, x.shape[0]
    v = v.reshape(N, g, x.shape[1] // g, math.prod(a["out"]), -1)
    y = torch.einsum("ngcot,gkct->ngko", v, w.reshape(g, K // g, w.shape[1], -1)).reshape(N, K, *a["out"])
    return y if b is None else y + b.reshape(-1, *[1] * k)


def deconv(x, w, b, a):
    """Every input element spreads the weight over the result."""
    g, k, (N, C) = a.get("group", 1), w.ndim - 2, x.shape[:2]
    kernel, st, dil = list(w.shape[2:]), a.get("strides", [1] * k), a.get("dilations", [1] * k)
    extra, mode = a.get("output_padding", [0] * k), a.get("auto_pad", "NOTSET")
    pads = a.get("pads", [0] * 2 * k)
    z = torch.einsum("ngci,gckt->ngkit", x.reshape(N, g, C // g, -1), w.reshape(g, C // g, w.shape[1], -1))
    z = z.reshape(N, g * w.shape[1], *x.shape[2:], *kernel)
    full = [st[i] * (x.shape[2 + i] - 1) + extra[i] + (kernel[i] - 1) * dil[i] + 1 for i in range(k)]
    y = x.new_zeros(N, g * w.shape[1], *full)
    for t in itertools.product(*map(range, kernel)):
        at = tuple(slice(t[i] * dil[i], t[i] * dil[i] + st[i] * (x.shape[2 + i] - 1) + 1, st[i]) for i in range(k))
        y = y + place(z[(...,) + t], y.shape, at)
    for i in range(k):
        lo, hi, size = pads[i], pads[k + i], full[i] - pads[i] - pads[k + i]
        if "output_shape" in a or mode.startswith("SAME"):
            size = a["output_shape"][i] if "output_shape" in a else x.shape[2 + i] * st[i]
            total = max(0, full[i] - size)
            lo = total // 2 if mode == "SAME_UPPER" else total - total // 2
        y = F.pad(y, [0] * 2 * (k - 1 - i) + [0, max(0, lo + size - full[i])]).narrow(2 + i, lo, size)
    return y if b is None else y + b.reshape(-1, *[1] * k)


def place(z, shape, at):
    out = z.new_zeros(shape)
    out[(slice(None), slice(None)) + at] = z
    return out


def max_pool(x, a):
    a = complete(a, x.shape[2:], a["kernel_shape"])
    v = windows(x, a, -np.inf).flatten(2 + len(a["out"]))
    dims, order = x.shape[2:], range(len(a["out"]))
    step = np.zeros(len(dims), int)
    for n, i in enumerate(order if a.get("storage_order") else reversed(order)):
        step[i] = 1 if n == 0 else last * dims[prev]
        last, prev = step[i], i
    plane = math.prod(dims)
    at = sum(torch.arange(d).reshape([-1 if j == i else 1 for j in order]) * int(step[i]) for i, d in enumerate(dims))
    at = at + torch.arange(x.shape[0] * x.shape[1]).reshape(x.shape[0], x.shape[1], *[1] * len(dims)) * plane
    best = v.argmax(-1, keepdim=True)
    return v.gather(-1, best)[..., 0], windows(at, a, -1).flatten(2 + len(dims)).gather(-1, best)[..., 0]


def avg_pool(x, a):
    a = complete(a, x.shape[2:], a["kernel_shape"])
    ones = torch.ones_like(x[:1, :1]).detach()
    flat = [0] * len(a["lo"])
    if a.get("count_include_pad"):
        pads = [p for i in reversed(range(len(flat))) for p in (a["lo"][i], a["hi"][i])]
        ones, counted = F.pad(ones, pads, value=1), dict(a, lo=flat)
    else:
        counted = a
    axes = tuple(range(-len(flat), 0))
    return windows(x, a, 0).sum(axes) / windows(ones, counted, 0).sum(axes)


def lp_pool(x, a):
    p = a.get("p", 2)
    a = complete(a, x.shape[2:], a["kernel_shape"])
    return (windows(x, a, 0).abs() ** p).sum(tuple(range(-len(a["out"]), 0))) ** (1 / p)


def global_lp_pool(x, a):
    p = a.get("p", 2)
    return (x.abs() ** p).sum(tuple(range(2, x.ndim)), keepdim=True) ** (1 / p)


# --- cases -------------------------------------------------------------------------------------------------------------
# (operator, channels and spatial dims, weight or None, bias, attributes); "double": computed in float64


def cases():
    C = "Conv"
    yield C, (4, 9), (6, 4, 3), True, dict(strides=[2], pads=[1, 0], dilations=[2])
    yield C, (4, 9), (6, 2, 4), False, dict(group=2, auto_pad="SAME_LOWER", strides=[2])
    yield C, (4, 8, 7), (6, 4, 3, 2), True, dict(pads=[1, 0, 2, 1])
    for kernel, attrs in (
            ((3, 3, 3), dict(pads=[1] * 6)), ((3, 3, 3), {}), ((2, 3, 2), dict(strides=[2, 1, 2], pads=[1, 0, 0, 0, 2, 1])),
            ((3, 2, 3), dict(dilations=[2, 1, 2], pads=[2, 1, 2, 2, 0, 2])), ((3, 3, 2), dict(auto_pad="SAME_UPPER", strides=[2, 2, 1])),
            ((2, 3, 2), dict(auto_pad="SAME_LOWER", strides=[2, 2, 1])), ((2, 2, 2), dict(auto_pad="VALID", strides=[1, 2, 3])),
            ((3, 1, 1), dict(pads=[1, 0, 0, 1, 0, 0])), ((1, 3, 3), dict(pads=[0, 1, 1, 0, 1, 1])), ((1, 1, 1), {}),
            ((1, 1, 1), dict(strides=[2, 2, 2])), ((1, 3, 1), dict(pads=[0, 1, 0, 0, 1, 0])), ((7, 3, 3), dict(pads=[6, 1, 1, 6, 1, 1]))):
        yield C, (4, 6, 7, 5), (6, 4, *kernel), True, attrs
    yield C, (6, 6, 5, 5), (9, 2, 3, 3, 3), False, dict(group=3, pads=[1] * 6, strides=[1, 2, 1])
    yield C, (32, 4, 5, 5), (32, 16, 3, 3, 3), False, dict(group=2, pads=[1] * 6)
    yield C, (6, 6, 5, 5), (6, 1, 3, 3, 3), True, dict(group=6, pads=[1] * 6)  # depthwise
    yield C, (6, 6, 5, 5), (12, 1, 3, 2, 3), True, dict(group=6, strides=[2, 1, 1])
    yield C, (3, 4, 3, 4, 5), (4, 3, 2, 3, 2, 3), True, dict(pads=[1, 1, 0, 1, 0, 1, 1, 1], strides=[2, 1, 1, 1])
    yield C, (4, 9), (6, 2, 3), True, dict(group=2, strides=[2], pads=[1, 0], double=1)
    yield C, (4, 6, 7), (6, 4, 3, 2), True, dict(pads=[1, 0, 2, 1], double=1)
    yield C, (4, 5, 4, 4), (6, 2, 2, 3, 2), False, dict(group=2, pads=[1] * 6, double=1)
    D = "ConvTranspose"
    yield D, (4, 9), (4, 6, 3), True, dict(strides=[3], pads=[1, 0], dilations=[2], output_padding=[2])
    yield D, (4, 6, 5), (4, 3, 3, 2), True, dict(group=2, strides=[2, 3], pads=[0, 1, 2, 0], output_padding=[1, 2])
    yield D, (4, 6, 5), (4, 3, 3, 2), False, dict(strides=[2, 3], output_shape=[10, 18])
    yield D, (4, 6, 5), (4, 3, 3, 2), False, dict(strides=[2, 3], output_shape=[20, 15])
    yield D, (4, 6, 5), (4, 3, 3, 2), False, dict(dilations=[2, 2], output_padding=[1, 1])
    for mode in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        yield D, (4, 6, 5), (4, 3, 3, 4), False, dict(strides=[2, 1], auto_pad=mode)
        yield D, (4, 3, 4, 5), (4, 3, 3, 4, 2), False, dict(strides=[2, 1, 2], auto_pad=mode)
    for kernel, attrs in (
            ((3, 3, 3), {}), ((3, 3, 3), dict(pads=[1] * 6, strides=[2, 2, 2], output_padding=[1, 1, 1])),
            ((2, 3, 2), dict(strides=[1, 2, 3], pads=[1, 0, 0, 0, 1, 1], dilations=[2, 1, 1])), ((3, 1, 1), dict(strides=[2, 1, 1])),
            ((1, 1, 1), dict(strides=[2, 1, 1])), ((1, 1, 1), {}), ((2, 2, 2), dict(output_shape=[8, 7, 5], strides=[2, 2, 1]))):
        yield D, (4, 4, 3, 5), (4, 6, *kernel), True, attrs
    yield D, (6, 3, 4, 4), (6, 2, 3, 2, 3), True, dict(group=3, strides=[2, 1, 2], pads=[1, 0, 0, 0, 0, 1])
    yield D, (4, 4, 5), (4, 3, 3, 2), True, dict(group=2, strides=[2, 1], pads=[1, 0, 0, 1], double=1)
    P = "MaxPool"
    both = [(P, {}), (P, dict(indices=1)), ("AveragePool", {}), ("AveragePool", dict(count_include_pad=1)), ("LpPool", {}), ("LpPool", dict(p=3))]
    for op, more in both:
        yield op, (3, 11), None, False, dict(kernel_shape=[3], strides=[2], pads=[1, 0], **more)
        yield op, (3, 9, 8), None, False, dict(kernel_shape=[3, 2], strides=[2, 3], pads=[1, 0, 2, 1], ceil_mode=1, **more)
        yield op, (3, 9, 8), None, False, dict(kernel_shape=[3, 2], dilations=[2, 3], pads=[1, 2, 0, 1], **more)
        yield op, (3, 9, 8), None, False, dict(kernel_shape=[3, 2], auto_pad="SAME_LOWER", strides=[2, 1], **more)
        yield op, (3, 5, 6, 7), None, False, dict(kernel_shape=[2, 3, 3], strides=[1, 2, 2], pads=[1, 1, 0, 0, 1, 2], **more)
        yield op, (3, 7, 6, 7), None, False, dict(kernel_shape=[3, 2, 2], strides=[2, 3, 2], pads=[1, 0, 1, 0, 1, 0], ceil_mode=1, **more)
        yield op, (2, 4, 3, 4, 5), None, False, dict(kernel_shape=[2, 3, 2, 3], strides=[2, 1, 1, 2], auto_pad="SAME_UPPER", **more)
        yield op, (3, 6, 5), None, False, dict(kernel_shape=[2, 3], strides=[2, 1], pads=[0, 1, 1, 1], double=1, **more)
    yield P, (3, 9, 8), None, False, dict(kernel_shape=[3, 2], strides=[2, 3], storage_order=1, indices=1)
    yield P, (3, 4, 5, 6), None, False, dict(kernel_shape=[2, 2, 3], dilations=[2, 1, 2], storage_order=1, indices=1)
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        for dims in ((3, 7), (3, 4, 5, 6)):
            yield op, dims, None, False, {}
            yield op, dims, None, False, dict(double=1)


REFERENCE = {
    "Conv": conv, "ConvTranspose": deconv, "MaxPool": max_pool, "AveragePool": avg_pool, "LpPool": lp_pool, "GlobalLpPool": global_lp_pool,
    "GlobalAveragePool": lambda x, a: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda x, a: x.amax(tuple(range(2, x.ndim)), keepdim=True),
}


def model(op, dims, attrs, inits, opset=22, dtype=T.FLOAT):
    """x -> op -> y (and `at` as float), in float64 where attrs say `double`; a product with a learned scale keeps the gradient of x alive."""
    own = {k: v for k, v in attrs.items() if k not in ("double", "indices")}
    double, indices = attrs.get("double"), attrs.get("indices")
    names = ["x", *inits]
    nodes = [helper.make_node("Cast", [n], [n + " wide"], to=T.DOUBLE) for n in names] if double else []
    node = helper.make_node(op, [n + " wide" for n in names] if double else names, ["r"] + ["at"] * bool(indices), name="the node", **own)
    nodes += [node, helper.make_node("Cast" if double else "Identity", ["r"], ["y"], **({"to": T.FLOAT} if double else {}))]
    outs = [helper.make_tensor_value_info("y", dtype, None)]
    if indices:
        outs.append(helper.make_tensor_value_info("at", T.INT64, None))
    g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", dtype, ["N", *dims])], outs,
                          [numpy_helper.from_array(v, k) for k, v in inits.items()])
    return helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def gradients(tmp, x, dy):
    """What the file in the folder gives of x, forward and, of dy, backward."""
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8, "--mcpu", MCPU)
    run(RUN, "grad", tmp / "m.smkd", *options(tmp, {"x": x}, "input"), *options(tmp, {"y": dy}, "cotangent"), "-o", tmp / "g.st")
    return read_safetensors(tmp / "g.st")


def one(report, tmp, op, dims, weight, bias, attrs):
    x = RNG.standard_normal((BATCH, *dims)).astype(np.float32)
    inits = {}
    if weight:
        inits["w"] = (RNG.standard_normal(weight) / math.sqrt(math.prod(weight[1:]))).astype(np.float32)
        if bias:
            channels = weight[0] if op == "Conv" else weight[1] * attrs.get("group", 1)
            inits["b"] = RNG.standard_normal(channels).astype(np.float32)
    t = {k: torch.from_numpy(v).double().requires_grad_() for k, v in dict(x=x, **inits).items()}
    want = REFERENCE[op](t["x"], t["w"], t.get("b"), attrs) if weight else REFERENCE[op](t["x"], attrs)
    want, at = want if isinstance(want, tuple) else (want, None)
    dy = RNG.standard_normal(want.shape).astype(np.float32)
    want.backward(torch.from_numpy(dy).double())
    onnx.save(model(op, dims, attrs, inits), str(tmp / "m.onnx"))
    got = gradients(tmp, x, dy)
    worst = max(rel(got["y"], want.detach().numpy()),
                *(rel(got["grad.x" if k == "x" else k], v.grad.numpy()) for k, v in t.items()))
    name = f"{op} {dims} {weight or ''} {attrs}"
    report.check(name, worst, 2e-6 if attrs.get("double") else 2e-5)
    if attrs.get("indices"):
        report.check(f"{name}: indices", int((got["at"] != at.numpy()).sum()), 0)


def integers(report, tmp):
    """Maxima of integers: of the least ones beside padding, too, and where they are."""
    for t, onnx_type in ((np.int8, T.INT8), (np.uint8, T.UINT8), (np.int64, T.INT64)):
        info = np.iinfo(t)
        x = RNG.choice(np.array([info.min, info.min, info.max, 0, 3], t), (2, 2, 5, 6))
        attrs = dict(kernel_shape=[3, 2], strides=[2, 2], pads=[1, 1, 1, 0], ceil_mode=1, indices=1)
        onnx.save(model("MaxPool", x.shape[1:], attrs, {}, dtype=onnx_type), str(tmp / "m.onnx"))
        run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--mcpu", MCPU)
        np.save(tmp / "x.npy", x)
        run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "o.st")
        got = read_safetensors(tmp / "o.st")
        wide = torch.from_numpy(np.vectorize({int(v): i for i, v in enumerate(sorted(set(x.ravel().tolist())))}.get)(x)).double()
        want, at = max_pool(wide, attrs)
        ranks = np.array(sorted(set(x.ravel().tolist())), t)[want.numpy().astype(int)]
        report.check(f"MaxPool of {t.__name__}", int((got["y"] != ranks).sum() + (got["at"] != at.numpy()).sum()), 0)


def nan_and_inf(report, tmp):
    """NaN is the largest; of a window of -inf alone -inf is the maximum; in one and three dims, and in double."""
    x = np.full((1, 1, 4, 4, 4), -np.inf, np.float32)
    x[0, 0, 1, 1, 1], x[0, 0, 3, 3, 3], x[0, 0, 2, 2, 2] = np.nan, np.inf, 1
    want = np.full((1, 1, 2, 2, 2), -np.inf, np.float32)
    want[0, 0, 0, 0, 0], want[0, 0, 1, 1, 1] = np.nan, np.inf
    for more in ({}, dict(double=1), dict(indices=1)):
        onnx.save(model("MaxPool", x.shape[1:], dict(kernel_shape=[2, 2, 2], strides=[2, 2, 2], **more), {}), str(tmp / "m.onnx"))
        run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--mcpu", MCPU)
        np.save(tmp / "x.npy", x)
        run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "o.st")
        got = read_safetensors(tmp / "o.st")
        report.check(f"NaN and infinities {more}", int(not np.array_equal(got["y"], want, equal_nan=True)), 0)
        if more.get("indices"):
            report.check("the index of a NaN", abs(int(got["at"][0, 0, 0, 0, 0]) - 21), 0)


def unpool(report, tmp):
    """MaxUnpool of what MaxPool says, beside PyTorch's, with its gradient; in one, two and three dims, with output_shape."""
    for dims, kernel, more in (((3, 8), [2], 0), ((3, 6, 9), [2, 3], 1), ((2, 4, 4, 6), [2, 2, 2], 0), ((3, 6, 8), [2, 2], -1)):
        k, strides = len(kernel), [s if s < 3 else 2 for s in kernel]
        shape = [-1, dims[0]] + [(d - n) // s * s + n + more for d, n, s in zip(dims[1:], kernel, strides)]
        nodes = [helper.make_node("MaxPool", ["x"], ["p", "at"], kernel_shape=kernel, strides=strides),
                 helper.make_node("Mul", ["p", "p"], ["q"])]
        inits = []
        if more:  # the batch is what it is, whatever output_shape says of it
            inits = [numpy_helper.from_array(np.array([BATCH, *shape[1:]]), "shape")]
        nodes.append(helper.make_node("MaxUnpool", ["q", "at"] + ["shape"] * bool(more), ["y"], kernel_shape=kernel, strides=strides, name="the node"))
        g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", T.FLOAT, ["N", *dims])], [helper.make_tensor_value_info("y", T.FLOAT, None)], inits)
        onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 22)], ir_version=9), str(tmp / "m.onnx"))
        x = RNG.permutation(BATCH * math.prod(dims)).reshape(BATCH, *dims).astype(np.float32) / 50
        t = torch.from_numpy(x).double().requires_grad_()
        p, at = getattr(F, f"max_pool{k}d")(t, kernel, strides, return_indices=True)
        inner = [(d - n) // s * s + n for d, n, s in zip(dims[1:], kernel, strides)]
        assert inner == list(dims[1:]), "indices are of the smallest plane with such a pool: this one"
        full = getattr(F, f"max_unpool{k}d")(p * p, at, kernel, strides, output_size=inner)
        want = F.pad(full, [v for i in range(k) for v in (0, max(more, 0))])[(...,) + tuple(slice(0, s) for s in shape[2:])]
        dy = RNG.standard_normal(want.shape).astype(np.float32)
        want.backward(torch.from_numpy(dy).double())
        got = gradients(tmp, x, dy)
        report.check(f"MaxUnpool {dims} {more}", max(rel(got["y"], want.detach().numpy()), rel(got["grad.x"], t.grad.numpy())), 2e-6)


REFUSED = [
    ("Conv", (4, 5, 5, 5), (4, 4, 7, 3, 3), {}, "the window covers 7 elements in dimension 2, more than the padded input's 5"),
    ("Conv", (4, 5, 5, 5), (4, 3, 3, 3, 3), {}, "the input has 4 channels"),
    ("Conv", (4, 5, 5, 5), (4, 2, 3, 3, 3), dict(group=3), "4 channels cannot be divided into 3 groups"),
    ("Conv", (4, 5, 5, 5), (4, 4, 3, 3), {}, "the input has 5 dimensions, the weight 4"),
    ("Conv", (4, 5, 5, 5), (4, 4, 3, 3, 3), dict(strides=[2, 2]), 'attribute "strides" has 2 numbers; the input has 3'),
    ("Conv", (4, 5, 5, 5), (4, 4, 3, 3, 3), dict(pads=[1, 1, 1, -1, 1, 1]), 'attribute "pads" has the value -1'),
    ("Conv", (4, 5, 5, 5), (4, 4, 3, 3, 3), dict(auto_pad="SAME"), 'auto_pad "SAME" is not one of'),
    ("Conv", (4, 9, 9), (4, 4, 3, 3), dict(kernel_shape=[3, 2]), "kernel_shape 2 differs from the weight's 3"),
    ("Conv", (4,), (4, 4), {}, "its input has 2 dimensions"),
    ("Conv", (1, 3, 3, 3, 3, 3, 3), (1, 1, 2, 2, 2, 2, 2, 2), {}, "support at most 7"),
    ("ConvTranspose", (4, 5, 5, 5), (3, 4, 3, 3, 3), {}, "the weight must be [4, C/group, ...]"),
    ("ConvTranspose", (4, 5, 5, 5), (4, 4, 1, 1, 1), dict(pads=[3, 0, 0, 2, 0, 0]), "its result would be empty"),
    ("ConvTranspose", (4, 5, 5, 5), (4, 4, 3, 3, 3), dict(output_padding=[1]), "has the wrong number of entries"),
    ("MaxPool", (4, 5, 5, 5), None, {}, '"kernel_shape" is missing'),
    ("MaxUnpool", (4, 5, 5), None, dict(kernel_shape=[2, 2]), "needs a tensor and its indices"),
    ("LpPool", (4, 5, 5), None, dict(kernel_shape=[2, 2], p=0), "expected a number above 0"),
    ("GlobalAveragePool", (4,), None, {}, "expected at least 3"),
]


def refused(report, tmp, op, dims, weight, attrs, words):
    inits = {"w": np.ones(weight, np.float32)} if weight else {}
    onnx.save(model(op, dims, attrs, inits), str(tmp / "m.onnx"))
    p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", ok=False)
    lines = [line for line in p.stderr.splitlines() if "error: " in line]
    good = p.returncode == 1 and len(lines) == 1 and words in lines[0] and re.search(r'node "the node"', lines[0])
    report.check(f"refused: {op} {dims} {weight or ''} {attrs}", int(not good), 0) or print(p.stderr)


def main():
    need_tools(SMKDC, RUN)
    report = Report()
    with temp_dir() as tmp:
        for case in cases():
            if all(w in str(case) for w in sys.argv[1:]):
                report.guard(str(case), one, report, tmp, *case)
        report.guard("integers", integers, report, tmp)
        report.guard("MaxUnpool", unpool, report, tmp)
        report.guard("NaN and infinities", nan_and_inf, report, tmp)
        for r in REFUSED:
            report.guard(str(r), refused, report, tmp, *r)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
