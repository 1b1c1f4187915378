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


def segments(data):
    """A JPEG's markers in front of its scan, (marker, bytes with marker and length), and the rest."""
    out, at = [], 2
    while data[at + 1] != 0xda:
        n = 2 + int.from_bytes(data[at + 2:at + 4], "big")
        out.append((data[at + 1], data[at:at + n]))
        at += n
    return out, data[at:]


def jpeg(parts, rest):
    return b"\xff\xd8" + b"".join(p for _, p in parts) + rest


def chunk(t, d, crc=None):
    return struct.pack(">I", len(d)) + t + d + struct.pack(">I", zlib.crc32(t + d) if crc is None else crc)


def chunks(data):
    """A PNG's chunks, (type, data)."""
    out, at = [], 8
    while at < len(data):
        n = int.from_bytes(data[at:at + 4], "big")
        out.append((data[at + 4:at + 8], data[at + 8:at + 8 + n]))
        at += 12 + n
    return out


def png_of(parts):
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*p) for p in parts)


def strange_jpegs():
    im = Image.fromarray(picture(61, 47))
    base, prog = saved(im, "JPEG", quality=85), saved(im, "JPEG", quality=85, progressive=True)
    parts, rest = segments(base)
    sof = next(k for k, (m, _) in enumerate(parts) if m == 0xc0)

    def header(at, value):  # the frame header with bytes changed
        b = bytearray(parts[sof][1])
        b[at:at + len(value)] = value
        return jpeg(parts[:sof] + [(0xc0, bytes(b))] + parts[sof + 1:], rest)
    out = {"without its end": base[:-2], "cut in the last row": base[:-40], "cut in the tables": base[:200], "cut in the scan": base[:len(base) // 2],
           "progressive, cut": prog[:len(prog) * 2 // 3], "progressive, last scan gone": prog[:prog.rindex(b"\xff\xda")] + b"\xff\xd9",
           "bytes behind the end": base + b"x" * 500, "bytes in front": b"x" + base, "two pictures": base + base,
           "fill bytes before markers": base[:2] + b"\xff\xff\xff" + base[2:], "no JFIF": jpeg(parts[1:], rest),
           "large comment": jpeg([(0xfe, b"\xff\xfe\xff\xff" + b"c" * 65533)] + parts, rest),
           "huge header": header(5, b"\xff\xff\xff\xff"), "height 0": header(5, b"\0\0"), "width 0": header(7, b"\0\0"),
           "12 bits": header(4, b"\x0c"), "component of no table": header(12, b"\x03"), "no tables": jpeg([p for p in parts if p[0] not in (0xc4, 0xdb)], rest),
           "lossless": base.replace(b"\xff\xc0", b"\xff\xc3", 1), "damaged EXIF": jpeg([(0xe1, b"\xff\xe1\x00\x12Exif\0\0II*\0\xff\xff\xff\xff")] + parts, rest),
           "EXIF of one byte": jpeg([(0xe1, b"\xff\xe1\x00\x03E")] + parts, rest), "one row": saved(im.crop((0, 0, 61, 1)), "JPEG"),
           "one column": saved(im.crop((0, 0, 1, 47)), "JPEG"), "ICC profile": saved(im, "JPEG", icc_profile=b"p" * 70000),
           "grey, with an alpha of its own": saved(im.convert("L"), "JPEG", quality=5), "scan of zeros": jpeg(parts, rest[:14] + bytes(len(rest) - 16) + b"\xff\xd9"),
           "YCCK": jpeg([(0xee, b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\x02")] + [p for p in segments(saved(im.convert("CMYK"), "JPEG"))[0] if p[0] != 0xee],
                        segments(saved(im.convert("CMYK"), "JPEG"))[1]),
           "CMYK without Adobe": jpeg([p for p in segments(saved(im.convert("CMYK"), "JPEG"))[0] if p[0] != 0xee], segments(saved(im.convert("CMYK"), "JPEG"))[1])}
    adobe = b"\xff\xee\x00\x0eAdobe\0\x64\0\0\0\0\x00"  # transform 0: the three components are RGB, whatever they were
    out["RGB by Adobe's marker"] = jpeg([(0xee, adobe)] + [p for p in parts if p[0] != 0xe0], rest)
    return out


def strange_pngs():
    im = Image.fromarray(picture(61, 47))
    base, pal = saved(im, "PNG"), saved(im.quantize(30), "PNG")
    cs, ps = chunks(base), chunks(pal)
    idat = b"".join(d for t, d in cs if t == b"IDAT")
    head, tail = cs[0], cs[-1]
    raw = zlib.decompress(idat)

    def ihdr(**change):
        w, h, depth, kind, method, filt, lace = struct.unpack(">IIBBBBB", head[1])
        v = dict(w=w, h=h, depth=depth, kind=kind, method=method, filt=filt, lace=lace) | change
        return (b"IHDR", struct.pack(">IIBBBBB", *v.values()))
    return {"cut in the data": base[:len(base) // 2], "cut in the header": base[:20], "signature alone": base[:8], "no end": base[:-12], "no data": png_of([head, tail]),
            "end without its checksum": base[:-4], "wrong checksum of the data": base.replace(chunk(*cs[1]), chunk(*cs[1], crc=1), 1),
            "wrong checksum of the header": base.replace(chunk(*head), chunk(*head, crc=1), 1), "data in single bytes": png_of([head] + [(b"IDAT", idat[k:k + 1]) for k in range(len(idat))] + [tail]),
            "too few rows": png_of([head, (b"IDAT", zlib.compress(raw[:len(raw) // 2])), tail]), "too many rows": png_of([head, (b"IDAT", zlib.compress(raw + raw)), tail]),
            "bytes behind the data's end": png_of([head, (b"IDAT", idat + b"garbage"), tail]), "unknown filter": png_of([head, (b"IDAT", zlib.compress(b"\x09" + raw[1:])), tail]),
            "width 0": png_of([ihdr(w=0), (b"IDAT", idat), tail]), "height 0": png_of([ihdr(h=0), (b"IDAT", idat), tail]), "depth 3": png_of([ihdr(depth=3), (b"IDAT", idat), tail]),
            "colour type 5": png_of([ihdr(kind=5), (b"IDAT", idat), tail]), "palette missing": png_of([c for c in ps if c[0] != b"PLTE"]),
            "palette too short": png_of([(t, d[:9] if t == b"PLTE" else d) for t, d in ps]), "unknown chunk that may be skipped": png_of([head, (b"abCd", b"x" * 99), (b"IDAT", idat), tail]),
            "bytes behind the end": base + b"x" * 100, "gamma": png_of([head, (b"gAMA", struct.pack(">I", 100000)), (b"IDAT", idat), tail]),
            "chunk longer than the file": base[:33] + struct.pack(">I", 1 << 30) + base[37:], "interlaced by name alone": png_of([ihdr(lace=1), (b"IDAT", idat), tail]),
            "text that unpacks to much": png_of([head, (b"zTXt", b"k\0\0" + zlib.compress(bytes(1 << 26))), (b"IDAT", idat), tail]),
            "animated": saved(im, "PNG", save_all=True, append_images=[Image.fromarray(picture(61, 47, 4))])}


def strange_webps():
    im = Image.fromarray(picture(61, 47))
    rgba = im.copy()
    rgba.putalpha(Image.fromarray(np.tile(np.arange(61, dtype=np.uint8) * 4, (47, 1))))
    lossy, lossless, alpha = saved(im, "WEBP", quality=70), saved(im, "WEBP", lossless=True), saved(rgba, "WEBP", quality=70)
    moved = saved(rgba, "WEBP", save_all=True, append_images=[Image.fromarray(picture(61, 47, 9)).convert("RGBA")], lossless=True, duration=40, background=(9, 99, 199, 255))

    def flip(data, at, bits=0xff):
        b = bytearray(data)
        b[at] ^= bits
        return bytes(b)
    return {"lossy, cut": lossy[:len(lossy) // 2], "lossless, cut": lossless[:len(lossless) // 2], "header alone": lossy[:12], "cut in the frame's header": lossy[:25],
            "last byte gone": lossy[:-1], "lossless, last bytes gone": lossless[:-9], "RIFF of length 0": lossy[:4] + bytes(4) + lossy[8:], "RIFF longer than the file": lossy[:4] + b"\xff\xff\xff\x7f" + lossy[8:],
            "bytes behind the end": lossy + b"x" * 99, "wrong frame tag": flip(lossy, 23), "lossless, wrong signature": flip(lossless, 20), "alpha": alpha, "alpha, cut": alpha[:60],
            "transparent colours": saved(rgba, "WEBP", lossless=True, exact=True), "animated with alpha": moved, "animated, cut": moved[:len(moved) // 3], "one pixel": saved(im.crop((0, 0, 1, 1)), "WEBP"),
            "one row": saved(im.crop((0, 0, 61, 1)), "WEBP", lossless=True), "palette of two": saved(im.convert("1").convert("RGB"), "WEBP", lossless=True), "ICC profile": saved(im, "WEBP", icc_profile=b"p" * 300),
            "EXIF cut": saved(im, "WEBP", exif=b"Exif\0\0II*\0\xff\xff"), "16383 wide": saved(im.resize((16383, 2)), "WEBP", lossless=True)}


def strange_bmps():
    r = np.random.default_rng(3)
    rows24 = [r.integers(0, 256, 36).astype(np.uint8).tobytes() for _ in range(6)]
    pal = r.integers(0, 256, 1024).astype(np.uint8).tobytes()
    rows8 = [r.integers(0, 256, 12).astype(np.uint8).tobytes() for _ in range(6)]
    base = bmp(11, 6, 24, rows24)
    core = b"BM" + struct.pack("<IHHI", 26 + 216, 0, 0, 26) + struct.pack("<IHHHH", 12, 11, 6, 1, 24) + b"".join(rows24)
    core8 = b"BM" + struct.pack("<IHHI", 26 + 768 + 72, 0, 0, 26 + 768) + struct.pack("<IHHHH", 12, 11, 6, 1, 8) + pal[:768] + b"".join(rows8)

    def at(data, k, fmt, *v):
        return data[:k] + struct.pack(fmt, *v) + data[k + struct.calcsize(fmt):]
    return {"cut in the pixels": base[:150], "cut in the header": base[:30], "two bytes": base[:2], "last row short": base[:-3], "old header": core, "old header, palette": core8,
            "V4": bmp(11, 6, 24, rows24, size=108), "V5": bmp(11, 6, 24, rows24, size=124), "header of 64": bmp(11, 6, 24, rows24, size=64), "header of 41": bmp(11, 6, 24, rows24, size=41),
            "header of 2 GB": at(base, 14, "<I", 1 << 31), "pixels behind the end": at(base, 10, "<I", 5000), "pixels in the header": at(base, 10, "<I", 20), "width 0": at(base, 18, "<i", 0),
            "negative width": at(base, 18, "<i", -11), "least height": at(base, 22, "<i", -2 ** 31), "largest size": at(at(base, 18, "<i", 2 ** 31 - 1), 22, "<i", 2 ** 31 - 1),
            "3 bits": at(base, 28, "<H", 3), "0 bits": at(base, 28, "<H", 0), "compression 4": at(base, 30, "<I", 4), "compression 99": at(base, 30, "<I", 99), "file size 0": at(base, 2, "<I", 0),
            "bytes behind the end": base + b"x" * 100, "palette cut": bmp(11, 6, 8, [], palette=pal[:40]), "more colours than there can be": bmp(11, 6, 8, rows8, palette=pal, used=4000),
            "index beyond the palette": bmp(11, 6, 8, rows8, palette=pal[:64], used=16), "RLE that ends at once": bmp(11, 6, 8, [b"\0\1"], 1, palette=pal), "RLE without an end": bmp(11, 6, 8, [b"\x0b\5\0\0"], 1, palette=pal),
            "RLE beyond the row": bmp(11, 6, 8, [b"\xff\5\0\0\xff\6\0\1"], 1, palette=pal), "RLE jump beyond the picture": bmp(11, 6, 8, [b"\0\2\xff\xff\5\1\0\1"], 1, palette=pal),
            "masks of nothing": bmp(11, 6, 32, [r.integers(0, 256, 44).astype(np.uint8).tobytes() for _ in range(6)], 3, masks=bytes(12)), "one bit": bmp(13, 5, 1, [b"\xa5\x5a\0\0"] * 5, palette=pal[:8])}


# What only one of the two reads, and why that is right.
OURS_ALONE = {
    "32 fields.bmp",  # Pillow knows but a few masks
    "png: text that unpacks to much",  # which nobody asked for
    "bmp: header of 41", "bmp: more colours than there can be",  # what is needed is there
}
THEIRS_ALONE = {
    "png: wrong checksum of the data", "png: chunk longer than the file",  # damaged, by what the file itself says
    "png: palette missing",
}


def check_strange(decode, tmp, report):
    """Strange and damaged files of each format, one by one: read as Pillow reads them, or refused where it refuses."""
    for form, make in (("jpg", strange_jpegs), ("png", strange_pngs), ("webp", strange_webps), ("bmp", strange_bmps)):
        cases = make()
        read = 0
        for k, (name, data) in enumerate(cases.items()):
            path, label = tmp / f"strange {k}.{form}", f"{form}: {name}"
            path.write_bytes(data)
            got = decode(path)
            read += not isinstance(got, str)
            try:
                with Image.open(path) as im:
                    want = np.asarray(im.convert("RGB"))
            except Exception as e:
                want = f"{type(e).__name__}: {e}"
            if isinstance(got, str) != isinstance(want, str):
                known = label in (THEIRS_ALONE if isinstance(got, str) else OURS_ALONE)
                if not known:
                    report.fail(label, f"{got if isinstance(got, str) else 'read'}; Pillow: {want if isinstance(want, str) else 'read'}")
            elif isinstance(got, str):
                report.check(f"{label}: the message names the file", 0 if str(path) in got else 1, 0)
            else:
                report.check(label, np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf, 1)
        report.check(f"strange files of {form}: {len(cases)}, {read} read", max(0, 10 - len(cases)), 0)


def against_pillow(decode, path, report, name):
    """Ours beside Pillow's of the same file."""
    got = decode(path)
    try:
        with Image.open(path) as im:
            want = np.asarray(im.convert("RGB"))
    except Exception as e:
        if isinstance(got, str) or name not in OURS_ALONE:
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


    for k in range(1, 9):  # what is asked for is the size of the upright image
        exif = Image.Exif()
        exif[0x0112] = k
        Image.fromarray(picture(640, 427)).save(tmp / "large.jpg", quality=92, exif=exif)
        least = (106, 160) if k >= 5 else (160, 106)
        got = decode(tmp / "large.jpg", least, upright=True)
        with Image.open(tmp / "large.jpg") as im:
            im.draft("RGB", (160, 106))
            want = np.asarray(PIL.ImageOps.exif_transpose(im))
        report.check(f"turned {k}, at least {least}", np.abs(got.astype(int) - want).max() if got.shape == want.shape else np.inf, 1)


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
        report.guard("strange", check_strange, decode, tmp, report)
        report.guard("damage", check_damage, decode, good, tmp, report)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
