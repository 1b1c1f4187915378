"""Fits on one-dimensional data: Gaussian mixtures beside scikit-learn's, beta mixtures beside the code of Arazo et al. written out with
scipy, Otsu's threshold beside scikit-image's, and beside the Blind paper's code written out in numpy.
"""
import json
import subprocess
import warnings

import numpy as np

from common import BUILD, Report, need, need_tools

TOOL = BUILD / "tests" / "oracle_fits"


def ours(x, *args):
    p = subprocess.run([str(TOOL), *map(str, args)], input="\n".join(repr(float(v)) for v in x), capture_output=True, text=True)
    assert p.returncode == 0, p.stderr
    return json.loads(p.stdout)


def sets(rng):
    """Numbers as losses are: two heaps of all shares and widths, long tails, heaps that overlap, few numbers."""
    yield "two heaps", np.concatenate([rng.normal(0.2, 0.05, 600), rng.normal(0.7, 0.1, 400)])
    yield "a tenth is high", np.concatenate([rng.normal(0.1, 0.03, 900), rng.normal(0.8, 0.08, 100)])
    yield "nine tenths are high", np.concatenate([rng.normal(0.1, 0.03, 100), rng.normal(0.8, 0.08, 900)])
    yield "overlapping", np.concatenate([rng.normal(0.3, 0.1, 500), rng.normal(0.6, 0.15, 500)])
    yield "losses", np.concatenate([rng.gamma(1, 0.1, 700), rng.gamma(9, 0.3, 300)])
    yield "most are 0", np.concatenate([np.zeros(800), rng.normal(2, 0.3, 200)])
    yield "far from 0", 1e4 + np.concatenate([rng.normal(0, 1, 300), rng.normal(9, 2, 300)])
    yield "nine", np.array([0.1, 0.12, 0.2, 0.11, 0.9, 0.8, 0.85, 0.15, 0.95])
    yield "two", np.array([0.25, 0.75])


def gaussians(rep, rng):
    (mixture,) = need("sklearn.mixture")
    warnings.simplefilter("ignore")  # where steps run out

    def fitted(g):
        order = np.argsort(g.means_.ravel())
        return order, g.means_.ravel()[order], g.covariances_.ravel()[order], g.weights_[order]

    for name, x in sets(rng):
        for reg in (1e-6, 5e-4):
            g = mixture.GaussianMixture(2, tol=1e-13, max_iter=20000, reg_covar=reg, random_state=0).fit(x[:, None])
            order, mean, variance, weight = fitted(g)
            o = ours(x, "gaussians", 20000, 1e-13, reg)
            scale = x.max() - x.min()
            what = f"Gaussians, {name}, reg {reg:g}"
            rep.check(f"{what}: means", np.abs(o["mean"] - mean).max() / scale, 1e-6)
            rep.check(f"{what}: variances", np.abs(o["variance"] - variance).max() / scale**2, 1e-6)
            rep.check(f"{what}: weights", np.abs(o["weight"] - weight).max(), 1e-6)
            rep.check(f"{what}: posterior", np.abs(o["low"] - g.predict_proba(x[:, None])[:, order[0]]).max(), 1e-4)
        # DivideMix's ten steps, where both start from the same two groups.
        unit = (x - x.min()) / (x.max() - x.min())
        g = mixture.GaussianMixture(2, tol=1e-2, max_iter=10, reg_covar=5e-4, random_state=0).fit(unit[:, None])
        order, mean, variance, weight = fitted(g)
        o = ours(unit, "gaussians", 10, 1e-2, 5e-4)
        rep.check(f"DivideMix, {name}: means", np.abs(o["mean"] - mean).max(), 1e-6)
        rep.check(f"DivideMix, {name}: steps", abs(o["steps"] - g.n_iter_), 0)
        rep.check(f"DivideMix, {name}: posterior", np.abs(o["low"] - g.predict_proba(unit[:, None])[:, order[0]]).max(), 1e-5)


def arazo(x, steps):
    """BetaMixture1D of Arazo et al.'s code: moments, floors and start as there."""
    from scipy import stats
    x = np.clip(x, 1e-4, 1 - 1e-4)
    alpha, beta, weight = np.array([1.0, 2]), np.array([2.0, 1]), np.array([0.5, 0.5])

    def shares():
        r = np.array([weight[k] * stats.beta.pdf(x, alpha[k], beta[k]) for k in range(2)])
        r[r <= 1e-12] = 1e-12
        return r / r.sum(0)

    for _ in range(steps):
        r = shares()
        for k in range(2):
            mean = (x * r[k]).sum() / r[k].sum()
            variance = ((x - mean) ** 2 * r[k]).sum() / r[k].sum()
            alpha[k] = mean * (mean * (1 - mean) / variance - 1)
            beta[k] = alpha[k] * (1 - mean) / mean
        weight = r.sum(1) / r.sum()
    return alpha, beta, weight, shares()[0]


def betas(rep, rng):
    need("scipy")
    for name, x in sets(rng):
        unit = (x - x.min()) / (x.max() - x.min())
        if name == "two":  # no variance within either
            continue
        for steps in (1, 10):
            alpha, beta, weight, low = arazo(unit, steps)
            o = ours(unit, "betas", steps)
            what = f"betas, {name}, {steps} steps"
            rep.check(f"{what}: alpha", np.abs(o["alpha"] / alpha - 1).max(), 1e-6)
            rep.check(f"{what}: beta", np.abs(o["beta"] / beta - 1).max(), 1e-6)
            rep.check(f"{what}: weight", np.abs(o["weight"] - weight).max(), 1e-8)
            rep.check(f"{what}: posterior", np.abs(o["low"] - low).max(), 1e-7)


def blind(v, deviation):
    """The split of the Blind code: a histogram of 1000 bins, every threshold tried."""
    counts, _ = np.histogram(v, 1000, (0, 1))
    x, best = np.arange(1000) / 1000, None
    for s in range(2, 998) if deviation else range(1, 1000):
        a, b = counts[:s], counts[s:]
        if a.sum() == 0 or b.sum() == 0:
            continue
        m1, m2 = (a * x[:s]).sum() / a.sum(), (b * x[s:]).sum() / b.sum()
        v1, v2 = (a * (x[:s] - m1) ** 2).sum() / a.sum(), (b * (x[s:] - m2) ** 2).sum() / b.sum()
        if deviation:
            v1, v2 = np.sqrt(max(v1, 1e-5)), np.sqrt(max(v2, 1e-5))
        q = (a.sum() * (m1 - v.mean()) ** 2 + b.sum() * (m2 - v.mean()) ** 2) / (a.sum() * v1 + b.sum() * v2)
        if best is None or q > best[3] * (1 + 1e-12):
            best = s / 1000, m1, m2, q
    return best


def otsu(rep, rng):
    (filters,) = need("skimage.filters")
    for name, x in sets(rng):
        unit = (x - x.min()) / (x.max() - x.min())
        if name == "two":  # two points: its merit is infinite
            continue
        for kind in ("variance", "std"):
            s, mu1, mu2, q = blind(unit, kind == "std")
            o = ours(unit, "otsu", kind)
            what = f"Otsu by {kind}, {name}"
            rep.check(f"{what}: threshold", abs(o["s"] - s), 1e-12)
            rep.check(f"{what}: means", max(abs(o["mu1"] - mu1), abs(o["mu2"] - mu2)), 1e-12)
            rep.check(f"{what}: merit", abs(o["merit"] / q - 1), 1e-9)
        # scikit-image names the last bin of the lower group, the next one's edge is ours.
        counts, edges = np.histogram(unit, 1000, (0, 1))
        rep.check(f"Otsu, {name}: beside scikit-image",
                  abs(ours(unit, "otsu", "variance")["s"] - 0.001 - filters.threshold_otsu(hist=(counts, edges[:-1]))), 1e-12)


def main():
    need_tools(TOOL)
    rep = Report()
    otsu_sample = np.array([.01, .02, .05, .1, .12, .15, .6, .8, .85, .9, .95, .97, .99, 1])
    for kind, q in (("variance", 15.8085), ("std", 1.70291)):
        o = ours(otsu_sample, "otsu", kind)
        rep.check(f"Otsu's sample by {kind}", np.abs(np.array([o["s"] - .151, o["mu1"] - .075, o["mu2"] - .88225])).max(), 1e-9)
        rep.check(f"Otsu's sample by {kind}: merit", abs(o["merit"] - q), 6e-5)
    betas(rep, np.random.default_rng(1))
    otsu(rep, np.random.default_rng(2))
    gaussians(rep, np.random.default_rng(0))
    rep.end()


main()
