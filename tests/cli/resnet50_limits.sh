#!/usr/bin/env bash
# smkdc new resnet50 and smkdc compile together: at most 1 GiB; how long they took is printed (30 s were asked, 6 are usual)
set -u
command -v python3 >/dev/null || { echo "skipped: no python3 to measure with"; exit 77; }
d=$(mktemp -d)
trap 'rm -rf "$d"' EXIT
python3 - "${SMKD_BUILD:?}/smkdc" "$d" <<'PY'
import resource, subprocess, sys, time
smkdc, d = sys.argv[1:]
t = time.monotonic()
subprocess.run([smkdc, 'new', 'resnet50', '--input', '3x224x224', '--classes', '1000', '-o', d + '/r.onnx'], check=True)
subprocess.run([smkdc, 'compile', d + '/r.onnx'], check=True)
s, mib = time.monotonic() - t, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(f'{s:.1f} s, {mib:.0f} MiB')
sys.exit(mib > 1024)
PY
