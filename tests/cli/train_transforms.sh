#!/usr/bin/env bash
# torchvision's flags on images of one size: the same bits on one and two threads and after a kill, kept in the run folder for eval, and refused
# where they make no sense. What they compute is compared with torchvision in tests/oracle/test_transforms.py.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers

flags=(--crop plain --pad 3 --pad-mode reflect --hflip-prob 0.3 --auto-augment ta_wide --color-jitter 0.2,0.2,0.2,0.05 --random-erase 0.3 --cutout 6)
train "${flags[@]}" --threads 1 --epochs 2 -o one 2>one.log
train "${flags[@]}" --threads 2 --epochs 2 -o two 2>two.log
same_run one two
train --threads 2 --epochs 2 -o plain 2>plain.log
! cmp -s one/last.safetensors plain/last.safetensors || fail "the flags changed nothing"
train "${flags[@]/ta_wide/augmix}" --epochs 2 --augmix-severity 5 -o augmix 2>augmix.log
! cmp -s one/last.safetensors augmix/last.safetensors || fail "another policy changed nothing"

mixed=(--mixup-alpha 0.2 --cutmix-alpha 1 --random-erase 0.2)
train "${mixed[@]}" --threads 1 --epochs 1 -o mixed_one 2>mixed.log
train "${mixed[@]}" --threads 2 --epochs 1 -o mixed_two 2>mixed.log
same_run mixed_one mixed_two
train --random-erase 0.2 --threads 2 --epochs 1 -o unmixed 2>mixed.log
! cmp -s mixed_one/last.safetensors unmixed/last.safetensors || fail "mixing changed nothing"
"$smkdc" loss smkd-p --classes 10 -o plain.smkd
refuses 'has no labels of mixed images; make it with smkdc loss --mixed' train --loss plain.smkd --mixup-alpha 0.2 --epochs 1 -o r
"$smkdc" loss smkd-p --classes 10 --mixed -o mixed.smkd
refuses 'takes labels of mixed images; give --mixup-alpha or --cutmix-alpha' train --loss mixed.smkd --epochs 1 -o r
refuses 'learns numbers' "$run" train --peer a.smkd "${few[@]}" --method mse --mixup-alpha 0.2 -o r
rm -rf r

exec=exec train "${flags[@]}" --threads 2 --epochs 2 -o killed 2>killed.log &
pid=$!
for _ in $(seq 600); do [ -s killed/metrics.jsonl ] && break; sleep 0.05; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>resumed.log
same_run one killed
refuses '--cutout 8 (was 6)' "$run" train --resume -o killed --cutout 8

# Images of another size than the network's: resized in training and in evaluation, which eval does as the run did.
"$smkdc" new resnet8 --width 8 --input 1x20x20 --classes 10 -o s.onnx
"$smkdc" compile s.onnx -o s.smkd
refuses 'the model takes 20x20 pixels, the images have 28x28' "$run" train --peer s.smkd --peer s.smkd "${few[@]}" -o s
"$run" train --peer s.smkd --peer s.smkd "${few[@]}" --crop resized --augment crop --val-resize-size 22 --epochs 1 -o s 2>s.log
"$run" eval s --json >s.json
python3 - <<'END' || fail "eval of a run with other images: $(cat s.json)"
import json
run = json.loads(open("s/metrics.jsonl").read().splitlines()[-1])
now = json.load(open("s.json"))
assert abs(now["peers"][0]["top1"] - run["peers"][0]["test_top1"]) < 1e-9, (now, run)
END

refuses '--ra-magnitude 5: goes with --auto-augment ra' train --ra-magnitude 5 -o r
refuses '--pad 4: goes with --crop plain' train --crop resized --pad 4 -o r
refuses '--train-crop-size 24: the model takes 28x28' train --train-crop-size 24 -o r
refuses '--auto-augment strong: expected one of none, ra, ta_wide, augmix, imagenet, cifar10, svhn' train --auto-augment strong -o r
refuses '--color-jitter 0.1,x' train --color-jitter 0.1,x -o r
refuses '--hflip-prob 2' train --hflip-prob 2 -o r
[ ! -e r ] || fail "a refused run left a folder"
echo ok
