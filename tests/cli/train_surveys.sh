#!/usr/bin/env bash
# MyLC's confidence r of networks that come trained is known before the first step; of new ones it is 0.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
common=("${few[@]}" --augment none --noise symmetric:0.4 --batch-size 64 --seed 3)
"$run" train --peer a.smkd --method ce --epochs 6 "${common[@]}" -o first 2>first.log
"$run" export first -o trained.onnx
"$smkdc" compile trained.onnx -o trained.smkd
mylc() { "$run" train --method zero --refine mylc --epochs 1 "${common[@]}" "$@"; }
mylc --peer trained.smkd --peer b.smkd -o both 2>both.log
grep -q '^note: mean confidence before the first step: 0\.[0-9]* 0.0000$' both.log || fail "no survey: $(cat both.log)"
mylc --peer b.smkd -o fresh 2>fresh.log
! grep -q 'mean confidence' fresh.log || fail "a survey of a network that knows nothing"

# r is 1 - mean entropy / ln C of the training images: the program's own, from outputs that infer gives.
r=$(sed -n 's/^note: mean confidence before the first step: \([0-9.]*\) .*/\1/p' both.log)
python3 - <<'P'
import gzip, numpy as np
x = np.frombuffer(gzip.open("/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz").read(16 + 512 * 784)[16:], np.uint8)
import json
c = json.load(open("first/config.json"))["data"]
x = (x.reshape(512, 1, 28, 28).astype(np.float32) / 255 - np.float32(c["mean"][0])) / np.float32(c["std"][0])
np.save("x.npy", x)
P
"$run" infer trained.smkd --input "$("$smkdc" inspect trained.smkd --json | python3 -c 'import json,sys; print([t["name"] for t in json.load(sys.stdin)["tensors"] if t["role"] == "input"][0])')=x.npy" -o z.safetensors
python3 - "$r" <<'P'
import json, sys, numpy as np
b = open("z.safetensors", "rb").read()
n = int.from_bytes(b[:8], "little")
(name, t), = [(k, v) for k, v in json.loads(b[8:8 + n]).items() if k != "__metadata__" and v["shape"] == [512, 10]]
z = np.frombuffer(b[8 + n + t["data_offsets"][0]:8 + n + t["data_offsets"][1]], np.float32).reshape(512, 10).astype(float)
p = np.exp(z - z.max(1, keepdims=True)); p /= p.sum(1, keepdims=True)
want = 1 + (p * np.log(p)).sum(1).mean() / np.log(10)
assert abs(float(sys.argv[1]) - want) < 1e-4 and want > 0.02, (sys.argv[1], want)
P
echo ok
