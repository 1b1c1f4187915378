#!/usr/bin/env bash
# smkd-run eval: scores, classes and matrices as a table, as JSON and as CSV, of one network, of several and of a run folder.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
reports() { # NAME ARGUMENTS...
    "$run" eval "${@:2}" --json --confusion "$1.csv" >"$1.json" 2>"$1.log" || fail "eval --json of $1: $(cat "$1.log")"
    "$run" eval "${@:2}" --per-class --confusion - >"$1.txt" 2>"$1.log" || fail "eval of $1: $(cat "$1.log")"
    python3 "$SMKD_SRC/tests/tools/reports.py" "$1.json" "$1.csv" "$1.txt" || fail "$1"
}
train --epochs 2 -o run 2>run.log
reports run run
reports one a.smkd "${few[@]}"
reports two a.smkd --peer b.smkd "${few[@]}"
reports batches run --batch-size 7 --threads 1
cmp run.csv batches.csv || fail "the size of batches changes who is taken for whom"
last=$(tail -n 1 run/metrics.jsonl)
python3 - "$last" <<'PY' || fail "eval and metrics.jsonl differ"
import json, sys
epoch, said = json.loads(sys.argv[1]), json.load(open("run.json"))
pairs = [(said["ensemble"], epoch["ensemble"])] + list(zip(said["peers"], epoch["peers"]))
assert all(a["top1"] == b["test_top1"] for a, b in pairs), pairs
PY
# What is said of an exported network is what was said of it in its run.
"$run" export run --peer 1 -o e.onnx && "$smkdc" compile e.onnx
reports exported e.smkd "${few[@]}"
python3 - <<'PY' || fail "an exported network is scored differently"
import json
a, b = json.load(open("run.json"))["peers"][1], json.load(open("exported.json"))["peers"][0]
assert abs(a["nll"] - b["nll"]) < 1e-5 and abs(a["top1"] - b["top1"]) < 0.5, (a["nll"], b["nll"])
PY
# Images of one size that were resized are so again.
train --epochs 1 --val-resize-size 36 --interpolation bicubic -o large 2>large.log
"$run" export large -o large.onnx && "$smkdc" compile large.onnx -o large.smkd
reports large large
reports large_out large.smkd "${few[@]}"
python3 - <<'PY' || fail "an exported network does not resize images as its run did"
import json
a, b = (json.load(open(f"{n}.json"))["peers"][0] for n in ("large", "large_out"))
assert abs(a["nll"] - b["nll"]) < 1e-5 and a["confusion"] == b["confusion"], (a["nll"], b["nll"])
PY

# Photographs: classes by name, from the run and from what was exported, which prepares images as the run did.
python3 - <<'PY'
import os, random, struct
for part, many in (("train", 6), ("val", 9)):
    for c, name in enumerate(('a "b", c', "Käfer", "z")):
        os.makedirs(f"photos/{part}/{name}")
        for k in range(many):
            r, w, h = random.Random(f"{part} {c} {k}"), 20 + 3 * k, 41 - 2 * c
            rows = b"".join(bytes(min(255, 60 * c + r.randrange(140)) for _ in range(3 * w)) + b"\0" * (-3 * w % 4) for _ in range(h))
            with open(f"photos/{part}/{name}/{k}.bmp", "wb") as f:
                f.write(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, w, h, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)
PY
"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 3 -o p.onnx
"$smkdc" compile p.onnx
"$run" train --peer p.smkd --method ce --data photos --epochs 3 --batch-size 6 --lr 0.01 --val-resize-size 30 --interpolation bicubic -o named -q
reports named named
"$run" export named -o named.onnx && "$smkdc" compile named.onnx -o out.smkd
reports out out.smkd --data photos
head -1 out.csv | grep -qxF 'network,class,Käfer,"a ""b"", c",z' || fail "the matrix has no names: $(head -1 out.csv)"
python3 - <<'PY' || fail "an exported network prepares photographs differently"
import json
a, b = (json.load(open(f"{n}.json"))["peers"][0] for n in ("named", "out"))
assert abs(a["nll"] - b["nll"]) < 1e-5 and a["confusion"] == b["confusion"], (a, b)
PY

refuses '--confusion - prints a table' "$run" eval run --json --confusion -
refuses 'none/c.csv: cannot be written' "$run" eval run --confusion none/c.csv --json
echo ok
