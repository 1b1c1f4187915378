#!/usr/bin/env bash
# ten steps on real images with Winograd and without end at the same loss; SMKD_CIFAR10 names a folder with CIFAR-10's files
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to compare with"; exit 77; }

data=${SMKD_CIFAR10:-/usr/share/datasets/fashion-mnist} input=1x28x28
[ -z "${SMKD_CIFAR10:-}" ] || input=3x32x32
[ -d "$data" ] || { echo "skipped: no images in $data (SMKD_CIFAR10, or Debian's dataset-fashion-mnist)"; exit 77; }
exec python3 "$SMKD_SRC/bench/winograd_curve.py" "$data" --input $input --build "$SMKD_BUILD" --quick
