#!/usr/bin/env bash
# Runs one oracle test in the virtual environment; exit 77 (skipped) where the packages it needs cannot be had.
py="${SMKD_VENV:?}/bin/python"
[ -x "$py" ] || { echo "skipped: no virtual environment (tests/run.sh makes it)"; exit 77; }
"$py" -c 'import numpy' 2>/dev/null || { echo "skipped: the virtual environment has no numpy"; exit 77; }
export PYTHONPATH="$(dirname "$0")${PYTHONPATH:+:$PYTHONPATH}" PYTHONDONTWRITEBYTECODE=1
exec "$py" "$1"
