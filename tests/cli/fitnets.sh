#!/usr/bin/env bash
# FitNets: while the hint alone is learnt nothing above the guided output moves, then the map to it stands still; two networks with two
# teachers; what is said where an output inside a network is missing, or does not fit.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
"$smkdc" new resnet8 --width 10 --input 1x28x28 --classes 10 --seed 7 -o t.onnx
"$smkdc" compile t.onnx -o plain.smkd
"$smkdc" compile t.onnx --tap /layer2/0/Relu_1=hint -o t.smkd
"$smkdc" compile t.onnx --tap /layer2/0/Relu_1=hint --tap /layer3/0/Relu_1=deep --tap /Flatten=rows -o many.smkd
"$smkdc" compile b.onnx --tap /layer2/0/Relu_1=guided -o b.smkd
"$smkdc" compile a.onnx --tap /layer2/0/Relu_1=mid -o a.smkd
"$smkdc" compile a.onnx -o bare.smkd
"$smkdc" compile a.onnx --tap /layer2/0/Relu_1 --tap /Flatten -o two.smkd
common=(--data fashion --train-limit 128 --test-limit 100 --batch-size 32 --seed 3)
fit() { "$run" train --method fitnets "${common[@]}" --epochs 2 "$@"; }

# Each network has its own teacher and its own map; at any number of threads, and with Adam.
pair=(--peer a.smkd --peer b.smkd --teacher t.smkd --teacher many.smkd --hint-epochs 1 --augment none --noise none)
fit "${pair[@]}" -o pair 2>pair.log || fail "$(tail -n 1 pair.log)"
fit "${pair[@]}" --threads 1 -o one 2>one.log
same_run pair one
fit "${pair[@]}" --regressor adam --opt adam -o adam 2>adam.log || fail "$(tail -n 1 adam.log)"
# The hint alone, with no decay that moves what has no gradient: then the same run with an epoch after it.
alone=(--peer b.smkd --teacher t.smkd --hint hint --weight-decay 0 --lr-scheduler constant --augment none --noise none)
fit "${alone[@]}" --hint-epochs 2 -o alone 2>alone.log || fail "$(tail -n 1 alone.log)"
"$run" train --method fitnets "${common[@]}" "${alone[@]}" --epochs 3 --hint-epochs 2 -o after 2>after.log || fail "$(tail -n 1 after.log)"
"$run" export alone --peer 0 --checkpoint last -o alone.onnx
python3 - <<'P' || fail "what moved and what did not"
import csv, json
import numpy as np

def read(run):
    raw = open(f"{run}/last.safetensors", "rb").read()
    n = int.from_bytes(raw[:8], "little")
    return {k: np.frombuffer(raw[8 + n:][d["data_offsets"][0]:d["data_offsets"][1]], np.float32)
            for k, d in json.loads(raw[8:8 + n]).items() if k != "__metadata__" and d["dtype"] == "F32"}
alone, after, pair, adam = (read(r) for r in ("alone", "after", "pair", "adam"))
momentum = {k.split(".", 2)[2]: v for k, v in alone.items() if k.startswith("momentum.")}
for k, v in momentum.items():  # layer3 and fc are above the guided output
    assert bool(np.any(v)) == (not k.startswith(("layer3", "fc"))), f"{k} has a gradient, or lacks one"
assert any(np.any(after[f"momentum.0.{k}"]) for k in momentum if k.startswith("fc"))
for name in ("weight", "bias"):
    assert np.array_equal(alone[f"state.regressor.{name}.0"], after[f"state.regressor.{name}.0"]), "the map moved after its time"
assert np.any(alone["state.regressor.bias.0"]) and np.any(alone["state.regressor.bias.velocity.0"])
bound = 1 / np.sqrt(12)  # of a map from 12 channels it began below that
assert 0.9 * bound < np.abs(alone["state.regressor.weight.0"]).max() < 2 * bound
assert pair["state.regressor.weight.0"].size == 16 * 20 and pair["state.regressor.weight.1"].size == 12 * 20
assert not np.array_equal(pair["state.regressor.weight.1"], alone["state.regressor.weight.0"])
# Four steps an epoch: 1 - 0.999^8, exactly enough that a quotient of two small numbers can be.
share = adam["state.regressor.weight.square.share.0"][0]
assert abs(share / (1 - 0.999 ** 8) - 1) < 1e-5, share
rows = list(csv.DictReader(open("after/metrics.csv")))
assert [float(r["regressor_lr"]) > 0 for r in rows] == [True, True, False], rows
far = [float(r["mean_hint_distance_0"]) for r in rows]
assert far[1] < far[0], f"the hint is not learnt: {far}"
P

no() { refuses "$@" --hint-epochs 1 -o no; [ ! -e no ] || fail "a folder"; }
no 'learns from a frozen network: give it with --teacher' fit --peer b.smkd
no 'inside the teacher of network 0, which has none beside its logits: compile it with smkdc compile --tap VALUE=hint' fit --peer b.smkd --teacher plain.smkd
no 'inside network 0, which has none beside its logits: compile it with smkdc compile --tap VALUE=guided' fit --peer bare.smkd --teacher t.smkd
no 'inside network 1, which has none' fit --peer b.smkd --peer bare.smkd --teacher t.smkd
no 'network 0 has several outputs beside its logits: /layer2/0/Relu_1_output_0, /Flatten_output_0; say which with --guided NAME' fit --peer two.smkd --teacher t.smkd
no '--hint gone: the teacher of network 0 has no such output; it has hint, deep, rows; make one with' fit --peer b.smkd --teacher many.smkd --hint gone
no '--guided gone: network 0 has no such output; it has guided; make one with' fit --peer b.smkd --teacher t.smkd --guided gone
no 'compares "teacher.0.deep" f32[N,40,7,7] with "tap.0.guided" f32[N,12,14,14], which may differ in their channels only' fit --peer b.smkd --teacher many.smkd --hint deep
no 'compares "teacher.0.rows" f32[N,40] with "tap.0.guided"' fit --peer b.smkd --teacher many.smkd --hint rows
no '--hint : expected a name' fit --peer b.smkd --teacher t.smkd --hint ''
no '--accumulate 2: the method fitnets couples the rows of a batch, or trains numbers of its own' fit --peer b.smkd --teacher t.smkd --accumulate 2
no '--hint belongs to other methods (fitnets), not to t2s' "$run" train "${few[@]}" --method t2s --hint x --peer b.smkd --teacher t.smkd

# A program made beforehand looks at what it was made for.
taps=(--tap 0.guided=12x14x14 --teacher-tap 0.hint=20x14x14)
"$smkdc" loss fitnets --classes 10 --peers 1 "${taps[@]}" -o L.smkd
"$run" train "${common[@]}" "${alone[@]}" --epochs 2 --hint-epochs 2 --method ./L.smkd -o made 2>made.log || fail "$(tail -n 1 made.log)"
cmp alone/last.safetensors made/last.safetensors || fail "a program made beforehand gave other bits"
made() { "$run" train "${few[@]}" --method ./L.smkd "$@"; }
no '/plain.smkd: there is no such output of that shape; make one with' made --peer b.smkd --teacher plain.smkd
no 'looks at "guided" of network 0, bare.smkd' made --peer bare.smkd --teacher t.smkd
no 'fitnets asks what a teacher says ("teacher.0' made --peer b.smkd
refuses '--teacher-tap 0hint=3: expected K.NAME=D' "$smkdc" loss fitnets --classes 10 --teacher-tap 0hint=3
"$smkdc" loss fitnets --classes 10 --peers 1 "${taps[@]}" --emit grad >grad.ir
grep -q 'output "state.regressor.weight.velocity.0"' grad.ir || fail "the rule of the map is not in the graph"

# As text it is a loss of the user's own, which looks into the teacher, too; the run's rate is the run's.
"$smkdc" emit-loss fitnets --peers 1 "${taps[@]}" >mine.ir
mine() { "$run" train "${common[@]}" --method mine.ir --epochs 1 --peer b.smkd --teacher t.smkd "$@"; }
mine --scalar temperature=2 --scalar epsilon=0.5 -o mine 2>mine.log || fail "$(tail -n 1 mine.log)"
refuses '--scalar lr: the run sets that itself, step by step' mine --scalar lr=1 -o no
echo ok
