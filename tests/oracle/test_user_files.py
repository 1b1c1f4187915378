"""Files of users' own, written by the libraries they come from: labels by numpy, weights by safetensors, channels-last models, and
BatchNorm over the batch alone where a batch is one image."""
import json

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, read_safetensors, rel, run, temp_dir

need_tools()
onnx, = need("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

rng = np.random.default_rng(0)


def idx(path, a):
    a = np.asarray(a, np.uint8)
    path.write_bytes(bytes([0, 0, 8, a.ndim]) + b"".join(int(d).to_bytes(4, "big") for d in a.shape) + a.tobytes())


def digits(folder, train, test=32):
    folder.mkdir()
    for part, n in (("train", train), ("t10k", test)):
        idx(folder / f"{part}-images-idx3-ubyte", rng.integers(0, 256, (n, 8, 8)))
        idx(folder / f"{part}-labels-idx1-ubyte", np.arange(n) % 10)
    return folder


def model(path, nodes, weights, shape):
    g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                          [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
                          [numpy_helper.from_array(v, k) for k, v in weights.items()])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)])
    m.ir_version = 8
    onnx.save(m, str(path))
    out = path.with_suffix(".smkd")
    run(SMKDC, "compile", path, "-o", out)
    return out


def small(*shape):
    return (rng.standard_normal(shape) * .1).astype(np.float32)


def linear(tmp, name="linear"):
    return model(tmp / f"{name}.onnx", [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w", "b"], ["logits"], transB=1)],
                 {"w": small(10, 64), "b": small(10)}, ["N", 1, 8, 8])


def train(artifact, data, out, *flags, ok=True, loss="ce"):
    return run(RUN, "train", "--peer", artifact, "--peer", artifact, "--data", data, "-o", out, "--overwrite", "--loss", loss, "--epochs", 1,
               "--quiet", *flags, ok=ok)


def refused(report, what, process, *words):
    text = process.stdout + process.stderr
    lines = [line for line in text.splitlines() if not line.startswith("note: ")]
    good = process.returncode == 1 and len(lines) == 1 and all(w in text for w in words)
    if not good:
        print(f"     exit {process.returncode}: {text.strip()}")
    report.check(f"{what} is refused in one line", float(not good), 0)


# --- labels -----------------------------------------------------------------------------------------------------------

def labels(report, tmp):
    artifact, data, y = linear(tmp), digits(tmp / "data", 64), rng.integers(0, 10, 64)
    path = tmp / "l.npy"

    def attempt(what, want=y):
        p = train(artifact, data, tmp / "run", "--labels", path, "--save-labels", tmp / "s.npy", ok=False)
        same = p.returncode == 0 and np.array_equal(np.load(tmp / "s.npy"), want)
        if not same:
            print(f"     {p.stderr.strip()}")
        report.check(f"labels as {what}", float(not same), 0)

    for kind in "|i1 <i2 <i4 <i8 |u1 <u2 <u4 <u8 <f2 <f4 <f8".split():
        for order in ("<", ">") if kind[0] == "<" else ("|",):
            np.save(path, y.astype(order + kind[1:]))
            attempt(order + kind[1:])
    np.save(path, y > 4)
    attempt("bool", (y > 4).astype(int))
    for what, a in (("a row", y[None]), ("a column", y[:, None]), ("Fortran order", np.asfortranarray(y[None, :, None]))):
        np.save(path, a)
        attempt(what)
    for version in ((1, 0), (2, 0), (3, 0)):
        with open(path, "wb") as f:
            np.lib.format.write_array(f, y, version=version)
        attempt(f".npy version {version[0]}")
    path = tmp / "l.txt"
    np.savetxt(path, y)
    attempt("numpy.savetxt writes them")
    np.savetxt(path, y, fmt="%d", header="label", delimiter=",", newline="\r\n")
    attempt("numpy.savetxt with a header")
    path.write_text("\ufeff" + "\n".join(f"{v}\t" for v in y), encoding="utf-8")
    attempt("text with a byte-order mark and tabs")

    def bad(what, *words):
        refused(report, what, train(artifact, data, tmp / "run", "--labels", path, ok=False), path.name, *words)

    path = tmp / "l.npy"
    for what, a, words in (("one-hot rows", np.eye(10)[y], ["[64,10]", "argmax"]), ("NaN", np.where(y == y[7], np.nan, y), ["is nan"]),
                           ("2.5", np.where(np.arange(64) == 17, 2.5, y), ["label 17 is 2.5"]),
                           ("1e300", np.where(np.arange(64) == 17, 1e300, y), ["label 17 is 1e+300"]),
                           ("-1", np.where(np.arange(64) == 17, -1, y), ["label 17 is -1, expected 0 to 9"]),
                           ("text elements", y.astype(str), ["astype(numpy.int64)"]),
                           ("fields", np.array([(v, 0) for v in y], [("label", "i8"), ("x", "f4")]), ["x['label']"])):
        np.save(path, a)
        bad(what, *words)
    # The line that is offered does what it says.
    np.save(path, {"clean_label": y, "worse_label": y[::-1].copy()})
    bad("CIFAR-N's dict", "pickled", "d['worse_label']")
    try_advice(report, "a dict", train(artifact, data, tmp / "run", "--labels", path, ok=False), tmp, y[::-1])
    np.savez(tmp / "l.npz", y=y)
    path = tmp / "l.npz"
    bad("an .npz", "an .npz archive", "print(*d)")


def try_advice(report, what, process, tmp, want):
    import subprocess
    import sys
    code = process.stderr.split('python3 -c "')[1].split('"')[0]
    subprocess.run([sys.executable, "-c", code], cwd=tmp, check=True)
    report.check(f"the line offered for {what} makes its labels", float(not np.array_equal(np.load(tmp / "plain.npy"), want)), 0)


def torch_labels(report, tmp):
    try:
        import torch
    except Exception as e:  # one part of this test only
        print(f"     without torch: {type(e).__name__}")
        return
    artifact, data, y = linear(tmp), digits(tmp / "data", 64), rng.integers(0, 10, 64)
    for zipped in (True, False):
        torch.save({"clean_label": y, "worse_label": y}, tmp / "CIFAR-10_human.pt", _use_new_zipfile_serialization=zipped)
        p = train(artifact, data, tmp / "run", "--labels", tmp / "CIFAR-10_human.pt", ok=False)
        refused(report, "CIFAR-N's .pt", p, "CIFAR-10_human.pt: is a PyTorch file", "d['worse_label']")
        try_advice(report, "a PyTorch file", p, tmp, y)


# --- weights ----------------------------------------------------------------------------------------------------------

def weights(report, tmp):
    """One network's weights as safetensors writes them, in every float type and behind PyTorch's prefixes."""
    try:
        import torch
        from safetensors.torch import save_file
    except Exception as e:  # one part of this test only
        print(f"     without torch or safetensors: {type(e).__name__}")
        return
    artifact, file = linear(tmp), tmp / "w.safetensors"
    x = small(3, 1, 8, 8)
    np.save(tmp / "x.npy", x)
    state = {"w": torch.tensor(small(10, 64)), "b": torch.tensor(small(10))}

    def infer(*flags, ok=True):
        return run(RUN, "infer", artifact, "--weights", file, "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "o.st", *flags, ok=ok)

    for kind in (torch.float32, torch.float64, torch.float16, torch.bfloat16):
        for prefix in ("", "module.", "model.", "_orig_mod.module."):
            typed = {prefix + k: v.to(kind) for k, v in state.items()}
            typed[prefix + "steps"] = torch.tensor(7)
            save_file(typed, file)
            infer(*(["--weights-prefix", prefix] if prefix else []))
            want = torch.nn.functional.linear(torch.tensor(x).flatten(1).double(), typed[prefix + "w"].double(), typed[prefix + "b"].double())
            report.check(f"weights of {kind} behind \"{prefix}\"", rel(read_safetensors(tmp / "o.st")["logits"], want.numpy()), 1e-6)
            if prefix:
                offer = f"--weights-prefix {prefix} would match"
                refused(report, f"names behind \"{prefix}\"", infer(ok=False), "2 of 2 are missing", offer)
                refused(report, "a wrong prefix", infer("--weights-prefix", "net.", ok=False), 'has no tensor "net.', offer)
    data = digits(tmp / "data", 20)
    save_file({"module." + k: v.half() for k, v in state.items()}, file)
    evaluate = lambda *flags, ok=True: run(RUN, "eval", artifact, "--data", data, "--weights", file, *flags, ok=ok)
    evaluate("--weights-prefix", "module.")
    refused(report, "eval: names behind a prefix", evaluate(ok=False), "--weights-prefix module. would match")
    state["w"] = state["w"].double()
    state["w"][2, 5] = 1e39
    save_file(state, file)
    refused(report, "a number beyond float32", infer(ok=False), 'tensor "w": element 133 is 1e+39, which float32 does not hold')
    state["w"] = state["w"].T.contiguous()
    save_file(state, file)
    refused(report, "a transposed matrix", infer(ok=False), "[64,10] where the model has [10,64], its transpose")
    torch.save(state, file)
    refused(report, "a PyTorch file", infer(ok=False), "not a safetensors file but a PyTorch file", "save_file(model.state_dict()")


# --- channels-last ----------------------------------------------------------------------------------------------------

def channels_last(report, tmp):
    tail = [helper.make_node("Conv", ["t", "c"], ["a"]), helper.make_node("Relu", ["a"], ["r"]), helper.make_node("Flatten", ["r"], ["f"]),
            helper.make_node("Gemm", ["f", "w"], ["logits"], transB=1)]
    weights, data = {"c": small(4, 1, 3, 3), "w": small(10, 144)}, digits(tmp / "data", 96)
    first = model(tmp / "nchw.onnx", [helper.make_node("Identity", ["x"], ["t"]), *tail], weights, ["N", 1, 8, 8])
    last = model(tmp / "nhwc.onnx", [helper.make_node("Transpose", ["x"], ["t"], perm=[0, 3, 1, 2]), *tail], weights, ["N", 8, 8, 1])
    for artifact in (first, last):
        train(artifact, data, tmp / artifact.stem, "--augment", "crop-flip", "--batch-size", 32)
    a, b = (read_safetensors(tmp / k / "last.safetensors") for k in ("nchw", "nhwc"))
    for name in ("peer.0.c", "peer.1.w"):
        report.check(f"channels-last: {name} after an epoch", rel(b[name], a[name]), 1e-5)
    report.check("channels-last: it was trained", float(np.array_equal(b["peer.0.c"], weights["c"])), 0)
    metrics = [json.loads((tmp / k / "metrics.jsonl").read_text())["ensemble"]["test_top1"] for k in ("nchw", "nhwc")]
    report.check("channels-last: test accuracy", abs(metrics[0] - metrics[1]), 0)
    evals = [json.loads(run(RUN, "eval", tmp / k, "--json").stdout)["ensemble"]["nll"] for k in ("nchw", "nhwc")]
    report.check("channels-last: eval", abs(evals[0] - evals[1]), 1e-5)
    flat = model(tmp / "flat.onnx", [helper.make_node("Gemm", ["x", "w"], ["logits"], transB=1)], {"w": small(10, 64)}, ["N", 64])
    refused(report, "a model of rows", train(flat, data, tmp / "none", ok=False), "data", "holds images, and the model takes rows of 64 numbers")
    p = run(RUN, "train", "--peer", first, "--peer", last, "--data", data, "-o", tmp / "both", "--loss", "ce", ok=False)
    refused(report, "a pair of both orders", p, "nhwc.smkd takes images channels-last", "nchw.smkd channels-first")


# --- BatchNorm over the batch alone -----------------------------------------------------------------------------------

def batch_of_one(report, tmp):
    for rank in (2, 4):
        w = {"w0": small(16, 64) * 10, "g": np.ones(16, np.float32), "b": np.zeros(16, np.float32), "m": np.full(16, .5, np.float32),
             "v": np.full(16, 4, np.float32), "w1": small(10, 16), "to": np.array([-1, 16, 1, 1]), "back": np.array([-1, 16])}
        norm = helper.make_node("BatchNormalization", ["h", "g", "b", "m", "v"], ["n", "m1", "v1"], "bn1", training_mode=1)
        nodes = [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("Gemm", ["f", "w0"], ["h0"], transB=1),
                 helper.make_node("Reshape", ["h0", "to"], ["h"]) if rank == 4 else helper.make_node("Identity", ["h0"], ["h"]), norm,
                 helper.make_node("Reshape", ["n", "back"], ["r"]), helper.make_node("Gemm", ["r", "w1"], ["logits"], transB=1)]
        artifact, what = model(tmp / f"bn{rank}.onnx", nodes, w, ["N", 1, 8, 8]), f"BatchNorm of rank {rank}"
        # One image alone: statistics stay, gradients are finite; two: as PyTorch has it.
        for n in (1, 2, 5):
            x = rng.standard_normal((n, 1, 8, 8)).astype(np.float32)
            np.save(tmp / "x.npy", x)
            np.save(tmp / "dy.npy", rng.standard_normal((n, 10)).astype(np.float32))
            run(RUN, "grad", artifact, "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"logits={tmp / 'dy.npy'}", "-o", tmp / "g.st")
            got = read_safetensors(tmp / "g.st")
            h = x.reshape(n, 64).astype(np.float64) @ w["w0"].T.astype(np.float64)
            mean = w["m"] if n == 1 else .9 * w["m"] + .1 * h.mean(0)
            var = w["v"] if n == 1 else .9 * w["v"] + .1 * h.var(0, ddof=1)
            report.check(f"{what}, batch of {n}: running mean", rel(got["m"], mean), 0 if n == 1 else 1e-5)
            report.check(f"{what}, batch of {n}: running variance", rel(got["v"], var), 0 if n == 1 else 1e-5)
            report.check(f"{what}, batch of {n}: all finite", float(not all(np.isfinite(v).all() for v in got.values())), 0)
        if rank == 2:
            data = digits(tmp / "odd", 65)
        p = train(artifact, data, tmp / "run", "--batch-size", 64, ok=False)
        refused(report, f"{what}: a last batch of one", p, "the last batch of an epoch would be one image", "65 images", '"bn1"', "--drop-last")
        refused(report, f"{what}: --batch-size 1", train(artifact, data, tmp / "run", "--batch-size", 1, ok=False), "--batch-size 1", '"bn1"')
        refused(report, f"{what}: no batch left", train(artifact, data, tmp / "run", "--drop-last", ok=False), "--drop-last leaves no batch")
        train(artifact, data, tmp / "run", "--batch-size", 64, "--drop-last", "--lr", 0)
        v = read_safetensors(tmp / "run" / "last.safetensors")["peer.0.v"]
        images = np.frombuffer((data / "train-images-idx3-ubyte").read_bytes()[16:], np.uint8).reshape(65, 64) / 255
        config = json.loads((tmp / "run" / "config.json").read_text())
        h = (images - config["data"]["mean"][0]) / config["data"]["std"][0] @ w["w0"].T
        report.check(f"{what}: running variance after one batch of 64", rel(v, .9 * 4 + .1 * h.var(0, ddof=1)), .04)
        report.check(f"{what}: config.json has --drop-last", float(config["config"]["drop_last"] is not True), 0)
        train(artifact, data, tmp / "run", "--batch-size", 60)  # a rest of five is fine


if __name__ == "__main__":
    report = Report()
    for part in (labels, torch_labels, weights, channels_last, batch_of_one):
        report.guard_in_folder(part.__name__, part, report)
    report.end()
