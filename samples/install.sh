# Sourced by samples/quickstart.sh and tests/run.sh: installs the Debian packages that are missing, and says which.
# usage: install_packages PACKAGE...    Needs root or sudo only when something is missing; asks nothing.

BUILD_PACKAGES="build-essential binutils cmake ninja-build pkg-config llvm-19-dev libprotobuf-c-dev protobuf-c-compiler
  libonnx-dev libcjson-dev zlib1g-dev libjpeg62-turbo-dev libpng-dev libwebp-dev libzip-dev dataset-fashion-mnist"
TEST_PACKAGES="libcmocka-dev libonnx-testdata python3 python3-venv git valgrind"

install_packages() {
    local missing="" p as_root=""
    command -v dpkg-query >/dev/null || {
        echo "This is not a Debian system; install what Debian calls: $*" >&2
        return 1
    }
    for p in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null || {
            echo "Missing packages:$missing. Run as root: apt-get install$missing" >&2
            return 1
        }
        as_root="sudo"
    fi
    echo "Installing:$missing"
    local log
    log=$(mktemp)
    # Old package lists make apt look for files that are no longer there, so they are fetched anew when they do not do.
    # shellcheck disable=SC2086
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends $missing </dev/null >"$log" 2>&1; then
        if ! { $as_root apt-get update -q && $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q \
            --no-install-recommends $missing; } </dev/null >"$log" 2>&1; then
            tail -n 5 "$log" >&2
            rm -f "$log"
            echo "apt could not install:$missing" >&2
            return 1
        fi
    fi
    rm -f "$log"
}
