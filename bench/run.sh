#!/usr/bin/env bash
# Our speed and memory beside PyTorch's and onnxruntime's: sets up what it needs, measures the machine, then every row in
# turns, and ends with tables. Everything that was measured goes to runs/bench-DATE.json. Asks nothing.
# usage: bench/run.sh [--quick] [--rows 1,4,9] [...]    --quick: the first row in about two minutes; --help: the rest
#
# All rows take about two hours on two cores, half of them torch.compile's. Leave the machine alone meanwhile.
# SMKD_BUILD names a build other than build/.
set -euo pipefail
cd "$(dirname "$0")/.."
. samples/install.sh
. tests/tools/venv.sh

# torch.compile wants a C++ compiler and Python's headers.
# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES python3 python3-venv python3-dev git
make_venv </dev/null || {
    echo "PyTorch and onnxruntime cannot be had here, and without them there is nothing to compare with" >&2
    exit 1
}

build=${SMKD_BUILD:-build}
if [ ! -e "$build/build.ninja" ]; then
    mkdir -p "$build"
    cmake -G Ninja -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=OFF >"$build/build.log" 2>&1 || {
        tail -n 20 "$build/build.log" >&2
        exit 1
    }
fi
cmake --build "$build" --target smkdc smkd-run >"$build/build.log" 2>&1 || {
    tail -n 40 "$build/build.log" >&2
    exit 1
}

json=()
case " $* " in
    *" --json"* | *" --help "* | *" -h "*) ;;
    *)
        mkdir -p runs
        json=(--json "runs/bench-$(date +%Y%m%d-%H%M%S).json")
        ;;
esac
export PYTHONDONTWRITEBYTECODE=1
exec .venv/bin/python bench/compare.py --build "$build" "${json[@]}" "$@" </dev/null
