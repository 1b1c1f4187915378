#!/usr/bin/env bash
# One network, two, or several: what each run leaves, that one network is trained as it is in a pair of strangers, that runs of
# one and of three resume to the same bits, and that run folders of the version before go on.
. "$SMKD_SRC/tests/tools/train.bash"
make_peers
"$smkdc" new resnet8 --width 8 --input 1x28x28 --classes 10 --seed 7 -o c.onnx
"$smkdc" compile c.onnx -o c.smkd

peers() { local out=$1; shift; ${exec:-} "$run" train "${few[@]}" --epochs 4 --lr-milestones 2,3 --threads 1 -o "$out" "$@" 2>"$out.log"; }

# Without an exchange, nobody notices the others.
peers one --method ce --peer a.smkd || fail "one network: $(cat one.log)"
peers two --method ce --peer a.smkd --peer b.smkd || fail "two: $(cat two.log)"
peers three --method ce --peer a.smkd --peer b.smkd --peer c.smkd || fail "three: $(cat three.log)"
for r in one two three; do "$run" export $r --peer 0 -o $r.onnx || fail "export of $r"; done
cmp one.onnx two.onnx && cmp one.onnx three.onnx || fail "a network trained by itself is another than in company"
[ "$(head -n 1 one/metrics.csv | tr ',' '\n' | grep -c '^loss_')" = 1 ] || fail "columns of one network"
[ "$(head -n 1 three/metrics.csv | tr ',' '\n' | grep -c '^loss_')" = 3 ] || fail "columns of three networks"
head -n 1 one/metrics.csv | grep -q selected && fail "one network has nobody to select for"
grep -q ensemble one.log && fail "an ensemble of one is told"
"$run" eval three --data fashion | grep -q '^peer 2' || fail "eval of three"
refuses '--peer 3: three has 3 networks' "$run" export three --peer 3 -o x.onnx

# Killed between epochs and resumed, with fewer flags: the same bytes.
for n in one three; do
    case $n in one) p=(--peer a.smkd --method zero) ;; *) p=(--peer a.smkd --peer b.smkd --peer c.smkd --method smkd-p --eta 1) ;; esac
    peers whole.$n "${p[@]}" || fail "whole $n"
    exec=exec peers part.$n "${p[@]}" & # so that the signal reaches the program
    pid=$!
    for _ in $(seq 600); do [ -e part.$n/last.safetensors ] && break; sleep 0.05; done
    kill -9 $pid 2>/dev/null || true
    wait $pid 2>/dev/null || true
    "$run" train --resume -o part.$n --threads 2 2>part.$n.log || fail "resume of $n: $(cat part.$n.log)"
    cmp whole.$n/last.safetensors part.$n/last.safetensors || fail "$n: other bits after a resume"
    cut -d, -f1-8 whole.$n/metrics.csv >w; cut -d, -f1-8 part.$n/metrics.csv >p
    cmp w p || fail "$n: other metrics after a resume"
done

# As the version before wrote it: the method was called loss, a pair's columns stood in another order.
peers old --method smkd-p --peer a.smkd --peer b.smkd || fail "a pair"
cp -r old before
sed -i 's/"method":/"loss":/; s/"class_weights"/"unknown"/; s/"label_smoothing"/"unheard_of"/' before/config.json
sed -i 's/"epochs":\t*4,/"epochs":\t4,/' before/config.json
"$run" train --resume -o before 2>before.log || fail "a folder of the version before: $(cat before.log)"
"$run" eval before --data fashion >/dev/null || fail "eval of a folder of the version before"
# Flags from a file: the same run; the command line wins; typing errors are named.
cat >flags.json <<'J'
{"peer": ["a.smkd", "b.smkd"], "data": "fashion", "train_limit": 512, "test-limit": 300, "epochs": 4,
 "lr-milestones": "2,3", "threads": 1, "nesterov": false, "labels": null, "method": "all", "output_dir": "other"}
J
"$run" train --config flags.json --loss smkd-p -o file 2>file.log || fail "--config: $(cat file.log)"
cmp old/last.safetensors file/last.safetensors || fail "flags of a file make another run"
"$run" train --config old/config.json -o again 2>again.log || fail "a run folder's config.json: $(cat again.log)"
cmp old/last.safetensors again/last.safetensors || fail "config.json of a run makes another run"
sed 's/"epochs"/"epoch"/' flags.json >typo.json
refuses 'typo.json: "epoch" is no flag of this command' "$run" train --config typo.json -o r
echo '{"lr": {"a": 1}}' >odd.json
refuses 'odd.json: "lr" is neither a number' "$run" train --config odd.json -o r
refuses 'nowhere.json' "$run" train --config nowhere.json -o r
# All of it is read: a writer whose reader has gone ends by a signal.
"$run" methods | grep '^smkd-p ' >/dev/null || fail "methods"
"$run" methods smkd-s | grep 'b2 is 0' >/dev/null || fail "methods smkd-s"
"$run" methods smkd-s | grep -- '--b2' >/dev/null && fail "smkd-s shows a flag that it fixes"
"$run" train --method huber --help | grep huber-delta >/dev/null || fail "the flags of a method"
"$run" train --method huber --help | grep -- '--eta' >/dev/null && fail "flags of another method"
"$run" methods --markdown --costs "$SMKD_SRC/bench/method_costs.csv" | cmp - "$SMKD_SRC/docs/methods.md" ||
    fail "docs/methods.md is not what smkd-run methods --markdown --costs bench/method_costs.csv prints"
exit 0
