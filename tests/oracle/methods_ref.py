"""Every method's loss in float64 numpy, written from the equations alone (methods.md), with gradients in closed form (0.1).

A *term* returns (rows [N], gradients of the rows by the logits [N,C]); whatever is a constant for differentiation is an argument
of its own, so that central differences of the term are its gradient. A *method* makes of a batch `x` and its numbers all that
`smkd-run loss` puts out. `python methods_ref.py` checks each term against central differences and the golden vectors.
"""
import functools
import types

import numpy as np

from smkd_ref import entropy, log_softmax, logistic, one_hot, threshold


def softmax(z):
    return np.exp(log_softmax(z))


def batch(z, y, other=None, lam=1.0, weight=None, **inputs):
    """The batch of a step: logits of each peer [N,C], or of several views [N,V,C], labels, mixed or not, weights of the classes, and
    what else a method takes."""
    z = [np.asarray(v, np.float64) for v in z]
    n, c = len(z[0]), z[0].shape[-1]
    given = one_hot(y, c) if other is None else lam * one_hot(y, c) + (1 - lam) * one_hot(other, c)
    return types.SimpleNamespace(z=z, y=y, n=n, c=c, peers=len(z), given=given, weight=weight, **inputs)


def labels_of(x, smoothing):
    return (1 - smoothing) * x.given + smoothing / x.c


# --- terms ----------------------------------------------------------------------------------------------------------------

def self_xent(z, base, coefficient, floor=0.0, detached=None):
    """H(base + coefficient p, p), the target's own p live; `detached`: the p that stands there instead, a constant."""
    p = softmax(z)
    logs = np.log(p + floor) if floor else log_softmax(z)
    t = base + coefficient * (p if detached is None else detached)
    w = t * p / (p + floor) if floor else t
    grad = w.sum(axis=1, keepdims=True) * p - w
    if detached is None:  # g = -coefficient log p, then p (g - sum g p)
        g = -coefficient * np.where(p > 0, logs, 0)
        grad = grad + p * (g - (g * p).sum(axis=1, keepdims=True))
    return -(t * logs).sum(axis=1), grad


def xent(z, t, floor=0.0):
    """H(t, p) of any constant target, whatever its sum is."""
    return self_xent(z, t, 0.0, floor)


def kl(z, a, T=1.0):
    """T^2 KL(a || softmax(z/T)) of a constant distribution a, 0 log 0 = 0."""
    log_a = np.log(np.where(a > 0, a, 1))
    rows = (a * log_a).sum(axis=1) - (a * log_softmax(z / T)).sum(axis=1)
    return T * T * rows, T * (a.sum(axis=1, keepdims=True) * softmax(z / T) - a)


def through_softmax(z, g):
    """The gradient by z of what has the gradient g by p."""
    p = softmax(z)
    return p * (g - (g * p).sum(axis=1, keepdims=True))


def gce(z, t, q):
    """sum_j t_j (1 - p_j^q) / q"""
    power = np.exp(q * log_softmax(z))
    w = t * power
    return (t * (1 - power)).sum(axis=1) / q, w.sum(axis=1, keepdims=True) * softmax(z) - w


def rce(z, t):
    """-sum p ln max(t, 1e-4)"""
    a = -np.log(np.maximum(t, 1e-4)) * np.ones_like(z)
    return (softmax(z) * a).sum(axis=1), through_softmax(z, a)


def nce(z, t):
    """sum t ln p / sum ln p"""
    logs, p = log_softmax(z), softmax(z)
    above, below = (t * logs).sum(axis=1, keepdims=True), logs.sum(axis=1, keepdims=True)
    return (above / below)[:, 0], (t - t.sum(axis=1, keepdims=True) * p) / below - above / below**2 * (1 - z.shape[1] * p)


def mae(z, t):
    """1 - sum t p"""
    return ((1 - t) * softmax(z)).sum(axis=1), through_softmax(z, -t * np.ones_like(z))


# --- sums over a batch ----------------------------------------------------------------------------------------------------

def mean(x, term, rows=None, divisor=None):
    """Sum of a term over the chosen rows / divisor: (value, gradient of the whole batch)."""
    rows = np.arange(x.n) if rows is None else rows
    d = x.n if divisor is None else divisor
    grad = np.zeros((x.n, x.c))
    if not len(rows) or not d:
        return 0.0, grad
    grad[rows] = term[1][rows] / d
    return term[0][rows].sum() / d, grad


def weigh(x, v):
    """Class weights in a target, and what its sum is divided by."""
    return v if x.weight is None else v * x.weight


def weight_sum(x):
    return x.n if x.weight is None else (x.weight * x.given).sum()


def total(parts):
    """[(factor, (value, gradient))] -> (value, gradient)"""
    return sum(f * v for f, (v, _) in parts), sum(f * g for f, (_, g) in parts)


def put(out, k, loss, **metrics):
    out[f"loss.{k}"], out[f"grad.{k}"] = loss
    out.update({f"{name}.{k}": v for name, v in metrics.items()})


# --- mutual: refined labels, shared or not (methods.md 1 and 2) -----------------------------------------------------------------

TRUSTED = ("mylc", "proselflc", "none")


def refinement(x, z, k, q, refine, o):
    """(base, coefficient of p, trust or None) of the target base + coefficient p."""
    if refine in TRUSTED:
        u = {"mylc": 1 - entropy(z).sum() / (x.n * np.log(x.c)) if o.r_scope == "batch" else o.r[k], "proselflc": o.progress, "none": 0}
        eps = np.zeros(x.n)
        if refine != "none":
            eps = logistic(u[refine] - o.rho, o.b1) * (1 - entropy(z) / np.log(x.c))
        return (1 - eps[:, None]) * q, eps[:, None], eps
    e = o.epsilon
    if refine == "ls":
        return (1 - e) * q + (e / x.c if o.ls_mode == "all" else e * (1 - q) / (x.c - 1)), 0.0, None
    if refine == "cp":
        return q if o.cp_mode == "penalty" else (1 - e) * q, -e, None
    return (1 - e) * q, e, None


def mutual(x, *, gate="none", refine="mylc", still=False, eta=4.0, b2=-5.0, b1=10.0, rho=0.5, r=(0.0, 0.0, 0.0), r_scope="epoch",
           progress=1.0, epsilon=0.25, ls_mode="all", cp_mode="refined", peer_denom="K", detach_target=False, log_floor=0.0,
           peer_log_floor=1e-6, label_smoothing=0.0):
    o = types.SimpleNamespace(**locals())
    q = labels_of(x, label_smoothing)
    chi = {"all": np.inf, "none": 0.0}.get(gate)
    if chi is None:
        chi = threshold(x.c, progress, eta, 0.0 if still else b2)
    h = [entropy(z) for z in x.z]
    parts = [refinement(x, x.z[k], k, q, refine, o) for k in range(x.peers)]
    targets = [base + c * softmax(z) for (base, c, _), z in zip(parts, x.z)]
    rows = [np.arange(x.n) if gate == "all" else np.flatnonzero(v < chi) for v in h]
    out = {}
    for k in range(x.peers):
        base, c, eps = parts[k]
        own = self_xent(x.z[k], weigh(x, base), weigh(x, c * np.ones((1, x.c))), log_floor, softmax(x.z[k]) if detach_target else None)
        terms = [(1, mean(x, own, divisor=weight_sum(x)))]
        others = [j for j in range(x.peers) if j != k]
        floor = peer_log_floor if refine == "cp" else log_floor
        for j in others:
            d = {"K": len(rows[j]), "N": x.n, "typo": len(rows[k])}[peer_denom]
            terms.append((1 / len(others), mean(x, xent(x.z[k], targets[j], floor), rows[j], d)))
        put(out, k, total(terms), entropy=h[k])
        if eps is not None:
            out[f"trust.{k}"] = eps
        if refine in ("mylc", "proselflc", "boot-soft"):
            out[f"corrected.{k}"] = targets[k].argmax(axis=1)
        if others:
            out[f"selected.{k}"] = np.isin(np.arange(x.n), rows[k]).astype(float)
    if x.peers > 1:
        out["threshold"] = chi
    return out


# --- robust: each network by itself (methods.md 6.2-6.4) --------------------------------------------------------------------------

def by_row_weights(x, term, rows=slice(None), among=slice(None)):
    """Mean over the chosen rows, or of their sum over others; with class weights each row counts as its given label."""
    w = np.ones(x.n) if x.weight is None else (x.weight * x.given).sum(axis=1)
    return mean(x, (w * term[0], w[:, None] * term[1]), np.arange(x.n)[rows], w[among].sum())


def robust(x, *, rule, gce_q=0.7, few=(1, 1), many=(1, 1), loss_alpha=None, loss_beta=None, label_smoothing=0.0):
    q = labels_of(x, label_smoothing)
    a, b = few if x.c <= 10 else many
    a, b = a if loss_alpha is None else loss_alpha, b if loss_beta is None else loss_beta
    pairs = {"sce": (xent, rce), "nce-rce": (nce, rce), "nce-mae": (nce, mae)}
    out = {}
    for k, z in enumerate(x.z):
        terms = [(1, gce(z, q, gce_q))] if rule == "gce" else [(a, pairs[rule][0](z, q)), (b, pairs[rule][1](z, q))]
        put(out, k, total([(f, by_row_weights(x, t)) for f, t in terms]), entropy=entropy(z))
    return out


# --- distill: predictions of others, as they are (methods.md 3) -----------------------------------------------------------------

def label_term(x, k, smoothing, floor=0.0):
    return mean(x, xent(x.z[k], weigh(x, labels_of(x, smoothing)), floor), divisor=weight_sum(x))


def min_logit(x):
    return np.min([z - (x.given * z).sum(axis=1, keepdims=True) for z in x.z], axis=0)


def naive(x):
    ce = np.array([xent(z, x.given)[0] for z in x.z])
    return np.array(x.z)[ce.argmin(axis=0), np.arange(x.n)]


def linear(x):
    """The mixture of two networks' logits of least cross entropy: a root of the slope in the share of the first."""
    lo, hi = np.zeros((x.n, 1)), np.ones((x.n, 1))
    for _ in range(60):
        a = (lo + hi) / 2
        slope = ((softmax(a * x.z[0] + (1 - a) * x.z[1]) - x.given) * (x.z[0] - x.z[1])).sum(axis=1, keepdims=True)
        lo, hi = np.where(slope < 0, a, lo), np.where(slope < 0, hi, a)
    return lo * x.z[0] + (1 - lo) * x.z[1]


def general_weights(x):
    """Those of the least squared error on held-out rows, of which the last survey left sums and their count."""
    a = x.state_gram / max(float(x.state_rows), 1) + 1e-6 * np.eye(x.peers)
    w = np.linalg.solve(a, np.ones(x.peers))
    return w / w.sum()


def general(x):
    return np.tensordot(general_weights(x), np.array(x.z), 1)


def surveyed(x, survey):
    """The states after this batch."""
    off = np.array([softmax(z) - x.given for z in x.z])
    sums, rows = np.einsum("inc,jnc->ij", off, off), np.float64(x.n)
    return {0: (x.state_gram, x.state_rows), 1: (sums, rows), 2: (x.state_gram + sums, x.state_rows + rows)}[survey]


def virtual(x, form, prob, temperature):
    v = prob * x.given + (1 - prob) * (1 - x.given) / (x.c - 1)
    return softmax((v if form == "logits" else np.log(v)) / temperature)


def distill(x, *, sources="peer", several="mean", balance="split", epsilon=0.5, distill_weight=1.0, temperature=1.0, kdcl_mode="min-logit",
            teacher_as="logits", teacher_prob=0.99, mult=100.0, round=2, survey=0, label_smoothing=0.0):
    a, b = (1 - epsilon, epsilon) if balance == "split" else (1, distill_weight)
    alone = sources == "former" and round == 1  # nobody has been anything yet
    if alone:
        a, b = 1, 0
    out = {}
    ensemble = {"min-logit": min_logit, "naive": naive, "linear": linear, "general": general}[kdcl_mode]
    if kdcl_mode == "general":
        out.update(zip(("state.gram", "state.rows"), surveyed(x, survey)))
        out.update({f"ensemble_weight.{k}": np.array([w]) for k, w in enumerate(general_weights(x))})
    for k in range(x.peers):
        if sources == "virtual":
            rows, grad = kl(x.z[k], virtual(x, teacher_as, teacher_prob, temperature))
            d = rows * mult / x.c, grad * mult / x.c
            put(out, k, total([(a, label_term(x, k, label_smoothing)), (b, mean(x, d))]), entropy=entropy(x.z[k]), divergence=d[0])
            continue
        teachers = {"peer": lambda: [z for j, z in enumerate(x.z) if j != k], "ensemble": lambda: [ensemble(x)]}.get(
            sources, lambda: [getattr(x, f"guess_{k}" if sources == "partner" else f"teacher_{k}")])()
        terms = [kl(x.z[k], softmax(z / temperature), temperature) for z in teachers]
        shared = len(terms) if several == "mean" else 1
        d = [(not alone) * sum(t[i] for t in terms) / shared for i in range(2)]
        put(out, k, total([(a, label_term(x, k, label_smoothing)), (b, mean(x, d))]), entropy=entropy(x.z[k]), divergence=d[0])
    return out


# --- small loss: rows with likely labels (methods.md 6.9 to 6.13) ------------------------------------------------------------

ROUNDING = 1 / 1024  # a whole number that float32 makes a little less of is not to cost a row


def place(x):
    """How many are smaller, equal ones in their order."""
    out = np.empty(len(x))
    out[np.argsort(x, kind="stable")] = np.arange(len(x))
    return out


def forget_ramp(epoch, forget, exponent, ramp):
    """linspace(0, forget^exponent, ramp)[e] for e < ramp, then forget^exponent; e from 0."""
    ramp, e = int(ramp), int(epoch) - 1
    return np.linspace(0, forget ** exponent, ramp)[e] if e < ramp else forget ** exponent


def forget_searched(epoch, epochs, p):
    e, n = epoch - 1.0, float(epochs)
    third = np.log(1 + p[8]) / np.log(1 + p[8] + p[9] * e) if p[8] + p[9] * e > 0 else 1.0
    f = p[0] * (1 - np.exp(-p[2] * e ** p[1])) + (1 - p[0]) * p[7] * (1 - (p[4] * e + 1) ** -p[3])
    f += (1 - p[0]) * (1 - p[7]) * (1 - third) - p[6] * (e / n) ** p[5]
    return min(max(f - p[10] * np.log(1 + e ** p[11]) / np.log(1 + n ** p[11]), 0), 0.99)


def small_loss_rows(losses, candidates, forget, cuts):
    keep = int((1 - forget) * len(candidates) + ROUNDING)
    if 0 < keep < len(candidates):
        away = np.abs(losses[candidates] - np.sort(losses[candidates])[keep - 1:keep + 1][:, None])
        cuts.append(away[away > 0].min(initial=np.inf))
    return candidates[place(losses[candidates]) < keep]


def symmetric_kl(z, other):
    """KL(p || o) + KL(o || p), both live: rows and gradient by z."""
    p, o = softmax(z), softmax(other)
    l = log_softmax(z) - log_softmax(other)
    return ((p - o) * l).sum(axis=1), p * (l - (p * l).sum(axis=1, keepdims=True)) + p - o


P_DEFAULT = (0.5, 0.5, 0.25, 0.5, 0.25, 1.0, 0.25, 0.5, 0.5, 0.25, 0.25, 1.0)


def small_loss(x, *, rank="peer", disagreement=False, schedule="ramp", epoch=1, epochs=200, step=0, forget=0.4, forget_exponent=1.0,
               ramp=10, init_epoch=20, co_lambda=0.1, percentile=0.7, percentile_decay=0.5, burn_in=18, label_smoothing=0.0,
               cuts=None, **p):
    """cuts: a list that gets, for each cut, how near another loss is to those on both sides."""
    cuts = [] if cuts is None else cuts
    every, own = np.arange(x.n), [xent(z, labels_of(x, label_smoothing)) for z in x.z]
    out = {}

    def put_rows(k, loss, chosen, clean, **more):
        put(out, k, loss, selected=np.isin(every, chosen).astype(float), kept=np.isin(every, clean).astype(float), **more)

    if rank == "self":
        for k, (losses, _) in enumerate(own):
            now = np.sort(losses)[int(np.floor(percentile * (x.n - 1) + 0.5 + ROUNDING))]
            before = getattr(x, f"state_percentile_{k}")
            limit = percentile_decay * before + (1 - percentile_decay) * now if step > 0 else now
            chosen = every if epoch <= burn_in else np.flatnonzero(losses <= limit)
            cuts.extend(np.abs(losses - limit))
            put_rows(k, by_row_weights(x, own[k], chosen), chosen, chosen, loss_limit=limit)
            out[f"state.percentile.{k}"] = limit
        return out

    searched = [p.get(f"p{i}", d) for i, d in enumerate(P_DEFAULT)]
    rate = forget_searched(epoch, epochs, searched) if schedule == "s2e" else forget_ramp(epoch, forget, forget_exponent, ramp)
    out["forget_rate"] = rate
    if rank == "joint":
        pairs = [[symmetric_kl(z, o) if o is not z else (0.0, 0.0) for o in x.z] for z in x.z]
        apart = sum(r for row in pairs for r, _ in row) / 2 / (x.peers - 1)
        rows = (1 - co_lambda) * sum(r for r, _ in own) + co_lambda * apart
        chosen = small_loss_rows(rows, every, rate, cuts)
        for k in range(x.peers):
            grad = (1 - co_lambda) * own[k][1] + co_lambda * sum(g for _, g in pairs[k]) / (x.peers - 1)
            put_rows(k, by_row_weights(x, (rows, grad), chosen, chosen), chosen, chosen)
            out["loss.all"] = out.pop(f"loss.{k}")
        return out

    candidates = every
    if disagreement and epoch > init_epoch:
        says = np.array([z.argmax(axis=1) for z in x.z])
        differ = np.flatnonzero((says != says[0]).any(axis=0))
        candidates = differ if len(differ) else every
    for k in range(x.peers):
        chosen = small_loss_rows(own[(k + 1) % x.peers][0], candidates, rate, cuts)
        put_rows(k, by_row_weights(x, own[k], chosen, chosen), chosen, small_loss_rows(own[k][0], every, rate, cuts))
    return out


# --- checks ---------------------------------------------------------------------------------------------------------------

def check_term(what, term, c=5, n=4, scale=2.0):
    """term(z) -> (rows, gradients), compared with central differences."""
    z = np.random.default_rng(3).normal(size=(n, c)) * scale
    rows, grad = term(z)
    for j in range(c):
        step = np.zeros(c)
        step[j] = 1e-5
        num = (term(z + step)[0] - term(z - step)[0]) / 2e-5
        worst = np.abs(num - grad[:, j]).max()
        assert worst < 1e-8 * max(1, np.abs(grad).max()), f"{what}: {worst:.1e} off central differences"


def self_check():
    rng = np.random.default_rng(0)
    t, eps, p0 = rng.random((4, 5)), rng.random((4, 1)), softmax(rng.normal(size=(4, 5)))
    for floor in (0.0, 1e-3):
        check_term("cross entropy", lambda z: xent(z, t, floor))
        check_term("own target", lambda z: self_xent(z, t, eps, floor))
        check_term("own target, penalised", lambda z: self_xent(z, t, -eps, floor))
        check_term("own target, detached", lambda z: self_xent(z, t, eps, floor, p0))

    check_term("KL", lambda z: kl(z, p0))
    check_term("KL, softened", lambda z: kl(z, p0, 3.0))

    for what, f in (("GCE", lambda z: gce(z, t, .7)), ("RCE", lambda z: rce(z, t)), ("NCE", lambda z: nce(z, t)), ("MAE", lambda z: mae(z, t))):
        check_term(what, f)
    check_term("both KL", lambda z: symmetric_kl(z, np.log(p0)))
    assert np.allclose([forget_ramp(e, .4, 1, 10) for e in (1, 2, 10, 99)], (0, .4 / 9, .4, .4)) and forget_ramp(2, .5, 2, 1) == .25
    assert list(place(np.array([2.0, 1, 2, 0]))) == [2, 1, 3, 0]

    # Golden vectors of methods.md 12: mean over three rows, and its gradient by zA.
    za = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]])
    zb = np.array([[3, 1, 0, -2], [0, 2.5, -1, .5], [.1, 0, .2, -.1]])
    y = np.array([0, 2, 1])
    one, two = batch([za], y), batch([za, zb], y)

    def golden(what, got, loss, *grads):
        np.testing.assert_allclose(got[0], loss, atol=1.5e-6, err_msg=what)
        for i, row in enumerate(grads):
            np.testing.assert_allclose(got[1][i], row, atol=1.5e-6, err_msg=f"{what}, row {i}")

    def first(out):
        return out["loss.0"], out["grad.0"]

    golden("ce", first(mutual(one, refine="none")), 0.670636, (-0.017453, 0.005786, 0.002128, 0.009539))
    golden("ls", first(mutual(one, refine="ls")), 1.083136, (0.045047, -0.015048, -0.018705, -0.011295),
           (0.075384, 0.066228, -0.192057, 0.050446), (-0.017188, -0.071785, 0.099896, -0.010923))
    golden("ls others", first(mutual(one, refine="ls", ls_mode="others")), 1.220636, (0.065881, -0.021992, -0.025649, -0.018239),
           (0.068439, 0.059283, -0.171224, 0.043502), (-0.024132, -0.050951, 0.092951, -0.017868))
    golden("cp", first(mutual(one, refine="cp")), 0.297562, (0.002824, -0.001155, -0.000957, -0.000712),
           (0.075471, 0.066113, -0.192148, 0.050564), (-0.000625, -0.085087, 0.084934, 0.000778))
    golden("cp penalty", first(mutual(one, refine="cp", cp_mode="penalty", epsilon=.1)), 0.588470,
           (-0.011087, 0.003588, 0.001107, 0.006392), (0.097540, 0.087388, -0.255049, 0.070121), (0.002302, -0.128034, 0.118484, 0.007248))
    golden("boot-soft", first(mutual(one, refine="boot-soft")), 0.708393, (-0.029003, 0.009833, 0.004150, 0.015020),
           (0.068855, 0.064479, -0.189688, 0.056355), (0.006094, -0.116341, 0.096160, 0.014087))
    golden("boot-soft detached", first(mutual(one, refine="boot-soft", detach_target=True)), 0.708393,
           (-0.013090, 0.004339, 0.001596, 0.007154), (0.072163, 0.065296, -0.190918, 0.053460), (0.002734, -0.100714, 0.090547, 0.007433))
    clock = dict(refine="proselflc", progress=.6, b1=8)
    own = first(mutual(one, **clock))
    golden("proselflc", own, 0.737384, (-0.043460, 0.014900, 0.006679, 0.021881), (0.095878, 0.086781, -0.253754, 0.071094),
           (0.006359, -0.114398, 0.093500, 0.014539))
    golden("proselflc detached", first(mutual(one, **clock, detach_target=True)), 0.737384, (-0.007628, 0.002529, 0.000930, 0.004169))
    for denom, loss, row in (("K", .874873, (0.132882, -0.008817, -0.212118, 0.088052)), ("N", .583249, (0.088588, -0.005878, -0.141412, 0.058702))):
        got = first(mutual(two, gate="below", still=True, eta=2, peer_denom=denom, **clock))
        golden(f"smkd-s peer, {denom}", (got[0] - own[0], (got[1] - own[1])[1:]), loss, row, (0, 0, 0, 0))
    joint = small_loss(two, rank="joint", forget=0)
    golden("jocor", (joint["loss.all"], joint["grad.0"]), 2.315237, (-0.011943, 0.000846, 0.000311, 0.010785),
           (0.100385, 0.043463, -0.210521, 0.066673), (-0.006415, -0.101174, 0.107299, 0.000289))
    got = first(mutual(two, gate="all", **clock))
    golden("all peer", (got[0] - own[0], got[1] - own[1]), .757003, (0.004716, -0.009852, -0.003624, 0.008760))
    # KL(pB || pA) and its like are the parts of mutual distillation beside cross entropy; T2S of zB is half and half.
    golden("mkd", first(distill(two)), 0.638520, (0.009377, -0.013139, -0.004834, 0.008597), (0.085252, -0.046527, -0.091925, 0.053200),
           (-0.039885, -0.007006, 0.072620, -0.025730))
    golden("mkd, labels unseen", first(distill(two, epsilon=1)), 0.606403, (0.036206, -0.032064, -0.011796, 0.007654))
    golden("KL, T=2", first(distill(two, epsilon=1, temperature=2)), 0.861767, (0.080741, -0.081733, -0.049574, 0.050565),
           (0.074888, -0.194047, 0.098929, 0.020230), (-0.128405, 0.149627, 0.063560, -0.084783))
    t2s = distill(batch([za], y, teacher_0=zb), sources="teacher")
    golden("t2s", first(t2s), 0.638520, (0.009377, -0.013139, -0.004834, 0.008597))
    golden("tf-kd-reg", first(distill(one, sources="virtual", epsilon=.1, temperature=20)), 2.888507,
           (0.557858, -0.186061, -0.198496, -0.173301), (0.121406, 0.090275, -0.248298, 0.036618), (-0.193337, 0.160629, 0.204746, -0.172038))
    np.testing.assert_allclose(min_logit(two), [[0, -4, -5, -5], [.2, .1, 0, -.1], [-4, 0, -.5, -3]], atol=1e-12)
    kdcl = functools.partial(distill, sources="ensemble", epsilon=1, temperature=2)
    golden("kdcl naive", first(kdcl(two, kdcl_mode="naive")), 0, (0, 0, 0, 0), (0, 0, 0, 0), (0, 0, 0, 0))
    golden("kdcl min-logit", first(kdcl(two)), 0.027739, (-0.033811, -0.004576, -0.002775, 0.041162), (0, 0, 0, 0), (0, 0, 0, 0))
    # General weights: as 1/G_kk where errors are independent; equal where networks are, or nothing is known yet; the least.
    for sums, want in (((2, 0), (0, 6)), (.75, .25)), (((3, 3), (3, 3)), (.5, .5)), (np.zeros((2, 2)), (.5, .5)):
        np.testing.assert_allclose(general_weights(batch([za, zb], y, state_gram=np.array(sums, float), state_rows=4)), want, atol=1e-5)
    known = batch([za, zb], y, state_gram=np.array([[5, 2], [2, 3]]), state_rows=10)
    best = min(np.linspace(-1, 2, 3001), key=lambda a: np.array([a, 1 - a]) @ known.state_gram @ [a, 1 - a])
    assert abs(general_weights(known)[0] - best) < 1e-3
    np.testing.assert_allclose(general(known), general_weights(known)[0] * za + general_weights(known)[1] * zb)
    shares = np.linspace(0, 1, 1001)[:, None, None]  # of all mixtures of two networks none is better than the linear ensemble
    mixed = batch([2 * zb, za], np.array([1, 0, 2]))
    every = [xent(s * mixed.z[0] + (1 - s) * mixed.z[1], mixed.given)[0] for s in shares[:, 0]]
    np.testing.assert_allclose(xent(linear(mixed), mixed.given)[0], np.min(every, axis=0), atol=1e-5)
    assert 0 < np.argmin(every, axis=0)[2] < 1000, "no row whose best mixture is inside"
    golden("gce", first(robust(one, rule="gce")), 0.464575, (-0.016808, 0.005572, 0.002050, 0.009186), (0.035052, 0.031716, -0.092736, 0.025967),
           (0.002541, -0.093602, 0.084153, 0.006908))
    golden("rce", first(robust(one, rule="sce", few=(0, 1))), 3.742114, (-0.152329, 0.050497, 0.018577, 0.083255))
    golden("sce", first(robust(one, rule="sce", few=(6, .1))), 4.398028, (-0.119949, 0.039763, 0.014628, 0.065558),
           (0.598246, 0.541315, -1.582753, 0.443192), (0.023879, -0.879564, 0.790774, 0.064911))
    golden("nce", first(robust(one, rule="nce-mae", few=(1, 0))), 0.105708, (-0.001682, 0.000558, 0.000275, 0.000848))
    golden("nce-rce", first(robust(one, rule="nce-rce", few=(10, .1))), 1.431295, (-0.032053, 0.010632, 0.004612, 0.016809),
           (0.169720, 0.168317, -0.503936, 0.165899), (0.023791, -0.240385, 0.184220, 0.032374))


if __name__ == "__main__":
    self_check()
    print("methods_ref: closed forms and golden vectors agree")
