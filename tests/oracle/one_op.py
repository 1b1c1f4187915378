"""Files of one operator: what they compute, forward and backward, against PyTorch or onnxruntime, and what is refused.

A case's first operands (`fed`) are inputs of the model, with the batch as axis 0, but for those that are marked as Known; the others
(`known`) are initializers. Its reference is a function of all operands in float64, or None: then onnxruntime gives the values, which
must be equal.
"""
import sys

from common import *

onnx, torch, onnxruntime = need("onnx", "torch", "onnxruntime")
from onnx import helper, numpy_helper  # noqa: E402

onnxruntime.set_default_logger_severity(4)
RNG = np.random.default_rng(11)
N = 5
CASES = []


def f(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def distinct(*shape):
    return (RNG.permutation(int(np.prod(shape))).reshape(shape) / 7 - 3).astype(np.float32)


def index(low, high, *shape):
    return RNG.integers(low, high, shape)


class Known:
    def __init__(self, array):
        self.array = array


def case(name, op, fed, known, ref, opset=18, outs=1, grad=True, tol=1, **attrs):
    """tol: how many times the usual difference may be."""
    CASES.append(dict(name=name, op=op, fed=fed, known=known, ref=ref, opset=opset, outs=outs, grad=grad, tol=tol, attrs=attrs))


def model_of(path, op, fed, known, attrs, opset, outs):
    """Names of operands and results, and the operands: (array, whether it is an input)."""
    operands = [(o.array, False) if isinstance(o, Known) else (o, True) for o in fed] + [(np.asarray(k), False) for k in known]
    names = [f"{'x' if is_input else 'w'}{i}" for i, (_, is_input) in enumerate(operands)]
    ys = [f"y{i}" for i in range(outs)]
    ins = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), ["N", *a.shape[1:]])
           for n, (a, is_input) in zip(names, operands) if is_input]
    inits = [numpy_helper.from_array(a, n) for n, (a, is_input) in zip(names, operands) if not is_input]
    node = helper.make_node(op, names, ys, name="the node", **attrs)
    g = helper.make_graph([node], "g", ins, [onnx.ValueInfoProto(name=y) for y in ys], inits)
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    try:
        m = onnx.shape_inference.infer_shapes(m)
    except onnx.shape_inference.InferenceError:  # what is refused
        pass
    path.write_bytes(m.SerializeToString())
    return names, ys, operands


def check(report, tmp, c):
    names, ys, arrays = model_of(tmp / "m.onnx", c["op"], c["fed"], c["known"], c["attrs"], c["opset"], c["outs"])
    run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
    feeds = {n: a for n, (a, is_input) in zip(names, arrays) if is_input}
    given = options(tmp, feeds, "input")
    run(RUN, "infer", tmp / "m.smkd", *given, "-o", tmp / "y.st")
    got = read_safetensors(tmp / "y.st")
    if c["ref"] is None:
        for y, v in zip(ys, onnxruntime.InferenceSession(str(tmp / "m.onnx")).run(None, feeds)):
            report.check(f"{c['name']}: {y} as onnxruntime", 0 if np.array_equal(got[y], v, equal_nan=v.dtype.kind == "f") else 1, 0)
        return
    operands = [torch.tensor(a, dtype=torch.float64 if a.dtype.kind == "f" else None) for a, _ in arrays]
    floats = [(n, t.requires_grad_(), i) for n, t, (_, i) in zip(names, operands, arrays) if t.is_floating_point()]
    out = c["ref"](*operands)
    out = list(out) if isinstance(out, (tuple, list)) else [out]
    for y, v in zip(ys, out):
        report.check(f"{c['name']}: {y}", rel(got[y], v.detach().numpy()), 2e-6 * c["tol"])
    if not c["grad"]:
        return
    loss, cot = 0, {}
    for y, v in zip(ys, out):
        if v.is_floating_point():
            cot[y] = f(*v.shape)
            loss = loss + (v * torch.tensor(cot[y], dtype=torch.float64)).sum()
    loss.backward()
    run(RUN, "grad", tmp / "m.smkd", *given, *options(tmp, cot, "cotangent"), "-o", tmp / "g.st")
    got = read_safetensors(tmp / "g.st")
    for n, t, is_input in floats:
        key = f"grad.{n}" if is_input else n
        if is_input or key in got:
            report.check(f"{c['name']}: gradient of {n}", rel(got[key], t.grad.numpy()), 5e-6 * c["tol"])


def refused(report, tmp, name, op, fed, known, line, attrs, opset=20):
    model_of(tmp / "m.onnx", op, fed, known, attrs, opset, 2 if op == "TopK" else 1)
    p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", ok=False)
    ok = p.returncode == 1 and line in p.stderr and "the node" in p.stderr
    report.check(f"refused: {name}{'' if ok else ': ' + p.stderr.strip()[-160:]}", 0 if ok else 1, 0)


def run_all(refusals, others=()):
    """refusals: name, operator, inputs, initializers, a part of the line, attributes; others: functions of a report and a folder. Arguments are
    parts of names to run."""
    need_tools()
    report = Report()
    wanted = sys.argv[1:]
    with temp_dir() as d:
        for c in CASES:
            if not wanted or any(w in c["name"] for w in wanted):
                report.guard(c["name"], check, report, d, c)
        for r in refusals:
            if not wanted or any(w in r[0] for w in wanted):
                report.guard(r[0], refused, report, d, *r)
        for o in others:
            if not wanted or any(w in o.__name__ for w in wanted):
                report.guard(o.__name__, o, report, d)
    report.end()
