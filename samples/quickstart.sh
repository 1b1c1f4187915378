#!/usr/bin/env bash
# From nothing to two trained ONNX files: installs what is missing, builds, and trains two different backbones on
# Fashion-MNIST with 40 % of the labels wrong, once with selective mutual distillation and once with each of its rivals, on
# the same data, noise and seed. About ten minutes on two cores. Results stay in runs/quickstart.
set -euo pipefail
cd "$(dirname "$0")/.."
. samples/install.sh

# The setting of Fashion-MNIST at which networks this small memorise wrong labels, which is where selection pays.
images=3000 test_images=5000 epochs=30 seed=1
out=runs/quickstart
data=(--data fashion-mnist --test-limit $test_images --mean 0.286 --std 0.353)
train=(--train-limit $images --noise symmetric:0.4 --augment none --epochs $epochs --batch-size 128 --lr 0.1 --momentum 0.9 --weight-decay 5e-4
       --lr-scheduler multistep --lr-gamma 0.2 --seed $seed)

say() { printf '\n== %s\n' "$*"; }
start=$SECONDS

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES

say "Building a release in build/"
[ -e build/build.ninja ] || cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF >/dev/null
cmake --build build --target smkdc smkd-run | tail -n 1
built=$SECONDS

say "Making and compiling two backbones"
rm -rf "$out"
mkdir -p "$out"
build/smkdc new resnet8s --width 32 --input 1x28x28 --classes 10 --seed 0 -o "$out/a.onnx"
build/smkdc new resnet8s --width 24 --input 1x28x28 --classes 10 --seed 1 -o "$out/b.onnx"
for p in a b; do build/smkdc compile "$out/$p.onnx" -o "$out/$p.smkd"; done

# The field of a run's last epoch, by column name.
last() { awk -F, -v c="$2" 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == c) k = i } END { print $k }' "$out/$1/metrics.csv"; }

declare -A seconds
run() { # NAME FLAG...
    local name=$1 t=$SECONDS
    shift
    say "Training: $name"
    build/smkd-run train --peer "$out/a.smkd" --peer "$out/b.smkd" "${data[@]}" "${train[@]}" --output-dir "$out/$name" "$@"
    seconds[$name]=$((SECONDS - t))
}
run smkd-p --loss smkd-p --refine proselflc --eta 2 --b2 -4 --b1 8
run all --loss all --refine proselflc --b1 8
run zero --loss zero --refine proselflc --b1 8
run ce --loss ce

say "Exporting the SMKD peers to ONNX and evaluating the exported files"
for k in 0 1; do
    build/smkd-run export "$out/smkd-p" --checkpoint last --peer $k -o "$out/trained-$k.onnx"
    build/smkdc compile "$out/trained-$k.onnx" -o "$out/trained-$k.smkd"
done
build/smkd-run eval --peer "$out/trained-0.smkd" --peer "$out/trained-1.smkd" "${data[@]}"

say "Fashion-MNIST, $images images, 40 % symmetric noise, $epochs epochs: test accuracy in % after the last epoch"
printf '%-24s %8s %8s %9s %9s %6s\n' method "peer A" "peer B" ensemble exchanged time
for m in smkd-p all zero ce; do
    case $m in
        smkd-p) what="SMKD-P + ProSelfLC" ;;
        all) what="ALL + ProSelfLC" ;;
        zero) what="ZERO + ProSelfLC" ;;
        ce) what="CE" ;;
    esac
    printf '%-24s %8.1f %8.1f %9.1f %8.0f%% %5ds\n' "$what" "$(last $m test_top1_0)" "$(last $m test_top1_1)" \
        "$(last $m ensemble_test_top1)" "$(awk -v a="$(last $m selected_share_0)" -v b="$(last $m selected_share_1)" 'BEGIN { print 50 * (a + b) }')" \
        "${seconds[$m]}"
done
echo
echo "Trained networks: $out/trained-0.onnx, $out/trained-1.onnx. Metrics of each epoch: $out/*/metrics.csv"
echo "Installing and building took $((built - start)) s, the rest $((SECONDS - built)) s."
