# Sourced by tests/run.sh and bench/run.sh, in the repository's root: .venv with PyTorch, onnxruntime and what they need.

# The packages of requirements.txt; a stamp of its text says that they are all there. Fails where they cannot be had.
make_venv() {
    local stamp
    stamp=$(sha256sum tests/oracle/requirements.txt | cut -c1-16)
    [ -e ".venv/done-$stamp" ] && return 0
    echo "Making .venv (PyTorch and onnxruntime)"
    python3 -m venv .venv || return 1
    local pip=(.venv/bin/python -m pip --disable-pip-version-check -q install --no-input)
    timeout 420 "${pip[@]}" -r tests/oracle/requirements.txt || return 1
    # Without their dependencies: they would replace the CPU build of PyTorch.
    timeout 120 "${pip[@]}" --no-deps torchvision==0.28.0 timm || echo "torchvision or timm cannot be had; their models are skipped"
    touch ".venv/done-$stamp"
}
