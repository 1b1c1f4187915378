"""ResNet-18 (3x32x32, batch 128): bench/compare.py runs and finds equal gradients, and ours need no more memory than PyTorch's.

The times, measured in turns, are printed: a machine that is busy with something else says nothing. bench/run.sh measures properly.
"""
import json
import subprocess
import sys

from common import BUILD, RUN, SMKDC, SRC, Report, need, need_tools, temp_dir


def main():
    need_tools(SMKDC, RUN)
    need("torch", "onnx")
    report = Report()
    with temp_dir() as tmp:
        file = tmp / "speed.json"
        p = subprocess.run([sys.executable, str(SRC / "bench" / "compare.py"), "--quick", "--rounds", "2", "--build", str(BUILD), "--json",
                            str(file)])
        row = json.loads(file.read_text())["rows"][0] if file.exists() else {"error": f"bench/compare.py: exit {p.returncode}"}
    if "error" in row:
        report.fail("compared", row["error"])
    else:
        theirs, seconds = row["pytorch"], row["ours"]["median_s"]
        print(f"{seconds:.3f} s a step, PyTorch ({theirs['mode']}) {theirs['median_s']:.3f} s: {row['ratio']:.2f} times as fast")
        report.check("our memory over PyTorch's", row["ours"]["peak_bytes"] / theirs["peak_bytes"], 1.0)
    report.end()


main()
