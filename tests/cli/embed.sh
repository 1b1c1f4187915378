#!/usr/bin/env bash
# quick: samples/embed.c loads an artifact, answers, and learns
set -u
smkdc="${SMKD_BUILD:?}/smkdc" embed="$SMKD_BUILD/samples/embed"
[ -x "$smkdc" ] || { echo "skipped: smkdc has not been built"; exit 77; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cd "$dir" || exit 1
"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 10 -o m.onnx && "$smkdc" compile m.onnx -o m.smkd || exit 1
"$embed" m.smkd >out.txt 2>err.txt || { echo "embed failed"; cat out.txt err.txt; exit 1; }
[ ! -s err.txt ] || { cat err.txt; exit 1; }
[ "$(grep -c '^image 0: class [0-9] of 10, logit ' out.txt)" = 2 ] || { echo "no answers"; cat out.txt; exit 1; }
awk '/^step/ { loss[n++] = $NF }
     END { if (n < 5 || !(loss[n - 1] < 0.7 * loss[0])) { print "the loss did not go down: " loss[0] " to " loss[n - 1]; exit 1 } }' out.txt ||
    { cat out.txt; exit 1; }
# Without an artifact: one line and a code of its own.
echo "not an artifact" >text.smkd
"$embed" text.smkd >out.txt 2>err.txt && { echo "embed took a text file"; exit 1; }
[ "$(wc -l <err.txt)" = 1 ] && grep -qF "text.smkd" err.txt || { cat err.txt; exit 1; }
