"""PyTorch's side of the models: torchvision's and timm's own classes, with our weights copied in by name."""
import copy
import sys
import types

from oracle import read_safetensors

# The compiled ops of torchvision do not load beside a CPU-only torch; its models do not need them.
sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
import torch  # noqa: E402
from torch import nn  # noqa: E402


def build(arch, side, classes, heads=0):
    if arch == "inception_resnet_v2":
        import timm
        return timm.create_model(arch, pretrained=False, num_classes=classes)
    from torchvision import models
    net = getattr(models, arch)(num_classes=classes)
    net = small_stem(net) if side <= 64 else net
    return WithHeads(net, classes, heads) if heads else net


class Head(nn.Module):
    """A classifier at the side of a ResNet, which reduces a map by `by` in each direction (smkdc new --heads)."""

    def __init__(self, channels, features, by, classes):
        super().__init__()
        hidden = features // 4
        self.conv1, self.bn1 = nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden)
        self.conv2, self.bn2 = nn.Conv2d(hidden, hidden, by, by), nn.BatchNorm2d(hidden)
        self.conv3, self.bn3 = nn.Conv2d(hidden, features, 1), nn.BatchNorm2d(features)
        self.relu, self.avgpool, self.fc = nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Linear(features, classes)

    def forward(self, x):
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.avgpool(self.relu(self.bn3(self.conv3(x)))).flatten(1)


class WithHeads(nn.Module):
    """A ResNet with heads behind its first stages. It gives logits, head1.. and the features feat1.. of them and, last, its own."""

    def __init__(self, net, classes, heads):
        super().__init__()
        for name, child in net.named_children():
            self.add_module(name, child)
        features = net.fc.in_features
        self.heads = nn.ModuleDict({str(k): Head(features >> 4 - k, features, 1 << 4 - k, classes) for k in range(1, heads + 1)})

    def forward(self, x):
        x, out = self.maxpool(self.relu(self.bn1(self.conv1(x)))), {}
        for k in range(1, 5):
            x = getattr(self, f"layer{k}")(x)
            if str(k) in self.heads:
                head = self.heads[str(k)]
                out[f"feat{k}"] = head(x)
                out[f"head{k}"] = head.fc(out[f"feat{k}"])
        last = self.avgpool(x).flatten(1)
        return {"logits": self.fc(last), **out, f"feat{len(self.heads) + 1}": last}


def outputs(y):
    """What a network gave, by name."""
    return y if isinstance(y, dict) else {"logits": y}


def small_stem(net):
    """The stem for small images: stride 1, no max pool, and 3x3 where it was 7x7."""
    if isinstance(net.conv1, nn.Sequential):  # ShuffleNet's is 3x3 already
        net.conv1[0].stride = (1, 1)
    else:
        net.conv1 = nn.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def load(net, path):
    """Copies the weights in place, whatever the memory format; a name or shape on one side only is an error."""
    ours = read_safetensors(path)
    theirs = {k: v for k, v in net.state_dict().items() if v.is_floating_point()}
    if set(ours) != set(theirs):
        raise ValueError(f"the models differ in {sorted(set(ours) ^ set(theirs))[:4]}")
    with torch.no_grad():
        for k, v in theirs.items():
            if v.shape != ours[k].shape:
                raise ValueError(f"{k} has shape {tuple(v.shape)} in PyTorch and {ours[k].shape} in the ONNX file")
            v.copy_(torch.from_numpy(ours[k]))


def set_up(options):
    """Threads as asked for, and the memory format of this process."""
    torch.set_num_threads(options["threads"])
    torch.set_num_interop_threads(1)
    return torch.channels_last if options["channels_last"] else torch.contiguous_format


def sgd(net, lr):
    """Fused is the fastest of PyTorch's three implementations on a CPU."""
    return torch.optim.SGD(net.parameters(), lr, momentum=0.9, weight_decay=5e-4, fused=True)


def step_flops(nets, x):
    """Of the convolutions and matrix products of a step, forward and backward, counted without computing them."""
    from torch.utils.flop_counter import FlopCounterMode
    total = 0
    for net in nets:
        with FlopCounterMode(display=False) as counter:
            sum(v.sum() for v in outputs(copy.deepcopy(net).to("meta")(x.to("meta"))).values()).backward()
        total += counter.get_total_flops()
    return total
