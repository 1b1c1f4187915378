# What tests/cli/train_*.sh share: two small peers, and the checks they repeat.
. "$SMKD_SRC/tests/tools/common.bash"
[ -e /usr/share/datasets/fashion-mnist ] || { echo "skipped: Debian's dataset-fashion-mnist is not installed"; exit 77; }

# Made once for each build, in one step: what smkdc makes of the same is the same to the byte (tests/cli/smkdc_stages.sh).
make_peers() {
    local made k
    made=$SMKD_BUILD/tests/peers.$(cksum <"$smkdc" | tr -d ' ')
    if [ ! -e "$made" ]; then
        mkdir "$made.$$"
        "$smkdc" new resnet8 --width 8 --input 1x28x28 --classes 10 --seed 0 -o "$made.$$/a.onnx"
        "$smkdc" new resnet8 --width 6 --input 1x28x28 --classes 10 --seed 1 -o "$made.$$/b.onnx"
        for k in a b; do "$smkdc" compile "$made.$$/$k.onnx" -o "$made.$$/$k.smkd"; done
        mv -T "$made.$$" "$made" 2>/dev/null || rm -r "$made.$$" # another test was first
    fi
    cp "$made"/* .
}

# The first 2048 and 1000 images of Fashion-MNIST, unpacked: each run that reads all 70,000 spends a quarter of a second on it.
mkdir fashion
first() { # FILE BYTES COUNT: so many bytes of it, with the count of images that they are
    { gzip -dc "/usr/share/datasets/fashion-mnist/$1.gz" || true; } 2>/dev/null | head -c "$2" >"fashion/$1"
    printf "\\x$(printf %02x $(($3 >> 8)))\\x$(printf %02x $(($3 & 255)))" | dd of="fashion/$1" bs=1 seek=6 conv=notrunc status=none
}
first train-images-idx3-ubyte $((16 + 2048 * 784)) 2048
first train-labels-idx1-ubyte $((8 + 2048)) 2048
first t10k-images-idx3-ubyte $((16 + 1000 * 784)) 1000
first t10k-labels-idx1-ubyte $((8 + 1000)) 1000

few=(--data fashion --train-limit 512 --test-limit 300)
# The flags most of these tests train with; a flag of the caller's replaces the one here, since none may be given twice. One thread:
# beside another test two wait for each other.
train() {
    local pair flags=()
    for pair in "--noise symmetric:0.4" "--augment crop-flip" "--epochs 3" "--eta 1.05" "--batch-size 100" "--threads 1"; do
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
