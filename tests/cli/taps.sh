#!/usr/bin/env bash
# quick: --tap of check and compile: what is said, what the artifact has, and which commands look at it
. "$SMKD_SRC/tests/tools/common.bash"
"$smkdc" new resnet8 --width 4 --input 3x8x8 --classes 10 -o m.onnx

"$smkdc" check m.onnx --tap /layer2/0/Relu_1=mid --tap /Flatten_output_0 >out.txt 2>err.txt || { cat err.txt; fail "check --tap"; }
[ ! -s err.txt ] || { cat err.txt; fail "check --tap complains"; }
grep -qx 'tap         mid f32\[N,8,4,4\]' out.txt && grep -qx 'tap         /Flatten_output_0 f32\[N,16\]' out.txt ||
    { cat out.txt; fail "check does not list the taps"; }
[ "$(grep -c '^output' out.txt)" = 1 ] || fail "a tap is an output of the model"
# [N,16] is no candidate for the logits.
[ "$(grep -c '^logits' out.txt)" = 1 ] && ! grep -q '^ *or' out.txt || { cat out.txt; fail "a tap was taken for logits"; }

"$smkdc" compile m.onnx --tap /layer2/0/Relu_1=mid --tap /Flatten_output_0
"$smkdc" inspect m.smkd >out.txt
for row in 'tap         mid f32[N,8,4,4]' 'cotangent   mid f32[N,8,4,4]' 'tap         /Flatten_output_0 f32[N,16]' \
    'cotangent   /Flatten_output_0 f32[N,16]' 'output      logits f32[N,10]' 'logits      logits'; do
    grep -qxF "$row" out.txt || { cat out.txt; fail "inspect lacks: $row"; }
done
"$smkdc" compile m.onnx --tap /layer2/0/Relu_1=mid --tap /Flatten_output_0 -o same.smkd
cmp m.smkd same.smkd || fail "the same options gave another artifact"
hash() { "$smkdc" inspect --json "$1" | grep '"content_hash"'; }
"$smkdc" compile m.onnx --tap /layer2/0/Relu_1=mid -o other.smkd
[ "$(hash m.smkd)" != "$(hash other.smkd)" ] || fail "artifacts with other taps have one hash"
# Whoever names the logits keeps the taps' gradients; a tap can be the logits.
"$smkdc" compile m.onnx --tap /layer2/0/Relu_1=mid --logits logits -o one.smkd
"$smkdc" inspect one.smkd | grep -qx 'cotangent   mid f32\[N,8,4,4\]' || fail "--logits took the tap's gradient"
"$smkdc" compile m.onnx --tap /Flatten_output_0 --logits /Flatten_output_0 -o feat.smkd
"$smkdc" inspect feat.smkd >out.txt
grep -qx 'logits      /Flatten_output_0' out.txt && grep -qx 'tap         /Flatten_output_0 f32\[N,16\]' out.txt || { cat out.txt; fail "a tap as logits"; }
# A head of probabilities stays what it was.
"$smkdc" compile m.onnx --classes 4 --tap /Flatten_output_0=feat -o four.smkd 2>err.txt
"$smkdc" inspect four.smkd | grep -qx 'output      logits f32\[N,4\]' || fail "--classes with --tap"

for c in check compile; do
    refuses 'm.onnx: --tap layer2: the model has no such value; near to it are "/layer2/0/Relu_1_output_0"' "$smkdc" $c m.onnx --tap layer2
    refuses '--tap x: it is an input or a weight' "$smkdc" $c m.onnx --tap x
    refuses '--tap logits: it is an output of the model, which methods can use as it is' "$smkdc" $c m.onnx --tap logits
    refuses 'the model has a value of that name; choose another' "$smkdc" $c m.onnx --tap /Flatten=fc.bias
    refuses 'the model has a value of that name; choose another' "$smkdc" $c m.onnx --tap /Flatten=a --tap /Relu=a
done

if command -v python3 >/dev/null && python3 -c 'import numpy' 2>/dev/null; then
    python3 -c 'import numpy as np
r = np.random.default_rng(0)
np.save("x.npy", r.normal(size=(5, 3, 8, 8)).astype(np.float32))
np.save("d.npy", r.normal(size=(5, 8, 4, 4)).astype(np.float32))'
    names() { python3 -c 'import json, sys
b = open(sys.argv[1], "rb").read()
print(*sorted(k for k in json.loads(b[8:8 + int.from_bytes(b[:8], "little")]) if k in ("logits", "mid", "/Flatten_output_0")))' "$1"; }
    "$run" infer m.smkd --input x=x.npy -o o.safetensors
    [ "$(names o.safetensors)" = "logits" ] || fail "infer writes $(names o.safetensors)"
    "$run" infer m.smkd --input x=x.npy --taps -o o.safetensors
    [ "$(names o.safetensors)" = "/Flatten_output_0 logits mid" ] || fail "infer --taps writes $(names o.safetensors)"
    "$run" grad m.smkd --input x=x.npy --cotangent mid=d.npy -o o.safetensors
    [ "$(names o.safetensors)" = "logits" ] || fail "grad writes $(names o.safetensors)"
    "$run" grad m.smkd --input x=x.npy --cotangent mid=d.npy --taps -o o.safetensors
    [ "$(names o.safetensors)" = "/Flatten_output_0 logits mid" ] || fail "grad --taps writes $(names o.safetensors)"
fi
echo ok
