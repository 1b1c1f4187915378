"""Single operators, opset by opset: what the compiled file computes against onnxruntime."""
import sys

import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, read_safetensors, rel, run, temp_dir

need("onnx", "onnxruntime")
import onnx
import onnxruntime
from onnx import TensorProto as T
from onnx import helper, numpy_helper

RNG = np.random.default_rng(5)


def w(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def i64(*v):
    return np.array(v, np.int64)


# (name, opset, input dims after N, operator, initializers in operand order after x, attributes)
F4, F3, F2 = (6, 7, 5), (6, 9), (12,)
CASES = [
    *[(op.lower(), 17, F4, op, [], {}) for op in (
        "Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Elu", "Selu", "Celu", "LeakyRelu", "HardSigmoid", "HardSwish",
        "Exp", "Erf", "Abs", "Neg", "Sin", "Cos", "Floor", "Ceil", "Round", "Sign", "Identity", "GlobalAveragePool",
        "GlobalMaxPool", "Flatten", "ThresholdedRelu", "Mish")],
    ("gelu", 20, F4, "Gelu", [], {}), ("gelu tanh", 20, F4, "Gelu", [], {"approximate": "tanh"}),
    ("prelu", 17, F4, "PRelu", [w(6, 1, 1)], {}), ("clip", 17, F4, "Clip", [np.float32(-.5), np.float32(.7)], {}),
    ("clip 6", 7, F4, "Clip", [], {"min": -.5, "max": .7}),
    ("softmax", 17, F4, "Softmax", [], {"axis": 1}), ("softmax 11", 11, F4, "Softmax", [], {"axis": 1}),
    ("logsoftmax", 17, F4, "LogSoftmax", [], {"axis": -1}), ("logsoftmax 11", 11, F4, "LogSoftmax", [], {"axis": 2}),
    ("conv", 17, F4, "Conv", [w(4, 6, 3, 3), w(4)], {"pads": [1, 1, 1, 1]}),
    ("conv same upper", 17, F4, "Conv", [w(4, 6, 3, 2)], {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
    ("conv same lower", 17, F4, "Conv", [w(4, 6, 2, 2)], {"auto_pad": "SAME_LOWER"}),
    ("conv uneven", 17, F4, "Conv", [w(4, 3, 3, 3)], {"pads": [0, 1, 2, 0], "group": 2, "dilations": [2, 1]}),
    ("conv 1d", 17, F3, "Conv", [w(4, 6, 3), w(4)], {"pads": [1, 0], "strides": [2]}),
    ("deconv", 17, F4, "ConvTranspose", [w(6, 4, 3, 3), w(4)], {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    ("deconv group", 17, F4, "ConvTranspose", [w(6, 2, 3, 3)], {"strides": [2, 1], "group": 3, "dilations": [1, 2]}),
    ("maxpool", 17, F4, "MaxPool", [], {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]}),
    ("maxpool ceil", 17, F4, "MaxPool", [], {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    ("maxpool 1d", 17, F3, "MaxPool", [], {"kernel_shape": [3], "strides": [2]}),
    ("avgpool", 17, F4, "AveragePool", [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("avgpool pads", 17, F4, "AveragePool", [], {"kernel_shape": [3, 2], "pads": [1, 0, 1, 1], "count_include_pad": 1}),
    ("batchnorm", 17, F4, "BatchNormalization", [w(6), w(6), w(6), abs(w(6)) + 1], {}),
    ("batchnorm 9", 9, F4, "BatchNormalization", [w(6), w(6), w(6), abs(w(6)) + 1], {"epsilon": 1e-3}),
    ("instancenorm", 17, F4, "InstanceNormalization", [w(6), w(6)], {}),
    ("layernorm", 17, F4, "LayerNormalization", [w(7, 5), w(7, 5)], {"axis": 2}),
    ("groupnorm", 21, F4, "GroupNormalization", [w(6), w(6)], {"num_groups": 3}),
    ("lpnorm", 17, F4, "LpNormalization", [], {"axis": 1}), ("lrn", 17, F4, "LRN", [], {"size": 3, "alpha": .5}),
    ("gemm", 17, F2, "Gemm", [w(5, 12), w(5)], {"transB": 1, "alpha": .5, "beta": 2.0}),
    ("matmul", 17, F4, "MatMul", [w(5, 8)], {}), ("matmul vector", 17, F4, "MatMul", [w(5)], {}),
    ("matmul batched", 17, F4, "MatMul", [w(6, 5, 4)], {}),
    ("einsum", 17, F4, "Einsum", [w(6, 5, 3)], {"equation": "nchw,cwk->nhk"}),
    ("einsum batch", 17, F4, "Einsum", [w(6, 5, 3)], {"equation": "nchw,cwk->nkch"}),
    ("add", 17, F4, "Add", [w(7, 1)], {}), ("sub", 17, F4, "Sub", [w(6, 1, 1)], {}), ("mul", 17, F4, "Mul", [w(5)], {}),
    ("div", 17, F4, "Div", [abs(w(5)) + 1], {}), ("pow 2", 17, F4, "Pow", [np.float32(2)], {}), ("pow 3", 17, F4, "Pow", [np.float32(3)], {}),
    ("max", 17, F4, "Max", [w(5), w(7, 1)], {}), ("mean", 17, F4, "Mean", [w(5), w(7, 1)], {}), ("sum", 17, F4, "Sum", [w(5), w(5)], {}),
    *[(op.lower(), 17, F4, op, [], {"axes": [2, 3], "keepdims": k}) for op in (
        "ReduceMean", "ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2", "ReduceSumSquare", "ReduceLogSumExp") for k in (0, 1)],
    ("reducesum", 17, F4, "ReduceSum", [i64(1, -1)], {"keepdims": 0}), ("reducemean 18", 18, F4, "ReduceMean", [i64(-1)], {}),
    ("argmax", 17, F4, "ArgMax", [], {"axis": 1, "keepdims": 0}), ("argmin", 17, F4, "ArgMin", [], {"axis": 2}),
    ("reshape", 17, F4, "Reshape", [i64(0, -1, 5)], {}), ("squeeze 11", 11, (1, 7), "Squeeze", [], {"axes": [1]}),
    ("squeeze", 17, (1, 7), "Squeeze", [i64(1)], {}), ("unsqueeze", 17, F3, "Unsqueeze", [i64(1, -1)], {}),
    ("transpose", 17, F4, "Transpose", [], {"perm": [0, 2, 3, 1]}), ("expand", 17, (6, 1, 5), "Expand", [i64(1, 6, 4, 5)], {}),
    ("tile", 17, F4, "Tile", [i64(1, 2, 1, 3)], {}),
    ("slice", 17, F4, "Slice", [i64(1, -1), i64(99, -99), i64(1, 2), i64(2, -2)], {}),
    ("slice 9", 9, F4, "Slice", [], {"starts": [1], "ends": [-1], "axes": [2]}),
    ("gather", 17, F4, "Gather", [i64(3, 0, 3)], {"axis": 1}), ("gather one", 17, F4, "Gather", [np.int64(-1)], {"axis": 2}),
    ("pad", 17, F4, "Pad", [i64(0, 0, 1, 2, 0, 0, 0, 1), np.float32(.5)], {}),
    ("pad 7", 7, F4, "Pad", [], {"pads": [0, 0, 1, 2, 0, 0, 0, 1]}),
    ("pad reflect", 17, F4, "Pad", [i64(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "reflect"}),
    ("pad edge", 17, F4, "Pad", [i64(0, 0, 1, 2, 0, 0, 2, 1)], {"mode": "edge"}),
    ("pad crop", 17, F4, "Pad", [i64(0, 0, -1, 2, 0, 0, 0, -1)], {}),
    ("depth to space", 17, (8, 3, 5), "DepthToSpace", [], {"blocksize": 2}),
    ("depth to space crd", 17, (8, 3, 5), "DepthToSpace", [], {"blocksize": 2, "mode": "CRD"}),
    ("space to depth", 17, (2, 6, 4), "SpaceToDepth", [], {"blocksize": 2}),
    *[(f"resize {m} {c}", 17, F4, "Resize", [None, np.array([1, 1, 2, s], np.float32)],
       {"mode": m, "coordinate_transformation_mode": c}) for m in ("nearest", "linear", "cubic")
      for c, s in (("asymmetric", 2), ("half_pixel", 1.6), ("align_corners", 3))],
    ("cumsum", 17, F4, "CumSum", [np.int64(2)], {}),
    ("cumsum back", 17, F4, "CumSum", [np.int64(-1)], {"reverse": 1, "exclusive": 1}),
    ("trilu", 17, F4, "Trilu", [], {"upper": 0}),
]


def model(case):
    name, opset, dims, op, operands, attrs = case
    names = ["x"] + ["" if v is None else f"w{i}" for i, v in enumerate(operands)]
    inits = [numpy_helper.from_array(np.asarray(v), f"w{i}") for i, v in enumerate(operands) if v is not None]
    g = helper.make_graph([helper.make_node(op, names, ["r"], name="the node", **attrs), helper.make_node("Cast", ["r"], ["y"], to=T.FLOAT)],
                          "g", [helper.make_tensor_value_info("x", T.FLOAT, ["N", *dims])],
                          [helper.make_tensor_value_info("y", T.FLOAT, None)], inits)
    m = helper.make_model(g, opset_imports=[helper.make_opsetid("", opset)], ir_version=8 if opset < 20 else 9)
    return m


def forward(tmp, path, x):
    run(SMKDC, "compile", path, "-o", tmp / "m.smkd", "--max-batch", 8)
    np.save(tmp / "x.npy", x)
    run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp / 'x.npy'}", "-o", tmp / "y.safetensors")
    return read_safetensors(tmp / "y.safetensors")["y"]


def one(report, tmp, case):
    m = model(case)
    path = tmp / "m.onnx"
    onnx.save(m, str(path))
    x = RNG.standard_normal((3, *case[2])).astype(np.float32)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    try:
        want = onnxruntime.InferenceSession(str(path), options).run(None, {"x": x})[0]
    except Exception as e:  # not every operator of the standard has a kernel there
        print(f"left out {case[0]}: onnxruntime: {str(e)[:80]}")
        return
    report.check(case[0], rel(forward(tmp, path, x), want), 1e-4)


def unbind(report, tmp):
    """timm's attention: permute(2, 0, 3, 1, 4) puts the batch second, unbind takes it apart again."""
    nodes = [helper.make_node("Transpose", ["x"], ["p"], perm=[2, 0, 3, 1, 4]),
             helper.make_node("Gather", ["p", "one"], ["q"], axis=0),
             helper.make_node("Split", ["p", "sizes"], ["a", "b"], axis=0),
             helper.make_node("Squeeze", ["b", "axis"], ["k"]),
             helper.make_node("Sub", ["q", "k"], ["d"]), helper.make_node("Mul", ["d", "k"], ["y"])]
    g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", T.FLOAT, ["N", 4, 3, 2, 5])],
                          [helper.make_tensor_value_info("y", T.FLOAT, None)],
                          [numpy_helper.from_array(v, k) for k, v in (("one", np.array(1)), ("sizes", i64(2, 1)), ("axis", i64(0)))])
    path = tmp / "m.onnx"
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    x = RNG.standard_normal((3, 4, 3, 2, 5)).astype(np.float32)
    report.check("unbind", rel(forward(tmp, path, x), onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]), 1e-4)


def graph(report, tmp, name, nodes, weights, dims):
    g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", T.FLOAT, ["N", *dims])],
                          [helper.make_tensor_value_info("y", T.FLOAT, None)],
                          [numpy_helper.from_array(v, k) for k, v in weights.items()])
    path = tmp / "m.onnx"
    onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    x = RNG.standard_normal((3, *dims)).astype(np.float32)
    report.check(name, rel(forward(tmp, path, x), onnxruntime.InferenceSession(str(path)).run(None, {"x": x})[0]), 1e-4)


def images(report, tmp):
    """Convolutions and pools of what is no batch of N: a table of positions, and several images of a sample."""
    window = dict(kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    graph(report, tmp, "positions", [
        helper.make_node("Conv", ["table", "w", "b"], ["p"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["p"], ["q"], **window), helper.make_node("ReduceSum", ["q", "axis"], ["r"]),
        helper.make_node("Add", ["x", "r"], ["y"])],
        dict(table=w(2, 3, 5, 5), w=w(4, 3, 3, 3), b=w(4), axis=i64(0)), (4, 5, 5))
    graph(report, tmp, "images of a sample", [
        helper.make_node("Reshape", ["x", "apart"], ["p"]), helper.make_node("Conv", ["p", "w", "b"], ["q"], pads=[1, 1, 1, 1]),
        helper.make_node("MaxPool", ["q"], ["r"], **window), helper.make_node("AveragePool", ["r"], ["s"], **window),
        helper.make_node("ConvTranspose", ["s", "v"], ["t"]), helper.make_node("Reshape", ["t", "together"], ["y"])],
        dict(apart=i64(-1, 2, 5, 5), w=w(3, 2, 3, 3), b=w(3), v=w(3, 2, 2, 2), together=i64(-1, 2, 2, 6, 6)), (4, 5, 5))


def masks(report, tmp):
    """Random numbers as exporters write dropout of whole samples: rand < p, and EfficientNet's floor(p + rand). In training a sample is kept
    with chance p, and multiplied by 1/p; in inference nothing happens."""
    p, many = .75, 4096
    less = [helper.make_node("Less", ["r", "p"], ["l"]), helper.make_node("Cast", ["l"], ["m"], to=1)]
    floor = [helper.make_node("Add", ["p", "r"], ["k"]), helper.make_node("Floor", ["k"], ["m"])]
    moved = [helper.make_node("Add", ["r", "up"], ["u"]), helper.make_node("Less", ["u", "q"], ["l"]), helper.make_node("Cast", ["l"], ["m"], to=1)]
    for name, made in (("random < p", less), ("floor(p + random)", floor), ("random + 1 < p + 1", moved)):
        nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s", "zero", "one"], ["b"]),
                 helper.make_node("Concat", ["b", "one"], ["rs"], axis=0), helper.make_node("Expand", ["z", "rs"], ["e"]),
                 helper.make_node("RandomUniformLike", ["e"], ["r"]), *made, helper.make_node("Div", ["x", "p"], ["d"]), helper.make_node("Mul", ["d", "m"], ["y"])]
        inits = dict(zero=i64(0), one=i64(1), z=np.zeros((1, 1), np.float32), p=np.float32(p), up=np.float32(1), q=np.float32(1 + p))
        used = {i for n in nodes for i in n.input}
        g = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", T.FLOAT, ["N", 3])], [helper.make_tensor_value_info("y", T.FLOAT, None)],
                              [numpy_helper.from_array(np.asarray(v), k) for k, v in inits.items() if k in used])
        path = tmp / "m.onnx"
        onnx.save(helper.make_model(g, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
        x = np.ones((many, 3), np.float32)
        run(SMKDC, "compile", path, "-o", tmp / "m.smkd", "--max-batch", many)
        np.save(tmp / "x.npy", x)
        run(RUN, "grad", tmp / "m.smkd", "--input", f"x={tmp}/x.npy", "--cotangent", f"y={tmp}/x.npy", "--dropout", "--seed", 3, "-o", tmp / "g.st")
        y = read_safetensors(tmp / "g.st")["y"]
        kept = (y[:, 0] != 0).mean()
        report.check(f"{name}: share kept", abs(kept - p), 4 * np.sqrt(p * (1 - p) / many))
        report.check(f"{name}: whole samples, 0 or 1/p", np.abs(y - (y[:, :1] != 0) / p).max(), 1e-6)
        run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp}/x.npy", "-o", tmp / "o.st")
        report.check(f"{name}: inference", np.abs(read_safetensors(tmp / "o.st")["y"] - 1).max(), 1e-6)


def main():
    need_tools()
    report = Report()
    with temp_dir() as d:
        for case in CASES:
            report.guard(case[0], one, report, d, case)
        report.guard("unbind", unbind, report, d)
        report.guard("images", images, report, d)
        report.guard("masks", masks, report, d)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
