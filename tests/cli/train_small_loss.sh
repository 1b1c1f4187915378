#!/usr/bin/env bash
# Methods that train on rows of small loss: as many rows as the schedule of each epoch says, which are counted by hand here;
# more right labels among them than among all; what they remember resumes.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
"$smkdc" new resnet8 --width 7 --input 1x28x28 --classes 10 --seed 2 -o c.onnx
"$smkdc" compile c.onnx -o c.smkd
go() {
    local method=$1 peers
    shift
    peers=(--peer a.smkd)
    if [ "$method" != mentornet ]; then peers+=(--peer b.smkd); fi
    "$run" train "${peers[@]}" "${few[@]}" --augment none --noise symmetric:0.4 --batch-size 100 --epochs 6 --seed 3 --method "$method" "$@" 2>log ||
        fail "$method: $(tail -n 1 log)"
}
cat >rows.py <<'P'
import csv, sys
rows = list(csv.DictReader(open(f"{sys.argv[1]}/metrics.csv")))
kept = lambda f, n=512, b=100: sum(int((1 - f) * m + 1e-3) for m in [b] * (n // b) + [n % b])
def column(name, peers=(0, 1)):
    return [[float(r[next(c for c in r if name in c and str(k) in c)]) for r in rows] for k in peers]
P

go co-teaching --ramp 3 -o co
PYTHONPATH=. python3 - co <<'P'
from rows import *
rates = [0, 0.2, 0.4, 0.4, 0.4, 0.4]
assert [round(float(r["forget_rate"]), 5) for r in rows] == rates, rows[0].keys()
for counts in column("selected_count") + column("kept_count"):
    assert counts == [kept(f) for f in rates], (counts, [kept(f) for f in rates])
for precision in column("noise_precision"):
    assert precision[-1] > 45, precision  # of 40 % wrong labels; chance is 40
P

# One loss for all: the networks' losses are one number; three networks, too.
go jocor --ramp 2 --peer c.smkd -o joint
PYTHONPATH=. python3 - joint <<'P'
from rows import *
a, b, c = column("loss", range(3))
assert a == b == c and a[-1] < a[0], (a, b, c)
assert column("selected_count", [2])[0] == [kept(f) for f in (0, .4, .4, .4, .4, .4)]
P

# Rows that the networks agree on are left out after --init-epoch.
go co-teaching+ --init-epoch 3 --forget 0 -o plus
PYTHONPATH=. python3 - plus <<'P'
from rows import *
for counts in column("selected_count"):
    assert counts[:3] == [512] * 3 and all(c < 512 for c in counts[3:]), counts
P

# The threshold is remembered: a run that is resumed when rows are already left out gives the same bits.
go mentornet --burn-in 1 -o self
PYTHONPATH=. python3 - self <<'P'
from rows import *
(counts,), (limits,) = column("selected_count", [0]), column("loss_limit", [0])
assert counts[0] == 512 and all(0 < c < 512 for c in counts[1:]) and all(v > 0 for v in limits), (counts, limits)
P
(exec "$run" train --peer a.smkd "${few[@]}" --augment none --noise symmetric:0.4 --batch-size 100 --epochs 6 --seed 3 --method mentornet --burn-in 1 -o cut 2>log) &
pid=$!
for _ in $(seq 3000); do [ -s cut/metrics.jsonl ] && [ "$(wc -l <cut/metrics.jsonl)" -ge 3 ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o cut 2>log || fail "resumed: $(tail -n 1 log)"
same_run self cut

refuses "takes at least 2 networks" "$run" train --peer a.smkd "${few[@]}" --method jocor -o alone
refuses "--accumulate" "$run" train --peer a.smkd --peer b.smkd "${few[@]}" --method co-teaching --accumulate 2 -o parts
echo ok
