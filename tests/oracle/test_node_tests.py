"""ONNX's own tests of operators and small models, as the onnx package has them: each is refused in one line, or gives the values that ONNX demands.

Axis 0 of every input is our batch N, here the size that the test has there. Each is tried twice: as it is, and with all inputs but one
as initializers, since many operands (axes, shapes, weights) are only taken when they are known. A third of them in a plain run, all
with SMKD_FULL=1, which also prints every refusal; an argument is a part of names to run.
"""
import collections
import pathlib
import sys
import warnings
import zlib

import numpy as np

from common import FULL, RUN, SMKDC, Report, need, need_tools, read_safetensors, run, temp_dir

need("onnx")
import onnx
from onnx import numpy_helper


def tests():
    """Those that the package generates, and those that it has as files."""
    with warnings.catch_warnings():  # the generators compute with infinities
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases
        from onnx.backend.test.case.test_case import TestCase
        cases = [c for c in collect_testcases(None) if c.data_sets]
    data = pathlib.Path(onnx.__file__).parent / "backend" / "test" / "data"
    for kind in ("pytorch-converted", "pytorch-operator", "simple"):
        for folder in sorted((data / kind).glob("*")):
            try:
                read = [[onnx.load_tensor(str(p)) for p in sorted((folder / "test_data_set_0").glob(f"{side}_*.pb"))] for side in ("input", "output")]
            except Exception:  # sequences and optional values
                continue
            cases.append(TestCase(folder.name, folder.name, None, None, onnx.load(str(folder / "model.onnx")), [tuple(read)], kind, 1e-3, 1e-6))
    return cases


NEWEST = 26  # opset that we read
SHARE = 1 if FULL else 3
# What is meant by `infer` is another thing than these ask for: running statistics and no dropout, in whatever mode the file is.
TRAINING = ("test_batchnorm_example_training_mode", "test_batchnorm_epsilon_training_mode", "test_training_dropout")

# Operators of which a test is right. With all of them run, none may drop out unseen.
RIGHT = set((
    "Abs Add And ArgMax AveragePool BatchNormalization Cast CastLike Ceil Clip Concat ConcatFromSequence Constant ConstantOfShape Conv "
    "ConvTranspose CumSum Div Elu Equal Erf Exp Expand Flatten Gather Gelu Gemm GlobalAveragePool Greater GreaterOrEqual HardSigmoid "
    "Identity InstanceNormalization LRN LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax LpNormalization MatMul Max MaxPool "
    "Min Mish Mod Mul Neg Not Or PRelu Pad Pow RMSNormalization Range Reciprocal ReduceL1 ReduceL2 ReduceMax ReduceMean ReduceMin "
    "ReduceSum ReduceSumSquare Reshape Resize Round SequenceAt SequenceConstruct SequenceEmpty SequenceInsert Shape Sigmoid Size Slice "
    "Softmax Split Sqrt Squeeze Sub Sum Swish Tanh Tile Transpose Trilu Unsqueeze Upsample Where Xor").split())


def lowered(m):
    """The model in an opset that we read, where the operators that it has are no newer: the generators use the package's newest."""
    for o in m.opset_import:
        if o.domain == "" and o.version > NEWEST and all(
                n.domain or onnx.defs.get_schema(n.op_type, o.version, "").since_version <= NEWEST for n in m.graph.node):
            o.version = NEWEST
    return m


def known(case):
    """The test with every input but the first tensor of some size as an initializer; None where there is nothing to change."""
    ins = [value(x) for x in case.data_sets[0][0]]
    if len(ins) < 2 or any(x is None for x in ins):
        return None
    keep = next((k for k, x in enumerate(ins) if x.ndim), None)
    if keep is None:
        return None
    m = onnx.ModelProto()
    m.CopyFrom(case.model)
    infos = list(m.graph.input)
    del m.graph.input[:]
    m.graph.input.append(infos[keep])
    for k, (info, x) in enumerate(zip(infos, case.data_sets[0][0])):
        if k != keep:
            t = x if isinstance(x, onnx.TensorProto) else numpy_helper.from_array(np.asarray(x))
            t.name = info.name
            m.graph.initializer.append(t)
    return type(case)(case.name + " known", case.model_name, case.url, case.model_dir, m, [([case.data_sets[0][0][keep]], case.data_sets[0][1])],
                      case.kind, case.rtol, case.atol)


def refused(p, path):
    """The line of a proper refusal; anything else is a fault and comes as an exception."""
    lines = p.stderr.splitlines()
    assert p.returncode == 1, f"exit {p.returncode}: {p.stderr.strip()[-200:]}"
    errors = [line for line in lines if "error: " in line]
    assert errors, f"refused without a word: {p.stderr[-200:]!r}"
    assert not path.exists(), "refused, and yet it wrote a result"
    return errors[0]


def value(x):
    """An input or result as an array; None for a sequence or an optional one."""
    if isinstance(x, onnx.TensorProto):
        x = numpy_helper.to_array(x)
    if not isinstance(x, (np.ndarray, np.generic)):
        return None
    return x.astype(np.float32) if x.dtype.kind == "V" or x.dtype.name == "bfloat16" else x


def agrees(got, want, case, coarse):
    want = np.asarray(want)
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    if want.dtype.kind not in "fiub":
        want = want.astype(np.float32)
    if want.dtype.kind == "f":  # of bfloat16 the last two bits: several operators in a row round more or less often
        rtol = max(case.rtol, 2**-6 if coarse else 0)
        good = np.allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=case.atol, equal_nan=True)
    else:
        good = np.array_equal(got.astype(object), want.astype(object))
    return None if good else f"{got.ravel()[:6]}, expected {want.ravel()[:6]}"


def check(case, tmp):
    """'refused' or 'right', and the line of a refusal; raises where the case is neither."""
    path, artifact = tmp / "m.onnx", tmp / "m.smkd"
    artifact.unlink(missing_ok=True)
    path.write_bytes(lowered(case.model).SerializeToString())
    p = run(SMKDC, "compile", path, "-o", artifact, ok=False)
    if p.returncode:
        return "refused", refused(p, artifact)
    ins, outs = case.data_sets[0]
    feeds = []
    for info, x in zip(case.model.graph.input, ins):
        x = value(x)
        assert x is not None, f"compiled, though input {info.name} is no tensor"
        np.save(tmp / "in.npy", x)
        (tmp / "in.npy").rename(tmp / f"{len(feeds) // 2}.npy")
        feeds += ["--input", f"{info.name}={tmp}/{len(feeds) // 2}.npy"]
    p = run(RUN, "infer", artifact, *feeds, "-o", tmp / "o.safetensors", ok=False)
    if p.returncode:
        return "refused at run time", refused(p, tmp / "none")
    got = read_safetensors(tmp / "o.safetensors")
    (tmp / "o.safetensors").unlink()
    for info, want in zip(case.model.graph.output, outs):
        want = value(want)
        assert want is not None and info.name in got, f"no result {info.name}"
        wrong = agrees(got[info.name], want, case, info.type.tensor_type.elem_type == onnx.TensorProto.BFLOAT16)
        assert not wrong, f"{info.name}: {wrong}"
    return "right", ""


def main():
    need_tools(SMKDC, RUN)
    report, count, ops = Report(), collections.Counter(), collections.defaultdict(collections.Counter)
    wanted = sys.argv[1:]
    lines = []
    with temp_dir() as tmp:
        for case in tests():
            if not any(w in case.name for w in wanted) if wanted else zlib.crc32(case.name.encode()) % SHARE or case.name.startswith(TRAINING):
                continue
            for variant in (case, known(case)):
                if not variant:
                    continue
                try:
                    what, line = check(variant, tmp)
                except Exception as e:
                    report.fail(variant.name, str(e).replace(str(tmp), ""))
                    what, line = "wrong", ""
                count[what] += 1
                if line:
                    lines.append(f"{variant.name}: {line.replace(str(tmp), '')}")
                for op in {n.op_type for n in case.model.graph.node}:
                    ops[op][what] += 1
    if wanted or FULL:
        print(*lines, sep="\n")
    print("some right:", *sorted(op for op, n in ops.items() if n["right"]))
    print("none right:", *sorted(op for op, n in ops.items() if not n["right"]))
    print(dict(count))
    report.check(f"neither right nor refused, of {sum(count.values())}", count["wrong"], 0)
    if FULL and not wanted:
        lost = RIGHT - {op for op, n in ops.items() if n["right"]}
        report.check(f"operators that are no longer right {sorted(lost)}", len(lost), 0)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
