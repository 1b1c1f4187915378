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
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 64)
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "y.st")
    return read_safetensors(tmp / "y.st")["y"]


def compare(report, name, nodes, x, weights, f, limit=1e-5, constant=(), **how):
    """y and the gradients by x and the float weights against f(x, weights) in PyTorch; those named by `constant` are not trained."""
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
        assert "grad.x" in got and not set(constant) & set(got)
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


# --- fused operators ----------------------------------------------------------------------------------------------------

MS = "com.microsoft"
X3, X4 = w(3, 5, 8), w(3, 4, 6, 6)
# (operator, x, further operands, attributes): what onnxruntime computes
FUSED = [
    ("Gelu", X3, [], {}), ("BiasGelu", X3, [w(8)], {}), ("FastGelu", X3, [w(8)], {}), ("FastGelu", X3, [], {}), ("QuickGelu", X3, [], {"alpha": 1.5}),
    ("SkipLayerNormalization", X3, [w(3, 5, 8)[:1], w(8), w(8), w(8)], {"epsilon": 1e-3}), ("SkipLayerNormalization", X3, [w(5, 8), w(8)], {}),
    ("SkipSimplifiedLayerNormalization", X3, [w(5, 8), w(8)], {}),
    ("FusedConv", X4, [w(5, 4, 3, 3), w(5)], {"activation": "Relu", "pads": [1, 1, 1, 1]}),
    ("FusedConv", X4, [w(5, 4, 3, 3), w(5)], {"activation": "LeakyRelu", "activation_params": [.3]}),
    ("FusedConv", X4, [w(5, 4, 3, 3), w(5)], {"activation": "Clip", "activation_params": [-.3, .4]}),
    ("FusedConv", X4, [w(5, 4, 3, 3), w(5)], {"activation": "HardSigmoid", "activation_params": [.3, .4], "strides": [2, 2]}),
    ("FusedGemm", X3[:, 0], [w(6, 8), w(6)], {"activation": "LeakyRelu", "activation_alpha": .2, "transB": 1, "alpha": .5}),
    ("FusedGemm", X3[:, 0], [w(8, 6), w(6)], {"activation": "Tanh"}),
    ("FusedMatMul", X3, [w(6, 8)], {"transB": 1, "alpha": .5}), ("FusedMatMul", X3, [w(5, 7)], {"transA": 1}), ("FusedMatMul", X3, [w(8)], {}),
    ("BiasAdd", w(3, 4, 6), [w(6), w(3, 4, 6)[:1]], {}), ("ExpandDims", X3, [np.int32(1)], {}),
    ("Trilu", X3, [], {"upper": 0}),
    ("MultiHeadAttention", X3, [w(3, 7, 8)[:3], w(3, 7, 8)[:3], w(24)], {"num_heads": 2}), ("MultiHeadAttention", X3, [w(3, 7, 8), w(3, 7, 8)], {"num_heads": 4, "scale": .3}),
    ("Attention", X3, [w(8, 24), w(24)], {"num_heads": 2}), ("Attention", X3, [w(8, 24), w(24)], {"num_heads": 2, "unidirectional": 1}),
    ("Attention", X3, [w(8, 24), w(24), (RNG.random((3, 5)) < .7).astype(np.int32) | np.eye(3, 5, dtype=np.int32)], {"num_heads": 2}), ("Pad", X3, [np.array([0, 1, 0, 0, 0, 2], np.int64)], {"mode": "constant"}),
]


def fused(report):
    """Against onnxruntime, which has them in code of its own."""
    ort, = need("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    for op, x, more, attrs in FUSED:
        name = f"{op} {attrs}"
        with temp_dir() as tmp:
            weights = {f"w{i}": np.asarray(v) for i, v in enumerate(more)}
            nodes = [helper.make_node(op, ["x", *weights], ["y"], domain=MS, **attrs)]
            try:
                got = infer(tmp, nodes, x, weights, domains=[MS], batch=3)
                want = ort.InferenceSession(str(tmp / "m.onnx"), options).run(None, {"x": x})[0]
            except Exception as e:
                if "onnxruntime" not in str(type(e)):
                    report.fail(name, str(e)[-300:])
                else:
                    print(f"left out {name}: onnxruntime: {str(e)[:90]}")
                continue
            report.check(name, rel(got, want), 2e-5)


def fused_gradients(report):
    """The weights of fused operators are trained as those of the operators they stand for."""
    F = torch.nn.functional
    compare(report, "FusedConv, gradients", [helper.make_node("FusedConv", ["x", "w", "b"], ["y"], domain=MS, activation="Relu")], X4,
            {"w": w(5, 4, 3, 3), "b": w(5)}, lambda x, w, b: F.relu(F.conv2d(x, w, b)), domains=[MS])
    compare(report, "SkipLayerNormalization, gradients",
            [helper.make_node("SkipLayerNormalization", ["x", "x", "g", "b"], ["y"], domain=MS, epsilon=1e-5)], X3, {"g": w(8), "b": w(8)},
            lambda x, g, b: F.layer_norm(2 * x, [8], g, b), domains=[MS])
    compare(report, "FusedMatMul, gradients", [helper.make_node("FusedMatMul", ["x", "w"], ["y"], domain=MS, transB=1, alpha=.5)], X3, {"w": w(6, 8)},
            lambda x, w: x @ w.T * .5, domains=[MS])
    compare(report, "shrink, gradients", [node("Shrink", "x", lambd=.4, bias=.1)], X3, {},
            lambda x: torch.where(x < -.4, x + .1, torch.where(x > .4, x - .1, torch.zeros_like(x))))
    compare(report, "mean variance, gradients", [node("MeanVarianceNormalization", "x", axes=[2, 3])], X4, {},
            lambda x: F.instance_norm(x, eps=0))


# --- losses and attention -------------------------------------------------------------------------------------------------


def losses(report):
    F = torch.nn.functional
    labels = RNG.integers(0, 4, (3, 6, 6))
    for reduction in ("none", "sum", "mean"):
        for weighted in (False, True):
            for ignored in (None, 2, -100):
                target = np.where(RNG.random(labels.shape) < .2, -100, labels) if ignored == -100 else labels
                attrs = {"reduction": reduction} | ({} if ignored is None else {"ignore_index": ignored})
                weights = {"t": target} | ({"w": abs(w(4)) + .1} if weighted else {})
                ins = "x t w" if weighted else "x t"

                def want(x, t, w=None):
                    return F.cross_entropy(x, t, weight=w.detach() if w is not None else None, reduction=reduction,
                                           ignore_index=-1000 if ignored is None else ignored)
                compare(report, f"softmax loss {attrs} {weighted}", [node("SoftmaxCrossEntropyLoss", ins, **attrs)], X4, weights, want, batch=3)

                def want(x, t, w=None):
                    return F.nll_loss(x, t, weight=w.detach() if w is not None else None, reduction=reduction,
                                      ignore_index=-1000 if ignored is None else ignored)
                compare(report, f"nll loss {attrs} {weighted}", [node("NegativeLogLikelihoodLoss", ins, **attrs)], X4, weights, want, batch=3)


def attention(report):
    F = torch.nn.functional
    x, scale = w(3, 2, 5, 8), w(8)
    compare(report, "attention", [node("Mul", "x s", "k"), node("Attention", "x k x")], x, {"s": scale},
            lambda x, s: F.scaled_dot_product_attention(x, x * s, x), opset=23)
    compare(report, "attention, causal", [node("Mul", "x s", "k"), node("Attention", "x k x", is_causal=1, scale=.3)], x, {"s": scale},
            lambda x, s: F.scaled_dot_product_attention(x, x * s, x, is_causal=True, scale=.3), opset=23)
    allowed = RNG.random((5, 5)) < .6
    allowed[:, 0], allowed[2] = True, False  # a query that may look at nothing gives 0

    def masked(x, s, m):
        y = F.scaled_dot_product_attention(x, x * s, x, attn_mask=m | ~m.any(-1, keepdim=True))
        return torch.where(m.any(-1, keepdim=True), y, torch.zeros_like(y))
    compare(report, "attention, a mask with an empty row", [node("Mul", "x s", "k"), node("Attention", "x k x m")], x, {"s": scale, "m": allowed}, masked,
            opset=23)
    three = w(3, 5, 16)
    heads = lambda v, h: v.reshape(3, 5, h, 4).transpose(1, 2)  # noqa: E731
    compare(report, "attention, shared keys", [node("MatMul", "x w", "k"), node("Attention", "x k k", q_num_heads=4, kv_num_heads=2)], three, {"w": w(16, 8)},
            lambda x, w: F.scaled_dot_product_attention(heads(x, 4), heads(x @ w, 2), heads(x @ w, 2), enable_gqa=True).transpose(1, 2).reshape(3, 5, 16),
            opset=23)
    angle = RNG.uniform(-3, 3, (10, 4)).astype(np.float32)

    def turned(x, c, s, p):
        a, b = x[..., :4], x[..., 4:]
        c, s = c[p][:, None].detach(), s[p][:, None].detach()
        return torch.cat([c * a - s * b, s * a + c * b], -1)
    compare(report, "rotary embedding", [node("RotaryEmbedding", "x c s p")], x,
            {"c": np.cos(angle), "s": np.sin(angle), "p": RNG.integers(0, 10, (1, 5))}, turned, constant="cs", opset=23)


# --- quantisation ---------------------------------------------------------------------------------------------------------


def trained_through(report):
    """What is quantised and taken back has the gradient of what was not cut off: PyTorch's fake quantisation."""
    x = (w(3, 4, 6) * 3).astype(np.float32)
    for dt, lo, hi in ((np.int8, -128, 127), (np.uint8, 0, 255)):
        zero = dt(3)
        nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "d"), node("Mul", "d k")]
        compare(report, f"fake quantisation, {dt.__name__}", nodes, x, {"s": np.float32(.02), "z": zero, "k": w(6)},
                lambda x, s, z, k, lo=lo, hi=hi: torch.fake_quantize_per_tensor_affine(x, .02, 3, lo, hi) * k, constant="s")
    scale = (abs(w(4)) * .01 + .005).astype(np.float32)
    nodes = [node("QuantizeLinear", "x s", "q", axis=1, output_dtype=T.INT8), node("DequantizeLinear", "q s", "d", axis=1), node("Mul", "d k")]
    compare(report, "fake quantisation, a scale for each channel", nodes, x, {"s": scale, "k": w(6)},
            lambda x, s, k: torch.fake_quantize_per_channel_affine(x, s.detach().float(), torch.zeros(4), 1, -128, 127) * k, constant="s")
    scale = (abs(w(5, 1, 1, 1)) * .004 + .002).astype(np.float32)
    nodes = [node("QuantizeLinear", "w s", "q", axis=0, output_dtype=T.INT8), node("DequantizeLinear", "q s", "d", axis=0), node("Conv", "x d")]
    compare(report, "a weight quantised for each channel", nodes, X4, {"w": w(5, 4, 3, 3), "s": scale.reshape(5)},
            lambda x, w, s: torch.nn.functional.conv2d(x, torch.fake_quantize_per_channel_affine(w, s.detach().float(), torch.zeros(5), 0, -128, 127)),
            constant="s")


def integers(report):
    """Sums of products of 8 bits are exact, however many there are."""
    for k in (3, 300, 5000, 20000, 40000):
        a, b = RNG.integers(0, 256, (3, k)).astype(np.uint8), RNG.integers(-128, 128, (k, 4)).astype(np.int8)
        a[0], b[:, 0] = 255, -128
        with temp_dir() as tmp:
            nodes = [node("MatMulInteger", "x b az bz", "i"), node("Cast", "i", "h", to=T.DOUBLE), node("Mod", "h m", "l", fmod=1), node("Cast", "l", to=T.FLOAT)]
            got = infer(tmp, nodes, a, {"b": b, "az": np.uint8(0), "bz": np.int8(127), "m": np.float64(2**20)})
        want = np.fmod((a.astype(np.int64) @ (b.astype(np.int64) - 127)).astype(np.int32).astype(np.float64), 2**20)
        report.check(f"matrices of 8 bits, {k} products", np.abs(got - want).max(), 0)
    for c, group in ((4, 2), (32, 1), (520, 1)):
        x, v = RNG.integers(0, 256, (3, c, 7, 6)).astype(np.uint8), RNG.integers(-128, 128, (6, c // group, 3, 3)).astype(np.int8)
        with temp_dir() as tmp:
            nodes = [node("ConvInteger", "x v z", "i", pads=[1, 0, 1, 1], strides=[2, 1], group=group), node("Cast", "i", to=T.FLOAT)]
            got = infer(tmp, nodes, x, {"v": v, "z": np.uint8(7)})
        padded = np.pad(x.astype(np.float64) - 7, ((0, 0), (0, 0), (1, 1), (0, 1)))
        want = torch.nn.functional.conv2d(torch.from_numpy(padded), torch.from_numpy(v.astype(np.float64)), stride=(2, 1), groups=group).numpy()
        report.check(f"convolution of 8 bits, {c} channels in {group} groups", np.abs(got - want.astype(np.float32)).max(), 0)


def quantised(report):
    """onnxruntime's quantised operators; where it rounds a tie otherwise they are off by one step."""
    ort, = need("onnxruntime")
    u8 = lambda *s: RNG.integers(0, 256, s).astype(np.uint8)  # noqa: E731
    f32, zero, x = np.float32, np.uint8(120), u8(3, 5, 6)
    cases = [("QLinearAdd", MS, x, [f32(.1), zero, u8(5, 6), f32(.2), np.uint8(3), f32(.3), zero]),
             ("QLinearMul", MS, x, [f32(.1), zero, u8(5, 6), f32(.2), np.uint8(3), f32(.9), zero]),
             ("QLinearSigmoid", MS, x, [f32(.05), zero, f32(1 / 256), np.uint8(0)]), ("QLinearLeakyRelu", MS, x, [f32(.05), zero, f32(.05), zero]),
             ("QLinearMatMul", "", x, [f32(.1), zero, u8(6, 4), f32(.2), np.uint8(9), f32(7), zero]),
             ("QLinearConv", "", u8(3, 4, 6, 6), [f32(.1), zero, u8(5, 4, 3, 3), np.full(5, .02, f32), np.full(5, 128, np.uint8), f32(3), zero,
                                                  RNG.integers(-900, 900, 5).astype(np.int32)]),
             ("QLinearGlobalAveragePool", MS, u8(3, 4, 6, 6), [f32(.1), zero, f32(.1), zero])]
    for op, domain, x, more in cases:
        with temp_dir() as tmp:
            weights = {f"w{i}": np.asarray(v) for i, v in enumerate(more)}
            attrs = {"alpha": .1} if op == "QLinearLeakyRelu" else {"channels_last": 0} if "Global" in op else {}
            nodes = [helper.make_node(op, ["x", *weights], ["q"], domain=domain, **attrs), node("Cast", "q", to=T.FLOAT)]
            got = infer(tmp, nodes, x, weights, domains=[MS])
            want = ort.InferenceSession(str(tmp / "m.onnx")).run(None, {"x": x})[0]
            report.check(f"{op}, share of other steps", np.mean(got != want), .1)
            report.check(f"{op}, steps", np.abs(got - want).max(), 1)


# --- random numbers -------------------------------------------------------------------------------------------------------


def draws(tmp, seed=0, threads=1, x=np.zeros((4, 50000), np.float32), name="x"):
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", tmp / "m.smkd", "--input", f"{name}={tmp / 'x.npy'}", "--seed", seed, "--threads", threads, "-o", tmp / "y.st")
    return read_safetensors(tmp / "y.st")["y"]


def compiled(tmp, nodes, x, weights):
    save(tmp / "m.onnx", nodes, x, weights)
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 64)


def random_numbers(report):
    """Their distributions; the same bits for a seed with any number of threads, other ones for another seed."""
    x = np.zeros((4, 50000), np.float32)
    with temp_dir() as tmp:
        compiled(tmp, [node("RandomNormalLike", "x", "r", mean=2.0, scale=3.0), node("Add", "x r")], x, {})
        y = draws(tmp, 7)
        report.check("normal numbers, mean", abs(y.mean() - 2), .03)
        report.check("normal numbers, deviation", abs(y.std() - 3), .03)
        report.check("normal numbers, share beyond two deviations", abs((np.abs(y - 2) > 6).mean() - .0455), .003)
        report.check("normal numbers, neighbours", abs(np.corrcoef(y[0, :-1], y[0, 1:])[0, 1]), .02)
        report.check("normal numbers of two threads", np.abs(y - draws(tmp, 7, 2)).max(), 0)
        report.check("normal numbers of another seed: equal ones", (y == draws(tmp, 8)).mean(), .001)
    with temp_dir() as tmp:
        compiled(tmp, [node("RandomUniformLike", "x", "r", low=-1.0, high=3.0, seed=5.0), node("Add", "x r")], x, {})
        y = draws(tmp, 7)
        report.check("uniform numbers: outside", int(y.min() < -1) + int(y.max() >= 3), 0)
        report.check("uniform numbers, mean", abs(y.mean() - 1), .02)
        report.check("uniform numbers, deviation", abs(y.std() - 4 / 12**.5), .02)
        report.check("an operator's own seed: other ones with another of the run", np.abs(y - draws(tmp, 8)).max(), 0)
    with temp_dir() as tmp:
        p = np.broadcast_to(np.array([0, .2, .7, 1], np.float32)[:, None], x.shape).copy()
        compiled(tmp, [node("Bernoulli", "x")], p, {})
        report.check("Bernoulli, chances", np.abs(draws(tmp, 3, x=p).mean(1) - p[:, 0]).max(), .01)
    with temp_dir() as tmp:
        chances = np.array([[.1, .2, .3, .4], [0, .5, .25, .25]])
        with np.errstate(divide="ignore"):
            logs = (np.log(chances) + 2).astype(np.float32)
        compiled(tmp, [node("Multinomial", "x", "i", sample_size=20000), node("Cast", "i", to=T.FLOAT)], logs, {})
        y = draws(tmp, 3, x=logs)
        report.check("Multinomial, chances", max(np.abs((y[i] == k).mean() - chances[i, k]) for i in range(2) for k in range(4)), .015)
    with temp_dir() as tmp:  # drop-connect whose chance is computed: an ordinary graph, no dropout
        compiled(tmp, [node("RandomUniformLike", "x", "r"), node("Sigmoid", "k", "p"), node("Add", "p r", "s"), node("Floor", "s", "m"), node("Add", "m x")], x,
                 {"k": np.full((1, 1), 1.0, np.float32)})
        report.check("floor(p + random) of a computed p, chance", abs(draws(tmp, 3).mean() - 1 / (1 + np.exp(-1))), .01)


def refusals(report):
    """One line each, that says what was expected."""
    ids = RNG.integers(0, 9, (3, 4)).astype(np.int64)
    for text, nodes, x, weights in [
            ("it quantises to i32; expected 8 or 16 bits", [node("QuantizeLinear", "x s z", "q"), node("Cast", "q", to=T.FLOAT)], X3,
             {"s": np.float32(1), "z": np.int32(0)}),
            ("one for each place of axis 1", [node("QuantizeLinear", "x s", "q"), node("Cast", "q", to=T.FLOAT)], X3, {"s": w(3)}),
            ("its input is i64; expected 8, 16 or 32 bits", [node("DequantizeLinear", "x s")], ids, {"s": np.float32(1)}),
            ("operand 1 is i32; expected 8 bits", [node("MatMulInteger", "x b", "i"), node("Cast", "i", to=T.FLOAT)], ids.astype(np.uint8), {"b": np.ones((4, 2), np.int32)}),
            ("does not divide into 3 heads", [node("Attention", "x x x", q_num_heads=3, kv_num_heads=3)], X3, {}),
            ("direction \"UP\"; LEFT and RIGHT are known", [node("BitShift", "x one", "i", direction="UP"), node("Cast", "i", to=T.FLOAT)],
             ids.astype(np.uint8), {"one": np.uint8(1)}),
            ("reduction \"most\"", [node("NegativeLogLikelihoodLoss", "x t", reduction="most")], w(3, 4), {"t": np.arange(3)}),
            ("needs one weight for each of 4 classes", [node("SoftmaxCrossEntropyLoss", "x t v")], w(3, 4), {"t": np.arange(3), "v": w(5)})]:
        with temp_dir() as tmp:
            save(tmp / "m.onnx", nodes, x, weights, opset=23, batch=3)
            p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", ok=False)
            report.check(f"refused: {text}", int(p.returncode != 1 or text not in p.stderr), 0)


def windows(report):
    for name in ("Hann", "Hamming", "Blackman"):
        for periodic in (0, 1):
            made = getattr(torch, f"{name.lower()}_window")
            if name == "Hamming":
                made = lambda n, periodic: torch.hamming_window(n, periodic, 25 / 46, 21 / 46)  # noqa: E731
            compare(report, f"{name} window, periodic {periodic}", [node(f"{name}Window", "size", "k", periodic=periodic), node("Mul", "x k")], X3,
                    {"size": np.int64(8)}, lambda x, size, made=made, p=periodic: x * made(8, periodic=bool(p)).double())


def main():
    need_tools(SMKDC, RUN)
    report = Report()
    for part in (elementwise, edges, fused, fused_gradients, losses, attention, trained_through, integers, quantised, random_numbers, refusals, windows):
        report.guard(part.__name__, part, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
