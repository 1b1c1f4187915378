#!/usr/bin/env bash
# quick: side heads: smkdc new --heads, and what check says of such a file
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
echo ok
