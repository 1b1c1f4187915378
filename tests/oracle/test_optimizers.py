"""Fifty steps of every optimizer on given gradients, beside torch.optim in float64; LAMB (as timm has it, without its clipping) and Lion
(as its paper has it) beside a few lines of numpy. With decay, groups, biases and normalisations apart, frozen parameters; convolution,
normalisation's scale and shift, linear, scalar.
"""
import numpy as np

from common import BUILD, Report, SMKDC, need, need_tools, read_safetensors, run, temp_dir, write_safetensors

torch, onnx = need("torch", "onnx")
from onnx import TensorProto, helper, numpy_helper

TOOL = BUILD / "tests" / "oracle_optimizer"
STEPS, LIMIT = 50, 1e-5


def make_model(path):
    rng = np.random.default_rng(0)
    w = {"conv.weight": (13, 3, 3, 3), "conv.bias": (13,), "bn.weight": (13,), "bn.bias": (13,), "ln.weight": (13,), "ln.bias": (13,),
         "scale": (), "fc.weight": (5, 13), "fc.bias": (5,)}
    w = {k: (rng.standard_normal(s) * 0.02 + (0.05 if not s or "weight" in k and len(s) == 1 else 0)).astype(np.float32)
         for k, s in w.items()}
    buffers = {"bn.mean": np.zeros(13, np.float32), "bn.var": np.ones(13, np.float32)}
    n = [helper.make_node("Conv", ["x", "conv.weight", "conv.bias"], ["a"], pads=[1, 1, 1, 1]),
         helper.make_node("BatchNormalization", ["a", "bn.weight", "bn.bias", "bn.mean", "bn.var"], ["b"]),
         helper.make_node("Mul", ["b", "scale"], ["c"]),
         helper.make_node("GlobalAveragePool", ["c"], ["d"]),
         helper.make_node("Flatten", ["d"], ["e"]),
         helper.make_node("LayerNormalization", ["e", "ln.weight", "ln.bias"], ["f"]),
         helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], transB=1)]
    g = helper.make_graph(n, "m", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
                          [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 5])],
                          [numpy_helper.from_array(v, k) for k, v in {**w, **buffers}.items()])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)])
    m.ir_version = 8
    onnx.save(m, path)
    return w


class Numpy:
    """An optimizer of a list of groups {params, lr, weight_decay}, one parameter each, as torch.optim's."""

    def __init__(self, groups):
        self.param_groups, self.t = groups, 0
        for g in groups:
            g["m"], g["v"] = np.zeros_like(g["params"][0].detach().numpy()), np.zeros_like(g["params"][0].detach().numpy())

    def step(self):
        self.t += 1
        for g in self.param_groups:
            p, d = g["params"][0].detach().numpy(), g["params"][0].grad.numpy()
            p -= self.update(g, p, d)


class Lion(Numpy):
    def update(self, g, p, d, b1=0.9, b2=0.99):
        c = b1 * g["m"] + (1 - b1) * d
        g["m"] = b2 * g["m"] + (1 - b2) * d
        return g["lr"] * (np.sign(c) + g["weight_decay"] * p)


class Lamb(Numpy):
    def update(self, g, p, d, b1=0.9, b2=0.999, eps=1e-6):
        g["m"] = b1 * g["m"] + (1 - b1) * d
        g["v"] = b2 * g["v"] + (1 - b2) * d * d
        u = g["m"] / (1 - b1**self.t) / (np.sqrt(g["v"]) / np.sqrt(1 - b2**self.t) + eps) + g["weight_decay"] * p
        w, n = np.linalg.norm(p), np.linalg.norm(u)
        return g["lr"] * u * (w / n if g["weight_decay"] > 0 and w > 0 and n > 0 else 1)


O = torch.optim
# Rates at which fifty steps go further than float32 rounds the parameters.
CASES = {  # name: (reference, its arguments, our flags, rate, decay)
    "sgd": (O.SGD, {"momentum": 0.9}, {}, 0.1, 5e-4),
    "sgd_nesterov": (O.SGD, {"momentum": 0.8, "nesterov": True}, {"momentum": 0.8}, 0.1, 5e-4),
    "adam": (O.Adam, {}, {}, 1e-2, 0),
    "adamw": (O.AdamW, {"betas": (0.8, 0.99), "eps": 1e-6}, {"beta1": 0.8, "beta2": 0.99, "opt-eps": 1e-6}, 1e-2, 1e-2),
    "rmsprop": (O.RMSprop, {"momentum": 0.9, "alpha": 0.9, "eps": 0.0316}, {"momentum": 0.9, "alpha": 0.9, "opt-eps": 0.0316}, 1e-2, 0),
    "adagrad": (O.Adagrad, {}, {}, 1e-2, 0),
    "lamb": (Lamb, {}, {}, 1e-2, 1e-2),
    "lion": (Lion, {}, {}, 1e-3, 0),
}
NORMS = ("bn.weight", "bn.bias", "ln.weight", "ln.bias")


def rule(name, lr, decay, groups):
    """Rate and decay of a parameter; None: frozen. What the flags of GROUPS say."""
    if not groups:
        return lr, decay
    if name == "conv.weight":
        return None
    wd = 0.03 if name.endswith(".bias") else 0.0 if name in NORMS else 0.02
    return (lr * 3, 0.05) if name.startswith("fc.") else (lr, wd)


GROUPS = {"weight-decay": 0.02, "norm-weight-decay": 0, "bias-weight-decay": 0.03, "freeze": "conv.*;!conv.bias"}


def case(report, name, groups, model, weights, grads, tmp):
    make, args, flags, lr, decay = CASES[name]
    flags = {"opt": name, "lr": lr, "weight-decay": decay, **flags}
    if groups:
        flags = {**flags, **GROUPS, "param-group": f"fc.*:lr={lr * 3!r},wd=0.05;fc.bias:wd=1"}
    run(TOOL, model, tmp / f"{name}.smkd", tmp / "grads", STEPS, tmp / "out", *[x for k, v in flags.items() for x in (f"--{k}", v)])
    got = read_safetensors(tmp / "out")
    p = {k: torch.nn.Parameter(torch.tensor(v, dtype=torch.float64)) for k, v in weights.items()}
    rules = {k: rule(k, lr, decay, groups) for k in p}
    opt = make([{"params": [p[k]], "lr": r[0], "weight_decay": r[1]} for k, r in rules.items() if r], **args)
    base = [g["lr"] for g in opt.param_groups]
    for t in range(1, STEPS + 1):
        for g, b in zip(opt.param_groups, base):
            g["lr"] = b * 0.98**(t - 1)
        for k in p:
            p[k].grad = torch.tensor(grads[f"{t}/{k}"], dtype=torch.float64)
        opt.step()
    for k in p:
        want, start = p[k].detach().numpy(), weights[k].astype(np.float64)
        what = f"{name}{' with groups' if groups else ''}: {k}"
        if rules[k] is None:
            report.check(what + " stays", float(not np.array_equal(got[k], weights[k])), 0)
        else:
            report.check(what, np.abs(got[k] - want).max() / np.abs(want - start).max(), LIMIT)


def main():
    need_tools(SMKDC, TOOL)
    report = Report()
    with temp_dir() as tmp:
        weights = make_model(tmp / "m.onnx")
        run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", *[x for k in weights for x in ("--train-only", k)])
        rng = np.random.default_rng(1)
        grads = {f"{t}/{k}": (rng.standard_normal(v.shape) * 0.1 + 0.02).astype(np.float32)
                 for t in range(1, STEPS + 1) for k, v in weights.items()}
        write_safetensors(tmp / "grads", grads)
        for name in CASES:
            run(SMKDC, "optimizer", name, "-o", tmp / f"{name}.smkd")
            for groups in (False, True):
                report.guard(name, case, report, name, groups, tmp / "m.smkd", weights, grads, tmp)
        run(TOOL, tmp / "m.smkd", "-", tmp / "grads", STEPS, tmp / "entry")
        run(TOOL, tmp / "m.smkd", tmp / "sgd.smkd", tmp / "grads", STEPS, tmp / "program")
        a, b = read_safetensors(tmp / "entry"), read_safetensors(tmp / "program")
        report.check("sgd: the bits of the UPDATE entry", float(any(not np.array_equal(a[k], b[k]) for k in a)), 0)
    report.end()


main()
