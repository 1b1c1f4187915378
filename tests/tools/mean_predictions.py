"""mean_predictions.py TOGETHER.jsonl ONE.jsonl...: the probabilities of the first are the means of the others' (`smkd-run predict --json --top CLASSES`)."""
import json
import sys


def read(path):
    with open(path, encoding="utf-8") as f:
        return [(o["file"], {c["class"]: c["probability"] for c in o["top"]}) for o in map(json.loads, f)]


together, *ones = map(read, sys.argv[1:])
assert together and all(len(o) == len(together) for o in ones)
for i, (name, p) in enumerate(together):
    for c in p:
        mean = sum(o[i][1][c] for o in ones) / len(ones)
        assert abs(p[c] - mean) < 2e-5, f"{name}, class {c}: {p[c]} instead of {mean}"
