#!/usr/bin/env bash
# Same seed, same bits: on a second run, on one and two threads, and for a run that was killed and resumed.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers

train --threads 1 --seed 3 -o one 2>one.log
train --threads 2 --seed 3 -o two 2>two.log
same_run one two
train --threads 2 --seed 4 -o other 2>other.log
! cmp -s one/last.safetensors other/last.safetensors || fail "another seed made the same weights"
[ "$(wc -l <one/metrics.jsonl)" = 3 ] || fail "metrics.jsonl has not one line an epoch"
[ "$(wc -l <one/metrics.csv)" = 4 ] || fail "metrics.csv has not a head and one line an epoch"
grep -q '^epoch 3/3 ' one.log || fail "no plain line for epoch 3"
! grep -q $'\r' one.log || fail "a carriage return off a terminal"

# Killed in its second epoch at the latest, then at every restart a little later.
exec=exec train --threads 2 --seed 3 -o killed 2>killed.log &
pid=$!
for _ in $(seq 600); do [ -s killed/metrics.jsonl ] && break; sleep 0.05; done
sleep 0.1
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>resumed.log # every flag and both peers come from the run folder
same_run one killed
refuses '--lr 0.05 (was 0.1)' "$run" train --resume -o killed --lr 0.05
refuses '--resume or start again with --overwrite' train --seed 3 -o killed
train --seed 3 -o killed --overwrite 2>again.log
same_run one killed

# The same in bfloat16.
"$smkdc" compile a.onnx --dtype bf16 -o a.smkd
train --threads 1 --seed 3 --epochs 1 -o half_one 2>half_one.log
train --threads 2 --seed 3 --epochs 1 -o half_two 2>half_two.log
same_run half_one half_two
! cmp -s half_one/last.safetensors one/last.safetensors || fail "bfloat16 gave the weights of float32"
echo ok
