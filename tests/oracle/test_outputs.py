"""What outputs are: heads trained on their logits, batches that may not be cut, and check and compile that agree about it all."""
import struct
import sys

import numpy as np

from common import FULL, RUN, SMKDC, Report, need, need_tools, read_safetensors, rel, run, temp_dir

need("onnx", "onnxruntime", "torch")
import onnx
import onnxruntime
import torch
from onnx import TensorProto as T
from onnx import helper, numpy_helper

import test_import

RNG = np.random.default_rng(11)
NODE = helper.make_node
AXIS0, AXIS1 = np.array([0], np.int64), np.array([1], np.int64)


def save(path, nodes, weights, x, outputs):
    g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", T.FLOAT, x)],
                          [helper.make_tensor_value_info(k, t, s) for k, (t, s) in outputs.items()],
                          [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()])
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


def reference(path, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


# --- batches: name: (nodes, weights, samples meet at this node or None)

W4 = RNG.standard_normal((4, 4)).astype(np.float32)
BATCHES = {
    "softmax over the batch": ([NODE("Softmax", ["x"], ["y"], name="m", axis=0)], {}, "m"),
    "logsoftmax over the batch": ([NODE("LogSoftmax", ["x"], ["y"], name="m", axis=0)], {}, "m"),
    "mean of everything": ([NODE("ReduceMean", ["x"], ["y"], name="m", keepdims=0)], {}, "m"),
    "norm of everything": ([NODE("ReduceL2", ["x"], ["y"], name="m", keepdims=1)], {}, "m"),
    "centred": ([NODE("ReduceMean", ["x"], ["a"], name="m", axes=[0]), NODE("Sub", ["x", "a"], ["y"])], {}, "m"),
    "by the largest": ([NODE("ReduceMax", ["x"], ["a"], name="m", axes=[0]), NODE("Div", ["x", "a"], ["y"])], {}, "m"),
    "argmax of the batch": ([NODE("ArgMax", ["x"], ["a"], name="m", axis=0), NODE("Cast", ["a"], ["y"], to=T.FLOAT)], {}, "m"),
    "covariance": ([NODE("Transpose", ["x"], ["t"], perm=[1, 0]), NODE("MatMul", ["t", "x"], ["y"], name="m")], {}, "m"),
    "gram": ([NODE("Gemm", ["x", "x"], ["y"], name="m", transA=1)], {}, "m"),
    "twice": ([NODE("Concat", ["x", "x"], ["y"], name="m", axis=0)], {}, "m"),
    "by the batch's size": ([NODE("Shape", ["x"], ["s"]), NODE("Gather", ["s", "zero"], ["n"]),
                             NODE("Cast", ["n"], ["f"], to=T.FLOAT), NODE("Mul", ["x", "f"], ["y"], name="m")],
                            dict(zero=np.int64(0)), "m"),
    "sums along": ([NODE("CumSum", ["x", "zero"], ["y"], name="m")], dict(zero=np.int64(0)), "m"),
    "backwards": ([NODE("Slice", ["x", "from", "to", "axis", "step"], ["y"], name="m")],
                  {"from": np.array([-1]), "to": np.array([-2**31]), "axis": AXIS0, "step": np.array([-1])}, "m"),
    "softmax": ([NODE("Softmax", ["x"], ["y"], axis=1)], {}, None),
    "centred within": ([NODE("ReduceMean", ["x"], ["a"], axes=[1]), NODE("Sub", ["x", "a"], ["y"])], {}, None),
    "product": ([NODE("MatMul", ["x", "w"], ["y"])], dict(w=W4), None),
    "pairs": ([NODE("Reshape", ["x", "two"], ["a"]), NODE("Transpose", ["a"], ["t"], perm=[0, 2, 1]),
               NODE("MatMul", ["a", "t"], ["y"])], dict(two=np.array([-1, 2, 2])), None),
    "more rows": ([NODE("Reshape", ["x", "two"], ["a"]), NODE("Softmax", ["a"], ["y"], axis=1)], dict(two=np.array([-1, 2])), None),
    "a weight's mean": ([NODE("ReduceMean", ["w"], ["a"], axes=[0]), NODE("Sub", ["x", "a"], ["y"])], dict(w=W4), None),
    "largest of each": ([NODE("ReduceMax", ["x"], ["y"], axes=[1])], {}, None),
}


def batches(report, name, nodes, weights, node, tmp):
    x = RNG.standard_normal((20, 4)).astype(np.float32)
    np.save(tmp / "x.npy", x)
    save(tmp / "m.onnx", nodes, weights, ["N", 4], {"y": (T.FLOAT, None)})
    want = reference(tmp / "m.onnx", x)
    for limit in (64, 8):
        p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", limit, ok=False)
        if p.returncode:
            assert node, p.stderr
            assert f'node "{node}"' in p.stderr and p.stderr.count("error:") == 1, p.stderr
            report.check(f"{name}: refused by name", 0, 0)
            return
        assert (f'warning: {tmp / "m.onnx"}: node "{node}"' in p.stderr) == bool(node), p.stderr
        for size in (None, 7, 20):
            p = run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "y.safetensors",
                    *(["--batch-size", size] if size else []), ok=False)
            what = f"{name}, at most {limit}, {size or 'all'} at once"
            if p.returncode:
                small = size and size > limit
                assert small or (node and f'node "{node}"' in p.stderr and (size == 7 or limit == 8)), p.stderr
                report.check(f"{what}: refused", 0, 0)
            else:
                report.check(what, rel(read_safetensors(tmp / "y.safetensors")["y"], want), 1e-5)


# --- heads

W = (RNG.standard_normal((64, 3)) * .3).astype(np.float32)
FC = [NODE("Flatten", ["x"], ["f"]), NODE("MatMul", ["f", "w"], ["z"])]
HEADS = {
    "plain": [NODE("Identity", ["z"], ["y"])],
    "softmax": [NODE("Softmax", ["z"], ["y"], axis=1)],
    "softmax, identity": [NODE("Softmax", ["z"], ["p"], axis=-1), NODE("Identity", ["p"], ["y"])],
    "logsoftmax": [NODE("LogSoftmax", ["z"], ["y"], axis=1)],
    "sigmoid": [NODE("Sigmoid", ["z"], ["y"])],
    "log of softmax": [NODE("Softmax", ["z"], ["p"], axis=1), NODE("Log", ["p"], ["y"])],
    "written out": [NODE("Exp", ["z"], ["e"]), NODE("ReduceSum", ["e", "one"], ["s"]), NODE("Div", ["e", "s"], ["y"])],
    "written out, shifted": [NODE("ReduceMax", ["z"], ["m"], axes=[1]), NODE("Sub", ["z", "m"], ["d"]), NODE("Exp", ["d"], ["e"]),
                             NODE("ReduceSum", ["e", "one"], ["s"]), NODE("Div", ["e", "s"], ["y"])],
    "less log-sum-exp": [NODE("ReduceLogSumExp", ["z"], ["l"], axes=[1]), NODE("Sub", ["z", "l"], ["y"])],
    "as maps": [NODE("Reshape", ["z", "maps"], ["r"]), NODE("Softmax", ["r"], ["p"], axis=1), NODE("Flatten", ["p"], ["y"])],
}


def head(path, name, scale=1.0):
    nodes = [*FC, *HEADS[name]]
    used = {i for n in nodes for i in n.input}
    weights = {k: v for k, v in dict(w=W * np.float32(scale), one=AXIS1, maps=np.array([0, 3, 1, 1])).items() if k in used}
    save(path, nodes, weights, ["N", 1, 8, 8], {"y": (T.FLOAT, ["N", 3])})


def idx(path, a):
    path.write_bytes(bytes([0, 0, 8, a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.astype(np.uint8).tobytes())


def digits(folder, n=96):
    folder.mkdir()
    images, labels = RNG.integers(0, 256, (n, 8, 8)), RNG.integers(0, 3, n)
    labels[:3] = 0, 1, 2
    for split in ("train", "t10k"):
        idx(folder / f"{split}-images-idx3-ubyte", images)
        idx(folder / f"{split}-labels-idx1-ubyte", labels)
    return images.astype(np.float64) / 255, labels


def trained(tmp, name, data, *flags):
    run(SMKDC, "compile", tmp / f"{name}.onnx", "-o", tmp / f"{name}.smkd")
    p = run(RUN, "train", "--peer", tmp / f"{name}.smkd", "--peer", tmp / f"{name}.smkd", "--data", data, "-o", tmp / f"run {name}",
            "--loss", "ce", "--epochs", 1, "--batch-size", 96, "--mean", 0, "--std", 1, "--momentum", 0, "--weight-decay", 0, *flags)
    return read_safetensors(tmp / f"run {name}" / "last.safetensors")["peer.0.w"], p.stderr


def heads(report, tmp):
    """One step of every head changes the weights as it does without one, to the bit, and as PyTorch's on the logits."""
    images, labels = digits(tmp / "data")
    w = torch.tensor(W, dtype=torch.float64, requires_grad=True)
    x = torch.tensor(images.reshape(len(images), 64))
    torch.nn.functional.cross_entropy(x @ w, torch.tensor(labels)).backward()
    want, plain = (w - .5 * w.grad).detach().numpy(), None
    for name in HEADS:
        head(tmp / f"{name}.onnx", name)
        got, said = trained(tmp, name, tmp / "data", "--lr", .5)
        plain = got if plain is None else plain
        report.check(f"{name}: a step against PyTorch", rel(got - W, want - W), 1e-5)
        report.check(f"{name}: a step as without a head", float(not np.array_equal(got, plain)), 0)
        op = {"plain": None, "sigmoid": "Sigmoid"}.get(name, "LogSoftmax" if "log" in name else "Softmax")
        report.check(f"{name}: said", float((f'is a {op}' in said) != bool(op)), 0)
        # Evaluation looks at the same logits; the file keeps its head.
        accuracy = run(RUN, "eval", tmp / f"run {name}", "--json").stdout
        first = accuracy if name == "plain" else first
        numbers = [[l for l in t.splitlines() if "nll" in l or "top1" in l] for t in (accuracy, first)]
        report.check(f"{name}: evaluated as without a head", float(numbers[0] != numbers[1]), 0)
        run(RUN, "export", tmp / f"run {name}", "-o", tmp / "e.onnx")
        ops = [n.op_type for n in onnx.load(str(tmp / "e.onnx")).graph.node]
        report.check(f"{name}: exported with its head", float(ops != [n.op_type for n in FC + HEADS[name]]), 0)
        np.save(tmp / "x.npy", images[:, None].astype(np.float32))
        run(SMKDC, "compile", tmp / "e.onnx", "-o", tmp / "e.smkd")
        run(RUN, "infer", tmp / "e.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "y.safetensors")
        y = read_safetensors(tmp / "y.safetensors")
        report.check(f"{name}: inference of the export", rel(y["y"], reference(tmp / "e.onnx", np.load(tmp / "x.npy"))), 1e-5)
        report.check(f"{name}: the file's outputs alone", float(set(y) != {"y"}), 0)


def steep(report, tmp):
    """Probabilities that underflow, exponents that overflow: the gradient of the logits stays what it is."""
    digits(tmp / "data")
    plain = None
    for name in HEADS:
        head(tmp / f"{name}.onnx", name, 300)
        got, _ = trained(tmp, name, tmp / "data", "--lr", .5)
        plain = got if plain is None else plain
        report.check(f"{name}: a step from steep logits", float(not (np.isfinite(got).all() and np.array_equal(got, plain))), 0)


def chosen(report, tmp):
    """Features and logits: train asks; --logits in either place trains the same."""
    digits(tmp / "data")
    v = (RNG.standard_normal((64, 8)) * .3).astype(np.float32)
    save(tmp / "m.onnx", [NODE("Flatten", ["x"], ["f"]), NODE("MatMul", ["f", "v"], ["features"]), NODE("Relu", ["features"], ["r"]),
                          NODE("MatMul", ["r", "w"], ["z"]), NODE("Softmax", ["z"], ["y"])],
         dict(v=v, w=W[:8]), ["N", 1, 8, 8], {"features": (T.FLOAT, ["N", 8]), "y": (T.FLOAT, ["N", 3])})
    made = {}
    for what, compiling, training in (("train", [], ["--logits", "y"]), ("by its inner name", [], ["--logits", "z"]),
                                      ("compile", ["--logits", "y"], []), ("compile, inside", ["--logits", "z"], [])):
        run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", *compiling)
        run(RUN, "train", "--peer", tmp / "m.smkd", "--peer", tmp / "m.smkd", "--data", tmp / "data", "-o", tmp / "run", "--overwrite",
            "--loss", "ce", "--epochs", 1, *training)
        made[what] = read_safetensors(tmp / "run" / "last.safetensors")
        moved = not np.array_equal(made[what]["peer.0.w"], W[:8]) and not np.array_equal(made[what]["peer.0.v"], v)
        same = all(np.array_equal(made[what][k], made["train"][k]) for k in ("peer.0.w", "peer.0.v"))
        report.check(f"--logits of {what}", float(not (moved and same)), 0)
        run(RUN, "eval", tmp / "run")
        run(RUN, "train", "-o", tmp / "run", "--resume")
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd")
    for flags, want in (([], '"features" [N,8], "y" [N,3]; say which'), (["--logits", "q"], "--logits q: ")):
        p = run(RUN, "train", "--peer", tmp / "m.smkd", "--peer", tmp / "m.smkd", "--data", tmp / "data", "-o", tmp / "new", *flags, ok=False)
        report.check(f"train {' '.join(flags)} asks", float(p.returncode != 1 or want not in p.stderr or (tmp / "new").exists()), 0)


# --- check and compile

def agree(report, name, model, tmp):
    onnx.save(model, str(tmp / "m.onnx"))
    check = run(SMKDC, "check", tmp / "m.onnx", ok=False)
    compile = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", ok=False)
    ok = check.returncode == compile.returncode in (0, 1) and check.stderr == compile.stderr
    if ok and compile.returncode == 0:
        ok = run(SMKDC, "inspect", tmp / "m.smkd", ok=False).returncode == 0
    if not ok:
        report.fail(f"agree about {name}", f"{check.returncode} {check.stderr!r} and {compile.returncode} {compile.stderr!r}")
    return ok


def agreement(report, tmp):
    """Every operator of the importer's tests, and of onnx's own (every 13th of those in a plain run), taken and refused."""
    from onnx.backend.test.case.node import collect_testcases
    models = [(c[0], test_import.model(c)) for c in test_import.CASES]
    with np.errstate(all="ignore"):
        node = [(t.name, t.model) for t in collect_testcases(None) if t.model is not None]
    models += node if FULL else node[::13]
    good = sum(agree(report, name, m, tmp) for name, m in models)
    report.check(f"check and compile agree about {good} of {len(models)} models", len(models) - good, 0)


def main():
    need_tools()
    report = Report()
    for name, (nodes, weights, node) in BATCHES.items():
        report.guard_in_folder(name, batches, report, name, nodes, weights, node)
    for f in (heads, steep, chosen, agreement):
        report.guard_in_folder(f.__name__, f, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
