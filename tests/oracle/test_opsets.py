"""Every operator of the importer in every opset that has it, from 1 to the newest: what a case of test_types.py means in today's spelling it
must mean in the spelling of each opset.

Opsets differ in how a thing is said: operands that were attributes, attributes that had other names, types written as words, `broadcast`
and `axis` where shapes broadcast since. SPELLING is a table of that, and what a case cannot say in an opset is left out there. The operators
whose meaning belongs to old opsets alone have cases of their own below, against numpy.
"""
import re
import sys

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, read_safetensors, run, temp_dir

onnx, _, _ = need("onnx", "onnxruntime", "ml_dtypes")
need_tools()
from onnx import TensorProto as TP, helper, numpy_helper  # noqa: E402

from test_types import CASES, FLOATS, REFUSED, SRC, TYPES, WITHOUT, Pair, const, hostile, image, shaped, tame, try_mode, types_of  # noqa: E402

NEWEST = min(28, onnx.defs.onnx_opset_version())

# Operand k of an operator was an attribute before an opset: one number or several.
WAS_ATTRIBUTE = [
    ("Squeeze|Unsqueeze|ReduceSum", 1, "axes", 13, list), ("Reduce.*", 1, "axes", 18, list), ("Reshape", 1, "shape", 5, list),
    ("Split", 1, "split", 13, list), ("Slice", 1, "starts", 10, list), ("Slice", 2, "ends", 10, list), ("Slice", 3, "axes", 10, list),
    ("Pad", 1, "paddings", 2, list), ("Pad", 1, "pads", 11, list), ("Pad", 2, "value", 11, float), ("Clip", 1, "min", 11, float),
    ("Clip", 2, "max", 11, float), ("Dropout", 1, "ratio", 12, float), ("TopK", 1, "k", 10, int),
]
# Loops and values that may be missing are no function of tensors alone: test_control.py has them.
ELSEWHERE = set("Loop Scan Optional OptionalGetElement OptionalHasElement SequenceMap SequenceErase".split())
BROADCASTS = "Add Sub Mul Div Pow And Or Xor Equal Less Greater".split()  # by saying so, before opset 7


def spelled(op, v, operands, attrs):
    """Operands and attributes as opset v writes them; None where it cannot."""
    try:
        schema = onnx.defs.get_schema(op, v)
    except onnx.defs.SchemaError:
        return None
    if schema.deprecated:
        return None
    operands, attrs, gone = list(operands), dict(attrs), set()
    for ops, k, name, until, kind in WAS_ATTRIBUTE:
        if v < until and re.fullmatch(ops, op) and k < len(operands) and k not in gone and operands[k] is not None:
            if not isinstance(operands[k], tuple):
                return None
            attrs[name] = operands[k][1].ravel().tolist() if kind is list else kind(operands[k][1].item())
            gone.add(k)
    if op == "Slice" and v < 10:
        if len(operands) > 4 and (operands[4][1] != 1).any():
            return None
        gone.add(4)
    if op == "Tile" and v < 6:  # one axis, in numbers of x's type
        times = operands[1][1]
        axis = int(np.argmax(times > 1))
        dt = operands[0].dtype
        operands[1:] = [const(dt.type(times[axis])), const(dt.type(axis))]
    if op == "Resize" and v < 11:
        gone.add(1)
    if op == "Cast" and v < 6:
        attrs["to"] = TP.DataType.Name(attrs["to"])
    if op == "Selu" and v < 6:  # other defaults: old_cases
        return None
    if v < 7 and op in BROADCASTS and operands[0].shape != np.shape(operands[1][1] if isinstance(operands[1], tuple) else operands[1]):
        attrs["broadcast"] = 1
    if v < 7 and op == "Gemm":
        attrs["broadcast"] = 1
    if v < 7 and op == "BatchNormalization":
        attrs["is_test"] = 1
    operands = [o for k, o in enumerate(operands) if k not in gone]
    while operands and operands[-1] is None:
        operands.pop()
    for name in set(attrs) - set(schema.attributes):
        newest = onnx.defs.get_schema(op).attributes.get(name)
        if newest is None or helper.get_attribute_value(newest.default_value) not in (attrs[name], str(attrs[name]).encode()):
            return None
        del attrs[name]
    if len(operands) > schema.max_input:
        return None
    for k, o in enumerate(operands):
        a = o[1] if isinstance(o, tuple) else o
        if a is None:
            continue
        allowed = schema.inputs[min(k, len(schema.inputs) - 1)].types
        name = next(t for t, (_, dt) in TYPES.items() if np.dtype(dt) == a.dtype)
        if f"tensor({name})" not in allowed:
            return None
    return operands, attrs


class Spelled(Pair):
    """A case as an opset writes it; its results are those of today's spelling."""
    cache = {}

    def __init__(self, label, t, opset):
        if (label, t) not in Spelled.cache:
            Spelled.cache[label, t] = Pair(label, t, "run")
        self.__dict__.update(Spelled.cache[label, t].__dict__)
        operands, attrs = CASES[label](t)
        told = spelled(self.op, opset, operands, attrs)
        self.possible = told is not None and self.want is not None
        if told:
            operands, self.attrs = told
            self.known = [o[1] if isinstance(o, tuple) else None for o in operands]
            self.fed = [None if isinstance(o, tuple) else o for o in operands]


def of_opset(v):
    """One case a label, of the first type that the opset has for it."""
    for label in CASES:
        op = re.split(":", label)[0]
        if op in WITHOUT or ":" in label and op in ("Cast", "CastLike") and not label.endswith((":float", ":int64", ":uint8")):
            continue
        order = sorted(types_of(op), key=lambda t: ["float", "int32", "int64", "bool"].index(t) if t in ("float", "int32", "int64", "bool") else 9)
        for t in order:
            if t in REFUSED.get(label, ()) or t in ("double", "float16", "bfloat16") or (op == "BatchNormalization" and t != "float"):
                continue
            p = Spelled(label, t, v)
            if p.possible:
                yield p
                break


# --- meanings that only old opsets, or only new ones, have: (name, from opset, to opset, operator, operands, attributes, results) -------------


def ramp(*dims):
    return shaped("float", *dims)[1]


def old_cases():
    x, c = image("float"), np.array([3, -2], np.float32)
    per_channel = c.reshape(2, 1, 1)
    for op, f in (("Add", np.add), ("Sub", np.subtract), ("Mul", np.multiply), ("Div", np.divide)):
        yield f"{op} by channel", 1, 6, op, [x, const(c)], {"broadcast": 1, "axis": 1}, [f(x, per_channel)]
        yield f"{op} by column", 1, 6, op, [x, const(ramp(4))], {"broadcast": 1}, [f(x, ramp(4))]
        yield f"{op} of a plane", 1, 6, op, [x, const(ramp(2, 4))], {"broadcast": 1, "axis": 1}, [f(x, ramp(2, 4)[:, :, None])]
        yield f"{op} by sample", 1, 6, op, [x, tame("float")[:, 0]], {"broadcast": 1, "axis": 0}, [f(x, tame("float")[:, 0].reshape(2, 1, 1, 1))]
    yield "Pow by channel", 1, 6, "Pow", [x, const(np.array([2, 1], np.float32))], {"broadcast": 1, "axis": 1}, [x ** np.array([2, 1], np.float32).reshape(2, 1, 1)]
    b = x > 30
    for op, f in (("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)):
        yield f"{op} by channel", 1, 6, op, [b, const(np.array([True, False]))], {"broadcast": 1, "axis": 1}, [f(b, np.array([True, False]).reshape(2, 1, 1))]
    for op, f in (("Less", np.less), ("Greater", np.greater)):
        yield f"{op} by channel", 1, 6, op, [x, const(10 * np.abs(c))], {"broadcast": 1, "axis": 1}, [f(x, 10 * np.abs(per_channel))]
    i = image("int32")
    yield "Equal by channel", 1, 6, "Equal", [i, const(np.array([37, 0], np.int32))], {"broadcast": 1, "axis": 1}, [i == np.array([37, 0]).reshape(2, 1, 1)]
    yield "PRelu of channels", 1, 6, "PRelu", [x - 20, const(c)], {}, [np.where(x > 20, x - 20, (x - 20) * per_channel)]
    yield "PRelu of one slope", 1, NEWEST, "PRelu", [x - 20, const(c[:1])], {}, [np.where(x > 20, x - 20, (x - 20) * 3)]
    s = tame("float") - 2
    yield "Selu 1", 1, 5, "Selu", [s], {}, [np.where(s > 0, 1.0507 * s, 1.0507 * 1.6732 * (np.exp(s) - 1)).astype(np.float32)]
    yield "Selu 6", 6, NEWEST, "Selu", [s], {}, [np.where(s > 0, 1.05070102 * s, 1.05070102 * 1.67326319 * (np.exp(s) - 1)).astype(np.float32)]
    twice = x.repeat(2, 2).repeat(3, 3)
    yield "Upsample 1", 1, 6, "Upsample", [x], {"height_scale": 2.0, "width_scale": 3.0, "mode": "nearest"}, [twice]
    yield "Upsample 7", 7, 8, "Upsample", [x], {"scales": [1.0, 1.0, 2.0, 3.0]}, [twice]
    yield "Upsample 9", 9, 9, "Upsample", [x, const(np.array([1, 1, 2, 3], np.float32))], {}, [twice]
    g, w = tame("float"), ramp(8, 3)
    yield "Gemm 1", 1, 6, "Gemm", [g, const(w), const(w[0])], {"broadcast": 1, "alpha": 0.5, "beta": 2.0}, [0.5 * g @ w + 2 * w[0]]
    stats = [ramp(2, 4, 4), ramp(2, 4, 4) + 1, ramp(2, 4, 4) / 2, ramp(2, 4, 4)]
    y = (x - stats[2]) / np.sqrt(stats[3] + np.float32(1e-5)) * stats[0] + stats[1]
    yield "BatchNormalization of elements", 7, 8, "BatchNormalization", [x, *map(const, stats)], {"spatial": 0}, [y.astype(np.float32)]
    yield "BatchNormalization of elements, is_test", 1, 6, "BatchNormalization", [x, *map(const, stats)], {"spatial": 0, "is_test": 1}, [y.astype(np.float32)]
    for first, last, extra, mask in ((1, 6, {"is_test": 1}, np.float32), (7, 9, {}, np.float32), (10, NEWEST, {}, bool)):
        yield f"Dropout and mask {first}", first, last, "Dropout", [x], extra, [x, np.ones_like(x, mask)]
    yield "Dropout of nothing", 12, NEWEST, "Dropout", [x, const(np.float32(0))], {}, [x, np.ones_like(x, bool)]
    yield "Dropout off", 12, NEWEST, "Dropout", [x, const(np.float32(.5)), const(np.array(False))], {}, [x, np.ones_like(x, bool)]
    blocks = x.reshape(2, 2, 2, 2, 2, 2)  # n c h bh w bw
    yield "SpaceToDepth CRD", 28, NEWEST, "SpaceToDepth", [x], {"blocksize": 2, "mode": "CRD"}, [blocks.transpose(0, 1, 3, 5, 2, 4).reshape(2, 8, 2, 2)]
    deep = x.reshape(2, 8, 2, 2)
    yield "DepthToSpace CRD", 11, NEWEST, "DepthToSpace", [deep], {"blocksize": 2, "mode": "CRD"}, [
        deep.reshape(2, 2, 2, 2, 2, 2).transpose(0, 1, 4, 2, 5, 3).reshape(2, 2, 4, 4)]
    h = hostile("float")
    parts = np.split(h, [3, 6], 1)
    yield "Split, equal", 2, 17, "Split", [h], {"axis": 1}, np.split(h, 2, 1)
    yield "Split, num_outputs", 18, NEWEST, "Split", [h], {"axis": -1, "num_outputs": 3}, parts
    yield "Split 1, operand", 1, 1, "Split", [h, const(np.array([3, 3, 2], np.float32))], {"axis": 1}, parts
    for mode, numpy_mode in (("edge", "edge"), ("reflect", "reflect"), ("wrap", "wrap")):
        since = 19 if mode == "wrap" else 11
        pads, wide = [0, 0, 1, 3, 0, 0, 2, 0], ((0, 0), (0, 0), (1, 2), (3, 0))
        yield f"Pad {mode}", since, NEWEST, "Pad", [x, const(np.array(pads))], {"mode": mode}, [np.pad(x, wide, numpy_mode)]
        if mode != "wrap":
            yield f"Pad {mode} 2", 2, 10, "Pad", [x], {"mode": mode, "pads": pads}, [np.pad(x, wide, numpy_mode)]
            yield f"Pad {mode} and crop", 11, NEWEST, "Pad", [x, const(np.array([0, 0, 2, -1, 0, 0, -1, 2]))], {"mode": mode}, [
                np.pad(x, ((0, 0), (0, 0), (2, 0), (0, 2)), numpy_mode)[:, :, :-1, 1:]]
        yield f"Pad {mode}, axes", max(since, 18), NEWEST, "Pad", [x, const(np.array([1, 2])), None, const(np.array([-1]))], {"mode": mode}, [
            np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 2)), numpy_mode)]
    yield "Squeeze of all", 1, NEWEST, "Squeeze", [h[:, None, :, None]], {}, [h]
    yield "Flatten, negative", 11, NEWEST, "Flatten", [x], {"axis": -3}, [x.reshape(2, -1)]
    flat = np.exp(tame("float").reshape(2, 2, 4))
    yield "Softmax of what is flattened", 1, 12, "Softmax", [tame("float").reshape(2, 2, 4)], {}, [flat / flat.sum((1, 2), keepdims=True)]
    yield "Softmax of the last axis", 13, NEWEST, "Softmax", [tame("float").reshape(2, 2, 4)], {}, [flat / flat.sum(-1, keepdims=True)]
    for op, f in (("Max", np.maximum), ("Min", np.minimum), ("Sum", np.add), ("Mean", lambda a, b: (a + b) / 2)):
        yield f"{op} broadcast", 8, NEWEST, op, [x, const(ramp(2, 1, 4))], {}, [f(x, ramp(2, 1, 4)).astype(np.float32)]
        yield f"{op} of one", 1, NEWEST, op, [x], {}, [x]
    yield "Reshape 0 and -1", 1, 4, "Reshape", [x], {"shape": [0, -1]}, [x.reshape(2, -1)]
    yield "Slice 1", 1, 9, "Slice", [x], {"starts": [1, -3], "ends": [9, -1], "axes": [1, 3]}, [x[:, 1:, :, 1:3]]
    yield "Cast by name", 1, 5, "Cast", [x], {"to": "INT32"}, [x.astype(np.int32)]
    yield "Concat, default axis", 1, 3, "Concat", [h, h], {}, [np.concatenate([h, h], 1)]
    yield "Clip, no bounds", 1, NEWEST, "Clip", [x], {}, [x]
    yield "Clip, one bound", 1, 10, "Clip", [x], {"min": 9.0}, [np.maximum(x, 9)]
    yield "LpPool p", 1, 1, "LpPool", [x], {"kernel_shape": [2, 2], "strides": [2, 2], "p": 1.0}, [x.reshape(2, 2, 2, 2, 2, 2).sum((3, 5))]
    yield "GlobalLpPool p", 1, 1, "GlobalLpPool", [x], {"p": 1.0}, [x.sum((2, 3), keepdims=True)]


class Own:
    """A case of the list above, as test_types.py runs pairs."""

    def __init__(self, name, op, operands, attrs, want):
        self.name, self.op, self.attrs, self.want, self.n_out = name, op, attrs, [np.asarray(w) for w in want], len(want)
        self.known = [(o[1][1] if isinstance(o[1], tuple) else o[1]) if isinstance(o, tuple) else None for o in operands]
        self.fed = [None if isinstance(o, tuple) else o for o in operands]

    outputs, node = Pair.outputs, Pair.node


def file_of(path, op, opset, x, attrs, inits=None):
    """x [N, ..] -> op -> y in an opset of any number."""
    inits = inits or {}
    g = helper.make_graph([helper.make_node(op, ["x", *inits], ["y"], name="the node", **attrs)], "g",
                          [helper.make_tensor_value_info("x", TP.FLOAT, ["N", *x.shape[1:]])], [helper.make_tensor_value_info("y", TP.FLOAT, None)],
                          [numpy_helper.from_array(v, k) for k, v in inits.items()])
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
    np.save(path.with_name("x.npy"), x)
    return path


def refusals(report, tmp):
    x = image("float")
    for op, opset, attrs, inits, words in (
            ("Relu", 0, {}, {}, "opset 0 of the default domain is not supported (1 to 28 are)"),
            ("Relu", 29, {}, {}, "opset 29 of the default domain is not supported (1 to 28 are)"),
            ("Add", 6, {"broadcast": 1, "axis": 4}, {"c": ramp(2)}, "axis 4 does not fit operands of 4 and 1 dimensions"),
            ("Cast", 5, {"to": "FLOAT24"}, {}, "it casts to unknown"), ("Tile", 1, {}, {"t": np.float32(1.5), "a": np.float32(1)}, "it repeats an axis 1.5 times"),
            ("BatchNormalization", 7, {"spatial": 0}, {k: ramp(2) for k in "abcd"}, "with spatial=0 operand 1 must have an element for each of a sample's 32"),
            ("ReduceProd", 13, {"axes": [0]}, {}, "it multiplies up the samples of a batch")):
        p = run(SMKDC, "compile", file_of(tmp / "m.onnx", op, opset, x, attrs, inits), "-o", tmp / "m.smkd", ok=False)
        errors = [line for line in p.stderr.splitlines() if "error: " in line]
        report.check(f"refused: {op} in opset {opset}: {words}", int(p.returncode != 1 or len(errors) != 1 or words not in errors[0]), 0) or print(p.stderr)


def gradients(report, tmp):
    """A product with zeros among its factors, and statistics for each element: by finite differences in float64."""
    x = tame("float").reshape(2, 2, 4) - 2
    run(SMKDC, "compile", file_of(tmp / "m.onnx", "ReduceProd", 13, x, {"axes": [1, 2]}), "-o", tmp / "m.smkd")
    np.save(tmp / "dy.npy", np.ones((2, 1, 1), np.float32))
    run(RUN, "grad", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"y={tmp / 'dy.npy'}", "-o", tmp / "g.st")
    want = np.array([[[np.prod(np.delete(s.ravel(), 4 * i + j)) for j in range(4)] for i in range(2)] for s in x.astype(np.float64)])
    report.check("gradient of ReduceProd", np.abs(read_safetensors(tmp / "g.st")["grad.x"] - want).max(), 1e-5)
    x, scale = hostile("float")[:, :4].repeat(4, 0) + np.arange(8)[:, None].astype(np.float32) ** 2, {k: ramp(4) for k in "abcd"}
    run(SMKDC, "compile", file_of(tmp / "m.onnx", "BatchNormalization", 7, x, {"spatial": 0}, scale), "-o", tmp / "m.smkd")
    dy = np.arange(32).reshape(8, 4).astype(np.float32) % 5
    np.save(tmp / "dy.npy", dy)
    run(RUN, "grad", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "--cotangent", f"y={tmp / 'dy.npy'}", "-o", tmp / "g.st")
    got, h = read_safetensors(tmp / "g.st"), 1e-6

    def loss(v):
        return (((v - v.mean(0)) / np.sqrt(v.var(0) + 1e-5) * ramp(4) + ramp(4)) * dy).sum()
    x = x.astype(np.float64)
    slope = np.array([[(loss(x + h * d.reshape(8, 4)) - loss(x - h * d.reshape(8, 4))) / (2 * h) for d in np.eye(32)]]).reshape(8, 4)
    report.check("gradient of BatchNormalization by elements", np.abs(got["grad.x"] - slope).max(), 1e-4)


def main():
    report, seen, tried = Report(), set(), 0
    own = list(old_cases())
    for v in range(int(sys.argv[1]) if sys.argv[1:] else 1, NEWEST + 1):
        cases = list(of_opset(v))
        mine = [Own(name, op, operands, attrs, want) for name, first, last, op, operands, attrs, want in own if first <= v <= last]
        seen |= {(c.op, onnx.defs.get_schema(c.op, v).since_version) for c in cases + mine}
        tried += len(cases) + len(mine)
        with temp_dir() as tmp:
            refused, bad = try_mode(report, "run", cases + mine, tmp, v)
        for name, why in sorted({**refused, **bad}.items()):
            report.fail(f"opset {v}: {name}", why)
        report.check(f"opset {v}: {len(cases) + len(mine)} cases, not right", len(refused) + len(bad), 0)
    with temp_dir() as tmp:
        report.guard("refusals", refusals, report, tmp)
        report.guard("gradients", gradients, report, tmp)
    rows = set(re.findall(r'^IMPORT\("(\w+)"', (SRC / "frontend" / "import_ops.def").read_text(), re.M)) - WITHOUT - ELSEWHERE
    have = {(s.name, s.since_version) for s in onnx.defs.get_all_schemas_with_history()
            if s.domain == "" and s.name in rows and s.since_version <= NEWEST and not s.deprecated}
    missing = sorted(have - seen)
    report.check(f"of {len(have)} versions of {len(rows)} operators without a case: {missing}", len(missing), 0)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
