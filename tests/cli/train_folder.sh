#!/usr/bin/env bash
# Training on a folder of image files: the same bits with any number of workers, killed and resumed; damaged files; the
# names of the classes; samplers; the cache.
. "$SMKD_SRC/tests/tools/common.bash"

. "$SMKD_SRC/tests/tools/photos.bash"
k=0
for part in train val; do
    for class in ant "big bee" café; do
        mkdir -p "photos/$part/$class/deeper"
        for i in $(seq 8); do
            k=$((k + 1))
            bmp "photos/$part/$class/$i.bmp" $((24 + k % 5 * 4)) $((20 + k % 7)) $((k * 100))
        done
        mv "photos/$part/$class/8.bmp" "photos/$part/$class/deeper/8.BMP"
    done
done
mkdir photos/train/empty
"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 4 --seed 0 -o a.onnx
"$smkdc" compile a.onnx -o a.smkd
train() { ${exec:-} "$run" train --method ce --peer a.smkd --data photos --batch-size 5 --lr 0.01 --seed 3 "$@"; }
without_times() { sed 's/,"images_per_s".*//' "$1/metrics.jsonl"; }
same_run() {
    local f
    for f in last.safetensors best.safetensors labels.npy; do cmp "$1/$f" "$2/$f" || fail "$f differs between $1 and $2"; done
    diff <(without_times "$1") <(without_times "$2") || fail "metrics differ between $1 and $2"
}

train --epochs 3 -j 1 -o whole 2>whole.log
grep -q '24 training, 0 validation and 24 test images, 4 classes' whole.log || fail "not all files were found: $(cat whole.log)"
grep -q '^epoch 3/3 .* waited [0-9]* %' whole.log || fail "the epoch's line does not say how long it waited"
grep -q 'left out' whole.log && fail "a file was left out"

# Damaged files: named once however often they are met, and the bits do not depend on who met them.
head -c 300 photos/train/ant/2.bmp >x && mv x photos/train/ant/2.bmp
echo hello >"photos/train/big bee/5.bmp"
rm photos/val/café/3.bmp && ln -s nowhere photos/val/café/3.bmp
train --epochs 3 -j 1 -o one 2>one.log
train --epochs 3 --workers 3 -o three 2>three.log
same_run one three
cmp -s one/last.safetensors whole/last.safetensors && fail "damaged files changed nothing"
for f in 'train/ant/2.bmp' 'train/big bee/5.bmp' 'val/café/3.bmp'; do
    [ "$(grep -c "warning: photos/$f: " three.log)" = 1 ] || fail "$f is not named once: $(cat three.log)"
done
grep -q '3 files left out' three.log || fail "damaged files are not counted"
refuses 'strict-data ends the run' train --epochs 1 --strict-data -o strict

# Killed in an epoch and resumed by another number of workers.
exec=exec train --epochs 3 -j 2 -o killed 2>killed.log &
pid=$!
for _ in $(seq 600); do [ -s killed/metrics.jsonl ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed -j 5 2>resumed.log
same_run one killed

# The same images elsewhere go on, others do not.
cp -r photos moved
"$run" train --resume -o killed --data moved 2>/dev/null
same_run one killed
mv moved/train/ant/1.bmp moved/train/ant/0.bmp
refuses 'the data is not the one the run began with' "$run" train --resume -o killed --data moved

# Samplers and the cache are other runs, each the same with any number of workers.
for flags in '--sampler balanced' '--ra-sampler' '--cache ram' '--val-split 0.2'; do
    train --epochs 2 $flags -j 1 -o "s1 $flags" 2>/dev/null
    train --epochs 2 $flags -j 3 -o "s3 $flags" 2>/dev/null
    same_run "s1 $flags" "s3 $flags"
done
for flags in '--sampler balanced' '--ra-sampler' '--val-split 0.2'; do
    cmp -s "s1 --cache ram/last.safetensors" "s1 $flags/last.safetensors" && fail "$flags changed nothing"
done
train --epochs 2 -o plain 2>/dev/null
same_run plain "s1 --cache ram" # BMPs are decoded whole in any case
refuses 'exclude each other' train --epochs 1 --sampler balanced --ra-sampler -o no
# A header of 363 MB is enough to refuse the cache before anything is decoded.
{ printf BM; for n in 54 0 54 40 11000 11000; do little $n; done; printf '\x01\x00\x18\x00'; for _ in 1 2 3 4 5 6; do little 0; done; } >moved/val/ant/9.bmp
refuses '--cache ram: 49 images of moved, decoded: it would take' "$run" train --method ce --peer a.smkd --data moved \
    --epochs 1 --cache ram --max-memory 300M -o no

# Names of classes: in the run folder, and in what is exported.
grep -q 'smkd.class_names.*ant.*,.*big bee.*,.*café.*,.*empty' one/config.json || fail "config.json lacks the classes' names"
"$run" export one -o t.onnx
grep -qa '\["ant","big bee","café","empty"\]' t.onnx || fail "the exported model lacks the classes' names"
"$run" eval one 2>eval.log | grep -q '23 test images' || fail "eval counts other images than 23: $(cat eval.log)"
[ "$(grep -c 'warning: photos/val/café/3.bmp: ' eval.log)" = 1 ] || fail "eval does not name the damaged file"
"$run" eval one --data photos/val 2>eval.log | grep -q '23 test images' || fail "a folder without parts is not looked at as a whole"

# No test part, or too many classes.
refuses 'val-split 0.1' "$run" train --method ce --peer a.smkd --data photos/train --epochs 1 -o no
"$run" train --method ce --peer a.smkd --data photos/train --epochs 1 --batch-size 5 --val-split 0.25 -o split 2>split.log
grep -q '^epoch 1/1 .* val ' split.log || fail "without a test part the validation images are not told of"
[ -s split/best.safetensors ] || fail "without a test part there is no best epoch"
"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 3 --seed 0 -o b.onnx
"$smkdc" compile b.onnx -o b.smkd
refuses 'the data have 4 classes, the model 3' "$run" train --method ce --peer b.smkd --data photos --epochs 1 -o no
echo ok
