"""What the oracle tests share: where the tools are, running them, tensor files, comparing, exporting and compiling models."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

import numpy as np

BUILD = pathlib.Path(os.environ.get("SMKD_BUILD", "build")).resolve()
SRC = pathlib.Path(os.environ.get("SMKD_SRC", pathlib.Path(__file__).resolve().parents[2])).resolve()
SMKDC, RUN, STEPS = BUILD / "smkdc", BUILD / "smkd-run", BUILD / "tests" / "oracle_steps"
FULL = os.environ.get("SMKD_FULL") == "1"  # the sizes and dialects that do not fit the ten minutes of a plain run
MCPU = os.environ.get("SMKD_MCPU", "native")  # x86-64-v3 tests the AVX2 kernels on a machine that has more
FASHION = pathlib.Path("/usr/share/datasets/fashion-mnist")  # where Debian's dataset-fashion-mnist puts it
CLASSES = 10


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def need(*modules):
    """Imports modules by name; the whole test is skipped, not passed, where one cannot be had."""
    import importlib
    got = []
    for name in modules:
        try:
            got.append(importlib.import_module(name))
        except Exception as e:  # a broken wheel fails in many ways; none of them is a defect of what is tested here
            skip(f"python module {name} cannot be imported ({type(e).__name__}: {e})")
    return got


def need_tools(*tools):
    for t in tools or (SMKDC, RUN):
        if not t.exists():
            skip(f"{t.name} has not been built")


class CommandFailed(AssertionError):
    pass


def run(*cmd, timeout=1800, ok=True, env=None):
    """Runs a command and returns its CompletedProcess; a failure carries the command and its last lines."""
    cmd = [str(c) for c in cmd]
    p = subprocess.run(cmd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout,
                       env={**os.environ, **(env or {})})
    if ok and p.returncode != 0:
        tail = "\n".join((p.stdout + p.stderr).splitlines()[-12:])
        raise CommandFailed(f"exit {p.returncode}: {' '.join(cmd)}\n{tail}")
    return p


@contextlib.contextmanager
def temp_dir():
    """A folder for the files of one model, which may be a gigabyte: it goes with the block. SMKD_KEEP=1 leaves it and says where."""
    if os.environ.get("SMKD_KEEP") == "1":
        path = tempfile.mkdtemp(prefix="smkd-oracle-")
        print(f"kept: {path}")
        yield pathlib.Path(path)
    else:
        with tempfile.TemporaryDirectory(prefix="smkd-oracle-") as path:
            yield pathlib.Path(path)


# --- tensor files ---------------------------------------------------------------------------------------------------

ST_DTYPES = {"F32": np.float32, "F64": np.float64, "F16": np.float16, "I64": np.int64, "I32": np.int32, "I16": np.int16, "I8": np.int8,
             "U64": np.uint64, "U32": np.uint32, "U16": np.uint16, "U8": np.uint8, "BOOL": np.bool_}


def read_safetensors(path):
    """{name: array}. Written out here so that the losses need numpy only, and as a second reader of the format."""
    raw = pathlib.Path(path).read_bytes()
    n = int.from_bytes(raw[:8], "little")
    out = {}
    for name, d in json.loads(raw[8:8 + n]).items():
        if name != "__metadata__":
            lo, hi = d["data_offsets"]
            out[name] = np.frombuffer(raw[8 + n + lo:8 + n + hi], ST_DTYPES[d["dtype"]]).reshape(d["shape"]).copy()
    return out


def write_safetensors(path, tensors):
    names = {v: k for k, v in ST_DTYPES.items()}
    head, blobs, at = {}, [], 0
    for k, v in tensors.items():
        v = np.ascontiguousarray(v)
        head[k] = {"dtype": names[v.dtype.type], "shape": list(v.shape), "data_offsets": [at, at + v.nbytes]}
        blobs.append(v.tobytes())
        at += v.nbytes
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(len(text).to_bytes(8, "little") + text + b"".join(blobs))


def options(tmp, values, what):
    """Arguments --`what` NAME=FILE.npy for arrays by name, which are written there."""
    out = []
    for n, v in values.items():
        np.save(tmp / f"{what}_{n}.npy", v)
        out += [f"--{what}", f"{n}={tmp}/{what}_{n}.npy"]
    return out


def save_onnx(path, nodes, ins, outs, weights=()):
    """A file of opset 17; weights: pairs of a name and an array."""
    import onnx
    from onnx import helper, numpy_helper
    g = helper.make_graph(nodes, "g", ins, outs, [numpy_helper.from_array(v, k) for k, v in weights])
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))


# --- comparing ------------------------------------------------------------------------------------------------------

def rel(got, want, floor=0.0):
    """|got - want| / max(|want|, floor) in the Euclidean norm, in float64. NaN and shape mismatches are errors."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape, f"shape {got.shape} instead of {want.shape}"
    if not np.isfinite(got).all():
        return np.inf if np.isfinite(want).all() else float(not np.array_equal(got, want))
    err, norm = np.linalg.norm((got - want).ravel()), max(np.linalg.norm(want.ravel()), floor)
    return err / norm if norm else err


class Report:
    """Collects named checks, prints one line each, and ends the program with 0 or 1."""

    def __init__(self):
        self.failed, self.passed, self.start = [], 0, time.time()

    def check(self, what, value, limit):
        good = bool(value <= limit)
        self.passed += good
        if not good:
            self.failed.append(what)
        print(f"{'ok  ' if good else 'FAIL'} {what}: {value:.2e} (limit {limit:.0e})", flush=True)
        return good

    def fail(self, what, why):
        self.failed.append(what)
        print(f"FAIL {what}: {why}", flush=True)

    def guard(self, what, f, *args):
        """Runs f; an exception is that check's failure and the rest goes on."""
        try:
            f(*args)
        except Exception as e:
            self.fail(what, f"{type(e).__name__}: {e}")

    def guard_in_folder(self, what, f, *args):
        """guard() with a folder of its own as f's last argument."""
        def within():
            with temp_dir() as tmp:
                f(*args, tmp)
        self.guard(what, within)

    def end(self):
        print(f"{self.passed} passed, {len(self.failed)} failed in {time.time() - self.start:.0f} s")
        for f in self.failed:
            print(f"  failed: {f}")
        sys.exit(1 if self.failed or not self.passed else 0)


# --- models -----------------------------------------------------------------------------------------------------------

# name: (side of the input, batch) for an ordinary run, chosen so that the float32 gradient is well conditioned: BatchNorm
# over a handful of values amplifies rounding noise in PyTorch itself to more than the limits of these tests.
TORCH_MODELS = {
    "resnet18": (64, 8),
    "resnet34": (64, 8),
    "resnet50": (64, 8),
    "resnext50_32x4d": (64, 8),
    "shufflenet_v2_x1_0": (64, 8),
    "vgg16_bn": (224, 2),  # its adaptive pool exports at multiples of 224 only
    "mobilenet_v2": (64, 8),
    "inception_resnet_v2": (139, 4),
}
BUILTIN_MODELS = {  # smkdc new ARCH arguments: (shape of the input, further flags)
    "resnet8": ((3, 32, 32), []),
    "resnet20": ((3, 32, 32), []),
    "resnet32": ((3, 32, 32), []),
    "resnet18": ((3, 32, 32), []),
    "resnet34": ((3, 32, 32), []),
    "resnet50": ((3, 64, 64), []),
    "resnext50_32x4d": ((3, 64, 64), []),
    "preact_resnet18": ((3, 32, 32), []),
    "shufflenet_v2_x1_0": ((3, 64, 64), []),
    "inception_resnet_v2": ((3, 139, 139), []),
}


def torch_model(name, seed=0):
    """A torchvision or timm classifier of CLASSES classes with dropout off, in train mode."""
    import types
    # The compiled ops of torchvision do not load beside a CPU-only torch; its models do not need them.
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    import torch
    torch.manual_seed(seed)
    if name == "inception_resnet_v2":
        import timm
        m = timm.create_model(name, num_classes=CLASSES)
    else:
        from torchvision import models
        m = getattr(models, name)(num_classes=CLASSES)
    for x in m.modules():
        if isinstance(x, torch.nn.Dropout):
            x.p = 0.0
    rng = np.random.default_rng(seed)
    for x in m.modules():
        if isinstance(x, torch.nn.BatchNorm2d):
            for t, v in zip((x.weight, x.bias, x.running_mean, x.running_var), bn_values(rng, x.num_features)):
                t.data.copy_(torch.from_numpy(v))
    return m.train()


def bn_values(rng, channels):
    """(scale, bias, mean, variance) that make gradients comparable in float32.

    A ReLU whose operand is within rounding of 0 passes its gradient in one program and not in the other. With bias 0 so many
    of them are that PyTorch's own float32 gradient is 1 to 3 % off its float64 gradient. Four standard deviations to
    either side there are next to none, and both halves of the ReLU are still used.
    """
    scale = rng.uniform(0.3, 0.5, channels)
    side = np.where(rng.random(channels) < 0.8, 4.0, -4.0)
    mean, var = rng.normal(0, 0.1, channels), rng.uniform(0.8, 1.2, channels)
    return [v.astype(np.float32) for v in (scale, scale * side, mean, var)]


def spread_batchnorm(src, dst, seed=0):
    """The same for an ONNX file: rewrites the initializers of its BatchNormalization nodes."""
    import onnx
    from onnx import numpy_helper
    m = onnx.load(str(src))
    rng = np.random.default_rng(seed)
    inits = {t.name: t for t in m.graph.initializer}
    for n in m.graph.node:
        if n.op_type == "BatchNormalization":
            names = n.input[1:5]
            for name, v in zip(names, bn_values(rng, inits[names[0]].dims[0])):
                inits[name].CopyFrom(numpy_helper.from_array(v, name))
    onnx.save(m, str(dst))


def export(model, path, dialect, hw):
    """Writes `model` as ONNX the way users do: ts (TorchScript, training), dyn (default, eval, BatchNorm folded), dyntrain."""
    import copy
    import warnings
    import torch
    m, x = copy.deepcopy(model), torch.randn(2, 3, hw, hw)  # tracing in train mode moves the running statistics
    names = dict(input_names=["x"], output_names=["logits"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dialect == "ts":
            torch.onnx.export(m.train(), (x,), str(path), dynamo=False, training=torch.onnx.TrainingMode.TRAINING,
                              do_constant_folding=False, opset_version=17,
                              dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}}, **names)
        elif dialect == "dyn":
            torch.onnx.export(m.eval(), (x,), str(path), verbose=False, **names)
        else:
            torch.onnx.export(m.train(), (x,), str(path), optimize=False, verbose=False, **names)


def take_weights(model, onnx_path):
    """Copies the file's initializers into the module: tracing in train mode moved the running statistics before they were saved."""
    import onnx
    import torch
    state = {**dict(model.named_parameters()), **dict(model.named_buffers())}
    for t in onnx.load(str(onnx_path)).graph.initializer:
        if t.name in state and state[t.name].is_floating_point():
            state[t.name].data.copy_(torch.from_numpy(onnx.numpy_helper.to_array(t).copy()))
    return model


def onnx_of(name, dialect, hw, tmp):
    """TMP/model.onnx as exported; seed 0, so that torch_model(name) has the same weights. Its weights may lie beside it."""
    export(torch_model(name), tmp / "model.onnx", dialect, hw)
    return tmp / "model.onnx"


def compiled(onnx_path, max_batch=64, *flags):
    """The artifact of an ONNX file, beside it."""
    path = onnx_path.with_suffix(".smkd")
    run(SMKDC, "compile", onnx_path, "-o", path, "--max-batch", max_batch, "--mcpu", MCPU, *flags)
    return path


def builtin(arch, tmp):
    """TMP/model.onnx from `smkdc new ARCH`."""
    shape, flags = BUILTIN_MODELS[arch]
    run(SMKDC, "new", arch, "-o", tmp / "model.onnx", "--input", "x".join(map(str, shape)), "--classes", CLASSES, *flags)
    return tmp / "model.onnx"
