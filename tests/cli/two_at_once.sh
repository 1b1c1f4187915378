#!/usr/bin/env bash
# Two at once: in one run folder the second is told who holds it; compilers of one output, and runs that want one loss, both end well.
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to write the data with"; exit 77; }
export XDG_CACHE_HOME=$tmp/cache
python3 - <<'P'
import os, random, struct
r = random.Random(0)
os.mkdir("data")
for part, n in (("train", 512), ("t10k", 32)):
    open(f"data/{part}-images-idx3-ubyte", "wb").write(struct.pack(">IIII", 0x803, n, 8, 8) + r.randbytes(n * 64))
    open(f"data/{part}-labels-idx1-ubyte", "wb").write(struct.pack(">II", 0x801, n) + bytes(r.randrange(10) for _ in range(n)))
P
for k in 0 1; do
    "$smkdc" new resnet8 --width 4 --input 1x8x8 --seed $k -o $k.onnx
    "$smkdc" compile $k.onnx --max-batch 64
done
train() { exec "$run" train --peer 0.smkd --peer 1.smkd --data data --batch-size 32 --threads 1 --quiet "$@"; }

# Both want the same loss, which neither finds compiled; and are done.
(train --epochs 1 -o one) & a=$!
(train --epochs 1 -o two) & b=$!
wait $a && wait $b || fail "of two runs with one loss to compile one failed"
cmp one/last.safetensors two/last.safetensors || fail "and gave other weights"
[ "$(find cache -name '*.smkd' | wc -l)" = 1 ] || fail "not one program in the cache"

# One folder: the second is refused with the first one's process, and the first goes on undisturbed.
(train --epochs 400 -o r) & a=$!
for _ in $(seq 1200); do [ -s r/metrics.jsonl ] && break; sleep 0.05; done
for again in "--overwrite" "--resume"; do
    refuses "r: process $a is training into this folder" "$run" train --peer 0.smkd --peer 1.smkd --data data --batch-size 32 --quiet --epochs 400 $again -o r
done
refuses "process $a" "$run" train --resume -o r
"$run" eval r >/dev/null || fail "a run that goes on cannot be evaluated"
"$run" export r --peer 0 -o e.onnx || fail "a run that goes on cannot be exported"
kill -9 $a
wait $a 2>/dev/null || true
# The lock went with its process. Two that go on: one does, or is done, before the other is let in.
"$run" train --resume -o r --quiet & a=$!
for _ in $(seq 1200); do [ "$(cat r/.lock)" = $a ] && break; sleep 0.05; done
refuses "process $a" "$run" train --resume -o r
kill -9 $a
wait $a 2>/dev/null || true

# Compilers with one output: each writes all of it.
for _ in 1 2 3; do
    "$smkdc" compile 0.onnx --max-batch 64 -o c.smkd & a=$!
    "$smkdc" compile 0.onnx --max-batch 64 -o c.smkd & b=$!
    wait $a && wait $b || fail "of two compilers one failed"
    cmp c.smkd 0.smkd || fail "and what is there is not whole"
done
# (What the killed run was writing in r goes when the run goes on.)
[ "$(find . -name '*.tmp*' -not -path './r/*' | wc -l)" = 0 ] || fail "left a temporary file"

# Measurements: whoever holds the file is named.
exec 9>t.json.lock
python3 -c 'import fcntl, os, sys; fcntl.flock(9, fcntl.LOCK_EX); os.write(9, b"4711\n")'
refuses 't.json: process 4711 is tuning into it' "$smkdc" compile 0.onnx --tune --tune-file t.json -o t.smkd
[ ! -e t.smkd ] || fail "wrote an artifact all the same"

# Artifacts that moved, or are others.
mv 0.smkd moved.smkd
refuses '0.smkd: the artifact that peer 0 of one was trained with is gone; give it with --artifact' "$run" eval one
refuses 'give it with --artifact' "$run" export one --peer 0 -o x.onnx
refuses 'give it with --artifact' "$run" train --resume -o one
"$run" eval one --artifact moved.smkd >/dev/null || fail "--artifact of eval"
"$run" export one --peer 0 --artifact moved.smkd -o x.onnx || fail "--artifact of export"
"$run" train --resume -o one --artifact moved.smkd --quiet || fail "--artifact of train"
"$smkdc" new resnet8 --width 8 --input 1x8x8 -o w.onnx
"$smkdc" compile w.onnx --max-batch 64 -o 0.smkd
refuses 'is another artifact than the one that peer 0 of one was trained with' "$run" eval one
refuses 'is another artifact than the one' "$run" train --resume -o one

# What only config.json names is not loaded where it doesn't say which it was: neither peers nor a loss of the user's own.
cp one/config.json good.json
sed 's/"content_hash"/"no_hash"/' good.json >one/config.json
refuses 'peers[0].content_hash is missing' "$run" eval one
cp good.json one/config.json
"$smkdc" loss smkd-p -o l.smkd --classes 10
cp moved.smkd 0.smkd
rm -r two
train --epochs 1 -o two --loss ./l.smkd || fail "a loss of its own"
train_on() { "$run" train --resume -o two --quiet; }
train_on || fail "a loss that is what it was"
"$smkdc" loss smkd-p -o l.smkd --classes 10 --detach-target
refuses './l.smkd: is another artifact than the loss that the run began with' train_on
cp two/config.json good.json
python3 -c 'import json; j = json.load(open("good.json")); del j["loss"]["content_hash"]; json.dump(j, open("two/config.json", "w"))'
refuses 'loss.content_hash is missing' train_on
echo ok
