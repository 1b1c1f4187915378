"""Edges: what a compiled file computes where numbers meet their limits, against onnxruntime; gradients against PyTorch.

Rows of zeros, of one value, with infinities and NaN; folds of the batch size, at several batches; slices, resizes and results
without elements. Each kind is one file of many cases, so that a compilation pays for all of them.
"""
import sys
import warnings

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, options, read_safetensors, run, temp_dir

need("onnx", "onnxruntime")
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

INF, NAN = np.inf, np.nan
BEYOND = 2**63 - 1
RNG = np.random.default_rng(7)
# name: a row of three. What an operator over a row makes of each is compared; gradients where the row is finite.
ROWS = {"zeros": [0, 0, 0], "ordinary": [3, -1, 4], "one value": [2, 2, 2], "tie": [1, 5, 5], "large": [1e19, 1, 2], "small": [1e-30, 0, 0],
        "inf": [INF, 1, 2], "-inf": [-INF, 1, 2], "all -inf": [-INF] * 3, "all inf": [INF] * 3, "both": [INF, -INF, 1], "nan": [NAN, 1, 2],
        "minus zero": [-0.0, -0.0, -0.0]}
ROW_NAMES, X = list(ROWS), np.array(list(ROWS.values()), np.float32)


class File:
    """A model of many small ones: `case` adds nodes from an input of its own, named by {x}, to an output, {y}."""

    def __init__(self, opset=18):
        self.opset, self.nodes, self.inits, self.cases = opset, [], {}, {}

    def case(self, name, nodes, x, inits=None, dims=None, batch="N"):
        """nodes: (op, inputs, outputs, attributes) with local names; x: the input; dims: its shape after the batch in the file."""
        k = f"c{len(self.cases)}."
        own = lambda s: k + s if s else ""
        for op, ins, outs, attrs in nodes:
            self.nodes.append(helper.make_node(op, [own(i) for i in ins.split(",")], [own(o) for o in outs.split(",")],
                                               name=f"{k}{op}{len(self.nodes)}", **attrs))
        for n, v in (inits or {}).items():
            self.inits[k + n] = np.asarray(v)
        self.cases[name] = (k, np.asarray(x), [batch, *(x.shape[1:] if dims is None else dims)])

    def save(self, path):
        kinds = {np.dtype(np.float32): T.FLOAT, np.dtype(np.int64): T.INT64, np.dtype(np.int32): T.INT32}
        g = helper.make_graph(self.nodes, "edges",
                              [helper.make_tensor_value_info(k + "x", kinds[x.dtype], d) for k, x, d in self.cases.values()],
                              [helper.make_empty_tensor_value_info(k + "y") for k, _, _ in self.cases.values()],
                              [numpy_helper.from_array(v, n) for n, v in self.inits.items()])
        self.model = helper.make_model(g, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)
        onnx.save(self.model, str(path))

    def feeds(self, x=None):
        return {k + "x": v if x is None else x for k, v, _ in self.cases.values()}

    def want(self, feeds):
        o = onnxruntime.SessionOptions()
        o.log_severity_level = 4
        o.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # the operators, not its fusions
        s = onnxruntime.InferenceSession(self.model.SerializeToString(), o, providers=["CPUExecutionProvider"])
        return dict(zip([v.name for v in s.get_outputs()], s.run(None, feeds)))


def compiled(f, tmp):
    f.save(tmp / "m.onnx")
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 64)


def infer(tmp, feeds):
    run(RUN, "infer", tmp / "m.smkd", *options(tmp, feeds, "input"), "-o", tmp / "o.st")
    return read_safetensors(tmp / "o.st")


def compare(report, name, got, want, rows=None, limit=1e-5):
    """Equal within `limit`, relative; NaN and infinities where they are expected and nowhere else."""
    if got.shape != want.shape:
        return report.fail(name, f"shape {got.shape} instead of {want.shape}")
    if got.dtype != want.dtype:
        return report.fail(name, f"{got.dtype} instead of {want.dtype}")
    good = np.isclose(got.astype(np.float64), want.astype(np.float64), limit, 1e-30 if limit < 1e-4 else 1e-5, equal_nan=True)
    if good.all():
        report.passed += 1
        return
    at = np.argwhere(~good)[0]
    row = f"row \"{rows[at[0]]}\": " if rows else f"at {tuple(map(int, at))}: "
    report.fail(name, f"{row}{got[tuple(at)]} instead of {want[tuple(at)]} ({(~good).sum()} of {good.size})")


def against_onnxruntime(report, f, tmp, rows=None, at=(None,), limit=1e-5):
    """Every case; with the inputs in `at` in place of each case's own."""
    compiled(f, tmp)
    for x in at:
        feeds = f.feeds(x)
        want, got = f.want(feeds), infer(tmp, feeds)
        for name, (k, _, _) in f.cases.items():
            compare(report, name if x is None else f"{name}, batch {len(x)}", got[k + "y"], want[k + "y"], rows, limit)


# --- rows

REDUCTIONS = ["ReduceSum", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSum",
              "ReduceLogSumExp"]


def test_reductions(report, tmp):
    f = File()
    for op in REDUCTIONS:
        for keep in (0, 1):
            f.case(f"{op} keepdims={keep}", [(op, "x,a", "y", {"keepdims": keep})], X, {"a": np.array([1], np.int64)})
        f.case(f"{op} without axes, noop", [(op, "x", "y", {"noop_with_empty_axes": 1})], X)
    for op in ("ArgMax", "ArgMin"):
        f.case(op, [(op, "x", "y", {"axis": 1})], np.where(np.isnan(X), 0, X))
    for op in ("Softmax", "LogSoftmax"):
        f.case(op, [(op, "x", "y", {"axis": 1})], X)
    f.case("LpNormalization 1", [("LpNormalization", "x", "y", {"axis": 1, "p": 1})], X)
    f.case("LpNormalization 2", [("LpNormalization", "x", "y", {"axis": 1, "p": 2})], X)
    against_onnxruntime(report, f, tmp, ROW_NAMES)


def test_pointwise(report, tmp):
    """Elementwise operators and normalisations of the same rows: infinities, NaN, zeros of both signs, constant rows."""
    f = File(18)
    for op in ("Abs", "Neg", "Exp", "Log", "Sqrt", "Reciprocal", "Erf", "Tanh", "Sigmoid", "Relu", "Floor", "Ceil", "Sign", "LeakyRelu", "Elu", "Selu", "Celu",
               "HardSigmoid", "Softplus", "ThresholdedRelu"):
        f.case(op, [(op, "x", "y", {})], X)
    f.case("Round", [("Round", "x", "y", {})], np.array([[.5, 1.5, 2.5], [-.5, -1.5, -0.0], [INF, -INF, NAN], [2**23 + .5, 1e30, .49999997]], np.float32).repeat(4, 0)[:len(X)])
    other = np.array([0, NAN, -2], np.float32)
    for op in ("Max", "Min", "Add", "Sub", "Mul", "Div"):
        f.case(f"{op} with 0, NaN, -2", [(op, "x,o", "y", {})], X, {"o": other})
        f.case(f"{op} from 0, NaN, -2", [(op, "o,x", "y", {})], X, {"o": other})
    for e in (0, -1, 3, 0.25, -1.5, INF, -INF, NAN):
        f.case(f"Pow {e}", [("Pow", "x,e", "y", {})], X, {"e": np.float32(e)})
        f.case(f"{e} to the Pow", [("Pow", "e,x", "y", {})], X, {"e": np.float32(e)})
    tall = X.reshape(-1, 1, 3)
    f.case("LayerNormalization", [("LayerNormalization", "x,s", "y", {"axis": 1})], X, {"s": np.array([1, 2, 3], np.float32)})
    f.case("InstanceNormalization", [("InstanceNormalization", "x,s,b", "y", {})], tall, {"s": np.float32([2]), "b": np.float32([1])})
    f.case("BatchNormalization, variance 0", [("BatchNormalization", "x,s,b,b,v", "y", {})], tall, {"s": np.float32([2]), "b": np.float32([0]), "v": np.float32([0])})
    low = np.nan_to_num(tall, nan=7, posinf=INF, neginf=-1e38)  # onnxruntime: the lowest float for -inf, and NaN may lose
    f.case("MaxPool", [("MaxPool", "x", "y", {"kernel_shape": [2], "pads": [1, 0]})], low)
    f.case("AveragePool", [("AveragePool", "x", "y", {"kernel_shape": [2], "pads": [1, 0]})], tall)
    f.case("GlobalMaxPool", [("GlobalMaxPool", "x", "y", {})], low)
    f.case("a standard deviation", [("ReduceMean", "x,a", "m", {}), ("Sub", "x,m", "d", {}), ("Mul", "d,d", "q", {}), ("ReduceMean", "q,a", "v", {}), ("Sqrt", "v", "y", {})],
           np.where(np.abs(X) < 1e-20, 0, X), {"a": np.array([1])})
    against_onnxruntime(report, f, tmp, ROW_NAMES)


def test_row_gradients(report, tmp):
    """PyTorch's own functions as it exports them: values and gradients of each row."""
    [torch] = need("torch")
    F = torch.nn.functional
    three = torch.tensor([[1.0, 2.0, 3.0]])
    functions = {
        "logsumexp": lambda x: torch.logsumexp(x, 1), "norm 1": lambda x: torch.norm(x, p=1, dim=1), "norm 2": lambda x: torch.norm(x, dim=1),
        "norm 3": lambda x: torch.norm(x, p=3, dim=1), "norm inf": lambda x: torch.norm(x, p=INF, dim=1),
        "linalg norm": lambda x: torch.linalg.vector_norm(x, dim=1, keepdim=True), "std": lambda x: x.std(1),
        "std biased": lambda x: x.std(1, unbiased=False, keepdim=True), "var": lambda x: x.var(1), "standardize": lambda x: (x - x.mean(1, keepdim=True)) / (x.std(1, keepdim=True) + 1e-5),
        "normalize": lambda x: F.normalize(x, dim=1) * three, "normalize 1": lambda x: F.normalize(x, p=1, dim=1) * three,
        "softmax": lambda x: torch.softmax(x, 1) * three, "log_softmax": lambda x: torch.log_softmax(x, 1) * three, "amax": lambda x: x.amax(1), "amin": lambda x: x.amin(1),
        "layer_norm": lambda x: F.layer_norm(x, (3,)) * three, "relu6": lambda x: F.relu6(x), "hardtanh": lambda x: F.hardtanh(x, -1.5, 1.5),
        "grn": lambda x: x * (x.norm(p=2, dim=1, keepdim=True) / (x.norm(p=2, dim=1, keepdim=True).mean(1, keepdim=True) + 1e-6)) * three,
    }
    class Net(torch.nn.Module):
        def forward(self, *xs):
            return tuple(f(x) for f, x in zip(functions.values(), xs))
    names = [f"f{i}" for i in range(len(functions))]
    ins, outs = [n + "x" for n in names], [n + "y" for n in names]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(Net(), tuple(torch.ones(2, 3) for _ in names), str(tmp / "m.onnx"), dynamo=False, opset_version=17, input_names=ins,
                          output_names=outs, dynamic_axes={n: {0: "N"} for n in ins + outs})
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 64)
    results, cotangents = {}, {}
    for (name, f), n in zip(functions.items(), names):
        x = torch.tensor(X, requires_grad=True)
        y = f(x)
        dy = torch.linspace(0.5, 1.5, y.numel()).reshape(y.shape)
        y.backward(dy)
        results[name], cotangents[n + "y"] = (y.detach().numpy(), x.grad.numpy()), dy.numpy()
    run(RUN, "grad", tmp / "m.smkd", *options(tmp, {n: X for n in ins}, "input"), *options(tmp, cotangents, "cotangent"), "-o", tmp / "g.st")
    got = read_safetensors(tmp / "g.st")
    finite = [i for i, r in enumerate(X) if np.isfinite(r).all() and np.abs(r).max() < 1e9 and (r == 0).sum() < 2 or not r.any()]
    for (name, (y, dx)), n in zip(results.items(), names):
        compare(report, f"{name}, value", got[n + "y"], y, ROW_NAMES, 1e-4)
        g = got[f"grad.{n}x"]
        close = np.abs(g - dx)[finite] <= 1e-5 + 1e-4 * np.abs(dx[finite])
        if close.all():
            report.passed += 1
        else:
            i = finite[int(np.argwhere(~close)[0][0])]
            report.fail(f"{name}, gradient", f"row \"{ROW_NAMES[i]}\": {g[i]} instead of {dx[i]}")


def test_clip(report, tmp):
    f = File(17)
    x = np.array([[-2, 0, 6], [INF, -INF, NAN], [1, 2, 1.5]], np.float32)
    for lo, hi in ((2, 1), (-1, 1), (INF, -INF), (1, 1), (0, INF), (-INF, 0)):
        f.case(f"clip {lo} {hi}", [("Clip", "x,a,b", "y", {})], x, {"a": np.float32(lo), "b": np.float32(hi)})
    f.case("clip integers, crossed", [("Clip", "x,a,b", "y", {})], np.array([[-9, 2, 2**40]]), {"a": np.int64(5), "b": np.int64(3)})
    f.case("clip integers", [("Clip", "x,a,b", "y", {})], np.array([[-9, 2, 2**60 + 1]]), {"a": np.int64(0), "b": np.int64(2**60 + 1)})
    f.case("clip of 32 bits", [("Clip", "x,a,", "y", {})], np.array([[-9, 2, 7]], np.int32), {"a": np.int32(0)})
    for n in (1, 4, 9):  # the same of a batch size: Clip of a shape
        f.case(f"clip N {n}", [("Shape", "x", "s", {}), ("Gather", "s,z", "n", {}), ("Clip", "n,a,b", "c", {}), ("Cast", "c", "k", {"to": T.FLOAT}),
                               ("Mul", "x,k", "y", {})], np.ones((n, 2), np.float32), {"z": np.int64(0), "a": np.int64(2), "b": np.int64(5)})
    compiled(f, tmp)
    for name, (k, v, _) in f.cases.items():  # batches differ from case to case: one at a time
        feeds = {n: np.resize(w, (len(v), *w.shape[1:])).astype(w.dtype) for n, w in f.feeds().items()}
        compare(report, name, infer(tmp, feeds)[k + "y"], f.want(feeds)[k + "y"])


# --- folds of the batch size

def test_folds(report, tmp):
    """Shape arithmetic with N in it: whatever is folded must hold for every N, also where the file fixes the batch."""
    n = [("Shape", "x", "s", {}), ("Gather", "s,zero", "n", {})]
    out = [("Cast", "r", "k", {"to": T.FLOAT}), ("Mul", "x,k", "y", {})]
    ints = {"zero": np.int64(0)}
    for batch in ("N", 2):
        f = File(17)
        add = lambda name, nodes, inits=(): f.case(name, n + nodes + out, np.ones((2, 3), np.float32), {**ints, **dict(inits)}, batch=batch)
        for op in ("Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
            for c in (-1, 0, 1, 2, 3):
                add(f"{op}(N, {c})", [(op, "n,c", "r", {})], {"c": np.int64(c)}.items())
                add(f"{op}({c}, 2N-1)", [("Mul", "n,two", "m", {}), ("Sub", "m,one", "o", {}), (op, "c,o", "r", {})],
                    {"c": np.int64(c), "two": np.int64(2), "one": np.int64(1)}.items())
        for op in ("Max", "Min"):
            for c in (0, 1, 2, 3):
                add(f"{op}(N, {c})", [(op, "n,c", "r", {})], {"c": np.int64(c)}.items())
                add(f"{op}(3 - N, {c})", [("Sub", "three,n", "o", {}), (op, "o,c", "r", {})], {"c": np.int64(c), "three": np.int64(3)}.items())
        for c in (2, 3, -2):
            add(f"N / {c}", [("Div", "n,c", "r", {})], {"c": np.int64(c)}.items())
            add(f"(4 N - 3) / {c}", [("Mul", "n,four", "m", {}), ("Sub", "m,three", "o", {}), ("Div", "o,c", "r", {})],
                {"c": np.int64(c), "four": np.int64(4), "three": np.int64(3)}.items())
        add("2 N / N", [("Mul", "n,two", "m", {}), ("Div", "m,n", "r", {})], {"two": np.int64(2)}.items())
        add("Where(N == 2)", [("Equal", "n,c", "e", {}), ("Where", "e,p,m", "r", {})], {"c": np.int64(2), "p": np.int64(10), "m": np.int64(-1)}.items())
        add("Not(N < 3)", [("Less", "n,c", "e", {}), ("Not", "e", "r", {})], {"c": np.int64(3)}.items())
        add("And(N > 1, N < 4)", [("Less", "one,n", "e", {}), ("Less", "n,four", "l", {}), ("And", "e,l", "r", {})],
            {"one": np.int64(1), "four": np.int64(4)}.items())
        for c in (1, 2, 3, 7, 10, 41, 47):  # in floats, where a quotient rounds and Floor sees it
            add(f"floor(N / {c}.)", [("Cast", "n", "q", {"to": T.FLOAT}), ("Div", "q,c", "d", {}), ("Floor", "d", "r", {})], {"c": np.float32(c)}.items())
        for c in (0.7, 0.1, 0.5, 3.3):
            add(f"floor({c} N)", [("Cast", "n", "q", {"to": T.FLOAT}), ("Mul", "q,c", "d", {}), ("Floor", "d", "r", {})], {"c": np.float32(c)}.items())
            add(f"ceil({c} N * 10)", [("Cast", "n", "q", {"to": T.FLOAT}), ("Mul", "q,c", "d", {}), ("Mul", "d,t", "e", {}), ("Ceil", "e", "r", {})],
                {"c": np.float32(c), "t": np.float32(10)}.items())
        add("N. / N.", [("Cast", "n", "q", {"to": T.FLOAT}), ("Div", "q,q", "r", {})])
        add("a size of more digits than a float", [("Mul", "n,c", "m", {}), ("Sub", "m,d", "r", {})], {"c": np.int64(2**40 + 1), "d": np.int64(2**40)}.items())
        add("Size(x)", [("Size", "x", "r", {})])
        add("ReduceMax([N, 3])", [("ReduceMax", "s", "r", {"keepdims": 0})])
        add("ReduceProd([N, 3])", [("ReduceProd", "s", "r", {"keepdims": 0})])
        against_onnxruntime(report, f, tmp, at=[np.ones((b, 3), np.float32) for b in ([1, 2, 3, 4, 7, 41, 47] if batch == "N" else [2])])
        if batch == 2:  # axis 0 is N all the same: what the file means at other batches
            g = File(17)
            g.cases, g.nodes, g.inits = {k: (p, x, ["N", 3]) for k, (p, x, _) in f.cases.items()}, f.nodes, f.inits
            g.save(tmp / "dynamic.onnx")
            for b in (1, 3):
                feeds = g.feeds(np.ones((b, 3), np.float32))
                got, want = infer(tmp, feeds), g.want(feeds)
                for name, (k, _, _) in g.cases.items():
                    compare(report, f"fixed at 2, {name}, batch {b}", got[k + "y"], want[k + "y"])


# --- parts

def test_slices(report, tmp):
    f, x = File(17), np.arange(2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4)
    for k, (s, e, step) in enumerate([(0, 10**9, 1), (0, BEYOND, 1), (1, 2**31 - 1, 1), (-3, BEYOND, 1), (-100, 3, 1), (-2**63, BEYOND, 2),
                                      (4, -10**9, -1), (BEYOND, -2**63, -1), (-1, -6, -2), (10**9, -10**9, -3), (0, 5, 10**9), (1, 5, BEYOND),
                                      (4, -100, -2**63), (3, 0, -BEYOND), (2, -2**31, -1), (-2, 5, 1)]):
        f.case(f"slice {s}:{e}:{step}", [("Slice", "x,s,e,a,t", "y", {})], x, {"s": np.array([s]), "e": np.array([e]), "a": np.array([1]), "t": np.array([step])})
    for s, e in ((0, 10**9), (0, BEYOND), (0, 2**31 - 1), (-10**9, BEYOND), (-2**63, 2**24)):
        f.case(f"batch {s}:{e}", [("Slice", "x,s,e,a", "y", {})], x, {"s": np.array([s, 1]), "e": np.array([e, 10**9]), "a": np.array([0, 2])})
    f.case("batch -N:N", [("Shape", "x", "d", {}), ("Slice", "d,z,o", "n", {}), ("Neg", "n", "m", {}), ("Slice", "x,m,n,z", "y", {})], x, {"z": np.array([0]), "o": np.array([1])})
    for v in (0, 4, -1, -5, [1, -1, 0], [[-5, 4]]):
        f.case(f"gather {v}", [("Gather", "x,i", "y", {"axis": 1})], x, {"i": np.array(v, np.int64)})
    for i, r in enumerate(([0, 1, 0, 0], [1, 0, 0, 3], [0, 2, 0, 0])):
        for mode in ("reflect", "edge", "wrap") if sum(r) < 3 else ("edge", "wrap"):
            f.case(f"pad {mode} {r}", [("Pad", "x,p", "y", {"mode": mode})], x, {"p": np.array([0, r[0], r[1], 0, r[2], r[3]])})
    f.opset = 19
    against_onnxruntime(report, f, tmp)


def test_one_hot(report, tmp):
    f, x = File(17), np.array([[0, -1, 3], [-4, 4, -9], [9, 2, 1]])
    for axis in (-1, 1, 2, -2):
        for v in (np.array([0, 1], np.float32), np.array([.25, .3], np.float32), np.array([-7, 2**40]), np.array([INF, -INF], np.float32)):
            f.case(f"one_hot axis {axis} {v}", [("OneHot", "x,d,v", "y", {"axis": axis})], x, {"d": np.int64(5), "v": v})
    f.case("rows by computed indices", [("Gather", "t,x", "y", {"axis": 0})], np.array([[0, -1, 3], [-4, 2, -2], [1, 2, 1]]), {"t": np.arange(8, dtype=np.float32).reshape(4, 2)})
    for flags in ((0, 0), (0, 1), (1, 0), (1, 1)):
        f.case(f"cumsum exclusive, reverse {flags}", [("CumSum", "x,a", "y", {"exclusive": flags[0], "reverse": flags[1]})], X[1:4], {"a": np.int64(1)})
    against_onnxruntime(report, f, tmp)


# --- resizes

# (No scale near 1 that leaves the size alone: onnxruntime copies there, ONNX interpolates.)
SCALES = [(10, .7), (5, 1.4), (10, 1.4), (10, .9), (10, 2.3), (20, .35), (20, .2), (20, .1), (10, .6), (10, .3), (10, 1.7), (8, 2.), (7, 3.), (3, 1 / 3),
          (23, .5), (6, 4.), (13, 1.1), (31, .55), (49, 1 / 7)]
SIZES = [(10, 7), (7, 10), (20, 3), (3, 20), (5, 5), (8, 16), (16, 8), (6, 1), (1, 6), (14, 9), (31, 44)]


def test_resize(report, tmp):
    """Every rule of coordinates and of rounding, by scales and by sizes: places in float32."""
    coords = ["half_pixel", "pytorch_half_pixel", "asymmetric", "align_corners", "half_pixel_symmetric"]
    rounds = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
    kinds = [("nearest", c, r, {}) for c in coords for r in rounds] + [("linear", c, rounds[0], {}) for c in coords]
    kinds += [("cubic", c, rounds[0], e) for c in coords for e in ({}, {"exclude_outside": 1}, {"cubic_coeff_a": -0.5})]
    picture = lambda n, m: RNG.standard_normal((2, 1, n, m)).astype(np.float32)
    for mode in ("nearest", "linear", "cubic"):
        f = File(19)
        for m, c, r, extra in kinds:
            if m != mode:
                continue
            what = {"mode": m, "coordinate_transformation_mode": c, "nearest_mode": r, **extra}
            label = " ".join([m, c, *([r] if m == "nearest" else []), *extra])
            for n, s in SCALES:
                f.case(f"{label}, {n} x {s:.3g}", [("Resize", "x,,s", "y", what)], picture(n, n), {"s": np.array([1, 1, s, s], np.float32)})
            for n, s in SIZES:
                f.case(f"{label}, {n} to {s}", [("Resize", "x,,,s", "y", what)], picture(n, 4), {"s": np.array([2, 1, s, 4])}, batch=2)
        against_onnxruntime(report, f, tmp, limit=1e-4)
    f = File(19)
    for policy in ("stretch", "not_larger", "not_smaller"):
        for n, m, h, w in ((10, 7, 5, 9), (10, 20, 30, 31), (7, 9, 3, 3), (6, 6, 4, 5)):
            for mode in ("nearest", "linear"):
                f.case(f"{policy} {mode} {n}x{m} to {h}x{w}", [("Resize", "x,,,s", "y", {"mode": mode, "axes": [2, 3], "keep_aspect_ratio_policy": policy})], picture(n, m), {"s": np.array([h, w])})
    against_onnxruntime(report, f, tmp, limit=1e-4)
    for opset in (9, 10):  # Upsample, and Resize before it knew coordinates
        f = File(opset)
        for mode in ("nearest", "linear"):
            for n, s in SCALES:
                if opset == 10 or s >= 1:
                    f.case(f"opset {opset} {mode} {n} x {s:.3g}", [("Resize" if opset == 10 else "Upsample", "x,s", "y", {"mode": mode})], picture(n, n), {"s": np.array([1, 1, s, s], np.float32)})
        against_onnxruntime(report, f, tmp, limit=1e-4)


# --- results without elements

def test_zero_sizes(report, tmp):
    f, x = File(17), np.arange(2 * 5 * 4, dtype=np.float32).reshape(2, 5, 4)
    none, i64 = np.zeros(0, np.int64), lambda *v: np.array(v, np.int64)
    f.case("ConstantOfShape([0])", [("ConstantOfShape", "s", "y", {})], x, {"s": i64(0)})
    f.case("ConstantOfShape([2, 0, 3])", [("ConstantOfShape", "s", "y", {})], x, {"s": i64(2, 0, 3)})
    f.case("Slice 3:3", [("Slice", "x,s,e,a", "y", {})], x, {"s": i64(3), "e": i64(3), "a": i64(1)})
    f.case("Slice 9:12, then Relu", [("Slice", "x,s,e,a", "t", {}), ("Relu", "t", "y", {})], x, {"s": i64(9), "e": i64(12), "a": i64(1)})
    f.case("Slice 1:4:-1", [("Slice", "x,s,e,a,t", "y", {})], x, {"s": i64(1), "e": i64(4), "a": i64(1), "t": i64(-1)})
    f.case("Split 0, 5", [("Split", "x,p", "u,y", {"axis": 1})], x, {"p": i64(5, 0)})
    f.case("Concat with an empty part", [("Split", "x,p", "u,v", {"axis": 1}), ("Neg", "v", "w", {}), ("Concat", "u,w", "y", {"axis": 1})], x, {"p": i64(0, 5)})
    f.case("Concat of empty parts", [("Slice", "x,s,s,a", "t", {}), ("Concat", "t,t", "y", {"axis": 1})], x, {"s": i64(2), "a": i64(1)})
    f.case("Tile by 0", [("Tile", "x,r", "y", {})], x, {"r": i64(1, 0, 2)})
    f.case("Expand to 0", [("Slice", "x,s,e,a", "t", {}), ("Expand", "t,d", "y", {})], x, {"s": i64(2), "e": i64(3), "a": i64(1), "d": i64(1, 0, 1)})
    f.case("Range(3, 3)", [("Range", "a,a,b", "y", {})], x, {"a": np.int64(3), "b": np.int64(1)})
    f.case("Range(3, 0)", [("Range", "a,z,b", "y", {})], x, {"a": np.int64(3), "z": np.int64(0), "b": np.int64(1)})
    f.case("Gather nothing", [("Gather", "x,i", "y", {"axis": 1})], x, {"i": none})
    f.case("Reshape of nothing", [("Slice", "x,s,s,a", "t", {}), ("Reshape", "t,d", "y", {})], x, {"s": i64(2), "a": i64(1), "d": i64(0, 0, 2, 2)})
    f.case("Transpose of nothing", [("Slice", "x,s,s,a", "t", {}), ("Transpose", "t", "y", {"perm": [0, 2, 1]})], x, {"s": i64(2), "a": i64(1)})
    f.case("ReduceSum of nothing", [("Slice", "x,s,s,a", "t", {}), ("ReduceSum", "t,a", "y", {})], x, {"s": i64(2), "a": i64(1)})
    f.case("MatMul over nothing", [("Slice", "x,s,s,b", "t", {}), ("MatMul", "t,w", "y", {})], x, {"s": i64(2), "b": i64(2), "w": np.zeros((0, 3), np.float32)})
    f.case("Pad of nothing", [("Slice", "x,s,s,a", "t", {}), ("Pad", "t,p,v", "y", {})], x, {"s": i64(2), "a": i64(1), "p": i64(0, 2, 0, 0, 1, 0), "v": np.float32(7)})
    f.case("Shape of nothing", [("Slice", "x,s,s,a", "t", {}), ("Shape", "t", "y", {})], x, {"s": i64(2), "a": i64(1)})
    f.case("Cast of nothing", [("Slice", "x,s,s,a", "t", {}), ("Cast", "t", "y", {"to": T.INT64})], x, {"s": i64(2), "a": i64(1)})
    f.case("Equal with nothing", [("Slice", "x,s,s,a", "t", {}), ("Less", "t,t", "y", {})], x, {"s": i64(2), "a": i64(1)})
    against_onnxruntime(report, f, tmp)
    for op in ("ReduceMean", "ArgMax"):  # not defined: refused by name
        g = File(17)
        g.case(op, [("Slice", "x,s,s,a", "t", {}), (op, "t", "y", {"axis": 1} if op == "ArgMax" else {"axes": [1]})], x, {"s": i64(2), "a": i64(1)})
        g.save(tmp / "bad.onnx")
        said = [run(SMKDC, *c, ok=False) for c in (("check", tmp / "bad.onnx"), ("compile", tmp / "bad.onnx", "-o", tmp / "bad.smkd"))]
        if any(p.returncode != 1 or f"({op})" not in p.stderr + p.stdout for p in said) or (tmp / "bad.smkd").exists():
            report.fail(f"{op} of nothing", f"expected a refusal that names the node: {[(p.returncode, p.stderr) for p in said]}")
        else:
            report.passed += 1


def test_what_loads(report, tmp):
    """What compile accepts is what a loader takes: a batch that no memory holds is refused, and named."""
    f = File(17)
    f.case("wide", [("Expand", "x,d", "t", {}), ("Exp", "t", "u", {}), ("Softmax", "u", "y", {})], np.ones((1, 1), np.float32), {"d": np.array([1, 2**37])})
    f.save(tmp / "m.onnx")
    p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 1 << 20, ok=False)
    if p.returncode == 1 and "(Expand)" in p.stderr and "--max-batch" in p.stderr and not (tmp / "m.smkd").exists():
        report.passed += 1
    else:
        report.fail("a batch of 2^57 bytes", f"exit {p.returncode}, {p.stderr}")


def main():
    need_tools(SMKDC, RUN)
    report = Report()
    for name, f in list(globals().items()):
        if name.startswith("test_") and (len(sys.argv) < 2 or name in sys.argv[1:]):
            report.guard_in_folder(name, f, report)
    report.end()


if __name__ == "__main__":
    main()
