#!/usr/bin/env bash
# quick: smkdc's command lines: help and exit codes, one line for every mistake, nothing written
set -u
smkdc="${SMKD_BUILD:?}/smkdc"
[ -x "$smkdc" ] || { echo "skipped: smkdc has not been built"; exit 77; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cd "$dir" || exit 1
bad=0

# expect CODE PATTERN ARGS...: exit code, and for a failure exactly one line on stderr that matches
expect() {
    local code=$1 pattern=$2 got lines; shift 2
    "$smkdc" "$@" >out 2>err </dev/null; got=$?
    lines=$(wc -l <err)
    if [ "$got" != "$code" ] || { [ "$code" != 0 ] && { [ "$lines" != 1 ] || ! grep -qF -- "$pattern" err; }; } ||
       { [ "$code" = 0 ] && ! grep -qF -- "$pattern" out; }; then
        echo "smkdc $*: exit $got, wanted $code and \"$pattern\""; cat out err; bad=1
    fi
}

expect 0 "usage: smkdc COMMAND" --help
expect 0 "LLVM" --version
expect 2 "no command; see smkdc --help"
expect 2 "unknown command frobnicate; see smkdc --help" frobnicate
expect 2 "unknown option --frobnicate" --frobnicate
for c in new compile check inspect loss; do
    expect 0 "usage: smkdc $c" $c --help
    expect 2 "smkdc $c: unknown option --foo; see smkdc $c --help" $c --foo
    expect 2 "smkdc $c: unknown option -z" $c -z
    expect 2 "missing" $c
done

expect 2 "smkdc: unknown command chek, did you mean check; see smkdc --help" chek m.onnx
expect 2 "unknown option --wdith, did you mean --width; see smkdc new --help" new resnet8 --wdith 4
expect 2 "unknown option --max-bach, did you mean --max-batch;" compile x.onnx --max-bach=4
expect 2 "unknown option --$(printf '%05000d' 0); see" new "--$(printf '%05000d' 0)"

expect 0 "resnet50" new --list
expect 2 "-o F.onnx is missing" new resnet8
expect 2 "--output needs a value" new resnet8 -o
expect 2 "--output needs a value" new resnet8 -o --seed 1
expect 2 "--input 3x32: expected CxHxW" new resnet8 -o x.onnx --input 3x32
expect 2 "--input 3x32x32x32: expected CxHxW" new resnet8 -o x.onnx --input 3x32x32x32
expect 2 "--input 3x0x32: expected CxHxW" new resnet8 -o x.onnx --input 3x0x32
expect 2 "--input 3x99999999999999x32: expected CxHxW" new resnet8 -o x.onnx --input 3x99999999999999x32
expect 2 "--classes 0" new resnet8 -o x.onnx --classes 0
expect 2 "--classes ten" new resnet8 -o x.onnx --classes ten
expect 2 "--classes is given twice" new resnet8 -o x.onnx --classes 3 --classes=4
expect 2 "--seed -1" new resnet8 -o x.onnx --seed -1
expect 2 "--list takes no value" new --list=1
expect 2 'unexpected argument "b"' new resnet8 b -o x.onnx
expect 1 "unknown architecture" new resnet9 -o x.onnx
expect 1 "--width" new resnet18 -o x.onnx --width 8
expect 1 "at least 3x75x75" new inception_resnet_v2 -o x.onnx --input 3x64x64
expect 1 "No such file" new resnet8 -o no/such/folder/x.onnx

expect 2 "--max-batch 0" compile x.onnx --max-batch 0
expect 2 "--emit lib is not text" compile x.onnx -o -
expect 2 "--emit soup: expected one of onnx-ir, ir, grad, fused, layout, plan, llvm, asm, obj, lib" compile x.onnx --emit soup
expect 2 "--dump-after soup: expected one of" compile x.onnx --dump-after soup
expect 2 "--stop-after all: expected one of" compile x.onnx --stop-after all
expect 2 "--shape x: expected INPUT=N,D,D..." compile x.onnx --shape x
expect 2 "--shape x=N,N: expected" check x.onnx --shape x=N,N
expect 2 "--batch-axis x: expected" check x.onnx --batch-axis x
expect 2 "--batch-axis x=1: the axis of x is given twice" check x.onnx --batch-axis x=0 --batch-axis x=1
expect 2 "--shape-input s: expected" check x.onnx --shape-input s
expect 2 "--shape x=: expected" check x.onnx --shape x=
expect 2 "--shape =1,2: expected" check x.onnx --shape =1,2
expect 2 "--shape x=N,4: the shape of x is given twice" check x.onnx --shape x=N,3 --shape x=N,4
expect 1 "error: cannot write no/such/x.smkd: No such file or directory" compile x.onnx -o no/such/x.smkd
expect 1 "error: cannot write no/such/l.smkd: No such file or directory" loss ce --classes 10 -o no/such/l.smkd
expect 1 "x.onnx" compile x.onnx
expect 1 "x.smkd" inspect x.smkd

expect 0 "smkd-p" loss --list
expect 2 "--classes C is missing" loss smkd-p
expect 1 "classes is 1" loss smkd-p --classes 1
expect 1 "there is no method" loss soup --classes 10
expect 2 "refine" loss smkd-p --classes 10 --refine soup
expect 2 "belongs to other methods" loss ce --classes 10 --huber-delta 2
expect 1 "takes 2 to 16 networks, not 1" loss all --classes 10 --peers 1

rm -f out err
[ -z "$(ls -A)" ] || { echo "left behind: $(ls -A)"; bad=1; }

# The three spellings of a value are one.
"$smkdc" new resnet8 -o a.onnx --width 4 --seed=5 && "$smkdc" new resnet8 -ob.onnx --seed 5 --width=4 &&
    "$smkdc" new --output=c.onnx --width 4 --seed 5 -- resnet8 || bad=1
cmp a.onnx b.onnx && cmp a.onnx c.onnx || bad=1
# A failing write leaves what was there.
cp a.onnx keep.onnx
"$smkdc" new inception_resnet_v2 -o a.onnx --input 3x8x8 2>/dev/null
cmp a.onnx keep.onnx || bad=1
if [ -e /dev/full ]; then
    "$smkdc" new --list >/dev/full 2>/dev/null && { echo "a full disk behind stdout was not noticed"; bad=1; }
fi
exit $bad
