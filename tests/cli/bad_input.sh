#!/usr/bin/env bash
# Bad files and full disks, through the tools: one line that names the file, a non-zero exit, and the folder as it was.
# (tests/cli/train_bad_input.sh has data sets and flags.)
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to write the files with"; exit 77; }
export XDG_CACHE_HOME=$tmp/cache TMPDIR=$tmp/scratch
mkdir cache scratch work
cd work
python3 "$SMKD_SRC/tests/tools/bad_files.py" .

# Every file and folder with size and time, but the three that refuses() keeps.
listing() { find . -type f ! -name out.txt ! -name err.txt ! -name lines.txt ! -name .lock -printf '%p %s %T@\n' -o -type d -printf '%p\n' | sort; }
# bad TEXT COMMAND...: refused, and nothing was made or changed.
bad() {
    local before now
    before=$(listing)
    refuses "$@"
    now=$(listing)
    [ "$now" = "$before" ] || { diff <(echo "$before") <(echo "$now"); fail "files changed: $*"; }
    [ -z "$(ls -A ../scratch)" ] || fail "left in TMPDIR: $(ls -A ../scratch)"
}

"$smkdc" new resnet8 --width 4 --input 1x8x8 --classes 10 -o a.onnx
"$smkdc" compile a.onnx --max-batch 64 -o a.smkd
"$smkdc" new resnet8 --width 4 --input 1x8x8 --classes 3 -o m.onnx
"$smkdc" compile m.onnx --max-batch 64 -o m.smkd
"$smkdc" loss smkd-p --classes 3 -o l.smkd
"$smkdc" loss smkd-p --classes 10 -o L.smkd
infer() { "$run" infer "${1:-m.smkd}" --input x=x.npy -o "${2:-new.st}"; }
grad() { "$run" grad "${1:-m.smkd}" --input x=x.npy --cotangent logits=dy.npy -o "${2:-new.st}"; }
loss() { "$run" loss "${1:-l.smkd}" --logits a.npy --logits b.npy --labels y.npy -o "${2:-new.st}"; }
train() { "$run" train --peer a.smkd --peer a.smkd --data data --loss L.smkd --epochs 1 --batch-size 32 --threads 1 "$@"; }
infer && grad && loss && mv new.st keep.st # the good ones are good
train -o run 2>train.log || { cat train.log; fail "a good run"; }

# --- ONNX files: check and compile say the same, and compile leaves what was there
echo precious >keep.smkd
onnx() { # FILE TEXT...
    local text
    for text in "${@:2}"; do
        bad "$text" "$smkdc" check "$1"
        bad "$text" "$smkdc" compile "$1" -o new.smkd
    done
    bad "$1" "$smkdc" compile "$1" -o keep.smkd
}
onnx no_such.onnx 'no_such.onnx: cannot read the file: No such file'
onnx text.onnx 'text.onnx: this is a text file'
onnx empty.onnx 'empty.onnx: the file is empty'
onnx folder.onnx 'folder.onnx: cannot read the file: it is a folder, not a file'
onnx random.onnx 'random.onnx: not a complete ONNX file'
onnx m.smkd 'm.smkd: not a complete ONNX file'
size=$(stat -c %s m.onnx)
for n in 1 2 3 17 100 $((size / 4)) $((size / 2)) $((size - 100)) $((size - 5)) $((size - 1)); do
    head -c "$n" m.onnx >cut.onnx
    bad 'error: cut.onnx: ' "$smkdc" check cut.onnx
    bad 'error: cut.onnx: ' "$smkdc" compile cut.onnx -o new.smkd
done
onnx cycle.onnx 'cycle.onnx: node "first" (Add): the graph is cyclic' '"first" needs "third" needs "second" needs "first"'
onnx conv.onnx 'conv.onnx: node "stem" (Conv)' 'the input has 5 channels; a weight [4,3,3,3]'
onnx add.onnx 'add.onnx: node "sum" (Add): shapes f32[N,8] and f32[7]'
onnx matmul.onnx 'matmul.onnx: node "fc" (MatMul)' '[N,8] and [9,8] differ: 8 against 9'
onnx gemm.onnx 'gemm.onnx: node "fc" (Gemm)' 'f32[N,4] and f32[3]'
onnx concat.onnx 'concat.onnx: node "join" (Concat)' '[N,8] and [3,2,2]'
onnx missing.onnx 'missing.onnx: node "last" (Relu): its operand "nowhere"'
onnx short_weight.onnx 'short_weight.onnx: tensor "w": its shape and type need 32 bytes, the file has 20'
onnx one_operand.onnx 'one_operand.onnx: node "fc" (MatMul)'
onnx pads.onnx 'pads.onnx: node "frame" (Pad): pads -9223372036854775808 and 1 do not fit axis 1'
onnx long_axis.onnx 'long_axis.onnx: node "frame" (Pad): axis 1 of 1073741824 elements is too long'
# Every operator that is not there, with its node, in one go: a line each and no other.
for command in "check unknown.onnx" "compile unknown.onnx -o new.smkd"; do
    # shellcheck disable=SC2086
    "$smkdc" $command >out.txt 2>err.txt && fail "accepted: $command"
    for want in '"one" (Frobnicate)' '"three" (Defenestrate)' '"four" (Frobnicate)'; do
        grep -qF "error: unknown.onnx: node $want: operator" err.txt || { cat err.txt; fail "$command does not say $want"; }
    done
    [ "$(wc -l <err.txt)" = 3 ] || { cat err.txt; fail "not a line for each of three nodes"; }
    [ ! -e new.smkd ] || fail "left a file"
done

# An operator without a gradient is named in that run, too; where it leaves nothing to train, both commands say so.
no_gradient='node "steps" (Floor): operation floor has no gradient; parameters that act only through it will not be trained'
"$smkdc" check no_forward_no_gradient.onnx >out.txt 2>err.txt && fail "accepted no_forward_no_gradient.onnx"
[ "$(wc -l <err.txt)" = 2 ] && grep -qF 'error: no_forward_no_gradient.onnx: node "odd" (Frobnicate): operator' err.txt &&
    grep -qF "warning: no_forward_no_gradient.onnx: $no_gradient" err.txt || { cat err.txt; fail "not both in one run"; }
"$smkdc" compile no_gradient.onnx -o new.smkd >out.txt 2>compile.txt || fail "compile refused no_gradient.onnx"
rm new.smkd
"$smkdc" check no_gradient.onnx >out.txt 2>err.txt || fail "refused no_gradient.onnx"
cmp -s err.txt compile.txt || { cat err.txt compile.txt; fail "check and compile say different things"; }
rm compile.txt
[ "$(wc -l <err.txt)" = 2 ] && grep -qF "$no_gradient" err.txt && grep -qF "no gradient reaches any of its 1 parameters" err.txt &&
    grep -qF "compiles, but cannot be trained" out.txt || { cat err.txt out.txt; fail "a model without gradients"; }
"$smkdc" check some_gradient.onnx >out.txt 2>err.txt || fail "refused some_gradient.onnx"
[ "$(wc -l <err.txt)" = 1 ] && grep -qF "$no_gradient" err.txt && grep -qF "compiles and trains, but for 1 of 2 parameters" out.txt ||
    { cat err.txt out.txt; fail "a model with one gradient of two"; }
"$smkdc" compile some_gradient.onnx -o new.smkd 2>err.txt && [ "$(wc -l <err.txt)" = 1 ] && grep -qF "$no_gradient" err.txt || fail "compile is silent"
rm new.smkd

# --- weights in files beside the model
"$smkdc" check models/good.onnx >out.txt || fail "good external data"
onnx models/parent.onnx 'parent.onnx: tensor "w": external data path "../outside/secret.bin" must be relative and stay'
onnx models/hidden_parent.onnx 'external data path "a/../../outside/secret.bin" must be relative and stay'
onnx models/absolute.onnx 'external data path "/etc/passwd" must be relative and stay'
onnx models/link.onnx 'external data "link.bin" is a link that leaves'
onnx models/linked_folder.onnx 'external data "folder/secret.bin" is a link that leaves'
onnx models/none.onnx 'cannot open its external data "models/none.bin": No such file'
onnx models/short.onnx '32 bytes at offset 8 are past the end of "w.bin" (32 bytes)'
onnx models/far.onnx 'are past the end of "w.bin"'
onnx models/negative.onnx 'offset or length is not a number: "-4"'
onnx models/length.onnx 'need 32 bytes, the external data has 28'
onnx models 'models: cannot read the file: it is a folder, not a file'

# --- artifacts: every command that takes one
artifact() { # FILE TEXT
    bad "$2" "$smkdc" inspect "$1"
    runs "$1" "$2"
}
runs() { # FILE TEXT: nothing that would run it does
    bad "$2" infer "$1"
    bad "$2" infer "$1" keep.st
    bad "$2" grad "$1"
    bad "$2" loss "./$1"
    bad "$2" "$run" bench "$1" --batch-size 1 --steps 1
    bad "$2" "$run" train --peer "$1" --peer a.smkd --data data --loss L.smkd --epochs 1 -o new
    bad "$2" "$run" train --peer a.smkd --peer a.smkd --data data --loss "./$1" --epochs 1 -o new
    bad "$2" "$run" eval a.smkd "$1" --data data
    bad "$2" "$run" export run --artifact "$1" -o new.onnx
}
cp a.onnx model.smkd && artifact model.smkd 'model.smkd: not an artifact'
cp text.onnx text.smkd && artifact text.smkd 'text.smkd: not an artifact'
: >empty.smkd && artifact empty.smkd 'empty.smkd: not an artifact'
mkdir folder.smkd && artifact folder.smkd 'folder.smkd: cannot be read: it is a folder, not a file'
artifact none.smkd none.smkd
"$smkdc" compile a.onnx --emit obj -o object.smkd && artifact object.smkd 'object.smkd: not an artifact'
size=$(stat -c %s a.smkd)
head -c 60 a.smkd >cut.smkd && artifact cut.smkd 'cut.smkd: not an artifact'
for n in 64 1000 $((size / 2)) $((size - 100)) $((size - 1)); do
    head -c "$n" a.smkd >cut.smkd && bad 'cut.smkd: the artifact is cut off' infer cut.smkd
done
artifact cut.smkd 'cut.smkd: the artifact is cut off'
cat a.smkd a.smkd >twice.smkd && bad 'twice.smkd: the artifact is damaged' infer twice.smkd
# One byte, wherever: headers, code, weights, tables, the seal itself.
cp a.smkd flip.smkd
for at in 40 300 $((size / 8)) $((size / 3)) $((size / 2)) $((size * 3 / 4)) $((size - 30)) $((size - 24)) $((size - 2)); do
    byte=$(od -An -tu1 -j "$at" -N 1 a.smkd)
    # shellcheck disable=SC2059
    printf "\\$(printf %o $((byte ^ 64)))" | dd of=flip.smkd bs=1 seek="$at" conv=notrunc status=none
    bad 'error: flip.smkd: ' infer flip.smkd
    [ "$at" != 300 ] || artifact flip.smkd 'flip.smkd: the artifact is damaged'
    cp a.smkd flip.smkd
done
# Of another CPU, sealed again; and without a seal.
head -c -24 a.smkd | LC_ALL=C sed 's/avx2 fma bmi1/avx7 fmb bmi1/' >cpu.smkd
artifact cpu.smkd 'cpu.smkd: a shared object without the seal of smkdc'
"$SMKD_BUILD/tests/seal" cpu.smkd
runs cpu.smkd 'avx7, fmb; this CPU has not: compile the model again with --mcpu native'
"$smkdc" inspect cpu.smkd | grep -q 'target .*avx7 fmb bmi1' || fail "inspect tells what another CPU's artifact needs"
head -c -24 a.smkd >unsealed.smkd
artifact unsealed.smkd 'unsealed.smkd: a shared object without the seal'
"$smkdc" compile a.onnx --mcpu x86-64-v4 -o v4.smkd
if grep -q avx512vl /proc/cpuinfo; then echo "note: this CPU has AVX-512, so nothing is compiled for another"
else runs v4.smkd 'v4.smkd: was compiled for x86-64-v4'; fi
bad 'L.smkd: is a loss, not a model' infer L.smkd
bad 'a.smkd: is a model, not a loss' loss ./a.smkd
bad 'L.smkd: is for 10 classes, not for 3' loss L.smkd

# --- arrays
for f in magic empty head dict short long version0 version9 version2 lacks double object rank channels \
    no_rows negative overflow open_shape deep; do
    bad "bad/$f.npy: " "$run" infer m.smkd --input x=bad/$f.npy -o new.st
    bad "bad/$f.npy: " "$run" grad m.smkd --input x=bad/$f.npy --cotangent logits=dy.npy -o keep.st
    bad "bad/$f.npy: " "$run" grad m.smkd --input x=x.npy --cotangent logits=bad/$f.npy -o new.st
    bad "bad/$f.npy: " "$run" loss l.smkd --logits a.npy --logits bad/$f.npy --labels y.npy -o new.st
    bad "bad/$f.npy: " "$run" loss l.smkd --logits a.npy --logits b.npy --labels bad/$f.npy -o keep.st
done
for f in fortran big_endian half; do "$run" infer m.smkd --input x=order/$f.npy -o order.st || fail "order/$f.npy is read"; done
rm order.st
bad 'object.npy: is a .npy of pickled Python objects' "$run" infer m.smkd --input x=bad/object.npy -o new.st
bad 'double.npy: "x" wants float32 elements; save x.astype(numpy.float32)' "$run" infer m.smkd --input x=bad/double.npy -o new.st
bad 'channels.npy: has shape [1,2,8,8]; "x" wants [N,1,8,8]' "$run" infer m.smkd --input x=bad/channels.npy -o new.st
bad 'm.onnx: not a .npy file' "$run" infer m.smkd --input x=m.onnx -o new.st
bad 'models: cannot be read: it is a folder, not a file' "$run" infer m.smkd --input x=models -o new.st
bad 'the model has no input "z"; it has "x"' "$run" infer m.smkd --input z=x.npy -o new.st
bad 'the model has no differentiable output "y"; it has "logits"' "$run" grad m.smkd --input x=x.npy --cotangent y=dy.npy -o new.st
bad '"x" is given twice' "$run" infer m.smkd --input x=x.npy --input x=x.npy -o new.st
bad 'input "x" [N,1,8,8] is missing: give --input x=FILE.npy' "$run" infer m.smkd -o new.st
bad 'expected NAME=FILE.npy' "$run" infer m.smkd --input x.npy -o new.st

# --- checkpoints
checkpoint() { # TEXT: for --resume, eval and export of a run folder whose last.safetensors is damaged
    bad "$1" "$run" train --resume -o run --epochs 1
    bad "$1" "$run" eval run --checkpoint last
    bad "$1" "$run" export run --peer 0 -o new.onnx
    bad "$1" "$run" export run --peer 1 -o a.onnx
}
cp run/last.safetensors good.st
size=$(stat -c %s good.st)
for n in 0 7 100 $((size / 2)) $((size - 1)); do
    head -c "$n" good.st >run/last.safetensors
    checkpoint 'run/last.safetensors: '
done
cp x.npy run/last.safetensors && checkpoint 'run/last.safetensors: not a safetensors file'
cp keep.st run/last.safetensors && checkpoint 'run/last.safetensors: is not a checkpoint'
sed 's/"peer\.0\.fc\.bias"/"peer.0.fc.bios"/' good.st >run/last.safetensors
bad 'run/last.safetensors: is damaged: tensor "peer.0.fc.bios"' "$run" export run --peer 0 -o new.onnx
rm run/last.safetensors # --resume begins such a run from its start
bad run/last.safetensors "$run" export run --peer 0 -o new.onnx
bad run/last.safetensors "$run" eval run --checkpoint last
cp good.st run/last.safetensors
cp run/config.json good.json
for n in 0 10 $(($(stat -c %s good.json) / 2)); do head -c "$n" good.json >run/config.json && checkpoint run/config.json; done
cp good.json run/config.json

# --- full disks: whatever the room, one line, no half file, no temporary one, and an earlier output stays
no_room() { # KIB COMMAND...: no file of this process, err.txt included, may grow beyond so many KiB
    (trap '' XFSZ && ulimit -f "$1" && shift && "$@")
}
too_large() { # FILE MAKES...: $out in the command is replaced by FILE, which is not there, and then by one that is
    local kib=$(($(stat -c %s "$1") / 1024)) try
    for try in 1 $((kib / 2)) "$kib"; do
        bad new.out no_room "$try" "${@:2}" new.out
        bad keep.out no_room "$try" "${@:2}" keep.out
    done
}
echo precious >keep.out
"$smkdc" compile a.onnx --emit grad -o grad.txt
"$run" export run --peer 0 -o trained.onnx
too_large a.onnx "$smkdc" new resnet8 --width 4 --input 1x8x8 --classes 10 -o
too_large grad.txt "$smkdc" compile a.onnx --emit grad -o
infer_many() { "$run" infer m.smkd --input x=many/x.npy -o "$1"; }
loss_many() { "$run" loss l.smkd --logits many/a.npy --logits many/a.npy --labels many/y.npy -o "$1"; }
for command in infer_many "grad m.smkd" loss_many; do
    # shellcheck disable=SC2086
    $command large.st && too_large large.st $command
done
too_large trained.onnx "$run" export run --peer 0 -o
for kib in 1 8 $(($(stat -c %s a.smkd) / 1024)); do # objects go to TMPDIR first: that may be what is said to be full
    bad 'cannot write ' no_room "$kib" "$smkdc" compile a.onnx --max-batch 64 -o new.smkd
    bad 'cannot write ' no_room "$kib" "$smkdc" compile a.onnx --max-batch 64 -o keep.smkd
done
for kib in 1 8; do bad 'cannot write ' no_room $kib "$smkdc" loss smkd-p --classes 3 -o keep.smkd; done
if [ -w /dev/full ]; then
    bad 'No space left' infer m.smkd /dev/full
    "$smkdc" check a.onnx >/dev/full 2>err.txt && fail "check onto a full disk"
fi

if mount -t tmpfs -o size=64k none ../cache 2>/dev/null; then # a disk that is really full; as root only
    trap 'umount "$tmp/cache"; rm -rf "$tmp"' EXIT
    disk=../cache
    head -c 61440 /dev/zero >$disk/filler
    echo precious >$disk/keep
    on_disk() { # COMMAND...: fails, and the disk holds what it held
        refuses "$disk/" "$@"
        [ "$(ls -A $disk)" = $'filler\nkeep' ] && [ "$(cat $disk/keep)" = precious ] || { ls -lA $disk; fail "left behind by: $*"; }
    }
    for out in new keep; do
        on_disk "$smkdc" new resnet8 --width 4 --input 1x8x8 -o $disk/$out
        on_disk "$smkdc" compile a.onnx --max-batch 64 -o $disk/$out
        on_disk "$smkdc" loss smkd-p --classes 3 -o $disk/$out
        on_disk grad m.smkd $disk/$out
        on_disk "$run" export run --peer 0 -o $disk/$out
    done
    head -c 65536 /dev/zero >$disk/filler 2>/dev/null || true # the last block, too
    on_disk infer m.smkd $disk/new
    on_disk loss l.smkd $disk/new
    # No room for the cache: a loss is compiled without it.
    loss smkd-p || fail "a loss without room for the cache"
    cmp new.st <(loss l.smkd other.st && cat other.st) || fail "and it differs"
    rm new.st other.st
    # A run: whichever file it is that does not fit.
    for kib in 0 4 8 12 16 24 32 48; do
        rm -rf $disk/* && head -c $((65536 - kib * 1024)) /dev/zero >$disk/filler
        refuses "$disk/" train -o $disk/run
        ! find $disk | grep -q tmp || fail "a temporary file was left on the disk: $(find $disk)"
    done
else
    echo "note: tmpfs cannot be mounted here: full disks shown with ulimit alone"
fi

for kib in 1 2 4 8 16; do
    refuses new no_room $kib train -o new
    ! find new | grep -q tmp || fail "a temporary file was left in the run folder"
    rm -rf new
done
echo ok
