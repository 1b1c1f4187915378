#!/usr/bin/env bash
# slower: compiles and times a model a dozen times: compile --tune: what it measures and keeps, that it is used again, and what it refuses
. "$(dirname "$0")/../tools/common.bash"
export XDG_CACHE_HOME=$tmp/cache
"$smkdc" new resnet8 --width 16 --input 3x8x8 --classes 4 -o m.onnx
compile() { "$smkdc" compile m.onnx --batch-size 4 "$@"; }
rows() { grep -c '"direct"' "$1" || true; }

# The first time everything is measured, the second time nothing, and the program is the same to the byte.
compile --tune --tune-file t.json -o first.smkd 2>log || { cat log; fail "--tune"; }
grep -q "round 3 of 3" log || { cat log; fail "nothing was measured"; }
grep -q "predictions off by a factor of" log || fail "--tune does not say how far the cost model is off"
n=$(rows t.json)
[ "$n" -gt 3 ] || { cat t.json; fail "$n shapes in the file"; }
cp t.json t1.json
compile --tune --tune-file t.json -o second.smkd 2>log
grep -q "round" log && { cat log; fail "measured again"; }
grep -q " 0 of them not yet in t.json" log || { cat log; fail "does not say that all was known"; }
cmp t.json t1.json || fail "a file that has everything was changed"
compile --tune-file t.json -o third.smkd 2>log || fail "--tune-file"
[ -s log ] && { cat log; fail "--tune-file alone has something to say"; }
cmp first.smkd second.smkd && cmp first.smkd third.smkd || fail "the same measurements give other programs"

# Another batch has shapes of its own; what was there stays. The file's place is the cache unless it is given.
"$smkdc" compile m.onnx --batch-size 8 --tune --tune-file t.json -o other.smkd 2>log
[ "$(rows t.json)" -gt "$n" ] || fail "new shapes were not added"
grep -q "images=4 " t.json && grep -q "images=8 " t.json || fail "old shapes went"
grep -q "compiling with" log || fail "new shapes were not measured"
compile --tune -o cached.smkd 2>/dev/null && [ "$(rows cache/smkd/tune.json)" = "$n" ] || fail "no file in the cache"

# Without --tune-file a program is a function of model and options: the measurements are not looked at.
compile -o plain.smkd
mv cache elsewhere && compile -o plain2.smkd && cmp plain.smkd plain2.smkd || fail "a build depends on the cache"
"$smkdc" compile m.onnx --batch-size 32 --tune-file t.json -o unknown.smkd 2>log
grep -q "shapes were not measured and are chosen by the cost model" log || fail "says nothing of unknown shapes"

# What the file says is what is run; either algorithm computes the same.
for a in direct winograd; do
    sed -E "s/(\"$a\":[[:space:]]*)[0-9.e+-]+/\11e-9/" t1.json >$a.json
    compile --tune-file $a.json -o $a.smkd
    "$run" bench $a.smkd --batch-size 4 --steps 1 --per-node --json >$a.bench
done
grep -q '"winograd' direct.bench && fail "Winograd runs where the file prefers direct"
for k in winograd winograd_wgrad; do # the longest kernel of a node or, of one so small, the second
    grep -q "\"$k\"" winograd.bench || fail "no $k runs where the file prefers it"
done
compile --tune-file winograd.json --winograd=off -o off.smkd
"$run" bench off.smkd --batch-size 4 --steps 1 --per-node --json | grep -q '"winograd' && fail "--winograd=off is not obeyed"
if command -v python3 >/dev/null; then
    python3 - <<'PY'
import random, struct
random.seed(7)
def npy(name, shape):
    n = 1
    for d in shape: n *= d
    head = "{'descr': '<f4', 'fortran_order': False, 'shape': (%s), }" % ", ".join(map(str, shape))
    head += " " * (-(10 + len(head) + 1) % 64) + "\n"
    data = struct.pack("<%df" % n, *(random.uniform(-1, 1) for _ in range(n)))
    open(name, "wb").write(b"\x93NUMPY\1\0" + struct.pack("<H", len(head)) + head.encode() + data)
npy("x.npy", (4, 3, 8, 8))
npy("dy.npy", (4, 4))
PY
    for a in direct winograd; do "$run" grad $a.smkd --input x=x.npy --cotangent logits=dy.npy -o $a.st; done
    python3 - <<'PY' || fail "the algorithms' gradients differ"
import json, struct
def read(name):
    raw = open(name, "rb").read()
    n = struct.unpack("<Q", raw[:8])[0]
    head = json.loads(raw[8:8 + n])
    out = {}
    for k, v in head.items():
        if k != "__metadata__":
            b, e = v["data_offsets"]
            out[k] = struct.unpack("<%df" % ((e - b) // 4), raw[8 + n + b:8 + n + e])
    return out
a, b = read("direct.st"), read("winograd.st")
assert a.keys() == b.keys() and len(a) > 10
assert a != b, "the same bits: the same algorithm ran"
for k in a:
    d = sum((x - y) ** 2 for x, y in zip(a[k], b[k])) ** .5
    size = sum(x * x for x in a[k]) ** .5
    assert d <= 1e-3 * size + 1e-6, (k, d, size)
PY
fi

# Refusals: one line, nothing written, the file as it was.
printf 'not JSON' >bad1.json
printf '{"format": "something else", "machines": {}}' >bad2.json
printf '{"format": "smkdc tune 1", "machines": {"m": {"s": {"direct": "fast"}}}}' >bad3.json
head -c 100 t1.json >bad4.json
: >bad5.json
for f in bad?.json; do
    cp $f before
    refuses "$f: is not a file of measurements" "$smkdc" compile m.onnx --tune --tune-file $f -o never.smkd
    refuses "remove it, or give --tune-file another name" "$smkdc" compile m.onnx --tune-file $f -o never.smkd
    cmp -s $f before || fail "$f was changed"
done
refuses "cannot write /proc/nowhere/t.json" "$smkdc" compile m.onnx --tune --tune-file /proc/nowhere/t.json -o never.smkd
refuses "cannot read ." "$smkdc" compile m.onnx --tune-file . -o never.smkd
refuses "--tune-file" env -u HOME -u XDG_CACHE_HOME "$smkdc" compile m.onnx --tune -o never.smkd
refuses "comes before algorithms are chosen" "$smkdc" compile m.onnx --tune --emit ir
other=x86-64-v3
"$smkdc" inspect first.smkd | grep -q x86-64-v3 && other=x86-64-v4
refuses "not --mcpu $other" "$smkdc" compile m.onnx --tune --mcpu $other -o never.smkd
[ ! -e never.smkd ] || fail "a refused compilation wrote its artifact"
