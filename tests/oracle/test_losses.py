"""Every loss with every switch: values and gradients of `smkd-run loss` against the float64 reference, to 1e-5."""
import itertools
import sys

import numpy as np

import smkd_ref
from common import RUN, Report, need_tools, read_safetensors, rel, run, temp_dir

LIMIT = 1e-5
CHANGED = set()  # cases in which a label was corrected to another class
VALUES = dict(progress=0.6, eta=2.0, b2=-2.0, b1=8.0, rho=0.5)


def flags(opts):
    names = dict(refine="--refine", denom="--peer-denom", r_scope="--r-scope", floor="--log-floor", progress="--progress",
                 eta="--eta", b2="--b2", b1="--b1", rho="--rho")
    out = []
    for k, flag in names.items():
        if k in opts:
            out += [flag, str(opts[k])]
    if opts.get("detach"):
        out += ["--detach-target"]
    if "r" in opts:
        out += ["--r0", str(opts["r"][0]), "--r1", str(opts["r"][1])]
    return out


def compare(report, tmp, what, name, logits, y, **opts):
    a, b, lab, out = (tmp / f for f in ("a.npy", "b.npy", "y.npy", "l.safetensors"))
    np.save(a, logits[0].astype(np.float32))
    np.save(b, logits[1].astype(np.float32))
    np.save(lab, y.astype(np.int64))
    run(RUN, "loss", name, "--logits", a, "--logits", b, "--labels", lab, *flags(opts), "-o", out,
        env={"XDG_CACHE_HOME": str(tmp)})
    got = read_safetensors(out)
    want = smkd_ref.loss(name, [x.astype(np.float32) for x in logits], y, **opts)
    worst = 0.0
    assert ("corrected.0" in got) == ("corrected.0" in want), f"{what}: corrected.0"
    for key, w in want.items():
        assert key in got, f"{what}: {key} is missing"
        if key.startswith("corrected"):
            c = np.asarray(got[key])
            assert c.shape == y.shape and np.all(c == c.astype(int)), f"{what}: {key} are no classes"
            behind = w.max(1) - w[np.arange(len(y)), c.astype(int)]
            worst = max(worst, 0.0 if behind.max() < 1e-6 else np.inf)
            CHANGED.update(what for i in range(len(y)) if c[i] != y[i])
            continue
        g = np.asarray(got[key], np.float64).reshape(np.shape(w))
        if key.startswith("selected"):
            worst = max(worst, 0.0 if np.array_equal(g, w) else np.inf)
        elif key == "threshold" and np.isinf(w):
            worst = max(worst, 0.0 if np.isinf(g) and g > 0 else np.inf)
        elif key.startswith(("loss", "threshold")):
            worst = max(worst, abs(g - w) / max(abs(w), 1e-3))
        else:  # rows of entropies, trusts and gradients: f32's own rounding of a whole row of exp sets the floor
            worst = max(worst, rel(g, w, floor=1e-3 if key.startswith("grad") else 1e-2))
    report.check(what, worst, LIMIT)


def draw(rng, n, c, scale, chi):
    """Logits whose entropies are not within rounding of the threshold: there f32 and f64 may rightly disagree."""
    while True:
        z = [(rng.normal(size=(n, c)) * rng.choice(scale, size=(n, 1))).astype(np.float32).astype(np.float64) for _ in range(2)]
        if all(np.abs(smkd_ref.entropy(x) - t).min() > 1e-4 for x in z for t in chi):
            return z, rng.integers(0, c, n)


def structures():
    """(loss, options) of every program that differs."""
    for name in ("smkd-p", "smkd-s", "all", "zero"):
        denoms = ("K", "N", "typo") if name.startswith("smkd") else ("K", "N")
        for refine, denom in itertools.product(("mylc", "proselflc", "none"), denoms):
            for detach in (False, True) if refine != "none" else (False,):
                for scope in ("epoch", "batch") if refine == "mylc" else ("epoch",):
                    yield name, dict(refine=refine, denom=denom, detach=detach, r_scope=scope)
    yield "ce", {}


def main():
    smkd_ref.self_check()
    need_tools(RUN)
    rng = np.random.default_rng(7)
    report = Report()
    with temp_dir() as tmp:
        for name, opts in structures():
            v = dict(VALUES, r=(0.55, 0.35), **opts)
            chi = [smkd_ref.threshold(10, v["progress"], v["eta"], b) for b in (0, v["b2"])]
            logits, y = draw(rng, 32, 10, [0.3, 2, 6], chi)
            what = " ".join([name] + [f"{k}={x}" for k, x in opts.items()])
            report.guard(what, lambda: compare(report, tmp, what, name, logits, y, **v))

        # Shapes and values at the edges, on the program with everything in it.
        full = dict(VALUES, refine="mylc", denom="K", r=(0.5, 0.4))
        cases = {
            "one row": (1, 10, [2], {}),
            "two classes": (17, 2, [1, 4], {}),
            "a hundred classes": (64, 100, [1, 5], dict(eta=4.0, b2=-5.0)),
            "extreme logits": (16, 10, [30, 80], {}),
            "nearly uniform": (16, 10, [1e-3], {}),
            "nothing selected": (8, 10, [0.1], dict(eta=50.0)),
            "eta infinite": (8, 10, [3], dict(eta="inf")),
            "eta negative": (8, 10, [3], dict(eta=-1.0)),
            "everything selected": (8, 10, [3], dict(eta=0.5, b2=0.0)),
            "first epoch": (8, 10, [3], dict(progress=0.01)),
            "last epoch": (8, 10, [3], dict(progress=1.0)),
            "rising threshold": (8, 10, [3], dict(b2=5.0)),
            "log floor": (16, 10, [3, 20], dict(floor=1e-6)),
            "log floor, detached": (16, 10, [3, 20], dict(floor=1e-6, detach=True)),
            "log floor, typo": (16, 10, [3], dict(floor=1e-3, denom="typo")),
        }
        for what, (n, c, scale, change) in cases.items():
            v = dict(full, **change)
            eta = float(v["eta"])
            logits, y = draw(rng, n, c, scale, [smkd_ref.threshold(c, v["progress"], eta, v["b2"])] if what != "extreme logits" else [])
            v["eta"] = eta
            report.guard(what, lambda: compare(report, tmp, what, "smkd-p", logits, y, **v))

        # The limits, bit for bit: ALL against eta 1, b2 0 and ZERO against eta infinite, no row on the limit itself.
        logits, y = draw(rng, 48, 10, [0.5, 3], [np.log(10)])
        paths = [tmp / f for f in ("a.npy", "b.npy", "y.npy")]
        for p, x in zip(paths, (logits[0].astype(np.float32), logits[1].astype(np.float32), y.astype(np.int64))):
            np.save(p, x)
        for limit, eta in (("all", 1.0), ("all", 0.25), ("zero", np.inf), ("zero", -2.0)):
            for refine, denom in itertools.product(("mylc", "proselflc", "none"), ("K", "N")):
                got = []
                for name in (limit, "smkd-p"):
                    out = tmp / f"{name}.safetensors"
                    v = dict(VALUES, refine=refine, denom=denom, eta=eta, b2=0.0, r=(0.5, 0.4))
                    what = f"{limit} is eta {eta}, {refine}, {denom}"
                    try:
                        run(RUN, "loss", name, "--logits", paths[0], "--logits", paths[1], "--labels", paths[2], *flags(v), "-o", out,
                            env={"XDG_CACHE_HOME": str(tmp)})
                        got.append(read_safetensors(out))
                    except Exception as e:
                        report.fail(what, e)
                if len(got) == 2:
                    same = all(got[0][k].tobytes() == got[1][k].tobytes() for k in got[0] if k != "threshold")
                    report.check(what, 0.0 if same else np.inf, 0)
    report.check("labels are corrected in many cases", float(len(CHANGED) < 20), 0)
    report.end()


if __name__ == "__main__":
    sys.exit(main())
