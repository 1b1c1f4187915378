#!/usr/bin/env bash
# Schedules in a run: plateau lowers the rate by what was measured and resumes to the same bits, --patience ends a run.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers

rates() { sed 's/.*"lr":\([^,]*\),.*/\1/' "$1/metrics.jsonl" | tr '\n' ' '; }
measures() { sed 's/.*"ensemble":{"test_top1":\([^,]*\),.*/\1/' "$1/metrics.jsonl"; }
# At next to no rate the accuracy stands nearly still, so that there are epochs without a better one.
plateau=(--lr-scheduler plateau --lr-patience 0 --lr-gamma 0.5 --lr 0.0001 --seed 3)
train "${plateau[@]}" --epochs 6 -o whole 2>whole.log
want=$(measures whole | awk 'BEGIN { lr = 0.0001 } { printf "%g ", lr; if (NR == 1 || $1 > best * 1.0001) best = $1; else lr /= 2 }')
[ "$(rates whole)" = "$want" ] || fail "the rates of plateau were $(rates whole) and should have been $want"
[ "$(rates whole | tr ' ' '\n' | sort -u | wc -l)" -gt 2 ] || fail "plateau never lowered the rate: this test shows nothing"
exec=exec train "${plateau[@]}" --epochs 6 -o killed 2>killed.log &
pid=$!
for _ in $(seq 1200); do [ "$(wc -l 2>/dev/null <killed/metrics.jsonl || echo 0)" -ge 2 ] && break; sleep 0.05; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>resumed.log
same_run whole killed
grep -q 'plateau.rate' whole/last.safetensors || fail "a checkpoint does not know the rate of plateau"

train --lr 0.0001 --epochs 12 --patience 2 --seed 3 -o short 2>short.log
read -r best last <<<"$(measures short | awk '$1 > best { best = $1; at = NR } END { print at, NR }')"
[ "$last" = $((best + 2)) ] || fail "--patience 2 ended after epoch $last, and epoch $best was the best"
grep -q "epoch $last: no better one since epoch $best: --patience 2 ends the run" short.log || fail "nothing is said about the end"
cp -r short again
"$run" train --resume -o again 2>again.log # it ended, and stays so
same_run short again
"$run" train --resume --patience 0 -o again -q 2>on.log
[ "$(wc -l <again/metrics.jsonl)" = 12 ] || fail "--resume --patience 0 does not go on"
refuses '--lr-step-size: --lr-scheduler multistep does not look at it' train --lr-step-size 3 -o no
refuses 'needs --lr-gamma' train --lr-scheduler exponential -o no
echo ok
