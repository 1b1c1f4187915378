#!/usr/bin/env bash
# Optimizers: same bits on any number of threads and when killed and resumed; groups, frozen parameters; what is refused.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers

tensors() { python3 - "$1" <<'P' # name and bytes' digest of each tensor
import hashlib, json, sys
b = open(sys.argv[1], "rb").read()
n = int.from_bytes(b[:8], "little")
for k, v in sorted(json.loads(b[8:8 + n]).items()):
    if k != "__metadata__": print(k, hashlib.sha256(b[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]).hexdigest())
P
}

adamw=(--seed 3 --opt adamw --lr 2e-3 --norm-weight-decay 0 --bias-weight-decay 0 --param-group 'fc.*:lr=4e-3')
train --threads 1 "${adamw[@]}" -o one 2>one.log
train --threads 2 "${adamw[@]}" -o two 2>two.log
same_run one two
exec=exec train --threads 2 "${adamw[@]}" -o killed 2>killed.log &
pid=$!
for _ in $(seq 600); do [ -s killed/metrics.jsonl ] && break; sleep 0.05; done
sleep 0.1
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>resumed.log
same_run one killed
tensors one/last.safetensors >names
grep -q '^opt.exp_avg.0.' names || fail "the checkpoint has no exp_avg"
grep -q '^opt.exp_avg_sq.1.' names || fail "the checkpoint has no exp_avg_sq of the second peer"
! grep -q '^momentum' names || fail "adamw kept a momentum"
! tensors one/best.safetensors | grep -q '^opt' || fail "best.safetensors has the optimizer's state"

# SGD by a program is SGD by the model's own entry, to the bit.
train --seed 3 --epochs 1 -o entry 2>entry.log
train --seed 3 --epochs 1 --param-group '*:lr=0.1' -o program 2>program.log
tensors entry/last.safetensors >a.txt
tensors program/last.safetensors >b.txt
cmp a.txt b.txt || fail "the program of sgd gave other bits than the UPDATE entry"
"$smkdc" optimizer sgd -o sgd.smkd
train --seed 3 --epochs 1 --opt ./sgd.smkd -o file 2>file.log
tensors file/last.safetensors | cmp - a.txt || fail "sgd from a file gave other bits"

# What is frozen stays, and has no state.
train --seed 3 --epochs 1 --freeze '*;!fc.*' -o frozen 2>frozen.log
train --seed 4 --epochs 1 --freeze '*;!fc.*' -o frozen2 2>frozen.log
tensors frozen/last.safetensors >a.txt
tensors frozen2/last.safetensors >b.txt
same=$(comm -12 a.txt b.txt | grep -c '^peer.0.*weight') # of other seeds
[ "$same" -gt 3 ] || fail "frozen weights moved"
! comm -12 a.txt b.txt | grep -q '^peer.0.fc.weight' || fail "the head did not move"
[ "$(grep -c '^momentum.0' a.txt)" = 2 ] || fail "a frozen parameter has a state"

# Every other one runs; LAMB tensor by tensor.
for o in adam rmsprop adagrad lamb lion; do
    train --seed 3 --epochs 1 --opt $o --lr 1e-3 --threads 1 -o $o.1 2>$o.log
    train --seed 3 --epochs 1 --opt $o --lr 1e-3 --threads 2 -o $o.2 2>$o.log
    same_run $o.1 $o.2
done

# Flags that are given again add to what they were, as if one had them all with ; between.
train --seed 3 --epochs 1 --freeze '*' --freeze '!fc.*' --param-group 'fc.weight:lr=0.05' --param-group 'fc.bias:wd=0' -o again 2>again.log
train --seed 3 --epochs 1 --freeze '*;!fc.*' --param-group 'fc.weight:lr=0.05;fc.bias:wd=0' -o once 2>once.log
same_run again once
grep -q '"param_group":.*"fc.weight:lr=0.05;fc.bias:wd=0"' again/config.json || fail "config.json has no groups"

refuses 'expected one of sgd, sgd_nesterov' train --opt adamx -o no
refuses 'the optimizer sgd has no such number' train --beta1 0.8 -o no
refuses 'goes with --opt sgd' train --opt adam --nesterov -o no
refuses 'no network has a trained parameter of such a name' train --param-group 'nix*:lr=1' -o no
refuses 'expected GLOB:lr=X,wd=X' train --param-group 'fc.*:lr=fast' -o no
refuses 'leaves nothing to be trained' train --freeze '*' -o no
refuses 'is no optimizer of smkdc optimizer --list' train --opt ./a.smkd -o no
refuses '--param-group fc.*:wd=0 (was (none))' "$run" train --resume -o entry --param-group 'fc.*:wd=0'
echo ok
