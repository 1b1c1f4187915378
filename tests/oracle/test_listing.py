"""Lists of images beside what Python makes of the same: class folders beside torchvision's ImageFolder (classes, labels, order), tables
beside the csv and json modules, Food-101 beside torchvision's Food101."""
import csv
import json
import os
import pathlib
import random
import subprocess
import sys
import types

from common import BUILD, SRC, Report, need, need_tools, temp_dir

sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
(folder, datasets) = need("torchvision.datasets.folder", "torchvision.datasets")

TOOL = BUILD / "tests" / "oracle_listing"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


def unescape(s):
    return s.replace("\\\\", "\0").replace("\\n", "\n").replace("\\r", "\r").replace("\0", "\\")


def listing(*args):
    """(classes, {"train": [(path, label)], "test": ...}, notes) """
    p = subprocess.run([str(TOOL), *map(str, args)], capture_output=True)
    classes, rows, notes = [], {"train": [], "test": []}, []
    for line in p.stdout.decode(errors="surrogateescape").split("\n"):
        kind, _, rest = line.partition(" ")
        if kind == "error":
            raise AssertionError(rest)
        if kind == "class":
            classes.append(unescape(rest))
        elif kind == "note":
            notes.append(rest)
        elif kind in rows:
            label, _, path = rest.partition(" ")
            rows[kind].append((unescape(path), int(label)))
    assert p.returncode == 0, p
    return classes, rows, notes


def put(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)


def same(report, what, got, want):
    report.check(what, 0 if got == want else 1, 0)
    if got != want:
        print("  got ", str(got)[:600], "\n  want", str(want)[:600])


def image_folder(d):
    f = folder.ImageFolder(str(d), is_valid_file=lambda p: p.lower().endswith(SUFFIXES), allow_empty=True)
    return f.classes, [(p, t) for p, t in f.samples]


def word(r):
    """Names that sort differently by characters, by words and by parts of paths."""
    return "".join(r.choice(["a", "B", "10", "9", " ", "-", ".", "!", "~", "ä", "é", "日本", "'", "(1)", "_", "+", "z"]) for _ in range(r.randint(1, 4))).lstrip(".").rstrip() or "x"


def folders(report, tmp):
    for seed in range(25):
        r, d = random.Random(seed), tmp / f"folders {seed}"
        made = []
        for c in {word(r) for _ in range(r.randint(1, 6))}:
            for _ in range(r.randint(0, 6)):
                inner = [word(r) for _ in range(r.choice([0, 0, 1, 2]))]
                name = word(r) + r.choice([".jpg", ".JPG", ".Jpeg", ".png", ".PNG", ".webp", ".bmp", ".txt", ".gif", ".jpg.bak"])
                try:
                    put(d.joinpath(c, *inner, name))
                    made.append(d.joinpath(c, *inner))
                except OSError:  # a folder of that name is a file
                    pass
            (d / c).mkdir(parents=True, exist_ok=True)
        put(d / "certain" / "x.jpg")
        if made:
            os.symlink(r.choice(made), d / "certain" / "linked")
            os.symlink(d / "certain" / "x.jpg", d / "certain" / "linked.png")
        got = listing(d)
        same(report, f"class folders, seed {seed}", (got[0], got[1]["train"]), image_folder(d))


def two_parts(report, tmp):
    d = tmp / "parts"
    for c in ["b", "a", "c d"]:
        for i in range(3):
            put(d / "train" / c / f"{i}.jpg")
            put(d / "val" / c / f"{i}.png")
    classes, rows, _ = listing(d)
    for part, name in (("train", "train"), ("test", "val")):
        same(report, f"parts, {name}", (classes, rows[part]), image_folder(d / name))
    flowers = SRC.parent / "shared" / "data" / "flowers"
    if flowers.is_dir():
        classes, rows, notes = listing(flowers)
        for part, name in (("train", "train"), ("test", "val")):
            same(report, f"photographs, {name}", (classes, rows[part]), image_folder(flowers / name))
        same(report, "photographs, notes", notes, [])
    else:
        print("skipped: no photographs in ../shared/data/flowers")


def tables(report, tmp):
    """Random fields through csv.writer, and json.dumps, in each of their ways of writing."""
    put(tmp / "img.jpg")
    for seed in range(12):
        r = random.Random(seed)
        text = lambda: "".join(r.choice(["a", "b", ",", '"', " ", "ä", "\n", "\r\n", ";", "/", "x.jpg", "日"]) for _ in range(r.randint(1, 8))).strip(" \t") or "q"
        label = (lambda: str(r.randint(0, 9))) if seed % 3 == 0 else text
        columns = ["note", "path", "truth", "split"]
        r.shuffle(columns)
        rows = [{"path": "img.jpg", "truth": label(), "note": text(), "split": r.choice(["train", "val"])} for _ in range(1)]
        rows += [{"path": text().lstrip("/") or "p", "truth": label(), "note": text(), "split": r.choice(["train", "val", "Train", "VALID"])} for _ in range(60)]
        rows[0]["split"] = "train"
        rows[1]["path"], rows[1]["split"] = "img.jpg", "val"
        names = sorted({x["truth"] for x in rows}, key=lambda s: s.encode())
        number = all(n.isdigit() for n in names)
        classes = [str(i) for i in range(max(map(int, names)) + 1)] if number else names
        want = {"train": [], "test": []}
        for x in rows:
            want["train" if x["split"].lower() == "train" else "test"].append((f"{tmp}/{x['path']}", classes.index(x["truth"])))
        for kind, how in (("csv", {"lineterminator": "\r\n"}), ("csv", {"quoting": csv.QUOTE_ALL, "lineterminator": "\n"}),
                          ("tsv", {"dialect": "excel-tab"})):
            path = tmp / f"{seed}.{kind}"
            with open(path, "w", newline="", encoding=r.choice(["utf-8", "utf-8-sig"])) as f:
                w = csv.DictWriter(f, columns, **how)
                w.writeheader()
                w.writerows(rows)
            with open(path, newline="", encoding="utf-8-sig") as f:
                assert list(csv.DictReader(f, dialect="excel-tab" if kind == "tsv" else "excel")) == rows
            got = listing(path, "truth")
            same(report, f"{kind} {how}, seed {seed}", got[:2], (classes, want))
        path = tmp / f"{seed}.jsonl"
        path.write_text("".join(json.dumps({**x, "truth": int(x["truth"]) if number else x["truth"], "more": {"a": [1]}}, ensure_ascii=bool(seed % 2)) + "\n" for x in rows))
        got = listing(path, "truth")
        same(report, f"jsonl, seed {seed}", got[:2], (classes, want))


def food101(report, tmp):
    root = tmp / "food-101"
    r = random.Random(1)
    meta = {"train": {}, "test": {}}
    for c in ["apple_pie", "baby_back_ribs", "waffles"]:
        for part in meta:
            meta[part][c] = [f"{c}/{r.randint(0, 10**6)}" for _ in range(4)]
            for k in meta[part][c]:
                put(root / "images" / f"{k}.jpg")
    for part, by_class in meta.items():
        put(root / "meta" / f"{part}.json", json.dumps(by_class))
        put(root / "meta" / f"{part}.txt", "\n".join(k for ks in by_class.values() for k in ks) + "\n")
    put(root / "meta" / "classes.txt", "".join(c + "\n" for c in meta["train"]))
    classes, rows, notes = listing(root)
    for part in meta:
        want = datasets.Food101(str(tmp), split=part)
        same(report, f"Food-101, {part}", (classes, rows[part]),
             (want.classes, [(str(p), t) for p, t in zip(want._image_files, want._labels)]))


def many(report, tmp):
    """A folder with 0, 1 and 100,000 images: the same list as torchvision's; memory at most 40 bytes and the path a file."""
    for c in "abc":
        (tmp / "none" / c).mkdir(parents=True)
    try:
        listing(tmp / "none")
        report.fail("no image", "is not refused")
    except AssertionError as e:
        report.check("no image", 0 if "has no image" in str(e) else 1, 0)
    put(tmp / "one" / "a" / "only.jpg")
    same(report, "one image", listing(tmp / "one")[:2], (["a"], {"train": [(f"{tmp}/one/a/only.jpg", 0)], "test": []}))
    r = random.Random(0)
    for c in range(100):
        d = tmp / "many" / f"class {c:03}"
        d.mkdir(parents=True)
        for _ in range(1000):
            os.close(os.open(d / f"{r.getrandbits(48):012x}.jpg", os.O_CREAT | os.O_WRONLY))
    classes, rows, notes = listing(tmp / "many")
    same(report, "100,000 images", (classes, rows["train"]), image_folder(tmp / "many"))
    same(report, "100,000 images, notes", notes, [])
    peak = lambda d: int(subprocess.run([str(TOOL), str(d)], capture_output=True, text=True).stdout.split()[-1]) * 1024
    a_file = (peak(tmp / "many") - peak(tmp / "one")) / len(rows["train"])
    report.check("bytes a file beside its path", a_file - len(rows["train"][0][0]), 40)


def main():
    need_tools(TOOL)
    report = Report()
    report.guard_in_folder("folders", folders, report)
    report.guard_in_folder("parts", two_parts, report)
    report.guard_in_folder("tables", tables, report)
    report.guard_in_folder("Food-101", food101, report)
    report.guard_in_folder("0, 1 and 100,000", many, report)
    report.end()


if __name__ == "__main__":
    main()
