#!/usr/bin/env bash
# Builds everything with the address and undefined-behaviour sanitizers (float-cast-overflow is not part of `undefined`)
# and runs the quick tests in that build.
set -euo pipefail
asan="${SMKD_BUILD:?}-asan"
cmake -G Ninja -S "${SMKD_SRC:?}" -B "$asan" -DCMAKE_BUILD_TYPE=RelWithDebInfo -DCMAKE_C_FLAGS_RELWITHDEBINFO="-O1 -g1" \
    -DSMKD_SANITIZE=address,undefined,float-cast-overflow -DBUILD_TESTING=ON >"$asan.log" 2>&1 || { tail -n 20 "$asan.log"; exit 1; }
# What the quick tests run: their programs are called as they are.
read -ra programs <<<"$(ctest --test-dir "$asan" -N -L quick | sed -n 's|.*: unit/||p' | tr '\n' ' ')"
cmake --build "$asan" --target smkdc smkd-run embed seal "${programs[@]}" >>"$asan.log" 2>&1 || { tail -n 40 "$asan.log"; exit 1; }
mv "$asan.log" "$asan/build.log"
export ASAN_OPTIONS=abort_on_error=0:allocator_may_return_null=1:detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
# One thing is asked of these runs: no report. (Limits are longer in such a build: tests/CMakeLists.txt.)
exec ctest --test-dir "$asan" -L quick --output-on-failure </dev/null
