"""torchvision's transforms on Pillow images beside the runtime's: every operation of its policies at their magnitudes, on odd, tiny and
large images, at most 1 level of 255 off; the policies' magnitudes; whole pipelines in which a second implementation of the generator
draws the same numbers and torchvision does the rest; MixUp and CutMix; and the distributions of what is drawn.
"""
import math
import pathlib
import subprocess
import sys
import types

import numpy as np

from common import BUILD, RUN, SMKDC, SRC, Report, need, need_tools, read_safetensors, run, temp_dir

sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
PIL, torch, Image, F, T, auto, v2 = need("PIL", "torch", "PIL.Image", "torchvision.transforms.functional", "torchvision.transforms.transforms",
                                    "torchvision.transforms.autoaugment", "torchvision.transforms.v2")

TOOL = BUILD / "tests" / "oracle_transforms"
FLOWERS = SRC.parent / "shared" / "data" / "flowers"
HOW = {"nearest": F.InterpolationMode.NEAREST, "bilinear": F.InterpolationMode.BILINEAR, "bicubic": F.InterpolationMode.BICUBIC}
GEOMETRY = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
MEAN, STD = np.float32([0.4, 0.45, 0.5]), np.float32([0.2, 0.23, 0.26])  # oracle_transforms.c: options()
ROUNDED_ALIKE = int(PIL.__version__.split(".")[0]) >= 13  # before, it resized columns first always, which rounds elsewhere
LEVEL = 1.01 / 255 / float(STD.min())  # one level in normalised floats


class Tool:
    def __init__(self):
        self.p = subprocess.Popen([str(TOOL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, *words):
        """(bytes, a, b), or the message as a string."""
        self.p.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.p.stdin.flush()
        head = self.p.stdout.readline().decode().split(" ", 1)
        if head[0] == "error":
            return head[1].strip()
        if head[0] != "ok":
            raise AssertionError(f"the tool ended ({self.p.wait()}) at: {' '.join(map(str, words))}")
        n, a, b = head[1].split()
        return self.p.stdout.read(int(n)), float(a), float(b)

    def image(self, *words):
        got = self.ask(*words)
        assert not isinstance(got, str), got
        data, w, h = got
        return np.frombuffer(data, np.uint8).reshape(int(h), int(w), 3)

    def floats(self, *words):
        got = self.ask(*words)
        assert not isinstance(got, str), got
        return np.frombuffer(got[0], np.float32)

    def draws(self, kind, seed, count, a=0, b=0, c=0):
        return np.frombuffer(self.ask("draw", kind, seed, count, a, b, c, "/")[0], np.float64).reshape(count, 4)


def off(got, want):
    """Largest difference in levels."""
    want = np.asarray(want)
    return np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf


def picture(w, h, seed=0):
    r = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    base = np.stack([np.sin(x / (7 + k) + seed) + np.cos(y / (5 + 2 * k)) + (x > w / 2) * (y > h / 3) for k in range(3)], -1)
    return np.clip(128 + 45 * base + r.normal(0, 6, (h, w, 3)), 0, 255).astype(np.uint8)


def images(tmp):
    """{path: Pillow image}"""
    r = np.random.default_rng(3)
    arrays = {f"{w}x{h}": picture(w, h, w) for w, h in ((61, 47), (33, 17), (64, 64), (5, 5), (3, 2), (2, 3), (1, 1), (1, 40), (40, 1))}
    arrays["noise"] = r.integers(0, 256, (20, 20, 3)).astype(np.uint8)  # more levels than pixels
    arrays["flat"] = np.full((9, 12, 3), 77, np.uint8)
    arrays["two levels"] = np.where(r.random((16, 15, 3)) < 0.3, 40, 200).astype(np.uint8)
    arrays["dark"] = r.integers(0, 30, (30, 31, 3)).astype(np.uint8)
    arrays["grey"] = np.repeat(picture(30, 20, 8)[..., :1], 3, -1)
    photos = sorted(FLOWERS.rglob("*.jpg"))[::400][:2] if FLOWERS.exists() else []
    for k, path in enumerate(photos):
        im = Image.open(path).convert("RGB")
        arrays[f"photo {k}"] = np.asarray(im.resize((im.width * 3 // 5, im.height * 3 // 5)))
    if not photos:
        print("skipped: photographs (../shared/data/flowers is not there)")
    out = {}
    for name, a in arrays.items():
        path = tmp / f"{name}.png"
        Image.fromarray(a).save(path)
        out[path] = Image.fromarray(a)
    return out


# --- operations ------------------------------------------------------------------------------------------------------

def magnitudes(name, im):
    """Those of all policies at some of their bins, and odd ones in between."""
    w, h = im.size
    out = set()
    for space in (auto.RandAugment()._augmentation_space(31, (h, w)), auto.TrivialAugmentWide()._augmentation_space(31),
                  auto.AutoAugment()._augmentation_space(10, (h, w))):
        m, signed = space.get(name, (torch.tensor(0.0), False))
        some = [float(v) for v in (m[[0, 1, len(m) // 3, len(m) // 2, -2, -1]] if m.ndim else m[None])]
        out |= {s * v for v in some for s in ((1, -1) if signed else (1,))}
    out |= {"Rotate": {90.0, -90.0, 180.0, 270.0, 360.0, 0.1}, "Solarize": {127.5, 128.0, 256.0}}.get(name, set())
    return sorted(out)


def check_operations(tool, pictures, report):
    names = list(auto.RandAugment()._augmentation_space(31, (9, 9))) + ["Invert"]
    for name in names:
        for how in HOW if name in GEOMETRY else ("bilinear",):
            worst, where, exact, n = 0, "", 0, 0
            for path, im in pictures.items():
                for m in magnitudes(name, im):
                    want = auto._apply_op(im, name, m, HOW[how], None)
                    d = off(tool.image("op", name, how, repr(m), path), want)
                    n, exact = n + 1, exact + (d == 0)
                    if d > worst:
                        worst, where = d, f" (worst at {m} of {path.stem})"
            report.check(f"{name} {how if name in GEOMETRY else ''}: {exact} of {n} to the level{where}", worst, 1)
    worst = 0
    for path, im in pictures.items():
        for m in (-0.5, -0.3, -0.004, 0.0, 0.003, 0.1, 0.25, 0.5):
            worst = max(worst, off(tool.image("op", "Hue", "bilinear", m, path), F.adjust_hue(im, m)))
    report.check("Hue", worst, 1)
    colours = np.stack(np.meshgrid(*[np.arange(0, 256, 15)] * 3), -1).reshape(18, -1, 3).astype(np.uint8)
    path = pathlib.Path(next(iter(pictures))).parent / "colours.png"
    Image.fromarray(colours).save(path)
    for m in (-0.37, 0.2):
        report.check(f"Hue {m} of all colours", off(tool.image("op", "Hue", "bilinear", m, path), F.adjust_hue(Image.fromarray(colours), m)), 1)


def check_spaces(tool, report):
    for w, h in ((224, 224), (32, 32), (299, 187), (1, 7)):
        for policy, space in (("ra", auto.RandAugment()._augmentation_space(31, (h, w))), ("ta_wide", auto.TrivialAugmentWide()._augmentation_space(31)),
                              ("augmix", auto.AugMix()._augmentation_space(10, (h, w))), ("imagenet", auto.AutoAugment()._augmentation_space(10, (h, w)))):
            rows = [r.split() for r in tool.ask("space", policy, w, h, "/")[0].decode().splitlines()]
            report.check(f"{policy} {w}x{h}: operations in order", 0 if [r[0] for r in rows] == list(space) else 1, 0)
            for name, sign, *m in rows:
                want, signed = space[name]
                want = want.double().numpy() if want.ndim else np.zeros(len(m))
                m = np.array(m, float)
                good = np.abs(m - want).max() <= 2e-7 * max(1, np.abs(want).max()) and (m.astype(int) == want.astype(int)).all()
                if not good or bool(int(sign)) != signed:
                    report.fail(f"{policy} {w}x{h} {name}", f"{m} instead of {want}")


def check_windows(tool, pictures, report):
    for mode, torch_mode in (("zero", "constant"), ("reflect", "reflect")):
        worst = 0
        for path, im in pictures.items():
            for pad in (0, 1, 4, 50):
                padded = F.pad(im, [pad] * 4, 0, torch_mode)
                for i, j, h, w in ((0, 0, padded.height, padded.width), (0, 0, 1, 1), (pad // 2, pad, max(1, im.height // 2), im.width), (padded.height - 1, 0, 1, padded.width)):
                    want = F.crop(padded, i, j, h, w)
                    worst = max(worst, off(tool.image("window", j - pad, i - pad, w, h, mode, path), want))
        report.check(f"pad and crop, {mode}", worst, 0)
    report.check("mirrored", max(off(tool.image("flip", p), F.hflip(im)) for p, im in pictures.items()), 0)


# --- pipelines: the generator once more, torchvision for everything else ---------------------------------------------

class Rng:
    """Philox4x32-10 and what rt_rng_* and rt_draw_* make of it."""

    def __init__(self, seed, stream=7):
        self.key, self.stream, self.counter, self.left = seed, stream, 0, []

    def u32(self):
        if not self.left:
            m, (k0, k1) = 0xFFFFFFFF, (self.key & 0xFFFFFFFF, self.key >> 32)
            c = [self.counter & m, self.counter >> 32, self.stream & m, self.stream >> 32]
            for _ in range(10):
                p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
                c = [p1 >> 32 ^ c[1] ^ k0, p1 & m, p0 >> 32 ^ c[3] ^ k1, p0 & m]
                k0, k1 = k0 + 0x9E3779B9 & m, k1 + 0xBB67AE85 & m
            self.left, self.counter = c, self.counter + 1
        return self.left.pop(0)

    def u64(self):
        hi = self.u32()
        return hi << 32 | self.u32()

    def uniform(self, lo=0.0, hi=1.0):
        return lo + (hi - lo) * ((self.u64() >> 11) * 2.0 ** -53)

    def below(self, n):
        while n >= 2:
            v = self.u64()
            if v < (1 << 64) - 1 - ((1 << 64) - 1) % n:
                return v % n
        return 0

    def shuffled(self, n):
        a = list(range(n))
        for i in range(n, 1, -1):
            j = self.below(i)
            a[i - 1], a[j] = a[j], a[i - 1]
        return a

    def box(self, w, h, scale, ratio, erase):
        for _ in range(10):
            area, r = w * h * self.uniform(*scale), math.exp(self.uniform(math.log(ratio[0]), math.log(ratio[1])))
            a, b = round(math.sqrt(area * r)), round(math.sqrt(area / r))
            cw, ch = (b, a) if erase else (a, b)
            if (ch < h and cw < w) if erase else (0 < cw <= w and 0 < ch <= h):
                i = self.below(h - ch + 1)
                return i, self.below(w - cw + 1), ch, cw
        return None


def policy(name, strength, how, r, im):
    w, h = im.size
    def any_of(space, im, bin=None, bins=0):
        op = list(space)[r.below(len(space))]
        m, signed = space[op]
        bin = r.below(bins) if bin is None else bin
        m = float(m[bin]) if m.ndim else 0.0
        if r.below(2) and signed:
            m = -m
        if op == "Posterize" and m == 0:
            return Image.new("RGB", im.size)  # Pillow refuses no bits, torchvision's tensors become black
        return auto._apply_op(im, op, m, how, None)
    if name == "ra":
        for _ in range(2):
            im = any_of(auto.RandAugment()._augmentation_space(31, (h, w)), im, strength)
    elif name == "ta_wide":
        im = any_of(auto.TrivialAugmentWide()._augmentation_space(31), im, None, 31)
    elif name == "augmix":
        def dirichlet(n):
            e = np.array([-math.log(1 - r.uniform()) for _ in range(n)])
            return e / e.sum()
        own, of = dirichlet(2), dirichlet(3)
        mix = np.float32(own[0]) * np.asarray(im, np.float32)
        for k in range(3):
            chain = im
            for _ in range(1 + r.below(3)):
                chain = any_of(auto.AugMix()._augmentation_space(10, (h, w)), chain, None, strength)
            mix = mix + np.float32(own[1] * of[k]) * np.asarray(chain, np.float32)
        im = Image.fromarray(np.minimum(mix, 255).astype(np.uint8))
    elif name != "none":
        p = auto.AutoAugment(auto.AutoAugmentPolicy(name))
        pair = p.policies[r.below(25)]
        u = [r.uniform() for _ in range(2)]
        negative = [r.below(2) == 0 for _ in range(2)]
        for k, (op, share, bin) in enumerate(pair):
            if u[k] <= share:
                m, signed = p._augmentation_space(10, (h, w))[op]
                m = float(m[bin]) if bin is not None else 0.0
                im = auto._apply_op(im, op, -m if signed and negative[k] else m, how, None)
    return im


def reference(im, seed, o):
    """What ClassificationPresetTrain does, with our draws; seed -1: ClassificationPresetEval."""
    r, H, W, how = Rng(seed) if seed >= 0 else None, o.get("height", 32), o.get("width", 32), HOW[o.get("how", "bilinear")]
    crop = o.get("crop", "center")
    if seed >= 0 and crop == "resized":
        b = r.box(*im.size, (0.08, 1), (3 / 4, 4 / 3), False)
        if b is None:  # torchvision's own fallback
            b = T.RandomResizedCrop.get_params(im, [8.0, 9.0], [3 / 4, 4 / 3])
        im = F.resized_crop(im, *b, [H, W], how)
    elif seed >= 0 and crop == "plain":
        if o.get("train_resize"):
            im = F.resize(im, o["train_resize"], how)
        pad, mode = o.get("pad", 0), "reflect" if o.get("pad_mode") == "reflect" else "constant"
        im = F.pad(im, [pad] * 4, 0, mode)
        for axis, want in ((0, W), (1, H)):
            if im.size[axis] < want:
                im = F.pad(im, [want - im.size[axis], 0] if axis == 0 else [0, want - im.size[axis]], 0, mode)
        i = r.below(im.height - H + 1) if im.height > H else 0
        im = F.crop(im, i, r.below(im.width - W + 1) if im.width > W else 0, H, W)
    else:
        if o.get("val_resize"):
            im = F.resize(im, o["val_resize"], how)
        im = F.center_crop(im, [H, W])
    if r:
        if o.get("hflip", 0) > 0 and r.uniform() < o["hflip"]:
            im = F.hflip(im)
        jitter = [o.get(k, 0) for k in ("brightness", "contrast", "saturation", "hue")]
        if any(jitter):
            order = r.shuffled(4)
            by = [r.uniform(-1 if k < 3 and v > 1 else -v, v) for k, v in enumerate(jitter)]
            for k in order:
                if jitter[k]:
                    im = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)[k](im, by[k] + (k < 3))
        im = policy(o.get("policy", "none"), o.get("strength", 0), how, r, im)
    x = F.to_tensor(im.convert("L") if o.get("channels", 3) == 1 else im)
    x = F.normalize(x, MEAN[:len(x)].tolist(), STD[:len(x)].tolist())
    if r:
        if o.get("cutout"):
            y, cx, half = r.below(H), r.below(W), o["cutout"] // 2
            x[:, max(0, y - half):max(0, y + half), max(0, cx - half):max(0, cx + half)] = 0
        if o.get("erase", 0) > 0 and r.uniform() < o["erase"]:
            b = r.box(W, H, (0.02, 0.33), (0.3, 3.3), True)
            if b:
                x = F.erase(x, *b, torch.tensor([0.0])[:, None, None])
    x = x.numpy()
    return (x.transpose(1, 2, 0) if o.get("last") else x).ravel()


PIPELINES = {
    "evaluation": dict(val_resize=40),
    "evaluation, bicubic, not square": dict(val_resize=40, how="bicubic", height=24, width=30),
    "evaluation of what is smaller": dict(height=70, width=90),
    "evaluation, nearest": dict(val_resize=51, how="nearest", width=25),
    "evaluation of a window": dict(val_resize=90, height=20, width=13),
    "evaluation of what is resized to less": dict(val_resize=32, height=40, width=50),
    "evaluation, grey": dict(val_resize=40, channels=1),
    "resized crop": dict(crop="resized", hflip=0.5),
    "resized crop, bicubic, channels last": dict(crop="resized", hflip=0.5, how="bicubic", last=1, width=27),
    "plain crop": dict(crop="plain", train_resize=48, hflip=0.5),
    "plain crop, padded": dict(crop="plain", pad=4),
    "plain crop, reflected": dict(crop="plain", pad=9, pad_mode="reflect", hflip=1),
    "plain crop, reflected, resized": dict(crop="plain", train_resize=40, pad=4, pad_mode="reflect"),
    "colours": dict(val_resize=32, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    "strong colours": dict(crop="resized", brightness=1.5, saturation=2, hue=0.5),
    "erased": dict(val_resize=32, erase=0.6),
    "cutout": dict(val_resize=32, cutout=17),
    "both, channels last, grey": dict(val_resize=32, cutout=8, erase=0.9, last=1, channels=1),
    "ra": dict(crop="resized", hflip=0.5, policy="ra", strength=9),
    "ra 25, nearest": dict(val_resize=32, policy="ra", strength=25, how="nearest"),
    "ra 30, bicubic": dict(val_resize=32, policy="ra", strength=30, how="bicubic"),
    "ta_wide": dict(val_resize=32, policy="ta_wide"),
    "augmix": dict(val_resize=32, policy="augmix", strength=3),
    "augmix 10": dict(val_resize=32, policy="augmix", strength=10),
    "imagenet": dict(val_resize=32, policy="imagenet"),
    "cifar10": dict(val_resize=32, policy="cifar10", how="nearest"),
    "svhn": dict(val_resize=32, policy="svhn"),
    "all at once": dict(crop="resized", hflip=0.3, brightness=0.2, hue=0.05, policy="ta_wide", erase=0.3, cutout=8),
}


def check_pipelines(tool, pictures, report):
    for name, o in PIPELINES.items():
        words = [f"{k}={v}" for k, v in o.items()]
        worst, share = 0.0, 0.0
        for path, im in pictures.items():
            if o.get("pad_mode") == "reflect" and not o.get("train_resize") and min(im.size) + 2 * o["pad"] < 32:
                continue  # reflected twice, which ours does at once
            for seed in range(12) if not name.startswith("evaluation") else (-1,):
                want = reference(im, seed, o)
                got = tool.floats("run", seed, 0, 0, *words, path)
                d = np.abs(got - want)
                worst, share = max(worst, d.max()), max(share, (d > 1e-5).mean())
        if ROUNDED_ALIKE:
            report.check(f"{name}: share of values that differ at all", share, 0.002)
        # One level becomes several where an operation behind it spreads levels: equalize, contrast, posterize.
        spreads = not ROUNDED_ALIKE and any(k in o for k in ("policy", "contrast", "brightness", "saturation"))
        report.check(name, worst, LEVEL * (24 if spreads else 1))


def check_scaled(tool, pictures, tmp, report):
    """Decoded smaller: the same parts, nearly the same pixels; and the size is what was asked for."""
    im = Image.fromarray(picture(800, 600, 2))
    im.save(tmp / "whole.png")
    words = ["crop=resized", "hflip=0.5"]
    for seed in range(8):
        _, w, h = tool.ask("least", seed, 800, 600, *words, "/")
        i, j, ch, cw = Rng(seed).box(800, 600, (0.08, 1), (3 / 4, 4 / 3), False)
        share = max(64 / cw, 64 / ch)
        want = (math.ceil(share * 800), math.ceil(share * 600)) if share < 1 else (0, 0)
        report.check(f"size that suffices, seed {seed}", max(abs(w - want[0]), abs(h - want[1])), 0)
        if 0 < w <= 400:
            im.reduce(2).save(tmp / "half.png")
            a = tool.floats("run", seed, 0, 0, *words, tmp / "whole.png")
            b = tool.floats("run", seed, 800, 600, *words, tmp / "half.png")
            report.check(f"of half the size, seed {seed}: mean difference in levels", np.abs(a - b).mean() * 255 * 0.23, 1)
    for o, want in ((["val_resize=40"], (107, 80)), (["val_resize=0"], (0, 0)), (["val_resize=299"], (798, 598)), (["val_resize=301"], (0, 0))):
        got = tool.ask("least", -1, 800, 600, *o, "/")[1:]
        report.check(f"size that suffices for evaluation, {o[0]}", max(abs(got[0] - want[0]), abs(got[1] - want[1])), 0)
    Image.new("RGB", (30000, 1)).save(tmp / "long.png")
    for words in (["val_resize=256"], ["crop=plain", "train_resize=256"]):
        got = tool.ask("run", 1 if len(words) > 1 else -1, 0, 0, *words, tmp / "long.png")
        report.check(f"too long and narrow, {words[0]}", 0 if isinstance(got, str) and "30000 x 1" in got else 1, 0)
    got = tool.floats("run", 1, 0, 0, "crop=resized", "policy=ta_wide", tmp / "long.png")
    report.check("long and narrow, resized crop", 0 if np.isfinite(got).all() else 1, 0)


def check_refusals(tool, report):
    for words, expected in ((["pad=4"], "--pad"), (["hflip=1.5"], "--hflip-prob"), (["erase=-1"], "--random-erase"), (["policy=ra", "strength=31"], "--ra-magnitude"),
                            (["policy=augmix", "strength=0"], "--augmix-severity"), (["policy=ra", "how=lanczos"], "--interpolation"), (["hue=0.6"], "--color-jitter"),
                            (["crop=resized", "train_resize=40"], "--train-resize-size"), (["channels=2"], "2 channels"), (["cutout=-2"], "--cutout")):
        got = tool.ask("run", 0, 0, 0, *words, "/")
        report.check(f"{' '.join(words)} is refused", 0 if isinstance(got, str) and expected in got else 1, 0)


# --- mixing ----------------------------------------------------------------------------------------------------------

def check_mixing(tool, pictures, tmp, report):
    r = np.random.default_rng(5)
    for w in (dict(zip("wxyz", map(float, row))) for row in r.dirichlet([1] * 4, 4)):
        k = np.float32(list(w.values()))
        for path, im in list(pictures.items())[:4]:
            a = np.asarray(im).astype(np.float32)
            chains = [F.invert(im), F.solarize(im, 128), F.posterize(im, 2)]
            want = sum((k[i + 1] * np.asarray(c, np.float32) for i, c in enumerate(chains)), k[0] * a)
            report.check("AugMix's mixture", off(tool.image("augmix", *map(repr, map(float, k)), path), want.astype(np.uint8)), 1)
    for n, c, h, w in ((5, 3, 7, 9), (1, 1, 4, 4), (2, 3, 16, 16)):
        x = torch.tensor(r.normal(size=(n, c, h, w)).astype(np.float32))
        labels = torch.arange(n) % 3
        for last in (0, 1):
            (x.permute(0, 2, 3, 1).contiguous() if last else x).numpy().tofile(tmp / "x.f32")
            def back(got):
                y = np.frombuffer(got[0], np.float32)
                return y.reshape(n, h, w, c).transpose(0, 3, 1, 2) if last else y.reshape(n, c, h, w)
            for lam in (0.0, 0.3, 0.77, 1.0):
                m = v2.MixUp(alpha=1.0, num_classes=3)
                params = dict(lam=lam, labels=labels, batch_size=n)
                got = back(tool.ask("mix", lam, n, c, h, w, last, tmp / "x.f32"))
                report.check(f"MixUp {lam} of {n}", np.abs(got - m.transform(x, params).numpy()).max(), 1e-6)
                for cx, cy in ((0, 0), (w - 1, h // 2), (w // 2, h - 1)):
                    m, draws = v2.CutMix(alpha=1.0, num_classes=3), iter((cx, cy))
                    m._dist = types.SimpleNamespace(sample=lambda _: lam)
                    randint, torch.randint = torch.randint, lambda *a, **k: torch.tensor([next(draws)])
                    try:
                        params = m.make_params([x])
                    finally:
                        torch.randint = randint
                    got = tool.ask("cut", lam, cx, cy, n, c, h, w, last, tmp / "x.f32")
                    want = m.transform(x, dict(params, labels=labels, batch_size=n)).numpy()
                    report.check(f"CutMix {lam} at {cx},{cy} of {n}", max(np.abs(back(got) - want).max(), abs(got[1] - params["lam_adjusted"])), 1e-12)


def check_mixed_labels(tmp, report):
    """Cross entropy with the labels that torchvision's _mixup_label makes, on the program's labels.mix and mix.lambda."""
    r, n, c = np.random.default_rng(6), 7, 5
    z, y = r.normal(size=(n, c)).astype(np.float32), r.integers(0, c, n)
    np.save(tmp / "z.npy", z)
    np.save(tmp / "y.npy", y)
    np.save(tmp / "other.npy", np.roll(y, 1))
    for lam in (0.0, 0.3, 1.0):
        run(RUN, "loss", "ce", "--logits", tmp / "z.npy", "--labels", tmp / "y.npy", "--input", f"labels.mix={tmp / 'other.npy'}",
            "--scalar", f"mix.lambda={lam}", "-o", tmp / "l.safetensors")
        got = read_safetensors(tmp / "l.safetensors")
        soft = v2.MixUp(num_classes=c)._mixup_label(torch.tensor(y), lam=lam)
        t = torch.tensor(z, requires_grad=True)
        want = torch.nn.functional.cross_entropy(t, soft)
        want.backward()
        report.check(f"loss of labels mixed by {lam}", abs(float(got["loss.0"].ravel()[0]) - want.item()), 1e-6)
        report.check(f"its gradient, {lam}", np.abs(got["grad.0"] - t.grad.numpy()).max(), 1e-7)


# --- distributions ---------------------------------------------------------------------------------------------------
# Seeds are fixed, so these do not fail by chance; the bounds are five standard errors and more.

def ks(a, b):
    """Largest distance of two samples' distribution functions."""
    both = np.sort(np.concatenate([a, b]))
    return np.abs(np.searchsorted(np.sort(a), both, "right") / len(a) - np.searchsorted(np.sort(b), both, "right") / len(b)).max()


def check_distributions(tool, tmp, report):
    n = 20000
    bound = 2.5 * math.sqrt(2 / n)  # Kolmogorov-Smirnov at 1e-5
    torch.manual_seed(1)
    for alpha in (0.1, 0.2, 0.4, 1.0, 2.0, 8.0):
        got = tool.draws("beta", 3, n, alpha)[:, 0]
        want = torch.distributions.Beta(torch.tensor([alpha]).double(), torch.tensor([alpha]).double()).sample((n,)).numpy()[:, 0]
        report.check(f"Beta({alpha}): inside [0, 1]", 0 if (got >= 0).all() and (got <= 1).all() else 1, 0)
        report.check(f"Beta({alpha})", ks(got, want), bound)
    tiny = tool.draws("beta", 3, n, 1e-3)[:, 0]
    report.check("Beta(0.001): half are 1", abs((tiny > 0.5).mean() - 0.5), 0.02)
    report.check("normal", ks(tool.draws("normal", 4, n)[:, 0], np.random.default_rng(1).normal(size=n)), bound)
    for w, h in ((224, 224), (500, 375), (100, 400)):
        im = Image.new("RGB", (w, h))
        got = tool.draws("resized", 5, n, w, h)
        t = T.RandomResizedCrop(32)
        want = np.array([t.get_params(im, t.scale, t.ratio) for _ in range(n // 4)], float)[:, [1, 0, 3, 2]]
        loose = 2.5 * math.sqrt(1 / n + 4 / n)
        report.check(f"crops of {w}x{h} lie inside", 0 if (got[:, :2] >= 0).all() and (got[:, 0] + got[:, 2] <= w).all() and (got[:, 1] + got[:, 3] <= h).all() else 1, 0)
        for k, what in enumerate(("left", "top", "width", "height")):
            report.check(f"crops of {w}x{h}: {what}", ks(got[:, k], want[:, k]), loose)
        report.check(f"crops of {w}x{h}: area", ks(got[:, 2] * got[:, 3], want[:, 2] * want[:, 3]), loose)
        got = tool.draws("erase", 6, n, w, h)
        x = torch.empty(3, h, w)
        e = T.RandomErasing()
        want = np.array([e.get_params(x, e.scale, e.ratio, [0.0])[:4] for _ in range(n // 4)], float)[:, [1, 0, 3, 2]]
        for k, what in enumerate(("left", "top", "width", "height")):
            if (got[:, 0] >= 0).all():
                report.check(f"erased of {w}x{h}: {what}", ks(got[:, k], want[:, k]), loose)
    one = pathlib.Path(tmp) / "two pixels.png"
    Image.fromarray(np.uint8([[[0] * 3, [255] * 3]])).save(one)
    for p in (0.0, 0.3, 0.5, 1.0):
        flipped = np.mean([tool.floats("run", seed, 0, 0, "width=2", "height=1", f"hflip={p}", one)[0] > 0 for seed in range(2000)])
        report.check(f"mirrored with probability {p}", abs(flipped - p), 5 * math.sqrt(p * (1 - p) / 2000))
        erased = np.mean([(tool.floats("run", seed, 0, 0, "width=8", "height=8", f"erase={p}", one) == 0).any() for seed in range(2000)])
        report.check(f"erased with probability {p}", abs(erased - p), 5 * math.sqrt(p * (1 - p) / 2000) + 0.02)  # rectangles may be empty
    got = tool.draws("cutout", 7, n, 20, 30, 9)
    report.check("cutout: largest side", abs(got[:, 2].max() - 8) + abs(got[:, 3].max() - 8), 0)
    report.check("cutout: whole squares", abs((got[:, 2] * got[:, 3] == 64).mean() - 13 / 20 * 23 / 30), 0.02)
    got = tool.draws("mix", 8, n, 0.2, 1.0)
    report.check("MixUp or CutMix: half of the time", abs((got[:, 0] == 2).mean() - 0.5), 0.02)
    cut = got[got[:, 0] == 2]
    report.check("CutMix: lambda is the area", np.abs(cut[:, 1] - (1 - cut[:, 2] * cut[:, 3] / 1200)).max(), 1e-12)
    report.check("no mixing", np.abs(tool.draws("mix", 8, 50, 0, 0)[:, :2] - [0, 1]).max(), 0)
    report.check("MixUp alone", 0 if (tool.draws("mix", 8, 50, 0.2, 0)[:, 0] == 1).all() else 1, 0)


def main():
    need_tools(TOOL)
    report, tool = Report(), Tool()
    with temp_dir() as tmp:
        pictures = images(tmp)
        report.guard("operations", check_operations, tool, pictures, report)
        report.guard("magnitudes", check_spaces, tool, report)
        report.guard("windows", check_windows, tool, pictures, report)
        report.guard("pipelines", check_pipelines, tool, pictures, report)
        report.guard("scaled", check_scaled, tool, pictures, tmp, report)
        report.guard("refusals", check_refusals, tool, report)
        report.guard("mixing", check_mixing, tool, pictures, tmp, report)
        if RUN.exists() and SMKDC.exists():
            report.guard("mixed labels", check_mixed_labels, tmp, report)
        else:
            print("skipped: the loss of mixed labels (smkd-run and smkdc have not been built)")
        report.guard("distributions", check_distributions, tool, tmp, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
