#!/usr/bin/env bash
# Several views of an image: each network of KDCL sees its own, the average of Mean teacher another than the network; the
# same bits at any number of threads and over kill and resume. KDCL's general ensemble is that of the validation images.
. "$SMKD_SRC/tests/tools/train.bash"
"$smkdc" new resnet8 --width 4 --input 1x28x28 --classes 10 --seed 0 -o a.onnx
"$smkdc" compile a.onnx -o a.smkd
"$smkdc" new resnet8 --width 4 --input 1x28x28 --classes 10 --seed 1 -o b.onnx
"$smkdc" compile b.onnx -o b.smkd
common=(--data fashion --train-limit 256 --test-limit 100 --batch-size 64 --seed 3)
go() { # DIR FLAGS...
    local dir=$1
    shift
    ${exec:-} "$run" train "${common[@]}" -o "$dir" "$@" 2>"$dir.log" || fail "$dir: $(tail -n 1 "$dir.log")"
}
twins() { local dir=$1; shift; go "$dir" --method kdcl --epochs 2 --peer a.smkd --peer a.smkd "$@"; }

# Networks that begin equal stay equal where they see the same, and only there.
twins same --augment crop-flip --views same
twins own --augment crop-flip
twins plain --augment none
twins plain.same --augment none --views same
same_run plain plain.same
python3 - <<'P'
import json
def networks(d):
    b = open(f"{d}/last.safetensors", "rb").read()
    n = int.from_bytes(b[:8], "little")
    at = {k: v["data_offsets"] for k, v in json.loads(b[8:8 + n]).items() if k.startswith("peer.")}
    return [{k[7:]: b[8 + n + v[0]:8 + n + v[1]] for k, v in at.items() if k.startswith(f"peer.{p}.")} for p in (0, 1)]
for d, equal in ("same", True), ("plain", True), ("own", False):
    one, two = networks(d)
    assert one and one.keys() == two.keys() and (one == two) == equal, d
P
grep -q '^note: 2 views of each image' own.log || fail "views are told: $(cat own.log)"
grep -q 'views of each image' same.log plain.log && fail "one view is told"
grep -q 'start with the same weights' own.log && fail "networks with views of their own are told to be one"
for r in same plain; do grep -q 'start with the same weights' $r.log || fail "$r: networks that are one are not told"; done

# View 0 is what there is without others: an average that is not listened to may see what it likes.
teacher() { local dir=$1; shift; go "$dir" --method mean-teacher --epochs 1 --peer a.smkd --augment crop-flip --ramp 1 "$@"; }
teacher deaf --consistency 0
teacher deaf.same --consistency 0 --views same
same_run deaf deaf.same
teacher hears
teacher hears.same --views same
! cmp -s hears/last.safetensors hears.same/last.safetensors || fail "the average sees what its network sees"

# Strong views are others than the run's own, in the stage that has them; the same bits at any number of threads and over a kill.
star() { local dir=$1; shift; go "$dir" --method cores-star --peer a.smkd --augment crop-flip --sieve-epochs 1 --epochs 2 --uda-confidence 0.1 "$@"; }
star strong --strong-augment ra
star weak --strong-augment none
star strong.1 --strong-augment ra --threads 1 -j 3
same_run strong strong.1
! cmp -s strong/last.safetensors weak/last.safetensors || fail "strong views are as the others"
diff <(without_times strong | head -n 1) <(without_times weak | head -n 1) || fail "strong views before there are any"
exec=exec star killed --strong-augment ra &
pid=$!
for _ in $(seq 3000); do
    if [ -e killed/metrics.jsonl ] && [ "$(wc -l <killed/metrics.jsonl)" -ge 2 ]; then break; fi
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>killed.log || fail "resumed: $(tail -n 1 killed.log)"
same_run strong killed

# The general ensemble, of mixed images: any number of threads, and killed behind its first epoch.
general=(--method kdcl --kdcl-mode general --val-split 0.25 --peer a.smkd --peer b.smkd --augment crop-flip --cutmix-alpha 1 --epochs 3)
go g "${general[@]}"
go g.1 "${general[@]}" --threads 1 -j 3
same_run g g.1
exec=exec go g.killed "${general[@]}" &
pid=$!
for _ in $(seq 3000); do [ -s g.killed/metrics.jsonl ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o g.killed 2>g.log || fail "resumed: $(tail -n 1 g.log)"
same_run g g.killed
refuses '--resume goes on with the configuration the run began with' "$run" train --resume -o g --views same

# Two classes and one image: all p follow from what the epoch before measured on the validation images.
python3 - <<'P'
import numpy as np
x = np.random.default_rng(0).normal(size=(1, 1, 28, 28)).astype(np.float32)
for part, n in (("train", 64), ("test", 8)):
    np.save(f"{part}_x.npy", np.repeat(x, n, 0))
    np.save(f"{part}_y.npy", np.arange(n) % 2 * 0)
P
for k in 0 1; do
    "$smkdc" new resnet8 --width 4 --input 1x28x28 --classes 2 --seed $k -o two.onnx
    "$smkdc" compile two.onnx -o two.$k.smkd
done
common=(--data train_x.npy,train_y.npy,test_x.npy,test_y.npy --epochs 2 --batch-size 20 --seed 3 --lr 0.003)
go one --method kdcl --kdcl-mode general --val-split 0.4 --peer two.0.smkd --peer two.1.smkd
python3 - <<'P'
import csv, json, math, struct
rows = list(csv.DictReader(open("one/metrics.csv")))
b = open("one/last.safetensors", "rb").read()
n = int.from_bytes(b[:8], "little")
def state(name):
    t = json.loads(b[8:8 + n])[name]
    lo, hi = t["data_offsets"]
    return struct.unpack(f"<{(hi - lo) // 4}f", b[8 + n + lo:8 + n + hi])
assert state("state.rows") == (26,), state("state.rows")
off = [1 - math.exp(-float(rows[0][f"val_nll_{k}"])) for k in (0, 1)] # of the label; of the other class as much
want = [2 * 26 * off[i] * off[j] for i in (0, 1) for j in (0, 1)]
assert all(abs(x - y) < 1e-3 * y for x, y in zip(state("state.gram"), want)), (state("state.gram"), want)
w = [[float(r[f"ensemble_weight_{k}"]) for k in (0, 1)] for r in rows]
g = [x / 26 for x in want]
first = (g[3] + 1e-6 - g[1]) / (g[0] + g[3] - 2 * g[1] + 2e-6)
assert w[0] == [.5, .5] and abs(w[1][0] - first) < 1e-2 * abs(first) and abs(sum(w[1]) - 1) < 1e-5 * abs(first), (w, first)
P
echo ok
