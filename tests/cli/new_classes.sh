#!/usr/bin/env bash
# quick: --classes of check and compile: artifact, what export writes and a second compile of that agree; refusals in one line
. "$SMKD_SRC/tests/tools/common.bash"
"$smkdc" new resnet8 --input 3x8x8 --classes 10 --seed 4 -o m.onnx

"$smkdc" check m.onnx --classes 3 >out.txt 2>err.txt || { cat out.txt err.txt; fail "check --classes"; }
grep -q '^logits .* f32\[N,3\]$' out.txt || { cat out.txt; fail "check does not say 3 classes"; }
grep -qF -- '--classes: 3 fresh outputs instead of 10; "fc.weight" with "fc.bias" has new weights, seed 0' err.txt ||
    { cat err.txt; fail "what became of the layer is not said"; }
"$smkdc" check m.onnx >out.txt
grep -q '^logits .* f32\[N,10\]$' out.txt || fail "check changed the file"

"$smkdc" compile m.onnx --classes 3 --seed 7 -o three.smkd 2>/dev/null
"$smkdc" inspect three.smkd >out.txt
grep -q '^output .* f32\[N,3\]$' out.txt || { cat out.txt; fail "the artifact has another number of outputs"; }

# The same seed gives the same bytes, another one does not; the number of now is made anew, too.
"$smkdc" compile m.onnx --classes 3 --seed 7 -o again.smkd 2>/dev/null
cmp three.smkd again.smkd || fail "the same seed gave another artifact"
"$smkdc" compile m.onnx --classes 3 --seed 8 -o other.smkd 2>/dev/null
if cmp -s three.smkd other.smkd; then fail "another seed gave the same weights"; fi
"$smkdc" compile m.onnx -o ten.smkd 2>/dev/null
"$smkdc" compile m.onnx --classes 10 -o fresh.smkd 2>err.txt
grep -qF "10 fresh outputs as many as before" err.txt || { cat err.txt; fail "it is not said that the weights are new"; }
if cmp -s ten.smkd fresh.smkd; then fail "--classes 10 left the weights as they were"; fi

for c in check compile; do
    refuses 'm.onnx: --logits nothing: no node of the model makes a value of that name' "$smkdc" $c m.onnx --classes 3 \
        --logits nothing
    refuses '--seed is for the fresh weights of --classes' "$smkdc" $c m.onnx --seed 3
    refuses '--classes 0' "$smkdc" $c m.onnx --classes 0
    refuses '--classes five' "$smkdc" $c m.onnx --classes five
done
refuses 'm.onnx: node "/layer3/0/Add" (Add): it stands between "/Flatten_output_0" and the last linear layer' \
    "$smkdc" compile m.onnx --classes 3 --logits /Flatten_output_0
# (The sanitizers' own memory does not fit such a limit.)
grep -q __asan_init "$smkdc" || refuses 'it would take' "$smkdc" compile m.onnx --classes 16000000 --max-memory 512M

# A model of 5 classes trains on data of 10 once it has them, and what is exported has them, too.
if [ -e /usr/share/datasets/fashion-mnist ]; then
    for s in 0 1; do
        "$smkdc" new resnet8 --width 4 --input 1x28x28 --classes 5 --seed $s -o p$s.onnx
        "$smkdc" compile p$s.onnx --classes 10 2>/dev/null
    done
    "$run" train --peer p0.smkd --peer p1.smkd --data fashion-mnist --train-limit 256 --test-limit 100 --loss ce --epochs 1 \
        -o r 2>err.txt || { cat err.txt; fail "train"; }
    "$run" export r --peer 0 -o trained.onnx
    "$smkdc" check trained.onnx >out.txt
    grep -q '^logits .* f32\[N,10\]$' out.txt || fail "the exported file has another number of outputs"
fi
[ ! -e m.smkd ] || fail "a refused compile left an artifact"
echo ok
