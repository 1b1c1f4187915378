"""Arrays as numpy writes them, beside numpy: every type, order and shape, numpy.save's versions, numpy.savez and numpy.savez_compressed."""
import io
import subprocess
import sys

import numpy as np

from common import BUILD, Report, need_tools, temp_dir

TOOL = BUILD / "tests" / "oracle_arrays"


def arrays(where, y="auto"):
    """{part: (x, y, borrowed)}"""
    p = subprocess.run([str(TOOL), str(where), y], capture_output=True)
    f, out = io.BytesIO(p.stdout), {}
    while line := f.readline().decode().strip():
        if line.startswith("error "):
            raise AssertionError(line)
        part, dtype, borrowed, dims, kind, n = line.split()
        dims = tuple(map(int, dims.split(",")))
        x = np.frombuffer(f.read(int(np.prod(dims)) * np.dtype(dtype).itemsize), dtype).reshape(dims)
        out[part] = x, np.frombuffer(f.read(int(n) * 4), np.int32 if kind == "labels" else np.float32), borrowed == "1"
    assert p.returncode == 0, p
    return out


def same(report, what, got, x, y):
    gx, gy, _ = got
    want = x if x.dtype == np.uint8 else x.astype(np.float32)
    good = gx.dtype == want.dtype and gx.shape == want.shape and np.array_equal(gx, want)
    good = good and np.array_equal(gy, y.reshape(-1).astype(gy.dtype))
    report.check(what, 0 if good else 1, 0)


def main():
    need_tools(TOOL)
    report, r = Report(), np.random.default_rng(0)
    with temp_dir() as tmp:
        where = f"{tmp}/x.npy,{tmp}/y.npy"
        for dtype in ["u1", "i1", "?", "<u2", ">u2", "<i2", "<i4", ">i4", "<u4", "<i8", ">i8", "<u8", "<f2", ">f2", "<f4", ">f4", "<f8", ">f8"]:
            for shape in [(7, 3, 4, 5), (7, 4, 5, 3), (7, 9), (1, 1)]:
                for order in "CF":
                    x = np.asarray(r.integers(0, 2 if dtype == "?" else 100, shape), order=order).astype(dtype, order=order)
                    if "f" in dtype:
                        x = (x / 8 - 3).astype(dtype, order=order)
                    y = r.integers(0, 5, shape[0])
                    np.save(tmp / "x.npy", x)
                    np.save(tmp / "y.npy", y)
                    got = arrays(where)["train"]
                    same(report, f"{dtype} {shape} {order}", got, x, y)
                    if order == "C" and dtype in ("u1", "<f4"):
                        report.check(f"{dtype} {shape} is not copied", 0 if got[2] else 1, 0)
        x = r.normal(size=(6, 4)).astype(np.float32)
        np.save(tmp / "x.npy", x)
        for y in [r.normal(size=6), r.normal(size=(6, 3)).astype(np.float32), r.normal(size=(6, 1)).astype(np.float16)]:
            np.save(tmp / "y.npy", y)
            same(report, f"targets {y.dtype} {y.shape}", arrays(where)["train"], x, y.astype(np.float32))
        for y in [np.arange(6), np.arange(6.0), np.arange(6)[:, None].astype(np.uint8), np.array([0, 1, 1, 0, 1, 0], bool)]:
            np.save(tmp / "y.npy", y)
            same(report, f"labels {y.dtype} {y.shape}", arrays(where, "labels")["train"], x, y)
            same(report, f"the same as targets", arrays(where, "targets")["train"], x, y)
        for version in [(1, 0), (2, 0), (3, 0)]:
            with open(tmp / "x.npy", "wb") as f:
                np.lib.format.write_array(f, x, version=version)
            same(report, f"version {version}", arrays(where, "labels")["train"], x, y)
        data = {"x_train": r.integers(0, 256, (50, 8, 8, 3)).astype(np.uint8), "y_train": r.integers(0, 10, (50, 1)),
                "x_test": r.integers(0, 256, (20, 8, 8, 3)).astype(np.uint8), "y_test": r.integers(0, 10, (20, 1)).astype(np.uint8)}
        for name, save in (("savez", np.savez), ("savez_compressed", np.savez_compressed)):
            for keys in ({k: k for k in data}, {k: "_".join(reversed(k.split("_"))) for k in data}):
                save(tmp / "all.npz", **{keys[k]: v for k, v in data.items()})
                got = arrays(tmp / "all.npz")
                for part in ("train", "test"):
                    same(report, f"{name} {keys['x_' + part]}", got[part], data[f"x_{part}"], data[f"y_{part}"])
        # The first number that is none, wherever it is, by its place.
        for trial in range(10):
            x = r.normal(size=(5, 2, 3, 4)).astype(np.float32)
            at = tuple(int(r.integers(0, n)) for n in x.shape)
            x[at] = [np.nan, np.inf, -np.inf][trial % 3]
            np.save(tmp / "x.npy", x.astype([np.float32, np.float16][trial % 2]))
            np.save(tmp / "y.npy", np.arange(5))
            try:
                arrays(where)
                report.fail(f"{x[at]} at {at}", "is not refused")
            except AssertionError as e:
                report.check(f"{x[at]} at {at}", 0 if f"element [{','.join(map(str, at))}] is" in str(e) else 1, 0)
    report.end()


if __name__ == "__main__":
    main()
