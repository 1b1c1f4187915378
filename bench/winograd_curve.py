#!/usr/bin/env python3
"""Does Winograd change how a network trains? The same small network, the same images in the same order, with and without.

A ResNet-8, whose convolutions are all 3x3, is trained on real images from several seeds (of weights and of order), each compiled
four ways: Winograd on and off, for AVX2 and for the machine's own vectors. The two widths sum in different orders, so what lies
between them at the same algorithm is what rounding alone does to a curve: training is chaotic, and any last bit ends there.
Winograd is indistinguishable when on and off of one seed lie no farther apart than two seeds do, and when the mean of their
differences is no larger than the spread between seeds. Needs Python's standard library alone.

usage: bench/winograd_curve.py CIFAR-10-FOLDER [--build build]        about six minutes on two cores
       bench/winograd_curve.py FOLDER --quick                         ten steps at a low rate: the two losses must agree to 1e-5
"""
import argparse
import csv
import itertools
import pathlib
import statistics
import subprocess
import sys
import tempfile

COLUMNS = {"training loss": "loss", "test accuracy, %": "test_top1"}
CPUS = ("x86-64-v3", "native")
# At a low rate, ten steps in, rounding has not grown yet: Winograd's own error is what is left between the two losses.
QUICK_BOUND = 1e-5


def run(*command):
    p = subprocess.run([str(c) for c in command], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if p.returncode:
        sys.exit(f"{' '.join(map(str, command[:2]))}: exit {p.returncode}: {p.stderr.strip()}")


def curves(a, folder, seed, cpu):
    """{"on": {column: values by epoch}, "off": ...}: the two peers of one run. With the loss ce, neither knows of the other."""
    folder = folder / f"{cpu}-{seed}"
    folder.mkdir(parents=True)
    model = folder / "m.onnx"
    run(a.build / "smkdc", "new", "resnet8", "--width", 16, "--input", a.input, "--seed", seed, "-o", model)
    peers = []
    for switch in ("on", "off"):
        artifact = folder / f"{switch}.smkd"
        run(a.build / "smkdc", "compile", model, "--winograd", switch, "--mcpu", cpu, "-o", artifact)
        peers += ["--peer", artifact]
    run(a.build / "smkd-run", "train", *peers, "--data", a.data, "--train-limit", a.images, "--test-limit", a.test_images,
        "--loss", "ce", "--epochs", a.epochs, "--lr", a.lr, "--seed", seed, "--quiet", "--output-dir", folder / "run")
    with open(folder / "run/metrics.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    return {switch: {c: [float(r[f"{c}_{k}"]) for r in rows] for c in COLUMNS.values()} for k, switch in enumerate(("on", "off"))}


def distance(x, y):
    """Mean over the epochs of |x - y|."""
    return statistics.mean(abs(p - q) for p, q in zip(x, y))


def quick(a, folder):
    c = curves(a, folder, 0, "native")
    on, off = c["on"]["loss"], c["off"]["loss"]
    off_by = max(abs(p - q) / q for p, q in zip(on, off))
    print(f"losses with Winograd {on}, without {off}: {off_by:.1e} apart, at most {QUICK_BOUND:.0e}")
    if on == off:
        sys.exit("the same bits: Winograd did not run")
    return off_by <= QUICK_BOUND


def full(a, folder):
    c = {}
    for seed, cpu in itertools.product(range(a.seeds), CPUS):
        c[seed, cpu] = curves(a, folder, seed, cpu)
        print(f"seed {seed}, {cpu}: " + ", ".join(f"{s} {v['loss'][-1]:.4f}" for s, v in c[seed, cpu].items()), file=sys.stderr)
    seeds = range(a.seeds)
    good = True
    print("| | " + " | ".join(COLUMNS) + " |\n|---|" + "---|" * len(COLUMNS))
    rows = {}
    for name, column in COLUMNS.items():
        of = {(s, cpu, w): c[s, cpu][w][column] for s in seeds for cpu in CPUS for w in ("on", "off")}
        far = {
            "on and off, one seed, one width": [distance(of[s, cpu, "on"], of[s, cpu, "off"]) for s in seeds for cpu in CPUS],
            "two widths, one seed, one algorithm": [distance(of[s, CPUS[0], w], of[s, CPUS[1], w]) for s in seeds for w in ("on", "off")],
            "two seeds, one width, Winograd off": [distance(of[s, cpu, "off"], of[t, cpu, "off"])
                                                   for s, t in itertools.combinations(seeds, 2) for cpu in CPUS],
        }
        for what, values in far.items():
            rows.setdefault(f"distance of curves: {what}", []).append(f"{statistics.mean(values):.4f}")
        last = {w: [of[s, cpu, w][-1] for s in seeds for cpu in CPUS] for w in ("on", "off")}
        for w, values in last.items():
            rows.setdefault(f"after the last epoch, {w}", []).append(f"{statistics.mean(values):.4f} ± {statistics.stdev(values):.4f}")
        bias = statistics.mean(p - q for p, q in zip(last["on"], last["off"]))
        rows.setdefault("mean of on - off after the last epoch", []).append(f"{bias:+.4f}")
        same, _, seed = (statistics.mean(v) for v in far.values())
        good = good and same <= seed and abs(bias) <= statistics.stdev(last["off"])
    for what, cells in rows.items():
        print(f"| {what} | " + " | ".join(cells) + " |")
    print("indistinguishable" if good else "WINOGRAD CHANGES THE CURVE")
    return good


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("data", help="folder with the images: CIFAR-10's binary files, or IDX")
    p.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    p.add_argument("--input", default="3x32x32")
    p.add_argument("--quick", action="store_true")
    p.add_argument("--seeds", type=int, default=3)
    p.add_argument("--epochs", type=int, default=12)
    p.add_argument("--images", type=int, default=5000)
    p.add_argument("--test-images", type=int, default=1000)
    p.add_argument("--lr", type=float, default=0.1)
    p.add_argument("--output-dir", type=pathlib.Path, help="keep the runs here (it must not be there yet)")
    a = p.parse_args()
    if not pathlib.Path(a.data).is_dir():
        sys.exit(f"{a.data}: no such folder; CIFAR-10's binary version (cifar-10-batches-bin) is what this compares on")
    if a.seeds < 2 and not a.quick:
        sys.exit("--seeds: at least 2, since the distance between seeds is the measure")
    if a.quick:
        a.epochs, a.images, a.test_images, a.lr = 1, 1280, 100, 0.001
    with tempfile.TemporaryDirectory() as tmp:
        good = (quick if a.quick else full)(a, a.output_dir or pathlib.Path(tmp))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
