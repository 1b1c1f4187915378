"""The built-in backbones of `smkdc new`, seen by those who did not write them: onnx's checker and strict shape inference,
onnxruntime at two batch sizes, and PyTorch: our weights are loaded by name into torchvision's and timm's own networks (and
into the CIFAR and PreAct ones written down here), BatchNorm statistics made random, and the logits must agree. That pins
the structure, the names, the epsilons and the parameter counts at once."""
import sys
import types

import numpy as np

from common import Report, SMKDC, need, need_tools, rel, run

onnx, ort, torch = need("onnx", "onnxruntime", "torch")
# The compiled ops of torchvision do not load beside a CPU-only torch; its models do not need them.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
need("torchvision", "timm")
import timm  # noqa: E402
import torchvision.models as tv  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from torch import nn  # noqa: E402
import torch.nn.functional as F  # noqa: E402

need_tools(SMKDC)
torch.manual_seed(0)


class CifarBlock(nn.Module):
    def __init__(self, cin, out, stride):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(cin, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out)
        self.conv2, self.bn2 = nn.Conv2d(out, out, 3, 1, 1, bias=False), nn.BatchNorm2d(out)
        self.stride, self.more = stride, out - cin

    def forward(self, x):
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        low = self.more // 2
        x = F.pad(x[:, :, ::self.stride, ::self.stride], (0, 0, 0, 0, low, self.more - low))
        return F.relu(y + x)


class CifarResNet(nn.Module):
    def __init__(self, depth, width=16, channels=3, classes=10, stem_stride=1):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(channels, width, 3, stem_stride, 1, bias=False), nn.BatchNorm2d(width)
        n, cin = (depth - 2) // 6, width
        for s in range(3):
            blocks = []
            for b in range(n):
                blocks.append(CifarBlock(cin, width << s, 2 if s and b == 0 else 1))
                cin = width << s
            setattr(self, f"layer{s + 1}", nn.Sequential(*blocks))
        self.fc = nn.Linear(cin, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.fc(self.layer3(self.layer2(self.layer1(x))).mean((2, 3)))


class PreActBlock(nn.Module):
    def __init__(self, cin, out, stride):
        super().__init__()
        self.bn1, self.conv1 = nn.BatchNorm2d(cin), nn.Conv2d(cin, out, 3, stride, 1, bias=False)
        self.bn2, self.conv2 = nn.BatchNorm2d(out), nn.Conv2d(out, out, 3, 1, 1, bias=False)
        if stride != 1 or cin != out:
            self.shortcut = nn.Sequential(nn.Conv2d(cin, out, 1, stride, bias=False))

    def forward(self, x):
        a = F.relu(self.bn1(x))
        x = self.shortcut(a) if hasattr(self, "shortcut") else x
        return self.conv2(F.relu(self.bn2(self.conv1(a)))) + x


class PreActResNet18(nn.Module):
    def __init__(self, classes=10):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        cin = 64
        for s in range(4):
            out = 64 << s
            setattr(self, f"layer{s + 1}", nn.Sequential(PreActBlock(cin, out, 2 if s else 1), PreActBlock(out, out, 1)))
            cin = out
        self.linear = nn.Linear(512, classes)

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        return self.linear(self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3)))


def small_stem(net):
    """torchvision's network with the stem for small images."""
    if isinstance(net.conv1, nn.Sequential):
        net.conv1[0].stride = (1, 1)
    else:
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


# architecture, options, the reference. Sizes are small: what an input does to each layer is the same at 224. Counts at the
# published sizes are tests/unit/test_zoo.c's; here they equal the reference's, whatever it is.
BIG = ["--input", "3x96x80", "--classes", "1000"]
CASES = [
    ("resnet8", [], lambda: CifarResNet(8)),
    ("resnet8s", ["--input", "1x28x28", "--width", "32"], lambda: CifarResNet(8, 32, 1, stem_stride=2)),
    ("resnet20", ["--width", "5", "--input", "3x29x31", "--classes", "7"], lambda: CifarResNet(20, 5, classes=7)),
    ("resnet32", [], lambda: CifarResNet(32)),
    ("resnet44", [], lambda: CifarResNet(44)),
    ("resnet56", [], lambda: CifarResNet(56)),
    ("resnet18", BIG, tv.resnet18),
    ("resnet18", ["--classes", "1000"], lambda: small_stem(tv.resnet18())),
    ("resnet34", BIG, tv.resnet34),
    ("resnet50", BIG, tv.resnet50),
    ("resnext50_32x4d", BIG, tv.resnext50_32x4d),
    ("preact_resnet18", ["--classes", "100"], lambda: PreActResNet18(100)),
    ("shufflenet_v2_x1_0", BIG, tv.shufflenet_v2_x1_0),
    ("shufflenet_v2_x1_0", ["--classes", "1000"], lambda: small_stem(tv.shufflenet_v2_x1_0())),
    ("inception_resnet_v2", ["--input", "3x107x75", "--classes", "1000"], lambda: timm.create_model("inception_resnet_v2", pretrained=False)),
]


def randomise_statistics(model, rng):
    """Fresh BatchNorms compute almost nothing: give them values that matter."""
    draw = {"running_mean": lambda n: rng.normal(0, 0.3, n), "running_var": lambda n: rng.uniform(0.5, 2, n)}
    bn = {i for n in model.graph.node if n.op_type == "BatchNormalization" for i in n.input[1:3]}
    for t in model.graph.initializer:
        make = draw.get(t.name.split(".")[-1]) or ((lambda n: rng.uniform(0.5, 1.2, n)) if t.name in bn else None)
        if make:
            t.raw_data = make(t.dims[0]).astype("<f4").tobytes()


def check(r, arch, options, reference, tmp):
    what = " ".join([arch, *options])
    path = tmp / "model.onnx"
    run(SMKDC, "new", arch, "-o", path, "--seed", 3, *options)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True)
    x_type = model.graph.input[0].type.tensor_type.shape.dim
    assert [model.graph.input[0].name, model.graph.output[0].name] == ["x", "logits"] and x_type[0].dim_param == "N", what
    assert len({n.name for n in model.graph.node}) == len(model.graph.node) and model.ir_version == 8
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]

    net = reference().eval()
    wanted = {k: v for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    floats = [t for t in model.graph.initializer if t.data_type == onnx.TensorProto.FLOAT]
    count = sum(int(np.prod(t.dims)) for t in floats if ".running_" not in t.name)
    r.check(f"{what}: parameters {count} equal the reference's", abs(count - sum(p.numel() for p in net.parameters())), 0)
    names = {t.name: tuple(t.dims) for t in floats}
    if names != {k: tuple(v.shape) for k, v in wanted.items()}:
        r.fail(f"{what}: names and shapes", sorted(set(names) ^ set(wanted))[:4])
        return

    rng = np.random.default_rng(1)
    randomise_statistics(model, rng)
    net.load_state_dict({t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in model.graph.initializer if t.name in wanted}, strict=False)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch in (1, 3):
        x = rng.standard_normal((batch, *[d.dim_value for d in x_type[1:]])).astype(np.float32)
        got = session.run(None, {"x": x})[0]
        with torch.no_grad():
            want = net(torch.from_numpy(x)).numpy()
        r.check(f"{what}: logits of a batch of {batch}", rel(got, want), 1e-4)


def main():
    r = Report()
    for arch, options, reference in CASES:
        r.guard_in_folder(arch, check, r, arch, options, reference)
    r.end()


main()
