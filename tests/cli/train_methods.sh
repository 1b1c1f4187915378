#!/usr/bin/env bash
# Every method of the catalogue: two epochs end with finite numbers, each network above chance; killed and resumed on two threads
# they give the same bits as on one thread in one go. By hand: names of methods, which alone are tried.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
"$smkdc" new resnet8 --width 8 --input 1x28x28 --classes 10 --seed 7 -o teacher.onnx
"$smkdc" compile teacher.onnx --tap /layer2/0/Relu_1=hint -o teacher.smkd
common=(--data fashion --mean 0.286 --std 0.353 --train-limit 512 --test-limit 1000 --augment crop-flip --noise symmetric:0.4 --epochs 2 --batch-size 32 --seed 3)
"$run" train --peer teacher.smkd --method ce "${common[@]}" -o teach 2>teach.log
python3 - <<'P' # numbers to learn, as many as the networks have outputs: how bright an image and its halves are, mixed
import numpy as np
mix = np.random.default_rng(0).normal(size=(3, 10))
for part, file, n in (("train", "train", 512), ("test", "t10k", 128)):
    with open(f"fashion/{file}-images-idx3-ubyte", "rb") as f:
        x = np.frombuffer(f.read(16 + n * 784), np.uint8, offset=16).reshape(n, 1, 28, 28)
    bright = np.stack([v.mean(axis=(1, 2, 3)) for v in (x, x[..., :14], x[:, :, :14])], axis=1) / 64 - 1
    np.save(f"{part}_x.npy", x)
    np.save(f"{part}_y.npy", (bright @ mix).astype(np.float32))
P

for i in $(seq 512); do echo $((i % 3 > 0)); done >trusted.txt
"$smkdc" compile a.onnx --head /Relu:byot --head /layer1/0/Relu_1:byot --head /layer2/0/Relu_1:byot --seed 5 -o heads.smkd
"$smkdc" compile b.onnx --tap /layer2/0/Relu_1=guided -o inside.smkd
"$smkdc" compile a.onnx --tap /layer2/0/Relu_1=guided -o inside_too.smkd

# What a method needs beside the common flags.
flags_of() {
    case $1 in
    mse | l1 | huber) echo "--data train_x.npy,train_y.npy,test_x.npy,test_y.npy --epochs 2 --batch-size 32 --seed 3 --lr 0.05" ;;
    forward | dual-t | t-revision) echo "${common[*]/symmetric:0.4/symmetric:0.2}" ;; # whose last stage begins anew, with a guess at the noise
    *) echo "${common[*]}" ;;
    esac
    case $1 in # what two epochs would not reach
    gce-truncated) echo "--prune-start 2 --prune-every 1" ;;
    cores) echo "--cores-beta 0.5 --cores-warmup 0 --cores-ramp 2 --sieve-after 1" ;;
    peer-loss) echo "--peer-alpha 0.3" ;;
    forward | dual-t | t-revision) echo "--estimate-epochs 6" ;;
    m-correction) echo "--mixture-start 2" ;;
    joint) echo "--relabel-epochs 2 --relabel-lr 0.1 --relabel-start 2" ;;
    cal) echo "--cal-start 1 --cal-warmup 0 --cal-ramp 2 --cal-threshold -1" ;;
    dmi) echo "--dmi-lr 0.01" ;;
    temporal-ensembling | mean-teacher | ffl | pcl) echo "--ramp 2" ;;
    fitnets) echo "--hint-epochs 1" ;;
    afd) echo "--discriminator-lr 1e-3" ;;
    cores-star) echo "--sieve-epochs 2 --cores-beta 0.5 --cores-warmup 0 --cores-ramp 2 --sieve-after 1" ;;
    pes-cs) echo "--early-epochs 2 --late-epochs 2 --last-epochs 2" ;;
    pes-semi) echo "--early-epochs 2 --last-epochs 2" ;;
    dividemix) echo "--semi-warmup 1" ;;
    mixmatch) echo "--trusted trusted.txt" ;;
    esac
    if grep -q '^Teacher: ' "what.$1"; then echo "--teacher teach"; fi
}

n=0
while read -r name least _; do
    case " ${*:-$name} " in *" $name "*) ;; *) continue ;; esac
    "$run" methods "$name" >"what.$name"
    read -ra flags <<<"$(flags_of "$name" | tr '\n' ' ')"
    peers=(--peer a.smkd)
    if grep -q '^Heads: ' "what.$name"; then peers=(--peer heads.smkd); fi
    other=b.smkd
    if grep -q '^Inside: ' "what.$name"; then peers=(--peer inside.smkd) other=inside_too.smkd; fi
    case $least in 2*) peers+=(--peer "$other") ;; esac
    go() { ${exec:-} "$run" train "${peers[@]}" --method "$name" "${flags[@]}" "$@"; }
    go --threads 1 -o "$name" 2>"$name.first" || fail "$name: $(tail -n 1 "$name.first")"
    exec=exec go --threads 1 -o "$name.killed" 2>"$name.log" &
    pid=$!
    for _ in $(seq 3000); do [ -s "$name.killed/metrics.jsonl" ] && break; sleep 0.02; done
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    "$run" train --resume --threads 2 -o "$name.killed" 2>"$name.log" || fail "$name, resumed: $(tail -n 1 "$name.log")"
    same_run "$name" "$name.killed"
    rounds=$(sed -n 's/^Rounds: \([0-9]*\) of.*/\1/p' "what.$name")
    stages=$(grep -c '^Stage ' "what.$name" || true)
    [ "$stages" = 0 ] || rounds=$stages
    epochs=$(sed -n 's|^epoch [0-9]*/\([0-9]*\) .*|\1|p' "$name.first" | tail -n 1)
    [ "$epochs" -ge $((2 * ${rounds:-1})) ] || fail "$name: $epochs epochs in ${rounds:-1} stages"
    python3 - "$name" "$epochs" <<'P'
import csv, math, re, sys
name, epochs = sys.argv[1], int(sys.argv[2])
rows = list(csv.DictReader(open(f"{name}/metrics.csv")))
assert len(rows) == epochs, f"{name}: {len(rows)} epochs"
# Nothing stands where there is no number: of validation images, of noise that is not there, for ALL's threshold.
for k, v in rows[-1].items():
    empty = "val_" in k or k.startswith("noise_recall") or (k == "threshold" and name == "all")
    assert (empty and v == "") or math.isfinite(float(v or "nan")), f"{name}: {k} is {v or 'no finite number'}"
of = lambda what: [float(v) for k, v in rows[-1].items() if re.fullmatch(what + r"_\d+", k)]
# Of 1000 images in ten classes chance is 10 %, its standard error 0.95; of numbers it is their variance.
top, explained = of("test_top1"), of("test_r2")
assert top or explained, f"{name}: nothing was measured"
# Blind's student learns what its teacher says off the label, and answers together with it.
if name.startswith("blind"): top = [top[0], float(rows[-1]["ensemble_test_top1"])]
assert all(v > 10 + 3 * 0.95 for v in top), f"{name}: accuracies are {top}: no better than chance"
print(f"{name}: {top or explained}")
assert all(v > 0 for v in explained), f"{name}: further off than the mean of the numbers, R2 is {explained}"
P
    rm -rf "$name" "$name.killed"
    n=$((n + 1))
done < <("$run" methods)
[ $n -gt 40 ] || [ $# -gt 0 ] || fail "only $n methods"
echo "ok: $n methods"
