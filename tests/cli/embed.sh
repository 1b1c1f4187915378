#!/usr/bin/env bash
# quick: samples/embed.c loads an artifact, answers, and learns, in the build tree and against what was installed
set -u
smkdc="${SMKD_BUILD:?}/smkdc" embed="$SMKD_BUILD/samples/embed"
[ -x "$smkdc" ] || { echo "skipped: smkdc has not been built"; exit 77; }
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT && cd "$dir" || exit 1
"$smkdc" new resnet8 --width 4 --input 3x16x16 --classes 10 -o m.onnx && "$smkdc" compile m.onnx -o m.smkd || exit 1

learns() { # PROGRAM
    "$1" m.smkd >out.txt 2>err.txt || { echo "$1 failed"; cat out.txt err.txt; exit 1; }
    [ ! -s err.txt ] || { cat err.txt; exit 1; }
    [ "$(grep -c '^image 0: class [0-9] of 10, logit ' out.txt)" = 2 ] || { echo "no answers"; cat out.txt; exit 1; }
    awk '/^step/ { loss[n++] = $NF }
         END { if (n < 5 || !(loss[n - 1] < 0.7 * loss[0])) { print "the loss did not go down: " loss[0] " to " loss[n - 1]; exit 1 } }' out.txt ||
        { cat out.txt; exit 1; }
}
learns "$embed"
# Without an artifact: one line and a code of its own.
echo "not an artifact" >text.smkd
"$embed" text.smkd >out.txt 2>err.txt && { echo "embed took a text file"; exit 1; }
[ "$(wc -l <err.txt)" = 1 ] && grep -qF "text.smkd" err.txt || { cat err.txt; exit 1; }

# As README.md says, with nothing of this tree but what cmake --install puts elsewhere; that may be moved afterwards.
cmake --install "$SMKD_BUILD" --prefix "$dir/first" >install.txt 2>&1 || { cat install.txt; exit 1; }
mv first moved && cp "${SMKD_SRC:?}/samples/embed.c" . || exit 1
for f in bin/smkdc bin/smkd-run include/smkd_runtime.h include/smkd_abi.h; do
    [ -s "moved/$f" ] || { echo "not installed: $f"; exit 1; }
done
[ "$(find moved/include -name '*.h' | wc -l)" = 2 ] || { echo "more than the public headers"; find moved/include; exit 1; }
moved/bin/smkdc --version >version.txt && moved/bin/smkd-run --version >>version.txt || { echo "the installed programs do not run"; exit 1; }
pc=$(dirname "$(find "$dir/moved" -name smkd.pc)")
line=$(grep -m 1 -oE 'gcc .*embed\.c.*' "$SMKD_SRC/README.md") || { echo "README.md does not say how to compile embed.c"; exit 1; }
cc=$(sed -n 's/^CMAKE_C_COMPILER:[A-Z]*=//p' "$SMKD_BUILD/CMakeCache.txt") # another compiler brings another OpenMP
PKG_CONFIG_PATH="$pc" bash -ec "${line/#gcc/${cc:-gcc}}" >gcc.txt 2>&1 || { echo "$line"; cat gcc.txt; exit 1; }
[ ! -s gcc.txt ] || { cat gcc.txt; exit 1; }
learns ./embed
# A C++ program links it, too.
command -v g++ >/dev/null || exit 0
echo '#include <smkd_runtime.h>
int main() { return smkd_model_load("none.smkd") != nullptr; }' >plus.cc
# shellcheck disable=SC2046
g++ plus.cc -o plus $(PKG_CONFIG_PATH="$pc" pkg-config --cflags --libs smkd) && ./plus
