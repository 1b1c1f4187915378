#!/usr/bin/env bash
# smkd-run predict: names of files and classes with commas, quotes, ends of lines, UTF-8 and none of it survive CSV and JSON; what cannot be
# read is a line of its own; and images are prepared as the model's metadata or its run says.
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3"; exit 77; }
tools=$SMKD_SRC/tests/tools

# bmp WIDTH HEIGHT SEED FILE: 24 bits
bmp() {
    python3 - "$@" <<'PY'
import random, struct, sys
w, h, seed, name = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
r = random.Random(seed)
rows = b"".join(bytes(r.randrange(256) for _ in range(3 * w)) + b"\0" * (-3 * w % 4) for _ in range(h))
with open(name, "wb") as f:
    f.write(b"BM" + struct.pack("<IHHI", 54 + len(rows), 0, 0, 54) + struct.pack("<IiiHHIIiiII", 40, w, h, 1, 24, 0, len(rows), 0, 0, 0, 0) + rows)
PY
}

"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 3 -o plain.onnx
cp plain.onnx named.onnx
python3 "$tools/metadata.py" named.onnx 'smkd.class_names=["cat, \"big\"","K\u00e4fer","two\nlines"]' smkd.mean=0.5,0.25,0.75 \
    smkd.std=0.5,0.25,0.125 smkd.resize=20 smkd.crop=16x16 smkd.interpolation=bicubic other.key=kept
"$smkdc" compile plain.onnx && "$smkdc" compile named.onnx
mkdir photos
bmp 30 20 1 'photos/a, "b".bmp'
bmp 16 16 2 $'photos/new\nline.bmp'
bmp 9 40 3 photos/Käse.bmp
bmp 20 20 4 $'photos/\xff.bmp'
bmp 20 20 5 'photos/ blank .bmp'
echo nothing >photos/broken.jpg

code=0
"$run" predict named.smkd photos missing.png --csv >out.csv 2>csv.log || code=$?
[ $code = 1 ] || fail "exit code $code with files that cannot be read"
"$run" predict named.smkd photos missing.png --json >out.jsonl 2>json.log && fail "JSON: exit code 0 with files that cannot be read"
python3 "$tools/predictions.py" out.csv out.jsonl >got.txt || fail "CSV and JSON"
cat >want.txt <<'WANT'
b'photos/ blank .bmp' 0:'cat, "big"' 1:'Käfer' 2:'two\nlines'
b'photos/K\xc3\xa4se.bmp' 0:'cat, "big"' 1:'Käfer' 2:'two\nlines'
b'photos/a, "b".bmp' 0:'cat, "big"' 1:'Käfer' 2:'two\nlines'
b'photos/broken.jpg' error
b'photos/new\nline.bmp' 0:'cat, "big"' 1:'Käfer' 2:'two\nlines'
b'photos/\xff.bmp' 0:'cat, "big"' 1:'Käfer' 2:'two\nlines'
b'missing.png' error
WANT
diff want.txt got.txt || fail "files, classes and errors"
[ "$(grep -c 'error: ' csv.log)" = 3 ] || fail "not two errors and their count"
grep -q '2 of 7 files could not be read' csv.log || fail "the count of files that could not be read"
head -1 out.csv | grep -qx 'file,rank,class,probability,name,error' || fail "the head of the CSV"

# More files than are waited for, most of them unreadable: still in order.
for i in $(seq -w 300); do echo x >"many-$i.jpg"; done
bmp 16 16 7 many-150.jpg
"$run" predict plain.smkd many-*.jpg --csv >many.csv 2>/dev/null && fail "exit code 0"
cut -d, -f1 many.csv | tail -n +2 | uniq >order.txt
ls many-*.jpg | diff - order.txt || fail "the order of files"

# Standard input: a line a name, or NUL.
ls photos/*a*.bmp | "$run" predict named.smkd - --csv --top 1 >lines.csv || fail "names on standard input"
[ "$(wc -l <lines.csv)" = 3 ] || fail "names on standard input: $(wc -l <lines.csv) lines"
printf 'photos/new\nline.bmp\0photos/\xff.bmp\0' | "$run" predict named.smkd - --null --json >null.jsonl || fail "names that end in NUL"
[ "$(wc -l <null.jsonl)" = 2 ] || fail "names that end in NUL: $(wc -l <null.jsonl) lines"
"$run" predict named.smkd photos/Käse.bmp >table.txt
grep -q '^photos/Käse.bmp$' table.txt && grep -q ' %  two\\x0alines$' table.txt || fail "the table"
"$run" predict plain.smkd photos/Käse.bmp | grep -q ' %  class 2$' || fail "a class without a name"

# Prepared as the metadata says, unless flags say otherwise.
f=(photos/a*.bmp photos/Käse.bmp --json)
numbers() { python3 -c 'import json, sys; [print([(c["class"], c["probability"]) for c in json.loads(x)["top"]]) for x in open(sys.argv[1])]' "$1"; }
"$run" predict named.smkd "${f[@]}" >known.jsonl
"$run" predict plain.smkd "${f[@]}" >unknown.jsonl
"$run" predict plain.smkd "${f[@]}" --mean 0.5,0.25,0.75 --std 0.5,0.25,0.125 --val-resize-size 20 --interpolation bicubic >flags.jsonl
cmp <(numbers known.jsonl) <(numbers flags.jsonl) || fail "metadata and flags differ"
! cmp -s <(numbers known.jsonl) <(numbers unknown.jsonl) || fail "the metadata changes nothing"
for flag in "--mean 0,0,0" "--std 1,1,1" "--val-resize-size 0" "--interpolation nearest"; do
    # shellcheck disable=SC2086
    "$run" predict named.smkd "${f[@]}" $flag >other.jsonl
    ! cmp -s <(numbers known.jsonl) <(numbers other.jsonl) || fail "$flag changes nothing"
done
"$smkdc" inspect named.smkd --json >inspect.json
python3 - <<'PY' || fail "the notes of the artifact"
import json
notes = json.load(open("inspect.json"))["notes"]["metadata"]
assert json.loads(notes["smkd.class_names"]) == ['cat, "big"', "Käfer", "two\nlines"] and "other.key" not in notes, notes
PY
# A fresh head is of other classes.
"$smkdc" compile named.onnx --classes 3 -o fresh.smkd 2>/dev/null
"$run" predict fresh.smkd photos/Käse.bmp | grep -q ' %  class 2$' || fail "a fresh head has the names of the classes that were"

# Metadata that is none.
n=0
for pair in smkd.mean=x smkd.std=1,0,1 smkd.resize=-1 smkd.crop=16 smkd.interpolation=best 'smkd.class_names=["a",1]' 'smkd.class_names={' \
    smkd.mean=1,2,3,4,5 smkd.resize=99999999999; do
    # Into a file that has none: the first of a key is the one.
    cp plain.onnx bad.onnx
    case $pair in smkd.std=*) python3 "$tools/metadata.py" bad.onnx smkd.mean=0,0,0 "$pair" ;; *) python3 "$tools/metadata.py" bad.onnx "$pair" ;; esac
    "$smkdc" compile bad.onnx
    refuses "bad.smkd: metadata: ${pair%%=*} is" "$run" predict bad.smkd photos/Käse.bmp
    n=$((n + 1))
done
[ $n = 9 ] || fail "only $n kinds of metadata were tried"
python3 "$tools/metadata.py" plain.onnx 'smkd.class_names=["a","b","c","d"]'
"$smkdc" compile plain.onnx
"$run" predict plain.smkd photos/Käse.bmp 2>more.log | grep -q ' %  class 2$' && grep -q 'names of 4 classes' more.log || fail "names of more classes"
echo ok
