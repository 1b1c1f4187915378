"""Parameter groups. Which parameters the artifact says belong to a norm, against the classes of PyTorch's modules, as torchvision's
set_weight_decay sorts them, for the norms of torchvision's models in the forms that both exporters write."""
import json
import sys
import types

from common import SMKDC, Report, need, need_tools, run, temp_dir

sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))


def models():
    import torchvision
    from torch import nn
    from torchvision import models as tv
    from torchvision.models.convnext import CNBlockConfig, ConvNeXt
    from torchvision.models.swin_transformer import SwinTransformer

    class Rare(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.group, self.instance = nn.Conv2d(3, 8, 3), nn.GroupNorm(4, 8), nn.InstanceNorm2d(8, affine=True)
            self.plain, self.gain, self.offset = nn.LayerNorm(8, elementwise_affine=False), nn.Linear(8, 8), nn.Linear(8, 8)
            self.batch, self.head = nn.BatchNorm1d(8), nn.Linear(8, 10)

        def forward(self, x):
            x = self.instance(self.group(self.conv(x)).relu()).mean((2, 3))
            return self.head(self.batch(self.offset(self.gain(self.plain(x)).relu())))

    yield "rare norms", Rare(), 32
    yield "resnet18", tv.resnet18(num_classes=10), 32
    yield "mobilenet_v3_small", tv.mobilenet_v3_small(num_classes=10), 32
    yield "vit", tv.VisionTransformer(image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64, num_classes=10), 32
    yield "swin", SwinTransformer([4, 4], 16, [2, 2], [2, 4], [4, 4], num_classes=10), 32
    yield "convnext", ConvNeXt([CNBlockConfig(16, 32, 1), CNBlockConfig(32, None, 1)], num_classes=10), 32


def export(model, hw, path, newer):
    import torch
    import warnings
    x = torch.randn(2, 3, hw, hw)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if newer:
            torch.onnx.export(model.train(), (x,), str(path), optimize=False, verbose=False, input_names=["x"], output_names=["logits"])
        else:
            torch.onnx.export(model.train(), (x,), str(path), dynamo=False, training=torch.onnx.TrainingMode.TRAINING,
                              do_constant_folding=False, opset_version=17, input_names=["x"], output_names=["logits"],
                              dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})


def norm_names(model):
    from torch import nn
    classes = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm, nn.modules.instancenorm._InstanceNorm)
    return {f"{m}.{n}" if m else n for m, x in model.named_modules() if isinstance(x, classes)
            for n, _ in x.named_parameters(recurse=False)}


def main():
    need("torch", "torchvision", "onnx")
    need_tools()
    report = Report()
    with temp_dir() as tmp:
        for name, model, hw in models():
            for newer in (False, True):
                what = f"norms of {name}, {'default' if newer else 'TorchScript'} exporter"
                export(model, hw, tmp / "m.onnx", newer)
                run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 2)
                notes = json.loads(run(SMKDC, "inspect", "--json", tmp / "m.smkd").stdout)["notes"]
                differ = sorted(set(notes["norm_parameters"]) ^ norm_names(model))
                report.check(f"{what}: {differ[:4]}", len(differ), 0)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
