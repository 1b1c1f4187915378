#!/usr/bin/env python3
"""Our speed and memory beside PyTorch's (and onnxruntime's), measured in turns on the same machine.

A row goes like this. The model is made, compiled and copied to PyTorch by name. Every mode of PyTorch ({eager, torch.compile}
x {NCHW, channels last}) gets a few steps, and the fastest goes on. Both sides compute the gradients of the same weights for
the same batch and the same gradient of the logits; where they differ, no time is reported. Then come rounds of a few steps of
one side and a few of the other, so that a machine that slows down slows both. The times are medians of all steps, with their
range; the ratio is the median of the rounds' ratios.

A training step is forward, backward and SGD with momentum and weight decay; the gradient of the logits is given, so that
neither side computes a loss. The steps of methods have everything a step of `smkd-run train` has: images cropped and mirrored,
losses, tables. Memory is the highest resident
size of a process that does nothing else, PyTorch's after it has warmed up.
"""
import argparse
import json
import os
import pathlib
import shlex
import statistics
import sys
import tempfile
import time

import numpy as np

import check
import ours
import report
import rows as R
from oracle import read_safetensors
from process import Failed, Worker
from turns import ratios, summary, take_turns, tell

# What keeps PyTorch's own kernels, oneDNN and MKL to AVX2.
ONLY_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
EAGER = [{"compile": False, "channels_last": False}, {"compile": False, "channels_last": True}]
COMPILED = [{**m, "compile": True} for m in EAGER]
CLOSE = 1.15  # a mode within this of the fastest one's probe takes part in the rounds: the probe is short
LR = 0.002  # of methods, which really train
FIRST_EPOCHS = 2  # whose losses are compared: in the second, the first update and what a method remembers have counted


def mode_name(mode):
    return ("torch.compile" if mode["compile"] else "eager") + (", channels last" if mode["channels_last"] else ", NCHW")


def clamp(x, low, high):
    return max(low, min(high, int(x)))


# --- taking turns ---------------------------------------------------------------------------------------------------

class PyTorch:
    """Every mode of PyTorch runs a few steps in a process of its own; the fastest one's process is kept, or two."""

    def __init__(self, program, options, modes):
        self.probes, self.kept = [], []
        for mode in modes:
            self.probe(program, options, mode)
        if not self.kept:
            raise Failed("no mode of PyTorch runs this model")

    def probe(self, program, options, mode):
        probe = {"mode": mode_name(mode)}
        self.probes.append(probe)
        start = time.perf_counter()
        try:
            worker = Worker(program, {**options, **mode})
            if worker.ask("threads") != options["threads"]:
                worker.close()
                raise Failed("runs with another number of threads")
            first = worker.ask("steps", n=1, warmup=1)[0]
            probe["start_s"] = time.perf_counter() - start
            worker.forget_peak()
            probe |= {"step_s": min(worker.ask("steps", n=clamp(3 / first, 3, 50), warmup=0)), "peak_bytes": worker.peak()}
        except Failed as e:
            probe["error"] = str(e)
            return tell(f"  PyTorch {mode_name(mode)}: not usable ({e})")
        tell(f"  PyTorch {mode_name(mode)}: {probe['step_s']:.4f} s a step, {probe['start_s']:.0f} s until it ran, "
             f"{probe['peak_bytes'] / 1e6:.0f} MB")
        self.kept = sorted([*self.kept, (worker, probe)], key=lambda k: k[1]["step_s"])
        while len(self.kept) > 2 or self.kept[-1][1]["step_s"] > CLOSE * self.kept[0][1]["step_s"]:
            self.kept.pop()[0].close()

    def step_s(self):
        return self.kept[0][1]["step_s"]

    def workers(self):
        return [worker for worker, _ in self.kept]

    def sides(self, warmup=lambda n: 1):
        return {f"PyTorch {probe['mode']}": lambda n, w=worker: w.ask("steps", n=n, warmup=warmup(n)) for worker, probe in self.kept}

    def best(self, took):
        """The name of the faster side, and what is known of it."""
        name, probe = min(((f"PyTorch {p['mode']}", p) for _, p in self.kept), key=lambda k: summary(took[k[0]])["median_s"])
        return name, summary(took[name]) | probe

    def __enter__(self):
        return self

    def __exit__(self, *a):
        for worker in self.workers():
            worker.close()


def steps_a_round(o, step_s):
    return o.steps or clamp(8 / step_s, 2, 200)


# --- the rows -------------------------------------------------------------------------------------------------------

def settings(row, o, **more):
    return {"kind": row.kind, "side": row.side, "classes": row.classes, "dtype": o.dtype, "threads": o.threads,
            **{k: [str(p) for p in v] if isinstance(v, list) else str(v) for k, v in more.items()}}


def compared_gradients(row, o, tools, tmp, worker, artifact, **which):
    """`which` is what the worker has to be told of a method's network."""
    files = {k: tmp / f"{k}.safetensors" for k in ("ours", "theirs", "reference")}

    def compare(seed):
        x, dy = ours.random_input(tmp, row.batch, row.shape, row.classes, seed)
        tools.gradients(artifact, x, dy, which.get("names", ["logits"]), files["ours"])
        worker.ask("gradients", inputs=[str(x), str(dy)], to=str(files["theirs"]), **which)
        if o.dtype == "bf16":
            worker.ask("gradients", inputs=[str(x), str(dy)], to=str(files["reference"]), reference=True, **which)
        return check.gradients(files["ours"], files["theirs"], files["reference"] if o.dtype == "bf16" else None)
    return check.one_is_good(compare)


def train_row(row, o, tools, tmp):
    m = tools.model(tmp, "m", row.archs[0], row.shape, row.classes, row.batch)
    x, dy = ours.random_input(tmp, row.batch, row.shape, row.classes)
    peaks = []

    def our_steps(n):
        seconds, _, peak = tools.bench(m["artifact"], "train", row.batch, n, 1)
        peaks.append(peak)
        return seconds

    with PyTorch("torch_side.py", settings(row, o, arch=row.archs[0], x=x, dy=dy, weights=m["weights"]), o.modes) as torch:
        found = [compared_gradients(row, o, tools, tmp, w, m["artifact"]) for w in torch.workers()]
        found = max(found, key=lambda f: f["gradient_error"])
        tell(f"  {found['tensors']} gradients differ by {found['gradient_error']:.1e}, {found['worst_tensor']} by {found['worst_tensor_error']:.1e}")
        took = take_turns({"ours": our_steps, **torch.sides()}, o.rounds, steps_a_round(o, torch.step_s()))
        flops = torch.workers()[0].ask("flops")
    result = compared(took, torch, peaks) | {"check": found, "compile_s": m["compile_s"], "flops": flops}
    if row.key == "1":
        whole = [tools.bench(m["artifact"], "train", row.batch, 1, 0)[1] for _ in range(3)]
        result["start_s"] = statistics.median(whole) - result["ours"]["median_s"]
    return result


def compared(took, torch, peaks):
    name, theirs = torch.best(took)
    ratio, per_round = ratios(took, name, "ours")
    return {"ours": summary(took["ours"]) | {"peak_bytes": max(peaks)}, "pytorch": theirs, "probes": torch.probes, "ratio": ratio,
            "ratio_rounds": per_round}


def prepared_method(row, o, tools, tmp, steps):
    """The networks of a method, and what PyTorch's side of it is told; the data of `steps` batches lie in tmp/data."""
    made = [tools.model(tmp, f"m{k}", arch, row.shape, row.classes, row.batch, heads=row.heads, seed=k) for k, arch in enumerate(row.archs)]
    options = settings(row, o, weights=[m["weights"] for m in made], data=ours.cifar_like(tmp / "data", row.batch * steps))
    return made, options | {"archs": row.archs, "heads": row.heads, "method": row.method, "batch": row.batch, "lr": LR}


def method_row(row, o, tools, tmp):
    """A turn of ours is a run of two epochs, of which the second counts: its images a second leave evaluating and saving out.

    (A long run's wall clock minus a short one's says the same, but writing two checkpoints is noise of a second.)
    """
    steps = o.steps or 5
    made, options = prepared_method(row, o, tools, tmp, steps)
    artifacts = [m["artifact"] for m in made]
    peaks = []

    def our_steps(n):
        metrics, peak = tools.train(row.method, artifacts, tmp / "data", tmp / "run", row.batch, row.batch * n, "--lr", LR, epochs=2)
        peaks.append(peak)
        return [row.batch / metrics[-1]["images_per_s"]]

    with PyTorch("torch_train.py", options, o.modes) as torch:
        found = max((compared_method(row, o, tools, tmp, w, artifacts) for w in torch.workers()), key=lambda f: f["gradient_error"])
        tell(f"  gradients differ by {found['gradient_error']:.1e}, those of the losses by {found['loss_gradient_error']:.1e}, "
             f"losses of the first {FIRST_EPOCHS} steps by {found['first_losses_error']:.1e}")
        took = take_turns({"ours": our_steps, **torch.sides()}, o.rounds, steps)
        flops = torch.workers()[0].ask("flops")
    return compared(took, torch, peaks) | {"check": found, "compile_s": sum(m["compile_s"] for m in made), "flops": flops}


def compared_method(row, o, tools, tmp, worker, artifacts):
    """Each network's gradients, the loss's, and the losses of a run of a few steps, which has the updates in it."""
    worst, names = {"gradient_error": -1}, ["logits", *(f"head{i + 1}" for i in range(row.heads))]
    for k, artifact in enumerate(artifacts):
        found = compared_gradients(row, o, tools, tmp, worker, artifact, peer=k, names=names)
        worst = max(worst, found, key=lambda f: f["gradient_error"])
    worst["loss_gradient_error"] = compared_loss(row, tools, tmp, worker)
    metrics, _ = tools.train(row.method, artifacts, tmp / "data", tmp / "run", row.batch, row.batch, "--lr", LR, "--augment", "none",
                             epochs=FIRST_EPOCHS)
    losses = [[p["loss"] for p in epoch["peers"]] for epoch in metrics]
    worst["first_losses_error"] = float(check.within("the first steps' losses", losses, worker.ask("first_losses", epochs=FIRST_EPOCHS),
                                                     1e-3 if o.dtype == "f32" else 5e-2))
    return worst


def compared_loss(row, tools, tmp, worker):
    """What a method makes of random outputs at some time in a run, with confident rows and doubtful ones."""
    rng, needs, arrays = np.random.default_rng(3), worker.ask("needs"), {}
    logits = lambda: rng.normal(size=(row.batch, row.classes)) * rng.choice((0.5, 2, 6), (row.batch, 1))
    for k in range(len(row.archs)):
        arrays[f"logits.{k}"] = logits()
        arrays |= {f"tap.{k}.head{i + 1}": logits() for i in range(row.heads)}
        arrays |= {f"tap.{k}.feat{i + 1}": rng.normal(size=(row.batch, 512)) for i in range(row.heads + 1 if row.heads else 0)}
        arrays |= {f"table.{t}.{k}": rng.dirichlet(np.full(row.classes, 0.3), row.batch) for t in needs["tables"]}
    files = {}
    for name, x in arrays.items():
        files[name] = str(tmp / f"{name}.npy")
        np.save(files[name], x.astype(np.float32))
    labels, got, want = str(tmp / "labels.npy"), tmp / "loss.ours.safetensors", tmp / "loss.theirs.safetensors"
    np.save(labels, rng.integers(0, row.classes, row.batch))
    progress, clock, r = 0.6, {"epoch": 6}, [0.6, 0.3][:len(row.archs)]
    tools.loss_gradients(row.method, files, labels, progress, {name: clock[name] for name in needs["scalars"]}, r, got)
    worker.ask("loss_gradients", inputs=files, labels=labels, progress=progress, r=r, to=str(want), **clock)
    got, want = read_safetensors(got), read_safetensors(want)
    return max(float(check.within(f"the loss's {k}", got[k], want[k], 1e-4)) for k in want)


def infer_row(row, o, tools, tmp):
    m = tools.model(tmp, "m", row.archs[0], row.shape, row.classes, row.batch, spread=False)
    x, _ = ours.random_input(tmp, row.batch, row.shape, row.classes, patterns=True)
    file = tmp / "y.safetensors"
    warmup = lambda n: max(1, n // 10)

    def logits(compute):
        compute(str(file))
        return read_safetensors(file)["logits"]

    ort = Worker("ort_side.py", {"onnx": str(m["onnx"]), "x": str(x), "threads": o.threads})
    try:
        if ort.ask("threads") != o.threads:
            raise Failed("onnxruntime runs with another number of threads")
        with PyTorch("torch_side.py", settings(row, o, arch=row.archs[0], x=x, weights=m["weights"]), o.modes) as torch:
            want = logits(lambda to: ort.ask("outputs", to=to))
            error = check.logits("ours", logits(lambda to: tools.outputs(m["artifact"], x, to)), want, o.dtype)
            for w in torch.workers():
                check.logits("PyTorch", logits(lambda to: w.ask("outputs", to=to)), want, o.dtype)
            took = take_turns({"ours": lambda n: tools.bench(m["artifact"], "infer", row.batch, n, warmup(n))[0],
                               "onnxruntime": lambda n: ort.ask("steps", n=n, warmup=warmup(n)), **torch.sides(warmup)},
                              o.rounds, steps_a_round(o, torch.step_s()))
    finally:
        ort.close()
    name, theirs = torch.best(took)
    ratio, per_round = ratios(took, "onnxruntime", "ours")
    return {"ours": summary(took["ours"]), "onnxruntime": summary(took["onnxruntime"]), "pytorch": theirs, "probes": torch.probes,
            "ratio": ratio, "ratio_rounds": per_round, "ratio_pytorch": ratios(took, name, "ours")[0], "check": {"logits_error": error},
            "compile_s": m["compile_s"]}


RUN = {R.TRAIN: train_row, R.METHOD: method_row, R.INFER: infer_row}


# --- the program ----------------------------------------------------------------------------------------------------

def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--quick", action="store_true", help="the first row only, without torch.compile, in about two minutes")
    p.add_argument("--rows", help="numbers or names, separated by commas: " + ", ".join(f"{r.key} {r.name}" for r in R.ROWS))
    p.add_argument("--rounds", type=int, help="turns of each side (default 4; 3 with --quick)")
    p.add_argument("--steps", type=int, help="timed steps of a turn (default: about 8 seconds of them)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="of either side (default: all cores)")
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="bf16: PyTorch under autocast, ours with --dtype bf16")
    p.add_argument("--no-torch-compile", action="store_true", help="leave PyTorch's compiled modes out")
    p.add_argument("--mcpu", help="passed on to smkdc compile")
    p.add_argument("--isa", choices=("avx2",), help="hold both sides to AVX2, as on a CPU that has no more (not the rows of onnxruntime)")
    p.add_argument("--compile-flags", default="", help='more of them, such as "--winograd=off"')
    p.add_argument("--json", help="file for everything that was measured")
    p.add_argument("--build", default=os.environ.get("SMKD_BUILD", "build"), help="folder with smkdc and smkd-run")
    argv = sys.argv[1:]
    if "--compile-flags" in argv:  # its value begins with a dash, which argparse takes with = only
        at = argv.index("--compile-flags")
        argv[at:at + 2] = ["=".join(argv[at:at + 2])]
    o = p.parse_args(argv)
    o.rounds = o.rounds or (3 if o.quick else 4)
    o.steps = o.steps or (2 if o.quick else None)
    o.rows = R.choose(o.rows or ("1" if o.quick else None))
    o.modes = EAGER + ([] if o.quick or o.no_torch_compile else COMPILED)
    if o.isa:
        if o.mcpu or o.dtype != "f32":
            p.error("--isa goes with neither --mcpu nor --dtype")
        if any(r.kind == R.INFER for r in o.rows):
            o.rows = [r for r in o.rows if r.kind != R.INFER]
            tell("note: onnxruntime cannot be held to AVX2; its rows are left out")
        o.mcpu = "x86-64-v3"
        os.environ.update(ONLY_AVX2)  # for PyTorch's processes, which inherit it
    o.flags = (["--dtype", o.dtype] if o.dtype != "f32" else []) + (["--mcpu", o.mcpu] if o.mcpu else []) + shlex.split(o.compile_flags)
    return o


def measured_limits(tools):
    with tempfile.TemporaryDirectory(prefix="smkd-bench-") as tmp:
        return tools.limits(pathlib.Path(tmp))


def main():
    o = arguments()
    build = pathlib.Path(o.build).resolve()
    tools = ours.Tools(build, o.threads, o.flags)
    facts = report.facts(tools, build) | {"threads": o.threads, "dtype": o.dtype, "isa": o.isa, "compile_flags": o.flags, "rounds": o.rounds,
                                          "torch_modes": [mode_name(m) for m in o.modes]}
    if facts["build_type"] != "Release":
        tell(f"note: {build} is a build of type {facts['build_type']}, not Release")
    if facts["machine"]["load"] > 0.5:
        tell(f"note: something else computes on this machine (load {facts['machine']['load']:.1f})")
    if COMPILED[0] not in o.modes:
        tell("note: torch.compile is left out; PyTorch may be faster with it")
    facts["limits"] = limits = measured_limits(tools)
    results = []

    def save():
        rows = [{**r, "row": vars(r["row"]) | {"what": r["row"].what}} for r in results]
        if o.json:
            pathlib.Path(o.json).write_text(json.dumps(facts | {"rows": rows}, indent=1) + "\n")

    for row in o.rows:
        tell(f"{row.key}: {row.what}")
        with tempfile.TemporaryDirectory(prefix="smkd-bench-") as tmp:
            try:
                results.append({"row": row} | RUN[row.kind](row, o, tools, pathlib.Path(tmp)))
            except Exception as e:  # whatever happens to one row, the others are measured
                why = str(e) if isinstance(e, (Failed, check.Differs)) else f"{type(e).__name__}: {e}"
                tell(f"  NOT COMPARED: {why}")
                results.append({"row": row, "error": why})
        save()  # after every row: what was measured stays when a later row is interrupted
    facts["limits"] = report.higher(limits, measured_limits(tools) if limits else None)
    save()
    print(report.text(facts, results))
    return 1 if any("error" in r for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())
