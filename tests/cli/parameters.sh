#!/usr/bin/env bash
# quick: what is trained: --train-only and --constant of check and compile, what check says about it, names that match nothing
. "$SMKD_SRC/tests/tools/common.bash"
"$smkdc" new resnet8 --input 3x8x8 --classes 10 -o m.onnx

# has TEXT ARGS...: check says it
has() {
    local text=$1
    shift
    "$smkdc" check m.onnx "$@" >out.txt 2>&1 || { cat out.txt; fail "check $*"; }
    grep -qF -- "$text" out.txt || { cat out.txt; fail "expected \"$text\" from check $*"; }
}
has "parameters  75290 in 23 tensors"
grep -q '^constants' out.txt && fail "a model without constants has some"
has "batch norm  7 trained with the batch's statistics, 0 frozen"
has "parameter   fc.weight: a weight of an operator" --verbose
has "parameters  650 in 2 tensors" --train-only 'fc.*'
has 'constants   74640 in 21 tensors: --train-only does not name it, as "' --train-only 'fc.*'
has "batch norm  0 trained with the batch's statistics, 7 frozen" --train-only 'fc.*'
has "7 of 7 BatchNormalization nodes stay frozen (0 have training_mode 0 beside others at 1, 7 by the command line)" \
    --train-only 'fc.*'
has "parameters  640 in 1 tensors" --train-only 'fc.*' --constant fc.bias
has 'constants   10 in 1 tensors: --constant names it, as "fc.bias"' --constant fc.bias
has "verdict     compiles; it has no parameters to train" --constant '*'

# What compile takes for a parameter is what check says.
"$smkdc" compile m.onnx --emit onnx-ir -o m.ir --train-only 'fc.*' 2>/dev/null
[ "$(grep -c ' param "' m.ir)" = 2 ] || { head -50 m.ir; fail "compile --train-only"; }

for c in check compile; do
    refuses 'm.onnx: --train-only fc.wieght: no float tensor of the model has such a name; it has "fc.weight", "' \
        "$smkdc" $c m.onnx --train-only fc.wieght
    refuses 'm.onnx: --constant head.*: no float tensor of the model has such a name; it has "' "$smkdc" $c m.onnx \
        --constant 'head.*'
done
[ ! -e m.smkd ] || fail "a refused compile left an artifact"
echo ok
