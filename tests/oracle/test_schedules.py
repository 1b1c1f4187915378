"""Learning rates beside torch.optim.lr_scheduler, step by step, with and without warm-up, put together as torchvision's references do it
(SequentialLR of LinearLR or ConstantLR and the scheduler).
"""
import warnings

import numpy as np

from common import BUILD, Report, need, need_tools, run

(torch,) = need("torch")
from torch.optim import lr_scheduler as ls

TOOL = BUILD / "tests" / "oracle_schedules"
EPOCHS, STEPS, LR = 23, 5, 0.3


def ours(flags, measures=(), less=0, steps=STEPS, epochs=EPOCHS):
    args = [x for k, v in {"epochs": epochs, "lr": LR, **flags}.items() for x in (f"--{k}", v)]
    return np.array(run(TOOL, steps, less, *args, *measures).stdout.split(), float)


def theirs(make, warmup=None, per_step=False, measures=None, warmup_epochs=0, steps=STEPS, epochs=EPOCHS):
    """make(optimizer) is the scheduler after `warmup(optimizer)`; stepped each epoch, or each step."""
    opt = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=LR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if warmup:
            s = ls.SequentialLR(opt, [warmup(opt), make(opt)], milestones=[warmup_epochs * (steps if per_step else 1)])
        else:
            s = make(opt)
        out = []
        for e in range(epochs):
            for t in range(steps):
                out.append(opt.param_groups[0]["lr"])
                opt.step()
                if per_step and len(out) < epochs * steps:
                    s.step()
            if not per_step:
                s.step(*([measures[e % len(measures)]] if measures else []))
    return np.array(out)


def main():
    need_tools(TOOL)
    rep = Report()

    def same(what, a, b):
        rep.check(what, np.max(np.abs(a - b) / b) if a.shape == b.shape and b.all() else np.inf, 1e-12)

    per_epoch = {
        "multistep": ({"lr-milestones": "4,9,20", "lr-gamma": 0.2}, lambda o, w: ls.MultiStepLR(o, [m - w for m in (4, 9, 20)], 0.2)),
        "step": ({"lr-step-size": 4, "lr-gamma": 0.3}, lambda o, w: ls.StepLR(o, 4, 0.3)),
        "step, as it comes": ({}, lambda o, w: ls.StepLR(o, 30)),
        "cosine": ({}, lambda o, w: ls.CosineAnnealingLR(o, EPOCHS - w)),
        "cosine to a minimum": ({"lr-min": 0.01}, lambda o, w: ls.CosineAnnealingLR(o, EPOCHS - w, 0.01)),
        "exponential": ({"lr-gamma": 0.87}, lambda o, w: ls.ExponentialLR(o, 0.87)),
        "constant": ({}, lambda o, w: ls.LambdaLR(o, lambda e: 1.0)),
    }
    warmups = {
        "": ({}, 0, None),
        " after linear": ({"lr-warmup-method": "linear", "lr-warmup-epochs": 3, "lr-warmup-decay": 0.1}, 3, lambda o: ls.LinearLR(o, 0.1, total_iters=3)),
        " after constant": ({"lr-warmup-method": "constant", "lr-warmup-epochs": 2}, 2, lambda o: ls.ConstantLR(o, 0.01, total_iters=2)),
    }
    for name, (flags, make) in per_epoch.items():
        for how, (more, epochs, warmup) in warmups.items():
            kind = {"lr-scheduler": name.split()[0].rstrip(",")}
            def one():
                got = ours({**kind, **flags, **more})
                want = theirs(lambda o: make(o, epochs), warmup, warmup_epochs=epochs)
                same(f"{name}{how}", got, want)
            rep.guard(f"{name}{how}", one)

    for power in (0.9, 1.0, 2.0):
        rep.guard("poly", lambda: same(f"poly {power}", ours({"lr-scheduler": "poly", "lr-power": power}),
                                       theirs(lambda o: ls.PolynomialLR(o, EPOCHS * STEPS, power), per_step=True)))
    rep.guard("poly after warm-up", lambda: same(
        "poly after warm-up", ours({"lr-scheduler": "poly", "lr-warmup-epochs": 3})[3 * STEPS:],
        theirs(lambda o: ls.PolynomialLR(o, (EPOCHS - 3) * STEPS, 0.9), per_step=True, epochs=EPOCHS - 3)))
    for steps, epochs, flags, pct in ((STEPS, EPOCHS, {}, 0.3), (7, 4, {}, 0.3), (STEPS, EPOCHS, {"lr-warmup-epochs": 6}, 6 / EPOCHS), (3, 2, {}, 0.3)):
        rep.guard("onecycle", lambda: same(
            f"onecycle {steps}x{epochs} {flags}", ours({"lr-scheduler": "onecycle", **flags}, steps=steps, epochs=epochs),
            theirs(lambda o: ls.OneCycleLR(o, LR, total_steps=epochs * steps, pct_start=pct, cycle_momentum=False), per_step=True, steps=steps,
                   epochs=epochs)))

    rng = np.random.default_rng(3)
    for less in (0, 1):
        for patience, floor in ((0, 0), (2, 0), (1, 0.05), (10, 0)):
            measures = np.round(50 + 20 * np.cumsum(rng.normal(0, 0.1, EPOCHS)), 2).tolist()
            measures[5] = measures[4] * (1.00005 if not less else 0.99995)  # better, but not by enough
            measures[7] = float("nan")
            flags = {"lr-scheduler": "plateau", "lr-patience": patience, "lr-min": floor, "lr-gamma": 0.5}
            rep.guard("plateau", lambda: same(
                f"plateau {'min' if less else 'max'}, patience {patience}, floor {floor}", ours(flags, measures, less),
                theirs(lambda o: ls.ReduceLROnPlateau(o, "min" if less else "max", 0.5, patience, min_lr=floor), measures=measures)))
    rep.end()


main()
