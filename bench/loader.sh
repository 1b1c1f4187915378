#!/usr/bin/env bash
# Our loader beside torchvision's pipeline on a folder of photographs, in turns: bench/loader.sh [FOLDER] [-j N] [--rounds N] ...
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
build=${SMKD_BUILD:-$root/build}
folder=$root/../shared/data/flowers
case "${1:-}" in ''|-*) ;; *) folder=$1; shift ;; esac
[ -d "$folder" ] || { echo "bench/loader.sh: $folder: no such folder; give one with photographs" >&2; exit 1; }
cmake --build "$build" --target bench_loader >/dev/null
exec "${SMKD_VENV:-$root/.venv}/bin/python" "$root/bench/loader.py" "$build/bench_loader" "$folder" "$@"
