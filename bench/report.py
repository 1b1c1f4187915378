"""From results to the tables for people and the facts about the machine they were measured on."""
import datetime
import os
import pathlib
import platform
import subprocess
from importlib import metadata

import rows as R


def verdict(value, floor, aim):
    """`floor` is where "met" begins and `aim` where "aim" does; they say which direction is better."""
    better = (lambda a, b: a >= b) if aim >= floor else (lambda a, b: a <= b)
    return "aim" if better(value, aim) else "met" if better(value, floor) else "MISSED"


def seconds(side):
    """Median and range, with as many digits as the size asks for."""
    s = side["median_s"]
    digits = 1 if s >= 10 else 2 if s >= 1 else 3 if s >= 0.1 else 4
    return f"{side['median_s']:.{digits}f} ({side['min_s']:.{digits}f}–{side['max_s']:.{digits}f})"


def ratio(r):
    return f"{r['ratio']:.2f} ({min(r['ratio_rounds']):.2f}–{max(r['ratio_rounds']):.2f})"


def table(head, lines):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, ["---"] * len(head), *lines])


def of_peak(r, limits):
    """Operations a second as a share of what the machine can do. A convolution counts as the direct one: Winograd's passes 100 %."""
    if not limits or "flops" not in r:
        return "-"
    return f"{100 * r['flops'] / r['ours']['median_s'] / (limits['fma_gflops'] * 1e9):.0f} %"


def training(results, limits):
    head = ["row", "training step", "ours, s (range)", "PyTorch, s (range)", "its fastest mode", "ratio (of rounds)", "at least / aim",
            "verdict", "gradients differ by", "memory, MB", "ratio", "verdict", "direct FLOPs of FMA peak"]
    lines = []
    for r in results:
        row = r["row"]
        if "error" in r:
            lines.append([row.key, row.what, *["-"] * 5, f"NOT COMPARED: {r['error']}".replace("|", "/"), *["-"] * 5])
            continue
        ours, theirs = r["ours"]["peak_bytes"], r["pytorch"]["peak_bytes"]
        lines.append([row.key, row.what, seconds(r["ours"]), seconds(r["pytorch"]), r["pytorch"]["mode"], ratio(r),
                      f"{row.at_least} / {row.aim}", verdict(r["ratio"], row.at_least, row.aim), f"{r['check']['gradient_error']:.0e}",
                      f"{ours / 1e6:.0f} / {theirs / 1e6:.0f}", f"{ours / theirs:.2f}",
                      verdict(ours / theirs, R.MEMORY_AT_MOST, R.MEMORY_AIM), of_peak(r, limits)])
    return table(head, lines)


def inference(results):
    head = ["row", "inference", "ours, s (range)", "onnxruntime, s (range)", "ratio (of rounds)", "at least / aim", "verdict",
            "PyTorch, s (range)", "its fastest mode", "ratio", "logits differ by"]
    lines = []
    for r in results:
        row = r["row"]
        if "error" in r:
            lines.append([row.key, row.what, *["-"] * 4, f"NOT COMPARED: {r['error']}".replace("|", "/"), *["-"] * 4])
            continue
        lines.append([row.key, row.what, seconds(r["ours"]), seconds(r["onnxruntime"]), ratio(r), f"{row.at_least} / {row.aim}",
                      verdict(r["ratio"], row.at_least, row.aim), seconds(r["pytorch"]), r["pytorch"]["mode"],
                      f"{r['ratio_pytorch']:.2f}", f"{r['check']['logits_error']:.0e}"])
    return table(head, lines)


def single_times(results):
    lines = []
    for r in results:
        if "compile_s" in r and "inception_resnet_v2" in r["row"].archs:
            lines.append(["compiling Inception-ResNet-v2", f"{r['compile_s']:.1f} s", f"{R.COMPILE_AT_MOST} / {R.COMPILE_AIM}",
                          verdict(r["compile_s"], R.COMPILE_AT_MOST, R.COMPILE_AIM)])
        if "start_s" in r:
            lines.append(["start of smkd-run to the first step of ResNet-18, beyond the step", f"{r['start_s']:.2f} s",
                          f"{R.START_AT_MOST} / {R.START_AIM}", verdict(r["start_s"], R.START_AT_MOST, R.START_AIM)])
    return table(["once", "measured", "at most / aim", "verdict"], lines) if lines else ""


def text(report, results):
    m, v, limits = report["machine"], report["versions"], report["limits"]
    kind = report["dtype"] + (", AVX2 at most" if report["isa"] else "")
    out = [f"{m['cpu']}, {report['threads']} threads, {report['date'][:10]}, {kind}; smkd {report['commit']}, "
           f"PyTorch {v['torch']}, onnxruntime {v['onnxruntime']}"]
    out.append("The machine's own limits: " + (f"{limits['fma_gflops']:.0f} GFLOP/s of FMA, {limits['read_gbs']:.1f} GB/s read, "
                                               f"{limits['triad_gbs']:.1f} GB/s triad" if limits else "not measured (no smkd-run limits)"))
    train = [r for r in results if r["row"].kind != R.INFER]
    infer = [r for r in results if r["row"].kind == R.INFER]
    out += [training(train, limits)] if train else []
    out += [single_times(results)]
    out += [inference(infer)] if infer else []
    return "\n\n".join(t for t in out if t)


# --- the machine ------------------------------------------------------------------------------------------------------

def said(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def machine():
    fields = dict(line.split(":", 1) for line in said("lscpu").splitlines() if ":" in line)
    get = lambda k: fields.get(k, "").strip()
    mem = next((int(line.split()[1]) * 1024 for line in open("/proc/meminfo") if line.startswith("MemTotal")), 0)
    cpu = f"{get('Model name') or platform.machine()} (family {get('CPU family')}, model {get('Model')})"
    return {"cpu": cpu, "cpus": os.cpu_count(), "threads_per_core": get("Thread(s) per core"), "flags": get("Flags"),
            "hypervisor": get("Hypervisor vendor"), "memory_bytes": mem, "kernel": platform.release(),
            "load": os.getloadavg()[0]}


def version(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "none"


def higher(a, b):
    """Of two measurements of the limits: what lowers one is other work."""
    return {k: max(a[k], b[k]) for k in a} if a and b else a


def build_type(build):
    cache = build / "CMakeCache.txt"
    lines = cache.read_text().splitlines() if cache.exists() else []
    return next((line.split("=", 1)[1] for line in lines if line.startswith("CMAKE_BUILD_TYPE:")), "unknown")


def facts(tools, build):
    source = pathlib.Path(__file__).resolve().parent.parent
    return {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "machine": machine(),
            "versions": {p: version(p) for p in ("torch", "torchvision", "timm", "onnx", "onnxruntime", "numpy")}
            | {"python": platform.python_version(), "smkdc": tools.version()},
            "commit": said("git", "-C", str(source), "describe", "--always", "--dirty") or "unknown", "build_type": build_type(build)}
