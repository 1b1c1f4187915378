#!/usr/bin/env bash
# What a run knows of its images goes with its networks: the folder, and each exported and compiled again, predict the same of photographs;
# the folder's prediction is the mean of its networks'.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
mkdir photos
python3 - <<'PY'
import random, struct
for k, (w, h) in enumerate(((40, 31), (28, 28), (90, 200))):
    r = random.Random(k)
    rows = b"".join(bytes((x * k + y * 3 + r.randrange(90)) % 256 for x in range(3 * w)) + b"\0" * (-3 * w % 4) for y in range(h))
    with open(f"photos/{k}.bmp", "wb") as f:
        f.write(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, w, h, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)
PY
predict() { "$run" predict "$1" photos --json --top 10; }

# check RUN: of two networks
check() {
    local k
    predict "$1" >"$1.jsonl"
    for k in 0 1; do
        "$run" export "$1" --peer $k -o "$1.$k.onnx"
        "$smkdc" compile "$1.$k.onnx"
        predict "$1.$k.smkd" >"$1.$k.jsonl"
    done
    python3 "$SMKD_SRC/tests/tools/mean_predictions.py" "$1.jsonl" "$1.0.jsonl" "$1.1.jsonl" || fail "$1: the folder and what was exported of it differ"
}
train --epochs 1 -o plain 2>plain.log
check plain
grep -q '"smkd.resize":[[:space:]]*"28"' plain/config.json || fail "config.json does not say how images are resized"
train --epochs 1 --val-resize-size 40 --interpolation bicubic --mean 0.4 --std 0.2 -o resized 2>resized.log
check resized
grep -q '"smkd.resize":[[:space:]]*"40"' resized/config.json || fail "config.json does not say how images were resized"
grep -q '"smkd.interpolation":[[:space:]]*"bicubic"' resized/config.json || fail "config.json does not say by what images were resized"
"$run" predict resized photos --json --top 10 --val-resize-size 28 >other.jsonl
! cmp -s other.jsonl resized.jsonl || fail "--val-resize-size changes nothing"

# A folder of an earlier version has no such entry: mean and deviation are those of its data, images were not resized.
python3 - <<'PY'
import json
o = json.load(open("plain/config.json"))
del o["preparation"]
json.dump(o, open("plain/config.json", "w"))
PY
predict plain | cmp - plain.jsonl || fail "a folder of an earlier version predicts something else"
echo ok
