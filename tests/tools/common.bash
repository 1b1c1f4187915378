# What the shell tests share that make files: the programs, a scratch folder that goes in the end, and how to ask for a refusal.
set -euo pipefail
smkdc=$SMKD_BUILD/smkdc run=$SMKD_BUILD/smkd-run
[ -x "$smkdc" ] || { echo "skipped: built without the compiler"; exit 77; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

fail() { echo "FAILED: $*" >&2; exit 1; }

# refuses TEXT COMMAND...: non-zero exit (not a signal), exactly one line of error with TEXT in it.
refuses() {
    local text=$1 code=0
    shift
    "$@" >out.txt 2>err.txt || code=$?
    if [ $code = 0 ] || [ $code -ge 126 ]; then cat err.txt; fail "exit code $code of: $*"; fi
    grep -v '^note: ' err.txt >lines.txt || true
    [ "$(wc -l <lines.txt)" = 1 ] || { cat err.txt; fail "not one line: $*"; }
    grep -qF -- "$text" lines.txt || { cat err.txt; fail "expected \"$text\" from: $*"; }
}
