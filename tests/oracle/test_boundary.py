"""Inputs and outputs in whatever form a file has them: the batch on any axis, on none, sizes bound when compiling, elements bound when
compiling, every element type, no inputs at all. Results beside numpy's."""
import numpy as np

from common import RUN, SMKDC, Report, need, need_tools, read_safetensors, run, save_onnx, temp_dir

need("onnx")
from onnx import TensorProto as T
from onnx import helper as h

vi, node = h.make_tensor_value_info, h.make_node
rng = np.random.default_rng(0)


def f32(*dims):
    return rng.standard_normal(dims).astype(np.float32)


def infer(tmp, feeds, *opts, command="infer"):
    args = []
    for k, v in feeds.items():
        np.save(tmp / f"{k}.npy", v)
        args += ["--cotangent" if k.startswith("d:") else "--input", f"{k.removeprefix('d:')}={tmp / k}.npy"]
    run(RUN, command, tmp / "m.smkd", *args, *opts, "-o", tmp / "o.safetensors")
    return read_safetensors(tmp / "o.safetensors")


def compile_(tmp, *opts, ok=True):
    return run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", *opts, ok=ok)


def same(report, what, got, want):
    report.check(f"{what}: type {got.dtype}, shape {got.shape}", got.dtype != want.dtype or got.shape != want.shape, 0)
    report.check(what, np.abs(got.astype(np.float64) - want.astype(np.float64)).max() if got.size else 0, 1e-6)


def moved(report, tmp):
    """The batch on axis 1 by its name, in and out, whole and in parts; gradients by such an input; and what is exported."""
    w = f32(5, 3)
    save_onnx(tmp / "m.onnx", [node("Transpose", ["a"], ["t"], perm=[1, 0, 2]), node("Add", ["t", "s"], ["u"]), node("MatMul", ["u", "w"], ["y"])],
          [vi("a", 1, ["B", 4, 5]), vi("s", 1, [4, "B", 5])], [vi("y", 1, [4, "B", 3])], [("w", w)])
    compile_(tmp)
    a, s = f32(7, 4, 5), f32(4, 7, 5)
    want = (a.transpose(1, 0, 2) + s) @ w
    for opts in ((), ("--batch-size", "3")):
        same(report, f"moved {opts}", infer(tmp, {"a": a, "s": s}, *opts)["y"], want)
    dy = f32(4, 7, 3)
    g = infer(tmp, {"a": a, "s": s, "d:y": dy}, command="grad")
    same(report, "moved: gradient by an input", g["grad.s"], dy @ w.T)
    same(report, "moved: gradient by the other", g["grad.a"], (dy @ w.T).transpose(1, 0, 2))
    p = run(RUN, "infer", tmp / "m.smkd", "--input", f"a={tmp}/a.npy", "--input", f"s={tmp}/a.npy", "-o", tmp / "x", ok=False)
    assert p.returncode == 1 and '"s" wants [4,N,5]' in p.stderr, p.stderr
    p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "x.smkd", "--batch-axis", "s=0", "--shape", "B=4", ok=False)
    assert p.returncode == 1, "an axis that cannot be the batch"


def rows_merged(report, tmp):
    """[T*N,C] out of a sequence-first network."""
    save_onnx(tmp / "m.onnx", [node("Reshape", ["x", "shape"], ["r"]), node("Relu", ["r"], ["y"])], [vi("x", 1, [4, 2, 5])], [vi("y", 1, [8, 5])],
          [("shape", np.array([-1, 5]))])
    compile_(tmp, "--batch-axis", "x=1")
    x = f32(4, 3, 5)
    same(report, "merged rows", infer(tmp, {"x": x})["y"], np.maximum(x.reshape(12, 5), 0))


def whole(report, tmp):
    """A file of which no axis is a batch is compiled for its sizes, which is said; with a batch that was asked for it is refused."""
    save_onnx(tmp / "m.onnx", [node("MatMul", ["a", "a"], ["y"])], [vi("a", 1, [3, 3])], [vi("y", 1, [3, 3])])
    p = compile_(tmp)
    assert "compiled for the sizes in the file, without a batch" in p.stderr, p.stderr
    a = f32(3, 3)
    same(report, "whole", infer(tmp, {"a": a})["y"], a @ a)
    assert compile_(tmp, "--batch-axis", "a=0", ok=False).returncode == 1, "asked for, and not possible"
    save_onnx(tmp / "m.onnx", [node("MatMul", ["a", "b"], ["y"])], [vi("a", 1, ["N", 3]), vi("b", 1, [3, 2])], [vi("y", 1, ["N", 2])])
    compile_(tmp)  # b has no batch: a number beside a symbolic one
    a, b = f32(9, 3), f32(3, 2)
    same(report, "one of two", infer(tmp, {"a": a, "b": b}, "--batch-size", "4")["y"], a @ b)
    save_onnx(tmp / "m.onnx", [node("Mul", ["a", "b"], ["y"])], [vi("a", 1, [2, 3]), vi("b", 1, [2, 3])], [vi("y", 1, [2, 3])])
    compile_(tmp, "--no-batch", "b", "--shape", "b=1,3")
    a, b = f32(5, 3), f32(1, 3)
    same(report, "no batch by name", infer(tmp, {"a": a, "b": b})["y"], a * b)
    save_onnx(tmp / "m.onnx", [node("Add", ["a", "b"], ["y"])], [vi("a", 1, []), vi("b", 1, [])], [vi("y", 1, [])])
    compile_(tmp)
    same(report, "scalars", infer(tmp, {"a": np.float32(2), "b": np.float32(3)})["y"], np.float32(5))
    save_onnx(tmp / "m.onnx", [node("Squeeze", ["x", "axes"], ["y"])], [vi("x", 1, [1, 5])], [vi("y", 1, [5])], [("axes", np.array([0]))])
    compile_(tmp)
    x = f32(1, 5)
    same(report, "a batch of one squeezed", infer(tmp, {"x": x})["y"], x[0])
    save_onnx(tmp / "m.onnx", [node("Neg", ["w"], ["y"])], [], [vi("y", 1, [2])], [("w", f32(2))])
    compile_(tmp)
    report.check("no inputs", infer(tmp, {})["y"].shape != (2,), 0)


def bound(report, tmp):
    """Symbolic dimensions and elements that are given when compiling."""
    save_onnx(tmp / "m.onnx", [node("Reshape", ["x", "shape"], ["y"])], [vi("x", 1, ["B", "h", "w"]), vi("shape", T.INT64, [2])], [vi("y", 1, ["a", "b"])])
    p = compile_(tmp, ok=False)
    assert 'dimensions 1 ("h"), 2 ("w") have no fixed size; give them: --shape x=N,3,224' in p.stderr, p.stderr
    p = compile_(tmp, "--shape", "h=4", "--shape", "w=6", ok=False)
    assert "give its elements with --shape-input shape=" in p.stderr, p.stderr
    compile_(tmp, "--shape", "h=4", "--shape", "w=6", "--shape-input", "shape=-1,8")
    x = f32(5, 4, 6)
    same(report, "shape bound", infer(tmp, {"x": x})["y"], x.reshape(-1, 8))
    same(report, "shape bound and given", infer(tmp, {"x": x, "shape": np.array([-1, 8])})["y"], x.reshape(-1, 8))
    np.save(tmp / "other.npy", np.array([-1, 12]))
    p = run(RUN, "infer", tmp / "m.smkd", "--input", f"x={tmp}/x.npy", "--input", f"shape={tmp}/other.npy", "-o", tmp / "x", ok=False)
    assert p.returncode == 1 and "compiled with --shape-input shape=-1,8" in p.stderr, p.stderr
    compile_(tmp, "--shape", "h=4", "--shape", "w=6", "--shape-input", "shape=N,24")
    same(report, "shape with the batch", infer(tmp, {"x": x})["y"], x.reshape(5, 24))
    for opts, says in ((["--shape", "q=4"], "none of its symbolic dimensions"), (["--shape-input", "q=4"], "no input of the model"),
                       (["--no-batch", "q*"], "names no input"), (["--batch-axis", "q=1"], "no input of the model"),
                       (["--batch-axis", "x=7"], "the input has 3 dimensions"), (["--shape-input", "shape=1,2,3"], "gives 3 numbers, the input has 2"),
                       (["--shape-input", "shape=1,b"], "expected integers, or N")):
        p = compile_(tmp, "--shape", "h=4", "--shape", "w=6", *opts, ok=False)
        assert p.returncode != 0 and says in p.stderr, (opts, p.stderr)


def types(report, tmp):
    """Every element type goes in and comes out as the file has it."""
    cases = [(T.FLOAT16, np.float16), (T.FLOAT, np.float32), (T.DOUBLE, np.float64), (T.INT64, np.int64), (T.INT32, np.int32), (T.INT16, np.int16),
             (T.INT8, np.int8), (T.UINT8, np.uint8), (T.UINT16, np.uint16), (T.UINT32, np.uint32), (T.UINT64, np.uint64), (T.BOOL, np.bool_)]
    for onnx_type, t in cases:
        op = ["Not", ["a"]] if t is np.bool_ else ["Add", ["a", "a"]]
        save_onnx(tmp / "m.onnx", [node(op[0], op[1], ["y"])], [vi("a", onnx_type, ["B", 300])], [vi("y", onnx_type, ["B", 300])])
        compile_(tmp)
        a = (rng.standard_normal((3, 300)) * 40).astype(np.int8).astype(t) if t is not np.float16 else np.concatenate([np.exp(
            rng.standard_normal((3, 296)) * 6).astype(t), np.array([[0, 6e-8, np.inf, 65504.0]] * 3, t)], 1)
        with np.errstate(over="ignore"):
            want = ~a if t is np.bool_ else a + a
        got = infer(tmp, {"a": a})["y"]
        report.check(f"{t.__name__}: {got.dtype}", not (got.dtype == want.dtype and np.array_equal(got, want)), 0)


def main():
    need_tools(SMKDC, RUN)
    report = Report()
    for f in (moved, rows_merged, whole, bound, types):
        with temp_dir() as tmp:
            report.guard(f.__name__, f, report, tmp)
    return report.end()


raise SystemExit(main())
