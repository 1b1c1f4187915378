#!/usr/bin/env bash
# quick
# smkdc verify beside the interpreter: what agrees, what does not, what is refused.
set -euo pipefail
smkdc="$SMKD_BUILD/smkdc"
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
fail() { echo "$*"; exit 1; }

"$smkdc" new resnet8s --input 1x12x12 --width 4 -o m.onnx >/dev/null 2>&1 || "$smkdc" new resnet8 -o m.onnx >/dev/null
"$smkdc" verify m.onnx --reference interpreter >out || fail "verify: $(cat out)"
grep -q '^reference   the interpreter' out || fail "no reference named: $(cat out)"
grep -Eq '^inside +[0-9]{2,} values agree; the largest difference is .* of node ".*" \(' out || fail "inside: $(cat out)"
grep -Eq '^compiled +1 values agree' out || fail "compiled: $(cat out)"
"$smkdc" verify m.onnx --reference interpreter -v >all || fail "verify -v"
[ "$(grep -c '^agrees' all)" -gt 10 ] || fail "a line for every value: $(head -3 all)"

"$smkdc" verify m.onnx --reference interpreter --gradients >out || fail "gradients: $(cat out)"
grep -Eq '^gradients   by 1 inputs and [0-9]{2} parameters agree with finite differences \(of 2 comparisons 0 zero' out || fail "$(cat out)"

# No float is exactly another's: the first node that differs is named, and the exit code is 1.
rc=0
"$smkdc" verify m.onnx --reference interpreter --tolerance 0 >out || rc=$?
[ $rc = 1 ] || fail "a difference ends with $rc"
[ "$(grep -c '^differs' out)" -le 2 ] && grep -Eq '^differs +node ".*" \(.*\): ".*": element [0-9]+ is .*, the reference has' out || fail "$(cat out)"
grep -Eq '^inside +[0-9]+ of [0-9]+ values differ' out || fail "$(cat out)"

# Without onnxruntime the interpreter stands in, or it is said that it cannot be had.
"$smkdc" verify m.onnx --python ./no-python >out 2>err || fail "$(cat err)"
grep -q "no-python has no onnxruntime" err || fail "$(cat err)"
rc=0
"$smkdc" verify m.onnx --python ./no-python --reference onnxruntime >out 2>err || rc=$?
[ $rc = 1 ] && grep -q "name another with --python" err || fail "rc $rc: $(cat err)"
rc=0
"$smkdc" verify none.onnx >out 2>err || rc=$?
[ $rc = 1 ] && grep -q "none.onnx: cannot read the file" err || fail "rc $rc: $(cat err)"
