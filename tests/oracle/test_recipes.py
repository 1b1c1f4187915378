"""What a run does to losses, gradients and parameters beside plain SGD follows PyTorch: label smoothing, class weights, the limit of
the gradients' norm, gradients summed over batches, the moving average; and smkd-run loss of the numbers that networks may learn.

The images of an epoch are one batch (or one group of batches), so that their order does not matter, and the network has no BatchNorm.
"""
import json
import struct
import sys

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, read_safetensors, run, temp_dir

N, CLASSES, EPOCHS = 48, 4, 12
WEIGHTS = "1,0.5,2,0.25"


def write_idx(folder, x, y):
    folder.mkdir()
    for part, (images, labels) in {"train": (x, y), "t10k": (x[:8], y[:8])}.items():
        (folder / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, *images.shape) + images.tobytes())
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + labels.astype(np.uint8).tobytes())


def model(torch):
    torch.manual_seed(3)
    return torch.nn.Sequential(torch.nn.Conv2d(1, 6, 3, padding=1), torch.nn.ReLU(), torch.nn.MaxPool2d(2), torch.nn.Flatten(),
                               torch.nn.Linear(96, 16), torch.nn.Tanh(), torch.nn.Linear(16, CLASSES))


def reference(torch, x, y, c):
    """Trains the same network for EPOCHS full batches; returns it, its average, and the norms of the gradients."""
    m = model(torch)
    opt = torch.optim.SGD(m.parameters(), lr=c["lr"], momentum=0.9, weight_decay=5e-4)
    weight = torch.tensor([float(w) for w in WEIGHTS.split(",")]) if c.get("weights") else None
    ce = torch.nn.CrossEntropyLoss(weight=weight, label_smoothing=c.get("smoothing", 0.0))
    ema = None
    if "ema" in c:
        alpha = min(1.0, (1 - c["ema"]) * N * c["ema_steps"] / EPOCHS)
        ema = torch.optim.swa_utils.AveragedModel(m, avg_fn=torch.optim.swa_utils.get_ema_avg_fn(1 - alpha), use_buffers=True)
    losses, norms = [], []
    for _ in range(EPOCHS):
        opt.zero_grad()
        loss = ce(m(x), y)
        loss.backward()
        if "clip" in c:
            norms.append(float(torch.nn.utils.clip_grad_norm_(m.parameters(), c["clip"])))
        opt.step()
        if ema is not None:  # the first step of each epoch of one step
            ema.update_parameters(m)
        losses.append(loss.item())
    return m, ema, np.array(losses), np.array(norms)


CASES = {
    "plain": ({"lr": 0.05}, []),
    "label smoothing": ({"lr": 0.05, "smoothing": 0.1}, ["--label-smoothing", "0.1"]),
    "class weights": ({"lr": 0.05, "weights": True}, ["--class-weights", WEIGHTS]),
    "both": ({"lr": 0.05, "weights": True, "smoothing": 0.2}, ["--class-weights", WEIGHTS, "--label-smoothing", "0.2"]),
    "clipped": ({"lr": 0.8, "clip": 0.05}, ["--clip-grad-norm", "0.05"]),
    "sums of four batches": ({"lr": 0.05}, ["--batch-size", "12", "--accumulate", "4"]),
    "sums of uneven batches": ({"lr": 0.05}, ["--batch-size", "20", "--accumulate", "3"]),
    "sums, clipped": ({"lr": 0.8, "clip": 0.05}, ["--batch-size", "16", "--accumulate", "3", "--clip-grad-norm", "0.05"]),
    "average": ({"lr": 0.05, "ema": 0.97, "ema_steps": 1}, ["--model-ema", "--model-ema-decay", "0.97", "--model-ema-steps", "1"]),
}


def curves(report, torch, tmp):
    import onnx
    rng = np.random.default_rng(5)
    x = rng.integers(0, 256, (N, 8, 8), dtype=np.uint8)
    y = rng.integers(0, CLASSES, N)
    write_idx(tmp / "data", x, y)
    xt, yt = torch.from_numpy(x.astype(np.float32)[:, None] / 255), torch.from_numpy(y)
    torch.onnx.export(model(torch), (xt[:2],), str(tmp / "m.onnx"), dynamo=False, do_constant_folding=False, input_names=["x"],
                      output_names=["logits"], dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd")
    for what, (c, flags) in CASES.items():
        out = tmp / what.replace(" ", "_")
        batch = [] if "--batch-size" in flags else ["--batch-size", N]
        run(RUN, "train", "--peer", tmp / "m.smkd", "--method", "ce", "--data", tmp / "data", "--epochs", EPOCHS, "--lr", c["lr"],
            "--lr-scheduler", "constant", "--mean", "0", "--std", "1", "--augment", "none", "--threads", "2", "-o", out, *batch, *flags)
        m, ema, losses, norms = reference(torch, xt, yt, c)
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        if "weights" not in c or "--accumulate" not in flags:
            got = np.array([r["peers"][0]["loss"] for r in rows])
            report.check(f"{what}: {EPOCHS} losses", np.abs(got - losses).max(), 2e-6)
        if "clip" in c:
            got = np.array([r["peers"][0]["max_grad_norm"] for r in rows])
            assert norms.max() > c["clip"], "nothing was clipped"
            report.check(f"{what}: norms up to {norms.max():.3f}", np.abs(got / norms - 1).max(), 2e-5)
        saved = read_safetensors(out / "last.safetensors")
        for prefix, net in (("peer", m), ("ema", ema.module if ema else None)):
            if net is None:
                continue
            off = max(np.abs(saved[f"{prefix}.0.{k}"] - p.detach().numpy()).max() for k, p in net.named_parameters())
            way = max(np.abs(p.detach().numpy() - q.detach().numpy()).max() for p, q in zip(net.parameters(), model(torch).parameters()))
            report.check(f"{what}: {prefix}, as a share of the way", off / way, 2e-5)
    # The average is what --ema evaluates and exports.
    run(RUN, "export", tmp / "average", "--ema", "-o", tmp / "e.onnx")
    saved = read_safetensors(tmp / "average" / "last.safetensors")
    for t in onnx.load(tmp / "e.onnx").graph.initializer:
        if f"ema.0.{t.name}" in saved:
            assert (onnx.numpy_helper.to_array(t) == saved[f"ema.0.{t.name}"]).all(), f"{t.name} of --ema is another"
    rows = [json.loads(line) for line in (tmp / "average" / "metrics.jsonl").read_text().splitlines()]
    e = json.loads(run(RUN, "eval", tmp / "average", "--ema", "--json").stdout)
    report.check("eval --ema", abs(e["ensemble"]["top1"] - rows[-1]["ensemble"]["ema_test_top1"]), 0)
    p = run(RUN, "eval", tmp / "plain", "--ema", ok=False)
    assert p.returncode == 1 and "--model-ema" in p.stderr, p.stderr
    p = run(RUN, "train", "--peer", tmp / "m.smkd", "--peer", tmp / "m.smkd", "--data", tmp / "data", "--accumulate", 2, "-o", tmp / "no", ok=False)
    assert p.returncode == 1 and "--accumulate 2: the method smkd-p couples the rows" in p.stderr, p.stderr


def regressions(report, torch, tmp):
    """smkd-run loss with targets, of three networks at once, columns 1 and 5."""
    F = torch.nn.functional
    kinds = {"mse": (F.mse_loss, []), "l1": (F.l1_loss, []), "huber": (lambda a, b: F.huber_loss(a, b, delta=0.7), ["--huber-delta", "0.7"])}
    for name, (f, flags) in kinds.items():
        for columns in (1, 5):
            rng = np.random.default_rng(columns)
            t = rng.normal(size=(9, columns)).astype(np.float32)
            zs = [rng.normal(size=(9, columns)).astype(np.float32) for _ in range(3)]
            zs[0][0, 0] = t[0, 0]  # |d| = 0: the gradient there is 0
            np.save(tmp / "t.npy", t)
            cmd = [RUN, "loss", name, *flags, "--input", f"targets={tmp / 't.npy'}", "-o", tmp / "l.safetensors"]
            for k, z in enumerate(zs):
                np.save(tmp / f"z{k}.npy", z)
                cmd += ["--logits", tmp / f"z{k}.npy"]
            run(*cmd)
            got = read_safetensors(tmp / "l.safetensors")
            for k, z in enumerate(zs):
                zt = torch.from_numpy(z.astype(np.float64)).requires_grad_()
                loss = f(zt, torch.from_numpy(t.astype(np.float64)))
                loss.backward()
                report.check(f"{name}, {columns} columns, network {k}", abs(float(got[f"loss.{k}"]) - loss.item()), 3e-6)
                report.check(f"{name}, {columns} columns, gradient {k}", np.abs(got[f"grad.{k}"] - zt.grad.numpy()).max(), 3e-7)


def arrays(report, torch, tmp):
    """Networks that take rows of numbers, from arrays: two that learn numbers, with each loss, and one that learns classes."""
    F = torch.nn.functional
    rng = np.random.default_rng(8)
    x = rng.normal(size=(N, 6)).astype(np.float32)
    t = np.stack([np.sin(x[:, 0]) + x[:, 1], x[:, 2] * x[:, 3]], axis=1).astype(np.float32)
    np.savez(tmp / "d.npz", train_x=x, train_y=t, test_x=x[:20], test_y=t[:20])
    np.savez(tmp / "c.npz", train_x=x, train_y=(t[:, 0] > 0).astype(np.int64), test_x=x[:20], test_y=(t[:20, 0] > 0).astype(np.int64))

    def mlp(seed):
        torch.manual_seed(seed)
        return torch.nn.Sequential(torch.nn.Linear(6, 12), torch.nn.Tanh(), torch.nn.Linear(12, 2))
    for seed in (1, 2):
        torch.onnx.export(mlp(seed), (torch.zeros(2, 6),), str(tmp / f"{seed}.onnx"), dynamo=False, input_names=["x"], output_names=["y"],
                          dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
        run(SMKDC, "compile", tmp / f"{seed}.onnx", "-o", tmp / f"{seed}.smkd")
    xt = torch.from_numpy(x)
    kinds = {"mse": (F.mse_loss, [], "d"), "l1": (F.l1_loss, [], "d"), "ce": (lambda a, b: F.cross_entropy(a, b), [], "c"),
             "huber": (lambda a, b: F.huber_loss(a, b, delta=0.3), ["--huber-delta", "0.3"], "d")}
    for name, (f, flags, data) in kinds.items():
        out = tmp / f"run_{name}"
        run(RUN, "train", "--peer", tmp / "1.smkd", "--peer", tmp / "2.smkd", "--method", name, *flags, "--data", tmp / f"{data}.npz", "--epochs",
            EPOCHS, "--lr", 0.05, "--lr-scheduler", "constant", "--batch-size", N, "--threads", "2", "-o", out)
        saved = read_safetensors(out / "last.safetensors")
        rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
        y = torch.from_numpy(t) if data == "d" else torch.from_numpy((t[:, 0] > 0).astype(np.int64))
        outputs = []
        for k in (0, 1):
            m = mlp(k + 1)
            opt = torch.optim.SGD(m.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
            losses = []
            for _ in range(EPOCHS):
                opt.zero_grad()
                loss = f(m(xt), y)
                loss.backward()
                opt.step()
                losses.append(loss.item())
            got = np.array([r["peers"][k]["loss"] for r in rows])
            report.check(f"{name} of arrays, network {k}: losses", np.abs(got - losses).max(), 2e-6)
            off = max(np.abs(saved[f"peer.{k}.{n}"] - p.detach().numpy()).max() for n, p in m.named_parameters())
            report.check(f"{name} of arrays, network {k}: weights", off, 2e-6)
            outputs.append(m(xt[:20]).detach().double().numpy())
        if data == "c":
            continue
        e = json.loads(run(RUN, "eval", out, "--json").stdout)
        both = outputs + [(outputs[0] + outputs[1]) / 2]
        for k, z in enumerate(both):
            part = rows[-1]["peers"][k] if k < 2 else rows[-1]["ensemble"]
            seen = e["peers"][k] if k < 2 else e["ensemble"]
            d = z - t[:20]
            want = {"mse": (d ** 2).mean(), "mae": np.abs(d).mean(), "r2": 1 - (d ** 2).sum() / ((t[:20] - t[:20].mean(0)) ** 2).sum()}
            for key, v in want.items():
                report.check(f"{name} of arrays, {key} of {'the ensemble' if k == 2 else k}", abs(part[f"test_{key}"] - v), 1e-5)
                report.check(f"{name} of arrays, eval's {key}", abs(seen[key] - v), 1e-5)
    best = max(rows, key=lambda r: -r["ensemble"]["test_mse"])["epoch"]
    with open(tmp / "run_huber" / "best.safetensors", "rb") as f:
        meta = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))["__metadata__"]
    assert int(meta["best_epoch"]) == best, f"best is epoch {meta['best_epoch']}, not {best}"
    run(RUN, "eval", tmp / "1.smkd", "--regression", "--data", tmp / "d.npz")
    p = run(RUN, "train", "--peer", tmp / "1.smkd", "--method", "ce", "--data", tmp / "d.npz", "-o", tmp / "no", ok=False)
    assert p.returncode == 1 and len(p.stderr.strip().splitlines()) == 1 and "expected [N]" in p.stderr, p.stderr


def main():
    need_tools()
    torch, _ = need("torch", "onnx")
    report = Report()
    with temp_dir() as tmp:
        curves(report, torch, tmp)
        regressions(report, torch, tmp)
        arrays(report, torch, tmp)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
