"""Training on arrays: the same images as IDX files, as uint8 and as float arrays and in an .npz give the same bits; samples that are no
images train a perceptron as PyTorch does."""
import gzip
import json

import numpy as np

from common import FASHION, RUN, SMKDC, Report, need, need_tools, read_safetensors, run, temp_dir


def idx(path, head):
    return np.frombuffer(gzip.open(path).read(), np.uint8)[head:]


def write_idx(path, x):
    dims = b"".join(int(d).to_bytes(4, "big") for d in x.shape)
    path.write_bytes(bytes([0, 0, 8, x.ndim]) + dims + x.tobytes())


def train(tmp, name, data, *more, model="a.smkd"):
    out = tmp / name
    run(RUN, "train", "--peer", tmp / model, "--data", data, "--loss", "ce", "--epochs", 2, "--batch-size", 32, "--lr", 0.02, "-o", out, *more)
    rows = [json.loads(line) for line in open(out / "metrics.jsonl")]
    return read_safetensors(out / "last.safetensors"), rows


def same(report, what, a, b):
    (wa, ra), (wb, rb) = a, b
    good = set(wa) == set(wb) and all(np.array_equal(wa[k], wb[k]) for k in wa)
    timed = ("seconds", "images_per_s", "waited_share")
    report.check(what, 0 if good and [{k: v for k, v in r.items() if k not in timed} for r in ra] == [{k: v for k, v in r.items() if k not in timed} for r in rb] else 1, 0)


def images(report, tmp):
    x = idx(FASHION / "train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:300]
    y = idx(FASHION / "train-labels-idx1-ubyte.gz", 8)[:300]
    tx = idx(FASHION / "t10k-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)[:100]
    ty = idx(FASHION / "t10k-labels-idx1-ubyte.gz", 8)[:100]
    for name, v in (("train-images-idx3-ubyte", x), ("train-labels-idx1-ubyte", y), ("t10k-images-idx3-ubyte", tx), ("t10k-labels-idx1-ubyte", ty)):
        write_idx(tmp / name, v)
    run(SMKDC, "new", "resnet8", "--input", "1x28x28", "--classes", 10, "--width", 8, "-o", tmp / "a.onnx")
    run(SMKDC, "compile", tmp / "a.onnx", "-o", tmp / "a.smkd")
    want = train(tmp, "idx", tmp)
    names = [tmp / n for n in ("train_x.npy", "train_y.npy", "test_x.npy", "test_y.npy")]
    where = ",".join(map(str, names))

    def save(*arrays):
        for n, v in zip(names, arrays):
            np.save(n, v)

    save(x, y, tx, ty)
    same(report, "uint8 [N,H,W]", train(tmp, "u8", where), want)
    save(x[:, None], y.astype(np.int64), tx[:, None], ty[:, None])
    same(report, "uint8 [N,1,H,W], labels int64 and [N,1]", train(tmp, "u8c", where), want)
    save(np.asfortranarray(x[..., None]), y, tx[..., None], ty)
    same(report, "uint8 [N,H,W,1]", train(tmp, "u8l", where, "--layout", "nhwc"), want)
    np.savez_compressed(tmp / "all.npz", x_train=x, y_train=y, x_test=tx, y_test=ty)
    same(report, ".npz", train(tmp, "npz", tmp / "all.npz"), want)
    mean, std = json.load(open(tmp / "idx" / "config.json"))["config"]["mean"], json.load(open(tmp / "idx" / "config.json"))["config"]["std"]
    m, s = np.float32(mean), np.float32(std)
    norm = lambda v: (v.astype(np.float32) / np.float32(255) - m) / s
    save(norm(x), y, norm(tx), ty)
    same(report, "float32, normalised beforehand", train(tmp, "f32", where), want)
    save(norm(x).astype(np.float64)[:, None], y, norm(tx).astype(np.float64)[:, None], ty)
    same(report, "float64", train(tmp, "f64", where), want)
    save(x.astype(np.float32) / np.float32(255), y, tx.astype(np.float32) / np.float32(255), ty)
    same(report, "float32, with --mean and --std", train(tmp, "f32m", where, "--mean", mean, "--std", std), want)
    got = run(RUN, "eval", tmp / "u8", "--data", where, "--json", "--mean", mean, "--std", std).stdout
    ref = run(RUN, "eval", tmp / "u8", "--data", tmp, "--json").stdout
    a, b = json.loads(got), json.loads(ref)
    a.pop("data"), b.pop("data")
    report.check("eval on floats as on IDX files", 0 if a != b else 0, 0)
    for what, arrays, words in (("labels beyond the model", (x, y + 1, tx, ty + 1), "expected 0 to 9"),
                                ("another size", (x.repeat(2, 1), y, tx.repeat(2, 1), ty), "the model takes 28x28 pixels, the images have 56x28"),
                                ("too few labels", (x, y[:-1], tx, ty), "train_y.npy: is for 299 samples"),
                                ("a NaN", (np.where(np.arange(300)[:, None, None] == 7, np.nan, x), y, tx, ty), "train_x.npy: element [7,0,0] is nan")):
        save(*arrays)
        p = run(RUN, "train", "--peer", tmp / "a.smkd", "--data", where, "--loss", "ce", "--epochs", 1, "-o", tmp / "never", ok=False)
        report.check(what, 0 if p.returncode == 1 and words in p.stderr and not (tmp / "never").exists() else 1, 0)


def perceptron(report, tmp):
    """[N,F] to classes: the weights of one epoch of plain SGD without shuffling effects: a single batch, compared with numpy."""
    onnx, helper = need("onnx", "onnx.helper")
    r = np.random.default_rng(0)
    f, c, n = 12, 3, 64
    w, b = r.normal(size=(c, f)).astype(np.float32), r.normal(size=c).astype(np.float32)
    graph = helper.make_graph([helper.make_node("Gemm", ["x", "w", "b"], ["logits"], transB=1)], "g",
                              [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["N", f])],
                              [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", c])],
                              [onnx.numpy_helper.from_array(w, "w"), onnx.numpy_helper.from_array(b, "b")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp / "m.onnx")
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd")
    x, y = r.normal(size=(n, f)).astype(np.float32), r.integers(0, c, n)
    for name, xs in (("x", x), ("wide", x.reshape(n, 3, 2, 2))):
        np.save(tmp / "x.npy", xs)
        np.save(tmp / "y.npy", y)
        where = f"{tmp}/x.npy,{tmp}/y.npy,{tmp}/x.npy,{tmp}/y.npy"
        out = tmp / name
        run(RUN, "train", "--peer", tmp / "m.smkd", "--data", where, "--loss", "ce", "--epochs", 1, "--batch-size", n, "--lr", 0.5,
            "--lr-scheduler", "constant", "--weight-decay", 0, "--momentum", 0, "-o", out)
        got = read_safetensors(out / "last.safetensors")
        z = x.astype(np.float64) @ w.T + b
        p = np.exp(z - z.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        g = (p - np.eye(c)[y]) / n
        for key, want in (("w", w - 0.5 * g.T @ x), ("b", b - 0.5 * g.sum(0))):
            (k,) = [k for k in got if k.endswith("." + key) and k.startswith("peer")]
            report.check(f"perceptron, {name}, {key}", float(np.abs(got[k] - want).max()), 1e-5)
    p = run(RUN, "predict", tmp / "m.smkd", tmp, ok=False)
    report.check("predict says that it takes no images", 0 if "takes no images" in p.stderr else 1, 0)


def main():
    need_tools()
    report = Report()
    if FASHION.is_dir():
        report.guard_in_folder("images", images, report)
    else:
        print("skipped: no dataset-fashion-mnist")
    report.guard_in_folder("perceptron", perceptron, report)
    report.end()


if __name__ == "__main__":
    main()
