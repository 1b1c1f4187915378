"""Small files that ask for much: each is answered within seconds and in bounded memory, by a result or by one line that names it
(tests/cli/hostile_files.sh). A file is kilobytes here; what it would take, if it were believed, is gigabytes.
usage: hostile_files.py SMKDC SMKD_RUN"""
import gzip
import json
import os
import pathlib
import resource
import struct
import subprocess
import sys
import time
import zlib

SMKDC, RUN = sys.argv[1:3]
SECONDS, MIB, ADDRESSES = 60, 700, 4 << 30  # many times what is needed on a quiet machine; LLVM alone takes 60 MiB
bad = 0


def limited():
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))


def peak(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1024
    return 0


def attempt(what, *cmd, ok=False, words="", lines=1, mib=MIB):
    """Runs a command; `ok`: it may also succeed. Its memory is looked at while it runs."""
    global bad
    start, most = time.time(), 0
    p = subprocess.Popen([str(c) for c in cmd], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open("err.txt", "wb"), preexec_fn=limited)
    while p.poll() is None and time.time() - start < SECONDS:
        try:
            most = max(most, peak(p.pid))
        except OSError:
            pass
        time.sleep(.005)
    late = p.poll() is None
    if late:
        p.kill()
        p.wait()
    err = open("err.txt", errors="replace").read()
    errors = [line for line in err.splitlines() if "error: " in line]
    good = not late and most < mib and (p.returncode == 0 and ok or p.returncode == 1 and 1 <= len(errors) <= lines and words in errors[0])
    bad += not good
    print(f"{'ok   ' if good else 'FAULT'} {what}: exit {'-' if late else p.returncode}, {most:.0f} MiB, {err.strip()[-160:]!r}", flush=True)


# --- protobuf by hand

def varint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes(out) + bytes([n])


def f(k, v):
    if isinstance(v, int):
        return varint(k << 3) + varint(v)
    v = v.encode() if isinstance(v, str) else v
    return varint(k << 3 | 2) + varint(len(v)) + v


def node(op, ins, out, **ints):
    return f(1, b"".join(f(1, i) for i in ins) + f(2, out) + f(4, op) + b"".join(f(5, f(1, k) + f(3, v) + f(20, 2)) for k, v in ints.items()))


def ints(name, *v, dims=None):
    return f(5, b"".join(f(1, d) for d in (dims if dims is not None else [len(v)])) + f(2, 7) + f(8, name) + f(9, struct.pack(f"<{len(v)}q", *v)))


def floats(name, dims, raw):
    return f(5, b"".join(f(1, d) for d in dims) + f(2, 1) + f(8, name) + f(9, raw))


def value(name, *dims):
    return f(1, name) + f(2, f(1, f(1, 1) + f(2, b"".join(f(1, f(2, d) if isinstance(d, str) else f(1, d)) for d in dims))))


def model(path, *parts, x=("N", 8), extra=b""):
    """One input x, one output y."""
    g = b"".join(parts) + f(2, "g") + f(11, value("x", *x)) + f(12, f(1, "y"))
    pathlib.Path(path).write_bytes(f(1, 8) + f(7, g) + f(8, f(2, 17)) + extra)


W = struct.pack("<8f", *range(8))
SUM = node("ReduceSum", ["c"], "r", keepdims=0) + node("Add", ["x", "r"], "y")
N = 4000  # nodes of long lists: enough to see a square, few enough for a busy machine
MODELS = {
    "a constant of 10^9": (node("ConstantOfShape", ["s"], "c"), SUM, ints("s", 10**9)),
    "a constant of 10^15": (node("ConstantOfShape", ["s"], "c"), SUM, ints("s", 10**5, 10**5, 10**5)),
    "expanded to 8 * 10^10": (node("Expand", ["w", "s"], "c"), SUM, floats("w", [8], W), ints("s", 10**5, 10**5, 8)),
    "tiled 10^9 times": (node("Tile", ["w", "s"], "c"), SUM, floats("w", [8], W), ints("s", 10**9)),
    "a range of 10^10": (node("Range", ["a", "b", "d"], "i"), node("Cast", ["i"], "c", to=1), SUM, ints("a", 0, dims=[]), ints("b", 10**10, dims=[]),
                         ints("d", 1, dims=[])),
    "padded by 10^9": (node("Pad", ["w", "p"], "c"), SUM, floats("w", [8], W), ints("p", 10**9, 10**9)),
    "a shape of 2^62": (node("Add", ["x", "w"], "y"), floats("w", [1 << 31, 1 << 31], W)),
    "a chain": tuple(node("Relu", [f"h{i - 1}" if i else "x"], f"h{i}" if i < N - 1 else "y") for i in range(N)),
    "many initializers": tuple(node("Add", [f"h{i - 1}" if i else "x", f"w{i}"], f"h{i}" if i < N - 1 else "y") for i in range(N)) +
                         tuple(floats(f"w{i}", [8], W) for i in range(N)),
    "many names of nothing": (node("Relu", ["x"], "y"),) + tuple(f(13, value(f"v{i}", "N", 8)) for i in range(20 * N)),
    "one name many times": (node("Relu", ["x"], "y"),) + tuple(floats("w", [8], W) for _ in range(N)),
    "many unknown operators": tuple(node("Foo", ["x"], f"h{i}") for i in range(N)) + (node("Sum", [f"h{i}" for i in range(N)], "y"),),
    "a very wide sum": (node("Sum", ["x"] * (10 * N), "y"),),
}


def onnx_files():
    for what, parts in MODELS.items():
        model("m.onnx", *parts)
        many = what in ("many unknown operators", "one name many times")  # each is named, up to a bound
        for command in ("check", "compile"):
            if many:
                start = time.time()
                p = subprocess.run([SMKDC, command, "m.onnx"], capture_output=True, preexec_fn=limited, timeout=SECONDS)
                lines = len(p.stderr.splitlines())
                report(f"{what}, {command}", p.returncode == 1 and lines <= 1100, f"exit {p.returncode}, {lines} lines, {time.time() - start:.1f} s")
            else:
                attempt(f"{what}, {command}", SMKDC, command, "m.onnx", *(["-o", "m.smkd"] if command == "compile" else []), ok=True)
    # A function that calls another twice, which calls another twice ...: 2^30 nodes once they are inlined.
    call = lambda k, i, o: f(7, f(1, i) + f(2, o) + f(4, f"F{k + 1}" if k < 30 else "Relu") + (f(7, "d") if k < 30 else b""))
    model("m.onnx", f(1, f(1, "x") + f(2, "y") + f(4, "F1") + f(7, "d")),
          extra=b"".join(f(25, f(1, f"F{k}") + f(4, "a") + f(5, "b") + f(10, "d") + call(k, "a", "t") + call(k, "t", "b")) for k in range(1, 31)))
    attempt("2^30 nodes of functions", SMKDC, "check", "m.onnx", mib=2 * MIB)  # refused at 2^18
    attempt("a bound of the user's", SMKDC, "check", "a.onnx", "--max-memory", "64K", words="memory")


def report(what, good, text):
    global bad
    bad += not good
    print(f"{'ok   ' if good else 'FAULT'} {what}: {text}", flush=True)


def gz(path, head, size):
    """`size` zeros behind a header."""
    with gzip.open(path, "wb", 9) as out:
        out.write(head)
        for _ in range(size >> 20):
            out.write(bytes(1 << 20))


def tensors():
    npy = lambda shape: b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    infer = lambda what, **more: attempt(what, RUN, "infer", "a.smkd", "--input", "x=x.npy", "-o", "o.st", **more)
    for what, data in (("npy of 2^40 elements", npy("(1099511627776, 1, 8, 8)") + bytes(256)), ("npy of 2^62", npy("(2147483648, 2147483648, 1)") + bytes(64)),
                       ("npy of a long header", b"\x93NUMPY\x02\x00" + struct.pack("<I", 0xfffffff0) + bytes(100)), ("npy of nothing", npy("(0, 1, 8, 8)"))):
        pathlib.Path("x.npy").write_bytes(data)
        infer(what)
    pathlib.Path("x.npy").write_bytes(npy("(1, 1, 8, 8)") + bytes(256))
    weights = lambda what: attempt(what, RUN, "infer", "a.smkd", "--input", "x=x.npy", "--weights", "w.st", "-o", "o.st")
    for what, head, data in (
            ("60,000 tensors of nothing", json.dumps({f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(60000)}), b""),
            ("60,000 times one name", "{" + ",".join('"t":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' for _ in range(60000)) + "}", b""),
            ("a tensor of 2^52", json.dumps({"w": {"dtype": "F32", "shape": [1 << 26, 1 << 26], "data_offsets": [0, 1 << 52]}}), bytes(64)),
            ("a header of brackets", "[" * 2000000, b""), ("60,000 notes", json.dumps({"__metadata__": {f"k{i}": "v" for i in range(60000)}}), b"")):
        pathlib.Path("w.st").write_bytes(struct.pack("<Q", len(head)) + head.encode() + data)
        weights(what)
    pathlib.Path("w.st").write_bytes(struct.pack("<Q", 1 << 62) + b"{}")
    weights("a header of 2^62 bytes")


def data_sets():
    train = lambda what, **more: attempt(what, RUN, "train", "--peer", "a.smkd", "--peer", "a.smkd", "--data", "d", "--loss", "L.smkd", "--epochs", 1, "--batch-size", 8, "-o",
                                         "r", "--overwrite", "-q", **more)
    os.makedirs("d")
    labels = struct.pack(">II", 0x801, 16) + bytes(i % 10 for i in range(16))
    for part in ("train", "t10k"):
        pathlib.Path(f"d/{part}-labels-idx1-ubyte").write_bytes(labels)
        pathlib.Path(f"d/{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 0x803, 16, 8, 8) + bytes(1024))
    os.remove("d/train-images-idx3-ubyte")
    gz("d/train-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, 16, 4000, 4000), 256 << 20)
    train("images of 4000x4000 for a model of 8x8")
    gz("d/train-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, 4 << 20, 8, 8), 256 << 20)
    train("four million images and 16 labels")
    gz("d/train-images-idx3-ubyte.gz", struct.pack(">IIII", 0x803, 16, 8, 8) + bytes(1024), 512 << 20)
    train("half a gigabyte behind the last image")
    attempt("images as labels", RUN, "train", "--peer", "a.smkd", "--peer", "a.smkd", "--data", "d", "--labels", "d/train-images-idx3-ubyte.gz", "--epochs", 1, "-o", "r")
    os.makedirs("run")
    pathlib.Path("run/config.json").write_text("[" * 1000000)
    attempt("config.json of brackets", RUN, "eval", "run")
    pathlib.Path("run/config.json").write_text("{" + ",".join(f'"k{i}": 1' for i in range(200000)) + "}")
    attempt("config.json of 200,000 keys", RUN, "eval", "run")


def pictures():
    chunk = lambda t, d: struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    os.makedirs("p")
    pathlib.Path("p/bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)) +
                                           chunk(b"IDAT", zlib.compress(bytes(1 << 20))) + chunk(b"IEND", b""))
    pathlib.Path("p/text.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)) +
                                           chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(512 << 20), 9)) + chunk(b"IDAT", zlib.compress(bytes(200))) + chunk(b"IEND", b""))
    pathlib.Path("p/bomb.bmp").write_bytes(b"BM" + struct.pack("<IHHIIiiHHIIiiII", 1100, 0, 0, 1078, 40, 60000, 60000, 1, 8, 1, 0, 0, 0, 0, 0) + bytes(1030))
    for name in ("bomb.png", "bomb.bmp", "text.png"):
        attempt(name, RUN, "predict", "a.smkd", f"p/{name}", ok=name == "text.png", lines=2)  # of the file, and how many there were


def listings():
    train = lambda what, data, **more: attempt(what, RUN, "train", "--peer", "a.smkd", "--data", data, "--loss", "ce", "--epochs", 1, "-o", "r", "--overwrite", "-q", *more.pop("flags", ()), **more)
    os.makedirs("l")
    for what, name, text in (
            ("a table of 1,100,000 labels", "labels.csv", "path,label\n" + "".join(f"{i},x{i}\n" for i in range(1100000))),
            ("a table of a million columns", "columns.csv", "a," * 1000000 + "\n"),
            ("a quote that never ends", "quote.csv", 'path,label\n"' + "x\n" * 4000000),
            ("JSON of brackets", "brackets.jsonl", '{"a":' * 2000000),
            ("an object of 200,000 keys", "keys.jsonl", "{" + ",".join(f'"k{i}":1' for i in range(200000)) + "}"),
            ("class 2^40", "class.csv", f"path,label\na.jpg,{1 << 40}\n")):
        pathlib.Path(f"l/{name}").write_text(text)
        train(what, f"l/{name}", words=name)
    pathlib.Path("l/long.csv").write_text("path,label\n" + "a,0\n" * 2000000)
    train("a root before each of two million rows", "l/long.csv", flags=("--image-root", "r" * 3000, "--max-memory", "500M"), words="long.csv")
    for i in range(24):  # two links to each next folder
        os.makedirs(f"links/{i}/a")
        for name in "xy":
            os.symlink(f"../{i + 1}", f"links/{i}/{name}")
    pathlib.Path("links/24").mkdir()
    pathlib.Path("links/24/1.jpg").write_bytes(b"")
    train("2^24 ways to a picture", "links", words="links")

    def npz(what, shape, claim, deflated):
        """An archive whose x claims more than there is."""
        entries, directory = b"", b""
        for name, body, size in (("x_train.npy", deflated, claim), ("y_train.npy", zlib.compress(b"y")[2:-4], 1)):
            h = struct.pack("<HHHIIIIHH", 20, 0, 8, 0, 0, len(body), size, len(name), 0) + name.encode()
            directory += b"PK\1\2\x14\0" + h[:26] + bytes(10) + struct.pack("<I", len(entries)) + name.encode()
            entries += b"PK\3\4" + h + body
        pathlib.Path("l/x.npz").write_bytes(entries + directory + b"PK\5\6" + struct.pack("<HHHHIIH", 0, 0, 2, 2, len(directory), len(entries), 0))
        train(what, "l/x.npz", words="x.npz")

    deflate = lambda n: zlib.compress(bytes(n), 9)[2:-4]
    npz("an .npz that claims 4 GiB", "", 0xfffffffe, deflate(1000))
    npz("an .npz of half a gigabyte of zeros", "", 512 << 20, deflate(512 << 20))
    pathlib.Path("l/x.npy").write_bytes(b"\x93NUMPY\1\0\x76\0" + b"{'descr': '|u1', 'fortran_order': False, 'shape': (1099511627776, 1, 8, 8), }".ljust(117) + b"\n")
    train("arrays that claim 2^46 bytes", "l/x.npy,l/x.npy", words="x.npy")


def main():
    for cmd in ((SMKDC, "new", "resnet8", "--width", 4, "--input", "1x8x8", "--classes", 10, "-o", "a.onnx"), (SMKDC, "compile", "a.onnx", "--max-batch", 64),
                (SMKDC, "loss", "ce", "--classes", 10, "--max-batch", 64, "-o", "L.smkd")):
        subprocess.run([str(c) for c in cmd], check=True)
    onnx_files()
    tensors()
    data_sets()
    listings()
    pictures()
    sys.exit(bad > 0)


main()
