#!/usr/bin/env bash
# One allocation fails, in every command: one line, exit code 1, nothing lost and nothing left. SMKD_FULL=1: each one of them.
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to drive it"; exit 77; }
command -v gcc >/dev/null || { echo "skipped: no gcc to make the failing allocator with"; exit 77; }
! grep -q 'SMKD_SANITIZE:STRING=.' "$SMKD_BUILD/CMakeCache.txt" || { echo "skipped: sanitizers bring an allocator of their own"; exit 77; }
gcc -shared -fPIC -O1 "$SMKD_SRC/tests/tools/fail_alloc.c" -o shim.so
python3 "$SMKD_SRC/tests/tools/out_of_memory.py" ./shim.so "$smkdc" "$run" "$SMKD_BUILD/tests/embed_memory" "$([ "${SMKD_FULL:-}" = 1 ] && echo all || echo 24)" "$@"
