#!/usr/bin/env bash
# the memory plans of every backbone, training and inference, pass ir_plan_check, which every compilation runs
. "$SMKD_SRC/tests/tools/common.bash"

count=0
for arch in $("$smkdc" new --list | awk '{ print $1 }'); do
    "$smkdc" new "$arch" -o m.onnx
    for cpu in x86-64-v3 x86-64-v4; do # workspaces are the target's
        for flags in "" "--recompute off --winograd off"; do
            # shellcheck disable=SC2086
            "$smkdc" compile m.onnx --mcpu $cpu $flags --emit plan -o plan.txt || fail "$arch for $cpu $flags"
            [ "$(grep -c '^// plan of' plan.txt)" = 2 ] || fail "$arch: not two plans"
            count=$((count + 1))
        done
    done
done
[ $count -ge 52 ] || fail "$count plans: backbones are missing"
