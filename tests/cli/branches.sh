#!/usr/bin/env bash
# PCL: every branch and the classifier of all features are scored, in training, by eval and with the averages; averages speak at their sides to
# losses of the user's own, too; what is said where there are no heads.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
sides=(--head /Relu:byot --head /layer1/0/Relu_1:byot --seed 5)
"$smkdc" compile a.onnx "${sides[@]}" -o ha.smkd
"$smkdc" compile b.onnx "${sides[@]}" -o hb.smkd
"$smkdc" compile a.onnx --tap /layer2/0/Relu_1=head1 -o map.smkd
common=(--data fashion --train-limit 128 --test-limit 100 --batch-size 32 --seed 3 --augment none --noise none)
grow() { "$run" train --method pcl "${common[@]}" --epochs 2 --ramp 2 "$@"; }

grow --peer ha.smkd --peer hb.smkd -o two 2>two.log || fail "$(tail -n 1 two.log)"
grow --peer ha.smkd --peer hb.smkd --threads 1 -o one 2>one.log
same_run two one
grow --peer ha.smkd --classifier adam --opt adam --lr 0.001 -o adam 2>adam.log || fail "$(tail -n 1 adam.log)"
# Networks do not look at each other: alone the first is what it was beside another.
grow --peer ha.smkd -o alone 2>alone.log
"$run" eval two --json >two.json
"$run" eval two --ema --json >ema.json
"$run" eval two --checkpoint best >best.txt || fail "eval of best.safetensors"
for name in 'head1 0' 'head2 1' 'heads 0' ensemble; do grep -q "^$name " best.txt || { cat best.txt; fail "eval lacks $name"; }; done
python3 - <<'P' || fail "what was measured"
import csv, json
import numpy as np

def read(file):
    raw = open(file, "rb").read()
    n = int.from_bytes(raw[:8], "little")
    return {k: np.frombuffer(raw[8 + n:][d["data_offsets"][0]:d["data_offsets"][1]], np.float32)
            for k, d in json.loads(raw[8:8 + n]).items() if k != "__metadata__" and d["dtype"] == "F32"}
row = list(csv.DictReader(open("two/metrics.csv")))[-1]
for file, prefix in (("two.json", ""), ("ema.json", "ema_")):
    said = json.load(open(file))
    assert abs(said["ensemble"]["nll"] - float(row[f"ensemble_{prefix}test_nll"])) < 1e-6, file
    for k in (0, 1):
        for name in ("head1", "head2", "heads"):
            assert abs(said["peers"][k][name]["top1"] - float(row[f"{name}_{prefix}test_top1_{k}"])) < 1e-6, (file, k, name)
two, alone, best = read("two/last.safetensors"), read("alone/last.safetensors"), read("two/best.safetensors")
assert two["state.classifier.weight.0"].size == 10 * 3 * 32 and two["state.classifier.weight.1"].size == 10 * 3 * 24
assert np.array_equal(two["state.classifier.bias.0"], alone["state.classifier.bias.0"]), "another network has a say"
assert "state.classifier.bias.1" in best and not any("velocity" in k for k in best)
assert not np.array_equal(two["ema.0.fc.weight"], two["peer.0.fc.weight"]), "there is no average"
P

# Of the user's own: averages at their sides, and where nothing says how they decay.
"$smkdc" emit-loss pcl --peers 1 --tap 0.head1=10 --tap 0.head2=10 --tap 0.feat1=32 --tap 0.feat2=32 --tap 0.feat3=32 >mine.ir
grep -q 'input "average.0.head2"' mine.ir || fail "the averages' heads are not in the graph"
numbers=(--scalar ramp=2 --scalar temperature=3 --scalar distill_weight=1)
"$run" train --method mine.ir "${common[@]}" --epochs 2 "${numbers[@]}" --model-ema-decay 0.999 --peer ha.smkd -o mine 2>mine.log || fail "$(tail -n 1 mine.log)"
"$smkdc" emit-loss mean-teacher --peers 1 >past.ir
"$run" train --method past.ir "${common[@]}" --epochs 1 --scalar ramp=2 --scalar consistency=1 --peer ha.smkd -o past 2>past.log || fail "$(tail -n 1 past.log)"

no() { refuses "$@" -o no; [ ! -e no ] || fail "a folder"; }
no 'the method pcl needs heads at the sides of network 0 (outputs head1, head2, ...): make one with' grow --peer a.smkd
no 'the method pcl needs heads at the sides of network 1' grow --peer ha.smkd --peer b.smkd
no 'network 0: "head1" is not [N,10] as the logits are' grow --peer map.smkd
no '--accumulate 2: the method pcl couples the rows of a batch, or trains numbers of its own' grow --peer ha.smkd --accumulate 2
sed 's/"average.0"/"average.0.head1"/' past.ir >past2.ir
no 'looks at "head1" of the average of network 0, a.smkd: there is no such output' "$run" train --method past2.ir "${common[@]}" --epochs 1 --scalar ramp=2 --scalar consistency=1 --peer a.smkd
echo ok
