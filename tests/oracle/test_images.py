"""Decoded image files beside Pillow's Image.open(f).convert("RGB"): every kind of JPEG, PNG, WebP and BMP, at most 1 level off (another
libjpeg may round elsewhere); and files that are damaged, which are refused with a reason, or read as Pillow reads them.
"""
import io
import random
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np

from common import BUILD, Report, need, need_tools, temp_dir

(Image,) = need("PIL.Image")
import PIL.ImageOps

TOOL = BUILD / "tests" / "oracle_images"


class Decoder:
    def __init__(self):
        self.p = subprocess.Popen([str(TOOL)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def __call__(self, path, least=(0, 0), upright=False):
        self.p.stdin.write(f"{least[0]} {least[1]} {int(upright)} {path}\n".encode())
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


def main():
    need_tools(TOOL)
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
        report.guard("damage", check_damage, decode, good, tmp, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
