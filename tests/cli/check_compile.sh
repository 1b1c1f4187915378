#!/usr/bin/env bash
# smkdc check and smkdc compile agree: the same exit code and the same lines, for models good, odd and bad.
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to write the files with"; exit 77; }
mkdir work
cd work
python3 "$SMKD_SRC/tests/tools/bad_files.py" .
python3 "$SMKD_SRC/tests/tools/head_files.py" .
"$smkdc" new resnet8 --width 4 --input 1x8x8 --classes 10 -o good.onnx

# agree FLAG... FILE: leaves the exit code in $code and what was said in said.txt.
agree() {
    local compiled=0
    code=0
    : >inspected.txt
    "$smkdc" check "$@" >out.txt 2>said.txt || code=$?
    "$smkdc" compile "$@" -o new.smkd >/dev/null 2>compile.txt || compiled=$?
    [ $code = $compiled ] || { cat said.txt compile.txt; fail "check ends with $code, compile with $compiled: $*"; }
    [ $code -le 1 ] || fail "exit code $code: $*"
    cmp -s said.txt compile.txt || { diff said.txt compile.txt; fail "check and compile say different things: $*"; }
    if [ $code = 0 ]; then
        grep -q '^verdict     compiles' out.txt || fail "no verdict: $*"
        "$smkdc" inspect new.smkd >inspected.txt || fail "compile wrote what cannot be read: $*"
    else
        grep -q '^verdict     cannot be compiled' out.txt || fail "no verdict: $*"
        [ ! -e new.smkd ] || fail "a refused model left a file: $*"
    fi
    rm -f new.smkd
}
good=0 refused=0
for f in *.onnx models/*.onnx; do
    agree "$f"
    if [ $code = 0 ]; then good=$((good + 1)); else refused=$((refused + 1)); fi
done
[ $good -ge 12 ] && [ $refused -ge 20 ] || fail "$good good and $refused refused models are not the ones meant"

# --- what is said of outputs
says() { grep -qF -- "$1" said.txt || { cat said.txt; fail "expected \"$1\""; }; }
prints() { grep -qF -- "$1" out.txt || { cat out.txt; fail "expected \"$1\" on standard output"; }; }
agree softmax.onnx
says 'note: softmax.onnx: node "head" (Softmax): output "y" is its result'
prints 'logits      z f32[N,3], before the Softmax of y'
grep -qF 'logits      z, before the Softmax of y' inspected.txt || fail "inspect does not say what is trained"
agree written.onnx
prints 'logits      z f32[N,3], before the Softmax of y'
agree two.onnx
says 'several outputs could be logits: "features" f32[N,8], "y" f32[N,3]; say which with --logits NAME'
agree --logits y two.onnx
[ ! -s said.txt ] || fail "there is nothing left to say"
prints 'logits      y f32[N,3]'
agree --logits inner two.onnx
prints 'logits      inner f32[N,8]'
agree --logits nothing two.onnx
[ $code = 1 ] && says '--logits nothing: the model has no output or value of that name and shape [N,classes]'
agree mixed.onnx
says 'warning: mixed.onnx: node "centre" (ReduceMean): it computes with all samples of a batch'
grep -qF 'one batch   node "centre" (ReduceMean)' inspected.txt || fail "inspect does not say where the batch mixes"
agree stale.onnx
says 'warning: stale.onnx: node "fc" (MatMul): the file declares "y" as f32[N,7], computed is f32[N,3]'

# --- the same for programs
"$smkdc" check --json two.onnx >two.json 2>err.txt || fail "check --json"
[ ! -s err.txt ] || fail "messages belong into the object: $(cat err.txt)"
"$smkdc" check --json nothing.onnx >nothing.json 2>>err.txt && fail "a file that is not there"
python3 - <<'EOF' || fail "what check --json prints"
import json
two, nothing = json.load(open("two.json")), json.load(open("nothing.json"))
assert two["compiles"] and two["trains"] and two["logits"] == ["features", "y"], two
assert [o["dims"] for o in two["outputs"]] == [["N", 8], ["N", 3]], two["outputs"]
assert two["parameters"]["numbers"] == sum(t["numbers"] for t in two["tensors"] if t["is"] == "parameter") > 0
assert [m["severity"] for m in two["messages"]] == ["note"] and "--logits NAME" in two["messages"][0]["text"]
assert nothing["compiles"] is False and "cannot read the file" in nothing["messages"][0]["text"], nothing
EOF
echo ok
