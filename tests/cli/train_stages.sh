#!/usr/bin/env bash
# What happens between epochs: Blind's tipping point and groups, estimated and given transition matrices, mixtures of losses;
# each as numpy has it from the tables of the checkpoint, and the same after a kill.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
common=(--threads 1 --data fashion --train-limit 384 --test-limit 100 --augment none --noise symmetric:0.4 --seed 3)
batch=(--batch-size 64)

cat >tables.py <<'P'
import json, struct, sys
import numpy as np
def load(run):
    raw = open(f"{run}/last.safetensors", "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    kind = {"F32": np.float32, "F64": np.float64, "I64": np.int64}
    return {k: np.frombuffer(raw, kind[v["dtype"]], offset=8 + n + v["data_offsets"][0], count=int(np.prod(v["shape"]))).reshape(v["shape"])
            for k, v in head.items() if k != "__metadata__"}
P

# --- Blind: what is kept until the epoch in which the tipping point is known says the groups ------------------------------
blind=(--threads 1 --peer a.smkd --peer b.smkd --data fashion --train-limit 128 --test-limit 100 --augment none --noise symmetric:0.4 --seed 3
    --batch-size 16 --lr 0.1 --lr-scheduler constant)
for method in blind blind-paper; do
    "$run" train "${blind[@]}" --method $method --epochs 16 -o whole.$method 2>whole.log
    tip=$(sed -n 's/.*epoch \([0-9]*\) was the tipping point.*/\1/p' whole.log)
    [ -n "$tip" ] || { cat whole.log; fail "$method: no tipping point in 16 epochs"; }
    known=$((tip + 2 > 6 ? tip + 2 : 6))
    "$run" train "${blind[@]}" --method $method --epochs $known -o $method 2>$method.log
    python3 - $method $tip $known <<'P'
import csv, re, sys
import numpy as np
from tables import load
method, tip, known = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
pmax = [float(r["mean_confidence_1"]) for r in csv.DictReader(open(f"{method}/metrics.csv"))]
found = [i for i in range(2, len(pmax) - 2) if all(pmax[i] > pmax[j] for j in (i - 2, i - 1, i + 1, i + 2))]
assert found and found[0] == tip - 1 and max(found[0] + 2, 5) == known - 1, f"{method}: {tip}, numpy has {found} of {pmax}"
t = load(method)
v = t["table.agree"][:, tip % 4].astype(float)
bins = np.clip((v * 1000).astype(int), 0, 999) / 1000
paper = method == "blind-paper"
best = None
for k in range(1 if paper else 2, 1000 if paper else 998):
    low, high = bins[bins < k / 1000], bins[bins >= k / 1000]
    if not len(low) or not len(high):
        continue
    spread = (lambda x: x.var()) if paper else (lambda x: np.sqrt(max(x.var(), 1e-5)))
    q = (len(low) * (low.mean() - v.mean()) ** 2 + len(high) * (high.mean() - v.mean()) ** 2) / max(len(low) * spread(low) + len(high) * spread(high), 1e-300)
    if best is None or q > best[0] * (1 + 1e-12):
        best = q, k / 1000
s = best[1]
mu1, mu2 = v[v < s].mean(), v[v >= s].mean()
said = [float(x) for x in re.search(r"mu1 ([\d.]+), s ([\d.]+), mu2 ([\d.]+)", open(f"{method}.log").read()).groups()]
assert max(abs(np.array(said) - (mu1, s, mu2))) < 2e-3, f"{method}: {said}, numpy has {mu1, s, mu2}"
mu1, s, mu2 = said
sure = (abs(v[:, None] - np.array([mu1, s, mu2])) > 2e-3).all(axis=1)
want = np.where(v >= mu2, 1, np.where(v >= s, 2, np.where(v >= mu1, 3, 4)))
assert (t["table.group"][sure] == want[sure]).all() and sure.sum() > 100, f"{method}: other groups"
P
done
# Killed before that epoch, it is the same run.
"$run" train "${blind[@]}" --method blind --epochs 16 -o killed 2>killed.log &
pid=$!
for _ in $(seq 3000); do
    if [ -e killed/metrics.jsonl ] && [ "$(wc -l <killed/metrics.jsonl)" -ge 4 ]; then break; fi
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>resumed.log
same_run whole.blind killed

# --- transition matrices ---------------------------------------------------------------------------------------------------
for method in forward dual-t; do
    "$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method $method --estimate-epochs 3 --epochs 2 --lr 0.05 -o $method 2>$method.log
    grep -q 'labels are taken to be right with probability 0\.' $method.log || { cat $method.log; fail "$method says nothing of its matrix"; }
    python3 - $method <<'P'
import sys
import numpy as np
from tables import load
t = load(sys.argv[1])
p, labels = t["table.said.0"].astype(float), np.load(f"{sys.argv[1]}/labels.npy")
c = p.shape[1]
rows = []
for i in range(c):
    q = p[:, i].copy()
    q[q >= np.percentile(q, 97, method="higher")] = 0
    rows.append(p[np.argmax(q)])
want = np.array(rows)
if sys.argv[1] == "dual-t":
    b = np.zeros((c, c))
    np.add.at(b, (p.argmax(axis=1), labels), 1)
    want = want @ (b / np.maximum(b.sum(axis=1, keepdims=True), 1))
assert abs(t["state.transition.0"] - want).max() < 1e-6, "another matrix"
P
done
python3 -c "import numpy as np; np.save('t.npy', .6 * np.eye(10) + .04)"
"$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method forward --estimator given --state transition=t.npy --epochs 2 -o given 2>given.log
[ "$(wc -l <given/metrics.jsonl)" = 2 ] || fail "a given matrix is estimated all the same"
refuses '--estimator given: the matrix is missing' "$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method forward --estimator given --epochs 2 -o no
[ ! -e no ] || fail "a refused run left a folder"
refuses 'expected NAME=FILE' "$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method forward --state transition --epochs 2 -o no
refuses 'has no such state' "$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method forward --state other=t.npy --epochs 2 -o no
python3 -c "import numpy as np; np.save('small.npy', np.eye(9))"
refuses 'has not the shape of the state "state.transition.0", [10,10]' "$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method forward --state transition=small.npy --epochs 2 -o no

# --- mixtures of losses ----------------------------------------------------------------------------------------------------
"$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method m-correction --mixture-start 3 --epochs 4 --lr 0.05 -o betas 2>betas.log
python3 - <<'P'
import math
import numpy as np
from tables import load
t = load("betas")
x, wrong = t["table.loss.0"].astype(float), t["table.wrong.0"]
low, high = np.quantile(x, [.05, .95])
x = np.clip((np.clip(x, low, high) - low) / (high - low), 1e-4, 1 - 1e-4)
log_beta = lambda a, b: math.lgamma(a) + math.lgamma(b) - math.lgamma(a + b)
a, b, w = np.array([1., 2]), np.array([2., 1]), np.array([.5, .5])
def posterior():
    d = [np.exp((a[k] - 1) * np.log(x) + (b[k] - 1) * np.log(1 - x) - log_beta(a[k], b[k])) * w[k] for k in (0, 1)]
    d = np.maximum(d, 1e-12)
    return d / d.sum(axis=0)
for _ in range(10):
    r = posterior()
    mean = (r * x).sum(axis=1) / r.sum(axis=1)
    var = (r * (x - mean[:, None]) ** 2).sum(axis=1) / r.sum(axis=1)
    a = mean * (mean * (1 - mean) / var - 1)
    b = a * (1 - mean) / mean
    w = r.sum(axis=1) / r.sum()
want = posterior()[1]
assert abs(wrong - want).max() < 1e-4, abs(wrong - want).max()
P

# --- parts that begin anew and are trained alone -----------------------------------------------------------------------------
# In the last stage nothing moves but running statistics, so that the parts end as their stages have left them.
still=(--peer a.smkd "${common[@]}" "${batch[@]}" --weight-decay 0 --lr-scheduler constant --lr 1e-30)
pes() { # DIR FLAGS...
    local dir=$1 pair flags=()
    shift
    for pair in "--early-epochs 1" "--late-epochs 1" "--last-epochs 1" "--refine-lr 0.05"; do
        case " $* " in *" ${pair% *} "*) ;; *) flags+=("${pair% *}" "${pair#* }") ;; esac
    done
    ${exec:-} "$run" train "${still[@]}" --method pes-cs --early-lr 0.05 --epochs 1 -o "$dir" "${flags[@]}" "$@" 2>"$dir.log" ||
        fail "$dir: $(tail -n 1 "$dir.log")"
}
refuses '--late-part other.*: a.smkd has no trained parameter of such a name; there are ' \
    "$run" train "${still[@]}" --method pes-cs --late-part 'other.*' --epochs 1 -o no
refuses '--last-part no;fc: a.smkd has no trained parameter' "$run" train "${still[@]}" --method pes-semi --last-part 'no;fc' --epochs 1 -o no
[ ! -e no ] || fail "a refused run left a folder"
"$run" train "${still[@]}" --method ce --epochs 1 -o first 2>first.log
parts=(--late-part 'layer3.*;fc.*' --last-part 'fc.*')
pes parts "${parts[@]}"
pes words
same_run parts words # last-stage and last-layer
pes late "${parts[@]}" --late-epochs 2
pes last "${parts[@]}" --last-epochs 2
pes unmoved "${parts[@]}" --refine-lr 1e-30
pes early "${parts[@]}" --refine-lr 1e-30 --early-epochs 2
python3 - <<'P'
import numpy as np
from tables import load
numbers = lambda run: {k[7:]: v for k, v in load(run).items() if k.startswith("peer.0.") and "running" not in k and "num_batches" not in k}
first, parts, late, last, unmoved, early = map(numbers, ("first", "parts", "late", "last", "unmoved", "early"))
for name, v in parts.items():
    same = lambda other: v.tobytes() == other[name].tobytes()
    of_late, of_last = name.startswith(("layer3.", "fc.")), name.startswith("fc.")
    # The last part begins anew after the late one, whose stage it was in: of that nothing is left but what the others have become.
    assert same(late) != of_late, f"{name}: a longer stage of layer3 and fc"
    assert same(last) != of_last, f"{name}: a longer stage of fc"
    assert same(unmoved) != of_late, f"{name}: stages in which nothing moves"
    # With the first numbers in another order, whatever the early epochs were; only a bias of 0 has moved at all.
    close = lambda a, b: np.abs(a - b).max() < 1e-20
    assert close(np.sort(unmoved[name].ravel()), np.sort(first[name].ravel())) == of_late, f"{name}: other numbers than the first"
    assert close(unmoved[name], early[name]) == of_late, f"{name}: what is left of the early epochs"
    assert not of_late or v.ndim < 2 or not close(unmoved[name], first[name]), f"{name}: in the first order"
P
# Killed inside the stage of the late part, it is the same run.
pes long "${parts[@]}" --late-epochs 3
exec=exec pes long.killed "${parts[@]}" --late-epochs 3 &
pid=$!
for _ in $(seq 3000); do
    if [ -e long.killed/metrics.jsonl ] && [ "$(wc -l <long.killed/metrics.jsonl)" -ge 2 ]; then break; fi
    sleep 0.02
done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume --threads 2 -o long.killed 2>resumed.log || fail "$(tail -n 1 long.killed.log resumed.log)"
same_run long long.killed

# --- what the rows say of themselves ---------------------------------------------------------------------------------------
"$run" methods joint | grep '^Stage 1: relabel, --relabel-epochs, --relabel-lr' >/dev/null || fail "joint tells no stages"
refuses '--patience' "$run" train --peer a.smkd "${common[@]}" "${batch[@]}" --method joint --patience 2 --epochs 2 -o no
"$run" train --peer a.smkd "${common[@]}" --method dmi --pretrain-epochs 1 --epochs 1 --batch-size 16 -o dmi 2>dmi.log
grep -q 'of 100 batches of 16 images have all 10 classes' dmi.log || { cat dmi.log; fail "no word of batches without a class"; }
echo "ok: stages"
