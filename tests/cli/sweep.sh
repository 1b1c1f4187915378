#!/usr/bin/env bash
# smkd-run sweep: the same tables and figure for any number of jobs, killed and resumed; failing runs; reports; bad descriptions.
. "$SMKD_SRC/tests/tools/train.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to look at the results with"; exit 77; }
export XDG_CACHE_HOME=$tmp/cache

sweep() { "$run" sweep "$@"; }
cat >common.json <<'J'
{
    "models": {"a": {"new": "resnet8", "width": 4, "input": "1x28x28", "classes": 10, "seed": 0},
               "b": {"new": "resnet8", "width": 6, "input": "1x28x28", "classes": 10, "seed": 1, "compile": {"max-batch": 128}}},
    "common": {"peer": ["a", "b"], "data": "fashion", "train_limit": 256, "test-limit": 200, "noise": "symmetric:0.4", "epochs": 2,
               "batch-size": 100, "lr-scheduler": "cosine", "lr-min": 1.234567890123456e-7},
    "cases": [{"name": "SMKD-P <eta & co>", "method": "smkd-p", "eta": 1.05}, {"name": "CE", "method": "ce"}],
    "grid": {"lr": [0.1, 0.05], "seed": [1, 2, 3]},
    "measure": {"Ensemble": "ensemble_test_top1", "Networks": "test_top1"}
}
J
# description NAME [PATCH]: NAME.json, common.json with output_dir NAME and what PATCH (JSON) replaces of its members.
description() { python3 - "$1" "${2:-{\}}" <<'P'
import json, sys
d = json.load(open("common.json"))
d["output_dir"] = sys.argv[1]
for key, value in json.loads(sys.argv[2]).items():
    d[key] = {**d[key], **value} if isinstance(value, dict) and isinstance(d.get(key), dict) else value
json.dump(d, open(sys.argv[1] + ".json", "w"))
P
}
# Everything but times, which are results.csv's last column.
same_results() {
    local f
    for f in table.csv table.md figure.svg; do cmp "$1/$f" "$2/$f" || fail "$f differs between $1 and $2"; done
    cmp <(sed 's/,[^,]*$//' "$1/results.csv") <(sed 's/,[^,]*$//' "$2/results.csv") || fail "results.csv differs between $1 and $2"
}

# --- dry run: nothing is written, and the cheapest comes first --------------------------------------------------------
description one
sweep one.json --dry-run >dry.txt
[ ! -e one ] || fail "--dry-run made a folder"
head -n 1 dry.txt | grep -qx '12 of 12 runs would be run in one' || fail "--dry-run: $(head -n 1 dry.txt)"
grep -q '^CE_lr=0.05_seed=3 .*--peer one/models/a.smkd --peer one/models/b.smkd .*--train-limit 256' dry.txt || fail "--dry-run: $(cat dry.txt)"
[ "$(sed -n 2p dry.txt | cut -d' ' -f1)" = 'SMKD-P-eta-co-_lr=0.1_seed=1' ] || fail "runs of one cost are not in the order of the file"

# --- one at a time, two at a time -------------------------------------------------------------------------------------
sweep one.json >one.txt 2>one.log
description two
sweep two.json --jobs 2 >two.txt 2>two.log
cmp one.txt two.txt || fail "two jobs print another table"
same_results one two
for f in one/runs/*; do same_run "$f" "two/runs/$(basename "$f")"; done
[ "$(grep -c '^\[[0-9]*/12\] .* Ensemble [0-9.]* .*ETA [0-9:]*$' one.log)" = 12 ] || fail "no line a run: $(cat one.log)"
share=$(($(nproc) > 3 ? $(nproc) / 2 : 1))
grep -q "; $share thread" two/runs/CE_lr=0.1_seed=1/log.txt || fail "two jobs share no cores: $(cat two/runs/CE_lr=0.1_seed=1/log.txt)"
python3 - <<'P'
import csv, math, statistics, xml.dom.minidom
rows = list(csv.DictReader(open("one/results.csv")))
assert len(rows) == 24 and {r["state"] for r in rows} == {"finished"} and {r["epochs"] for r in rows} == {"2"}, rows
for r in rows:  # each number is the run's own
    last = list(csv.DictReader(open(f"one/runs/{r['run']}/metrics.csv")))[-1]
    want = float(last["ensemble_test_top1"]) if r["measure"] == "Ensemble" else (float(last["test_top1_0"]) + float(last["test_top1_1"])) / 2
    assert abs(float(r["value"]) - want) < 1e-12, (r, want)
cells = list(csv.DictReader(open("one/table.csv")))
assert len(cells) == 8
text = open("one.txt").read()
assert text.split("\n")[0].split() == ["case", "lr=0.1", "Ensemble", "lr=0.1", "Networks", "lr=0.05", "Ensemble", "lr=0.05", "Networks"], text
for c in cells:
    v = [float(r["value"]) for r in rows if all(r[k] == c[k] for k in ("case", "lr", "measure"))]
    assert len(v) == 3 == int(c["runs"])
    assert math.isclose(float(c["mean"]), statistics.mean(v)) and math.isclose(float(c["sd"]), statistics.stdev(v), abs_tol=1e-9), c
    shown = f"{statistics.mean(v):.2f} ± {statistics.stdev(v):.2f}"
    assert shown in text and shown in open("one/table.md").read(), (shown, text)
svg = xml.dom.minidom.parse("one/figure.svg")
assert len([r for r in svg.getElementsByTagName("rect") if r.getElementsByTagName("title")]) == 8  # bars
assert any(t.firstChild and t.firstChild.data == "SMKD-P <eta & co>" for t in svg.getElementsByTagName("text"))
P
# Done is done: no run is begun again, and the folder knows what it is.
stat -c '%n %Y' one/runs/*/last.safetensors >before.txt
sweep one >again.txt 2>again.log
cmp one.txt again.txt || fail "a finished sweep prints another table"
[ ! -s again.log ] || fail "a finished sweep runs something: $(cat again.log)"
stat -c '%n %Y' one/runs/*/last.safetensors | cmp - before.txt || fail "a finished run was run again"
# All epochs in metrics.csv are not all of a run: the last checkpoint comes later.
rm one/runs/CE_lr=0.1_seed=2/finished
sweep one >again.txt 2>again.log
grep -q '^\[12/12\] CE_lr=0.1_seed=2  0:0' again.log && cmp one.txt again.txt || fail "a run that was killed at its very end: $(cat again.log)"
# A run's flags are a file for train, and give the same run.
"$run" train --config one/runs/CE_lr=0.1_seed=2/flags.json -o alone -q
same_run alone one/runs/CE_lr=0.1_seed=2

# --- killed, and resumed ----------------------------------------------------------------------------------------------
longer='{"common": {"epochs": 12, "train_limit": 512}, "grid": {"lr": [0.1], "seed": [1, 2]}, "curve": "test_top1"}'
description whole "$longer"
sweep whole.json >whole.txt 2>whole.log
[ "$(python3 -c 'import xml.dom.minidom as x; print(len([p for p in x.parse("whole/figure.svg").getElementsByTagName("path") if p.getAttribute("class") == "l"]))')" = 4 ] ||
    fail "not two curves and their legend"
description killed "$longer"
lines() { { cat killed/runs/*/metrics.csv 2>/dev/null || true; } | wc -l; }
ended() { { find killed/runs -name finished 2>/dev/null || true; } | wc -l; }
# SIGNAL FLAG...: sends it once a run has ended, another is half done, and something was done; the exit code in $code
run_until_half() {
    local signal=$1 pid from
    shift
    from=$(lines)
    "$run" sweep killed.json "$@" >killed.txt 2>killed.log & pid=$!
    for _ in $(seq 2400); do
        [ "$(lines)" -gt $((from + 1)) ] && [ "$(ended)" -ge 1 ] && [ "$(lines)" -ge $((13 * $(ended) + 2)) ] && break
        sleep 0.02
    done
    kill -"$signal" $pid
    code=0
    wait $pid 2>/dev/null || code=$?
}
nobody_trains() {
    local lock
    for _ in $(seq 200); do
        for lock in killed/runs/*/.lock; do [ ! -e "/proc/$(cat "$lock")" ] || { sleep 0.02; continue 2; }; done
        return 0
    done
    fail "a run goes on without its sweep"
}
run_until_half KILL
nobody_trains
sweep killed.json --report >half.txt
grep -q 'of 4 runs are finished' half.txt || fail "a report of a sweep that was killed: $(cat half.txt)"
[ "$(grep -c ',half,' killed/results.csv)" -ge 2 ] || fail "no run is half done: $(cat killed/results.csv)"
python3 -c 'import xml.dom.minidom as x; x.parse("killed/figure.svg")'
first=$(find killed/runs -name finished -printf '%h\n' | head -n 1)
was=$(stat -c %Y.%i "$first/last.safetensors")
run_until_half TERM --jobs 2
[ $code = 143 ] || fail "asked to end it ends with exit code $code"
grep -q '^stopped: [1-3] of 4 runs are finished; the same command goes on from here$' killed.log || fail "asked to end: $(cat killed.log)"
nobody_trains
sweep killed.json --dry-run >dry.txt
grep -q '(from epoch [0-9]* of 12) --' dry.txt || fail "--dry-run does not tell of a half run: $(cat dry.txt)"
sweep killed.json --jobs 2 >killed.txt 2>killed.log
cmp whole.txt killed.txt || fail "killed and resumed, a sweep prints another table"
same_results whole killed
for f in whole/runs/*; do same_run "$f" "killed/runs/$(basename "$f")"; done
[ "$was" = "$(stat -c %Y.%i "$first/last.safetensors")" ] || fail "a finished run was run again"

# --- a run that fails; --patience -------------------------------------------------------------------------------------
description fails '{"cases": [{"name": "good", "epochs": 2}, {"name": "early", "epochs": 9, "lr": 1e-7, "lr-min": 0, "patience": 1},
                              {"name": "bad", "labels": "none.txt", "epochs": 1}],
                    "grid": {"lr": [0.1], "seed": [1]}}'
refuses '"lr" is in both "case" and "lr"' sweep fails.json
sed -i 's/"grid": {"lr": \[0.1\], /"grid": {/' fails.json
code=0
sweep fails.json >fails.txt 2>fails.log || code=$?
[ $code = 1 ] || fail "a run fails and the exit code is $code"
grep -q '^\[0/3\] bad_seed=1  failed after 0:0[0-9]: none.txt: ' fails.log || fail "a run that fails: $(cat fails.log)"
grep -q '^1 run failed; the same command tries again$' fails.log || fail "a run that fails: $(cat fails.log)"
grep -q '^bad  *-  *-$' fails.txt || fail "the table of a sweep with a failure: $(cat fails.txt)"
[ "$(wc -l <fails/runs/early_seed=1/metrics.csv)" -lt 10 ] || fail "--patience ended nothing: this test shows nothing"
awk 'BEGIN { for (i = 0; i < 256; i++) print i % 10 }' >none.txt
sweep fails.json >fails.txt 2>fails.log
grep -q '^3 runs in fails: 2 finished, 0 half done, 1 to begin' fails.log || fail "the second time: $(cat fails.log)"
# A flag that changes no epoch, but where the run ends.
sed -i 's/"patience": 1/"patience": 0/' fails.json
sweep fails.json >fails.txt 2>fails.log
[ "$(wc -l <fails/runs/early_seed=1/metrics.csv)" = 10 ] || fail "without --patience the run does not go on: $(cat fails.log)"

# --- what is not the same run -----------------------------------------------------------------------------------------
description one '{"common": {"weight-decay": 0.01}}'
refuses 'one/runs/SMKD-P-eta-co-_lr=0.1_seed=1: was made with another configuration: --weight-decay 0.01 (was 0.0005); move it away' sweep one.json
description one '{"cases": [{"name": "CE", "method": "zero"}]}'
refuses '--method zero (was ce)' sweep one.json --report
description one '{"models": {"a": {"new": "resnet8", "width": 8, "input": "1x28x28", "classes": 10}}}'
refuses 'one/models/a.smkd: was made from something else, as one/models/a.json has it' sweep one.json
description one '{"models": {"c": {"new": "resnet8", "width": 4, "input": "1x28x28", "classes": 10, "seed": 5}}, "common": {"peer": ["a", "c"]}}'
refuses '--peer one/models/c.smkd is another network' sweep one.json
mkdir -p foreign/runs && cp -r alone foreign/runs/CE_lr=0.1_seed=2
description foreign
refuses 'holds a run that is none of a sweep' sweep foreign.json

# --- --full, and all of it on the command line ------------------------------------------------------------------------
description small '{"full": {"output_dir": "large", "common": {"noise": null, "train_limit": 700}, "grid": {"seed": [9]}}}'
sweep small.json --full --dry-run >full.txt
head -n 1 full.txt | grep -qx '4 of 4 runs would be run in large' || fail "--full: $(cat full.txt)"
grep -q -- '--train-limit 700' full.txt && ! grep -q -- '--noise' full.txt || fail "--full: $(cat full.txt)"
refuses 'one.json: has no "full" for --full' sweep one.json --full
cp one/models/?.smkd .
sweep -o line --grid method=ce,zero --grid seed=1,2,3 --grid nesterov=false,true --x seed --rows method --measure test_top1_0 --dry-run -- --peer a.smkd \
    --peer b.smkd --data fashion --epochs 1 --train-limit 256 --test-limit=100 >line.txt
grep -qx 'method=zero_seed=2_nesterov=true --data fashion --epochs 1 --method zero --nesterov --peer a.smkd --peer b.smkd --seed 2 --test-limit 100 --train-limit 256' \
    line.txt || fail "the command line's runs: $(cat line.txt)"
sweep -o line --grid method=ce,zero --grid seed=1,2,3 --x seed --measure test_top1_0 -- --peer a.smkd --peer b.smkd --data fashion \
    --epochs 1 --train-limit 256 --test-limit=100 >line.txt 2>line.log
grep -q '^method  *seed=1  *seed=2  *seed=3$' line.txt || fail "the command line's table: $(cat line.txt)"
sweep line --report | cmp - line.txt || fail "the folder does not know the sweep"
mv line moved
sweep moved --report | cmp - line.txt || fail "a folder that was moved is another sweep"
refuses 'no run has a number for the measure selected_hare; metrics.csv has epoch, progress, lr' sweep moved --report --measure selected_hare
rm a.smkd
sweep moved --report | cmp - line.txt || fail "without the networks there is no report"
sweep two --report --grid seed=1,2,3,4 >more.txt
grep -q '12 of 16 runs are finished' more.txt && grep -q '± [0-9.]* (3)' more.txt || fail "a table that lacks some: $(cat more.txt)"

# --- the example of the documentation, and the paper's tables ---------------------------------------------------------
sed -n '/^    {$/,/^    }$/p' "$SMKD_SRC/docs/sweep.md" >example.json
sweep example.json --dry-run >dry.txt
grep -qx '18 of 18 runs would be run in runs/noise' dry.txt || fail "the example has other runs: $(cat dry.txt)"
sweep example.json --full --dry-run >dry.txt
grep -qx '30 of 30 runs would be run in runs/noise-full' dry.txt || fail "the full example has other runs: $(cat dry.txt)"
sweep example.json -o example --grid seed=1 -- --epochs 1 --train-limit 128 --test-limit 100 >example.txt 2>example.log || fail "the example: $(cat example.log)"
grep -qx '| case | 20 % ensemble | 20 % mean of the networks | 40 % ensemble | 40 % mean of the networks |' example/table.md || fail "the example's table: $(cat example.log example.txt)"
[ -e example/runs/CE_noise=20-%_seed=1/finished ] || fail "the example's runs are called $(ls example/runs)"
for f in "$SMKD_SRC"/samples/experiments/*.json; do
    n=$(sed -n "s/^| \[$(basename "$f")\].* | \([0-9]*\) | [0-9.]* |$/\1/p" "$SMKD_SRC/samples/experiments/README.md")
    sweep "$f" --full --dry-run >dry.txt || fail "$f --full"
    sweep "$f" --dry-run >dry.txt || fail "$f"
    head -n 1 dry.txt | grep -q "^$n of $n runs " || fail "$f has not $n runs: $(head -n 1 dry.txt)"
done

# --- bad input: one line each, and nothing is written -----------------------------------------------------------------
bad() { # PATCH TEXT
    description no "$1"
    refuses "$2" sweep no.json
    [ ! -e no ] || fail "a folder was left: $2"
}
bad '{"colums": ["lr"]}' 'no.json: "colums" is no key of a sweep'
bad '{"common": {"etta": 2}}' 'no.json: common: "etta" is no flag of smkd-run train, did you mean "eta"'
bad '{"common": {"output_dir": "x"}}' 'no.json: common: "output_dir" is not for a sweep'
bad '{"common": {"lr": [0.1, 0.2]}}' 'belong into "grid"'
bad '{"common": {"drop_last": 3}}' '"drop_last" is either true or false'
bad '{"common": {"momentum": true}}' '"momentum" needs a value'
bad '{"common": {"momentum": {"x": 1}}}' 'common: "momentum" is neither a number, a text'
bad '{"common": {"momentum": "much"}}' 'run SMKD-P-eta-co-_lr=0.1_seed=1: --momentum much: expected a number from 0 to 1'
bad '{"common": {"huber-delta": 1}}' '--huber-delta is no flag of the method smkd-p'
bad '{"common": {"peer": ["a"]}}' 'the method smkd-p takes at least 2 networks, and "peer" has 1'
bad '{"common": {"peer": ["a", "c"]}}' 'no.json: --peer c'
bad '{"common": {"data": null}}' '--data is missing'
bad '{"grid": {"seed": []}}' 'grid: seed: expected a list with at least one value'
bad '{"grid": {"seed": 3}}' 'grid: seed: expected a list'
bad '{"grid": {"seed": [1, 1]}}' 'grid: seed: "1" is there twice'
bad '{"grid": {"sead": [1, 2]}}' 'grid: sead: "sead" is no flag of smkd-run train, did you mean "seed"'
bad '{"grid": {"noise level": [{"noise": "none"}]}}' 'a set of flags needs a "name"'
bad '{"cases": []}' 'cases: expected a list with at least one case'
bad '{"cases": [{"name": "x"}, {"name": "x", "method": "ce"}]}' 'cases: "x" is there twice'
bad '{"cases": [{"name": "x y", "method": "ce"}, {"name": "x/y", "method": "zero"}]}' 'two runs would both be called x-y_lr=0.05_seed=1'
bad '{"cases": [{"name": "x", "method": "ce"}, {"name": "y", "method": "ce"}]}' 'are the same run: no flag differs'
bad '{"cases": [{"name": "x", "method": "nothing"}]}' 'run x_lr=0.1_seed=1: there is no method "nothing"'
bad '{"rows": "case", "columns": ["case"]}' 'case is in the rows or columns twice'
bad '{"rows": "epochs"}' '"rows": epochs is nothing that the runs differ in (case, lr, seed)'
bad '{"x": "case"}' '"x": SMKD-P <eta & co> is no number on an axis'
bad '{"x": "lr", "columns": ["seed"]}' '"x" is the flag that makes the columns'
bad '{"measure": []}' '"measure" is a column of metrics.csv'
bad '{"models": {"a": {"width": 4}}}' 'models: a: expected {"new": ARCH,'
bad '{"models": {"a/b": {"new": "resnet8"}}}' "models: a/b: a model's name has letters"
bad '{"models": {"c": {"new": "resnet8", "input": "1x28x28", "widht": 8}}}' 'the model "c": smkdc new: unknown option --widht, did you mean --width'
bad '{"models": {"c": {"new": "resnet9"}}}' 'the model "c": '
bad '{"models": {"c": {"onnx": "none.onnx"}}}' 'none.onnx: No such file'
bad '{"full": 3}' '"full" is no object'
bad '{"output_dir": 3}' '"output_dir" is no text'
bad '{"output_dir": "/proc/no"}' '/proc/no: cannot be made'
touch file
bad '{"output_dir": "file/no"}' 'file/no: cannot be made'
echo '{"grid": {"seed": [1]}}' >no.json
refuses '"output_dir" is missing (or --output-dir DIR)' sweep no.json
echo '{"grid": ' >no.json
refuses 'no.json: is not JSON' sweep no.json
echo '{"grid": ["seed"]}' >no.json
refuses 'no.json: "grid" is no object' sweep no.json --grid seed=1
refuses 'none.json: No such file' sweep none.json
refuses 'no: there is nothing to report of' sweep two.json -o no --report
refuses '--grid seed: expected FLAG=VALUE' sweep two.json --grid seed
refuses 'unknown option --etta, did you mean --eta' sweep two.json -- --etta 3
refuses '--jobs 0: expected a whole number from 1 to 1024' sweep two.json --jobs 0
exec 9>two/.lock
python3 -c 'import fcntl, os; fcntl.flock(9, fcntl.LOCK_EX); os.write(9, b"4711\n")'
refuses 'two: process 4711 runs a sweep in this folder' sweep two.json
sweep two.json --report >report.txt
cmp report.txt two.txt || fail "a report while the sweep goes on"
echo ok
