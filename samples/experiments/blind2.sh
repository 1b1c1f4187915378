#!/usr/bin/env bash
# Blind KD, Table 2 and Figure 1: which labels are found by the teacher (P_T), the student (P_S) and both (P_A), with each of Otsu's
# numbers, at the tipping point. Two networks are trained on human labels of CIFAR-10 until the student's confidence has passed its peak,
# then anew up to that epoch, where the same seed makes the same networks; smkd-run detect-noise judges the labels they were trained
# on. Results in runs/experiments/blind2: table.md, a folder for each run, and histogram.svg of the last labels and seed.
# About 40 minutes on two cores.
#
# usage: samples/experiments/blind2.sh DATA [--full]    DATA has data_batch_1.bin ... test_batch.bin and the labels cifar10n_*.npy
#        (one integer for each training image); --full: all images, PreAct ResNet-18, five sets of labels and five seeds
set -euo pipefail
fail() { echo "blind2.sh: $*" >&2; exit 1; }
[ $# -ge 1 ] && [ $# -le 2 ] && [ "${2:---full}" = --full ] || { sed -n 's/^# usage: /usage: /p' "$0" >&2; exit 2; }
data=$(cd "$1" && pwd) || exit 1
cd "$(dirname "$0")/../.."
bin=${SMKD_BUILD:-build}
[ -x "$bin/smkd-run" ] || fail "$bin/smkd-run: is not there; build the project first (README.md)"

labels=(aggre random1 worse) seeds=(1 2 3) epochs=${BLIND2_EPOCHS:-30} limit=${BLIND2_LIMIT:-10000}
new=(resnet8s --width 24)
if [ "${2:-}" = --full ]; then
    labels=(aggre random1 random2 random3 worse) seeds=(1 2 3 4 5) epochs=75 limit=0 new=(preact_resnet18)
fi
for l in "${labels[@]}"; do [ -e "$data/cifar10n_$l.npy" ] || fail "$data/cifar10n_$l.npy: is not there: the human labels $l"; done
out=${BLIND2_OUT:-runs/experiments/blind2}
mkdir -p "$out"
for s in 0 1; do
    [ -e "$out/$s.smkd" ] && continue
    "$bin/smkdc" new "${new[@]}" --input 3x32x32 --classes 10 --seed $s -o "$out/$s.onnx"
    "$bin/smkdc" compile "$out/$s.onnx" -o "$out/$s.part.smkd" && mv "$out/$s.part.smkd" "$out/$s.smkd"
done

# Without a robust stage: alphas of 0 leave the labels as they are.
train() { # LABELS SEED EPOCHS FOLDER
    "$bin/smkd-run" train --peer "$out/0.smkd" --peer "$out/1.smkd" --data "$data" --labels "$data/cifar10n_$1.npy" --seed "$2" \
        --method blind --blind-alpha1 0 --blind-alpha2 0 --blind-alpha3 0 --blind-alpha4 0 --epochs "$3" --train-limit "$limit" \
        --batch-size 128 --lr 0.02 --lr-scheduler constant --momentum 0.9 --weight-decay 5e-4 --augment crop-flip --pad-mode reflect \
        --pad 4 -o "$4" 2>"$4.log" || fail "$(tail -n 1 "$4.log")"
}

: >"$out/found.txt" # LABELS PROBABILITY NUMBER SEED F1 PRECISION RECALL
for l in "${labels[@]}"; do
    for seed in "${seeds[@]}"; do
        run=$out/$l-$seed
        [ -e "$run-far/done" ] || { train "$l" "$seed" "$epochs" "$run-far" && touch "$run-far/done"; }
        tip=$(sed -n 's/.*epoch \([0-9]*\) was the tipping point.*/\1/p' "$run-far.log")
        where="tipping point at epoch $tip"
        [ -n "$tip" ] || { tip=$epochs && where="no tipping point in $epochs epochs, judged after the last"; }
        [ -e "$run/done" ] || { rm -rf "$run" && train "$l" "$seed" "$tip" "$run" && touch "$run/done"; }
        for who in T S A; do
            case $who in T) ask=(--network 0) ;; S) ask=(--network 1) ;; A) ask=() ;; esac
            for cut in mu1 s mu2; do
                "$bin/smkd-run" detect-noise "$run" "${ask[@]}" --threshold $cut -o "$run/$who.csv" --histogram "$run/$who.svg" >"$run/$who.txt" 2>"$run.log" ||
                    fail "$(tail -n 1 "$run.log")"
                sed -n "s/^precision \([0-9.]*\) %, recall \([0-9.]*\) %, F1 \([0-9.]*\) %.*/$l P_$who $cut $seed \3 \1 \2/p" "$run/$who.txt" >>"$out/found.txt"
            done
        done
        echo "$l, seed $seed: $where; by both and mu1 $(sed -n "s/^$l P_A mu1 $seed [0-9.]* /precision and recall /p" "$out/found.txt") %"
        cp "$run/A.svg" "$out/histogram.svg"
    done
done

# Means and deviations (n - 1) over the seeds.
awk '
{ key = $2 " | " $3; if (!(key in row)) { row[key] = ++rows; name[rows] = key }
  if (!($1 in column)) { column[$1] = ++columns; title[columns] = $1 }
  for (i = 0; i < 3; i++) { at = row[key] "," column[$1] "," i; n[at]++; sum[at] += $(5 + i); square[at] += $(5 + i) ^ 2 } }
END {
    printf "| prob | threshold |"; for (c = 1; c <= columns; c++) printf " %s: F1 | precision | recall |", title[c]
    printf "\n|---|---|"; for (c = 1; c <= 3 * columns; c++) printf "---:|"; printf "\n"
    for (r = 1; r <= rows; r++) {
        printf "| %s |", name[r]
        for (c = 1; c <= columns; c++) for (i = 0; i < 3; i++) {
            at = r "," c "," i; m = sum[at] / n[at]; v = n[at] > 1 ? (square[at] - n[at] * m * m) / (n[at] - 1) : 0
            printf " %.1f ± %.1f |", m, sqrt(v > 0 ? v : 0)
        }
        printf "\n"
    }
}' "$out/found.txt" >"$out/table.md"
cat "$out/table.md"
