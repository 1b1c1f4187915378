#!/usr/bin/env bash
# Trains with each loss, exports both peers, compiles the exported files and evaluates them: as accurate as the run says.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers

for loss in smkd-p smkd-s all zero ce; do
    train --loss $loss -o $loss --val-split 0.1 2>$loss.log
    [ -s $loss/last.safetensors ] && [ -s $loss/best.safetensors ] || fail "$loss left no checkpoints"
done
share() { sed -n 's/.*"selected_share":\([0-9.e-]*\).*/\1/p' "$1/metrics.jsonl" | tail -n 1; }
[ "$(share all)" = 1 ] || fail "ALL exchanged $(share all)"
[ "$(share zero)" = 0 ] || fail "ZERO exchanged $(share zero)"
train --loss smkd-p --eta 1000 -o strict --epochs 1 2>strict.log
grep -q '^warning: epoch 1: the threshold .* would select about half' strict.log || fail "no warning about a threshold nobody passes"
"$smkdc" loss smkd-s --classes 10 -o S.smkd
train --loss S.smkd --eta 1000 -o file --epochs 1 2>file.log
grep -q '^note: S.smkd is the loss smkd-s' file.log || fail "a loss file does not say what it is"
train --loss S.smkd --eta 1000 -o quiet --epochs 1 --quiet 2>quiet.log
diff <(grep ^warning file.log) quiet.log || fail "--quiet says more or less than the warnings"

"$run" eval smkd-p --json >run.json
for k in 0 1; do
    "$run" export smkd-p --checkpoint last --peer $k -o trained$k.onnx
    "$smkdc" compile trained$k.onnx -o trained$k.smkd
done
"$run" eval trained0.smkd trained1.smkd "${few[@]}" --json >files.json
numbers() { grep -o '"top[15]":[^,}]*' "$1" | tr -d '\t '; }
diff <(numbers run.json) <(numbers files.json) || fail "exported files are not what was trained"
mv a.smkd moved.smkd
refuses 'give it with --artifact' "$run" export smkd-p --peer 0 -o c.onnx
[ ! -e c.onnx ] || fail "a failed export left a file"
"$run" export smkd-p --peer 0 --artifact moved.smkd -o c.onnx
cmp c.onnx trained0.onnx || fail "--artifact made another file"
refuses 'is not a run folder' "$run" export . --peer 0 -o d.onnx
echo ok
