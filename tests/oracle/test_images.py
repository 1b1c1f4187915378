"""Decoded image files beside Pillow's Image.open(f).convert("RGB"): every kind of JPEG, PNG, WebP and BMP, at most 1 level off (another
libjpeg may round elsewhere); resized as Pillow and torchvision do it; what `smkd-run predict` makes of them; and files that are damaged,
which are refused with a reason, or read as Pillow reads them.
"""
import io
import random
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np

from common import BUILD, RUN, SMKDC, Report, need, need_tools, run, temp_dir

(Image,) = need("PIL.Image")
import PIL.ImageOps

TOOL = BUILD / "tests" / "oracle_images"


class Decoder:
    def __init__(self):
        self.p = subprocess.Popen([str(TOOL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, path, least=(0, 0), upright=False):
        return self.ask(f"decode {least[0]} {least[1]} {int(upright)} {path}")

    def ask(self, line):
        self.p.stdin.write(f"{line}\n".encode())
        self.p.stdin.flush()
        head = self.p.stdout.readline().decode(errors="replace").split(" ", 1)
        if not head[0]:
            raise AssertionError(f"the decoder ended: {self.p.wait()}")
        if head[0] == "error":
            return head[1].strip()
        w, h = map(int, head[1].split())
        return np.frombuffer(self.p.stdout.read(w * h * 3), np.uint8).reshape(h, w, 3)


def picture(w, h, seed=0):
    """A photograph's kind of picture: smooth, with edges and a little noise."""
    r = np.random.default_rng(seed)
    y, x = np.mgrid[0:h, 0:w].astype(np.float64)
    base = np.stack([np.sin(x / (7 + k) + seed) + np.cos(y / (5 + 2 * k)) + (x > w / 2) * (y > h / 3) for k in range(3)], -1)
    return np.clip(128 + 45 * base + r.normal(0, 4, (h, w, 3)), 0, 255).astype(np.uint8)


def png(w, h, depth, kind, rows, *chunks, interlace=0):
    """A PNG put together by hand: kinds that Pillow does not write."""
    def chunk(t, d):
        return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", w, h, depth, kind, 0, 0, interlace)) + b"".join(chunk(*c) for c in chunks) +
            chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows))) + chunk(b"IEND", b""))


def bmp(w, h, bits, rows, compression=0, palette=b"", masks=b"", used=0, size=40):
    body = b"".join(rows)
    head = struct.pack("<IiiHHIIiiII", size, w, h, 1, bits, compression, len(body), 0, 0, used, 0) + b"\0" * (size - 40)
    at = 14 + len(head) + len(masks) + len(palette)
    return b"BM" + struct.pack("<IHHI", at + len(body), 0, 0, at) + head + masks + palette + body


def saved(im, form, **more):
    f = io.BytesIO()
    im.save(f, form, **more)
    return f.getvalue()


def files():
    """{name: bytes}"""
    out, r = {}, np.random.default_rng(7)
    rgb, odd = Image.fromarray(picture(61, 47)), Image.fromarray(picture(33, 17, 3))
    grey, rgba = rgb.convert("L"), rgb.copy()
    rgba.putalpha(Image.fromarray(r.integers(0, 256, (47, 61)).astype(np.uint8)))
    for q in (30, 75, 95):
        for sub in (0, 1, 2):
            out[f"q{q} sub{sub}.jpg"] = saved(rgb, "JPEG", quality=q, subsampling=sub)
    out["progressive.jpg"] = saved(rgb, "JPEG", progressive=True, quality=80)
    out["optimized odd.JPEG"] = saved(odd, "JPEG", optimize=True)
    out["grey.jpg"] = saved(grey, "JPEG")
    out["grey progressive.jpg"] = saved(grey, "JPEG", progressive=True)
    out["cmyk.jpg"] = saved(rgb.convert("CMYK"), "JPEG", quality=90)
    out["restarts.jpg"] = saved(rgb, "JPEG", restart_marker_blocks=2)
    out["rgb kept.jpg"] = saved(rgb, "JPEG", keep_rgb=True)
    out["one pixel.jpg"] = saved(Image.fromarray(picture(1, 1)), "JPEG")
    for k in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = k
        out[f"turned {k}.jpg"] = saved(rgb, "JPEG", exif=exif)
        out[f"turned {k}.png"] = saved(rgb, "PNG", exif=exif)
        out[f"turned {k}.webp"] = saved(rgb, "WEBP", exif=exif, lossless=True)
    big = Image.Exif()
    big.endian = ">"
    big[0x0112] = 6
    out["turned big-endian.jpg"] = saved(rgb, "JPEG", exif=big)
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        im = rgba.convert(mode) if mode != "P" else rgb.quantize(37)
        out[f"{mode}.png"] = saved(im, "PNG")
        if mode not in ("LA", "RGBA"):
            out[f"{mode}.bmp"] = saved(im, "BMP")
    out["rgba.bmp"] = saved(rgba, "BMP")
    out["palette with alpha.png"] = saved(rgb.quantize(20), "PNG", transparency=bytes(range(0, 200, 10)))
    out["palette of 4.png"] = saved(rgb.quantize(4), "PNG", bits=2)
    out["rgb with a transparent colour.png"] = saved(rgb, "PNG", transparency=(1, 2, 3))
    out["grey with a transparent level.png"] = saved(grey, "PNG", transparency=77)
    v16 = r.integers(0, 65536, (9, 11)).astype(np.uint16)
    v16[0, :6] = (0, 1, 255, 256, 257, 65535)
    out["grey 16.png"] = saved(Image.fromarray(v16), "PNG")
    deep = v16.astype(">u2")
    out["grey alpha 16.png"] = png(11, 9, 16, 4, [np.stack([q, q[::-1]], -1).tobytes() for q in deep])
    out["rgb 16.png"] = png(11, 9, 16, 2, [np.stack([q, q[::-1], q], -1).tobytes() for q in deep])
    out["rgba 16.png"] = png(11, 9, 16, 6, [np.stack([q, q[::-1], q, q], -1).tobytes() for q in deep])
    for depth in (1, 2, 4):
        rows = [r.integers(0, 256, (13 * depth + 7) // 8).astype(np.uint8).tobytes() for _ in range(5)]
        out[f"grey {depth}.png"] = png(13, 5, depth, 0, rows)
        out[f"palette {depth}.png"] = png(13, 5, depth, 3, rows, (b"PLTE", r.integers(0, 256, 3 << depth).astype(np.uint8).tobytes()))
    wide = picture(8, 8, 5)  # interlaced by hand (Adam7): seven small pictures
    rows = b"".join(b"\0" + wide[y, x0::dx].tobytes() for x0, y0, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                                                                               (0, 1, 1, 2)) for y in range(y0, 8, dy))
    whole = png(8, 8, 8, 2, [], interlace=1)
    at = whole.index(b"IDAT") - 4
    data = zlib.compress(rows)
    out["interlaced.png"] = whole[:at] + struct.pack(">I", len(data)) + b"IDAT" + data + struct.pack(">I", zlib.crc32(b"IDAT" + data)) + whole[-12:]
    for q in (20, 80):
        out[f"lossy {q}.webp"] = saved(rgb, "WEBP", quality=q)
    out["lossy alpha.webp"] = saved(rgba, "WEBP", quality=70)
    out["lossless.WebP"] = saved(rgb, "WEBP", lossless=True)
    out["lossless alpha.webp"] = saved(rgba, "WEBP", lossless=True, exact=True)
    out["animated.webp"] = saved(rgb, "WEBP", save_all=True, append_images=[Image.fromarray(picture(61, 47, 9))], duration=50, lossless=True)
    row16 = [r.integers(0, 256, 12 * 2).astype(np.uint8).tobytes() for _ in range(6)]
    row32 = [r.integers(0, 256, 11 * 4).astype(np.uint8).tobytes() for _ in range(6)]
    out["555.bmp"] = bmp(11, 6, 16, row16)
    out["565.bmp"] = bmp(11, 6, 16, row16, 3, masks=struct.pack("<III", 0xf800, 0x7e0, 0x1f))
    out["32.bmp"] = bmp(11, 6, 32, row32)
    out["32 fields.bmp"] = bmp(11, 6, 32, row32, 3, masks=struct.pack("<III", 0xff, 0xff00, 0xff0000))
    out["down.bmp"] = bmp(11, -6, 24, [r.integers(0, 256, 36).astype(np.uint8).tobytes() for _ in range(6)])
    colours = r.integers(0, 256, 64).astype(np.uint8).tobytes()
    out["few colours.bmp"] = bmp(5, 3, 8, [bytes([0, 3, 15, 7, 2, 0, 0, 0])] * 3, palette=colours, used=16)
    out["rle8.bmp"] = bmp(7, 3, 8, [bytes([3, 5, 4, 2, 0, 0, 0, 5, 1, 2, 3, 4, 5, 0, 2, 9, 0, 0, 7, 11, 0, 1])], 1, palette=colours * 16)
    out["rle4.bmp"] = bmp(7, 2, 4, [bytes([7, 0x5a, 0, 0, 0, 5, 0x12, 0x34, 0x50, 0, 2, 0x66, 0, 1])], 2, palette=colours)
    return out


MORE_THAN_PILLOW = {"32 fields.bmp"}


def against_pillow(decode, path, report, name):
    """Ours beside Pillow's of the same file."""
    got = decode(path)
    try:
        with Image.open(path) as im:
            want = np.asarray(im.convert("RGB"))
    except Exception as e:
        if isinstance(got, str) or name not in MORE_THAN_PILLOW:
            report.fail(name, f"{got if isinstance(got, str) else 'decoded'}, where Pillow says: {e}")
        return
    if isinstance(got, str):
        return report.fail(name, got)
    report.check(name, np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf, 1)


def check_sizes(decode, tmp, report):
    """What is decoded smaller is what Pillow's draft mode gives, and never smaller than asked."""
    Image.fromarray(picture(640, 427)).save(tmp / "large.jpg", quality=92)
    for least in ((320, 213), (321, 100), (160, 106), (161, 107), (80, 53), (10, 10), (640, 427)):
        got = decode(tmp / "large.jpg", least)
        with Image.open(tmp / "large.jpg") as im:
            im.draft("RGB", least)
            want = np.asarray(im)
        report.check(f"at least {least}: {want.shape[1]} x {want.shape[0]}", np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf, 1)


def check_damage(decode, good, tmp, report):
    """Cut short anywhere, and with bytes changed anywhere: an answer, and never the end of the program. What Pillow refuses when it is cut
    is refused here, too."""
    r, refused, n = random.Random(1), 0, 0
    for name in ("q75 sub2.jpg", "progressive.jpg", "cmyk.jpg", "RGBA.png", "interlaced.png", "lossy 80.webp", "lossless.WebP", "animated.webp", "RGB.bmp", "rle8.bmp"):
        data = good[name]
        for k in range(60):
            if k < 20:
                bad = data[:len(data) * k // 20]
            else:
                bad = bytearray(data)
                for _ in range(r.choice((1, 3, 30))):
                    bad[r.randrange(len(bad))] = r.randrange(256)
            (tmp / "bad").write_bytes(bytes(bad))
            got = decode(tmp / "bad")
            n += 1
            refused += isinstance(got, str)
            if k < 20 and not isinstance(got, str):
                try:
                    np.asarray(Image.open(tmp / "bad").convert("RGB"))
                except Exception as e:
                    report.fail(f"{name} cut at {k}/20", f"decoded, where Pillow says: {e}")
    print(f"{n} damaged files: {refused} refused, {n - refused} read")
    report.check("share of damaged files that is read", 1 - refused / n, 0.7)
    huge = {"bomb.png": png(30000, 30000, 1, 0, []), "bomb.bmp": bmp(30000, 30000, 8, [b"\0\1"], 1, palette=bytes(1024)),
            "no pixels.bmp": bmp(0, 5, 24, []), "text.jpg": b"hello", "empty.png": b"", "gif.png": b"GIF89a" + bytes(20)}
    for name, data in huge.items():
        (tmp / name).write_bytes(data)
        got = decode(tmp / name)
        report.check(name, 0 if isinstance(got, str) and name in got else 1, 0)
    report.check("no file", 0 if isinstance(decode(tmp / "missing.jpg"), str) else 1, 0)


def torchvision_transforms():
    import types
    # The compiled ops of torchvision do not load beside a CPU-only torch; its transforms do not need them.
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    from torchvision.transforms import functional
    return functional


HOWS = ("NEAREST", "BOX", "BILINEAR", "HAMMING", "BICUBIC", "LANCZOS")


def check_resizing(decode, tmp, report):
    """Every filter, larger and smaller, of all and of parts: Pillow's numbers. To the bit, but where the width grows and the height
    shrinks: newer versions of Pillow then take the rows first, which rounds otherwise."""
    path = tmp / "resize.png"
    im = Image.fromarray(picture(61, 47))
    im.save(path)
    off = 0
    sizes = ((61, 47), (30, 23), (61, 20), (17, 47), (7, 5), (1, 1), (100, 80), (183, 47), (61, 141), (64, 64), (224, 224), (3, 200))
    boxes = ((0, 0, 0, 0), (5, 3, 40, 40), (60, 46, 1, 1), (10, 0, 51, 47), (0, 20, 61, 2))
    for k, how in enumerate(HOWS):
        for w, h in sizes:
            for left, top, bw, bh in boxes:
                part = im.crop((left, top, left + bw, top + bh)) if bw else im
                want = np.asarray(part.resize((w, h), getattr(Image.Resampling, how)))
                got = decode.ask(f"resize {k} {left} {top} {bw} {bh} {w} {h} {path}")
                other_order = w > part.size[0] and h < part.size[1]
                off = max(off, np.abs(got.astype(int) - want).max() - other_order if got.shape == want.shape else np.inf)
    report.check(f"resized by {len(HOWS)} filters, {len(sizes)} sizes, {len(boxes)} parts", off, 0)


def check_presets(decode, tmp, report):
    """torchvision's Resize(size) and CenterCrop of sides long, short, odd and even."""
    F = torchvision_transforms()
    off = 0
    for w, h in ((61, 47), (47, 61), (64, 64), (500, 375), (333, 500), (20, 9)):
        path = tmp / f"{w}.{h}.png"
        im = Image.fromarray(picture(w, h))
        im.save(path)
        for size in (8, 32, 47, 64, 256):
            want = np.asarray(F.resize(im, size))
            got = decode.ask(f"edge {size} {path}")
            off = max(off, np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf)
        for cw, ch in ((32, 32), (47, 47), (8, 300), (400, 8), (64, 63), (301, 299)):
            want = np.asarray(F.center_crop(im, [ch, cw]))
            got = decode.ask(f"crop {cw} {ch} {path}")
            off = max(off, np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf)
    report.check("torchvision's Resize and CenterCrop", off, 0)


def check_predict(tmp, report):
    """smkd-run predict: the probabilities that PyTorch gives for what torchvision's preset makes of the files."""
    import csv
    import torch
    F = torchvision_transforms()
    folder = tmp / "photos" / "a b"
    folder.mkdir(parents=True)
    names = []
    for k, (w, h, suffix) in enumerate(((500, 333, "jpg"), (200, 300, "PNG"), (128, 128, "webp"), (90, 61, "bmp"), (640, 480, "jpeg"))):
        names.append(folder / f"{k}.{suffix}")
        Image.fromarray(picture(w, h, k)).save(names[-1])
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 7, 4), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                                torch.nn.Linear(8, 12)).eval()
    torch.onnx.export(model, (torch.zeros(2, 3, 144, 160),), str(tmp / "p.onnx"), dynamo=False, input_names=["x"], output_names=["logits"],
                      dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})
    run(SMKDC, "compile", tmp / "p.onnx", "-o", tmp / "p.smkd")
    for flags, size, how in (((), 144 * 256 // 224, "bilinear"), (("--val-resize-size", 170, "--interpolation", "bicubic"), 170, "bicubic")):
        out = run(RUN, "predict", tmp / "p.smkd", tmp / "photos", "--top", 12, "--csv", *flags).stdout
        got = {}
        for row in csv.DictReader(io.StringIO(out)):
            got.setdefault(row["file"], {})[int(row["class"])] = float(row["probability"])
        report.check("files found", abs(len(got) - len(names)), 0)
        for name in names:
            im = Image.open(name).convert("RGB")
            im = F.center_crop(F.resize(im, size, F.InterpolationMode(how)), [144, 160])
            x = F.normalize(F.to_tensor(im), (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
            want = torch.softmax(model(x[None]), 1)[0].detach().numpy()
            mine = np.array([got[str(name)][c] for c in range(12)])
            report.check(f"predict {name.name} {how}", np.abs(mine - want).max(), 1e-3)  # a level of 255 where libjpegs differ
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff nothing")
    p = run(RUN, "predict", tmp / "p.smkd", tmp / "photos", "--json", "--top", 1, ok=False)
    report.check("a broken file: exit 1 and a line of its own, the others printed", 0 if p.returncode == 1 and len(p.stdout.splitlines()) == 6 and "broken.jpg" in p.stderr else 1, 0)
    p = run(RUN, "predict", tmp / "p.smkd", tmp / "nothing", ok=False)
    report.check("no file", 0 if p.returncode == 1 and "nothing" in p.stderr else 1, 0)


def main():
    need_tools(TOOL, SMKDC, RUN)
    warnings.simplefilter("ignore")  # of Pillow about damaged files
    report, decode, good = Report(), Decoder(), files()
    with temp_dir() as tmp:
        for name, data in good.items():
            (tmp / name).write_bytes(data)
            report.guard(name, against_pillow, decode, tmp / name, report, name)
            if name.startswith("turned"):
                want = np.asarray(PIL.ImageOps.exif_transpose(Image.open(tmp / name)).convert("RGB"))
                got = decode(tmp / name, upright=True)
                report.check(f"{name}, upright", np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf, 1)
        report.guard("sizes", check_sizes, decode, tmp, report)
        report.guard("resizing", check_resizing, decode, tmp, report)
        try:
            torchvision_transforms()
        except Exception as e:
            print(f"skipped: what torchvision's transforms are needed for ({type(e).__name__}: {e})")
        else:
            report.guard("presets", check_presets, decode, tmp, report)
            report.guard("predict", check_predict, tmp, report)
        report.guard("damage", check_damage, decode, good, tmp, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
