#!/usr/bin/env python3
"""Our speed and memory beside PyTorch's (and onnxruntime's), measured in turns on the same machine.

A row goes like this. The model is made, compiled and copied to PyTorch by name. Every mode of PyTorch ({eager, torch.compile}
x {NCHW, channels last}) gets a few steps, and the fastest goes on. Both sides compute the gradients of the same weights for
the same batch and the same gradient of the logits; where they differ, no time is reported. Then come rounds of a few steps of
one side and a few of the other, so that a machine that slows down slows both. The times are medians of all steps, with their
range; the ratio is the median of the rounds' ratios.

A training step is forward, backward and SGD with momentum and weight decay; the gradient of the logits is given, so that
neither side computes a loss. The pair's step has everything a step of `smkd-run train` has. Memory is the highest resident
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

# What keeps PyTorch's own kernels, oneDNN and MKL to AVX2.
ONLY_AVX2 = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}
EAGER = [{"compile": False, "channels_last": False}, {"compile": False, "channels_last": True}]
COMPILED = [{**m, "compile": True} for m in EAGER]
CLOSE = 1.15  # a mode within this of the fastest one's probe takes part in the rounds: the probe is short
LR = 0.01  # of the pair, which really trains
FIRST_EPOCHS = 2  # of the pair's losses that are compared


def tell(text):
    print(text, file=sys.stderr, flush=True)


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


def take_turns(sides, rounds, steps):
    """{name: [seconds of each step] for each round}; who begins changes from round to round."""
    took = {name: [] for name in sides}
    for i in range(rounds):
        for name in list(sides)[:: -1 if i % 2 else 1]:
            time.sleep(0.2)  # the other side's idle threads spin for a moment before they sleep
            took[name].append(sides[name](steps))
        tell(f"  round {i + 1}: " + ", ".join(f"{name} {statistics.median(t[-1]):.4f} s" for name, t in took.items()))
    return took


def summary(took):
    every = [s for t in took for s in t]
    return {"median_s": statistics.median(every), "min_s": min(every), "max_s": max(every), "rounds": took}


def ratios(took, theirs):
    """The median of the rounds' ratios, and those: something else that computes for a while spoils a round for both sides."""
    per_round = [statistics.median(t) / statistics.median(o) for t, o in zip(took[theirs], took["ours"])]
    return statistics.median(per_round), per_round


def steps_a_round(o, step_s):
    return o.steps or clamp(8 / step_s, 2, 200)


# --- the rows -------------------------------------------------------------------------------------------------------

def settings(row, o, **more):
    return {"kind": row.kind, "side": row.side, "classes": row.classes, "dtype": o.dtype, "threads": o.threads,
            **{k: [str(p) for p in v] if isinstance(v, list) else str(v) for k, v in more.items()}}


def compared_gradients(row, o, tools, tmp, worker, artifact, **which):
    """`which` is what the worker has to be told about a pair."""
    files = {k: tmp / f"{k}.safetensors" for k in ("ours", "theirs", "reference")}

    def compare(seed):
        x, dy = ours.random_input(tmp, row.batch, row.shape, row.classes, seed)
        tools.gradients(artifact, x, dy, files["ours"])
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
    ratio, per_round = ratios(took, name)
    return {"ours": summary(took["ours"]) | {"peak_bytes": max(peaks)}, "pytorch": theirs, "probes": torch.probes, "ratio": ratio,
            "ratio_rounds": per_round}


def pair_row(row, o, tools, tmp):
    """A turn of ours is a run of two epochs, of which the second counts: its images a second leave evaluating and saving out.

    (A long run's wall clock minus a short one's says the same, but writing two checkpoints is noise of a second.)
    """
    made = [tools.model(tmp, f"m{k}", arch, row.shape, row.classes, row.batch) for k, arch in enumerate(row.archs)]
    artifacts = [m["artifact"] for m in made]
    steps = o.steps or 5
    data = ours.cifar_like(tmp / "data", row.batch * steps)
    peaks = []

    def our_steps(n):
        metrics, peak = tools.train(artifacts, tmp / "data", tmp / "run", row.batch, row.batch * n, LR, epochs=2)
        peaks.append(peak)
        return [row.batch / metrics[-1]["images_per_s"]]

    options = settings(row, o, archs=list(row.archs), weights=[m["weights"] for m in made], data=data) | {"batch": row.batch, "lr": LR}
    with PyTorch("torch_pair.py", options, o.modes) as torch:
        found = max((compared_pair(row, o, tools, tmp, w, artifacts) for w in torch.workers()), key=lambda f: f["gradient_error"])
        tell(f"  gradients differ by {found['gradient_error']:.1e}, those of the losses by {found['loss_gradient_error']:.1e}, "
             f"losses of the first {FIRST_EPOCHS} steps by {found['first_losses_error']:.1e}")
        took = take_turns({"ours": our_steps, **torch.sides()}, o.rounds, steps)
        flops = torch.workers()[0].ask("flops")
    return compared(took, torch, peaks) | {"check": found, "compile_s": sum(m["compile_s"] for m in made), "flops": flops}


def compared_pair(row, o, tools, tmp, worker, artifacts):
    """Each network's gradients, the loss's, and the losses of a run of two steps, which has the update in it."""
    worst = {"gradient_error": -1}
    for k, artifact in enumerate(artifacts):
        found = compared_gradients(row, o, tools, tmp, worker, artifact, peer=k)
        worst = max(worst, found, key=lambda f: f["gradient_error"])
    rng = np.random.default_rng(3)
    files, labels = [str(tmp / f"z{k}.npy") for k in range(2)], str(tmp / "labels.npy")
    for f in files:  # confident rows and doubtful ones: the threshold must part them
        np.save(f, (rng.normal(size=(row.batch, row.classes)) * rng.choice((0.5, 2, 6), (row.batch, 1))).astype(np.float32))
    np.save(labels, rng.integers(0, row.classes, row.batch))
    got, want = tmp / "loss.ours.safetensors", tmp / "loss.theirs.safetensors"
    tools.loss_gradients(files, labels, 0.6, (0.6, 0.3), got)
    worker.ask("loss_gradients", logits=files, labels=labels, progress=0.6, r=[0.6, 0.3], to=str(want))
    got, want = read_safetensors(got), read_safetensors(want)
    worst["loss_gradient_error"] = max(check.within(f"the loss's {k}", got[k], want[k], 1e-4) for k in want)
    metrics, _ = tools.train(artifacts, tmp / "data", tmp / "run", row.batch, row.batch, LR, "--augment", "none", epochs=FIRST_EPOCHS)
    losses = [[p["loss"] for p in epoch["peers"]] for epoch in metrics]
    worst["first_losses_error"] = check.within("the first steps' losses", losses, worker.ask("first_losses", epochs=FIRST_EPOCHS),
                                               1e-3 if o.dtype == "f32" else 5e-2)
    return worst


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
    ratio, per_round = ratios(took, "onnxruntime")
    return {"ours": summary(took["ours"]), "onnxruntime": summary(took["onnxruntime"]), "pytorch": theirs, "probes": torch.probes,
            "ratio": ratio, "ratio_rounds": per_round, "ratio_pytorch": ratios(took, name)[0], "check": {"logits_error": error},
            "compile_s": m["compile_s"]}


RUN = {R.TRAIN: train_row, R.PAIR: pair_row, R.INFER: infer_row}


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
