#!/usr/bin/env python3
"""What each method costs: the time of an epoch's steps over that of `ce` with as many networks.

Networks are ResNet-18 for 3x32x32 (with three side heads where the method needs some, another as a frozen teacher where it needs
one, and an output inside of both where it looks there), batches of 128, whole steps of `smkd-run train`. Methods take turns with
`ce` in groups, so that a machine that slows down slows all of a group; a method's cost is the median of the rounds' ratios. A turn is
a run of two epochs (of rounds, where a method has them), of which the last counts.

Writes FILE.csv with lines METHOD,COST, from which `smkd-run methods --markdown --costs FILE.csv` makes a column. Methods that are
not measured this time (--methods) keep their lines; those that learn numbers, or need what this does not give, have none.
"""
import argparse
import os
import pathlib
import re
import sys
import tempfile

import ours
import process
from turns import ratios, take_turns, tell

BATCH, SHAPE, CLASSES, LR, HEADS, INSIDE = 128, (3, 32, 32), 10, 0.002, 3, "/layer3/1/Relu_1"
BASE = "ce"
GROUP = 5  # methods that share the turns of `ce`


class Method:
    """A row of smkd-run methods, as it is told to people."""

    def __init__(self, tools, name):
        text = process.run([tools.smkd_run, "methods", name])[0]
        found = re.search(r"^Networks: (\d+).*\. Learns: (\w+)\.$", text, re.M)
        if not found:
            raise process.Failed(f"smkd-run methods {name} does not say how many networks it takes")
        self.name, self.networks, self.classes = name, int(found[1]), found[2] == "classes"
        has = lambda what: re.search(rf"^{what}: ", text, re.M) is not None
        views = re.search(r"^Views: (\d+)", text, re.M)
        self.views, self.passes = int(views[1]) if views else 1, self.networks if has("Passes") else 1
        self.heads, self.teacher, self.rounds, self.inside = has("Heads"), has("Teacher"), has("Rounds"), has("Inside")


class Networks:
    """Artifacts, made when they are asked for."""

    def __init__(self, tools, folder):
        self.tools, self.folder, self.made = tools, folder, {}

    def get(self, k, heads=0, tap=None, views=1):
        key = k, heads, tap, views
        if key not in self.made:
            self.made[key] = self.tools.model(self.folder, f"m{k}.{heads}.{tap}.{views}", "resnet18", SHAPE, CLASSES, BATCH * views, heads=heads, seed=k,
                                              taps=[f"{INSIDE}={tap}"] if tap else [])
        return self.made[key]["artifact"]


def side(tools, networks, folder, method, count):
    """A function that trains for two epochs and returns the seconds of a step of the last; of several passes, of a step of each."""
    peers = [networks.get(k, HEADS if method.heads else 0, "guided" if method.inside else None, method.views) for k in range(count)]
    teacher = ["--teacher", networks.get(count, tap="hint" if method.inside else None)] if method.teacher else []
    flags = ["--lr", LR, *teacher, *(["--rounds", 2] if method.rounds else [])]

    def turn(steps):
        metrics, _ = tools.train(method.name, peers, folder / "data", folder / "run", BATCH, BATCH * steps, *flags,
                                 epochs=1 if method.rounds else 2)
        return [BATCH * method.passes / metrics[-1]["images_per_s"]]  # which counts the images of all passes
    return turn


def works(name, turn):
    """Whether the method trains at all with what it is given here; says why not."""
    try:
        turn(1)
    except process.Failed as e:
        tell(f"{name}: not measured: {e}")
        return False
    return True


def read(file):
    lines = file.read_text().splitlines()[1:] if file.exists() else []
    return dict(line.split(",") for line in lines if line)


def write(file, names, costs):
    """In the order of the rows; what is no row any more goes."""
    text = "method,cost\n" + "".join(f"{name},{costs[name]}\n" for name in names if name in costs)
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--methods", help="names, separated by commas (default: all that learn classes)")
    p.add_argument("--rounds", type=int, default=3, help="turns of each method (default 3)")
    p.add_argument("--steps", type=int, default=4, help="steps of an epoch (default 4)")
    p.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="(default: all cores)")
    p.add_argument("--build", default=os.environ.get("SMKD_BUILD", "build"), help="folder with smkdc and smkd-run")
    p.add_argument("-o", "--output", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent / "method_costs.csv",
                   help="file to write (default: bench/method_costs.csv)")
    return p.parse_args()


def chosen(text, names):
    asked = text.split(",") if text else names
    if unknown := [a for a in asked if a not in names]:
        raise SystemExit(f"--methods {unknown[0]}: there is no such method (smkd-run methods lists them)")
    return [name for name in names if name in asked and name != BASE]


def main():
    o = arguments()
    tools = ours.Tools(pathlib.Path(o.build).resolve(), o.threads, [])
    names = [line.split()[0] for line in process.run([tools.smkd_run, "methods"])[0].splitlines()]
    methods = [m for m in (Method(tools, name) for name in chosen(o.methods, names)) if m.classes]
    base, costs = Method(tools, BASE), read(o.output) | {BASE: "1.00"}
    with tempfile.TemporaryDirectory(prefix="smkd-bench-") as tmp:
        tmp = pathlib.Path(tmp)
        networks = Networks(tools, tmp)
        ours.cifar_like(tmp / "data", BATCH * o.steps)
        for count in sorted({m.networks for m in methods}):
            left = [m for m in methods if m.networks == count]
            while left:
                group, left = left[:GROUP], left[GROUP:]
                sides = {m.name: side(tools, networks, tmp, m, count) for m in group}
                sides = {name: turn for name, turn in sides.items() if works(name, turn)}
                if not sides:
                    continue
                took = take_turns({BASE: side(tools, networks, tmp, base, count)} | sides, o.rounds, o.steps)
                for name in sides:
                    cost, each = ratios(took, name, BASE)
                    costs[name] = f"{cost:.2f}"
                    print(f"{name}: {cost:.3f} ({min(each):.3f} to {max(each):.3f})", flush=True)
                write(o.output, names, costs)  # after every group: what was measured stays when it is interrupted
    return 0


if __name__ == "__main__":
    sys.exit(main())
