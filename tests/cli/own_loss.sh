#!/usr/bin/env bash
# A loss that a user wrote as text is a method: what smkdc emit-loss prints trains to the bits of ours, resumes, and is refused by name
# where no run could give what it asks for.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
common=("${few[@]}" --augment crop-flip --noise symmetric:0.4 --epochs 2 --batch-size 64 --seed 3)
own() { "$run" train --peer a.smkd "${common[@]}" --method mine.ir "$@"; }

"$smkdc" emit-loss elr --peers 1 >mine.ir
own --scalar lambda=3 --scalar beta=0.7 -o own 2>own.log || fail "$(tail -n 1 own.log)"
"$run" train --peer a.smkd "${common[@]}" --method elr -o elr 2>elr.log
same_run own elr
own --scalar lambda=3 --scalar beta=0.7 --threads 1 -o one 2>one.log
same_run own one
(exec "$run" train --peer a.smkd "${common[@]}" --method mine.ir --scalar 'lambda=3;beta=0.7' -o killed 2>killed.log) &
pid=$!
for _ in $(seq 3000); do [ -s killed/metrics.jsonl ] && break; sleep 0.02; done
kill -9 $pid 2>/dev/null || true
wait $pid 2>/dev/null || true
"$run" train --resume -o killed 2>killed.log || fail "$(tail -n 1 killed.log)"
same_run own killed

# Made beforehand it is the same; two networks have what a graph of two says.
"$smkdc" loss mine.ir -o mine.smkd
"$run" train --peer a.smkd "${common[@]}" --loss ./mine.smkd --scalar lambda=3 --scalar beta=0.7 -o file 2>file.log
cmp own/last.safetensors file/last.safetensors || fail "a loss made beforehand gave other bits"
"$smkdc" emit-loss smkd-p >pair.ir
"$run" train --peer a.smkd --peer b.smkd "${common[@]}" --method pair.ir --scalar eta=1.05 --scalar b2=-5 --scalar b1=10 --scalar rho=0.5 -o pair 2>pair.log ||
    fail "$(tail -n 1 pair.log)"
"$run" train --peer a.smkd --peer b.smkd "${common[@]}" --method smkd-p --eta 1.05 -o ours 2>ours.log
cmp pair/last.safetensors ours/last.safetensors || fail "the pair's loss from its text gave other bits"

# It may ask what its network says itself, as in training, or its average, in inference.
"$smkdc" emit-loss cs-kd --peers 1 >guess.ir
sed 's/guess\.0/average.0/' guess.ir >average.ir
for f in guess average; do
    "$run" train --peer a.smkd "${common[@]}" --method $f.ir --scalar temperature=4 --scalar distill_weight=1 -o $f 2>$f.log || fail "$f: $(tail -n 1 $f.log)"
done
if cmp -s guess/last.safetensors average/last.safetensors; then fail "a guess is what an average says"; fi
"$run" eval average --ema >eval.txt 2>eval.log || fail "the average is not kept: $(cat eval.log)"

bad() { # WANTED SED-PROGRAM
    sed "$2" mine.ir >bad.ir
    ! cmp -s bad.ir mine.ir || fail "the fault $2 is none"
    if "$run" train --peer a.smkd "${common[@]}" --method bad.ir -o no 2>no.log; then fail "took $2"; fi
    grep -q "$1" no.log || fail "$2: $(cat no.log)"
    [ "$(wc -l <no.log)" = 1 ] && [ ! -e no ] || fail "$2: more than a line, or a folder"
}
bad 'no run gives such an input' 's/"labels"/"label"/'
bad 'there is no output "loss.0"' 's/"loss.0"/"los.0"/'
bad 'there is no input "logits.0"' 's/"logits.0"/"logits.1"/'
bad 'bad.ir:' 's/one_hot(%1)/one_hot(%99)/'
bad 'is no single float32' 's/output "loss.0" %[0-9]*/output "loss.0" %20/'
refuses 'has no such number' own --scalar gamma=1 -o no
refuses 'expected NAME=X' own --scalar beta=much -o no
refuses 'cannot be read' "$run" train --peer a.smkd "${common[@]}" --method gone.ir -o no
refuses 'no loss for 2 networks' "$run" train --peer a.smkd --peer b.smkd "${common[@]}" --method mine.ir -o no
echo ok
