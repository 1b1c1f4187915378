"""Loop, Scan, If, sequences and optional values: results against onnxruntime, gradients against the same written in PyTorch."""
import sys
import warnings

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, options, read_safetensors, rel, run, temp_dir

need("onnx", "onnxruntime", "torch")
import onnx
import onnx.parser
import onnxruntime
import torch
from onnx import numpy_helper

RNG = np.random.default_rng(11)
F = lambda *s: RNG.standard_normal(s).astype(np.float32)
W = F(3, 3)


def loop(steps, x, w):
    for _ in range(steps):
        x = torch.tanh(x @ w)
    return x


def halved(x, limit):
    for _ in range(limit):
        if x.max() <= 1:
            break
        x = x * .5
    return x


def scanned(x, w, back=False):
    h, total, out = torch.zeros(x.shape[0], 3, dtype=x.dtype), torch.zeros((), dtype=x.dtype), [None] * x.shape[1]
    for t in reversed(range(x.shape[1])) if back else range(x.shape[1]):
        h = torch.tanh(x[:, t] + h @ w)
        out[t] = h * 2
    return h, torch.stack(out, 1)


# name: (opset, text of the graph, {initializer: value}, {input: value}, the results in PyTorch)
CASES = {
    "Loop, a known number of steps": (17, """g (float[N,3] x, float[3,3] w, int64 m, bool yes) => (float[N,3] y) {
        y = Loop (m, yes, x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) {
            go2 = Identity (go)  p = MatMul (s, w)  s2 = Tanh (p) }> }""",
        {"w": W, "m": np.int64(4), "yes": np.bool_(True)}, {"x": F(5, 3)}, lambda x, w: [loop(4, x, w)]),
    "Loop, one result a step": (17, """g (float[N,3] x, float[3,3] w, int64 m) => (float[N,3] y, float[N,4,3] z) {
        y, st = Loop (m, , x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2, float[N,3] s3) {
            go2 = Identity (go)  p = MatMul (s, w)  s2 = Tanh (p)  f = Cast <to = 1> (i)  s3 = Add (s2, f) }>
        z = Transpose <perm = [1, 0, 2]> (st) }""",
        {"w": W, "m": np.int64(4)}, {"x": F(5, 3)}, lambda x, w: [loop(4, x, w), torch.stack([loop(i + 1, x, w) + i for i in range(4)], 1)]),
    "Loop that ends by its counter": (17, """g (float[N,3] x, float[3,3] w, int64 m, bool yes, int64 last) => (float[N,3] y) {
        y = Loop (m, yes, x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) {
            go2 = Less (i, last)  p = MatMul (s, w)  s2 = Tanh (p) }> }""",
        {"w": W, "m": np.int64(100), "last": np.int64(2), "yes": np.bool_(True)}, {"x": F(5, 3)}, lambda x, w: [loop(3, x, w)]),
    "Loop that ends by its data": (17, """g (float[N,3] x, float one, float half, int64 m) => (float[N,3] y) {
        top = ReduceMax <keepdims = 0> (x)  first = Greater (top, one)
        y = Loop (m, first, x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) {
            s2 = Mul (s, half)  t2 = ReduceMax <keepdims = 0> (s2)  go2 = Greater (t2, one) }> }""",
        {"one": np.float32(1), "half": np.float32(.5), "m": np.int64(9)}, {"x": 11 * F(5, 3)}, lambda x, one, half: [halved(x, 9)]),
    "Loop over a sequence": (17, """g (float[N,3] x, float[3,3] w, int64 m) => (float[N,12] y) {
        none = SequenceEmpty ()
        q, all = Loop (m, , x, none) <body = b (int64 i, bool go, float[N,3] s, seq(float[N,3]) l) => (bool go2, float[N,3] s2, seq(float[N,3]) l2) {
            go2 = Identity (go)  p = MatMul (s, w)  s2 = Tanh (p)  l2 = SequenceInsert (l, s2) }>
        y = ConcatFromSequence <axis = 1> (all) }""",
        {"w": W, "m": np.int64(4)}, {"x": F(5, 3)}, lambda x, w: [torch.cat([loop(i + 1, x, w) for i in range(4)], 1)]),
    "Loop without steps": (17, """g (float[N,3] x, int64 m, float[2] v) => (float[N,3] y, float[0,2] z) {
        y, z = Loop (m, , x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2, float[2] v2) {
            go2 = Identity (go)  s2 = Tanh (s)  v2 = Identity (v) }> }""",
        {"m": np.int64(0), "v": F(2)}, {"x": F(5, 3)}, None),
    "Scan": (17, """g (float[N,6,3] x, float[3,3] w) => (float[N,3] y, float[N,6,3] z) {
        xs = Transpose <perm = [1, 0, 2]> (x)  sh = Shape (x)  two = Constant <value_ints = [0, 2]> ()  hs = Gather (sh, two)
        h = ConstantOfShape (hs)
        y, zs = Scan <num_scan_inputs = 1, body = b (float[N,3] s, float[N,3] v) => (float[N,3] s2, float[N,3] o) {
            p = MatMul (s, w)  q = Add (p, v)  s2 = Tanh (q)  o = Add (s2, s2) }> (h, xs)
        z = Transpose <perm = [1, 0, 2]> (zs) }""",
        {"w": W}, {"x": F(5, 6, 3)}, lambda x, w: list(scanned(x, w))),
    "Scan along axes, backwards": (17, """g (float[N,6,3] x, float[3,3] w) => (float[N,3] y, float[N,6,3] z) {
        sh = Shape (x)  two = Constant <value_ints = [0, 2]> ()  hs = Gather (sh, two)  h = ConstantOfShape (hs)
        y, z = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [1], scan_output_axes = [1], scan_output_directions = [1],
            body = b (float[N,3] s, float[N,3] v) => (float[N,3] s2, float[N,3] o) {
            p = MatMul (s, w)  q = Add (p, v)  s2 = Tanh (q)  o = Add (s2, s2) }> (h, x) }""",
        {"w": W}, {"x": F(5, 6, 3)}, lambda x, w: list(scanned(x, w, True))),
    "If by the data": (17, """g (float[N,3] x, float[3,3] w, float zero) => (float[N,3] y) {
        s = ReduceSum <keepdims = 0> (x)  c = Greater (s, zero)
        y = If (c) <then_branch = a () => (float[N,3] p) { p = MatMul (x, w) }, else_branch = b () => (float[N,3] q) { q = Tanh (x) }> }""",
        {"w": W, "zero": np.float32(0)}, {"x": F(5, 3)}, lambda x, w, zero: [x @ w if x.sum() > 0 else torch.tanh(x)]),
    "If in a Loop": (17, """g (float[N,3] x, float[3,3] w, int64 m, int64 two, int64 nil) => (float[N,3] y) {
        y = Loop (m, , x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) {
            go2 = Identity (go)  r = Mod (i, two)  even = Equal (r, nil)
            s2 = If (even) <then_branch = t () => (float[N,3] p) { p = MatMul (s, w) }, else_branch = e () => (float[N,3] q) { q = Tanh (s) }> }> }""",
        {"w": W, "m": np.int64(4), "two": np.int64(2), "nil": np.int64(0)}, {"x": F(5, 3)}, lambda x, w: [torch.tanh(torch.tanh(x @ w) @ w)]),
    "SequenceMap and SequenceErase": (17, """g (float[N,6] x, float[1] k) => (float[N,2,2] y) {
        two = Constant <value_int = 2> ()  at = Constant <value_int = 1> ()
        s = SplitToSequence <axis = 1> (x, two)
        t = SequenceMap <body = b (float[N,2] v) => (float[N,2] u) { p = Mul (v, k)  u = Tanh (p) }> (s)
        r = SequenceErase (t, at)  y = ConcatFromSequence <axis = 1, new_axis = 1> (r) }""",
        {"k": F(1)}, {"x": F(5, 6)}, lambda x, k: [torch.stack([torch.tanh(x[:, :2] * k), torch.tanh(x[:, 4:] * k)], 1)]),
    "Optional": (18, """g (float[N,3] x) => (float[N,3] y) {
        o = Optional (x)  has = OptionalHasElement (o)
        y = If (has) <then_branch = a () => (float[N,3] p) { v = OptionalGetElement (o)  p = Neg (v) }, else_branch = b () => (float[N,3] q) { q = Identity (x) }> }""",
        {}, {"x": F(5, 3)}, lambda x: [-x]),
}

REFUSED = {
    "a Loop without a limit": ("""y = Loop (, yes, x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) {
        s2 = Tanh (s)  t2 = ReduceMax <keepdims = 0> (s2)  go2 = Greater (t2, half) }>""", "give it a trip count"),
    "results of a Loop that ends by its data": ("""q, y = Loop (m, yes, x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2, float[N,3] s3) {
        s2 = Tanh (s)  s3 = Neg (s)  t2 = ReduceMax <keepdims = 0> (s2)  go2 = Greater (t2, half) }>""", "then the size of its result 1 does, too"),
    "a number of steps from the data": ("""t = ReduceMax <keepdims = 0> (x)  k = Cast <to = 7> (t)
        y = Loop (k, , x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) { s2 = Tanh (s)  go2 = Identity (go) }>""",
                                        "here it depends on the data"),
    "a Loop for ever": ("""y = Loop (, , x) <body = b (int64 i, bool go, float[N,3] s) => (bool go2, float[N,3] s2) { s2 = Tanh (s)  go2 = Identity (go) }>""",
                        "all of which become code"),
    "a Scan over the batch": ("""h, y = Scan <num_scan_inputs = 1, body = b (float s, float[3] v) => (float s2, float[3] o) { s2 = Neg (s)  o = Neg (v) }> (half, x)""",
                              "its steps are along the batch"),
    "an If of two shapes": ("""t = ReduceMax <keepdims = 0> (x)  c = Greater (t, half)
        y = If (c) <then_branch = a () => (float[N,3] p) { p = Neg (x) }, else_branch = b () => (float[N,6] q) { q = Concat <axis = 1> (x, x) }>""",
                            "then both results must be of one type"),
    "a branch of another size, by an input": ("""c = Greater (given, half)  y = If (c) <then_branch = a () => (float[N,3] p) { p = Neg (x) }, else_branch = b () => (float[N,3] q) {
        sh = Constant <value_ints = [7, 7]> ()  q = Reshape (x, sh) }>""", "--shape-input given=..."),
    "an empty optional": ("""o = Optional <type = float> ()  y = OptionalGetElement (o)""", None),
}


def parsed(text, opset, init):
    m = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": {opset}]> {text}')
    keep = [i for i in m.graph.input if i.name not in init]
    del m.graph.input[:]
    m.graph.input.extend(keep)
    m.graph.initializer.extend(numpy_helper.from_array(np.asarray(v), n) for n, v in init.items())
    return m


def one(report, name, case, tmp):
    opset, text, init, feeds, torch_of = case
    m = parsed(text, opset, init)
    onnx.save(m, str(tmp / "m.onnx"))
    outs = [o.name for o in m.graph.output]
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
    run(RUN, "infer", tmp / "m.smkd", *options(tmp, feeds, "input"), "-o", tmp / "y.st")
    got = read_safetensors(tmp / "y.st")
    for n, want in zip(outs, onnxruntime.InferenceSession(m.SerializeToString()).run(outs, feeds)):
        report.check(f"{name}: {n}", rel(got[n], want), 1e-5)
    if not torch_of:
        return
    t = {n: torch.from_numpy(np.asarray(v)).double().requires_grad_() for n, v in (feeds | init).items() if np.asarray(v).dtype == np.float32}
    want = dict(zip(outs, torch_of(**t)))
    cotangents = {n: F(*want[n].shape) for n in outs}
    sum((want[n] * torch.from_numpy(c).double()).sum() for n, c in cotangents.items()).backward()
    run(RUN, "grad", tmp / "m.smkd", *options(tmp, feeds, "input"), *options(tmp, cotangents, "cotangent"), "-o", tmp / "g.st")
    grads = read_safetensors(tmp / "g.st")
    for n, v in t.items():
        key = n if n in init else f"grad.{n}"
        if v.grad is not None and (v.ndim or key in grads):
            report.check(f"{name}: gradient of {n}", rel(grads[key], v.grad.numpy(), 1e-2), 2e-5)


class Scripted(torch.nn.Module):
    """A cell in a loop that is scripted, so that the exporter writes a Loop."""

    def __init__(self):
        super().__init__()
        self.i, self.r = torch.nn.Linear(3, 4), torch.nn.Linear(4, 4, bias=False)

    def forward(self, x):
        h = torch.zeros(x.shape[0], 4)
        for t in range(x.size(1)):
            h = torch.tanh(self.i(x[:, t]) + self.r(h))
        return h


def scripted(report, tmp):
    torch.manual_seed(0)
    m = Scripted()
    x = torch.randn(3, 5, 3)
    torch.onnx.export(torch.jit.script(m), (x,), str(tmp / "m.onnx"), dynamo=False, input_names=["x"], output_names=["y"], opset_version=17, dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
    report.check("a scripted loop is a Loop", float("Loop" not in [n.op_type for n in onnx.load(str(tmp / "m.onnx")).graph.node]), 0)
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
    y = m(x)
    y.sum().backward()
    run(RUN, "grad", tmp / "m.smkd", *options(tmp, {"x": x.numpy()}, "input"), *options(tmp, {"y": np.ones((3, 4), np.float32)}, "cotangent"), "-o", tmp / "g.st")
    got = read_safetensors(tmp / "g.st")
    report.check("a scripted loop: y", rel(got["y"], y.detach().numpy()), 1e-5)
    for n, p in m.named_parameters():
        if n in got:  # of others the file has a transposed copy
            report.check(f"a scripted loop: gradient of {n}", rel(got[n], p.grad.numpy()), 2e-5)


def refused(report, tmp):
    init = {"half": np.float32(.5), "m": np.int64(9), "yes": np.bool_(True)}
    for what, (text, line) in REFUSED.items():
        try:
            m = parsed(f"g (float[N,3] x, float given, float half, int64 m, bool yes) => (float[N,3] y) {{ {text} }}", 18, init)
        except Exception as e:
            print(f"left out {what}: onnx: {str(e)[:100]}")
            continue
        onnx.save(m, str(tmp / "m.onnx"))
        p = run(SMKDC, "check", tmp / "m.onnx", ok=False)
        if not report.check(f"refused: {what}", float(p.returncode != 1 or (line or "not there") not in p.stderr), 0):
            print(p.stderr)


def nameless(report, tmp):
    """A body whose result has no name."""
    opset, text, init, *_ = CASES["Scan"]
    m = parsed(text, opset, init)
    body = next(a.g for n in m.graph.node for a in n.attribute if a.name == "body")
    body.output[0].name = ""
    onnx.save(m, str(tmp / "m.onnx"))
    p = run(SMKDC, "check", tmp / "m.onnx", ok=False, timeout=60)
    report.check("refused: a result without a name", float(p.returncode != 1 or "result 0 of its body is made by no node" not in p.stderr), 0)


def main():
    need_tools(SMKDC, RUN)
    warnings.simplefilter("ignore")
    report = Report()
    for name, case in CASES.items():
        if len(sys.argv) < 2 or any(a in name for a in sys.argv[1:]):
            report.guard_in_folder(name, one, report, name, case)
    for name, f in (("scripted", scripted), ("refused", refused), ("nameless", nameless)):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            report.guard_in_folder(name, f, report)
    report.end()


if __name__ == "__main__":
    main()
