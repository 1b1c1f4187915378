#!/usr/bin/env bash
# Installs what is missing, builds a release, and runs every test through ctest. Ends with ctest's closing line and its exit
# code. Asks nothing. usage: tests/run.sh [ctest arguments, such as -L quick or -R losses]
#
# The oracle tests want PyTorch 2.13.0 and friends in .venv, which is made here; where they cannot be had, those tests are
# reported as skipped. SMKD_FULL=1 adds the largest models in every dialect (about an hour).
set -euo pipefail
cd "$(dirname "$0")/.."
. samples/install.sh

# shellcheck disable=SC2086
install_packages $BUILD_PACKAGES $TEST_PACKAGES

make_venv() { # the packages of requirements.txt; a stamp of its text says that they are all there
    local stamp
    stamp=$(sha256sum tests/oracle/requirements.txt | cut -c1-16)
    [ -e ".venv/done-$stamp" ] && return 0
    echo "Making .venv for the oracle tests (PyTorch and onnxruntime)"
    python3 -m venv .venv || return 1
    local pip=(.venv/bin/python -m pip --disable-pip-version-check -q install --no-input)
    timeout 420 "${pip[@]}" -r tests/oracle/requirements.txt || return 1
    # Without their dependencies: they would replace the CPU build of PyTorch.
    timeout 120 "${pip[@]}" --no-deps torchvision==0.28.0 timm || echo "torchvision or timm cannot be had; their models are skipped"
    touch ".venv/done-$stamp"
}
make_venv </dev/null || {
    # numpy alone still allows the losses to be compared with their reference.
    echo "PyTorch, onnx or onnxruntime cannot be had here; the tests that need them will be reported as skipped"
    timeout 120 .venv/bin/python -m pip -q install --no-input numpy </dev/null || true
}

cmake -G Ninja -S . -B build -DCMAKE_BUILD_TYPE=Release -DBUILD_TESTING=ON >build.log 2>&1 || { tail -n 20 build.log; exit 1; }
cmake --build build >>build.log 2>&1 || { tail -n 40 build.log; exit 1; }
mv build.log build/build.log

exec ctest --test-dir build -j 2 --output-on-failure "$@" </dev/null
