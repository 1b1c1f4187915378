"""One allocation fails, at many places of every command, one a run (tests/cli/out_of_memory.sh). A run may do without it and give
the same bytes, or ends with exit code 1, one line that speaks of memory, nothing new and nothing damaged.
usage: out_of_memory.py SHIM.so SMKDC SMKD_RUN EMBED_MEMORY RUNS-A-COMMAND|all"""
import base64
import collections
import gzip
import hashlib
import os
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import zlib

SHIM, SMKDC, RUN, EMBED, SHARE = os.path.abspath(sys.argv[1]), *sys.argv[2:6]
ENV = dict(os.environ, XDG_CACHE_HOME=os.path.abspath("cache"), TMPDIR=os.path.abspath("tmp"), OMP_NUM_THREADS="2")


def sh(*cmd, **env):
    return subprocess.run([str(c) for c in cmd], env={**ENV, **env}, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)


def must(*cmd):
    p = sh(*cmd)
    assert p.returncode == 0, f"{cmd}: exit {p.returncode}: {p.stderr}"


def idx(r, sides, n):
    os.makedirs("data")
    os.makedirs("packed")
    for part, count in (("train", n[0]), ("t10k", n[1])):
        for kind, blob in (("images-idx3", struct.pack(">IIII", 0x803, count, sides, sides) + r.randbytes(count * sides * sides)),
                           ("labels-idx1", struct.pack(">II", 0x801, count) + bytes(r.randrange(10) for _ in range(count)))):
            pathlib.Path(f"data/{part}-{kind}-ubyte").write_bytes(blob)
            pathlib.Path(f"packed/{part}-{kind}-ubyte.gz").write_bytes(gzip.compress(blob))


def npy(path, descr, shape, blob):
    head = str({"descr": descr, "fortran_order": False, "shape": shape}).ljust(117).encode()
    pathlib.Path(path).write_bytes(b"\x93NUMPY\x01\x00v\x00" + head + b"\n" + blob)


def train(*options, data="data", loss="L.smkd"):
    batch = () if "--batch-size" in options else ("--batch-size", 32)
    return (RUN, "train", "--peer", "a.smkd", "--peer", "b.smkd", "--data", data, "--loss", loss, *batch, "--lr-milestones", 5, "--threads", 2, "--quiet",
            *options)


JPEG = (
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBkeFxlZ2P/wAALCAAIAA"
    "gBAREA/8QAFAABAAAAAAAAAAAAAAAAAAAABP/EABQQAQAAAAAAAAAAAAAAAAAAAAD/2gAIAQEAAD8AC//Z"
)
WEBP = (
    "UklGRiQAAABXRUJQVlA4IBgAAAAwAQCdASoIAAgAAsBMJaQAA3AA/ud1AAA="
)


def pictures():
    """A picture of each format: the JPEG and the WebP are 8x8 greys."""
    os.makedirs("pictures")
    pathlib.Path("pictures/a.jpg").write_bytes(base64.b64decode(JPEG))
    pathlib.Path("pictures/b.webp").write_bytes(base64.b64decode(WEBP))
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    pathlib.Path("pictures/c.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
                                               chunk(b"IDAT", zlib.compress(bytes(8 * 25))) + chunk(b"IEND", b""))
    pathlib.Path("pictures/d.bmp").write_bytes(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54 + 192, 0, 0, 54, 40, 8, 8, 1, 24, 0, 192, 0, 0, 0, 0) + bytes(192))


def photos():
    """The same as a data set of class folders."""
    for part in ("train", "val"):
        for k, name in enumerate(sorted(os.listdir("pictures"))):
            os.makedirs(f"photos/{part}/{k % 2}", exist_ok=True)
            for copy in range(4):
                shutil.copy(f"pictures/{name}", f"photos/{part}/{k % 2}/{copy}{name}")


def prepare():
    os.makedirs("tmp")
    r = random.Random(0)
    idx(r, 8, (96, 32))
    npy("x.npy", "<f4", (2, 1, 8, 8), struct.pack("<128f", *(r.random() for _ in range(128))))
    npy("dy.npy", "<f4", (2, 10), struct.pack("<20f", *(r.random() for _ in range(20))))
    pictures()
    photos()
    npy("labels.npy", "<i8", (96,), struct.pack("<96q", *(r.randrange(10) for _ in range(96))))
    for name, seed in (("a", 0), ("b", 1)):
        must(SMKDC, "new", "resnet8", "--width", 4, "--input", "1x8x8", "--seed", seed, "-o", f"{name}.onnx")
        must(SMKDC, "compile", f"{name}.onnx", "--max-batch", 32)
    must(SMKDC, "loss", "smkd-p", "--classes", 10, "--max-batch", 32, "-o", "L.smkd")
    must(*train("--epochs", 1, "-o", "one"))
    must(*train("--epochs", 2, "-o", "two"))
    must(RUN, "sweep", "-o", "swept", "--grid", "seed=1,2", "--", "--peer", "a.smkd", "--peer", "b.smkd", "--data", "data", "--batch-size", 32, "--epochs", 1,
         "--threads", 2)
    for result in ("table.md", "figure.svg"):
        os.remove(f"swept/{result}")


# name: (command, what lies in out/ before, whose allocation fails: the command's own program's, or that of one it starts)
COMMANDS = {
    "check": ((SMKDC, "check", "a.onnx"), None, None),
    "new": ((SMKDC, "new", "resnet8", "--width", 4, "--input", "1x8x8", "-o", "out/n.onnx"), None, None),
    "compile": ((SMKDC, "compile", "a.onnx", "--max-batch", 32, "--threads", 2, "-o", "out/c.smkd"), None, None),
    "link": ((SMKDC, "compile", "a.onnx", "--max-batch", 32, "-o", "out/c.smkd"), None, "ld"),
    "loss": ((SMKDC, "loss", "ce", "--classes", 10, "-o", "out/L.smkd"), None, None),
    "inspect": ((SMKDC, "inspect", "a.smkd"), None, None),
    "predict": ((RUN, "predict", "a.smkd", "pictures", "--csv"), None, None),
    "grad": ((RUN, "grad", "a.smkd", "--input", "x=x.npy", "--cotangent", "logits=dy.npy", "-o", "out/g.safetensors"), None, None),
    "infer": ((RUN, "infer", "a.smkd", "--input", "x=x.npy", "-o", "out/o.safetensors"), None, None),
    "train": (train("--epochs", 1, "-o", "out/run"), None, None),
    "options": (train("--labels", "labels.npy", "--val-split", .25, "--augment", "crop-flip", "--epochs", 1, "-o", "out/run", data="packed"), None, None),
    "photos": (train("--epochs", 1, "-j", 2, "--batch-size", 4, "-o", "out/run", data="photos"), None, None),
    "photos held": (train("--epochs", 1, "-j", 3, "--batch-size", 4, "--cache", "ram", "--sampler", "balanced", "-o", "out/run", data="photos"), None, None),
    "compiled loss": (train("--epochs", 1, "-o", "out/run", loss="ce"), None, "smkdc"),
    "overwrite": (train("--epochs", 1, "-o", "out", "--overwrite"), "two", None),
    "resume": ((RUN, "train", "--resume", "-o", "out", "--threads", 2, "--quiet"), "two", None),
    "eval": ((RUN, "eval", "one"), None, None),
    "sweep": ((RUN, "sweep", "out", "--report"), "swept", None),
    "embed": ((EMBED, "a.smkd", "out/w.safetensors"), None, None),
    "export": ((RUN, "export", "one", "--peer", 0, "-o", "out/e.onnx"), None, None),
}
VOLATILE = ("metrics.jsonl", "metrics.csv", ".lock")  # hold times


def look(folder):
    return {str(p.relative_to(folder)): hashlib.sha1(p.read_bytes()).hexdigest() for p in sorted(pathlib.Path(folder).rglob("*")) if p.is_file()}


def fresh(name, before):
    for folder in ("out", "cache"):
        shutil.rmtree(folder, ignore_errors=True)
    if before:
        shutil.copytree(before, "out")
        if name == "resume":  # as a run that was stopped after its first epoch
            shutil.copy("one/last.safetensors", "out/last.safetensors")
    else:
        os.makedirs("out")


def stable(files):
    return {name: digest for name, digest in files.items() if os.path.basename(name) not in VOLATILE}


def wrong(p, had, want, got, victim):
    """What is not as it should be after a run in which an allocation failed; None: nothing."""
    if victim == "ld" and p.returncode == 0 and sh(SMKDC, "inspect", "out/c.smkd").returncode == 0:
        return None  # it leaves out an optimization then: other bytes, and as good
    for name, digest in stable(got).items():
        if name not in want and name not in had:
            return f"{name} is left behind"
        if digest not in (want.get(name), had.get(name)):
            return f"{name} is neither what it was nor what it should become"
    if p.returncode and got.get("config.json") == had.get("config.json") and had.keys() - got.keys():
        return f"{sorted(had.keys() - got.keys())} are lost"
    if p.returncode and not stable(got) and os.listdir("out"):
        return f"left behind: {os.listdir('out')}"
    if os.listdir("tmp") or any(".tmp" in name for name in look("cache")):
        return f"left: {os.listdir('tmp')} {list(look('cache'))}"
    if p.returncode == 0:
        return None if stable(got) == want else "exit 0, and not every result"
    lines = p.stderr.splitlines()
    if p.returncode != 1:
        return f"exit {p.returncode}: {p.stderr[-300:]}"
    if lines and lines[0] == "" and len(lines) > 1 and lines[1].startswith("libgomp: "):
        lines = lines[2:]  # it has a line of its own before ours
    said = "" if victim == "ld" else "out of memory"  # ld has words of its own
    if len(lines) != 1 or "error: " not in lines[0] or said not in lines[0]:
        return f"exit 1 with other words: {p.stderr[-300:]!r}"
    return None


def attack(name):
    cmd, before, victim = COMMANDS[name]
    shim = dict(LD_PRELOAD=SHIM, FAIL_PROGRAM=victim or os.path.basename(str(cmd[0])))
    fresh(name, before)
    had = stable(look("out"))
    p = sh(*cmd, **shim, FAIL_AT="-1", FAIL_COUNT=os.path.abspath("count"))
    assert p.returncode == 0, f"{name}: exit {p.returncode} without a failure: {p.stderr}"
    want = stable(look("out"))
    total, *places = (int(line) for line in pathlib.Path("count").read_text().split())
    # LLVM allocates a million times: then the first time at each place.
    every = range(total) if SHARE == "all" and total < 20000 else sorted(places)
    n = len(every) if SHARE == "all" else min(len(every), int(SHARE))
    bad, ends = 0, collections.Counter()
    for k in range(n):
        at, later = every[len(every) * k // n], k % 4 == 3
        fresh(name, before)
        p = sh(*cmd, **shim, FAIL_AT=str(at), **({"FAIL_ON": "1"} if later else {}))
        why = wrong(p, had, want, look("out"), victim)
        ends[p.returncode] += 1
        if why:
            bad += 1
            print(f"FAULT {name}, allocation {at} of {total}{' and all later' if later else ''}: {why}", flush=True)
            for left in os.listdir("tmp"):
                shutil.rmtree(f"tmp/{left}", ignore_errors=True)
    print(f"{name}: {n} of {total} allocations ({len(places)} places) failed, one a run; exit codes {dict(ends)}; {bad} wrong", flush=True)
    return bad


prepare()
sys.exit(sum(attack(name) for name in (sys.argv[6:] or COMMANDS)) > 0)
