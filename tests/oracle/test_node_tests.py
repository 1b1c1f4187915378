"""ONNX's own tests of operators and small models as the onnx package has them, beside the ledger (tests/onnx): each passes or is refused in
one line. Arguments are parts of names to run; SMKD_UPDATE=1 writes the ledger.

The ledger is of one release of the package. With another, tests that both have must be as it says, and new ones no more than right or refused.
"""
import os
import pathlib
import sys
import warnings

import numpy as np

from common import FULL, RUN, SMKDC, SRC, need, need_tools, temp_dir

need("onnx")
import onnx
from onnx import numpy_helper

sys.path.insert(0, str(SRC / "tests" / "onnx"))
import make_doc
import node_tests

DOC = SRC / "docs" / "onnx.md"
LEDGER = SRC / "tests" / "onnx" / "ledger-package.txt"


def cases():
    """(name, model, data sets) of those that the package generates."""
    with warnings.catch_warnings():  # the generators compute with infinities
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases
        return [(c.name, c.model, c.data_sets) for c in collect_testcases(None) if c.data_sets]


def write(folder, model, data_sets):
    """As the package's files have it. A value that is no tensor is left out."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    for k, (ins, outs) in enumerate(data_sets):
        data = folder / f"test_data_set_{k}"
        data.mkdir()
        for side, values in (("input", ins), ("output", outs)):
            for i, v in enumerate(values):
                if isinstance(v, (np.ndarray, np.generic)):
                    v = numpy_helper.from_array(np.asarray(v))
                if isinstance(v, onnx.TensorProto):
                    (data / f"{side}_{i}.pb").write_bytes(v.SerializeToString())


def main():
    need_tools(SMKDC, RUN)
    parts = sys.argv[1:]
    with temp_dir() as tmp:
        root = tmp / "node"
        root.mkdir()
        for name, model, data_sets in cases():
            write(root / name, model, data_sets)
        files = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
        for kind in ("pytorch-converted", "pytorch-operator", "simple"):
            if (files / kind).is_dir():
                (root / kind).symlink_to(files / kind)
        update = os.environ.get("SMKD_UPDATE") == "1"
        release = f"# onnx {onnx.__version__}"
        if update:
            text = LEDGER.read_text() if LEDGER.exists() else ""
            LEDGER.write_text("\n".join([release, *(x for x in text.splitlines() if not x.startswith("#"))]) + "\n")
        if not FULL:  # a third of those of Debian's package is looked at in a plain run
            node_tests.GRADIENTS = os.environ.get("SMKD_GRADIENTS", "none")
        same = LEDGER.exists() and LEDGER.read_text().startswith(release + "\n")
        code = node_tests.main(root, LEDGER, update, parts, strict=same)
        debian = pathlib.Path(os.environ.get("SMKD_ONNX_TESTS", "/usr/share/libonnx-testdata/data"))
        if parts or not same or not debian.is_dir():
            return code
        doc = DOC if update else tmp / "onnx.md"
        make_doc.main(doc, LEDGER.with_name("ledger-debian.txt"), debian, LEDGER, root)
        if doc.read_text() != DOC.read_text():
            print("docs/onnx.md is not what tests/onnx/make_doc.py makes of the ledgers: SMKD_UPDATE=1 writes it")
            return 1
        return code


if __name__ == "__main__":
    sys.exit(main())
