#!/usr/bin/env bash
# A build without LLVM trains with artifacts made elsewhere, to the same bits as the full build that compiles the loss itself. It is
# optimized less, which takes half the time and changes no bit either.
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to write a data set with"; exit 77; }
export XDG_CACHE_HOME=$tmp/cache
slim=$SMKD_BUILD-no-llvm
{ cmake -G Ninja -S "$SMKD_SRC" -B "$slim" -DSMKD_WITH_LLVM=OFF -DBUILD_TESTING=OFF -DCMAKE_BUILD_TYPE=Release \
    -DCMAKE_C_FLAGS_RELEASE="-O1 -DNDEBUG" && cmake --build "$slim" --target smkd-run; } \
    >build.log 2>&1 || { tail -n 40 build.log; fail "no build without LLVM"; }
[ ! -e "$slim/smkdc" ] || fail "a compiler without LLVM"
for p in "$slim/smkd-run" "$run"; do
    ! ldd "$p" | grep -i llvm || fail "$p needs LLVM all the same"
done

python3 "$SMKD_SRC/tests/tools/bad_files.py" .
for k in 0 1; do
    "$smkdc" new resnet8 --width $((6 + 2 * k)) --input 1x8x8 --classes 10 --seed $k -o $k.onnx
    "$smkdc" compile $k.onnx --max-batch 32 -o $k.smkd
done
"$smkdc" loss smkd-p --classes 10 -o L.smkd
train() { # PROGRAM FOLDER FLAGS...
    "$1" train --peer 0.smkd --peer 1.smkd --data data --noise symmetric:0.4 --eta 1.02 --epochs 2 --batch-size 32 --seed 7 -o "$2" \
        "${@:3}" 2>log.txt || { cat log.txt; fail "train $2"; }
}
train "$run" full --loss smkd-p
train "$slim/smkd-run" slim --loss L.smkd
for f in last.safetensors best.safetensors labels.npy; do cmp full/$f slim/$f || fail "$f differs"; done
for d in full slim; do sed 's/,"images_per_s".*//' $d/metrics.jsonl >$d.txt; done
diff full.txt slim.txt || fail "metrics differ"
grep -q '"selected_share":0.[0-9]*[1-9]' full.txt || { cat full.txt; fail "nothing was taught, so the loss was hardly tried"; }

# The rest of smkd-run is there, too.
"$slim/smkd-run" export slim --peer 1 -o trained.onnx && "$run" export full --peer 1 -o full.onnx
"$slim/smkd-run" eval slim --json >slim.json && "$run" eval full --json >full.json
diff <(grep -o '"top[15]":[^,}]*' slim.json) <(grep -o '"top[15]":[^,}]*' full.json) || fail "eval differs"
"$slim/smkd-run" infer 0.smkd --input x=x.npy -o slim.st && "$run" infer 0.smkd --input x=x.npy -o full.st && cmp slim.st full.st ||
    fail "infer differs"

# Asked for a loss by name, it says what to do, in one line, and leaves nothing.
refuses 'there is no compiler beside this program: where there is one, run smkdc loss smkd-p -o L.smkd --classes 10 and give --loss L.smkd' \
    "$slim/smkd-run" train --peer 0.smkd --peer 1.smkd --data data --loss smkd-p --epochs 1 -o none
[ ! -e none ] || fail "a refused run left a folder"
refuses 'run smkdc loss ce -o L.smkd --classes 3' \
    "$slim/smkd-run" loss ce --logits a.npy --logits b.npy --labels y.npy -o none
[ ! -e none ] || fail "a refused loss left a file"
echo ok
