"""The losses in float64 numpy, written from the equations alone (methods.md 0.1, 1 and 2), with gradients in closed form.

Nothing here shares code, order of operations or shortcuts with the compiler: probabilities come from log-softmax, masks
are fancy indexing, and every gradient is the formula of methods.md 0.1. `python smkd_ref.py` checks the closed forms against
central differences and the golden vectors of methods.md 12.
"""
import numpy as np


def log_softmax(z):
    t = z - z.max(axis=1, keepdims=True)
    return t - np.log(np.exp(t).sum(axis=1, keepdims=True))


def entropy(z):
    lp = log_softmax(z)
    return np.clip(-(np.exp(lp) * lp).sum(axis=1), 0, np.log(z.shape[1]))


def logistic(lam, b):
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-lam * b))


def threshold(classes, progress, eta, b2):
    return np.log(classes) / eta * 2 * logistic(progress - 0.5, b2)


def one_hot(y, classes):
    return np.eye(classes)[y]


def log_p(z, floor):
    return np.log(np.exp(log_softmax(z)) + floor) if floor else log_softmax(z)


def trust(z, refine, progress, r, b1, rho):
    if refine == "none":
        return np.zeros(len(z))
    u = progress if refine == "proselflc" else r
    return logistic(u - rho, b1) * (1 - entropy(z) / np.log(z.shape[1]))


def refined(z, q, eps):
    return (1 - eps[:, None]) * q + eps[:, None] * np.exp(log_softmax(z))


def xent(target, z, floor):
    return -(target * log_p(z, floor)).sum(axis=1)


def grad_xent_const(target, z, floor):
    """d H(sg t, p) / dz, one row each: (sum w) p - w with w = t p / (p + e)."""
    p = np.exp(log_softmax(z))
    w = target * p / (p + floor) if floor else target
    return w.sum(axis=1, keepdims=True) * p - w


def grad_self(z, q, eps, detach, floor):
    """d H(q~, p) / dz: the target's own p is live unless detached."""
    lp = log_softmax(z)
    p = np.exp(lp)
    e = eps[:, None]
    if floor:
        grad = grad_xent_const(refined(z, q, eps), z, floor)
        if not detach:  # dq~/dp = eps: g = -eps log(p + e), then p * (g - sum g p)
            g = -e * log_p(z, floor)
            grad = grad + p * (g - (g * p).sum(axis=1, keepdims=True))
        return grad
    own = (1 - e) * (p - q)
    if detach:
        return own
    h = -(p * lp).sum(axis=1, keepdims=True)
    return own - e * p * (lp + h)


def loss(name, logits, y, *, refine="mylc", denom="K", detach=False, r_scope="epoch", floor=0.0, progress=0.0, eta=4.0,
         b2=-5.0, b1=10.0, rho=0.5, r=(0.0, 0.0)):
    """Everything `smkd-run loss` reports, as a dict of arrays. Peers are 0 and 1; peer 1 - k teaches peer k."""
    z = [np.asarray(x, dtype=np.float64) for x in logits]
    n, c = z[0].shape
    q = one_hot(y, c)
    if name == "ce":
        refine = "none"
    out = {}
    h = [entropy(x) for x in z]
    if r_scope == "batch":
        r = [1 - x.sum() / (n * np.log(c)) for x in h]
    eps = [trust(z[k], refine, progress, r[k], b1, rho) for k in range(2)]
    chi = {"all": np.inf, "zero": 0.0, "ce": 0.0}.get(name)
    if chi is None:
        chi = threshold(c, progress, eta, 0.0 if name == "smkd-s" else b2)
    if name == "all":
        rows = [np.arange(n), np.arange(n)]
    elif name in ("zero", "ce"):
        rows = [np.arange(0), np.arange(0)]
    else:
        rows = [np.flatnonzero(x < chi) for x in h]
    count = [len(x) for x in rows]
    for k in range(2):
        t = 1 - k
        value = xent(refined(z[k], q, eps[k]), z[k], floor).mean()
        grad = grad_self(z[k], q, eps[k], detach, floor) / n
        divide_by = {"K": count[t], "N": n, "typo": count[k]}[denom]
        if count[t] and divide_by:
            taught = rows[t]
            target = refined(z[t], q, eps[t])[taught]
            value += xent(target, z[k][taught], floor).sum() / divide_by
            grad[taught] += grad_xent_const(target, z[k][taught], floor) / divide_by
        mask = np.zeros(n)
        mask[rows[k]] = 1
        out.update({f"loss.{k}": value, f"grad.{k}": grad, f"selected.{k}": mask, f"trust.{k}": eps[k],
                    f"entropy.{k}": h[k]})
        if refine != "none":
            out[f"corrected.{k}"] = refined(z[k], q, eps[k])  # of which a program tells the largest
    out["threshold"] = chi
    return out


def frozen_value(k, name, logits, y, at, **kw):
    """loss.k with everything that is a constant for differentiation taken from the point `at`."""
    z = [np.asarray(x, dtype=np.float64) for x in logits]
    n, c = z[0].shape
    q, t = one_hot(y, c), 1 - k
    base = loss(name, at, y, **kw)
    floor = kw.get("floor", 0.0)
    own = refined(at[k] if kw.get("detach") else z[k], q, base[f"trust.{k}"])
    value = xent(own, z[k], floor).mean()
    m = base[f"selected.{t}"]
    d = {"K": m.sum(), "N": n, "typo": base[f"selected.{k}"].sum()}[kw.get("denom", "K")]
    if m.sum() and d:
        value += (m * xent(refined(at[t], q, base[f"trust.{t}"]), z[k], floor)).sum() / d
    return value


def self_check():
    rng = np.random.default_rng(0)
    worst = 0.0
    for name in ("smkd-p", "all", "zero", "ce"):
        for refine in ("mylc", "proselflc", "none"):
            for detach in (False, True):
                for floor in (0.0, 1e-3):
                    for denom in ("K", "N", "typo"):
                        at = [rng.normal(size=(5, 4)) * 2 for _ in range(2)]
                        y = rng.integers(0, 4, 5)
                        kw = dict(refine=refine, detach=detach, floor=floor, denom=denom, progress=0.6, eta=1.5, r=(0.6, 0.3))
                        got = loss(name, at, y, **kw)
                        if name == "ce":
                            kw["refine"] = "none"
                        for k in range(2):
                            num = np.zeros_like(at[k])
                            for i in np.ndindex(*num.shape):
                                step = [x.copy() for x in at]
                                step[k][i] += 1e-5
                                up = frozen_value(k, name, step, y, at, **kw)
                                step[k][i] -= 2e-5
                                num[i] = (up - frozen_value(k, name, step, y, at, **kw)) / 2e-5
                            worst = max(worst, np.abs(num - got[f"grad.{k}"]).max())
    assert worst < 1e-8, worst

    za = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]])
    zb = np.array([[3, 1, 0, -2], [0, 2.5, -1, .5], [.1, 0, .2, -.1]])
    y = np.array([0, 2, 1])
    near = lambda a, b: np.testing.assert_allclose(a, b, atol=1.5e-6)
    near(entropy(za), (.255288, 1.380071, .829627))
    near(entropy(zb), (.556199, .687383, 1.380071))
    pro = loss("zero", [za, zb], y, refine="proselflc", progress=.6, b1=8)
    near([pro["loss.0"], pro["loss.1"]], (.737384, 1.480343))
    near(pro["trust.0"], (.562915, .003098, .277060))
    near(pro["grad.0"][0], (-0.043460, 0.014900, 0.006679, 0.021881))
    mylc = loss("zero", [za, zb], y, refine="mylc", r_scope="batch", b1=10)
    near(mylc["trust.0"], (.231314, .001273, .113850))
    sel = loss("smkd-s", [za, zb], y, refine="proselflc", progress=.6, b1=8, eta=2)
    near(sel["loss.0"] - pro["loss.0"], .874873)
    near((sel["grad.0"] - pro["grad.0"])[1], (0.132882, -0.008817, -0.212118, 0.088052))
    every = loss("all", [za, zb], y, refine="proselflc", progress=.6, b1=8)
    near(every["loss.0"] - pro["loss.0"], .757003)
    prog = loss("smkd-p", [za, zb], y, refine="proselflc", progress=.6, b1=8, eta=2, b2=-5)
    near(prog["threshold"], .523383)
    assert prog["loss.0"] == pro["loss.0"]
    near(prog["loss.1"] - pro["loss.1"], .286382)


if __name__ == "__main__":
    self_check()
    print("smkd_ref: closed forms and golden vectors agree")
