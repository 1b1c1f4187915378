#!/usr/bin/env bash
# Valgrind sees no wrong access and no lost memory in the compiler, in the code it makes, and in a run. (AddressSanitizer does
# not look into generated code; tests/cli/sanitizers.sh is for the rest.)
. "$SMKD_SRC/tests/tools/common.bash"
command -v valgrind >/dev/null || { echo "skipped: valgrind is not installed"; exit 77; }
command -v python3 >/dev/null || { echo "skipped: no python3 to write the files with"; exit 77; }
"$smkdc" --version >/dev/null
# What threads of OpenMP keep to the end is "possibly lost" or reachable, and LLVM's tables are reachable: not counted.
watched() {
    local code=0
    valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --num-callers=20 "$@" >log.txt 2>&1 || code=$?
    [ $code = 0 ] || { tail -n 60 log.txt; fail "exit code $code of: $*"; }
}
python3 "$SMKD_SRC/tests/tools/bad_files.py" .

# Valgrind knows no AVX-512, so everything is compiled for AVX2.
v3=(--mcpu x86-64-v3 --max-batch 32)
watched "$smkdc" compile tiny.onnx "${v3[@]}" -o tiny.smkd
"$smkdc" compile tiny.onnx "${v3[@]}" -o native.smkd
cmp tiny.smkd native.smkd || fail "another artifact under valgrind"
watched "$run" infer tiny.smkd --input x=x.npy --threads 2 -o infer.st
"$run" infer tiny.smkd --input x=x.npy -o native.st
cmp infer.st native.st || fail "other outputs under valgrind"
watched "$run" grad tiny.smkd --input x=x.npy --cotangent logits=dy.npy -o grad.st

for k in 0 1; do
    "$smkdc" new resnet8 --width $((2 + k)) --input 1x8x8 --classes 10 --seed $k -o $k.onnx
    "$smkdc" compile $k.onnx "${v3[@]}" -o $k.smkd
done
"$smkdc" loss smkd-p --classes 10 "${v3[@]}" -o L.smkd
watched "$run" train --peer 0.smkd --peer 1.smkd --data data --noise symmetric:0.4 --train-limit 64 --test-limit 16 --loss L.smkd \
    --epochs 1 --batch-size 32 --threads 2 -o run
watched "$run" export run --peer 0 -o trained.onnx
echo ok
