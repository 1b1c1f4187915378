#!/usr/bin/env bash
# A run with every feature on at once: the same bits for any number of threads and workers, and when it is killed and resumed.
. "$SMKD_SRC/tests/tools/common.bash"
. "$SMKD_SRC/tests/tools/photos.bash"

k=0
for class in ant bee cat; do
    mkdir -p "photos/$class"
    for i in $(seq 22); do
        k=$((k + 1))
        bmp "photos/$class/$i.bmp" $((24 + k % 5 * 4)) $((20 + k % 7)) $((k * 100))
    done
done
echo damaged >photos/bee/4.bmp
for s in 0 1 2; do
    "$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 3 --seed $s -o $s.onnx
    "$smkdc" compile $s.onnx -o $s.smkd
done
cat >all.json <<'J'
{"data": "photos", "val-split": 0.2, "noise": "instance:0.3", "seed": 5, "epochs": 5, "batch-size": 8, "drop-last": true,
 "method": "smkd-p", "refine": "mylc", "r-scope": "ema", "eta": 1.2, "peer-denom": "N", "label-smoothing": 0.1,
 "class-weights": "balanced", "t-unit": "iteration",
 "opt": "adamw", "lr": 0.01, "weight-decay": 0.01, "norm-weight-decay": 0, "bias-weight-decay": 0,
 "param-group": "*fc*:lr=0.02,wd=0", "freeze": "conv1*",
 "lr-scheduler": "plateau", "lr-patience": 0, "lr-warmup-epochs": 1, "lr-warmup-method": "linear", "patience": 5,
 "clip-grad-norm": 1, "accumulate": 2, "model-ema": true, "model-ema-decay": 0.9, "model-ema-steps": 2,
 "sampler": "balanced", "cache": "ram", "exif-orientation": true,
 "crop": "resized", "hflip-prob": 0.5, "auto-augment": "ra", "ra-magnitude": 7, "interpolation": "bicubic", "color-jitter": "0.3",
 "random-erase": 0.3, "cutout": 4, "mixup-alpha": 0.2, "cutmix-alpha": 1.0}
J
train() { ${exec:-} "$run" train --config all.json --peer 0.smkd --peer 1.smkd --peer 2.smkd "$@"; }
without_times() { sed 's/,"images_per_s".*//' "$1/metrics.jsonl"; }
same_run() {
    local f
    for f in last.safetensors best.safetensors labels.npy; do cmp "$1/$f" "$2/$f" || fail "$f differs between $1 and $2"; done
    diff <(without_times "$1") <(without_times "$2") || fail "metrics differ between $1 and $2"
}

train --threads 1 -j 1 -o one 2>one.log || fail "a run with everything: $(cat one.log)"
train --threads 3 -j 4 -o three 2>three.log || fail "with three threads: $(cat three.log)"
same_run one three
exec=exec train --threads 2 -j 2 -o killed 2>killed.log &
pid=$!
for _ in $(seq 1000); do [ -e killed/last.safetensors ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed --threads 1 -j 3 2>resumed.log || fail "resume: $(cat resumed.log)"
same_run one killed

# Each feature does something: without it the run is another.
for flag in label-smoothing class-weights clip-grad-norm accumulate model-ema mixup-alpha cutmix-alpha random-erase cutout \
    auto-augment color-jitter sampler noise norm-weight-decay param-group freeze opt refine drop-last hflip-prob; do
    sed "s/\"$flag\": [^,}]*\(,wd=0\"\)\?,\?//" all.json | tr -d '\n' | sed 's/,[ ]*}/}/' >less.json
    [ $flag != auto-augment ] || sed -i 's/"ra-magnitude": [0-9]*,//' less.json
    [ $flag != model-ema ] || sed -i 's/"model-ema-[a-z]*": [0-9.]*,//g' less.json
    [ $flag != refine ] || sed -i 's/"r-scope"/"refine": "proselflc", "r-scope"/' less.json
    [ $flag != opt ] || sed -i 's/"param-group"/"opt": "lion", "param-group"/' less.json
    "$run" train --config less.json --peer 0.smkd --peer 1.smkd --peer 2.smkd --epochs 2 --patience 0 -o without.$flag 2>without.log ||
        fail "without $flag: $(cat without.log)"
    head -c -0 one/metrics.jsonl | head -n 1 | cmp -s - <(head -n 1 without.$flag/metrics.jsonl) && fail "$flag changes nothing"
done
"$run" eval killed --ema >/dev/null || fail "eval --ema"
"$run" export killed --ema --peer 2 -o e.onnx || fail "export --ema"
"$smkdc" compile e.onnx -o e.smkd || fail "the export does not compile"
"$run" predict e.smkd photos/ant/1.bmp | grep -q 'ant\|bee\|cat' || fail "the names of the classes are lost: $("$run" predict e.smkd photos/ant/1.bmp)"
exit 0
