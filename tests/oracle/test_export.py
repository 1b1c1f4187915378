"""From training to ONNX: what `smkd-run export` writes is accepted by onnx and computes what the artifact computes."""
import sys

import numpy as np

from common import FASHION, RUN, SMKDC, Report, need, need_tools, read_safetensors, rel, run, skip, temp_dir, write_safetensors


def idx_images(path):
    import gzip
    raw = gzip.open(path).read()
    n, h, w = (int.from_bytes(raw[i:i + 4], "big") for i in (4, 8, 12))
    return np.frombuffer(raw, np.uint8, offset=16).reshape(n, 1, h, w)


def check_peer(report, tmp, k, source, artifact, images):
    import onnx
    import onnxruntime
    what, out = f"peer {k}", tmp / f"peer{k}.onnx"
    run(RUN, "export", tmp / "run", "--checkpoint", "last", "--peer", k, "-o", out)
    onnx.checker.check_model(str(out), full_check=True)
    before, after = onnx.load(str(source)), onnx.load(str(out))
    names = lambda m: ([n.name for n in m.graph.node], sorted(t.name for t in m.graph.initializer), [i.name for i in m.graph.input],
                       [o.name for o in m.graph.output])
    report.check(f"{what}: names kept", float(names(before) != names(after)), 0)
    dims = [v.type.tensor_type.shape.dim[0] for v in (*after.graph.input, *after.graph.output)]
    report.check(f"{what}: batch axis dynamic", float(any(d.HasField("dim_value") for d in dims)), 0)
    norm = [n for n in after.graph.node if n.op_type == "BatchNormalization"]
    training = [n for n in norm if len(n.output) != 1 or any(a.name == "training_mode" and a.i for a in n.attribute)]
    report.check(f"{what}: {len(norm)} BatchNormalization nodes in inference form", float(not norm or bool(training)), 0)
    initial = lambda m: {t.name: onnx.numpy_helper.to_array(t) for t in m.graph.initializer}
    a, b = initial(before), initial(after)
    moved = [n for n in a if a[n].dtype == np.float32 and a[n].size > 1 and not np.array_equal(a[n], b[n])]
    stats = [n for x in norm for n in x.input[3:5]]
    report.check(f"{what}: trained statistics exported", float(not set(stats) <= set(moved)), 0)
    meta = {p.key: p.value for p in after.metadata_props}
    print(f"     metadata: {meta}")
    report.check(f"{what}: metadata present", float(not meta or after.producer_name == ""), 0)

    # The same weights in three programs: the artifact with the checkpoint, onnxruntime, and the export compiled again.
    run(SMKDC, "compile", out, "-o", tmp / f"again{k}.smkd")
    prefix = f"peer.{k}."
    weights = {n[len(prefix):]: v for n, v in read_safetensors(tmp / "run" / "last.safetensors").items() if n.startswith(prefix)}
    write_safetensors(tmp / f"w{k}.safetensors", weights)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    got, again, want = [], [], []
    for i in range(0, len(images), 250):
        x = images[i:i + 250]
        np.save(tmp / "x.npy", x)
        run(RUN, "infer", artifact, "--weights", tmp / f"w{k}.safetensors", "--input", f"{name}={tmp / 'x.npy'}", "-o",
            tmp / "o.safetensors")
        got.append(read_safetensors(tmp / "o.safetensors")["logits"])
        run(RUN, "infer", tmp / f"again{k}.smkd", "--input", f"{name}={tmp / 'x.npy'}", "-o", tmp / "o.safetensors")
        again.append(read_safetensors(tmp / "o.safetensors")["logits"])
        want.append(session.run(["logits"], {name: x})[0])
    got, again, want = map(np.concatenate, (got, again, want))
    report.check(f"{what}: logits of the artifact against onnxruntime", rel(got, want), 1e-4)
    report.check(f"{what}: logits of the export compiled again", rel(again, want), 1e-4)
    report.check(f"{what}: predictions of {len(images)} that differ", float((got.argmax(1) != want.argmax(1)).sum()), len(images) / 1000)
    for n in (1, 7):
        z = session.run(["logits"], {name: images[:n]})[0]
        report.check(f"{what}: batch of {n}", rel(z, want[:n]), 1e-4)


def main():
    need_tools(SMKDC, RUN)
    need("onnx", "onnxruntime")
    if not FASHION.exists():
        skip("dataset-fashion-mnist is not installed")
    report = Report()
    with temp_dir() as tmp:
        peers = [("resnet8s", ["--width", "16"]), ("resnet8", ["--width", "8"])]
        for k, (arch, more) in enumerate(peers):
            run(SMKDC, "new", arch, "-o", tmp / f"{k}.onnx", "--input", "1x28x28", "--seed", k, *more)
            run(SMKDC, "compile", tmp / f"{k}.onnx", "-o", tmp / f"{k}.smkd")
        run(RUN, "train", "--peer", tmp / "0.smkd", "--peer", tmp / "1.smkd", "--data", "fashion-mnist", "--train-limit", 2048,
            "--test-limit", 1000, "--loss", "smkd-p", "--eta", 2, "--epochs", 1, "--batch-size", 64, "--lr", 0.05, "--seed", 3, "--mean", 0.286, "--std", 0.353,
            "--output-dir", tmp / "run")
        raw = idx_images(FASHION / "t10k-images-idx3-ubyte.gz")[:1000].astype(np.float32) / 255
        images = ((raw - 0.286) / 0.353).astype(np.float32)
        for k in range(2):
            report.guard(f"peer {k}", check_peer, report, tmp, k, tmp / f"{k}.onnx", tmp / f"{k}.smkd", images)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
