"""One allocation fails, at many places of every command, one a run (tests/cli/out_of_memory.sh). A run may do without it and give
the same bytes, or ends with exit code 1, one line that speaks of memory, nothing new and nothing damaged.
usage: out_of_memory.py SHIM.so SMKDC SMKD_RUN RUNS-A-COMMAND|all"""
import collections
import hashlib
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys

SHIM, SMKDC, RUN, SHARE = os.path.abspath(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
ENV = dict(os.environ, XDG_CACHE_HOME=os.path.abspath("cache"), TMPDIR=os.path.abspath("tmp"), OMP_NUM_THREADS="2")


def sh(*cmd, **env):
    return subprocess.run([str(c) for c in cmd], env={**ENV, **env}, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)


def must(*cmd):
    p = sh(*cmd)
    assert p.returncode == 0, f"{cmd}: exit {p.returncode}: {p.stderr}"


def prepare():
    os.makedirs("data")
    os.makedirs("tmp")
    r = random.Random(0)
    for part, n in (("train", 96), ("t10k", 32)):
        pathlib.Path(f"data/{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, n, 8, 8) + r.randbytes(n * 64))
        pathlib.Path(f"data/{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 0x801, n) + bytes(r.randrange(10) for _ in range(n)))
    pathlib.Path("x.npy").write_bytes(b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1, 8, 8), }".ljust(117) + b"\n" +
                                      struct.pack("<128f", *(r.random() for _ in range(128))))
    for name, seed in (("a", 0), ("b", 1)):
        must(SMKDC, "new", "resnet8", "--width", 4, "--input", "1x8x8", "--seed", seed, "-o", f"{name}.onnx")
        must(SMKDC, "compile", f"{name}.onnx", "--max-batch", 32)
    must(SMKDC, "loss", "smkd-p", "--classes", 10, "--max-batch", 32, "-o", "L.smkd")
    must(*TRAIN, "--epochs", 1, "-o", "one")
    must(*TRAIN, "--epochs", 2, "-o", "two")


TRAIN = (RUN, "train", "--peer", "a.smkd", "--peer", "b.smkd", "--data", "data", "--batch-size", 32, "--lr-milestones", 5, "--loss", "L.smkd", "--threads", 2,
         "--quiet")
COMMANDS = {  # name: (command, what it writes, what is put there before)
    "check": ((SMKDC, "check", "a.onnx"), None, None),
    "new": ((SMKDC, "new", "resnet8", "--width", 4, "--input", "1x8x8", "-o", "out/n.onnx"), "out", None),
    "compile": ((SMKDC, "compile", "a.onnx", "--max-batch", 32, "--threads", 2, "-o", "out/c.smkd"), "out", None),
    "inspect": ((SMKDC, "inspect", "a.smkd"), None, None),
    "infer": ((RUN, "infer", "a.smkd", "--input", "x=x.npy", "-o", "out/o.safetensors"), "out", None),
    "train": ((*TRAIN, "--epochs", 1, "-o", "out"), "out", None),
    "overwrite": ((*TRAIN, "--epochs", 1, "-o", "out", "--overwrite"), "out", "one"),
    "resume": ((RUN, "train", "--resume", "-o", "out", "--threads", 2, "--quiet"), "out", "two"),
    "eval": ((RUN, "eval", "one"), None, None),
    "export": ((RUN, "export", "one", "--peer", 0, "-o", "out/e.onnx"), "out", None),
}
VOLATILE = ("metrics.jsonl", "metrics.csv", ".lock")  # hold times


def look(folder):
    return {str(p.relative_to(folder)): hashlib.sha1(p.read_bytes()).hexdigest() for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file()}


def fresh(before):
    shutil.rmtree("out", ignore_errors=True)
    if before:
        shutil.copytree(before, "out")
        if before == "two":  # as a run that was stopped after its first epoch
            shutil.copy("one/last.safetensors", "out/last.safetensors")
    else:
        os.makedirs("out")


def wrong(p, had, want, got):
    """What is not as it should be after a run in which an allocation failed; None: nothing."""
    for name, digest in got.items():
        base = os.path.basename(name)
        if base in VOLATILE:
            continue
        if name not in want and name not in had:
            return f"{name} is left behind"
        if digest not in (want.get(name), had.get(name)):
            return f"{name} is neither what it was nor what it should become"
    if os.listdir("tmp"):
        return f"left in TMPDIR: {os.listdir('tmp')}"
    if p.returncode == 0:
        return None if {k: v for k, v in got.items() if os.path.basename(k) not in VOLATILE} == want else "exit 0, and not every result"
    lines = p.stderr.splitlines()
    if p.returncode != 1:
        return f"exit {p.returncode}: {p.stderr[-300:]}"
    if lines and lines[0] == "" and len(lines) > 1 and lines[1].startswith("libgomp: "):
        lines = lines[2:]  # it has a line of its own before ours
    if not lines or "memory" not in lines[-1] or sum("error: " in line for line in lines) > 1:
        return f"exit 1 with other words: {p.stderr[-300:]!r}"
    return None


def attack(name):
    cmd, _, before = COMMANDS[name]
    program = os.path.basename(str(cmd[0]))
    fresh(before)
    had = look("out")
    p = sh(*cmd, LD_PRELOAD=SHIM, FAIL_PROGRAM=program, FAIL_AT="-1", FAIL_COUNT=os.path.abspath("count"))
    assert p.returncode == 0, f"{name}: exit {p.returncode} without a failure: {p.stderr}"
    want = {k: v for k, v in look("out").items() if os.path.basename(k) not in VOLATILE}
    total = int(pathlib.Path("count").read_text())
    runs = total if SHARE == "all" else min(total, int(SHARE))
    bad, ends = collections.Counter(), collections.Counter()
    for k in range(runs):
        at = total * k // runs + (k * 7919) % max(1, total // runs)
        fresh(before)
        p = sh(*cmd, LD_PRELOAD=SHIM, FAIL_PROGRAM=program, FAIL_AT=str(at), **({"FAIL_ON": "1"} if k % 4 == 3 else {}))
        why = wrong(p, had, want, look("out"))
        ends[p.returncode] += 1
        if why:
            bad[why] += 1
            print(f"FAULT {name}, allocation {at} of {total}{' and all later' if k % 4 == 3 else ''}: {why}", flush=True)
            for left in os.listdir("tmp"):
                shutil.rmtree(f"tmp/{left}", ignore_errors=True)
    print(f"{name}: {runs} of {total} allocations failed, one a run; exit codes {dict(ends)}; {sum(bad.values())} wrong", flush=True)
    return sum(bad.values())


prepare()
sys.exit(sum(attack(name) for name in (sys.argv[5:] or COMMANDS)) > 0)
