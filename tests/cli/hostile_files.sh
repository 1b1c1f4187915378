#!/usr/bin/env bash
# Small files that ask for gigabytes, hours or the whole stack: one line, seconds, bounded memory.
. "$SMKD_SRC/tests/tools/common.bash"
command -v python3 >/dev/null || { echo "skipped: no python3 to write the files with"; exit 77; }
! grep -q 'SMKD_SANITIZE:STRING=.' "$SMKD_BUILD/CMakeCache.txt" || { echo "skipped: sanitizers take terabytes of addresses"; exit 77; }
export XDG_CACHE_HOME=$tmp/cache
python3 "$SMKD_SRC/tests/tools/hostile_files.py" "$smkdc" "$run"
