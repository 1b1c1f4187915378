#!/usr/bin/env bash
# quick: rooms include only what docs/design.md allows
set -u
cd "${SMKD_SRC:?}" || exit 1
bad=0
deny() { # deny ROOM... -- PATTERN: no file of these rooms includes anything that matches
    local rooms=() ; while [ "$1" != -- ]; do rooms+=("$1"); shift; done; shift
    local hits; hits=$(grep -rnE "#include *[<\"]($1)" "${rooms[@]}" --include='*.c' --include='*.h')
    [ -z "$hits" ] || { echo "not allowed here:"; echo "$hits"; bad=1; }
}
deny base ir frontend methods losses optim runtime tools samples -- 'llvm-c/'
deny base ir methods losses optim codegen runtime tools samples -- 'onnx/onnx.*pb-c\.h'
deny base ir frontend methods losses optim codegen tools samples -- 'omp\.h'
deny base methods -- '.*(\bir|frontend|losses|optim|codegen|runtime)/'
deny ir -- '.*(frontend|methods|losses|optim|codegen|runtime)/'
deny frontend -- '.*(methods|losses|optim|codegen|runtime)/'
deny losses -- '.*optim/'
deny losses optim -- '.*(frontend|codegen|runtime)/'
deny runtime -- '.*(\bir|frontend|losses|optim|codegen)/'
hits=$(grep -rnE '#include *".*runtime/' codegen --include='*.c' --include='*.h' | grep -v 'runtime/include/smkd_abi\.h')
[ -z "$hits" ] || { echo "codegen may include only smkd_abi.h of the runtime:"; echo "$hits"; bad=1; }
# Library rooms never end the process.
hits=$(grep -rnE '(^|[^_a-z])exit *\(' base ir frontend methods losses optim codegen runtime --include='*.c' | grep -v '//')
[ -z "$hits" ] || { echo "library code calls exit():"; echo "$hits"; bad=1; }
exit $bad
