"""Our side: the model files, and what the programs are asked to do with them."""
import json
import sys

import numpy as np

import process
from oracle import spread_batchnorm, write_safetensors


class Tools:
    def __init__(self, build, threads, compile_flags):
        self.smkdc, self.smkd_run = build / "smkdc", build / "smkd-run"
        self.threads, self.compile_flags = threads, compile_flags
        for tool in (self.smkdc, self.smkd_run):
            if not tool.exists():
                raise SystemExit(f"{tool} has not been built; bench/run.sh builds it, --build says where it is")

    def model(self, folder, name, arch, shape, classes, batch, spread=True, heads=0, seed=0, taps=()):
        """Writes NAME.onnx, its weights for PyTorch and NAME.smkd; returns their paths and the seconds of compiling.

        With `spread`, BatchNorm gets values that keep activations off a ReLU's kink: fresh ones put so many there that
        PyTorch's float32 gradient is percents off its own float64 one, and comparing gradients would say nothing. In
        inference form such values make the logits nearly the same for every image, so there the fresh ones are better.
        """
        import onnx
        fresh, path, weights, artifact = (folder / f"{name}{end}" for end in (".fresh.onnx", ".onnx", ".safetensors", ".smkd"))
        size = "x".join(map(str, shape))
        process.run([self.smkdc, "new", arch, "--input", size, "--classes", classes, "--seed", seed, "-o", fresh,
                     *(["--heads", heads] if heads else [])])
        if spread:
            spread_batchnorm(fresh, path)
        else:
            fresh.rename(path)
        write_safetensors(weights, {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer
                                    if t.data_type == onnx.TensorProto.FLOAT})
        _, seconds, _ = process.run([self.smkdc, "compile", path, "-o", artifact, "--max-batch", batch, "--batch-size", batch,
                                     "--infer-batch-size", batch, *[x for tap in taps for x in ("--tap", tap)], *self.compile_flags])
        return {"onnx": path, "weights": weights, "artifact": artifact, "compile_s": seconds}

    def bench(self, artifact, phase, batch, steps, warmup):
        """Seconds of each step, the process's wall-clock seconds and its peak memory."""
        out, wall, peak = process.run([self.smkd_run, "bench", artifact, "--phase", phase, "--batch-size", batch, "--steps", steps,
                                       "--warmup", warmup, "--threads", self.threads, "--json"], watch=True)
        j = json.loads(out)
        said = (j["phase"], j["batch_size"], j["threads"], len(j["seconds"]))
        if said != (phase, batch, self.threads, steps):
            raise process.Failed(f"smkd-run bench ran {said} instead of {(phase, batch, self.threads, steps)}")
        plausible(f"bench --phase {phase}", sum(j["seconds"]), sum(j["seconds"]) * (1 + warmup / steps), wall)
        return j["seconds"], wall, peak

    def gradients(self, artifact, x, dy, names, to):
        """By a gradient that is the same for the outputs of these names."""
        cotangents = [word for name in names for word in ("--cotangent", f"{name}={dy}")]
        process.run([self.smkd_run, "grad", artifact, "--input", f"x={x}", *cotangents, "-o", to, "--threads", self.threads])

    def outputs(self, artifact, x, to):
        process.run([self.smkd_run, "infer", artifact, "--input", f"x={x}", "-o", to, "--threads", self.threads])

    def loss_gradients(self, method, inputs, labels, progress, scalars, r, to):
        """inputs: files by the names of the loss program's."""
        given = []
        for name, file in inputs.items():
            given += ["--logits", file] if name.startswith("logits.") else ["--input", f"{name}={file}"]
        for name, v in scalars.items():
            given += ["--scalar", f"{name}={v}"]
        process.run([self.smkd_run, "loss", method, *given, "--labels", labels, "--progress", progress, "--r", ",".join(map(str, r)),
                     "-o", to])

    def train(self, method, artifacts, data, folder, batch, images, *flags, epochs):
        """Trains the artifacts' networks at a constant rate; returns metrics.jsonl's lines and the peak memory."""
        _, wall, peak = process.run([self.smkd_run, "train", *(word for a in artifacts for word in ("--peer", a)), "--data", data, "-o",
                                     folder, "--overwrite", "--quiet", "--train-limit", images, "--batch-size", batch, "--epochs", epochs,
                                     "--lr-scheduler", "constant", "--method", method, "--threads", self.threads, *flags], watch=True)
        metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        own = sum(images / m["images_per_s"] for m in metrics)
        plausible("train", own, own, wall)
        return metrics, peak

    def limits(self, folder):
        """What the machine can do with the instructions artifacts are compiled for; None where smkd-run cannot tell."""
        try:
            artifact = self.model(folder, "limits", "resnet8", (3, 32, 32), 10, 1)["artifact"]
            return json.loads(process.run([self.smkd_run, "limits", artifact, "--threads", self.threads, "--json"])[0])
        except process.Failed as e:
            print(f"note: the machine's limits are left out: {e}", file=sys.stderr)
            return None

    def version(self):
        return process.run([self.smkdc, "--version"])[0].strip()


def plausible(what, measured, expected, wall):
    """Our programs time themselves. The clock outside must have room for that, and not much more."""
    if measured > wall:
        raise process.Failed(f"smkd-run {what} reports {measured:.2f} s of steps in {wall:.2f} s")
    if wall - expected > 2 + 0.3 * wall:
        print(f"  note: smkd-run {what} took {wall:.1f} s, of which its steps explain {expected:.1f} s", file=sys.stderr, flush=True)


def random_input(folder, batch, shape, classes, seed=0, patterns=False):
    """(x.npy, dy.npy): a batch, and a gradient of its logits as a mean loss would send it.

    With `patterns`, images differ in contrast and on a large scale: without batch statistics a network averages noise away.
    """
    rng = np.random.default_rng(seed)
    x, dy = folder / f"x{seed}.npy", folder / f"dy{seed}.npy"
    images = rng.standard_normal((batch, *shape), np.float32)
    if patterns:
        c, h, w = shape
        images += rng.standard_normal((batch, c, 4, 4), np.float32).repeat(-(-h // 4), 2).repeat(-(-w // 4), 3)[:, :, :h, :w]
        images *= rng.uniform(0.3, 1.5, (batch, 1, 1, 1)).astype(np.float32)
    np.save(x, images)
    np.save(dy, rng.standard_normal((batch, classes), np.float32) / np.float32(batch))
    return x, dy


def cifar_like(folder, images):
    """Images with something to learn in them, in CIFAR-10's binary layout for us and as arrays for PyTorch."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, images)
    kinds = rng.integers(0, 256, (10, 3, 8, 8)).repeat(4, 2).repeat(4, 3)
    pixels = (kinds[labels] * 0.5 + rng.integers(0, 128, (images, 3, 32, 32))).astype(np.uint8)
    records = np.concatenate([labels[:, None].astype(np.uint8), pixels.reshape(images, -1)], axis=1)
    folder.mkdir()
    records.tofile(folder / "data_batch_1.bin")
    records[:16].tofile(folder / "test_batch.bin")  # each run evaluates, which cancels out: the less the better
    np.savez(folder / "data.npz", pixels=pixels, labels=labels)
    return folder / "data.npz"
