"""RNN, GRU and LSTM as ONNX has them: results against onnxruntime, gradients through time against the definition written out in PyTorch.

Then PyTorch's own modules, exported both ways: what they compute, and their gradients.
"""
import itertools
import sys
import warnings

import numpy as np

from common import FULL, RUN, SMKDC, Report, need, need_tools, options, read_safetensors, rel, run, temp_dir

need("onnx", "onnxruntime", "torch")
import onnx
import onnx.parser
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import TensorProto as T
from onnx import helper, numpy_helper

RNG = np.random.default_rng(7)
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
USUAL = {"RNN": ["Tanh"], "GRU": ["Sigmoid", "Tanh"], "LSTM": ["Sigmoid", "Tanh", "Tanh"]}
# (usual alpha, usual beta, function); None: the activation has no such number
ACTIVATIONS = {
    "relu": (None, None, lambda x, a, b: F.relu(x)), "tanh": (None, None, lambda x, a, b: torch.tanh(x)),
    "sigmoid": (None, None, lambda x, a, b: torch.sigmoid(x)), "affine": (1, 0, lambda x, a, b: a * x + b),
    "leakyrelu": (.01, None, lambda x, a, b: F.leaky_relu(x, a)),
    "thresholdedrelu": (1, None, lambda x, a, b: torch.where(x > a, x, torch.zeros_like(x))),
    "scaledtanh": (1, 1, lambda x, a, b: a * torch.tanh(b * x)), "hardsigmoid": (.2, .5, lambda x, a, b: torch.clamp(a * x + b, 0, 1)),
    "elu": (1, None, lambda x, a, b: torch.where(x > 0, x, a * (torch.exp(torch.clamp(x, max=0)) - 1))),
    "softsign": (None, None, lambda x, a, b: F.softsign(x)), "softplus": (None, None, lambda x, a, b: F.softplus(x)),
}


def functions(op, attrs, dirs):
    alpha, beta = iter(attrs.get("activation_alpha", ())), iter(attrs.get("activation_beta", ()))
    out = []
    for name in attrs.get("activations", USUAL[op] * dirs):
        a, b, f = ACTIVATIONS[name.lower()]
        a, b = None if a is None else next(alpha, a), None if b is None else next(beta, b)
        out.append(lambda x, f=f, a=a, b=b: f(x, a, b))
    each = len(USUAL[op])
    return [out[i * each:(i + 1) * each] for i in range(dirs)]


def recurrent(op, attrs, X, W, R, B=None, lens=None, h0=None, c0=None, P=None):
    """The definition, with X [N,T,C], states [N,dirs,H]: Y [N,T,dirs,H], Y_h and Y_c [N,dirs,H]."""
    (N, steps, _), (dirs, _, H) = X.shape, R.shape
    clip = attrs.get("clip")
    cut = (lambda x: torch.clamp(x, -clip, clip)) if clip else (lambda x: x)
    ys, hs, cs = [], [], []
    for d in range(dirs):
        f, g, out_of = (functions(op, attrs, dirs)[d] + [None] * 2)[:3]
        f, g = (lambda x, f=f: f(cut(x))), (lambda x, g=g: g(cut(x)))
        k = GATES[op] * H
        wb, rb = (B[d, :k], B[d, k:]) if B is not None else (X.new_zeros(k), X.new_zeros(k))
        p = P[d].split(H) if P is not None else [X.new_zeros(H)] * 3
        h = h0[:, d] if h0 is not None else X.new_zeros(N, H)
        c = c0[:, d] if c0 is not None else X.new_zeros(N, H)
        back, out = d == 1 or attrs.get("direction") == "reverse", [None] * steps
        for t in reversed(range(steps)) if back else range(steps):
            x, r = (X[:, t] @ W[d].T + wb), R[d]
            if op == "RNN":
                new, state = f(x + h @ r.T + rb), c
            elif op == "GRU":
                z, s = (f(v) for v in (x[:, :2 * H] + h @ r[:2 * H].T + rb[:2 * H]).split(H, 1))
                inner = s * (h @ r[2 * H:].T + rb[2 * H:]) if attrs.get("linear_before_reset") else (s * h) @ r[2 * H:].T + rb[2 * H:]
                new, state = (1 - z) * g(x[:, 2 * H:] + inner) + z * h, c
            else:
                i, o, fg, cell = (x + h @ r.T + rb).split(H, 1)
                i = f(i + p[0] * c)
                fg = 1 - i if attrs.get("input_forget") else f(fg + p[2] * c)
                state = fg * c + i * g(cell)
                new = f(o + p[1] * state) * out_of(state)
            live = torch.ones(N, 1, dtype=torch.bool) if lens is None else (torch.as_tensor(lens) > t)[:, None]
            out[t] = torch.where(live, new, torch.zeros_like(new))
            h, c = torch.where(live, new, h), torch.where(live, state, c)
        ys.append(torch.stack(out, 1)), hs.append(h), cs.append(c)
    return torch.stack(ys, 2), torch.stack(hs, 1), torch.stack(cs, 1)


def node(op, attrs, inputs, layout, outputs):
    """The operator between batch-first values: nodes around it that give it the order it wants."""
    if layout:
        return [helper.make_node(op, inputs, outputs, name="it", layout=1, **attrs)]
    names = {"x": ([1, 0, 2], 0), "h0": ([1, 0, 2], 5), "c0": ([1, 0, 2], 6)}
    back = {"y": [2, 0, 1, 3], "h": [1, 0, 2], "c": [1, 0, 2]}
    nodes = [helper.make_node("Transpose", [k], [k + "_t"], perm=perm) for k, (perm, _) in names.items() if k in inputs]
    nodes.append(helper.make_node(op, [k + "_t" if k in names else k for k in inputs], [k and k + "_t" for k in outputs], name="it", **attrs))
    return nodes + [helper.make_node("Transpose", [k + "_t"], [k], perm=back[k]) for k in outputs if k]


def case(op, *, dirs=1, layout=0, opset=14, bias=True, lens=None, h0=False, c0=False, peep=False, outputs="yhc", N=3, steps=5, C=4, H=3, **attrs):
    return dict(op=op, dirs=dirs, layout=layout, opset=opset, bias=bias, lens=lens, h0=h0, c0=c0, peep=peep, outputs=outputs,
                N=N, steps=steps, C=C, H=H, attrs=attrs)


CASES = {}
for op_ in GATES:
    for direction, dirs_ in (("forward", 1), ("reverse", 1), ("bidirectional", 2)):
        for lay in (0, 1):
            CASES[f"{op_} {direction} layout {lay}"] = case(op_, dirs=dirs_, layout=lay, direction=direction, lens=["at run time", None][lay], h0=True, c0=op_ == "LSTM")
CASES |= {
    "RNN without bias": case("RNN", bias=False, outputs="y"), "GRU only Y_h": case("GRU", outputs=" h"),
    "LSTM only Y_c": case("LSTM", outputs="  c"), "LSTM Y and Y_c": case("LSTM", outputs="y c", opset=7),
    "LSTM of opset 7": case("LSTM", opset=7, h0=True), "GRU of opset 7": case("GRU", opset=7, linear_before_reset=1),
    "LSTM of opset 22": case("LSTM", opset=22, c0=True),
    "GRU linear_before_reset": case("GRU", linear_before_reset=1, h0=True),
    "GRU linear_before_reset, both ways, lengths": case("GRU", linear_before_reset=1, dirs=2, direction="bidirectional", lens="at run time", steps=7),
    "LSTM peepholes": case("LSTM", peep=True, h0=True, c0=True), "LSTM peepholes, both ways": case("LSTM", peep=True, dirs=2, direction="bidirectional"),
    "LSTM input_forget": case("LSTM", input_forget=1, c0=True), "LSTM clip": case("LSTM", clip=.3, c0=True), "GRU clip": case("GRU", clip=.4, h0=True),
    "RNN clip": case("RNN", clip=.3), "LSTM one step": case("LSTM", steps=1), "RNN lengths known": case("RNN", lens="known", dirs=2, direction="bidirectional"),
    "LSTM all of a step of one": case("LSTM", C=1, H=1, N=1),
    "GRU long": case("GRU", steps=70, C=3, H=5, h0=True, linear_before_reset=1),
    "LSTM activations": case("LSTM", dirs=2, direction="bidirectional", h0=True, activations=["HardSigmoid", "ScaledTanh", "Softsign", "Sigmoid", "Affine", "Elu"],
                             activation_alpha=[.25, 1.2, .9, .7], activation_beta=[.4, .8, .1]),
    "GRU activations": case("GRU", dirs=2, direction="bidirectional", h0=True, activations=["hardsigmoid", "leakyrelu", "SIGMOID", "thresholdedrelu"], activation_alpha=[.3, .1, .05]),
}
for a_ in ("Relu", "Softplus", "Softsign", "Elu", "LeakyRelu", "HardSigmoid"):
    CASES[f"RNN {a_}"] = case("RNN", h0=True, activations=[a_])
for a_ in ("ThresholdedRelu", "ScaledTanh", "Affine"):  # onnxruntime takes 0 where a file has no number
    CASES[f"RNN {a_}"] = case("RNN", h0=True, activations=[a_], activation_alpha=[.9], **{"activation_beta": [.7]} if a_ != "ThresholdedRelu" else {})


def build(k):
    """The model, what it is fed, and its trained tensors."""
    g, op = GATES[k["op"]], k["op"]
    w = lambda *s: (.5 * RNG.standard_normal(s)).astype(np.float32)
    init = {"W": w(k["dirs"], g * k["H"], k["C"]), "R": w(k["dirs"], g * k["H"], k["H"])}
    feeds = {"x": 2 * w(k["N"], k["steps"], k["C"])}
    inputs = ["x", "W", "R", "", "", "", "", ""]
    if k["bias"]:
        init["B"], inputs[3] = w(k["dirs"], 2 * g * k["H"]), "B"
    if k["peep"]:
        init["P"], inputs[7] = w(k["dirs"], 3 * k["H"]), "P"
    for at, name in ((5, "h0"), (6, "c0")):
        if k[name]:
            feeds[name], inputs[at] = w(k["N"], k["dirs"], k["H"]), name
    lens = None
    if k["lens"]:
        lens = np.array([k["steps"], 1, k["steps"] - 2], np.int32)[:k["N"]]
        inputs[4] = "lens"
        if k["lens"] == "known":
            lens[:] = k["steps"] - 2
            init["lens"] = lens
        else:
            feeds["lens"] = lens
    while not inputs[-1]:
        inputs.pop()
    outputs = [c if c in k["outputs"][i:i + 1] else "" for i, c in enumerate("yhc"[:3 if op == "LSTM" else 2])]
    attrs = {"hidden_size": k["H"], **k["attrs"]}
    types = {"lens": T.INT32}
    batch = k["N"] if k["lens"] == "known" else "N"
    infos = [helper.make_tensor_value_info(n, types.get(n, T.FLOAT), [batch, *v.shape[1:]]) for n, v in feeds.items()]
    outs = [n for n in outputs if n]

    def model(layout):
        graph = helper.make_graph(node(op, attrs, inputs, layout, outputs), "g", infos, [helper.make_tensor_value_info(n, T.FLOAT, None) for n in outs],
                                  [numpy_helper.from_array(v, n) for n, v in init.items()])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", k["opset"])], ir_version=8)
    return model, feeds, init, lens, outs


def one(report, name, k, tmp):
    model, feeds, init, lens, outs = build(k)
    onnx.save(model(k["layout"]), str(tmp / "m.onnx"))
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
    run(RUN, "infer", tmp / "m.smkd", *options(tmp, feeds, "input"), "-o", tmp / "y.st")
    got = read_safetensors(tmp / "y.st")
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 3
    try:
        session = onnxruntime.InferenceSession(model(0).SerializeToString(), quiet)
        for n, want in zip(outs, session.run(outs, feeds)):
            report.check(f"{name}: {n}", rel(got[n], want), 1e-5)
    except Exception as e:  # not every opset has a kernel there
        print(f"left out {name}: onnxruntime: {str(e)[:80]}")
    t = {n: torch.from_numpy(v).double().requires_grad_() for n, v in (init | feeds).items() if v.dtype == np.float32}
    want = dict(zip("yhc", recurrent(k["op"], k["attrs"], t["x"], t["W"], t["R"], t.get("B"), lens, t.get("h0"), t.get("c0"), t.get("P"))))
    cotangents = {n: RNG.standard_normal(want[n].shape).astype(np.float32) for n in outs}
    sum((want[n] * torch.from_numpy(c).double()).sum() for n, c in cotangents.items()).backward()
    run(RUN, "grad", tmp / "m.smkd", *options(tmp, feeds, "input"), *options(tmp, cotangents, "cotangent"), "-o", tmp / "g.st")
    grads = read_safetensors(tmp / "g.st")
    worst = max(rel(grads[n], want[n].detach().numpy(), 1e-3) for n in outs)
    report.check(f"{name}: the definition", worst, 1e-5)
    for n, v in t.items():
        if v.grad is not None:
            report.check(f"{name}: gradient of {n}", rel(grads[n if n in init else f"grad.{n}"], v.grad.numpy(), 1e-2), 2e-5)


AROUND = {  # name: (text of the graph, {input: shape}, {a further initializer: value})
    "rows of two samples": ("""(float[N,2,5,4] x) => (float[N,2,5,3] y) { a = Reshape (x, s)  t = Transpose <perm = [1, 0, 2]> (a)  q = LSTM <hidden_size = 3> (t, W, R, B)
        z = Squeeze (q)  v = Transpose <perm = [1, 0, 2]> (z)  y = Reshape (v, b) }""", {"x": (3, 2, 5, 4)}, {"s": np.array([-1, 5, 4]), "b": np.array([-1, 2, 5, 3])}),
    "no batch": ("""(float[5,2,4] x, float[1,2,3] h) => (float[5,1,2,3] y, float[1,2,3] yh) { y, yh = LSTM <hidden_size = 3> (x, W, R, B, , h) }""",
                 {"x": (5, 2, 4), "h": (1, 2, 3)}, {}),
    "weights that are computed": ("""(float[N,5,4] x) => (float[N,5,3] y) { t = Transpose <perm = [1, 0, 2]> (x)  w = Tanh (W)  q = LSTM <hidden_size = 3> (t, w, R, B)
        z = Squeeze (q)  y = Transpose <perm = [1, 0, 2]> (z) }""", {"x": (3, 5, 4)}, {}),
    "zeros of a fixed batch": ("""(float[2,5,4] x) => (float[2,5,3] y) { t = Transpose <perm = [1, 0, 2]> (x)  q = LSTM <hidden_size = 3> (t, W, R, B, , h, h)
        z = Squeeze (q)  y = Transpose <perm = [1, 0, 2]> (z) }""", {"x": (2, 5, 4)}, {"h": np.zeros((1, 2, 3), np.float32)}),
    "a learned state for all samples": ("""(float[N,5,4] x) => (float[N,5,3] y) { t = Transpose <perm = [1, 0, 2]> (x)  n = Shape <start = 0, end = 1> (x)
        one = Constant <value_ints = [1]> ()  three = Constant <value_ints = [3]> ()  k = Concat <axis = 0> (one, n, three)  hh = Expand (h, k)
        q = LSTM <hidden_size = 3> (t, W, R, B, , hh, hh)  z = Squeeze (q)  y = Transpose <perm = [1, 0, 2]> (z) }""",
                                        {"x": (3, 5, 4)}, {"h": RNG.standard_normal((1, 1, 3)).astype(np.float32)}),
}


def around(report, tmp):
    """The operator among others: what the batch is merged with, where states and weights come from, no batch at all, doubles."""
    f = lambda *s: (.5 * RNG.standard_normal(s)).astype(np.float32)
    weights = {"W": f(1, 12, 4), "R": f(1, 12, 3), "B": f(1, 24)}
    for name, (text, shapes, more) in AROUND.items():
        m = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> g {text}')
        m.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in (weights | more).items())
        onnx.save(m, str(tmp / "m.onnx"))
        feeds = {n: f(*s) for n, s in shapes.items()}
        run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
        run(RUN, "infer", tmp / "m.smkd", *options(tmp, feeds, "input"), "-o", tmp / "y.st")
        got = read_safetensors(tmp / "y.st")
        for o, want in zip(m.graph.output, onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds)):
            report.check(f"{name}: {o.name}", rel(got[o.name], want), 1e-5)
    text = "(double[N,5,4] x) => (double[5,1,N,3] y) { t = Transpose <perm = [1, 0, 2]> (x)  y = LSTM <hidden_size = 3> (t, W, R, B) }"
    m = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> g {text}')
    m.graph.initializer.extend(numpy_helper.from_array(v.astype(np.float64), n) for n, v in weights.items())
    onnx.save(m, str(tmp / "m.onnx"))
    x = RNG.standard_normal((3, 5, 4))
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8, "--constant", "*")
    run(RUN, "infer", tmp / "m.smkd", *options(tmp, {"x": x}, "input"), "-o", tmp / "y.st")
    y = recurrent("LSTM", {}, torch.from_numpy(x), *(torch.from_numpy(v).double() for v in weights.values()))[0].permute(1, 2, 0, 3)
    report.check("doubles", rel(read_safetensors(tmp / "y.st")["y"], y.numpy()), 1e-13)


class Net(torch.nn.Module):
    def __init__(self, kind, layers, both, batch_first, packed=False, in_order=True):
        super().__init__()
        self.rnn = getattr(torch.nn, kind)(4, 6, layers, bidirectional=both, batch_first=batch_first)
        self.fc = torch.nn.Linear(6 * (1 + both), 5)
        self.batch_first, self.packed, self.in_order = batch_first, packed, in_order

    def forward(self, x, lengths=None):
        if not self.batch_first:
            x = x.transpose(0, 1)
        if self.packed:
            x = torch.nn.utils.rnn.pack_padded_sequence(x, lengths, self.batch_first, enforce_sorted=self.in_order)
        y, h = self.rnn(x)
        if self.packed:
            y, _ = torch.nn.utils.rnn.pad_packed_sequence(y, self.batch_first, total_length=7)
        y = self.fc(y if self.batch_first else y.transpose(0, 1))
        return y.sum(1) + (h[0] if isinstance(h, tuple) else h)[-1].sum(1, keepdim=True)


def of_torch(kind, v):
    """A weight of PyTorch with its gates in ONNX's order."""
    order = {"RNN": [0], "GRU": [1, 0, 2], "LSTM": [0, 3, 1, 2]}[kind]
    parts = v.split(v.shape[0] // len(order))
    return torch.cat([parts[i] for i in order])


def modules(report, kind, layers, both, batch_first, how, tmp):
    what = f"torch {kind}, {layers} layers{', both ways' if both else ''}{', batch first' if batch_first else ''}, {how}"
    torch.manual_seed(1)
    packed, in_order = how.startswith("packed"), how != "packed in any order"
    m, x, lengths = Net(kind, layers, both, batch_first, packed, in_order), torch.randn(3, 7, 4), torch.tensor([7, 4, 2] if in_order else [4, 7, 2])
    args, names = ((x, lengths), ["x", "lengths"]) if packed else ((x,), ["x"])
    if how == "default exporter":
        torch.onnx.export(m, args, str(tmp / "m.onnx"), dynamo=True, input_names=names, output_names=["y"], dynamic_shapes=({0: torch.export.Dim("n")},), verbose=False)
    else:
        axes = {} if how == "fixed batch" else {"dynamic_axes": {n: {0: "n"} for n in [*names, "y"]}}
        torch.onnx.export(m, args, str(tmp / "m.onnx"), dynamo=False, input_names=names, output_names=["y"], opset_version=17, **axes)
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
    x, lengths = torch.randn(5, 7, 4, requires_grad=True), torch.tensor([7, 6, 3, 3, 1] if in_order else [3, 7, 1, 6, 3])
    feeds = {"x": x.detach().numpy()} | ({"lengths": lengths.numpy()} if packed else {})
    y = m(x, lengths)
    dy = torch.randn_like(y)
    y.backward(dy)
    run(RUN, "grad", tmp / "m.smkd", *options(tmp, feeds, "input"), *options(tmp, {"y": dy.numpy()}, "cotangent"), "-o", tmp / "g.st")
    got = read_safetensors(tmp / "g.st")
    report.check(f"{what}: y", rel(got["y"], y.detach().numpy()), 1e-5)
    report.check(f"{what}: gradient of x", rel(got["grad.x"], x.grad.numpy()), 2e-5)
    g = onnx.load(str(tmp / "m.onnx")).graph
    grads = dict(m.rnn.named_parameters())
    for layer, n in enumerate(n for n in g.node if n.op_type == kind):
        for at, parts in enumerate((["weight_ih"], ["weight_hh"], ["bias_ih", "bias_hh"])):
            want = torch.stack([torch.cat([of_torch(kind, grads[f"{p}_l{layer}{d}"].grad) for p in parts]) for d in ["", "_reverse"][:1 + both]])
            report.check(f"{what}: gradient of {'WRB'[at]}{layer}", rel(got[n.input[1 + at]], want.numpy()), 2e-5)


def trained(report, tmp):
    """Rows whose class is the feature that came first: an LSTM learns it, and what is exported is what was trained."""
    torch.manual_seed(2)
    m = Net("LSTM", 2, True, True)
    torch.onnx.export(m, (torch.randn(2, 7, 4),), str(tmp / "m.onnx"), dynamo=False, input_names=["x"], output_names=["y"], dynamic_axes={"x": {0: "n"}, "y": {0: "n"}})
    x = RNG.standard_normal((600, 7, 4)).astype(np.float32)
    labels = x[:, 0].argmax(1)
    for part, a, b in (("train", 0, 500), ("test", 500, 600)):
        np.save(tmp / f"{part}_x.npy", x[a:b])
        np.save(tmp / f"{part}_y.npy", labels[a:b])
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd")
    run(RUN, "train", "--peer", tmp / "m.smkd", "--data", ",".join(str(tmp / n) for n in ("train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy")), "--loss", "ce",
        "--epochs", 15, "--batch-size", 20, "--opt", "adam", "--lr", 0.02, "-o", tmp / "run")
    run(RUN, "export", tmp / "run", "-o", tmp / "e.onnx")
    y = onnxruntime.InferenceSession(str(tmp / "e.onnx")).run(None, {"x": x[500:]})[0]
    report.check("an LSTM that was trained, exported: errors of 100", float((y.argmax(1) != labels[500:]).sum()), 20)


def refused(report, tmp):
    """What cannot be: by name, with what was expected."""
    base = case("LSTM")
    for what, change, line in (
            ("steps that are the batch", None, "has its steps"),
            ("an unknown activation", {"activations": ["Tanh", "Tanh", "Cosine"]}, 'activation "Cosine" is none that ONNX has'),
            ("too few activations", {"activations": ["Tanh"]}, "it has 1 activations; 3 are needed"),
            ("a direction", {"direction": "sideways"}, "none of forward, reverse and bidirectional"),
            ("another hidden_size", {"hidden_size": 4}, "cannot be"),
            ("a sequence that is too long", {"steps": 5000}, "give a shorter input")):
        k = {**base, "attrs": {**base["attrs"], **(change or {})}}
        k["steps"] = k["attrs"].pop("steps", k["steps"])
        model, *_ = build(k)
        m = model(0)
        if change is None:  # nothing turns the input round
            del m.graph.node[0]
            m.graph.node[0].input[0] = "x"
        onnx.save(m, str(tmp / "m.onnx"))
        p = run(SMKDC, "check", tmp / "m.onnx", ok=False)
        report.check(f"refused: {what}", float(p.returncode != 1 or line not in p.stderr), 0)


SORTS = """g (float[N,5,4] x, int64[N] l) => (float[N,3] y) { k = Shape (l)  v, o = TopK (l, k)  xs = Gather (x, o)  t = Transpose <perm = [1, 0, 2]> (xs)
    l32 = Cast <to = 6> (v)  q, h = LSTM <hidden_size = 3> (t, W, R, B, l32)  one = Constant <value_int = 1> ()  nil = Constant <value_int = 0> ()  ax = Constant <value_ints = [0]> ()
    z = ConstantOfShape <value = int64[1] {0}> (k)  n = Squeeze (k)  r = Range (nil, n, one)  back = ScatterElements (z, o, r)  hs = Squeeze (h, ax)  hb = Gather (hs, back)  """


def sorts(report, tmp):
    """Sorted samples are left where they are only where nothing sees their order."""
    f = lambda *s: (.5 * RNG.standard_normal(s)).astype(np.float32)
    weights = {"W": f(1, 12, 4), "R": f(1, 12, 3), "B": f(1, 24)}
    for what, rest, stays in (("brought back", "y = Identity (hb) }", True), ("a result", "y = Identity (hs) }", False), ("beside others", "y = Add (hb, hs) }", False),
                              ("added to others", "m = ReduceMean <axes = [1, 2], keepdims = 0> (x)  u = Unsqueeze (m, one1)  s = Add (hs, u)  y = Gather (s, back) }", False)):
        text = SORTS + ("one1 = Constant <value_ints = [1]> ()  " if "one1" in rest else "") + rest
        m = onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["": 17]> {text}')
        m.graph.initializer.extend(numpy_helper.from_array(v, n) for n, v in weights.items())
        onnx.save(m, str(tmp / "m.onnx"))
        p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", ok=False)
        report.check(f"sorted samples, {what}: {'compiles' if stays else 'refused'}", float((p.returncode == 0) != stays), 0)
        if stays:
            feeds = {"x": f(4, 5, 4), "l": np.array([2, 5, 1, 3])}
            run(RUN, "infer", tmp / "m.smkd", *options(tmp, feeds, "input"), "-o", tmp / "y.st")
            report.check(f"sorted samples, {what}: y", rel(read_safetensors(tmp / "y.st")["y"], onnxruntime.InferenceSession(m.SerializeToString()).run(None, feeds)[0]), 1e-5)
        else:
            report.check(f"sorted samples, {what}: by name", float("(TopK)" not in p.stderr), 0)


def main():
    need_tools(SMKDC, RUN)
    warnings.simplefilter("ignore")
    report = Report()
    for name, k in CASES.items():
        if len(sys.argv) < 2 or any(a in name for a in sys.argv[1:]):
            report.guard_in_folder(name, one, report, name, k)
    every = list(itertools.product(GATES, (1, 2, 3), (False, True), (False, True), ("default exporter", "TorchScript", "fixed batch", "packed", "packed in any order")))
    for i, how in enumerate(every):
        name = f"torch {' '.join(map(str, how))}"
        if any(a in name for a in sys.argv[1:]) if len(sys.argv) > 1 else FULL or i % 17 == 4:
            report.guard_in_folder(name, modules, report, *how)
    for name, f in (("around", around), ("sorts", sorts), ("refused", refused), ("trained", trained)):
        if len(sys.argv) < 2 or name in sys.argv[1:]:
            report.guard_in_folder(name, f, report)
    report.end()


if __name__ == "__main__":
    main()
