"""predictions.py CSV JSONL: what `smkd-run predict` wrote in both forms says the same, file by file, with the same errors. Prints a line a
file: its name as Python's repr of the bytes, then its classes as number:name in order of probability, or "error".
"""
import csv
import json
import os
import sys

with open(sys.argv[1], newline="", encoding="utf-8", errors="surrogateescape") as f:
    rows = list(csv.DictReader(f, strict=True))
with open(sys.argv[2], encoding="utf-8") as f:
    objects = [json.loads(line) for line in f]

files = {}
for r in rows:
    assert None not in r and None not in r.values(), f"a row with too many or too few fields: {r}"
    of = files.setdefault(r["file"], [])
    if r["error"]:
        assert not (of or r["rank"] or r["class"] or r["probability"] or r["name"]), r
        of.append(r["error"])
    else:
        of.append((int(r["class"]), r["name"], float(r["probability"])))
        assert int(r["rank"]) == len(of), r
assert list(files) == [o["file"] for o in objects], f"{list(files)} in CSV, {[o['file'] for o in objects]} in JSON"
for o in objects:
    of = files[o["file"]]
    name = os.fsencode(o["file"])
    if "error" in o:
        assert of == [o["error"]], (of, o)
        print(repr(name), "error")
        continue
    assert of == [(c["class"], c["name"], c["probability"]) for c in o["top"]], (of, o)
    p = [c[2] for c in of]
    assert p == sorted(p, reverse=True), p
    assert len(p) < 3 or abs(sum(p) - 1) < 1e-4, p
    print(repr(name), *(f"{c[0]}:{c[1]!r}" for c in sorted(of)))
