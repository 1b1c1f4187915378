"""Every operator of the importer on every element type that ONNX allows for it, against onnxruntime.

Each operator of frontend/import_ops.def is tried with each type that its schema names, on values where types differ: 0, 1, -1, the
least and the largest, 128, 200, 255, halves, infinities, NaN. Once its operands come at run time, once they are known at import and
it folds, once the first comes and the others are known. A pair is right when it computes what onnxruntime computes (numpy through
onnx.reference where that has no kernel; float32 rounded for bfloat16), or when it stands in REFUSED and the compiler names its node.
What is refused and not in the table, and what is in the table and computes, are failures: the matrix is kept up to date by this test.
"""
import re
import warnings

from common import *

onnx, ort, ml_dtypes = need("onnx", "onnxruntime", "ml_dtypes")
need_tools()
warnings.simplefilter("ignore")
ort.set_default_logger_severity(4)
from onnx import TensorProto as TP, helper, numpy_helper  # noqa: E402
from onnx.reference import ReferenceEvaluator  # noqa: E402

OPSET = 21
BF16 = np.dtype(ml_dtypes.bfloat16)
TYPES = {
    "float": (TP.FLOAT, np.float32), "double": (TP.DOUBLE, np.float64), "float16": (TP.FLOAT16, np.float16),
    "bfloat16": (TP.BFLOAT16, ml_dtypes.bfloat16), "int8": (TP.INT8, np.int8), "int16": (TP.INT16, np.int16), "int32": (TP.INT32, np.int32),
    "int64": (TP.INT64, np.int64), "uint8": (TP.UINT8, np.uint8), "uint16": (TP.UINT16, np.uint16), "uint32": (TP.UINT32, np.uint32),
    "uint64": (TP.UINT64, np.uint64), "bool": (TP.BOOL, np.bool_),
}
FLOATS = {"float", "double", "float16", "bfloat16"}
INTS = set(TYPES) - FLOATS - {"bool"}

# --- values ---------------------------------------------------------------------------------------------------------


def hostile(t, turn=0):
    """[2, 8]: what types differ in; `turn` gives another order, for a second operand."""
    dt = TYPES[t][1]
    if t == "bool":
        v = [0, 1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 1, 1, 1, 0]
    elif t in FLOATS:
        v = [0, 1, -1, .5, -.5, 1.5, 2.5, -2.5, 128, 200.25, 255, 1 / 3, -3, np.inf, -np.inf, np.nan]
    else:
        i = np.iinfo(dt)
        v = [0, 1, 2, 3, i.min, i.max, i.max - 1, i.min + 1, i.max // 2, i.max // 2 + 1, 5, 7, 100, i.max - 55, i.max - 127, 11]
    return np.roll(np.array(v).astype(dt) if t in FLOATS | {"bool"} else np.array([dt(x) for x in v]), 5 * turn).reshape(2, 8)


def known_sign(t):
    """hostile() without NaN."""
    x = hostile(t)
    return np.where(np.isnan(x), TYPES[t][1](.25), x) if t in FLOATS else x


def tame(t, turn=0):
    """[2, 8] of small numbers above 0: for products and for what is undefined at the hostile ones."""
    return np.roll(np.array([1, 2, 3, 1, 2, 1, 3, 2, 1, 1, 2, 3, 2, 3, 1, 1]), turn).astype(TYPES[t][1]).reshape(2, 8)


def image(t):
    return (np.arange(64).reshape(2, 2, 4, 4) * 37 % 101 % 64).astype(TYPES[t][1])


def const(a):
    return ("const", np.asarray(a))


I64 = lambda *v: const(np.array(v, np.int64))  # noqa: E731


def shaped(t, *dims):
    return const((np.arange(np.prod(dims)).reshape(dims) % 3 + 1).astype(TYPES[t][1]))


# --- cases ------------------------------------------------------------------------------------------------------------
# Operator: function of a type to (operands, attributes); an operand is an array (at run time or known), or const(array).

CASES = {}


def case(names, make):
    for n in names.split():
        CASES[n] = make


case("Neg Abs Exp Log Sqrt Reciprocal Erf Tanh Sigmoid Relu Sin Cos Floor Ceil Round Not LeakyRelu Elu Selu Celu Gelu HardSigmoid "
     "HardSwish Swish Mish Softplus Softsign ThresholdedRelu Identity Shape Size Dropout", lambda t: ([hostile(t)], {}))
case("Tan Atan Asinh IsNaN IsInf BitwiseNot", lambda t: ([hostile(t)], {}))
case("Sinh Cosh", lambda t: ([np.clip(hostile(t), -9, 9)], {}))
case("Asin Acos Atanh Acosh", lambda t: ([np.clip(hostile(t), -1, 3)], {}))
case("BitwiseAnd BitwiseOr BitwiseXor", lambda t: ([hostile(t), hostile(t, 1)], {}))
case("BitShift", lambda t: ([hostile(t), tame(t)], {"direction": "RIGHT"}))
case("BitShift:left", lambda t: ([hostile(t), (4 * tame(t) - 4).astype(TYPES[t][1])], {"direction": "LEFT"}))
case("Sign Hardmax", lambda t: ([known_sign(t)], {}))
case("Softmax LogSoftmax", lambda t: ([tame(t)], {"axis": 1}))
case("LpNormalization", lambda t: ([tame(t)], {"axis": 1, "p": 2}))
case("Add Sub Mul Max Min Equal Less LessOrEqual Greater GreaterOrEqual And Or Xor Sum Mean", lambda t: ([hostile(t), hostile(t, 1)], {}))
case("Div", lambda t: ([hostile(t), tame(t)], {}))
case("Pow", lambda t: ([tame(t), tame(t, 3)], {}))
case("Mod", lambda t: ([hostile(t), tame(t)], {"fmod": 1} if t in FLOATS else {}))
case("Mod:fmod", lambda t: ([hostile(t), tame(t)], {"fmod": 1}))
case("Mod:negative", lambda t: ([hostile(t), (0 - tame(t)).astype(TYPES[t][1])] if t.startswith("int") else [hostile(t), tame(t)],
                                {"fmod": int(t in FLOATS)}))
for _op in ("Div:zero", "Mod:zero"):
    case(_op, lambda t: ([hostile(t), np.array([[0, 3, -1 if t.startswith("int") else 1, 0] * 2] * 2).astype(TYPES[t][1])],
                                     {"fmod": 1} if t in FLOATS else {}))
for exponent in ("float", "double", "int32", "uint8"):
    case(f"Pow:{exponent}", lambda t, e=exponent: ([tame(t), tame(e, 3)], {}))
case("Pow:half", lambda t: ([np.square(tame(t)), const(TYPES["float"][1](0.5))], {}))
case("Where", lambda t: ([hostile("bool"), hostile(t), hostile(t, 1)], {}))
case("Clip", lambda t: ([hostile(t), const(TYPES[t][1](2)), const(TYPES[t][1](100))], {}))
case("PRelu", lambda t: ([hostile(t), const(tame(t)[0])], {}))
for to in TYPES:
    case(f"Cast:{to}", lambda t, to=to: ([castable(t, to)], {"to": TYPES[to][0]}))
    case(f"CastLike:{to}", lambda t, to=to: ([castable(t, to), const(tame(to)[0, 0])], {}))
for r in "Sum Mean Max Min L1 L2 SumSquare LogSum LogSumExp".split():
    # Sums that leave their type, and maxima of NaN, are not the same in onnxruntime from one type to the next.
    case(f"Reduce{r}", lambda t, r=r: ([(known_sign if r in ("Max", "Min") else tame)(t), I64(1)], {}))
    case(f"Reduce{r}:all", lambda t, r=r: ([image(t), I64(2, 3)], {"keepdims": 0}))
case("ReduceProd", lambda t: ([tame(t), I64(1)], {}))
case("ReduceProd:all", lambda t: ([shaped(t, 2, 3, 5)[1], I64(1, 2)], {"keepdims": 0}))
case("ArgMax ArgMin", lambda t: ([known_sign(t)], {"axis": 1}))
case("CumSum", lambda t: ([tame(t), I64(1)], {}))
case("Reshape", lambda t: ([hostile(t), I64(0, 2, 4)], {}))
case("Flatten", lambda t: ([image(t)], {}))
case("Squeeze", lambda t: ([hostile(t)[:, None], I64(1)], {}))
case("Unsqueeze", lambda t: ([hostile(t), I64(1)], {}))
case("Transpose", lambda t: ([image(t)], {"perm": [0, 2, 3, 1]}))
case("Expand", lambda t: ([hostile(t)[:, :1], I64(1, 3)], {}))
case("Tile", lambda t: ([hostile(t), I64(1, 2)], {}))
case("Concat", lambda t: ([hostile(t), hostile(t, 1)], {"axis": 1}))
case("Split", lambda t: ([hostile(t), I64(3, 5)], {"axis": 1}))
case("Slice", lambda t: ([hostile(t), I64(1), I64(7), I64(1), I64(2)], {}))
case("Gather", lambda t: ([hostile(t), I64(7, 0, -2)], {"axis": 1}))
case("Gather:int32", lambda t: ([hostile(t), const(np.array([7, 0, -2], np.int32))], {"axis": 1}))
case("GatherND", lambda t: ([shaped(t, 3, 2), const(np.array([[2, 1], [0, -1]]))], {}))
ROWS = np.array([[0, 1, -1, -2, 1, 0, 0, -1], [1, 0, 0, 1, -2, 1, -1, 0]])
case("GatherElements", lambda t: ([hostile(t), ROWS], {"axis": 0}))
for _r in ("", ":add", ":mul", ":max", ":min"):
    case(f"ScatterElements{_r}", lambda t, r=_r: ([tame(t), ROWS, tame(t, 2)], {"axis": 0, "reduction": r[1:] or "none"}))
case("TopK", lambda t: ([hostile(t), I64(5)], {}))
case("ReverseSequence", lambda t: ([hostile(t), I64(0, 1, 2, 0, 1, 2, 2, 1)], {}))
case("ScatterND", lambda t: ([shaped(t, 4), const(np.array([[2], [0]])), const(tame(t)[0, :2])], {}))
case("Pad", lambda t: ([hostile(t), I64(0, 1, 0, 2), const(TYPES[t][1](1))], {}))
case("Trilu", lambda t: ([image(t)], {}))
case("OneHot", lambda t: ([np.array([[0, 2, -1], [1, 1, 5]]), I64(3), const(np.array([0, 1]).astype(TYPES[t][1]))], {}))
case("Compress", lambda t: ([hostile(t), const(np.array([True, False, True, True]))], {"axis": 1}))
case("EyeLike", lambda t: ([shaped(t, 3, 3)], {}))
case("Range", lambda t: ([const(TYPES[t][1](1)), const(TYPES[t][1](7)), const(TYPES[t][1](2))], {}))
case("ConstantOfShape", lambda t: ([I64(2, 3)], {"value": numpy_helper.from_array(tame(t)[0, 1:2], "v")}))
case("Constant", lambda t: ([], {"value": numpy_helper.from_array(hostile(t), "v")}))
case("DepthToSpace", lambda t: ([image(t).reshape(2, 8, 2, 2)], {"blocksize": 2}))
case("SpaceToDepth", lambda t: ([image(t)], {"blocksize": 2}))
case("Resize", lambda t: ([image(t), None, const(np.array([1, 1, 2, 2], np.float32))], {"mode": "nearest"}))
case("Gemm", lambda t: ([tame(t), shaped(t, 8, 3), shaped(t, 3)], {}))
case("MatMul", lambda t: ([tame(t), shaped(t, 8, 3)], {}))
case("MatMul:batched", lambda t: ([image(t), image(t)], {}))
case("Einsum", lambda t: ([tame(t), shaped(t, 8, 3)], {"equation": "nk,km->nm"}))
case("Conv", lambda t: ([image(t), shaped(t, 3, 2, 3, 3)], {"pads": [1, 1, 1, 1]}))
case("ConvTranspose", lambda t: ([image(t), shaped(t, 2, 3, 2, 2)], {"strides": [2, 2]}))
case("MaxPool AveragePool", lambda t: ([image(t)], {"kernel_shape": [2, 2]}))
case("LpPool", lambda t: ([image(t)], {"kernel_shape": [2, 2], "p": 2}))
case("GlobalAveragePool GlobalMaxPool GlobalLpPool", lambda t: ([image(t)], {}))
case("BatchNormalization", lambda t: ([image(t)] + [shaped(t, 2)] * 4, {}))
case("InstanceNormalization", lambda t: ([image(t), shaped(t, 2), shaped(t, 2)], {}))
case("LayerNormalization", lambda t: ([tame(t), shaped(t, 8), shaped(t, 8)], {}))
case("GroupNormalization", lambda t: ([image(t), shaped(t, 2), shaped(t, 2)], {"num_groups": 1}))
case("Col2Im", lambda t: ([shaped(t, 2, 4, 4)[1], I64(3, 3), I64(2, 2)], {}))
case("CenterCropPad", lambda t: ([hostile(t), I64(5)], {"axes": [1]}))
case("LRN", lambda t: ([image(t)], {"size": 3}))
# No type to try: sequences and control hand values on, random numbers are no function of operands; and rows of opsets
# newer (Attention, RMSNormalization, Swish) or older (Upsample) than the one here. Losses: tests/oracle/test_functions.py.
# Tests of their own.
WITHOUT = set(
    # test_functions.py
    "RandomNormal RandomNormalLike RandomUniform RandomUniformLike Bernoulli Multinomial QuantizeLinear DequantizeLinear MatMulInteger ConvInteger "
    "QLinearMatMul QLinearConv Attention RotaryEmbedding SoftmaxCrossEntropyLoss NegativeLogLikelihoodLoss "
    # test_control.py, test_recurrent.py, test_import.py
    "SequenceConstruct SequenceEmpty SequenceInsert SequenceAt SequenceLength SequenceErase SequenceMap SplitToSequence ConcatFromSequence If Loop Scan "
    "Optional OptionalHasElement OptionalGetElement RNN GRU LSTM RMSNormalization Swish Upsample "
    # of indexing and sampling
    "Scatter TensorScatter CumProd NonZero Unique AffineGrid RoiAlign DeformConv GridSample NonMaxSuppression MaxUnpool MaxRoiPool DFT STFT "
    "MelWeightMatrix".split())

# --- what is refused ------------------------------------------------------------------------------------------------------
REFUSED = {
    "PRelu": INTS, "ReduceLogSumExp": INTS, "ReduceLogSumExp:all": INTS,
}


def castable(t, to):
    """Floats that the integer type holds: what others become is left undefined by ONNX."""
    x = hostile(t)
    if t in FLOATS and to in INTS:
        x = np.nan_to_num(x.astype(np.float64), nan=0, posinf=7, neginf=0)
        i = np.iinfo(TYPES[to][1])
        x = np.clip(x, float(i.min), min(float(i.max), 255)).astype(TYPES[t][1])
    return x


# --- models -----------------------------------------------------------------------------------------------------------------


class Pair:
    """One operator on one type."""

    def __init__(self, label, t, mode):
        self.label, self.t, self.op = label, t, re.split(":", label)[0]
        operands, self.attrs = CASES[label](t)
        self.known = [o[1] if isinstance(o, tuple) else None for o in operands]
        self.fed = [None if isinstance(o, tuple) else o for o in operands]
        self.name = f"{label.replace(':', '_')}.{t}"
        if mode == "first":  # what is known has no batch: one row, that broadcasts
            self.fed[1:] = [f if f is None else f[:1] for f in self.fed[1:]]
        self.n_out = 2 if self.op in ("Split", "TopK") else 1
        self.want = reference(self)

    def outputs(self):
        return [f"{self.name}.y{i}" for i in range(self.n_out)]

    def node(self, mode, inits, ins):
        """Fills the initializers and inputs of a file with what this node needs. mode: run, fold, first."""
        names = []
        for i, (k, f) in enumerate(zip(self.known, self.fed)):
            a = k if f is None else f
            name = "" if a is None else f"{self.name}.x{i}"
            if a is not None and (f is None or mode == "fold" or (mode == "first" and any(x is not None for x in self.fed[:i]))):
                inits[name] = a
            elif a is not None:
                name = f"x{abs(hash((str(a.dtype), a.shape, a.tobytes())))}"
                ins[name] = a
            names.append(name)
        return helper.make_node(self.op, names, self.outputs(), name=self.name, **self.attrs)


def onnx_type(a):
    return helper.np_dtype_to_tensor_dtype(a.dtype)


def model_of(pairs, mode, batch="N", opset=OPSET):
    inits, ins, nodes, outs = {}, {}, [], []
    for p in pairs:
        nodes.append(p.node(mode, inits, ins))
        types = [onnx_type(w) for w in p.want] if p.want else [TYPES[p.t][0]] * p.n_out
        outs += [helper.make_tensor_value_info(n, t, None) for n, t in zip(p.outputs(), types)]
    if not ins:  # a file needs an input that something reads
        ins["unused"] = np.zeros((2, 1), np.float32)
        nodes.append(helper.make_node("Identity", ["unused"], ["same"]))
        outs.append(helper.make_tensor_value_info("same", TP.FLOAT, None))
    g = helper.make_graph(nodes, "types", [helper.make_tensor_value_info(n, onnx_type(a), [batch, *a.shape[1:]]) for n, a in ins.items()],
                          outs, [numpy_helper.from_array(a, n) for n, a in inits.items()])
    return helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), ins


def by_zero(op, x, y):
    """Integers: x/0 and x mod 0 are 0 here, where others end with a signal; the least number by -1 wraps."""
    q = [(0, 0) if b == 0 else divmod(int(a), int(b)) for a, b in zip(x.ravel(), y.ravel())]
    if op == "Mod":
        r = [m for _, m in q]
    else:  # toward zero
        r = [d + 1 if m and d < 0 else d for d, m in q]
    return np.array(r, object).reshape(x.shape), x.dtype


def wrapped(values, dt):
    bits = 8 * dt.itemsize
    return np.array([(int(v) & (2**bits - 1)) for v in values.ravel()], np.uint64).astype(f"u{dt.itemsize}").view(dt).reshape(values.shape)


def reference(p):
    """Results, or None where nobody here computes the pair: then it may only be refused."""
    arrays = [k if f is None else f for k, f in zip(p.known, p.fed)]
    if p.label.endswith(":zero") and p.t in INTS:
        return [wrapped(*by_zero(p.op, *np.broadcast_arrays(*arrays)))]
    for wide in (None, np.int64, np.float32, np.uint8):  # moves and sums that nobody has for a type: in another, and back
        mine = TYPES[p.t][1]
        try:
            tried = [a.astype(wide) if wide and a is not None and a.dtype == np.dtype(mine) else a for a in arrays]
            got = [np.asarray(a) for a in run_reference(p.op, tried, p.attrs, p.n_out)]
            schema = onnx.defs.get_schema(p.op, OPSET)
            outs = [schema.outputs[min(i, len(schema.outputs) - 1)].type_str for i in range(p.n_out)]
            kinds = [bool(schema.inputs) and out == schema.inputs[0].type_str for out in outs]
            return [a.astype(mine) if k or (p.n_out == 1 and wide and a.dtype == np.dtype(wide)) else a for a, k in zip(got, kinds)]
        except Exception:
            continue
    return None


def run_reference(op, arrays, attrs, n_out):
    names = ["" if a is None else f"x{i}" for i, a in enumerate(arrays)]
    node = helper.make_node(op, names, [f"y{i}" for i in range(n_out)], **attrs)
    g = helper.make_graph([node], "one", [helper.make_tensor_value_info(n, onnx_type(a), a.shape) for n, a in zip(names, arrays) if n],
                          [helper.make_empty_tensor_value_info(f"y{i}") for i in range(n_out)])
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    feeds = {n: a for n, a in zip(names, arrays) if n}
    half = next((a.dtype for a in arrays if a is not None and a.dtype in (BF16, np.dtype(np.float16))), None)
    if half == BF16 or (op == "Cast" and attrs["to"] == TP.BFLOAT16) or (op == "CastLike" and arrays[1].dtype == BF16):
        return in_single(op, arrays, attrs, n_out)
    try:
        return ort.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    except Exception:
        if half is not None:
            return in_single(op, arrays, attrs, n_out)
        return [np.asarray(a) for a in ReferenceEvaluator(m).run(None, feeds)]


def in_single(op, arrays, attrs, n_out):
    """float32, rounded: what bfloat16 and float16 are computed in where there is no arithmetic of their own."""
    small = (BF16, np.dtype(np.float16))
    wide = [a.astype(np.float32) if a is not None and a.dtype in small else a for a in arrays]
    if op in ("Cast", "CastLike"):
        dt = helper.tensor_dtype_to_np_dtype(attrs["to"]) if op == "Cast" else arrays[1].dtype
        return [wide[0].astype(np.float32).astype(dt) if dt in small else wide[0].astype(dt)]
    if attrs.get("value") is not None:
        return [np.full((2, 3), 2).astype(BF16) if op == "ConstantOfShape" else numpy_helper.to_array(attrs["value"])]
    typed = arrays[{"OneHot": 2, "Where": 1}.get(op, 0)]
    return [y.astype(typed.dtype) if y.dtype == np.float32 else y for y in run_reference(op, wide, attrs, n_out)]


# --- running ------------------------------------------------------------------------------------------------------------


def refused_by(text, pairs):
    """Labels named by errors: {name: line}. Every error line must name a node of the file."""
    names, out = {p.name for p in pairs}, {}
    for line in text.splitlines():
        m = re.search(r'node "([^"]+)"', line)
        if "error" in line and m and m.group(1) in names:
            out.setdefault(m.group(1), line)
    return out


# Of doubles onnxruntime computes these, or their attributes, in float32.
LOOSE = ("Erf", "Gelu", "GlobalLpPool", "GroupNormalization", "LRN")


def differs(got, want, loose=False):
    """Why two results are not equal, or None. loose: onnxruntime's own formula is one of float32."""
    if got.shape != want.shape:
        return f"shape {got.shape}, expected {want.shape}"
    small = want.dtype in (BF16, np.dtype(np.float16))
    if small and got.dtype == np.float32:
        with np.errstate(over="ignore"):
            if not np.array_equal(got, got.astype(want.dtype).astype(np.float32), equal_nan=True):
                return f"not rounded to {want.dtype}: {got.ravel()[:8]}"
    elif got.dtype != want.dtype:
        return f"type {got.dtype}, expected {want.dtype}"
    if want.dtype.kind in "iub":
        bad = got != want
    else:
        g, w = got.astype(np.float64), want.astype(np.float64)
        eps = {"bfloat16": 2**-7, "float16": 2**-9, "float32": 4e-6, "float64": 1e-6 if loose else 1e-13}[str(want.dtype)]
        with np.errstate(invalid="ignore"):
            bad = ~((g == w) | (np.isnan(g) & np.isnan(w)) | (np.abs(g - w) <= eps * np.maximum(np.abs(w), .1)))
    if bad.any():
        i = np.flatnonzero(bad.ravel())[0]
        return f"element {i} is {got.ravel()[i]}, expected {want.ravel()[i]}"
    return None


def try_mode(rep, mode, pairs, tmp, opset=OPSET):
    """Returns {pair name: refusal} and what differs."""
    refused, path = {}, tmp / "m.onnx"
    for _ in range(4):
        m, ins = model_of(pairs, mode, opset=opset)
        onnx.save(m, path)
        checked = run(SMKDC, "check", path, "--constant", "*", ok=False)
        made = run(SMKDC, "compile", path, "-o", tmp / "m.smkd", "--constant", "*", "--mcpu", MCPU, ok=False)
        if made.returncode == 0:
            break
        more = refused_by(made.stderr + made.stdout, pairs)
        same = refused_by(checked.stderr + checked.stdout, pairs)
        if made.returncode != 1 or not more:
            rep.fail(f"{mode}: compile", f"exit {made.returncode}: {(made.stderr + made.stdout)[-400:]}")
            return refused, {}
        if set(same) != set(more):
            rep.fail(f"{mode}: check and compile", f"name different nodes: {sorted(set(same) ^ set(more))[:8]}")
        refused.update(more)
        pairs = [p for p in pairs if p.name not in more]
    args = []
    for i, (n, a) in enumerate(ins.items()):
        np.save(tmp / f"{i}.npy", a.astype(np.float32) if a.dtype == BF16 else a)
        args += ["--input", f"{n}={tmp / f'{i}.npy'}"]
    done = run(RUN, "infer", tmp / "m.smkd", *args, "-o", tmp / "o.safetensors", ok=False)
    if done.returncode:
        rep.fail(f"{mode}: infer", f"exit {done.returncode}: {done.stderr[-400:]}")
        return refused, {}
    from safetensors.numpy import load_file
    got, bad = load_file(tmp / "o.safetensors"), {}
    for p in pairs:
        if not p.want:
            bad[p.name] = "it computes, and there is nothing to compare it with"
        for n, w in zip(p.outputs(), p.want or []):
            why = differs(got[n], w, p.op in LOOSE) if n in got else "no such output"
            if why:
                bad[p.name] = why
    return refused, bad


def types_of(op):
    schema = onnx.defs.get_schema(op, OPSET)
    inputs = [i for i in schema.inputs] or [o for o in schema.outputs]
    which = {"OneHot": 2, "Where": 1}.get(op, 0)
    names = [o for o in schema.outputs][0].types if op in ("Constant", "ConstantOfShape") else inputs[which].types
    return [t for t in TYPES if f"tensor({t})" in names]


def tried(mode):
    for label in CASES:
        op = re.split(":", label)[0]
        several = sum(not isinstance(o, tuple) and o is not None for o in CASES[label](types_of(op)[0])[0]) > 1 if op not in WITHOUT else 0
        if op in WITHOUT or (mode == "first" and (not several or op == "Concat")):
            continue
        for t in types_of(op):
            # The statistics of BatchNormalization raise the whole file to float32: tests/oracle/test_import.py.
            if not (label.startswith("CastLike") and t not in ("float", "int64", "uint8")) and (op != "BatchNormalization" or t == "float"):
                yield label, t


def main():
    rep = Report()
    rows = set(re.findall(r'^IMPORT\("(\w+)"', (SRC / "frontend" / "import_ops.def").read_text(), re.M))
    have = {re.split(":", c)[0] for c in CASES}
    missing = rows - have - WITHOUT
    rep.check(f"operators of the importer without a case: {sorted(missing)}", len(missing), 0)
    for mode in ("run", "fold", "first"):
        pairs = [Pair(label, t, mode) for label, t in tried(mode)]
        table = {f"{label.replace(':', '_')}.{t}" for label, ts in REFUSED.items() for t in ts} & {p.name for p in pairs}
        with temp_dir() as tmp:
            refused, bad = try_mode(rep, mode, pairs, tmp)
        for name, why in sorted(bad.items()):
            rep.fail(f"{mode}: {name}", why)
        for name in sorted(set(refused) - table):
            rep.fail(f"{mode}: {name}", f"refused, and not in the table: {refused[name]}")
        for name in sorted(table - set(refused)):
            rep.fail(f"{mode}: {name}", "in the table of what is refused, but it computes")
        rep.check(f"{mode}: {len(pairs)} pairs of operator and type, {len(pairs) - len(refused) - len(bad)} equal, {len(refused)} refused "
                  "by name; others", len(bad), 0)
    rep.end()


if __name__ == "__main__":
    main()
