"""What is a parameter: what `smkdc check` decides about the files of PyTorch's exporters against the module they came from.

Every parameter of the module that is in the file under its name is trained, no buffer is, and a file means the same when its
Constant nodes are made initializers or the other way round. Then what follows: buffers come out of training and export as they
went in, a frozen BatchNorm has PyTorch's gradients, a float16 model is trained and exported as float32.
"""
import copy
import re
import sys

import numpy as np

from common import (FULL, RUN, SMKDC, CLASSES, Report, compiled, need, need_tools, read_safetensors, rel, run, torch_model)
from test_other_models import MODELS as OTHER


def every_kind():
    """A module with every kind of tensor that files of exporters hold."""
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("centre", torch.tensor([0.5, 0.4, 0.3])[:, None, None])
            self.register_buffer("spread", torch.tensor([0.2, 0.3, 0.25])[:, None, None])
            k = torch.tensor([1.0, 2, 1])
            self.register_buffer("blur", (k[:, None] * k / 16).repeat(8, 1, 1, 1))
            self.register_buffer("mask", torch.full((9, 9), float("-inf")).triu(1))
            self.lifted = torch.linspace(0, 1, 8)
            self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
            self.prelu, self.prelu1 = nn.PReLU(8), nn.PReLU()
            self.layer, self.scale = nn.LayerNorm(8), nn.Parameter(torch.full((8,), 1e-6))
            self.qk, self.temperature = nn.Linear(8, 16), nn.Parameter(torch.tensor(0.7))
            self.position, self.token = nn.Parameter(torch.randn(1, 9, 8)), nn.Parameter(torch.zeros(1, 1, 8))
            self.gate = nn.Parameter(torch.ones(1))
            self.grn_gamma, self.grn_beta = nn.Parameter(torch.zeros(8)), nn.Parameter(torch.zeros(8))
            self.p = nn.Parameter(torch.ones(1) * 3)
            self.one, self.head = nn.Linear(8, 1), nn.Linear(8, CLASSES)

        def forward(self, x):
            x = (x - self.centre) / self.spread
            x = self.prelu1(self.prelu(self.norm(self.conv(x))))
            x = nn.functional.conv2d(x, self.blur, groups=8, stride=4)  # [N, 8, 2, 4]
            x = x.flatten(2).transpose(1, 2) + self.position[:, 1:]
            x = torch.cat([self.token + 0 * x[:, :1], x], 1)
            q, k = self.qk(self.layer(x)).chunk(2, -1)
            x = x + self.scale * ((q @ k.transpose(1, 2) / 8 ** 0.5 + self.mask).softmax(-1) @ x)
            g = x.norm(p=2, dim=1, keepdim=True)
            x = x + self.grn_gamma * (x * (g / (g.mean(-1, keepdim=True) + 1e-6))) + self.grn_beta
            x = nn.functional.gelu(x) * self.lifted * self.gate.tanh()
            x = x.abs().clamp(min=1e-6).pow(self.p).mean(1).pow(1 / self.p)
            return self.head(x) * self.temperature.exp() + self.one(x)
    return Model()


def export(model, path, dialect, side):
    """As users do: the TorchScript exporter in training and in eval mode, the default one optimised (eval) and not."""
    import warnings
    import torch
    m, x = copy.deepcopy(model), torch.randn(2, 3, *side)
    names = dict(input_names=["x"], output_names=["logits"])
    axes = dict(dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if dialect == "ts":
            torch.onnx.export(m.train(), (x,), str(path), dynamo=False, training=torch.onnx.TrainingMode.TRAINING,
                              do_constant_folding=False, opset_version=17, **axes, **names)
        elif dialect == "ts eval":
            torch.onnx.export(m.eval(), (x,), str(path), dynamo=False, opset_version=17, **axes, **names)
        elif dialect == "dyn":
            torch.onnx.export(m.eval(), (x,), str(path), verbose=False, **names)
        else:
            torch.onnx.export(m.train(), (x,), str(path), optimize=False, verbose=False, **names)


def decisions(path, *flags):
    """{name: (trained, rule)}, as check --verbose says it, and how many numbers are trained."""
    out = run(SMKDC, "check", "--verbose", path, *flags).stdout
    found = re.findall(r"^(parameter|constant) +(\S+): (.*)$", out, re.M)
    return {n: (kind == "parameter", why) for kind, n, why in found}, int(re.search(r"^parameters +(\d+) in", out, re.M)[1])


def against(report, what, model, path, whole):
    """`whole`: the file has the module's parameters under their names, all of them."""
    got, numbers = decisions(path)
    params, buffers = dict(model.named_parameters()), dict(model.named_buffers())
    lost = [f"{k} ({got[k][1]})" for k in params if k in got and not got[k][0]]
    moved = [f"{k} ({got[k][1]})" for k in buffers if k in got and got[k][0]]
    if lost or moved:
        report.fail(what, f"constant: {lost[:5]}; buffers that are trained: {moved[:5]}")
    elif whole:
        extra = sorted({k for k, v in got.items() if v[0]} ^ set(params))
        report.check(f"{what}: parameters that are not the module's {extra[:4]}", len(extra), 0)
        report.check(f"{what}: numbers", abs(numbers - sum(p.numel() for p in params.values())), 0)
    else:
        report.check(f"{what}: no parameter lost, no buffer trained", 0, 0)


def architecture(report, name, make, hw, dialects, tmp):
    m = make()
    for dialect in dialects:
        export(m, tmp / "m.onnx", dialect, (hw, hw))
        against(report, f"{name} {dialect}", m, tmp / "m.onnx", dialect in ("ts", "dyntrain"))


# --- one form or the other

def moved_constants(path, out):
    """Constant nodes as initializers, as optimizers do it: single numbers get the shape [1]."""
    import onnx
    m = onnx.load(str(path))
    keep = []
    for n in m.graph.node:
        t = n.attribute[0].t if n.op_type == "Constant" and n.attribute[0].name == "value" else None
        if t is None:
            keep.append(n)
        else:
            t = copy.deepcopy(t)
            t.name = n.output[0]
            if t.data_type == onnx.TensorProto.FLOAT and not t.dims:
                t.dims.append(1)
            m.graph.initializer.append(t)
    del m.graph.node[:]
    m.graph.node.extend(keep)
    onnx.save(m, str(out))


def moved_initializers(path, out):
    import onnx
    m = onnx.load(str(path))
    nodes = [onnx.helper.make_node("Constant", [], [t.name], value=t) for t in m.graph.initializer]
    del m.graph.initializer[:]
    rest = list(m.graph.node)
    del m.graph.node[:]
    m.graph.node.extend(nodes + rest)
    onnx.save(m, str(out))


def one_meaning(report, what, path, tmp):
    trained = lambda p: {k for k, v in decisions(p)[0].items() if v[0]}
    want = trained(path)
    for form, move in (("initializers", moved_constants), ("Constant nodes", moved_initializers)):
        move(path, tmp / "moved.onnx")
        report.check(f"{what} as {form}: parameters that differ", len(want ^ trained(tmp / "moved.onnx")), 0)


def kinds(report, dialect, tmp):
    import torch
    torch.manual_seed(0)
    m = every_kind()
    export(m, tmp / "m.onnx", dialect, (8, 16))
    against(report, f"every kind, {dialect}", m, tmp / "m.onnx", dialect in ("ts", "dyntrain"))
    one_meaning(report, f"every kind, {dialect}", tmp / "m.onnx", tmp)


# --- what follows from it

def data_set(tmp, channels, side):
    rng = np.random.default_rng(0)
    d = tmp / "cifar-10-batches-bin"
    d.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (16, 3073), dtype=np.uint8)
        records[:, 0] %= CLASSES
        (d / name).write_bytes(records.tobytes())
    return d


def train_and_export(path, data, tmp, *flags):
    import onnx
    artifact = compiled(path, 16, *flags)
    run(RUN, "train", "--peer", artifact, "--peer", artifact, "--data", data, "--epochs", 1, "--batch-size", 16, "--loss", "ce",
        "--output-dir", tmp / "run", "--overwrite")
    run(RUN, "export", tmp / "run", "-o", tmp / "out.onnx")
    m = onnx.load(str(tmp / "out.onnx"))
    onnx.checker.check_model(m, full_check=True)
    return m


def classifier():
    import torch
    from torch import nn

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("centre", torch.tensor([0.5, 0.4, 0.3])[:, None, None])
            self.register_buffer("table", torch.rand(8))
            self.conv, self.norm, self.head = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Linear(8, CLASSES)

        def forward(self, x):
            return self.head(nn.functional.gelu(self.norm(self.conv(x - self.centre))).mean((2, 3)) + self.table)
    torch.manual_seed(0)
    return Model()


def initializers(m):
    import onnx
    return {t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer}


def kept(report, tmp):
    """Buffers are the same bits after training; so is what the command line names; marks go with the file."""
    import onnx
    data = data_set(tmp, 3, 32)
    export(classifier(), tmp / "m.onnx", "dyntrain", (32, 32))
    first = initializers(onnx.load(str(tmp / "m.onnx")))
    for flags, moves in (((), {"conv.weight", "conv.bias", "norm.weight", "norm.bias", "norm.running_mean", "norm.running_var",
                               "head.weight", "head.bias"}),
                         (("--train-only", "head.*"), {"head.weight", "head.bias"}),
                         (("--constant", "conv.*", "--constant", "head.bias"),
                          {"norm.weight", "norm.bias", "norm.running_mean", "norm.running_var", "head.weight"})):
        out = initializers(train_and_export(tmp / "m.onnx", data, tmp, *flags))
        moved = {k for k in first if k in out and not np.array_equal(first[k], out[k])}
        gone = {k for k in first if k not in out and first[k].dtype == np.float32}
        report.check(f"train {' '.join(flags)}: moved or lost wrongly {sorted((moved ^ moves) | gone)}", len((moved ^ moves) | gone), 0)
    got, _ = decisions(tmp / "out.onnx")
    report.check("the exported file says what its buffers are", int(got["table"] != (False, "marked as a buffer by the exporter")), 0)


def half(report, dialect, dtype, tmp):
    import onnx
    import onnxruntime
    import torch
    data = data_set(tmp, 3, 32)
    m, path = classifier().to(getattr(torch, dtype)), tmp / "m.onnx"
    x = torch.randn(2, 3, 32, 32).to(getattr(torch, dtype))
    names = dict(input_names=["x"], output_names=["logits"])
    if dialect == "ts":
        torch.onnx.export(m.train(), (x,), str(path), dynamo=False, training=torch.onnx.TrainingMode.TRAINING,
                          do_constant_folding=False, opset_version=17, dynamic_axes={"x": {0: "N"}}, **names)
    else:
        torch.onnx.export(m.train(), (x,), str(path), verbose=False, optimize=False, **names)
    said = run(SMKDC, "check", path)
    report.check(f"{dtype} {dialect}: it is said", int("trained as float32" not in said.stdout + said.stderr), 0)
    out = train_and_export(path, data, tmp)
    other = {onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16, onnx.TensorProto.DOUBLE}
    report.check(f"{dtype} {dialect}: tensors of another type", sum(t.data_type in other for t in out.graph.initializer), 0)
    images = np.random.default_rng(1).standard_normal((5, 3, 32, 32)).astype(np.float32)
    s = onnxruntime.InferenceSession(out.SerializeToString(), providers=["CPUExecutionProvider"])
    want = s.run(None, {"x": images})[0]
    np.save(tmp / "x.npy", images)
    artifact = compiled(tmp / "out.onnx", 16)
    run(RUN, "infer", artifact, "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "o.st")
    report.check(f"{dtype} {dialect}: exported, against onnxruntime", rel(read_safetensors(tmp / "o.st")["logits"], want), 1e-5)


def frozen_norm(report, tmp):
    """One BatchNorm of two in eval mode while the module is traced: its gradients are those through its statistics."""
    import torch
    from torch import nn
    torch.manual_seed(0)
    m = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8))
    for n in (m[1], m[4]):
        nn.init.uniform_(n.running_mean, -1, 1), nn.init.uniform_(n.running_var, 0.5, 2), nn.init.uniform_(n.bias, -1, 1)
    m.train()
    m[1].eval()
    torch.onnx.export(copy.deepcopy(m), (torch.randn(2, 3, 9, 9),), str(tmp / "m.onnx"), dynamo=False, do_constant_folding=False,
                      training=torch.onnx.TrainingMode.PRESERVE, opset_version=17, input_names=["x"], output_names=["y"],
                      dynamic_axes={"x": {0: "N"}, "y": {0: "N"}})
    from common import take_weights
    m = take_weights(m, tmp / "m.onnx").double()
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((6, 3, 9, 9)).astype(np.float32), rng.standard_normal((6, 8, 5, 5)).astype(np.float32)
    np.save(tmp / "x.npy", x), np.save(tmp / "dy.npy", dy)
    artifact = compiled(tmp / "m.onnx", 8)
    run(RUN, "grad", artifact, "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"y={tmp / 'dy.npy'}", "-o", tmp / "g.st")
    got = read_safetensors(tmp / "g.st")
    y = m(torch.tensor(x).double())
    y.backward(torch.tensor(dy).double())
    report.check("frozen norm: value", rel(got["y"], y.detach().numpy()), 1e-5)
    for k, p in m.named_parameters():
        report.check(f"frozen norm: gradient of {k}", rel(got[k], p.grad.numpy(), 1.0), 1e-4)
    said = run(SMKDC, "check", tmp / "m.onnx")
    report.check("frozen norm: it is said", int("1 of 2 BatchNormalization nodes stay frozen" not in said.stdout + said.stderr), 0)


def main():
    import types
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    need("torch", "onnx", "onnxruntime", "torchvision", "timm")
    need_tools()
    r = Report()
    for dialect in ("ts", "ts eval", "dyn", "dyntrain"):
        r.guard_in_folder(f"every kind {dialect}", kinds, r, dialect)
    r.guard_in_folder("kept", kept, r)
    r.guard_in_folder("frozen norm", frozen_norm, r)
    r.guard_in_folder("half", half, r, "ts", "float16")
    for dialect, dtype in (("dyn", "float16"), ("ts", "bfloat16"), ("dyn", "float64")) if FULL else ():
        r.guard_in_folder(f"{dtype} {dialect}", half, r, dialect, dtype)
    quick = ("mobilenet_v3_small", "convnext_atto", "vit_tiny", "swin_transformer", "sequence_first")
    for name, (make, hw, _, _) in OTHER.items():
        if FULL or name in quick:
            dialects = ("ts", "ts eval", "dyn", "dyntrain") if FULL else ("ts", "dyntrain")
            r.guard_in_folder(name, architecture, r, name, make, hw, dialects)
    for name in ("resnet50", "shufflenet_v2_x1_0", "mobilenet_v2") if FULL else ("resnet18",):
        r.guard_in_folder(name, architecture, r, name, lambda: torch_model(name), 64, ("ts", "dyntrain"))
    r.end()


if __name__ == "__main__":
    main()
