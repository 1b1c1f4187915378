"""Values inside a model that training looks at (--tap) and side heads (smkdc new --heads, compile --head) against PyTorch: a loss of logits, of a
feature map, of pooled features, of all heads, whose gradients by these are what smkdc's backward pass is given.

Values and all gradients agree with the float64 module; what is exported has no taps and computes the model's logits in
onnxruntime, and with --heads it has them. Tensors compare as in test_models: |got - want| / |want|, with up to INPUTS inputs for
those at a ReLU's kink.
"""
import sys

import numpy as np

from common import (FULL, RUN, SMKDC, STEPS, Report, bn_values, compiled, need, need_tools, onnx_of, read_safetensors, rel, run,
                    spread_batchnorm, take_weights, torch_model, write_safetensors)

FLOOR, INPUTS, SIDE, N = 1e-5, 8, 64, 8


def batch(attempt, side=SIDE, n=N):
    return np.random.default_rng(100 + attempt).normal(size=(n, 3, side, side)).astype(np.float32)


def gradients(artifact, x, cotangents, tmp, weights=None):
    np.save(tmp / "x.npy", x)
    more = ["--weights", weights] if weights else []
    for k, (name, v) in enumerate(cotangents.items()):
        np.save(tmp / f"d{k}.npy", v.astype(np.float32))
        more += ["--cotangent", f"{name}={tmp / f'd{k}.npy'}"]
    run(RUN, "grad", artifact, "--input", f"x={tmp / 'x.npy'}", *more, "--taps", "-o", tmp / "g.safetensors")
    return read_safetensors(tmp / "g.safetensors")


def against(report, what, artifact, model, outputs, loss, tmp, side=SIDE, limit=1e-3, weights=None):
    """outputs(model, x) -> {name: tensor}; loss of these. Everything in float64, in training mode."""
    import torch
    model = model.double().train()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    errors, values = {}, {}
    for attempt in range(INPUTS):
        model.load_state_dict(state)
        model.zero_grad(set_to_none=True)
        x = batch(attempt, side)
        xt = torch.from_numpy(x).double().requires_grad_()
        y = outputs(model, xt)
        for v in y.values():
            v.retain_grad()
        loss(y).backward()
        want = {k: p.grad.numpy() for k, p in model.named_parameters() if p.grad is not None}
        want["grad.x"] = xt.grad.numpy()
        # The gradient that a value gets from the loss itself: what it gets from behind it is the compiler's to add.
        leaves = {k: v.detach().requires_grad_() for k, v in y.items()}
        loss(leaves).backward()
        own = {k: v.grad.numpy() for k, v in leaves.items() if v.grad is not None}
        got = gradients(artifact, x, own, tmp, weights)
        values = {k: rel(got[k], v.detach().numpy()) for k, v in y.items()}
        floor = FLOOR * np.sqrt(sum(float((v ** 2).sum()) for v in want.values()))
        errors = {k: min(rel(got[k], v, floor), errors.get(k, np.inf)) for k, v in want.items()}
        worst = max(errors, key=errors.get)
        if errors[worst] <= limit:
            break
    far = max(values, key=values.get)
    report.check(f"{what}: values ({len(values)}, worst {far})", values[far], 1e-4)
    report.check(f"{what}: gradients ({len(want)}, worst {worst}, inputs {attempt + 1})", errors[worst], limit)
    left = [k for k, v in got.items() if k in state and k not in want and "running" not in k and v.any()]
    report.check(f"{what}: gradients where PyTorch has none {left[:3]}", len(left), 0)


# --- --tap

def tapped(model, x):
    x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
    mid = model.layer2(model.layer1(x))
    feat = model.layer4(model.layer3(mid)).mean((2, 3))
    return {"logits": model.fc(feat), "mid": mid, "feat": feat}


def of_all(y):
    """Neither linear nor equal for all elements; each part alone gives most parameters a gradient."""
    return y["logits"].sin().sum() + (y["mid"] ** 2).sum() / 500 + (y["feat"] ** 3).sum() / 10


def of_map(y):
    return (y["mid"] ** 2).sum()


def value_before(path, weight):
    """Name of the value that the convolution or product with this weight reads."""
    import onnx
    g = onnx.load(str(path)).graph
    made = {o: n for n in g.node for o in n.output}
    for n in g.node:
        for w in n.input[1:]:
            while w in made and made[w].op_type in ("Transpose", "Identity"):
                w = made[w].input[0]
            if w == weight:
                return n.input[0], made[n.input[0]].name
    raise AssertionError(f"nothing reads {weight}")


def taps(report, dialect, tmp):
    path = onnx_of("resnet18", dialect, SIDE, tmp)
    model = take_weights(torch_model("resnet18"), path)
    (mid, node), (feat, _) = value_before(path, "layer3.0.conv1.weight"), value_before(path, "fc.weight")
    artifact = compiled(path, 64, "--tap", f"{mid}=mid", "--tap", f"{feat}=feat")
    against(report, f"taps {dialect}", artifact, model, tapped, of_all, tmp)
    # By the node's name; a loss that the logits have no part in.
    artifact = compiled(path, 64, "--tap", f"{node}=mid", "--logits", "logits")
    against(report, f"taps {dialect}, one by its node", artifact, take_weights(torch_model("resnet18"), path),
            lambda m, x: {k: v for k, v in tapped(m, x).items() if k != "feat"}, of_map, tmp)


# --- smkdc new --heads

def bottleneck(c, out, k, classes=10):
    """BYOT's head: a module whose forward gives the map that is pooled for the features."""
    from torch import nn

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            hidden = out // 4
            self.conv1, self.bn1 = nn.Conv2d(c, hidden, 1), nn.BatchNorm2d(hidden)
            self.conv2, self.bn2 = nn.Conv2d(hidden, hidden, k, k), nn.BatchNorm2d(hidden)
            self.conv3, self.bn3 = nn.Conv2d(hidden, out, 1), nn.BatchNorm2d(out)
            self.fc = nn.Linear(out, classes)

        def forward(self, x):
            for conv, bn in ((self.conv1, self.bn1), (self.conv2, self.bn2), (self.conv3, self.bn3)):
                x = bn(conv(x)).relu()
            return x
    return Head()


def with_heads(arch):
    """The network of smkdc new ARCH --heads 3, as BYOT's code has it, under smkdc's names."""
    import torch
    from torch import nn
    from torchvision import models

    class Sep(nn.Module):
        def __init__(self, c, out, attention=False):
            super().__init__()
            self.depthwise1, self.conv1 = nn.Conv2d(c, c, 3, 2, 1, groups=c, bias=False), nn.Conv2d(c, c, 1, bias=False)
            self.depthwise2, self.conv2 = nn.Conv2d(c, c, 3, 1, 1, groups=c, bias=False), nn.Conv2d(c, out, 1, bias=False)
            self.bn1, self.bn2 = nn.BatchNorm2d(c), nn.BatchNorm2d(out)
            if attention:
                self.bn3 = nn.BatchNorm2d(out)

        def forward(self, x):
            x = self.bn1(self.conv1(self.depthwise1(x))).relu()
            return self.bn2(self.conv2(self.depthwise2(x))).relu()

    class Attentive(nn.Module):
        def __init__(self, c, out, k, classes=10):
            super().__init__()
            self.attention, self.n = Sep(c, c, True), k.bit_length() - 1
            for i in range(self.n):
                setattr(self, f"separable{i + 1}", Sep(c << i, c << i + 1))
            self.fc = nn.Linear(out, classes)

        def forward(self, x):
            a = self.attention.bn3(self.attention(x)).relu()
            x = nn.functional.interpolate(a, scale_factor=2, mode="bilinear", align_corners=False).sigmoid() * x
            for i in range(self.n):
                x = getattr(self, f"separable{i + 1}")(x)
            return x

    m = getattr(models, arch)(num_classes=10)
    m.conv1, m.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    out = m.fc.in_features
    m.heads = nn.ModuleDict({str(k): (Attentive if "next" in arch else bottleneck)(out >> 4 - k, out, 1 << 4 - k) for k in (1, 2, 3)})
    return m


def all_outputs(model, x, pool=lambda x: x):
    x, y, feats = pool(model.relu(model.bn1(model.conv1(x)))), {}, {}
    for k in (1, 2, 3, 4):
        x = getattr(model, f"layer{k}")(x)
        h = model.heads[str(k)] if k < 4 else None
        feats[f"feat{k}"] = (h(x) if h else x).mean((2, 3))
        y[f"head{k}" if h else "logits"] = (h or model).fc(feats[f"feat{k}"])
    return {**y, **feats}


def of_heads(y):
    weights = {"logits": 1, "head1": 0.5, "head2": 0.7, "head3": 0.9, "feat1": 0.01, "feat2": 0.02, "feat3": 0.03, "feat4": 0.04}
    return sum(w * (y[k].sin().sum() if "feat" not in k else (y[k] ** 3).sum()) for k, w in weights.items())


def heads(report, arch, tmp):
    import onnx
    side = 16 if "next" in arch else 32  # PyTorch's grouped convolutions in float64 take their time
    run(SMKDC, "new", arch, "--heads", 3, "--input", f"3x{side}x{side}", "-o", tmp / "new.onnx", "--seed", 3)
    onnx.checker.check_model(str(tmp / "new.onnx"), full_check=True)
    spread_batchnorm(tmp / "new.onnx", tmp / "m.onnx")
    model = with_heads(arch)
    names = {t.name for t in onnx.load(str(tmp / "m.onnx")).graph.initializer}
    other = names ^ {k for k in model.state_dict() if "num_batches" not in k}
    report.check(f"heads of {arch}: other tensors than the module's {sorted(other)[:3]}", len(other), 0)
    artifact = compiled(tmp / "m.onnx", 32)
    # The biases in front of ResNeXt's last 1x1 convolutions barely matter behind the norm that follows: of their small gradient
    # PyTorch's own float32 has 1e-3 wrong.
    against(report, f"heads of {arch}", artifact, take_weights(model, tmp / "m.onnx"), all_outputs, of_heads, tmp, side,
            3e-3 if "next" in arch else 1e-3)
    if arch != "resnet18":
        return
    # Nothing but the logits: the heads have no part in it.
    against(report, f"heads of {arch}, logits alone", artifact, take_weights(with_heads(arch), tmp / "m.onnx"), all_outputs,
            lambda y: y["logits"].sin().sum(), tmp, side)


def added(report, dialect, tmp):
    """--head on what somebody exported: heads of fresh weights, which take part in everything."""
    import torch
    path = onnx_of("resnet18", dialect, SIDE, tmp)
    model = take_weights(torch_model("resnet18"), path)
    places = [value_before(path, f"layer{k + 1}.0.conv1.weight")[0] for k in (1, 2, 3)]
    artifact = compiled(path, 32, *[a for v in places for a in ("--head", f"{v}:byot")], "--seed", 5)
    for name, v in (("x", np.zeros((2, 3, SIDE, SIDE), np.float32)), ("y", np.zeros(2, np.int64))):
        v.tofile(tmp / f"{name}.bin")
    run(STEPS, artifact, tmp / "x.bin", tmp / "y.bin", 1, 2, 0, 0, 0, 0, tmp / "w.safetensors")  # a rate of 0: initial weights
    w = read_safetensors(tmp / "w.safetensors")
    model.heads = torch.nn.ModuleDict({str(k): bottleneck(32 << k, 512, 16 >> k) for k in (1, 2, 3)})
    state = model.state_dict()
    other = {k for k in state if "num_batches" not in k} ^ set(w)
    report.check(f"head {dialect}: other tensors than the module's {sorted(other)[:3]}", len(other), 0)
    for k, v in w.items():
        if k.startswith("heads.") and v.ndim == 4:
            std = np.sqrt(2 / (v.shape[0] * v.shape[2] * v.shape[3]))  # kaiming, fan out
            report.check(f"head {dialect}: deviation of {k} beside the initialisation's", abs(v.std() / std - 1), 4 / np.sqrt(2 * v.size))
    rng = np.random.default_rng(1)  # norms that keep off the ReLU's kink, as everywhere
    for k in [k.removesuffix(".running_mean") for k in w if k.startswith("heads.") and k.endswith("running_mean")]:
        for leaf, v in zip(("weight", "bias", "running_mean", "running_var"), bn_values(rng, len(w[f"{k}.weight"]))):
            w[f"{k}.{leaf}"] = v
    for k in w:
        if k.startswith("heads."):
            state[k].copy_(torch.from_numpy(w[k]))
        else:
            w[k] = state[k].numpy().copy()  # that step has moved the statistics
    write_safetensors(tmp / "weights.safetensors", w)
    against(report, f"head {dialect}", artifact, model, lambda m, x: all_outputs(m, x, m.maxpool), of_heads, tmp,
            weights=tmp / "weights.safetensors")


def export_of_heads(report, tmp):
    run(SMKDC, "new", "resnet18", "--heads", 3, "-o", tmp / "m.onnx")
    exported(report, "export of heads", compiled(tmp / "m.onnx", 64), [*(f"head{k}" for k in (1, 2, 3)), *(f"feat{k}" for k in (1, 2, 3, 4))],
             tmp, 32)


# --- export

def exported(report, what, artifact, taps, tmp, side=SIDE):
    """Trains a little from arrays, exports with and without taps, and compares onnxruntime with the artifact."""
    import onnx
    import onnxruntime
    rng = np.random.default_rng(0)
    for name, n in (("train", 32), ("test", 16)):
        np.save(tmp / f"{name}_x.npy", rng.normal(size=(n, 3, side, side)).astype(np.float32))
        np.save(tmp / f"{name}_y.npy", rng.integers(0, 10, n))
    data = ",".join(str(tmp / f"{a}_{b}.npy") for a in ("train", "test") for b in "xy")
    run(RUN, "train", "--peer", artifact, "--data", data, "--method", "ce", "--epochs", 1, "--batch-size", 16, "--lr", 0.01, "-o",
        tmp / "run")
    run(RUN, "export", tmp / "run", "--checkpoint", "last", "-o", tmp / "out.onnx")
    run(RUN, "export", tmp / "run", "--checkpoint", "last", "--heads", "-o", tmp / "heads.onnx")
    peer = {k.removeprefix("peer.0."): v for k, v in read_safetensors(tmp / "run" / "last.safetensors").items() if k.startswith("peer.0.")}
    weights = tmp / "run" / "last.safetensors"
    x = batch(0, side)
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", artifact, "--weights", weights, "--peer", 0, "--input", f"x={tmp / 'x.npy'}", "--taps", "-o", tmp / "o.safetensors")
    want = read_safetensors(tmp / "o.safetensors")
    run(RUN, "infer", artifact, "--weights", weights, "--peer", 0, "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "o.safetensors")
    report.check(f"{what}: outputs that infer writes without --taps beside logits", len(set(read_safetensors(tmp / "o.safetensors")) ^ {"logits"}), 0)
    for file, names in (("out", ["logits"]), ("heads", ["logits", *taps])):
        path = tmp / f"{file}.onnx"
        onnx.checker.check_model(str(path), full_check=True)
        s = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        report.check(f"{what}: {file}.onnx has other outputs {[o.name for o in s.get_outputs()]}", [o.name for o in s.get_outputs()] != names, 0)
        for name, got in zip(names, s.run(names, {"x": x})):
            report.check(f"{what}: {name} of {file}.onnx in onnxruntime", rel(got, want[name]), 1e-4)
        meta = {p.key: p.value for p in onnx.load(str(path)).metadata_props}
        report.check(f"{what}: {file}.onnx: taps in its metadata {meta.get('smkd.taps')}", meta.get("smkd.taps") != (",".join(taps) if len(names) > 1 else None), 0)
        there = {t.name for t in onnx.load(str(path)).graph.initializer}
        report.check(f"{what}: {file}.onnx lacks tensors of the checkpoint", len([k for k in peer if k not in there]) > 0, len(names) == 1)
    # What has the taps in it can be trained again, with them.
    again = compiled(tmp / "heads.onnx")
    run(RUN, "infer", again, "--input", f"x={tmp / 'x.npy'}", "--taps", "-o", tmp / "o.safetensors")
    got = read_safetensors(tmp / "o.safetensors")
    report.check(f"{what}: compiled again", max(rel(got[k], want[k]) for k in want), 1e-5)


def export_of_taps(report, tmp):
    path = onnx_of("resnet18", "ts", SIDE, tmp)
    (mid, _), (feat, _) = value_before(path, "layer3.0.conv1.weight"), value_before(path, "fc.weight")
    artifact = compiled(path, 64, "--tap", f"{mid}=mid", "--tap", feat)
    exported(report, "export", artifact, ["mid", feat], tmp)


def main():
    need("torch", "onnx", "onnxruntime")
    need_tools(SMKDC, RUN, STEPS)
    import types
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    need("torchvision")
    report = Report()
    for dialect in ("ts", "dyntrain"):
        report.guard_in_folder(f"taps {dialect}", taps, report, dialect)
        report.guard_in_folder(f"head {dialect}", added, report, dialect)
    report.guard_in_folder("export of taps", export_of_taps, report)
    for arch in ("resnet18", "resnext50_32x4d", *(["resnet50"] if FULL else [])):
        report.guard_in_folder(f"heads of {arch}", heads, report, arch)
    report.guard_in_folder("export of heads", export_of_heads, report)
    report.end()


if __name__ == "__main__":
    main()
