#!/usr/bin/env bash
# quick: side heads: smkdc new --heads and compile --head, what is said of them, and what training and export make of them
. "$SMKD_SRC/tests/tools/common.bash"
"$smkdc" new resnet18 --heads 3 --classes 100 -o h.onnx
"$smkdc" check h.onnx >out.txt 2>err.txt || { cat err.txt; fail "check of a file with heads"; }
[ ! -s err.txt ] || { cat err.txt; fail "check complains of a file with heads"; }
# What is trained is known, though four outputs are [N,100].
for row in 'output      logits f32[N,100]' 'parameters  13011152 in 104 tensors' 'logits      logits f32[N,100]' \
    'tap         head1 f32[N,100]' 'tap         head3 f32[N,100]' 'tap         feat1 f32[N,512]' 'tap         feat4 f32[N,512]'; do
    grep -qxF "$row" out.txt || { cat out.txt; fail "check lacks: $row"; }
done
[ "$(grep -c '^tap' out.txt)" = 7 ] && ! grep -q '^ *or ' out.txt || { cat out.txt; fail "other taps or logits than those"; }
"$smkdc" check h.onnx --logits head2 >out.txt
grep -qx 'logits      head2 f32\[N,100\]' out.txt || { cat out.txt; fail "--logits head2"; }
"$smkdc" check h.onnx --tap head1=again >out.txt
grep -qx 'tap         again f32\[N,100\]' out.txt || { cat out.txt; fail "a tap of a head"; }

# Other classes: of every head.
"$smkdc" check h.onnx --classes 7 >out.txt 2>err.txt
[ "$(grep -c 'f32\[N,7\]' out.txt)" = 5 ] && [ "$(grep -c '^note: .* 7 fresh outputs instead of 100' err.txt)" = 4 ] ||
    { cat out.txt err.txt; fail "--classes with side heads"; }

"$smkdc" new resnet34 --heads 2 --input 1x28x28 -o two.onnx
[ "$("$smkdc" check two.onnx | sed -n 's/^tap *\([a-z0-9]*\) .*/\1/p' | paste -sd,)" = head1,head2,feat1,feat2,feat3 ] || fail "two heads"
"$smkdc" new resnet18 --heads 0 -o none.onnx
"$smkdc" new resnet18 -o plain.onnx
cmp none.onnx plain.onnx || fail "--heads 0 is not no heads"
"$smkdc" new resnext50 --heads 3 -o x.onnx
[ "$("$smkdc" check x.onnx | sed -n 's/^parameters *\([0-9]*\) .*/\1/p')" = 37160808 ] || fail "ResNeXt-50 for 10 classes"

refuses 'resnet20 has no side heads of its own; --heads is for ResNet-18, -34, -50 and ResNeXt-50' "$smkdc" new resnet20 --heads 1 -o n.onnx
refuses '--heads 4: expected 0 to 3' "$smkdc" new resnet18 --heads 4 -o n.onnx
refuses '--heads' "$smkdc" new resnet18 --heads -1 -o n.onnx
refuses 'feature maps of even height and width' "$smkdc" new resnext50 --heads 3 --input 3x30x28 -o n.onnx
[ ! -e n.onnx ] || fail "a refused file was written"

# --- --head: on a backbone that has none. Those of smkdc new are the same, with the same weights of a seed.
"$smkdc" new resnet18 --seed 4 -o plain.onnx
"$smkdc" check plain.onnx --head /layer1/1/Relu_1:byot --head /layer2/1/Relu_1:byot --head /layer3/1/Relu_1:byot --seed 4 -v >out.txt 2>err.txt
[ ! -s err.txt ] || { cat err.txt; fail "check --head complains"; }
"$smkdc" new resnet18 --seed 4 --heads 3 -o h.onnx
"$smkdc" check h.onnx -v >want.txt
diff <(grep -E '^(para|stat|tap|logits|output|batch)' out.txt | sort) <(grep -E '^(para|stat|tap|logits|output|batch)' want.txt | sort) ||
    fail "--head makes other heads than smkdc new"

"$smkdc" new resnet8 --width 4 --input 3x8x8 --classes 10 -o m.onnx
on=(--head /layer1/0/Relu_1:byot --head /Relu:byot=early --seed 7)
"$smkdc" compile m.onnx "${on[@]}" -o m.smkd
"$smkdc" compile m.onnx "${on[@]}" -o again.smkd
cmp m.smkd again.smkd || fail "the same seed gave another artifact"
"$smkdc" compile m.onnx "${on[@]:0:4}" --seed 8 -o other.smkd
if cmp -s m.smkd other.smkd; then fail "another seed gave the same heads"; fi
"$smkdc" inspect --tensors m.smkd >out.txt
for row in 'tap         head1 f32[N,10]' 'tap         early f32[N,10]' 'tap         feat1 f32[N,16]' 'tap         early.feat f32[N,16]' \
    'tap         feat3 f32[N,16]' 'cotangent   feat3 f32[N,16]' 'parameter   heads.1.conv1.weight f32[4,4,1,1]' \
    'parameter   heads.1.conv2.weight f32[4,4,4,4]' 'parameter   early.bn3.weight f32[16]' 'parameter   early.fc.bias f32[10]' \
    'statistic   heads.1.bn2.running_var f32[4]' 'logits      logits'; do
    grep -qxF "$row" out.txt || { cat out.txt; fail "inspect lacks: $row"; }
done

for c in check compile; do
    refuses '--head /Relu: expected VALUE:byot or VALUE:byot=NAME' "$smkdc" $c m.onnx --head /Relu
    refuses '--head /Relu:fancy: expected VALUE:byot' "$smkdc" $c m.onnx --head /Relu:fancy
    refuses '--head /Relu:byot=: expected VALUE:byot' "$smkdc" $c m.onnx --head /Relu:byot=
    refuses 'm.onnx: --head relu: the model has no such value; near to it are "' "$smkdc" $c m.onnx --head relu:byot
    refuses '--head /Flatten: it is f32[N,16]; a head is for a feature map f32[N,C,H,W]' "$smkdc" $c m.onnx --head /Flatten:byot
    refuses '--head /Relu: the model has a value "logits" already; give the head another name with =NAME' \
        "$smkdc" $c m.onnx --head /Relu:byot=logits
    refuses 'already; give the head another name' "$smkdc" $c h.onnx --head /Relu:byot
    refuses 'already; give the head another name' "$smkdc" $c m.onnx --head /Relu:byot=a --head /layer1/0/Relu_1:byot=a
    refuses '--seed is for the fresh weights of --classes and --head' "$smkdc" $c m.onnx --seed 3
    refuses '--head: no linear layer makes "/Relu_output_0"; side heads are for models that have one' "$smkdc" $c m.onnx \
        --head /Relu:byot --logits /Relu_output_0
    refuses 'no linear layer makes "nothing"' "$smkdc" $c m.onnx --head /Relu:byot --logits nothing
done
# With other classes the heads have them, too; with names of parameters they are chosen as others are.
"$smkdc" check m.onnx "${on[@]}" --classes 3 2>/dev/null >out.txt
[ "$(grep -c 'f32\[N,3\]' out.txt)" = 4 ] || { cat out.txt; fail "--head with --classes"; }
"$smkdc" check m.onnx "${on[@]}" --freeze '*' --freeze '!heads.*' --freeze '!early.*' >out.txt 2>/dev/null
grep -q '^parameters  .* in 28 tensors$' out.txt || { cat out.txt; fail "heads alone"; }

# Training with the logits alone: the backbone of the file without heads, bit for bit, at every seed of the data.
if command -v python3 >/dev/null && python3 -c 'import numpy' 2>/dev/null; then
    python3 -c 'import numpy as np
r = np.random.default_rng(0)
for k, n in ("train", 48), ("test", 16):
    np.save(k + "_x.npy", r.normal(size=(n, 3, 8, 8)).astype(np.float32))
    np.save(k + "_y.npy", r.integers(0, 10, n))'
    "$smkdc" compile m.onnx -o bare.smkd
    for a in m bare; do
        "$run" train --peer $a.smkd --data train_x.npy,train_y.npy,test_x.npy,test_y.npy --method ce --epochs 2 --batch-size 16 --lr 0.1 -o $a.run \
            >$a.txt 2>&1 || { cat $a.txt; fail "train $a"; }
        "$run" export $a.run --peer 0 --checkpoint last -o $a.out.onnx
        "$run" eval $a.run --data train_x.npy,train_y.npy,test_x.npy,test_y.npy >/dev/null
    done
    cmp m.out.onnx bare.out.onnx || fail "heads that nobody looks at changed what was trained, or are in the export"
    python3 - <<'P' || fail "parameters of the heads in the checkpoint"
import json
b = open("m.run/last.safetensors", "rb").read()
names = json.loads(b[8:8 + int.from_bytes(b[:8], "little")])
assert "peer.0.heads.1.conv1.weight" in names and "peer.0.early.fc.bias" in names and "momentum.0.heads.1.conv1.weight" in names, sorted(names)
P
    "$run" export m.run --peer 0 --checkpoint last --heads -o heads.onnx
    "$smkdc" check heads.onnx >out.txt
    [ "$(grep -c '^tap' out.txt)" = 5 ] && grep -qx 'logits      logits f32\[N,10\]' out.txt || { cat out.txt; fail "export --heads"; }
fi
echo ok
