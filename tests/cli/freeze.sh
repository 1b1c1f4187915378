#!/usr/bin/env bash
# quick: --freeze and --freeze-bn: what check and inspect say, that no gradient is built, patterns that take out again, refusals
. "$SMKD_SRC/tests/tools/common.bash"
"$smkdc" new resnet8 --input 3x8x8 --classes 10 -o m.onnx

# has TEXT ARGS...: check says it
has() {
    local text=$1
    shift
    "$smkdc" check m.onnx "$@" >out.txt 2>&1 || { cat out.txt; fail "check $*"; }
    grep -qF -- "$text" out.txt || { cat out.txt; fail "expected \"$text\" from check $*"; }
}
all=(--freeze '*' --freeze '!fc.*')
has "parameters  650 in 2 tensors" "${all[@]}"
has 'frozen      74640 in 21 tensors: --freeze names it, as "' "${all[@]}"
has 'frozen      480 in 14 tensors: a running statistic that --freeze names, as "' "${all[@]}"
has "batch norm  0 trained with the batch's statistics, 7 frozen" "${all[@]}"
has "verdict     compiles and trains" "${all[@]}"
has "frozen      conv1.weight: --freeze names it" --freeze 'conv1.*' --verbose
has "parameters  74858 in 22 tensors" --freeze 'conv1.*'
# Scale and bias frozen alone: the norm goes on with the batch's statistics. The last pattern that matches decides.
has "batch norm  7 trained with the batch's statistics, 0 frozen" --freeze '*bn?.weight' --freeze '*bn?.bias'
has "parameters  75290 in 23 tensors" --freeze 'fc.*' --freeze '!fc.*'
has "parameters  74640 in 21 tensors" --freeze '!fc.*' --freeze 'fc.*'
# --freeze-bn keeps statistics, and trains scale and bias.
has "batch norm  0 trained with the batch's statistics, 7 frozen" --freeze-bn
has "parameters  75290 in 23 tensors" --freeze-bn
has "statistics  480 in 14 tensors (not trained)" --freeze-bn
# Constants go first, and what is not trained anyway stays that.
has "parameters  640 in 1 tensors" --train-only 'fc.*' --freeze fc.bias
has 'constants   10 in 1 tensors: --constant names it' --constant fc.bias --freeze fc.bias

# The training graph has neither the gradients nor the batch's statistics of what is frozen.
count() { "$smkdc" compile m.onnx --emit grad "${@:2}" 2>/dev/null | sed '/^}/q' | grep -cE "= $1\(" || true; }
[ "$(count conv_grad_w)" = 7 ] || fail "7 convolutions have $(count conv_grad_w) gradients"
[ "$(count 'conv_grad_[xw]' "${all[@]}")" = 0 ] || fail "frozen convolutions have gradients"
[ "$(count bn_stats "${all[@]}")" = 0 ] || fail "frozen norms look at the batch"
[ "$(count bn_stats --freeze-bn)" = 0 ] || fail "--freeze-bn: norms look at the batch"
[ "$(count conv_grad_w --freeze 'conv1.*' --freeze 'bn1.*' --freeze 'layer1.*')" = 4 ] || fail "the gradients of half the model"
[ "$(count conv_grad_x --freeze 'conv1.*' --freeze 'bn1.*' --freeze 'layer1.*')" = 3 ] || fail "more is passed back than the first trained layer needs"

"$smkdc" compile m.onnx "${all[@]}" -o head.smkd 2>/dev/null
"$smkdc" inspect head.smkd --tensors >out.txt
for line in "parameters  650 in 2 tensors" "frozen      75120 in 35 tensors" "frozen      conv1.weight f32\[" "parameter   fc.bias f32\["; do
    grep -q "^$line" out.txt || { cat out.txt; fail "inspect does not say $line"; }
done
if grep -q "^grad_input" out.txt; then fail "a frozen model has the gradient by its input"; fi
"$smkdc" inspect head.smkd --json >out.txt
grep -q '"frozen":.*75120,' out.txt || fail "inspect --json"

for c in check compile; do
    refuses "m.onnx: --freeze *: nothing is left to train; take the tensors to train out again with --freeze '!GLOB'" "$smkdc" $c m.onnx --freeze '*'
    refuses 'm.onnx: --freeze head.*: no float tensor of the model has such a name; it has "' "$smkdc" $c m.onnx --freeze 'head.*'
    refuses 'm.onnx: --freeze !head.*: no float tensor of the model has such a name; it has "' "$smkdc" $c m.onnx --freeze 'conv1.*' \
        --freeze '!head.*'
done
[ ! -e m.smkd ] || fail "a refused compile left an artifact"
echo ok
