"""The methods that bench/compare.py times beside PyTorch compute the same there (bench/methods.py): gradients, losses' gradients, and the
losses of two epochs, which have updates, tables and schedules in them. In batches of 16, on ResNet-18; no times.
"""
import dataclasses
import sys
import types

from common import BUILD, RUN, SMKDC, SRC, Report, need, need_tools, temp_dir

sys.path.insert(0, str(SRC / "bench"))


def compare_row(report, row, tmp):
    import compare
    import ours
    from process import Worker
    o = types.SimpleNamespace(dtype="f32", threads=2)
    tools = ours.Tools(BUILD, o.threads, [])
    made, options = compare.prepared_method(row, o, tools, tmp, 1)
    worker = Worker("torch_train.py", options | compare.EAGER[1])
    try:
        found = compare.compared_method(row, o, tools, tmp, worker, [m["artifact"] for m in made])
    finally:
        worker.close()
    report.check(f"{row.name}: gradients ({found['tensors']} tensors, worst {found['worst_tensor']})", found["gradient_error"], 1e-3)
    report.check(f"{row.name}: gradients of the losses", found["loss_gradient_error"], 1e-4)
    report.check(f"{row.name}: losses of {compare.FIRST_EPOCHS} epochs", found["first_losses_error"], 1e-3)


def main():
    need_tools(SMKDC, RUN)
    need("torch", "onnx")
    import rows
    report = Report()
    for row in rows.choose(",".join(sys.argv[1:]) or "11"):
        report.guard_in_folder(row.name, compare_row, report, dataclasses.replace(row, batch=16))
    report.end()


main()
