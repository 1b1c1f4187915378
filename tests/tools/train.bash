# What tests/cli/train_*.sh share: two small peers, and the checks they repeat.
. "$SMKD_SRC/tests/tools/common.bash"
[ -e /usr/share/datasets/fashion-mnist ] || { echo "skipped: Debian's dataset-fashion-mnist is not installed"; exit 77; }

make_peers() {
    "$smkdc" new resnet8 --width 8 --input 1x28x28 --classes 10 --seed 0 -o a.onnx
    "$smkdc" new resnet8 --width 6 --input 1x28x28 --classes 10 --seed 1 -o b.onnx
    "$smkdc" compile a.onnx -o a.smkd
    "$smkdc" compile b.onnx -o b.smkd
}

few=(--data fashion-mnist --train-limit 512 --test-limit 300)
# The flags most of these tests train with; a flag of the caller's replaces the one here, since none may be given twice.
train() {
    local pair flags=()
    for pair in "--noise symmetric:0.4" "--augment crop-flip" "--epochs 3" "--eta 1.05" "--batch-size 100"; do
        case " $* " in *" ${pair% *} "*) ;; *) flags+=("${pair% *}" "${pair#* }") ;; esac
    done
    # With exec=exec a background shell becomes the program, so that a signal to it reaches the program.
    ${exec:-} "$run" train --peer a.smkd --peer b.smkd "${few[@]}" "${flags[@]}" "$@"
}

# Everything two equal runs must share to the bit: weights, optimizer state, labels and all metrics but the times.
without_times() { sed 's/,"images_per_s".*//' "$1/metrics.jsonl"; }
same_run() {
    local f
    for f in last.safetensors best.safetensors labels.npy; do cmp "$1/$f" "$2/$f" || fail "$f differs between $1 and $2"; done
    diff <(without_times "$1") <(without_times "$2") || fail "metrics differ between $1 and $2"
}
