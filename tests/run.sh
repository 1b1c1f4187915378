#!/usr/bin/env bash
# Installs what is missing, builds a release, and runs every test through ctest. Ends with ctest's closing line and its exit
# code. Asks nothing. usage: tests/run.sh [ctest arguments, such as -L quick or -R losses]
#
# The oracle tests want PyTorch 2.13.0 and friends in .venv, which is made here; where they cannot be had, those tests are
# reported as skipped. SMKD_FULL=1 adds the largest models in every dialect (about an hour).
set -euo pipefail
cd "$(dirname "$0")/.."
. samples/install.sh
. tests/tools/venv.sh

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $TEST_PACKAGES

make_venv </dev/null || {
    # numpy alone still allows the losses to be compared with their reference.
    echo "PyTorch, onnx or onnxruntime cannot be had here; the tests that need them will be reported as skipped"
    timeout 120 .venv/bin/python -m pip -q install --no-input numpy </dev/null || true
}

cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON >build.log 2>&1 || { tail -n 20 build.log; exit 1; }
cmake --build build >>build.log 2>&1 || { tail -n 40 build.log; exit 1; }
mv build.log build/build.log

exec ctest --test-dir build -j 2 --output-on-failure "$@" </dev/null
