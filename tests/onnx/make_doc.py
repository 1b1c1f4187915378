"""docs/onnx.md from the ledgers: which operators of ONNX are taken, in which opsets and element types, with which gradients.

usage: make_doc.py DOC LEDGER FOLDER [LEDGER FOLDER ...]
"""
import collections
import pathlib
import re
import sys

import node_tests

NAMES = {1: "float", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool", 10: "float16", 11: "double",
         12: "uint32", 13: "uint64", 16: "bfloat16"}
HEAD = """# ONNX operators

Written by `tests/onnx/make_doc.py` from the ledgers beside it: do not edit. Every test of ONNX's own ({total} of Debian's libonnx-testdata and the
onnx package; {passed} pass) either gives the values that ONNX demands or is refused by name, in one line.

- *opsets*: of the models that were run; an operator is also taken in those between.
- *types*: of first operands, as the file has them.
- *gradient*: "yes" where a test's gradients by its inputs were compared with finite differences and are not zero.
- *tests*: that pass, of all in which the operator occurs.

| operator | opsets | types | gradient | tests | what is refused |
|---|---|---|---|---:|---|
"""


class Row:
    def __init__(self):
        self.opsets, self.types, self.gradient, self.right, self.all, self.why = set(), set(), False, 0, 0, collections.Counter()


def reason(said, op):
    """What the line says of this operator; None where another node is what is refused."""
    m = re.match(r'refused: node "[^"]*" \((\w+)\): (.*)', said)
    if m and m[1] != op:
        return None
    text = m[2] if m else said.removeprefix("refused: ")
    return re.sub(r'"[^"]*"', '".."', re.split(r"[;:] ", text)[0])[:110]


def read(rows, ledger, root):
    """Adds the tests of a folder; how many there are and how many pass."""
    says, tests = node_tests.read_ledger(pathlib.Path(ledger)), node_tests.folders(root)
    for name, folder in tests.items():
        said = says.get(name)
        if said is None:
            continue
        model = node_tests.fields((folder / "model.onnx").read_bytes())
        opsets = {}
        for b in model[8]:
            f = node_tests.fields(b)
            opsets[f[1][0].decode() if f[1] else ""] = f[2][0] if f[2] else 1
        graph = node_tests.fields(model[7][0])
        ins = dict(node_tests.declared(v) for v in graph[11])
        for b in graph[1]:
            f = node_tests.fields(b)
            domain = f[7][0].decode() if f[7] else ""
            op = f[4][0].decode()
            row = rows[f"{domain}.{op}" if domain not in ("", "ai.onnx") else op]
            row.all += 1
            why = reason(said, op) if said.startswith("refused") else None
            if why:
                row.why[why] += 1
            if said.startswith(("pass", "apart")):
                row.right += 1
                row.opsets.add(opsets.get(domain, opsets.get("ai.onnx", 0)))
                first = ins.get(f[1][0].decode()) if f[1] else None
                if first in NAMES:
                    row.types.add(NAMES[first])
                row.gradient |= said.startswith("pass gradient") and len(graph[1]) <= 3
    return len(tests), sum(s.startswith("pass") for n, s in says.items() if n in tests)


def main(doc, *pairs):
    rows, total, passed = collections.defaultdict(Row), 0, 0
    for ledger, root in zip(pairs[::2], pairs[1::2]):
        n, right = read(rows, ledger, root)
        total, passed = total + n, passed + right
    lines = []
    for op in sorted(rows):
        r = rows[op]
        opsets = sorted(r.opsets)
        span = "" if not opsets else str(opsets[0]) if len(opsets) == 1 else f"{opsets[0]}-{opsets[-1]}"
        why = "; ".join(w for w, _ in r.why.most_common(3)).replace("|", "\\|")
        lines.append(f"| {op} | {span} | {' '.join(sorted(r.types))} | {'yes' if r.gradient else ''} | {r.right}/{r.all} | {why} |")
    pathlib.Path(doc).write_text(HEAD.format(total=total, passed=passed) + "\n".join(lines) + "\n")


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
