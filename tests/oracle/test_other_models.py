"""Models that nobody named: other families of torchvision and timm, small, through the checks of test_models.py.

What is exported keeps its dropout and stochastic depth, as a user's file does; `infer` and `grad` run without them, so the
reference has them off. Inference is compared with PyTorch in eval mode (1e-4), gradients and BatchNorm statistics with
autograd in float64 (1e-3). In files of the default exporter only some weights keep their name and value (BatchNorm is
folded, linear weights are transposed); those and the input are compared.

By default one model a family runs in the TorchScript dialect, and those that show an oddity of the others in these, too;
SMKD_FULL=1 runs everything.
"""
import copy
import sys

import numpy as np

from common import (FULL, RUN, SMKDC, CLASSES, Report, bn_values, compiled, export, need, need_tools, read_safetensors, rel,
                    run, take_weights, write_safetensors)
from test_models import batch, check_grad, check_infer


def torchvision_model(name, **more):
    def make():
        from torchvision import models
        return getattr(models, name)(num_classes=CLASSES, **more)
    return make


def timm_model(name, **more):
    def make():
        import timm
        return timm.create_model(name, num_classes=CLASSES, **more)
    return make


def vision_transformer():  # torchvision's, with nn.MultiheadAttention
    from torchvision.models.vision_transformer import VisionTransformer
    return VisionTransformer(32, 8, 2, 4, 48, 96, dropout=0.1, num_classes=CLASSES)


def swin_transformer():
    from torchvision.models.swin_transformer import SwinTransformer
    return SwinTransformer([4, 4], 24, [2, 2], [2, 4], [4, 4], num_classes=CLASSES)


def sequence_first():  # an encoder over [T, N, C], the default of nn.TransformerEncoderLayer
    import torch

    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.patches = torch.nn.Conv2d(3, 48, 8, 8)
            self.layer = torch.nn.TransformerEncoderLayer(48, 4, 96)
            self.head = torch.nn.Linear(48, CLASSES)

        def forward(self, x):
            return self.head(self.layer(self.patches(x).flatten(2).permute(2, 0, 1)).mean(0))
    return Model()


# name: (how to make it, side of the input, dialects of an ordinary run, of a full one)
TS, BOTH, ALL = ("ts",), ("ts", "dyn"), ("ts", "dyn", "dyntrain")
MODELS = {
    "efficientnet_b0": (torchvision_model("efficientnet_b0"), 64, TS, ALL),
    "densenet121": (torchvision_model("densenet121"), 64, (), ALL),
    "mobilenet_v3_small": (torchvision_model("mobilenet_v3_small"), 64, BOTH, ALL),
    "squeezenet1_1": (torchvision_model("squeezenet1_1"), 64, TS, ALL),
    "regnet_y_400mf": (torchvision_model("regnet_y_400mf"), 64, TS, ALL),
    "convnext_atto": (timm_model("convnext_atto"), 64, TS, ALL),
    "vit_tiny": (timm_model("vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2), 32, BOTH, ALL),
    "vision_transformer": (vision_transformer, 32, ALL, ALL),
    "swin_transformer": (swin_transformer, 32, TS, ALL),
    "sequence_first": (sequence_first, 32, BOTH, ALL),
    "tf_efficientnet_lite0": (timm_model("tf_efficientnet_lite0"), 64, (), ALL),  # padding as TensorFlow computes it
    "resnetv2_50": (timm_model("resnetv2_50"), 64, (), ALL),
    "nf_resnet26": (timm_model("nf_resnet26"), 64, (), ALL),
    "mixer": (timm_model("mixer_s16_224", img_size=64), 64, (), ALL),
    "mnasnet1_0": (torchvision_model("mnasnet1_0"), 64, (), ALL),
    "googlenet": (torchvision_model("googlenet", aux_logits=False, init_weights=False), 64, (), ALL),
}


def prepare(make, seed=0):
    import torch
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    m = make()
    for x in m.modules():
        if isinstance(x, torch.nn.BatchNorm2d):
            for t, v in zip((x.weight, x.bias, x.running_mean, x.running_var), bn_values(rng, x.num_features)):
                t.data.copy_(torch.from_numpy(v))
    for name, p in m.named_parameters():  # what starts at nothing hides all behind it: heads of zeros, layer scales of 1e-6
        if p.dim() > 1 and float(p.detach().abs().max()) == 0:
            torch.nn.init.normal_(p, std=0.02)
        if name.endswith("gamma"):
            torch.nn.init.uniform_(p, 0.5, 1.5)
    return m


def without_dropout(m):
    for x in m.modules():
        for name in ("p", "drop_prob", "drop_rate", "dropout"):
            if isinstance(getattr(x, name, None), float):
                setattr(x, name, 0.0)
    return m


def one(report, name, dialect, tmp):
    import onnx
    import torch
    make, hw, _, _ = MODELS[name]
    what = f"{name} {dialect}"
    path = tmp / "model.onnx"
    m = prepare(make)
    export(m, path, dialect, hw)
    artifact = compiled(path, 8)
    m = without_dropout(m if dialect == "dyn" else take_weights(m, path)).double().eval()
    x = batch((3, hw, hw), 3)  # the default exporter has fixed a batch of 2
    with torch.no_grad():
        want = m(torch.from_numpy(x).double()).numpy()
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", artifact, "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "out.safetensors")
    report.check(f"{what} infer", rel(read_safetensors(tmp / "out.safetensors")["logits"], want), 1e-4)
    if dialect == "dyn":
        check_infer(report, f"{what} onnxruntime", path, artifact, x[:2], tmp)
    file = {t.name: onnx.numpy_helper.to_array(t) for t in onnx.load(str(path)).graph.initializer}
    params = {k: p for k, p in m.named_parameters() if k in file and file[k].shape == tuple(p.shape)
              and np.array_equal(file[k], p.detach().numpy().astype(np.float32))}
    stats = {} if dialect == "dyn" else {k: v for k, v in m.named_buffers() if k.endswith(("running_mean", "running_var"))}
    m.train(dialect != "dyn")

    def single():
        m32 = copy.deepcopy(m).float()
        named = dict(m32.named_parameters())
        return m32, {k: named[k] for k in params}
    check_grad(report, what, artifact, m, params, lambda: stats, batch((3, hw, hw), 4), tmp, single)


def trained(report, tmp):
    """A fixed batch is taken out of the file: two transformers of the default exporter, trained a step, exported, any batch."""
    import onnx
    import onnxruntime
    rng = np.random.default_rng(0)
    data = tmp / "cifar-10-batches-bin"
    data.mkdir()
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (16, 3073), dtype=np.uint8)
        records[:, 0] %= CLASSES
        (data / name).write_bytes(records.tobytes())
    names = ("vit_tiny", "vision_transformer")
    peers = []
    for name in names:
        make, hw, _, _ = MODELS[name]
        export(prepare(make), tmp / f"{name}.onnx", "dyn", hw)
        peers.append(compiled(tmp / f"{name}.onnx", 8))
    run(RUN, "train", "--peer", peers[0], "--peer", peers[1], "--data", data, "--loss", "all", "--epochs", 1,
        "--batch-size", 8, "--lr", 0.01, "--output-dir", tmp / "run")
    weights = read_safetensors(tmp / "run" / "last.safetensors")
    for k, name in enumerate(names):
        out, prefix = tmp / f"peer{k}.onnx", f"peer.{k}."
        run(RUN, "export", tmp / "run", "--checkpoint", "last", "--peer", k, "-o", out)
        onnx.checker.check_model(str(out), full_check=True)
        session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
        write_safetensors(tmp / "w.safetensors", {n[len(prefix):]: v for n, v in weights.items() if n.startswith(prefix)})
        for n in (1, 5):
            x = batch((3, 32, 32), n)
            np.save(tmp / "x.npy", x)
            run(RUN, "infer", peers[k], "--weights", tmp / "w.safetensors", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "o.safetensors")
            report.check(f"{name} dyn exported, batch of {n}",
                         rel(read_safetensors(tmp / "o.safetensors")["logits"], session.run(["logits"], {"x": x})[0]), 1e-4)


def main():
    need_tools(SMKDC, RUN)
    need("torch", "onnx", "onnxruntime")
    import types
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    need("torchvision", "timm")
    report = Report()
    for name, (_, _, quick, full) in MODELS.items():
        for dialect in full if FULL else quick:
            report.guard_in_folder(f"{name} {dialect}", one, report, name, dialect)
    report.guard_in_folder("exported", trained, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
