#!/usr/bin/env python3
"""Small ONNX and .npy files, good and bad, and a data set: written byte by byte, with the standard library alone.

usage: bad_files.py FOLDER
"""
import os
import struct
import sys


# --- protobuf and ONNX, as far as these files go

def varint(v):
    out = bytearray()
    while v > 127:
        out.append(v & 127 | 128)
        v >>= 7
    return bytes(out) + bytes([v])


def field(number, value):
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    if isinstance(value, str):
        value = value.encode()
    return varint(number << 3 | 2) + varint(len(value)) + value


def tensor(name, dims, raw=None, external=None):
    t = b"".join(field(1, d) for d in dims) + field(2, 1) + field(8, name)
    if raw is not None:
        return t + field(9, raw)
    return t + b"".join(field(13, field(1, k) + field(2, v)) for k, v in external.items()) + field(14, 1)


def weight(name, *dims):
    n = 1
    for d in dims:
        n *= d
    return tensor(name, dims, struct.pack(f"<{n}f", *[(i * 7 % 11 - 5) / 8 for i in range(n)]))


def value(name, *dims):
    shape = b"".join(field(1, field(2, d) if isinstance(d, str) else field(1, d)) for d in dims)
    return field(1, name) + field(2, field(1, field(1, 1) + field(2, shape)))


def node(name, op, inputs, outputs):
    return (b"".join(field(1, i) for i in inputs.split()) + b"".join(field(2, o) for o in outputs.split()) +
            field(3, name) + field(4, op))


def model(nodes, weights=(), inputs=(("x", "N", 8),), outputs=(("y", "N", 8),)):
    graph = b"".join(field(1, n) for n in nodes) + field(2, "bad") + b"".join(field(5, w) for w in weights)
    graph += b"".join(field(11, value(*i)) for i in inputs) + b"".join(field(12, value(*o)) for o in outputs)
    return field(1, 8) + field(7, graph) + field(8, field(2, 17))


def external(location, offset="0", length="32"):
    return model([node("sum", "Add", "x w", "y")],
                 [tensor("w", [8], external={"location": location, "offset": offset, "length": length})])


def npy(dtype, shape, data, fortran="False", version=1, header=None):
    if header is None:
        header = "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }" % (dtype, fortran, shape)
    size = 10 if version == 1 else 12
    header += " " * (-(size + len(header) + 1) % 64) + "\n"
    length = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


def floats(n):
    return struct.pack(f"<{n}f", *[(i * 5 % 13 - 6) / 4 for i in range(n)])


def integer(name, v):
    return field(5, field(1, name) + field(3, v) + field(20, 2))


tiny = model([node("conv", "Conv", "x w", "c"),
              node("bn", "BatchNormalization", "c gamma beta mean var", "b m v") + integer("training_mode", 1),
              node("relu", "Relu", "b", "r"), node("pool", "GlobalAveragePool", "r", "p"), node("flat", "Flatten", "p", "f"),
              node("fc", "Gemm", "f fc.weight fc.bias", "logits") + integer("transB", 1)],
             [weight("w", 4, 1, 3, 3), weight("gamma", 4), weight("beta", 4), weight("mean", 4), weight("var", 4),
              weight("fc.weight", 3, 4), weight("fc.bias", 3)],
             [("x", "N", 1, 8, 8)], [("logits", "N", 3)])
good = npy("<f4", "(2, 1, 8, 8)", floats(128))
files = {
    # Not ONNX, or not all of it.
    "text.onnx": b"this is not a model\n",
    "empty.onnx": b"",
    "random.onnx": bytes(i * 197 % 251 for i in range(4096)),
    # Graphs.
    "unknown.onnx": model([node("one", "Frobnicate", "x", "a"), node("two", "Relu", "x", "b"),
                           node("three", "Defenestrate", "b", "c"), node("four", "Frobnicate", "b", "d"),
                           node("sum", "Sum", "a c d", "y")]),
    # Floor runs, but lets no gradient through; the second one does no harm, as v has another way to the output.
    "no_forward_no_gradient.onnx": model([node("fc", "MatMul", "x w", "a"), node("steps", "Floor", "a", "b"),
                                          node("odd", "Frobnicate", "b", "y")], [weight("w", 8, 8)]),
    "no_gradient.onnx": model([node("fc", "MatMul", "x w", "a"), node("steps", "Floor", "a", "y")], [weight("w", 8, 8)]),
    "some_gradient.onnx": model([node("fc", "MatMul", "x w", "a"), node("steps", "Floor", "a", "b"),
                                 node("fc2", "MatMul", "b v", "c"), node("more", "Ceil", "c", "d"),
                                 node("sum", "Add", "c d", "y")], [weight("w", 8, 8), weight("v", 8, 8)]),
    "cycle.onnx": model([node("first", "Add", "x c", "a"), node("second", "Relu", "a", "b"),
                         node("third", "Sigmoid", "b", "c"), node("last", "Relu", "c", "y")]),
    "conv.onnx": model([node("stem", "Conv", "x w", "y")], [weight("w", 4, 3, 3, 3)], [("x", "N", 5, 8, 8)],
                       [("y", "N", 4, 6, 6)]),
    "add.onnx": model([node("sum", "Add", "x w", "y")], [weight("w", 7)]),
    "matmul.onnx": model([node("fc", "MatMul", "x w", "y")], [weight("w", 9, 8)]),
    "gemm.onnx": model([node("fc", "Gemm", "x w b", "y")], [weight("w", 8, 4), weight("b", 3)], outputs=[("y", "N", 4)]),
    "concat.onnx": model([node("join", "Concat", "x z", "y")], [weight("z", 3, 2, 2)]),
    "missing.onnx": model([node("last", "Relu", "nowhere", "y")]),
    "short_weight.onnx": model([node("sum", "Add", "x w", "y")], [tensor("w", [8], floats(5))]),
    "one_operand.onnx": model([node("fc", "MatMul", "x", "a"), node("sum", "Add", "a w", "y")], [weight("w", 8)]),
    "pads.onnx": model([node("frame", "Pad", "x pads", "y")],
                       [field(1, 4) + field(2, 7) + field(8, "pads") + field(9, struct.pack("<4q", 0, -2**63, 0, 1))]),
    "long_axis.onnx": model([node("frame", "Pad", "x pads", "y") + field(5, field(1, "mode") + field(4, "edge") + field(20, 3))],
                            [field(1, 4) + field(2, 7) + field(8, "pads") + field(9, struct.pack("<4q", 0, 1, 0, 1))],
                            [("x", "N", 2**30)], [("y", "N", 2**30 + 2)]),
    "tiny.onnx": tiny,  # a good one
    # External data.
    "outside/secret.bin": floats(8),
    "models/w.bin": floats(8),
    "models/good.onnx": external("w.bin"),
    "models/parent.onnx": external("../outside/secret.bin"),
    "models/hidden_parent.onnx": external("a/../../outside/secret.bin"),
    "models/absolute.onnx": external("/etc/passwd"),
    "models/link.onnx": external("link.bin"),
    "models/linked_folder.onnx": external("folder/secret.bin"),
    "models/none.onnx": external("none.bin"),
    "models/short.onnx": external("w.bin", offset="8"),
    "models/far.onnx": external("w.bin", offset="9223372036854775800"),
    "models/negative.onnx": external("w.bin", offset="-4"),
    "models/length.onnx": external("w.bin", length="28"),
    # Arrays. These are good; many/ has as many rows as fill a small disk.
    "x.npy": good,
    "dy.npy": npy("<f4", "(2, 3)", floats(6)),
    "a.npy": npy("<f4", "(2, 3)", floats(6)),
    "b.npy": npy("<f4", "(2, 3)", floats(6)),
    "y.npy": npy("<i8", "(2,)", struct.pack("<2q", 0, 2)),
    "many/x.npy": npy("<f4", "(600, 1, 8, 8)", floats(600 * 64)),
    "many/a.npy": npy("<f4", "(600, 3)", floats(1800)),
    "many/y.npy": npy("<i8", "(600,)", struct.pack("<600q", *[i % 3 for i in range(600)])),
    "bad/magic.npy": b"\x92" + good[1:],
    "bad/empty.npy": b"",
    "bad/head.npy": good[:9],
    "bad/dict.npy": good[:40],
    "bad/short.npy": good[:-1],
    "bad/long.npy": good + b"\0",
    "bad/version0.npy": good[:6] + b"\0" + good[7:],
    "bad/version9.npy": good[:6] + b"\x09" + good[7:],
    "bad/version2.npy": good[:6] + b"\x02" + good[7:],  # with version 1's shorter length field
    "bad/lacks.npy": npy("", "", floats(128), header="{'descr': '<f4', 'shape': (2, 1, 8, 8), }"),
    "order/fortran.npy": npy("<f4", "(2, 1, 8, 8)", floats(128), fortran="True"),
    "order/big_endian.npy": npy(">f4", "(2, 1, 8, 8)", floats(128)),
    "order/half.npy": npy("<f2", "(2, 1, 8, 8)", floats(64)),
    "bad/double.npy": npy("<f8", "(2, 1, 8, 8)", floats(256)),
    "bad/object.npy": npy("|O", "(2, 1, 8, 8)", floats(128)),
    "bad/rank.npy": npy("<f4", "(2, 64)", floats(128)),
    "bad/channels.npy": npy("<f4", "(1, 2, 8, 8)", floats(128)),
    "bad/no_rows.npy": npy("<f4", "(0, 1, 8, 8)", b""),
    "bad/negative.npy": npy("<f4", "(-2, 1, 8, 8)", floats(128)),
    "bad/overflow.npy": npy("<f4", "(4611686018427387904, 4, 8, 8)", floats(128)),
    "bad/open_shape.npy": npy("<f4", "(2, 1, 8, 8", floats(128)),
    "bad/deep.npy": npy("<f4", "(2, 1, 8, 8, 1, 1, 1, 1, 1)", floats(128)),
}

# An IDX data set of 8x8 images that trains in no time.
for split, n in ("train", 96), ("t10k", 32):
    images = bytes((i * i + i // 64 * 31) % 256 for i in range(n * 64))
    files[f"data/{split}-images-idx3-ubyte"] = struct.pack(">4I", 0x803, n, 8, 8) + images
    files[f"data/{split}-labels-idx1-ubyte"] = struct.pack(">2I", 0x801, n) + bytes(i % 10 for i in range(n))

os.chdir(sys.argv[1])
for path, content in files.items():
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path, "wb") as f:
        f.write(content)
os.mkdir("folder.onnx")
os.symlink("../outside/secret.bin", "models/link.bin")
os.symlink("../outside", "models/folder")
