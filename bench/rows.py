"""What is measured: one entry a row of the table, with the ratio it has to reach and the one it aims at."""
from dataclasses import dataclass

TRAIN, METHOD, INFER = "train", "method", "infer"
MEMORY_AT_MOST, MEMORY_AIM = 0.6, 0.4  # of PyTorch's, for rows that train
COMPILE_AT_MOST, COMPILE_AIM = 30, 15  # seconds, Inception-ResNet-v2
START_AT_MOST, START_AIM = 2.0, 0.3  # seconds before the first step of ResNet-18 is done, beyond the step itself


@dataclass(frozen=True)
class Row:
    key: str  # what --rows takes, beside the name
    name: str
    title: str
    kind: str
    archs: tuple
    batch: int
    side: int  # of the square input
    at_least: float
    aim: float
    method: str = ""  # a row of smkd-run methods; archs are its networks
    heads: int = 0  # at the sides of each network

    @property
    def classes(self):
        return 10 if self.side <= 64 else 1000

    @property
    def shape(self):
        return (3, self.side, self.side)

    @property
    def what(self):
        return f"{self.title}, batch {self.batch}, 3x{self.side}x{self.side}"


ROWS = (
    Row("1", "resnet18-32", "ResNet-18", TRAIN, ("resnet18",), 128, 32, 2.0, 2.8),
    Row("2", "resnet34-32", "ResNet-34", TRAIN, ("resnet34",), 128, 32, 2.0, 2.8),
    Row("3", "resnet50-32", "ResNet-50", TRAIN, ("resnet50",), 64, 32, 1.35, 1.7),
    Row("4", "resnet18-224", "ResNet-18", TRAIN, ("resnet18",), 32, 224, 1.7, 2.4),
    Row("5", "resnet50-224", "ResNet-50", TRAIN, ("resnet50",), 32, 224, 1.35, 1.7),
    Row("6", "resnext50-224", "ResNeXt-50 32x4d", TRAIN, ("resnext50_32x4d",), 32, 224, 1.35, 1.8),
    Row("7", "shufflenet-224", "ShuffleNetV2 x1.0", TRAIN, ("shufflenet_v2_x1_0",), 32, 224, 2.0, 3.0),
    Row("8", "inception-299", "Inception-ResNet-v2", TRAIN, ("inception_resnet_v2",), 8, 299, 1.3, 1.7),
    Row("9", "smkd-pair-32", "SMKD pair: ResNet-18 + ShuffleNetV2", METHOD, ("resnet18", "shufflenet_v2_x1_0"), 128, 32, 1.8, 2.5,
        "smkd-p"),
    Row("10a", "infer-1", "ResNet-50 inference", INFER, ("resnet50",), 1, 224, 1.0, 1.3),
    Row("10b", "infer-32", "ResNet-50 inference", INFER, ("resnet50",), 32, 224, 1.0, 1.3),
    Row("11a", "mkd", "MKD: two ResNet-18", METHOD, ("resnet18", "resnet18"), 128, 32, 1.8, 2.5, "mkd"),
    Row("11b", "smkd-p", "SMKD-P: two ResNet-18", METHOD, ("resnet18", "resnet18"), 128, 32, 1.8, 2.5, "smkd-p"),
    Row("11c", "co-teaching", "Co-teaching: two ResNet-18", METHOD, ("resnet18", "resnet18"), 128, 32, 1.8, 2.5, "co-teaching"),
    Row("11d", "elr", "ELR: ResNet-18", METHOD, ("resnet18",), 128, 32, 1.8, 2.5, "elr"),
    Row("11e", "ps-kd+byot", "PS-KD+BYOT: ResNet-18 with three heads", METHOD, ("resnet18",), 128, 32, 1.8, 2.5, "ps-kd+byot", 3),
)


def choose(text):
    """Rows by number (10 is both 10a and 10b, 11 all of 11a to 11e) or name, separated by commas, in the table's order."""
    if not text:
        return list(ROWS)
    asked = [t.strip() for t in text.split(",") if t.strip()]
    fits = lambda r, t: t in (r.key, r.name) or t == r.key.rstrip("abcde")
    for t in asked:
        if not any(fits(r, t) for r in ROWS):
            raise SystemExit(f"--rows {t}: expected numbers or names of " + ", ".join(f"{r.key} ({r.name})" for r in ROWS))
    return [r for r in ROWS if any(fits(r, t) for t in asked)]
