#!/usr/bin/env bash
# Methods that look at the networks' feature maps. FFL: the classifier of all maps learns, predicts for the ensemble and is in both
# checkpoints; three networks; Nesterov's momentum is the run's. AFD: discriminators learn by a loss of their own. What is said where a map is
# missing, or does not fit.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
"$smkdc" compile a.onnx --tap /layer3/0/Relu_1=feature -o fa.smkd
"$smkdc" compile b.onnx --tap /layer3/0/Relu_1=last -o fb.smkd
"$smkdc" compile b.onnx --tap /layer2/0/Relu_1=feature --tap /layer3/0/Relu_1=last -o many.smkd
"$smkdc" compile b.onnx --tap /Flatten=feature -o rows.smkd
common=(--data fashion --train-limit 128 --test-limit 100 --batch-size 32 --seed 3 --augment none --noise none)
fuse() { "$run" train --method ffl "${common[@]}" --epochs 2 --ramp 2 "$@"; }
pair=(--peer fa.smkd --peer fb.smkd)

fuse "${pair[@]}" -o two 2>two.log || fail "$(tail -n 1 two.log)"
fuse "${pair[@]}" --threads 1 -o one 2>one.log
same_run two one
fuse --peer many.smkd --peer fb.smkd --peer fb.smkd --feature last --fusion adam --opt adam -o three 2>three.log || fail "$(tail -n 1 three.log)"
fuse "${pair[@]}" --nesterov -o ahead 2>ahead.log || fail "$(tail -n 1 ahead.log)"
python3 - <<'P' || fail "what is in the checkpoints"
import json
import numpy as np

def read(file):
    raw = open(file, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    return {k: np.frombuffer(raw[8 + n:][d["data_offsets"][0]:d["data_offsets"][1]], np.float32)
            for k, d in json.loads(raw[8:8 + n]).items() if k.startswith("state.")}
two, best, three, ahead = (read(f) for f in ("two/last.safetensors", "two/best.safetensors", "three/last.safetensors", "ahead/last.safetensors"))
assert two["state.fusion.depth.weight"].size == (32 + 24) * 9 and two["state.fusion.point.weight"].size == 28 * 56, "its size"
assert three["state.fusion.depth.weight"].size == 72 * 9 and three["state.fusion.fc.weight.square"].size == 10 * 24, "that of three"
assert np.all(two["state.fusion.depth.running_var"] != 1) and np.any(two["state.fusion.fc.bias"]), "nothing was learnt"
assert not any("velocity" in k for k in best) and set(best) == {k for k in two if "velocity" not in k}, sorted(best)
assert not np.array_equal(ahead["state.fusion.fc.weight"], two["state.fusion.fc.weight"]), "Nesterov's momentum"
P

# What eval says of a checkpoint is what the run said of it.
for which in last best; do
    "$run" eval two --checkpoint $which --json >$which.json
    python3 - $which <<'P' || fail "eval --checkpoint $which"
import csv, json, sys
rows = list(csv.DictReader(open("two/metrics.csv")))
row = rows[-1] if sys.argv[1] == "last" else max(rows, key=lambda r: float(r["ensemble_test_top1"]))
said = json.load(open(f"{sys.argv[1]}.json"))
for name in ("top1", "nll"):
    for got, want in ((said["ensemble"][name], row[f"ensemble_test_{name}"]), (said["peers"][1][name], row[f"test_{name}_1"])):
        assert abs(got - float(want)) < 1e-6, (name, got, want)
P
done
"$run" methods ffl >what.txt
grep -q '^Inside: a feature map inside each network' what.txt && ! grep -q '^Heads: ' what.txt || fail "methods ffl"

no() { refuses "$@" -o no; [ ! -e no ] || fail "a folder"; }
no 'inside network 1, which has none beside its logits: compile it with smkdc compile --tap VALUE=feature' fuse --peer fa.smkd --peer b.smkd
no '--feature last: network 0 has no such output; it has feature; make one with smkdc compile --tap VALUE=last' fuse "${pair[@]}" --feature last
no 'looks at "tap.1.feature" f32[N,12,14,14] beside "tap.0.feature" f32[N,32,7,7]; take outputs [N,C,H,W] of one height and width' fuse --peer fa.smkd --peer many.smkd
no 'looks at "tap.1.feature" f32[N,24] beside' fuse --peer fa.smkd --peer rows.smkd
no 'the method ffl takes at least 2 networks' fuse --peer fa.smkd
no '--accumulate 2: the method ffl couples the rows of a batch, or trains numbers of its own' fuse "${pair[@]}" --accumulate 2

# AFD: the discriminators learn what tells the two apart where nobody works against them, at a rate of their own.
judge() { "$run" train --method afd "${common[@]}" --epochs 3 "$@"; }
judge "${pair[@]}" --adversarial-weight 0 --discriminator-lr 0.01 -o judge 2>judge.log || fail "$(tail -n 1 judge.log)"
judge "${pair[@]}" --adversarial-weight 0 --discriminator-lr 0.01 --threads 1 -o judge.one 2>judge.one.log
same_run judge judge.one
judge "${pair[@]}" --adversarial-weight 0 --discriminator-lr 0 -o still 2>still.log
judge "${pair[@]}" --peer fa.smkd --transfer adam --opt adam --lr 0.001 -o ring 2>ring.log || fail "$(tail -n 1 ring.log)"
python3 - <<'P' || fail "what the discriminators learn"
import csv, json

def last(run):
    return list(csv.DictReader(open(f"{run}/metrics.csv")))[-1]
def shapes(run):
    raw = open(f"{run}/last.safetensors", "rb").read()
    return {k: v["shape"] for k, v in json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")]).items() if k != "__metadata__"}
for k in (0, 1):
    assert float(last("judge")[f"discriminator_loss_{k}"]) < 0.8 * float(last("still")[f"discriminator_loss_{k}"]), (k, last("judge"), last("still"))
    assert float(last("judge")[f"loss_{k}"]) == float(last("still")[f"loss_{k}"]), "a discriminator moved a network at the weight 0"
ring = shapes("ring")
assert ring["state.transfer.weight.0"] == [24, 32, 1, 1] and ring["state.transfer.weight.2"] == [32, 32, 1, 1], ring
assert ring["state.discriminator.conv.weight.1"] == [64, 32, 3, 3], ring
P
no 'the method afd looks at an output inside network 1, which has none beside its logits: compile it with' judge --peer fa.smkd --peer b.smkd
no 'looks at "tap.1.feature" f32[N,12,14,14] beside "tap.0.feature" f32[N,32,7,7]' judge --peer fa.smkd --peer many.smkd
no '--accumulate 2: the method afd couples the rows of a batch, or trains numbers of its own' judge "${pair[@]}" --accumulate 2
echo ok
