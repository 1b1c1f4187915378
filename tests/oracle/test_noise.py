"""Label noise beside its definitions (methods.md 7), in numpy: random numbers (Philox), instance-dependent noise label by label from arrays,
from floats and from image files; matrices by the share of labels in each cell; CIFAR's maps from its binary files.
"""
import json

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, run, temp_dir

NOISE, IMAGES, WEIGHTS = 1, 1, 2  # the kind of a stream and its uses


def philox(seed, stream, counter):
    """Four words for each counter: Philox4x32-10 (Salmon et al. 2011)."""
    counter = np.asarray(counter, np.uint64)
    c = [counter & 0xffffffff, counter >> np.uint64(32), np.full_like(counter, stream & 0xffffffff), np.full_like(counter, stream >> 32)]
    k0, k1 = seed & 0xffffffff, seed >> 32
    low, shift = np.uint64(0xffffffff), np.uint64(32)
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c[0], np.uint64(0xCD9E8D57) * c[2]
        c = [(p1 >> shift) ^ c[1] ^ np.uint64(k0), p1 & low, (p0 >> shift) ^ c[3] ^ np.uint64(k1), p0 & low]
        k0, k1 = (k0 + 0x9E3779B9) & 0xffffffff, (k1 + 0xBB67AE85) & 0xffffffff
    return np.stack(c, -1)


def uniforms(seed, stream, n):
    w = philox(seed, stream, np.arange((n + 1) // 2)).reshape(-1, 2)
    return ((w[:, 0] << np.uint64(32) | w[:, 1]) >> np.uint64(11)).astype(float)[:n] * 2.0**-53


def stream(use, item):
    return NOISE << 60 | use << 36 | item


def weights(seed, y, features, classes):
    """W_y: pairs of columns by Box and Muller, two uniform numbers each."""
    out = np.empty((features, classes + classes % 2))
    for f in range(features):
        u = uniforms(seed, stream(WEIGHTS + y, f), out.shape[1]).reshape(-1, 2)
        r, a = np.sqrt(-2 * np.log(1 - u[:, 0])), 2 * np.pi * u[:, 1]
        out[f] = np.stack([r * np.cos(a), r * np.sin(a)], -1).ravel()
    return out[:, :classes].astype(np.float32).astype(float)


def instance(x, y, rate, seed, classes):
    """x: [images, features], standardised."""
    out = y.copy()
    w = {c: weights(seed, c, x.shape[1], classes) for c in np.unique(y)}
    for i in range(len(y)):
        u = iter(uniforms(seed, stream(IMAGES, i), 200))

        def normal():  # Marsaglia's polar method
            while True:
                a, b = 2 * next(u) - 1, 2 * next(u) - 1
                r = a * a + b * b
                if 0 < r < 1:
                    return a * np.sqrt(-2 * np.log(r) / r)

        q = -1
        while not 0 <= q <= 1:
            q = rate + 0.1 * normal()
        s = x[i].astype(float) @ w[y[i]]
        s[y[i]] = -np.inf
        p = q * np.exp(s - s.max()) / np.exp(s - s.max()).sum()
        # A label stays with probability 1 - q: one number decides that, the next where it goes.
        if next(u) < q:
            out[i] = np.searchsorted(np.cumsum(p) / p.sum(), next(u), side="right")
    return out


def labels(tmp, data, noise, *more, model="a.smkd"):
    out = tmp / "labels.npy"
    run(RUN, "train", "--peer", tmp / model, "--data", data, "--method", "ce", "--epochs", 1, "--batch-size", 64, "--lr", 0.001, "--augment", "none",
        "--noise", noise, "--save-labels", out, "--overwrite", "-o", tmp / "run", "-q", *more)
    return np.load(out), json.load(open(tmp / "run" / "config.json"))


def check_instance(report, tmp, rng):
    Image = need("PIL.Image")[0]
    n, classes, side = 500, 7, 8
    x = rng.integers(0, 256, (n, 3, side, side)).astype(np.uint8)
    y = np.sort(rng.integers(0, classes, n))
    y[0], y[-1] = 0, classes - 1
    where = f"{tmp}/train_x.npy,{tmp}/train_y.npy"
    np.save(tmp / "train_x.npy", x)
    np.save(tmp / "train_y.npy", y)
    split = ("--val-split", 0.2)
    for rate, seed in ((0.4, 5), (0.05, 2**40 + 7)):
        got, config = labels(tmp, where, f"instance:{rate}", "--noise-seed", seed, *split)
        mean, std = (np.array([float(v) for v in config["config"][k].split(",")]).reshape(3, 1, 1) for k in ("mean", "std"))
        want = instance(((x / 255 - mean) / std).reshape(n, -1), y, rate, seed, classes)
        report.check(f"instance:{rate}, uint8: {np.sum(want != y)} of {n} labels flip", float(np.sum(got != want)), 0)
        report.check(f"instance:{rate}: the rate in config.json", abs(config["data"]["noise_rate"] - np.mean(want != y)), 1e-12)
        if rate == 0.4:
            report.check("instance:0.4: the rate", abs(np.mean(want != y) - 0.4), 0.09)
            kept, images = want, ("--mean", config["config"]["mean"], "--std", config["config"]["std"])
    common = ("--noise-seed", 5, *split)
    report.check("instance: other seeds, other labels", float(np.array_equal(labels(tmp, where, "instance:0.4", "--noise-seed", 6, *split)[0], kept)), 0)
    report.check("instance: one thread", float(np.sum(labels(tmp, where, "instance:0.4", "--threads", 1, "--workers", 3, *common)[0] != kept)), 0)
    np.save(tmp / "train_x.npy", np.ascontiguousarray(x.transpose(0, 2, 3, 1)))
    report.check("instance: [N,H,W,C]", float(np.sum(labels(tmp, where, "instance:0.4", "--layout", "nhwc", *common)[0] != kept)), 0)
    f = ((x / 255 - mean) / std).astype(np.float32)
    np.save(tmp / "train_x.npy", f)
    report.check("instance: floats", float(np.sum(labels(tmp, where, "instance:0.4", *common)[0] != instance(f.reshape(n, -1), y, 0.4, 5, classes))), 0)

    # The same images as files, decoded without augmentation; one that cannot be decoded keeps its label.
    for i in range(n):
        at = tmp / "photos" / f"c{y[i]}"
        at.mkdir(parents=True, exist_ok=True)
        Image.fromarray(x[i].transpose(1, 2, 0)).save(at / f"{i:04}.png")
    at = int(np.flatnonzero(kept != y)[0])
    (tmp / "photos" / f"c{y[at]}" / f"{at:04}.png").write_bytes(b"\x89PNG\r\n\x1a\nno more")
    want = kept.copy()
    want[at] = y[at]
    got = labels(tmp, tmp / "photos", "instance:0.4", *images, "--crop", "resized", *common)[0]
    report.check("instance: image files", float(np.sum(got != want)), 0)
    why = run(RUN, "train", "--peer", tmp / "a.smkd", "--data", tmp / "photos", "--method", "ce", "--noise", "instance:0.4", "--strict-data", "-o",
              tmp / "strict", *map(str, split), ok=False).stderr
    report.check("instance: --strict-data", float("--strict-data ends the run here" not in why), 0)


def check_matrix(report, tmp, rng):
    n, classes = 60000, 7
    np.save(tmp / "train_x.npy", np.zeros((n, 3, 8, 8), np.uint8))
    y = rng.integers(0, classes, n)
    np.save(tmp / "train_y.npy", y)
    where = f"{tmp}/train_x.npy,{tmp}/train_y.npy"
    t = rng.dirichlet(np.ones(classes), classes)
    t[3] = np.eye(classes)[3]
    out = tmp / "T.npy"
    for dtype, limit in ((np.float64, 1), (np.float32, 1)):
        np.save(out, t.astype(dtype))
        got = labels(tmp, where, f"matrix:{out}", "--val-split", 0.9, "--seed", 3)[0]
        count = np.zeros((classes, classes))
        np.add.at(count, (y, got), 1)
        expect = t * count.sum(1, keepdims=True)
        there = expect > 0
        report.check(f"matrix: nothing where the matrix has 0 ({dtype.__name__})", count[~there].sum(), 0)
        # 36 degrees of freedom: mean 36, deviation 8.5.
        chi = ((count - expect)[there] ** 2 / expect[there]).sum()
        report.check(f"matrix: chi square {chi:.1f}", chi, 76)
        report.check("matrix: and not less than chance has it", float(chi < 12), 0)
    np.savetxt(tmp / "T.csv", t, delimiter=",", header="from true (rows) to given")
    np.save(out, t)
    a, b = (labels(tmp, where, f"matrix:{p}", "--val-split", 0.9, "--seed", 3)[0] for p in (out, tmp / "T.csv"))
    report.check("matrix: text and .npy", float(np.sum(a != b)), 0)


def check_cifar(report, tmp, rng):
    for classes, files, head in ((10, ("data_batch_1.bin", "test_batch.bin"), 1), (100, ("train.bin", "test.bin"), 2)):
        folder = tmp / f"cifar{classes}"
        folder.mkdir()
        for name, n in zip(files, (8000, 200)):
            rec = np.zeros((n, head + 3072), np.uint8)
            rec[:, head - 1] = rng.integers(0, classes, n)
            rec.tofile(folder / name)
            if n == 8000:
                y = rec[:, head - 1].astype(int)
        run(SMKDC, "new", "resnet8", "--input", "3x32x32", "--classes", classes, "--width", 2, "-o", tmp / "c.onnx")
        run(SMKDC, "compile", tmp / "c.onnx", "-o", tmp / "c.smkd")
        got = labels(tmp, folder, "asymmetric:0.4", "--val-split", 0.9, model="c.smkd")[0]
        if classes == 10:
            to = np.arange(10)
            for a, b in ((9, 1), (2, 0), (3, 5), (5, 3), (4, 7)):
                to[a] = b
        else:
            to = np.array([5 * (c // 5) + (c % 5 + 1) % 5 for c in range(100)])
        report.check(f"asymmetric, CIFAR-{classes}: to its class or none", float(np.sum((got != y) & (got != to[y]))), 0)
        moves = to[y] != y
        report.check(f"asymmetric, CIFAR-{classes}: the rate", abs(np.mean((got != y)[moves]) - 0.4), 4 * np.sqrt(0.24 / moves.sum()))


def main():
    need_tools(RUN, SMKDC)
    report, rng = Report(), np.random.default_rng(1)
    # The known answers of the Random123 distribution: counter and key of zeros.
    report.check("Philox", float(list(philox(0, 0, [0])[0]) != [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]), 0)
    with temp_dir() as tmp:
        run(SMKDC, "new", "resnet8", "--input", "3x8x8", "--classes", 7, "--width", 2, "-o", tmp / "a.onnx")
        run(SMKDC, "compile", tmp / "a.onnx", "-o", tmp / "a.smkd")
        check_instance(report, tmp, rng)
        check_matrix(report, tmp, rng)
        check_cifar(report, tmp, rng)
    report.end()


main()
