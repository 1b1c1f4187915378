#!/usr/bin/env bash
# Steps made of several images, and epochs of several passes: what does not fit is refused before anything is written; the same
# bits at any number of threads and over kill and resume, with groups of batches, clipped gradients and rows left over, too.
. "$SMKD_SRC/tests/tools/train.bash"
for k in 0 1; do
    "$smkdc" new resnet8 --width 4 --input 1x28x28 --classes 10 --seed $k -o $k.onnx
    "$smkdc" compile $k.onnx --max-batch 64 -o $k.smkd
done
common=(--data fashion --train-limit 200 --test-limit 100 --seed 3 --augment crop-flip)
go() { # DIR FLAGS...
    local dir=$1
    shift
    ${exec:-} "$run" train "${common[@]}" -o "$dir" "$@" 2>"$dir.log" || fail "$dir: $(tail -n 1 "$dir.log")"
}
pair=(--peer 0.smkd --peer 1.smkd)
refuses '--batch-size 64 in 2 views of each row is a batch of 128 images: 0.smkd takes at most 64; compile it with --max-batch 128' \
    "$run" train "${common[@]}" --method sop+ --peer 0.smkd --batch-size 64 -o r
for flag in --mixup-alpha --cutmix-alpha; do
    refuses 'elr+: makes its steps of several images itself: leave out --mixup-alpha and --cutmix-alpha' \
        "$run" train "${common[@]}" --method elr+ "${pair[@]}" --batch-size 64 $flag 0.2 -o r
    refuses 'sop+: makes its steps of several images itself' "$run" train "${common[@]}" --method sop+ --peer 0.smkd --batch-size 32 $flag 0.2 -o r
done
refuses 'at least 2 networks' "$run" train "${common[@]}" --method elr+ --peer 0.smkd --batch-size 64 -o r
refuses '--batch-size 32 in 4 views of each row is a batch of 128 images: 0.smkd takes at most 64; compile it with --max-batch 128' \
    "$run" train "${common[@]}" --method dividemix "${pair[@]}" --batch-size 32 -o r
for i in $(seq 199); do echo $((i % 3 > 0)); done >short.txt
{ cat short.txt; echo 2; } >other.txt
{ cat short.txt; echo 1; } >trusted.txt
mixmatch=(--method mixmatch --peer 0.smkd --batch-size 16)
refuses 'mixmatch: which labels are believed is not said: give --trusted FILE with 1 or 0' "$run" train "${common[@]}" "${mixmatch[@]}" -o r
refuses 'short.txt' "$run" train "${common[@]}" "${mixmatch[@]}" --trusted short.txt -o r
refuses 'other.txt' "$run" train "${common[@]}" "${mixmatch[@]}" --trusted other.txt -o r
refuses 'absent.txt' "$run" train "${common[@]}" "${mixmatch[@]}" --trusted absent.txt -o r
[ ! -e r ] || fail "a refused run left a folder"

# A loss compiled beforehand is the method's; half of --max-batch is room enough for two views.
go plus --method sop+ --peer 0.smkd --batch-size 32 --epochs 1
grep -q '^note: 2 views of each row, which the networks see as one batch of up to 64 images' plus.log || fail "views are told: $(cat plus.log)"
"$smkdc" loss sop+ --classes 10 --peers 1 -o sop.smkd
go plus.file --loss sop.smkd --peer 0.smkd --batch-size 32 --epochs 1
cmp plus/last.safetensors plus.file/last.safetensors || fail "a loss of two views from a file trains otherwise"

# Two passes of six batches of 32 of 200 images, in groups of four and two, eight images left out.
passes=(--method elr+ "${pair[@]}" --batch-size 32 --drop-last --accumulate 4 --clip-grad-norm 0.5 --epochs 3 --ema-ramp 6 --noise symmetric:0.4)
go e "${passes[@]}"
go e.1 "${passes[@]}" --threads 1 -j 3
same_run e e.1
exec=exec go e.killed "${passes[@]}" &
pid=$!
for _ in $(seq 3000); do [ -s e.killed/metrics.jsonl ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o e.killed 2>e.log || fail "resumed: $(tail -n 1 e.log)"
same_run e e.killed
go e.unmixed "${passes[@]}" --mix-alpha 0
if cmp -s e/last.safetensors e.unmixed/last.safetensors; then fail "nothing was mixed"; fi

# A file says which labels are believed.
go m "${mixmatch[@]}" --trusted trusted.txt --epochs 1
grep -q 'network 0 believes 134 of 200 labels' m.log || fail "what is believed is told: $(cat m.log)"

# Fewer than a batch, which --drop-last leaves: an epoch has steps all the same.
for i in $(seq 200); do echo $((i < 4)); done >three.txt
go three "${mixmatch[@]}" --trusted three.txt --epochs 1 --drop-last
grep -q '"loss":[0-9]' three/metrics.jsonl || fail "an epoch without steps: $(cat three/metrics.jsonl)"

# Partners of mixed images: mixed likewise, by any number of threads.
go kd --method cs-kd --peer 0.smkd --batch-size 64 --epochs 2 --mixup-alpha 0.4
go kd.1 --method cs-kd --peer 0.smkd --batch-size 64 --epochs 2 --mixup-alpha 0.4 --threads 1 -j 3
same_run kd kd.1
echo ok
