"""ONNX's own tests of operators: every one passes, or is refused in one line, as the ledger says.

A test is a folder with model.onnx and test_data_set_K/{input,output}_I.pb. Each is compiled and run as a user would: `smkdc compile`, where an
operand decides shapes with --shape-input and its numbers, then `smkd-run infer`. A line of a ledger is one of

    NAME pass [gradient] [options of compile]
    NAME refused: what smkdc says
    NAME apart: why its results are no others' (APART below)

`gradient`: what is compiled has gradients of float32 that are not zero and that agree with finite differences (`smkdc verify --gradients`). It is looked at
for a third of the tests, or as SMKD_GRADIENTS says: all, third, none.

Wrong results, wrong gradients, crashes and silence are none of these: they fail, whatever a ledger says. Needs nothing but Python's own library.

usage: node_tests.py FOLDER LEDGER [--update] [PART ...]     (PART: tests whose names contain it)
"""
import collections
import concurrent.futures
import json
import math
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile
import zlib

BUILD = pathlib.Path(os.environ.get("SMKD_BUILD", "build")).resolve()
SMKDC, RUN = BUILD / "smkdc", BUILD / "smkd-run"
RTOL, ATOL = 1e-3, 1e-7  # what ONNX's own runner demands
# Of 16-bit floats the last two bits: several operators in a row round more or less often.
RTOLS = {10: 2**-9, 16: 2**-6}

# What `infer` means is another thing than these ask for, or their numbers are of another generator.
APART = (
    (re.compile(r"test_training_dropout(?!_zero)"), "its mask is numpy's random numbers"),
    (re.compile(r"test_batchnorm_.*training_mode"), "infer uses running statistics; smkd-run grad runs training mode"),
    (re.compile(r"test_bernoulli"), "random numbers of another generator"),
    (re.compile(r"test_dft_inverse"), "what should cancel is there as numpy's transform rounds it"),
    (re.compile(r"test_resize_downsample_scales_(linear|cubic)_align_corners"),
     "the corners of a size that is no whole number; onnxruntime and PyTorch have those of the one that results"),
    (re.compile(r"test_adam_multiple$"), "its results are those of an epsilon of 0.01, which its node does not have"),
)

# Gradients that are another thing than the slope, by agreement.
GRADIENT_APART = (
    (re.compile(r"test_(dynamic)?quantize|test_dequantize|test_qlinear"), "straight through the rounding"),
    (re.compile(r"test_attention_.*(fullymasked|nan_robustness|structural_empty|rank4_mask).*_expanded"),
     "a row that is masked whole is 0/0, which Where takes out of the values but not of the gradients, as in PyTorch"),
    (re.compile(r"float16|fp16|bfloat16|float8", re.I), "passes through the rounding to 16 bits"),
)
GRADIENTS = os.environ.get("SMKD_GRADIENTS", "third")

# ONNX's element types: numpy's letter and size, and struct's letter; None: no array of Python or numpy has them.
TYPES = {1: ("<f4", "f"), 2: ("|u1", "B"), 3: ("|i1", "b"), 4: ("<u2", "H"), 5: ("<i2", "h"), 6: ("<i4", "i"), 7: ("<i8", "q"), 9: ("|b1", "B"),
         10: ("<f2", "e"), 11: ("<f8", "d"), 12: ("<u4", "I"), 13: ("<u8", "Q")}
BF16 = 16
SAFE = {"F32": (1, "f"), "F64": (11, "d"), "F16": (10, "e"), "BF16": (16, "H"), "I64": (7, "q"), "I32": (6, "i"), "I16": (5, "h"), "I8": (3, "b"),
        "U64": (13, "Q"), "U32": (12, "I"), "U16": (4, "H"), "U8": (2, "B"), "BOOL": (9, "B")}


class Other(Exception):
    """A value that is no tensor of numbers."""


class Wrong(Exception):
    """What no ledger excuses."""


# --- protobuf -------------------------------------------------------------------------------------------------------

def varint(b, at):
    n = shift = 0
    while True:
        n |= (b[at] & 127) << shift
        at += 1
        if b[at - 1] < 128:
            return n, at
        shift += 7


def fields(b):
    """{number: values in order}: ints of varints, bytes of everything else."""
    out, at = collections.defaultdict(list), 0
    while at < len(b):
        key, at = varint(b, at)
        kind = key & 7
        if kind == 0:
            v, at = varint(b, at)
        elif kind == 2:
            n, at = varint(b, at)
            v, at = b[at:at + n], at + n
        else:
            n = {1: 8, 5: 4}[kind]
            v, at = b[at:at + n], at + n
        out[key >> 3].append(v)
    return out


def ints(values):
    """Of a repeated integer field, packed or not."""
    out = []
    for v in values:
        if isinstance(v, int):
            out.append(v)
        else:
            at = 0
            while at < len(v):
                n, at = varint(v, at)
                out.append(n)
    return [n - 2**64 if n >= 2**63 else n for n in out]


class Tensor:
    def __init__(self, dims, type_, values):
        self.dims, self.type, self.values = tuple(dims), type_, values


def widened(bits):
    return list(struct.unpack(f"<{len(bits)}f", b"".join(struct.pack("<I", x << 16) for x in bits)))


def tensor(b):
    f = fields(b)
    type_, dims = (f[2] or [0])[0], ints(f[1])
    if type_ not in TYPES and type_ != BF16:
        raise Other(f"elements of type {type_}")
    n, letter = math.prod(dims), "H" if type_ == BF16 else TYPES[type_][1]
    if f[9]:
        values = list(struct.unpack(f"<{n}{letter}", f[9][0]))
    elif type_ in (1, 11):
        raw = b"".join(f[4] if type_ == 1 else f[10])
        values = list(struct.unpack(f"<{n}{letter}", raw))
    else:
        values = ints(f[7] if type_ == 7 else f[11] if type_ in (12, 13) else f[5])
        if type_ in (10,):
            values = list(struct.unpack(f"<{n}e", struct.pack(f"<{n}H", *values)))
        if type_ == 13:
            values = [v % 2**64 for v in values]
    if len(values) != n:
        raise Other("a tensor without its elements")
    return Tensor(dims, type_, widened(values) if type_ == BF16 else values)


def declared(value_info):
    """Name of a graph's input or output, and its element type; None where it is no tensor."""
    f = fields(value_info)
    kind = fields(f[2][0]) if f[2] else {}
    t = fields(kind[1][0]) if 1 in kind else None
    return f[1][0].decode(), t[1][0] if t and t[1] else None


# --- files ----------------------------------------------------------------------------------------------------------

def write_npy(path, t):
    descr, letter = ("<f4", "f") if t.type == BF16 else TYPES[t.type]
    head = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {t.dims!r}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    path.write_bytes(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + struct.pack(f"<{len(t.values)}{letter}", *t.values))


def read_safetensors(path):
    raw, out = path.read_bytes(), {}
    n = struct.unpack("<Q", raw[:8])[0]
    for name, d in json.loads(raw[8:8 + n]).items():
        if name == "__metadata__":
            continue
        type_, letter = SAFE[d["dtype"]]
        lo, hi = d["data_offsets"]
        values = list(struct.unpack(f"<{(hi - lo) // struct.calcsize('<' + letter)}{letter}", raw[8 + n + lo:8 + n + hi]))
        out[name] = Tensor(d["shape"], type_, widened(values) if type_ == BF16 else values)
    return out


def differ(got, want):
    """How a result is not the expected one; None: it is."""
    if got.dims != want.dims:
        return f"shape {list(got.dims)}, expected {list(want.dims)}"
    if got.type != want.type:
        return f"type {got.type}, expected {want.type}"
    real, rtol = want.type in (1, 10, 11, BF16), RTOLS.get(want.type, RTOL)
    for i, (g, w) in enumerate(zip(got.values, want.values)):
        if real and (math.isnan(w) or math.isnan(g)):
            good = math.isnan(w) and math.isnan(g)
        elif real and (math.isinf(w) or math.isinf(g)):
            good = g == w
        elif real:
            good = abs(g - w) <= ATOL + rtol * abs(w)
        else:
            good = g == w
        if not good:
            return f"element {i} is {g}, expected {w}"
    return None


# --- one test -------------------------------------------------------------------------------------------------------

def command(*args):
    p = subprocess.run([str(a) for a in args], stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=600)
    return p.returncode, p.stderr


def refusal(code, err, written):
    """The line of a proper refusal."""
    errors = [line for line in err.splitlines() if re.search(r"\berror: ", line)]
    if code != 1 or not errors:
        raise Wrong(f"exit {code}: {err.strip()[-300:] or 'no word'}")
    if written.exists():
        raise Wrong("refused, and yet it wrote a result")
    return re.sub(r"^.*?error: (?:\S+\.onnx: )?", "", errors[0])


def known(t):
    return ",".join(str(v) if isinstance(v, int) else repr(v) for v in t.values)


def compiled(folder, tmp, inputs):
    """Options with which it compiles, or a refusal's line as the second."""
    bound, artifact = {}, tmp / "m.smkd"
    while True:
        options = [x for name, t in bound.items() for x in ("--shape-input", f"{name}={known(t)}")]
        code, err = command(SMKDC, "compile", folder / "model.onnx", "-o", artifact, *options)
        if code == 0:
            return options, None
        line = refusal(code, err, artifact)
        asked = [n for n in re.findall(r"--shape-input (\S+?)=", err) if n in inputs and n not in bound]
        if not asked:
            return options, line
        bound.update((n, inputs[n]) for n in asked)


def values_of(folder, side, names):
    out = {}
    for i, (name, type_) in enumerate(names):
        path = folder / f"{side}_{i}.pb"
        if type_ is None or not path.exists():
            raise Other(f"{side} {name} is no tensor")
        t = tensor(path.read_bytes())
        out[name] = Tensor(t.dims, BF16, widened(t.values)) if type_ == BF16 and t.type == 4 else t  # their bits, in old releases
    return out


def given(tmp, feeds):
    """Writes the inputs; the arguments that name them."""
    args = []
    for i, (n, t) in enumerate(feeds.items()):
        write_npy(tmp / f"{i}.npy", t)
        args += ["--input", f"{n}={tmp / str(i)}.npy"]
    return args


def gradient(folder, tmp, options, ins, data):
    """["gradient"] where there is one, ["?"] where that is not looked at."""
    if GRADIENTS == "none" or (GRADIENTS == "third" and zlib.crc32(folder.name.encode()) % 3):
        return ["?"]
    if not any(type_ == 1 for _, type_ in ins) or any(p.search(folder.name) for p, _ in GRADIENT_APART):
        return []
    args = given(tmp, values_of(data, "input", ins))
    p = subprocess.run([str(x) for x in (SMKDC, "verify", folder / "model.onnx", "--reference", "interpreter", "--gradients", *options, *args)],
                       stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=900)
    line = next((x for x in p.stdout.splitlines() if x.startswith("gradients ")), "")
    if p.returncode or not line:
        raise Wrong(f"verify ends with {p.returncode}: {(p.stdout + p.stderr).strip()[-300:]}")
    n = [int(x) for x in re.findall(r"of (\d+) comparisons (\d+) zero, (\d+) undecided", line)[0]] if "comparisons" in line else [0, 0, 0]
    return ["gradient"] if n[0] > n[1] + n[2] else []


def check(folder):
    """The ledger's words."""
    name = folder.name
    graph = fields(fields((folder / "model.onnx").read_bytes())[7][0])
    stored = {fields(t)[8][0].decode() for t in graph[5] if fields(t)[8]}
    ins = [d for d in map(declared, graph[11]) if d[0] not in stored]
    outs = [declared(v) for v in graph[12]]
    sets = sorted(folder.glob("test_data_set_*"))
    apart = next((why for pattern, why in APART if pattern.match(name)), None)
    with tempfile.TemporaryDirectory(prefix="smkd-node-") as tmp:
        tmp = pathlib.Path(tmp)
        try:
            inputs = values_of(sets[0], "input", ins)
        except Other:
            inputs = {}
        options, line = compiled(folder, tmp, inputs)
        if line:
            return f"refused: {line}"
        if apart:
            return f"apart: {apart}"
        for data in sets:
            try:
                feeds, wants = values_of(data, "input", ins), values_of(data, "output", outs)
            except Other as e:
                raise Wrong(f"compiled, though {e}") from None
            args = given(tmp, feeds)
            result = tmp / "o.safetensors"
            result.unlink(missing_ok=True)
            code, err = command(RUN, "infer", tmp / "m.smkd", *args, "-o", result)
            if code:
                return f"refused: {refusal(code, err, result).replace(str(tmp) + '/', '')}"
            got = read_safetensors(result)
            for n, want in wants.items():
                if n not in got:
                    raise Wrong(f"no result {n}")
                wrong = differ(got[n], want)
                if wrong:
                    raise Wrong(f"{n}: {wrong}")
        return " ".join(["pass", *gradient(folder, tmp, options, ins, sets[0]), *options])


# --- the ledger -----------------------------------------------------------------------------------------------------

def read_ledger(path):
    lines = path.read_text().splitlines() if path.exists() else []
    return dict(line.split(" ", 1) for line in lines if line and not line.startswith("#"))


def words(said):
    """Options hold numbers of data that may have been drawn at random: their names are what is compared."""
    return re.sub(r"(--shape-input \S+?)=\S*", r"\1", said)


def same(said, ledger):
    """Whether they agree; a gradient that was not looked at is as the ledger has it."""
    return said == ledger or said.replace(" ?", "") == ledger or said.replace(" ?", " gradient") == ledger


def folders(root):
    """Tests by name, sorted; those that a runtime is given for its speed alone have no data."""
    found = {}
    for where, _, files in sorted(os.walk(root, followlinks=True)):
        where = pathlib.Path(where)
        if "model.onnx" in files and any(where.glob("test_data_set_*")):
            found.setdefault(where.name, where)
    return found


def main(root, ledger, update=False, parts=(), strict=True):
    """Exit code. `ledger` is compared with, or written. Not strict: of another release, whose other tests may be there or not."""
    if not pathlib.Path(root).is_dir():
        print(f"skipped: {root} is not there (Debian's libonnx-testdata)")
        return 77
    tests = {n: f for n, f in folders(root).items() if not parts or any(p in n for p in parts)}
    old, new, wrong = read_ledger(ledger), {}, {}

    def one(item):
        try:
            return item[0], words(check(item[1])), None
        except Wrong as e:
            return item[0], None, str(e)
        except subprocess.TimeoutExpired:
            return item[0], None, "takes more than ten minutes"

    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("SMKD_JOBS", "2"))) as pool:
        for name, said, fault in pool.map(one, tests.items()):
            if fault:
                wrong[name] = fault
            else:
                new[name] = said
    count = collections.Counter(said.split()[0].rstrip(":") for said in new.values())
    for name, fault in wrong.items():
        print(f"WRONG {name}: {fault}")
    if update:
        new = {n: old[n] if n in old and same(s, old[n]) else s for n, s in new.items()}
        merged = {**(old if parts else {}), **new} if parts else new
        head = [line for line in ledger.read_text().splitlines() if line.startswith("#")] if ledger.exists() else []
        ledger.write_text("\n".join([*head, *(f"{n} {merged[n]}" for n in sorted(merged))]) + "\n")
        changed = {}
    else:
        changed = {n: s for n, s in new.items() if not same(s, old.get(n, "")) and (strict or n in old)}
        lost = [] if parts or not strict else sorted(set(old) - set(tests))
        for name, said in changed.items():
            print(f"DIFFERS {name}: {said}\n        ledger: {old.get(name, 'has no such test')}")
        for name in lost:
            print(f"DIFFERS {name}: the ledger has it, the folder does not")
        changed.update(dict.fromkeys(lost))
    print(f"{len(tests)} tests: {count['pass']} pass, {count['refused']} refused, {count['apart']} apart, {len(wrong)} wrong; "
          f"{len(changed)} differ from {ledger.name}")
    return 1 if wrong or changed else 0


if __name__ == "__main__":
    args = [a for a in sys.argv[1:] if a != "--update"]
    if len(args) < 2:
        sys.exit(__doc__)
    sys.exit(main(args[0], pathlib.Path(args[1]), "--update" in sys.argv, args[2:]))
