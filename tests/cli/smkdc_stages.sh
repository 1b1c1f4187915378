#!/usr/bin/env bash
# Every stage of --emit, check and inspect on a small network and on a loss.
set -u
smkdc="${SMKD_BUILD:?}/smkdc"
[ -x "$smkdc" ] || { echo "skipped: smkdc has not been built"; exit 77; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cd "$dir" || exit 1
bad=0
no() { echo "FAIL: $*"; bad=1; }

"$smkdc" new resnet8 -o m.onnx --width 4 --input 1x12x12 || exit 1
"$smkdc" check m.onnx >check.txt || no "check"
for want in "model       resnet8" "input       x f32[N,1,12,12]" "output      logits f32[N,10]" "verdict     compiles and trains"; do
    grep -qF "$want" check.txt || no "check does not say \"$want\""
done
grep -qE "parameters  [1-9][0-9]* in [1-9]" check.txt || no "check does not count parameters"

for stage in onnx-ir ir grad fused layout plan llvm asm; do
    "$smkdc" compile m.onnx --emit $stage >$stage.txt 2>err || { no "--emit $stage"; cat err; continue; }
    [ -s $stage.txt ] || no "--emit $stage printed nothing"
    "$smkdc" compile m.onnx --emit $stage -o $stage.file || no "--emit $stage -o"
    cmp -s $stage.txt $stage.file || no "--emit $stage differs between a file and standard output"
done
grep -q "batch_norm" onnx-ir.txt || no "onnx-ir has no batch_norm"
grep -q "batch_norm" ir.txt && no "ir still has batch_norm: it expands"
grep -q "conv_grad_w" ir.txt && no "ir has gradients already"
grep -q "conv_grad_w" grad.txt || no "grad has no weight gradient"
[ -e m.smkd ] && no "a text stage wrote m.smkd"

"$smkdc" compile m.onnx --emit obj || no "--emit obj"
[ -s m.o ] || no "--emit obj wrote no m.o"
"$smkdc" compile m.onnx --max-batch 8 || no "compile"
[ -s m.smkd ] || no "compile wrote no m.smkd"
"$smkdc" inspect m.smkd >inspect.txt || no "inspect"
grep -qF "input       x f32[N,1,12,12]" inspect.txt || no "inspect does not show the input"
grep -qE "^nodes       [1-9][0-9]* in training, [1-9][0-9]* in inference" inspect.txt || no "inspect does not count nodes"
grep -qF "batches     up to 8" inspect.txt || no "inspect does not show --max-batch"
"$smkdc" inspect m.smkd --json >inspect.json || no "inspect --json"
if command -v python3 >/dev/null; then
    python3 - <<'PY' || no "inspect --json is not what it should be"
import json
j = json.load(open("inspect.json"))
names = {t["name"]: t for t in j["tensors"] if t["role"] == "parameter"}
assert names["fc.weight"]["shape"] == [10, 16] and j["max_batch"] == 8, j
assert set(j["phases"]) == {"infer", "forward", "backward", "update"}
assert j["notes"]["flops_backward"] > j["notes"]["flops_forward"] > 0
PY
fi

# One run reports one pass; stopping prints the graph.
"$smkdc" compile m.onnx --dump-after expand --emit ir >/dev/null 2>dump.txt || no "--dump-after"
[ -s dump.txt ] || no "--dump-after expand printed nothing"
"$smkdc" compile m.onnx --stop-after expand >stopped.txt || no "--stop-after"
grep -q "graph @" stopped.txt || no "--stop-after expand printed no graph"
"$smkdc" compile m.onnx --emit ir --time 2>&1 >/dev/null | grep -q "cse" || no "--time does not name the passes"

grep -qE "^// plan of @.* bytes per sample \(at least [0-9]+\)" plan.txt || no "the plan does not say how good it is"
grep -qE "sample +[0-9]+ \+[0-9]+ +\[[0-9]+-[0-9]+\] +conv " plan.txt || no "the plan does not say how long a convolution's result lives"
for option in --stop-after --dump-after; do
    "$smkdc" compile m.onnx $option nosuch >out.txt 2>err && no "$option nosuch is accepted"
    grep -q "expected one of expand, fold, cse, interleave, dce, recompute, fuse, layout, bf16" err || no "$option nosuch does not list the passes: $(cat err)"
    [ -s out.txt ] && no "$option nosuch printed something"
done

# bfloat16 is in memory only: half an arena, and instructions for it where the CPU compiled for has them.
"$smkdc" compile m.onnx --dtype bf16 --emit layout >bf16.txt || no "--dtype bf16"
grep -qE "bf16\[N,.*= conv\(" bf16.txt || no "no convolution writes bfloat16"
grep -q "bf16" layout.txt && no "bfloat16 without --dtype bf16"
grep -qE "(input|param|output).*bf16" bf16.txt && no "a boundary of the program is bfloat16"
"$smkdc" compile m.onnx --dtype bf16 --stop-after layout | grep -q "bf16" && no "--stop-after layout goes on to bf16"
sample() { "$smkdc" compile m.onnx --emit plan "$@" | sed -n 's/.*: \([0-9]*\) bytes per sample.*/\1/p' | head -1; }
[ $((100 * $(sample --dtype bf16))) -lt $((65 * $(sample))) ] || no "bfloat16 saves no memory: $(sample --dtype bf16) of $(sample)"
"$smkdc" compile m.onnx --dtype bf16 --mcpu sapphirerapids --emit asm | grep -q "vdpbf16ps" || no "no products of bfloat16 for a CPU with them"
"$smkdc" compile m.onnx --dtype bf16 --mcpu icelake-server --emit asm | grep -q "bf16ps" && no "products of bfloat16 for a CPU without"
"$smkdc" compile m.onnx --dtype bf16 -o half.smkd && "$smkdc" inspect half.smkd | grep -qF "dtype       bf16" || no "inspect does not say bf16"
"$smkdc" compile m.onnx --dtype f16 2>err && no "--dtype f16 is accepted"
grep -q -- "--dtype f16: expected one of f32, bf16" err || no "--dtype f16: $(cat err)"

# The same model gives the same bytes: whatever the threads, the folder and the addresses of this process.
mkdir other && cp m.onnx other/named.onnx
"$smkdc" compile m.onnx --threads 1 -o one.smkd && (cd other && "$smkdc" compile named.onnx --threads 3 -o two.smkd) || no "compile twice"
cmp one.smkd other/two.smkd || no "two compilations of a model differ"
"$smkdc" loss smkd-p --classes 10 -o one.loss && "$smkdc" loss smkd-p --classes 10 --threads 3 -o two.loss || no "loss twice"
cmp one.loss two.loss || no "two compilations of a loss differ"

for stage in onnx-ir ir grad fused layout plan llvm asm; do
    "$smkdc" loss smkd-p --classes 10 --emit $stage >loss.$stage 2>err || { no "loss --emit $stage"; cat err; }
    [ -s loss.$stage ] || no "loss --emit $stage printed nothing"
done
grep -q "smkd\.threshold" loss.onnx-ir || no "the loss as written has no smkd.threshold"
grep -q "smkd\." loss.ir && no "the loss in primitive ops still has ops of its own"
grep -q '"loss\.1"' loss.ir || no "the loss in primitive ops has no losses"
grep -q '"grad\.1"' loss.ir && no "the loss has gradients before differentiation"
grep -q '"grad\.1"' loss.grad || no "the differentiated loss has no gradients"
"$smkdc" loss smkd-p --classes 10 || no "loss"
"$smkdc" inspect smkd-p.smkd | grep -q "(loss)" || no "inspect of a loss"
exit $bad
