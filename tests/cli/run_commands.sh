#!/usr/bin/env bash
# quick: infer, grad, loss and bench from the shell: what they write, that chunks and threads change nothing, what they refuse
set -u
run="${SMKD_BUILD:?}/smkd-run" dc="$SMKD_BUILD/smkdc" d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
cd "$d" || exit 1
export XDG_CACHE_HOME="$d/cache"
bad=0
no() { echo "FAIL: $*"; bad=1; }
# npy DTYPE SHAPE FILE: elements from standard input as raw bytes
npy() {
    local head="{'descr': '$1', 'fortran_order': False, 'shape': ($2), }"
    while [ $(((10 + ${#head} + 1) % 64)) != 0 ]; do head="$head "; done
    local n=$((${#head} + 1))
    { printf '\223NUMPY\1\0'; printf "\\$(printf %o $((n % 256)))\\$(printf %o $((n / 256)))"; printf '%s\n' "$head"; cat; } >"$3"
}
raw() { # N SEED: N pseudo-random floats around 0.1 to 1, little endian
    local i x=$2
    for ((i = 0; i < $1; i++)); do
        x=$(((x * 1103515245 + 12345) & 0x7fffffff))
        printf "\\$(printf %o $((x >> 3 & 255)))\\$(printf %o $((x >> 11 & 255)))\\$(printf %o $((x >> 19 & 127)))\\$(printf %o $((62 + (x >> 28 & 1) * 128)))"
    done
}
"$dc" new resnet8 --width 4 --input 1x8x8 --classes 3 -o m.onnx || exit 1
"$dc" compile m.onnx --max-batch 4 || exit 1
raw 448 7 | npy '<f4' '7, 1, 8, 8' x.npy
raw 256 7 | npy '<f4' '4, 1, 8, 8' x4.npy
raw 12 3 | npy '<f4' '4, 3' dy.npy
raw 12 5 | npy '<f4' '4, 3' a.npy
raw 12 9 | npy '<f4' '4, 3' b.npy
printf '\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0' | npy '<i8' '4,' y.npy
printf '\0\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0' | npy '<i8' '4,' y_bad.npy

"$run" infer m.smkd --input x=x.npy -o all.st || no "infer of 7 images with an artifact for 4"
"$run" infer m.smkd --input x=x.npy --batch-size 2 --threads 1 -o two.st && cmp -s all.st two.st || no "chunks or threads change the outputs"
grep -q '"logits":{"dtype":"F32","shape":\[7,3\]' all.st || no "infer does not write logits [7,3]"

"$run" grad m.smkd --input x=x4.npy --cotangent logits=dy.npy -o g.st || no grad
for t in logits grad.x conv1.weight fc.bias bn1.running_mean; do grep -q "\"$t\":" g.st || no "grad does not write $t"; done
"$run" grad m.smkd --input x=x4.npy --cotangent logits=dy.npy --threads 1 -o g1.st && cmp -s g.st g1.st || no "threads change gradients"

for l in smkd-p smkd-s all zero ce; do
    "$run" loss $l --logits a.npy --logits b.npy --labels y.npy --progress 0.6 -o $l.st || no "loss $l"
    for t in loss.0 loss.1 grad.0 grad.1 threshold selected.0 selected.1 trust.0 trust.1; do grep -q "\"$t\":" $l.st || no "loss $l does not write $t"; done
done
printf '0\r\n1.0\r\n2\r\n1\r\n' >y.txt # the same labels as text
"$run" loss smkd-p --logits a.npy --logits b.npy --labels y.txt --progress 0.6 -o y.st && cmp -s y.st smkd-p.st || no "loss of labels in text"
# 1, -1, 0.5 in both precisions
printf '\0\0\200\77\0\0\200\277\0\0\0\77' | npy '<f4' '1, 3' f4.npy
printf '\0\0\0\0\0\0\360\77\0\0\0\0\0\0\360\277\0\0\0\0\0\0\340\77' | npy '<f8' '1, 3' f8.npy
printf '\2' | npy '|u1' '1,' y1.npy
for f in f4 f8; do "$run" loss all --logits $f.npy --logits f4.npy --labels y1.npy -o $f.st || no "loss of $f logits"; done
cmp -s f4.st f8.st || no "float64 logits have another loss"
ls cache/smkd/*.smkd >/dev/null 2>&1 || no "compiled losses are not cached"
"$dc" loss smkd-p --classes 3 -o p.smkd && "$run" loss p.smkd --logits a.npy --logits b.npy --labels y.npy --progress 0.6 -o p.st && cmp -s p.st smkd-p.st \
    || no "a loss compiled beforehand differs"
# Two views of each of two rows: SOP+ has logits [N,2,C], its gradient likewise; a program from a file, too.
raw 12 5 | npy '<f4' '2, 2, 3' views.npy
raw 12 5 | npy '<f4' '4, 1, 3' one_view.npy
printf '\0\2' | npy '|u1' '2,' y2.npy
raw 2 5 | npy '<f4' '2,' u.npy
raw 6 5 | npy '<f4' '2, 3' v.npy
sop=(--labels y2.npy --input table.u.0=u.npy --input table.v.0=v.npy)
"$run" loss sop+ --logits views.npy "${sop[@]}" -o sop.st && grep -q '"grad.0":{"dtype":"F32","shape":\[2,2,3\]' sop.st || no "loss of two views"
"$dc" loss sop+ --classes 3 --peers 1 -o sop.smkd && "$run" loss sop.smkd --logits views.npy "${sop[@]}" -o sop.file.st && cmp -s sop.st sop.file.st \
    || no "a loss of two views compiled beforehand differs"
"$run" bench m.smkd --batch-size 4 --steps 2 --json | grep -q images_per_s || no bench
"$run" bench m.smkd m.smkd --batch-size 4 --steps 2 --phase infer >/dev/null || no "bench of a pair"
"$run" bench m.smkd --batch-size 4 --steps 3 --per-node --roofline m.svg >nodes.txt || no "bench --per-node"
for want in "conv_grad_w gradient of" "limits: " "by phase, op and algorithm" " update "; do
    grep -qF "$want" nodes.txt || no "bench --per-node does not say \"$want\""
done
"$run" bench m.smkd --batch-size 4 --steps 2 --per-node --json >nodes.json || no "bench --per-node --json"
"$run" limits m.smkd --json >limits.json || no limits
"$run" bench m.smkd --batch-size 4 --steps 1 --roofline none/m.svg 2>err && no "a roofline into a folder that is not there"
grep -q "cannot write none/m.svg" err || no "a roofline into a folder that is not there: $(cat err)"
if command -v python3 >/dev/null; then
    python3 - <<'PY' || no "the profile is not what it should be"
import json, xml.etree.ElementTree as xml
j = json.load(open("nodes.json"))
total = sum(n["seconds"] for n in j["nodes"])
assert {n["phase"] for n in j["nodes"]} == {"forward", "backward", "update"}
assert 0.3 * j["median_s"] < total < 1.5 * j["median_s"], (total, j["median_s"])  # its parts are the step
conv = [n for n in j["nodes"] if n["op"] == "conv"]
assert conv and all(n["flops"] > 0 and n["bytes"] > 0 and n["share_of_limit"] > 0 for n in conv)
for l in (j["limits"], json.load(open("limits.json"))):
    assert all(v > 0 for v in l.values()), l  # how much depends on what else the machine does
svg = xml.parse("m.svg").getroot()
assert svg.tag.endswith("svg") and len(svg.findall(".//{*}circle")) > 5
PY
fi

refuses() { # WORD COMMAND...: one line on standard error with WORD in it, non-zero exit, no output file
    local word=$1 n
    shift
    "$@" -o refused.st >out 2>err && no "accepted: $*"
    n=$(wc -l <err)
    [ "$n" = 1 ] || no "$n lines instead of one for: $*: $(cat err)"
    grep -q -- "$word" err || no "does not say '$word': $(cat err)"
    [ ! -e refused.st ] || { no "left a file behind: $*"; rm -f refused.st; }
}
refuses 'a.npy' "$run" infer m.smkd --input x=a.npy
refuses 'no_such' "$run" infer m.smkd --input no_such=x.npy
refuses 'y_bad.npy' "$run" loss ce --logits a.npy --logits b.npy --labels y_bad.npy
refuses 'x4.npy' "$run" loss ce --logits x4.npy --logits b.npy --labels y.npy
refuses 'eta' "$run" loss smkd-p --logits a.npy --logits b.npy --labels y.npy --eta 0
refuses 'b2' "$run" loss smkd-p --logits a.npy --logits b.npy --labels y.npy --b2=-inf
refuses 'y.npy' "$run" loss ce --logits a.npy --logits y.npy --labels y.npy
refuses 'one_view.npy: is \[4,1,3\]; logits of sop+ are \[N,2,C\]' "$run" loss sop+ --logits one_view.npy "${sop[@]}"
refuses 'a.npy: is \[4,3\]; logits of sop+ are \[N,2,C\]' "$run" loss sop+ --logits a.npy "${sop[@]}"
refuses 'views.npy: is \[2,2,3\]; logits of ce are \[N,C\]' "$run" loss ce --logits views.npy --labels y2.npy
refuses 'guess.0' "$run" loss cs-kd --logits a.npy --labels y.npy
printf '\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0' | npy '<i8' '4,' rows.npy
refuses 'rows.npy: element 1 is 4; expected 0 to 3' "$run" loss elr+ --logits a.npy --logits b.npy --labels y.npy --input mix.row=rows.npy
refuses 'm.onnx' "$run" infer m.onnx --input x=x.npy
refuses 'missing.npy' "$run" infer m.smkd --input x=missing.npy
refuses 'cotangent' "$run" grad m.smkd --input x=x4.npy
exit $bad
