#!/usr/bin/env bash
# What a network has at the start of a later round: with a rate of 0 that is what is left at its end.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
common=(--data fashion --train-limit 64 --test-limit 32 --augment none --batch-size 32 --epochs 1 --rounds 2 --weight-decay 0 --seed 3)
rounds() { "$run" train "${common[@]}" "$@" 2>log.txt || fail "$(tail -n 1 log.txt)"; }
rounds --peer a.smkd --peer b.smkd --method born-again --lr 0 -o born
grep -q '^note: round 2 of 2: the networks begin anew with new numbers, taught' log.txt || fail "new numbers are not said"
rounds --peer a.smkd --method born-again --lr 0 --round-start same -o same
rounds --peer a.smkd --method two-round --lr 0 -o two
grep -q '^note: round 2 of 2: the networks begin anew, taught' log.txt || fail "the same numbers are not said"
rounds --peer a.smkd --method two-round --lr 0 --round-start new --freeze 'conv1.*' -o frozen
common[-1]=4
rounds --peer a.smkd --method born-again --lr 0 -o seed
rounds --peer a.smkd --method born-again --lr 0.01 --round-start same -o trained
"$run" export trained -o trained.onnx
"$smkdc" compile trained.onnx -o trained.smkd
rounds --peer trained.smkd --method born-again --lr 0 -o again
rounds --peer trained.smkd --method born-again --lr 0 --round-start new -o lost
python3 - <<'P' || fail "numbers at the start of a round"
import json
import numpy as np

def read(run, prefix="peer.0."):
    raw = open(f"{run}/last.safetensors", "rb").read()
    n = int.from_bytes(raw[:8], "little")
    return {k[len(prefix):]: np.frombuffer(raw[8 + n:][d["data_offsets"][0]:d["data_offsets"][1]], np.float32)
            for k, d in json.loads(raw[8:8 + n]).items() if k.startswith(prefix) and d["dtype"] == "F32" and "running" not in k}

first = read("same")
assert all(np.array_equal(v, read("two")[k]) for k, v in first.items())

def reordered(was, now, what):
    for k, v in was.items():
        assert np.array_equal(np.sort(v), np.sort(now[k])), f"{what}: {k} has other numbers"
        assert np.array_equal(v, now[k]) == (len(set(v)) == 1), f"{what}: {k} is in the order it was, or is not"
reordered(first, read("born"), "born-again")
reordered({k: v for k, v in first.items() if not k.startswith("conv1.")}, read("frozen"), "frozen")
assert np.array_equal(first["conv1.weight"], read("frozen")["conv1.weight"])
a, b = read("born")["fc.weight"], read("seed")["fc.weight"]
assert not np.array_equal(a, b), "two seeds, one order"
trained, again, lost = read("trained"), read("again"), read("lost")
assert all(np.array_equal(v, again[k]) for k, v in trained.items()), "a trained network lost what it knew"
reordered(trained, lost, "round-start new")
P
echo ok
