#!/usr/bin/env bash
# smkd-run detect-noise: every criterion finds wrong labels far better than chance, with the same bits on one thread and on
# two; folds; what it writes is what a next run reads; bad input.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
noise=(--noise symmetric:0.4 --augment none --batch-size 50)
"$run" train --peer a.smkd --peer b.smkd --data fashion --mean 0.286 --std 0.353 --train-limit 1500 --test-limit 100 "${noise[@]}" --method ce --epochs 3 --threads 1 -o run -q

criteria="agreement loss entropy gmm confident-learning vote prediction"
for by in $criteria; do
    "$run" detect-noise run --by $by -o $by.csv --curve $by.curve.csv --json --threads 1 >$by.json 2>log || fail "$by: $(cat log)"
    "$run" detect-noise run --by $by -o again.csv --threads 2 >$by.txt 2>log || fail "$by: $(cat log)"
    cmp $by.csv again.csv || fail "$by: other bits on two threads"
done
python3 - $criteria <<'P'
import csv, json, sys
for by in sys.argv[1:]:
    said, rows = json.load(open(f"{by}.json")), list(csv.DictReader(open(f"{by}.csv")))
    wrong = [r["given"] != r["true"] for r in rows]
    noisy = [r["verdict"] == "noisy" for r in rows]
    assert len(rows) == 1500 == said["images"] == said["judged"] and said["by"] == by and said["networks"] == 2, said
    assert [int(r["sample"]) for r in rows] == list(range(1500))
    assert sum(wrong) == said["truth"]["wrong"] and 500 < sum(wrong) < 700, said
    assert sum(noisy) == said["noisy"] and sum(a and b for a, b in zip(wrong, noisy)) == said["truth"]["found"], said
    # All labels called noisy: precision 40 %, F1 57 %.
    t = said["truth"]
    assert t["f1"] > (60 if by == "entropy" else 65) and t["precision"] > (50 if by == "prediction" else 60) and t["average_precision"] > 65, (by, said)
    right = sum((r["proposed"] if n else r["given"]) == r["true"] for r, n in zip(rows, noisy))
    assert right == t["right_as_proposed"] and (by == "prediction" or right > 950 > 1500 - sum(wrong)), (by, said)
    curve = [float(r["recall"]) for r in csv.DictReader(open(f"{by}.curve.csv"))]
    assert curve == sorted(curve) and abs(curve[-1] - 100) < 1e-9
    print(f"{by}: F1 {t['f1']:.1f}, average precision {t['average_precision']:.1f}")
P
grep -q "^precision [0-9.]* %, recall" vote.txt || fail "no precision on the terminal: $(cat vote.txt)"

# The same probabilities from a file give the same verdicts; an artifact with its own weights takes data flags.
"$run" detect-noise run -o x.csv --save-probs p.npy >x.txt 2>log
"$run" detect-noise --probs p.npy --labels run/labels.npy --by confident-learning -o files.csv >x.txt 2>log || fail "$(cat log)"
cmp <(cut -d, -f1-5 files.csv) <(cut -d, -f1-5 confident-learning.csv) || fail "other verdicts by the same probabilities"
"$run" detect-noise a.smkd b.smkd --data fashion --train-limit 300 --noise symmetric:0.3 --by entropy -o own.csv >own.txt 2>log || fail "$(cat log)"
grep -q "wrong labels" own.txt || fail "noise made here has no truth"

# Each network by itself, whose probabilities make up what both say; and the picture of what Otsu parts.
for k in 0 1; do
    "$run" detect-noise run --network $k -o one$k.csv --save-probs p$k.npy --histogram one$k.svg >one.txt 2>log || fail "$(cat log)"
done
"$run" detect-noise run --network 1 --network 0 -o both.csv --histogram both.svg --json >both.json 2>log || fail "$(cat log)"
cmp both.csv agreement.csv || fail "both networks by their numbers are not all of them"
"$run" detect-noise run -o x.csv --histogram again.svg --threads 1 >x.txt 2>log && cmp both.svg again.svg || fail "another picture"
python3 - <<'P'
import csv, json, re, xml.etree.ElementTree as xml
import struct
def probs(path):
    b = open(path, "rb").read()
    n = 10 + int.from_bytes(b[8:10], "little")
    v = struct.unpack(f"<{(len(b) - n) // 8}d", b[n:])
    return [v[i:i + 10] for i in range(0, len(v), 10)]
rows, p, q = list(csv.DictReader(open("both.csv"))), probs("p0.npy"), probs("p1.npy")
for r, a, b in zip(rows, p, q):
    both = [x * y for x, y in zip(a, b)]
    assert abs(1 - float(r["score"]) - both[int(r["given"])] / sum(both)) < 1e-5, r
assert any(float(r["score"]) != float(s["score"]) for r, s in zip(rows, csv.DictReader(open("one0.csv"))))
svg, ns = xml.parse("both.svg").getroot(), "{http://www.w3.org/2000/svg}"
bars = [e for e in svg.iter(ns + "rect") if e.get("width") == "12.8"]
for colour, wrong in (("#2e8b57", False), ("#d1495b", True)):
    want = [0] * 50
    for r in rows:
        if (r["given"] != r["true"]) == wrong:
            want[min(49, max(0, int((1 - float(r["score"])) * 50)))] += 1
    got = {round((float(e.get("x")) - 70) / 12.8): float(e.get("height")) for e in bars if e.get("fill") == colour}
    most = max(sum(r["given"] == r["true"] and int((1 - float(r["score"])) * 50) >= 49 for r in rows), 1)
    tallest = max(want) if not wrong else None
    if not wrong: scale = max(got.values()) / tallest
    off = [i for i in range(50) if abs(got.get(i, 0) - want[i] * scale) > 2.5 * scale]
    assert not off, (colour, off)
text = " ".join(e.text or "" for e in svg.iter(ns + "text"))
for name, v in json.load(open("both.json"))["thresholds"].items():
    assert f"{name} = {v:.3f}" in text, (name, v, text)
P

# What a next run reads: corrected labels, and which images to keep.
"$run" detect-noise run --by vote -o v.csv --apply relabel --apply drop >v.txt 2>log || fail "$(cat log)"
python3 - <<'P'
import csv, struct
def numbers(path):
    b = open(path, "rb").read()
    n = 10 + int.from_bytes(b[8:10], "little")
    return struct.unpack(f"<{(len(b) - n) // 8}q", b[n:])
rows = list(csv.DictReader(open("v.csv")))
noisy = [r["verdict"] == "noisy" for r in rows]
assert numbers("v.labels.npy") == tuple(int(r["proposed" if n else "given"]) for r, n in zip(rows, noisy))
assert numbers("v.keep.npy") == tuple(int(not n) for n in noisy) and sum(noisy) > 300
P
again=(--data fashion --train-limit 1500 --test-limit 100 --augment none --batch-size 50 --epochs 1 --method ce -q)
"$run" train --peer a.smkd "${again[@]}" --labels v.labels.npy --threads 1 -o relabelled
"$run" train --peer a.smkd "${again[@]}" --labels run/labels.npy --keep v.keep.npy --val-split 0.1 --threads 1 -o dropped
python3 - <<'P'
import csv, json
kept = sum(r["verdict"] == "clean" for r in csv.DictReader(open("v.csv")))
d = json.load(open("dropped/config.json"))["data"]
assert d["train_images"] + d["validation_images"] == kept, (d, kept)
assert json.load(open("relabelled/config.json"))["data"]["noise_rate"] < 0.35
P
"$run" train --resume -o dropped -q || fail "a run with --keep does not resume"
cp v.keep.npy kept.npy; cp relabelled/labels.npy v.labels.npy; python3 - <<'P'
b = bytearray(open("v.keep.npy", "rb").read()); b[-8] ^= 1; open("v.keep.npy", "wb").write(b)
P
refuses "the data is not the one the run began with" "$run" train --resume -o dropped --epochs 1
cp kept.npy v.keep.npy

# Weights: an image comes as often as its weight says.
"$run" detect-noise run --by gmm -o w.csv --apply weight >w.txt 2>log || fail "$(cat log)"
"$run" train --peer a.smkd "${again[@]}" --labels run/labels.npy --sample-weights w.weights.npy --threads 2 -o weighed
"$run" train --peer a.smkd "${again[@]}" --labels run/labels.npy --sample-weights w.weights.npy -o weighed1 --threads 1
same_run weighed weighed1
python3 - <<'P'
import csv, json
w = {r["sample"]: 1 - float(r["score"]) for r in csv.DictReader(open("w.csv"))}
right = [r["given"] == r["true"] for r in csv.DictReader(open("w.csv"))]
assert sum(v for v, r in zip(w.values(), right) if r) / sum(w.values()) > 0.75  # of what an epoch brings
P

# Folds: two runs, which are there the next time; nobody judges what it was trained on.
"$run" train --peer a.smkd "${few[@]}" "${noise[@]}" --method ce --epochs 1 -o small -q
"$run" detect-noise small --cross-validate 2 --by loss -o f.csv --json >f.json 2>log || fail "folds: $(cat log)"
[ "$(grep -c '^note: fold' log)" = 2 ] || fail "folds: $(cat log)"
touch -r small/folds-2/fold-1/last.safetensors when
"$run" detect-noise small --cross-validate 2 --by loss -o f2.csv --threads 1 >f.txt 2>log || fail "folds again: $(cat log)"
cmp f.csv f2.csv || fail "folds: other bits"
[ small/folds-2/fold-1/last.safetensors -nt when ] && fail "a finished fold was trained again"
python3 - <<'P'
import json, struct
def numbers(path):
    b = open(path, "rb").read()
    n = 10 + int.from_bytes(b[8:10], "little")
    return struct.unpack(f"<{(len(b) - n) // 8}q", b[n:])
a, b = numbers("small/folds-2/fold-0/keep.npy"), numbers("small/folds-2/fold-1/keep.npy")
assert all(x + y == 1 for x, y in zip(a, b)) and abs(sum(a) - sum(b)) < 10, (sum(a), sum(b))
said = json.load(open("f.json"))
assert said["folds"] == 2 and said["judged"] == 512, said
P

# Files: their paths, names of classes, and one that cannot be decoded. An exported network takes what it was trained with.
python3 - <<'P'
import os, random, struct
for c, name in enumerate(("a, b", "Käfer", "z")):
    os.makedirs(f"photos/{name}")
    for k in range(8):
        r, w, h = random.Random(f"{c} {k}"), 20 + k, 24 - c
        rows = b"".join(bytes(min(255, 60 * c + r.randrange(140)) for _ in range(3 * w)) + b"\0" * (-3 * w % 4) for _ in range(h))
        with open(f"photos/{name}/{k}.bmp", "wb") as f:
            f.write(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, w, h, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)
P
"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 3 -o p.onnx
"$smkdc" compile p.onnx
"$run" train --peer p.smkd --method ce --data photos --val-split 0.2 --epochs 2 --batch-size 6 --lr 0.01 --val-resize-size 20 -o named -q
"$run" detect-noise named -o n.csv >n.txt 2>log || fail "$(cat log)"
head -n 1 n.csv | grep -qxF 'sample,path,given,given_name,proposed,proposed_name,score,verdict' || fail "$(head -n 1 n.csv)"
grep -qF '1,photos/Käfer/1.bmp,0,Käfer,' n.csv && grep -qF '10,"photos/a, b/2.bmp",1,"a, b",' n.csv || fail "$(cat n.csv)"
"$run" export named -o named.onnx && "$smkdc" compile named.onnx -o out.smkd
"$run" detect-noise out.smkd --data photos --labels named/labels.npy -o o.csv >o.txt 2>log || fail "$(cat log)"
python3 - <<'P'
import csv
a, b = (list(csv.DictReader(open(f"{n}.csv"))) for n in "no")
assert len(a) == len(b) == 24 and all(abs(float(x["score"]) - float(y["score"])) < 1e-4 for x, y in zip(a, b)), (a[0], b[0])
P
echo nothing >photos/z/3.bmp
"$run" detect-noise named -o n.csv >n.txt 2>log || fail "$(cat log)"
grep -qF '19,photos/z/3.bmp,2,z,,,,unread' n.csv && grep -q "it is not judged" log && grep -q "^23 training images" n.txt || fail "$(cat log n.csv)"
refuses 'photos/z/3.bmp' "$run" detect-noise named -o none.csv --strict-data

rm -f none.csv
refuses '--by nonsense: expected one of' "$run" detect-noise run --by nonsense -o none.csv
refuses 'says nothing to --by loss' "$run" detect-noise run --by loss --votes 3 -o none.csv
refuses '--share says nothing to --by vote' "$run" detect-noise run --by vote --share 0.1 -o none.csv
refuses 'expected a number from 0 to 1: run has 2 networks' "$run" detect-noise run --network 2 -o none.csv
refuses '--histogram says nothing to --by gmm' "$run" detect-noise run --by gmm --histogram h.svg -o none.csv
refuses 'give one of them' "$run" detect-noise run --by loss --share 0.1 --threshold s -o none.csv
refuses 'expected relabel, drop or weight' "$run" detect-noise run --apply nothing -o none.csv
refuses 'FILE.csv is missing' "$run" detect-noise run
refuses 'nothing to look at' "$run" detect-noise --data fashion -o none.csv
refuses '--data is missing' "$run" detect-noise a.smkd -o none.csv
refuses 'give its folder, not artifacts' "$run" detect-noise a.smkd --data fashion --cross-validate 2 -o none.csv
refuses 'needs --labels FILE' "$run" detect-noise --probs p.npy -o none.csv
refuses 'takes the place of networks' "$run" detect-noise run --probs p.npy --labels run/labels.npy -o none.csv
refuses 'expected probabilities [images, classes]' "$run" detect-noise --probs run/labels.npy --labels run/labels.npy -o none.csv
refuses 'expected one for each of 1500 images' "$run" detect-noise --probs p.npy --labels small/labels.npy -o none.csv
refuses 'needs true labels' "$run" detect-noise --probs p.npy --labels run/labels.npy --curve c.csv -o none.csv
refuses 'expected one for each of' "$run" detect-noise run --train-limit 700 -o none.csv
refuses 'none/none.csv: cannot be written' "$run" detect-noise run --curve none.csv -o none/none.csv
refuses 'none/c.csv: cannot be written' "$run" detect-noise run --curve none/c.csv -o none.csv
refuses 'expected 0 to 1, 1 for what is kept' "$run" train --peer a.smkd "${again[@]}" --keep run/labels.npy -o bad
refuses 'says yes or no' "$run" detect-noise run --by vote --apply weight -o none.csv
refuses 'one weight for each of' "$run" train --peer a.smkd "${again[@]}" --sample-weights p.npy -o bad
refuses 'is an order of its own' "$run" train --peer a.smkd "${again[@]}" --sample-weights w.weights.npy --sampler balanced -o bad
printf '0\n%.0s' $(seq 1500) >zeros.txt
refuses 'leaves no training images' "$run" train --peer a.smkd "${again[@]}" --keep zeros.txt -o bad
[ ! -e none.csv ] && [ ! -e bad ] || fail "something was written"
echo ok
