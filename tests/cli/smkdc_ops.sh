#!/usr/bin/env bash
# quick: docs/ops.md is what the op table says
set -u
smkdc="${SMKD_BUILD:?}/smkdc"
[ -x "$smkdc" ] || { echo "skipped: smkdc has not been built"; exit 77; }
"$smkdc" ops --markdown | diff -u "${SMKD_SRC:?}/docs/ops.md" - || { echo "run: smkdc ops --markdown > docs/ops.md"; exit 1; }
