#!/usr/bin/env python3
"""Small classifiers with heads of all kinds, an IDX data set and samples for them: written with the standard library alone.

usage: head_files.py FOLDER
"""
import os
import struct
import sys
import tempfile

here = sys.argv[1]
with tempfile.TemporaryDirectory() as scratch:  # its writers are wanted, not its files
    sys.argv[1] = scratch
    back = os.getcwd()
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
    sys.dont_write_bytecode = True
    from bad_files import field, floats, integer, model, node, npy, weight
    os.chdir(back)


def ints(name, *v):
    return field(1, len(v)) + field(2, 7) + field(8, name) + field(9, struct.pack(f"<{len(v)}q", *v))


image = (("x", "N", 1, 8, 8),)
fc = [node("flat", "Flatten", "x", "f"), node("fc", "MatMul", "f w", "z")]
w = [weight("w", 64, 3)]
y = (("y", "N", 3),)
deep = [node("flat", "Flatten", "x", "f"), node("hidden", "MatMul", "f v", "inner"), node("relu", "Relu", "inner", "features")]
files = {
    "softmax.onnx": model([*fc, node("head", "Softmax", "z", "y") + integer("axis", 1)], w, image, y),
    "logsoftmax.onnx": model([*fc, node("head", "LogSoftmax", "z", "y") + integer("axis", 1)], w, image, y),
    "sigmoid.onnx": model([*fc, node("head", "Sigmoid", "z", "y")], w, image, y),
    "written.onnx": model([*fc, node("exp", "Exp", "z", "e"), node("sum", "ReduceSum", "e one", "s"), node("head", "Div", "e s", "y")],
                          [*w, ints("one", 1)], image, y),
    "plain.onnx": model([*fc, node("same", "Identity", "z", "y")], w, image, y),
    "two.onnx": model([*deep, node("fc", "MatMul", "features w", "y")], [weight("v", 64, 8), weight("w", 8, 3)], image,
                      (("features", "N", 8), *y)),
    "mixed.onnx": model([*fc, node("centre", "ReduceMean", "z", "m") + field(5, field(1, "axes") + field(8, 0) + field(20, 7)),
                         node("sub", "Sub", "z m", "y")], w, image, y),
    "stale.onnx": model([fc[0], node("fc", "MatMul", "f w", "y")], w, image, (("y", "N", 7),)),
    "x.npy": npy("<f4", "(20, 1, 8, 8)", floats(20 * 64)),
}
for path, content in files.items():
    with open(os.path.join(here, path), "wb") as f:
        f.write(content)
