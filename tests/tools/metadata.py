"""metadata.py MODEL.onnx KEY=VALUE...: appends pairs to the metadata_props of an ONNX file. (Protobuf: what is appended to a message adds to it.)"""
import sys


def varint(n):
    out = b""
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


with open(sys.argv[1], "ab") as f:
    for pair in sys.argv[2:]:
        key, value = pair.split("=", 1)
        f.write(field(14, field(1, key.encode()) + field(2, value.encode())))
