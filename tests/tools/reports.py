"""reports.py JSON CSV TABLE: what `smkd-run eval` says in its three forms agrees, and its numbers follow from its matrices."""
import csv
import json
import re
import sys

said = json.load(open(sys.argv[1], encoding="utf-8"))
rows = list(csv.reader(open(sys.argv[2], newline="", encoding="utf-8"), strict=True))
table = open(sys.argv[3], encoding="utf-8").read()
networks = {f"peer {k}": r for k, r in enumerate(said["peers"])}
if len(networks) > 1:
    networks["ensemble"] = said["ensemble"]


def close(a, b, what, tolerance=1e-9):
    assert (a is None) == (b is None) and (a is None or abs(a - b) < tolerance), f"{what}: {a} and {b}"


def percent(a, b):
    return 100 * a / b if b else None


assert rows[0][:2] == ["network", "class"] and len(rows) == 1 + len(networks) * (len(rows[0]) - 2), rows[0]
classes = rows[0][2:]
blocks = re.split(r"\n\n(?=(?:peer|ensemble))", table)
for at, (name, r) in enumerate(networks.items()):
    own = rows[1 + at * len(classes):1 + (at + 1) * len(classes)]
    assert [x[:2] for x in own] == [[name, c] for c in classes], own
    matrix = [[int(v) for v in x[2:]] for x in own]
    cells = {(y, p): n for y, p, n in r["confusion"]}
    assert cells == {(y, p): n for y, row in enumerate(matrix) for p, n in enumerate(row) if n}, name
    n = sum(map(sum, matrix))
    assert n == said["images"], (n, said["images"])
    close(r["top1"], percent(sum(matrix[c][c] for c in range(len(classes))), n), f"{name}: top1")
    mean, there = {"precision": 0, "recall": 0, "f1": 0}, 0
    for c, k in enumerate(r["classes"]):
        support, predicted, hits = sum(matrix[c]), sum(row[c] for row in matrix), matrix[c][c]
        want = {"precision": percent(hits, predicted), "recall": percent(hits, support), "f1": percent(2 * hits, support + predicted)}
        assert (k["class"], k["name"], k["support"], k["predicted"]) == (c, classes[c], support, predicted), k
        there += support + predicted > 0
        for m in mean:
            close(k[m], want[m], f"{name}: {m} of {c}")
            mean[m] += want[m] or 0
        shown = " +".join([re.escape(str(support)), re.escape(str(predicted))] + ["-" if v is None else re.escape(f"{v:.2f}") for v in want.values()])
        assert re.search(rf"^{c}( .*)? +{shown}$", next(b for b in blocks if b.startswith(name + "\nclass ") and "precision" in b), re.M), (name, c, shown)
    for m in mean:
        close(r["macro"][m], mean[m] / there, f"{name}: mean {m}")
    assert 0 <= r["eaurc"] <= r["aurc"] <= 1000
    line = re.search(rf"^{name} +(.*)$", table, re.M)[1].split()
    assert line == [f"{r['top1']:.2f}", f"{r['top5']:.2f}", f"{r['nll']:.4f}", f"{r['ece']:.2f}", f"{r['aurc']:.2f}", f"{r['eaurc']:.2f}", f"{r['macro']['f1']:.2f}"], line
    shown = next(b for b in blocks if b.startswith(name + "\nclass \\"))
    assert [[0 if v == "." else int(v) for v in x.split()[-len(classes):]] for x in shown.strip().split("\n")[2:]] == matrix, shown
