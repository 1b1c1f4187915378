"""Losses that remember images (methods.md 6.17 to 6.19, 6.23) or look inside networks and at their sides (methods.md 4), in float64 numpy.

As methods_ref.py, whose terms and sums these use; `python memory_ref.py` checks closed forms and golden vectors."""
import numpy as np

from methods_ref import batch, check_term, kl, label_term, labels_of, mean, put, softmax, total, weigh, weight_sum, xent
from smkd_ref import log_softmax


def at(x, name, k):
    return getattr(x, named(name, k).replace(".", "_"))


def named(name, k):
    """Of peer k, or with None of none."""
    return name if k is None else f"{name}.{k}"


def through_softmax(p, g):
    return p * (g - (g * p).sum(axis=1, keepdims=True))


# --- early-learning regularisation ------------------------------------------------------------------------------------------

def elr_term(z, t):
    p = softmax(z)
    c = np.clip(p, 1e-4, 1 - 1e-4)
    room = 1 - (t * c).sum(axis=1)
    g = np.where((p > 1e-4) & (p < 1 - 1e-4), -t / room[:, None], 0)
    return np.log(room), through_softmax(p, g)


def elr(x, *, lambda_=None, beta=None, label_smoothing=0.0):
    lam = (3 if x.c <= 10 else 7) if lambda_ is None else lambda_
    beta = (.7 if x.c <= 10 else .9) if beta is None else beta
    out = {}
    for k in range(x.peers):
        c = np.clip(softmax(x.z[k]), 1e-4, 1 - 1e-4)
        t = beta * at(x, "table.target", k) + (1 - beta) * c / c.sum(axis=1, keepdims=True)
        put(out, k, total([(1, label_term(x, k, label_smoothing)), (lam, mean(x, elr_term(x.z[k], t)))]),
            corrected=t.argmax(axis=1))
        out[f"table.target.{k}"] = t
    return out


def sigmoid_ramp(now, length):
    """exp(-5 (1 - min(now/length, 1))^2); a length of 0: no ramp"""
    return np.exp(-5 * (1 - min(now / length, 1)) ** 2) if length else 1.0


def elr_plus(x, *, lambda_=None, beta=None, lambda_ramp=None, label_product=None, step=0, mix_lambda=1.0, label_smoothing=0.0):
    """The table of a network is filled by the average of the next one, of the images as they are; targets and labels are mixed as the
    images were, mix_row [N] being what each is mixed with."""
    few = x.c <= 10
    lam, beta = [given if given is not None else default for given, default in ((lambda_, 3 if few else 7), (beta, .7 if few else .9))]
    ramp = sigmoid_ramp(step, (0 if few else 40000) if lambda_ramp is None else lambda_ramp)
    with_row = lambda v: mix_lambda * v + (1 - mix_lambda) * v[x.mix_row.astype(int)]
    out = {}
    for k in range(x.peers):
        t = beta * at(x, "table.target", k) + (1 - beta) * softmax(at(x, "average", (k + 1) % x.peers))
        mixed, y = with_row(t), with_row(labels_of(x, label_smoothing))
        if not few if label_product is None else label_product:
            y = y * mixed
            y = y / np.maximum(y.sum(axis=1, keepdims=True), 1e-12)
        put(out, k, total([(1, mean(x, xent(x.z[k], weigh(x, y)), divisor=weight_sum(x))), (lam * ramp, mean(x, elr_term(x.z[k], mixed)))]),
            corrected=t.argmax(axis=1))
        out[f"table.target.{k}"] = t
    return out


# --- sparse over-parameterisation -------------------------------------------------------------------------------------------

def sop_parts(x, z, u, v, y, balance=0.0):
    """(loss, gradient by z, by u, by v); u [N,1], v [N,C]; the argmax and, in all but the squares, V are constants. balance: of
    -1/C sum_j log clamp(mean p~_j, 1e-4, 1), SOP+."""
    p = softmax(z)
    U, V = np.clip(u * u * y, 0, 1), np.clip(v * v * (1 - y), 0, 1)
    raw = p + U - V
    m = np.maximum(raw, 1e-4)
    s = m.sum(axis=1, keepdims=True)
    wy, w = y if x.weight is None else y * (x.given * x.weight).sum(axis=1, keepdims=True), weight_sum(x)
    live = raw > 1e-4
    dm = (-wy / m + wy.sum(axis=1, keepdims=True) / s) / w * live
    d = np.eye(x.c)[z.argmax(axis=1)] + U - V - y
    shares = (m / s).mean(axis=0)
    loss = -(wy * np.log(m / s)).sum() / w + (d * d).sum() / x.n - balance * np.log(np.clip(shares, 1e-4, 1)).mean()
    g = np.where((shares > 1e-4) & (shares < 1), -balance / x.c / shares, 0) / x.n  # by p~, then through m / s
    dm = dm + (g - (g * m / s).sum(axis=1, keepdims=True)) / s * live
    inside_u, inside_v = u * u * y < 1, v * v * (1 - y) < 1
    du = ((dm + 2 * d / x.n) * inside_u * 2 * u * y).sum(axis=1, keepdims=True)
    dv = -2 * d / x.n * inside_v * 2 * v * (1 - y)
    return loss, through_softmax(p, dm), du, dv


def sop(x, *, lr_u=1.0, lr_v=10.0, label_smoothing=0.0):
    out, y = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        u, v = at(x, "table.u", k), at(x, "table.v", k)
        loss, dz, du, dv = sop_parts(x, x.z[k], u, v, y)
        put(out, k, (loss, dz))
        out[f"table.u.{k}"], out[f"table.v.{k}"] = u - lr_u * du, v - lr_v * dv
    return out


def sop_plus(x, *, lr_u=1.0, lr_v=10.0, sop_consistency=.9, sop_balance=.1, label_smoothing=0.0):
    """Logits [N,2,C]: SOP by the first view, which the second is to say, too."""
    out, y = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        u, v, (z, other) = at(x, "table.u", k), at(x, "table.v", k), np.moveaxis(x.z[k], 1, 0)
        loss, dz, du, dv = sop_parts(x, z, u, v, y, sop_balance)
        same, d_other = mean(x, kl(other, softmax(z)))
        put(out, k, (loss + sop_consistency * same, np.stack([dz, sop_consistency * d_other], axis=1)))
        out[f"table.u.{k}"], out[f"table.v.{k}"] = u - lr_u * du, v - lr_v * dv
    return out


# --- consistency ------------------------------------------------------------------------------------------------------------

def squares(z, t):
    """mean over the classes of (p - t)^2"""
    p = softmax(z)
    return ((p - t) ** 2).mean(axis=1), through_softmax(p, 2 * (p - t) / z.shape[1])


def consistent(x, k, target, ready, epoch, consistency, ramp, smoothing):
    w = consistency * np.exp(-5 * (1 - min(epoch / ramp, 1)) ** 2) * ready
    return total([(1, label_term(x, k, smoothing)), (w, mean(x, squares(x.z[k], target)))])


def temporal(x, *, epoch=1, consistency=30.0, ramp=80.0, alpha_z=.6, label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        old = at(x, "table.z", k)
        target = old / (1 - alpha_z ** (epoch - 1)) if epoch > 1 else old
        put(out, k, consistent(x, k, target, epoch > 1, epoch, consistency, ramp, label_smoothing))
        out[f"table.z.{k}"] = alpha_z * old + (1 - alpha_z) * softmax(x.z[k])
    return out


def mean_teacher(x, *, epoch=1, consistency=30.0, ramp=80.0, label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        put(out, k, consistent(x, k, softmax(at(x, "average", k)), True, epoch, consistency, ramp, label_smoothing))
    return out


# --- heads ------------------------------------------------------------------------------------------------------------------

def heads(x, *, ps_kd=False, byot=False, dmfl="off", alpha_t=.8, byot_alpha=.1, byot_beta=1e-6, temperature=3.0, progress=1.0,
          label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        z, q = x.z[k], labels_of(x, label_smoothing)
        if ps_kd:
            a = alpha_t * progress
            q = (1 - a) * q + a * at(x, "table.prev", k)
            out[f"table.prev.{k}"] = softmax(z)
            out[f"corrected.{k}"] = q.argmax(axis=1)

        def labelled(z):
            return mean(x, xent(z, weigh(x, q)), divisor=weight_sum(x))

        parts, grads = [(1, labelled(z))], {}
        H = [getattr(x, f"tap_{k}_head{i}") for i in (1, 2, 3)] if byot or dmfl != "off" else []
        F = [getattr(x, f"tap_{k}_feat{i}") for i in (1, 2, 3, 4)] if H else []
        dF = [np.zeros_like(f) for f in F]
        dH = [np.zeros_like(h) for h in H]
        extra = 0.0
        if byot:
            parts.append((1 - byot_alpha, labelled(z)))
            said = softmax(z / temperature)
            for i, h in enumerate(H):
                taught = xent(h / temperature, said)
                value, g = mean(x, (taught[0] * temperature ** 2, taught[1] * temperature))
                own, own_g = labelled(h)
                counts = (F[i] > 0) | (F[3] > 0)
                d = (F[i] - F[3]) * counts
                extra += byot_alpha * value + (1 - byot_alpha) * own + byot_beta * (d * d).sum()
                dH[i] += byot_alpha * g + (1 - byot_alpha) * own_g
                dF[i] += byot_beta * 2 * d
        if dmfl != "off":
            value = 0.0
            for i in range(3):
                for a, b in ((i, 3), (3, i)):  # what is said of a by b's
                    rows, g = xent(F[a], softmax(F[b]))
                    value += rows.mean() / 3
                    if dmfl == "live":
                        dF[a] += g / x.n / 3
            extra += value
            out[f"feature_loss.{k}"] = value
        loss, grad = total(parts)
        put(out, k, (loss + extra, grad))
        for i in range(len(H)):
            out[f"grad.tap.{k}.head{i + 1}"] = dH[i]
        if F and (byot or dmfl == "live"):
            for i in range(3 if dmfl == "off" else 4):
                out[f"grad.tap.{k}.feat{i + 1}"] = dF[i]
    return out


# --- hints: the inside of a teacher -----------------------------------------------------------------------------------------

def regressor(s, w, b):
    """A map of the channels: second of [N,C,H,W], last of [N,C] and [N,T,C]."""
    return np.einsum("dc,nchw->ndhw", w[:, :, 0, 0], s) + b[:, None, None] if s.ndim == 4 else s @ w.T + b


def hint(t, s, w, b):
    """D [N] = 1/M ||t - r(s)||^2, and of the sum of D the gradients by s, w and b."""
    d = regressor(s, w, b) - t
    axes = tuple(range(1, d.ndim))
    g = 2 * d / d[0].size
    if s.ndim == 4:
        return (d * d).mean(axis=axes), np.einsum("dc,ndhw->nchw", w[:, :, 0, 0], g), \
            np.einsum("ndhw,nchw->dc", g, s)[:, :, None, None], g.sum(axis=(0, 2, 3))
    flat_g, flat_s = g.reshape(-1, g.shape[-1]), s.reshape(-1, s.shape[-1])
    return (d * d).mean(axis=axes), g @ w, flat_g.T @ flat_s, flat_g.sum(axis=0)


def sgd(x, name, k, g, rate, momentum, decay, nesterov=0):
    w = at(x, f"state.{name}", k)
    g = g + decay * w
    v = momentum * at(x, f"state.{name}.velocity", k) + g
    return {named(f"state.{name}", k): w - rate * (g + momentum * v if nesterov else v), named(f"state.{name}.velocity", k): v}


def adam(x, name, k, g, rate, momentum, decay):
    """A share is 1 - beta^t, of which the step before had 1 - beta^(t-1)."""
    w, out = at(x, f"state.{name}", k), {}
    g = g + decay * w
    for what, beta, of in (("mean", .9, g), ("square", .999, g * g)):
        out[what] = beta * at(x, f"state.{name}.{what}", k) + (1 - beta) * of
        out[f"{what}.share"] = beta * at(x, f"state.{name}.{what}.share", k) + (1 - beta)
    new = w - rate * (out["mean"] / out["mean.share"]) / (np.sqrt(out["square"] / out["square.share"]) + 1e-8)
    return {named(f"state.{name}", k): new, **{named(f"state.{name}.{what}", k): v for what, v in out.items()}}


def fitnets(x, *, names=("hint", "guided"), epoch=1, epochs=1, lr=0.0, momentum=0.0, weight_decay=0.0, hint_epochs=-1, hint_weight=10.0,
            hint_later=0.0, regressor="sgd", epsilon=.5, epsilon_decay=0.0, temperature=1.0, label_smoothing=0.0, **_):
    first = epochs // 4 if hint_epochs < 0 else hint_epochs
    alone = epoch <= first
    e = epsilon * (1 - epsilon_decay * min(max(epoch - first - 1, 0) / max(epochs - first - 1, 1), 1))
    rate = lr if alone or hint_later > 0 else 0.0
    weight = (hint_weight if alone else hint_later) / 2
    out = {"regressor_lr": rate}
    for k in range(x.peers):
        w, b = at(x, "state.regressor.weight", k), at(x, "state.regressor.bias", k)
        rows, ds, dw, db = hint(getattr(x, f"teacher_{k}_{names[0]}"), getattr(x, f"tap_{k}_{names[1]}"), w, b)
        taught = kl(x.z[k], softmax(getattr(x, f"teacher_{k}") / temperature), temperature)
        said = total([(1 - e, label_term(x, k, label_smoothing)), (e, mean(x, taught))])
        loss = (weight * rows.mean() + (0 if alone else said[0]), np.zeros_like(x.z[k]) if alone else said[1])
        put(out, k, loss, hint_distance=rows, divergence=taught[0])
        out[f"grad.tap.{k}.{names[1]}"] = weight * ds / x.n
        step = {"sgd": sgd, "adam": adam}[regressor]
        for name, g in (("weight", dw), ("bias", db)):
            out.update(step(x, f"regressor.{name}", k, weight * g / x.n, rate, momentum, weight_decay))
    return out


# --- rows that are not believed (methods.md 6.2, 6.19, 6.22) ----------------------------------------------------------------------

def lq_rows(z, t, q):
    p = softmax(z)
    pq = p ** q
    return (t * (1 - pq)).sum(axis=1) / q, (t * pq).sum(axis=1, keepdims=True) * p - t * pq


def row_weights(x):
    return np.ones(x.n) if x.weight is None else (x.given * x.weight).sum(axis=1)


def truncated(x, *, survey=0, gce_q=.7, gce_k=.5, label_smoothing=0.0):
    out = {}
    limit = (1 - gce_k ** gce_q) / gce_q
    for k in range(x.peers):
        keep, (rows, g) = at(x, "table.keep", k), lq_rows(x.z[k], labels_of(x, label_smoothing), gce_q)
        w = keep * row_weights(x) / row_weights(x).sum()
        put(out, k, ((w * (rows - limit)).sum(), w[:, None] * g), kept=keep)
        out[f"table.keep.{k}"] = (rows < limit).astype(float) if survey else keep
    return out


def cores_rows(z, t, beta, prior):
    p = softmax(z)
    ce, g = xent(z, t)
    floored = p + 1e-8
    return ce + beta * (prior * np.log(floored)).sum(axis=1), g + through_softmax(p, beta * prior / floored)


def sieved(x, k, z, t, out, epoch, step, steps, cores_beta, cores_warmup, cores_ramp, sieve_after):
    """(loss, gradient by z, rows that are kept); what has been counted is written to `out`."""
    beta = cores_beta * np.clip((epoch - 1 - cores_warmup) / (cores_ramp - 1), 0, 1)
    counts, prior = at(x, "state.counts", k), at(x, "state.prior", k)
    begins = step == (epoch - 1) * steps
    if begins and counts.sum() > 0:
        prior = counts / counts.sum()
    score = xent(z, t)[0] + log_softmax(z).mean(axis=1)
    keep = np.ones(x.n) if epoch <= sieve_after else (score <= 0).astype(float)
    w = keep * row_weights(x)
    rows, g = cores_rows(z, t, beta, prior)
    w = w / max(w.sum(), 1e-30)
    out[f"state.prior.{k}"] = prior
    out[f"state.counts.{k}"] = (0 if begins else counts) + (keep[:, None] * x.given).sum(axis=0)
    return (w * rows).sum(), w[:, None] * g, keep


def cores(x, *, epoch=1, step=0, steps=1, cores_beta=2.0, cores_warmup=10, cores_ramp=30, sieve_after=30, label_smoothing=0.0):
    out, t = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        *loss, keep = sieved(x, k, x.z[k], t, out, epoch, step, steps, cores_beta, cores_warmup, cores_ramp, sieve_after)
        put(out, k, loss, kept=keep)
    return out


def cores_star(x, *, round=2, epoch=1, step=0, steps=1, cores_beta=2.0, cores_warmup=10, cores_ramp=30, sieve_after=30, lambda_u=1.0,
               uda_confidence=.8, uda_temperature=.4, label_smoothing=0.0):
    """Logits [N,2,C], the second of a strong view. In round 2: cross entropy of the rows that were kept when they were last seen, and what
    the view says in p^(1/T) over its sum taught to the strong one, where it is sure."""
    out, t = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        z, strong = np.moveaxis(x.z[k], 1, 0)
        loss, grad, keep = sieved(x, k, z, t, out, epoch, step, steps, cores_beta, cores_warmup, cores_ramp, sieve_after)
        by_strong = np.zeros_like(grad)
        if round > 1:
            keep = at(x, "table.keep", k)
            w = keep * row_weights(x) / max((keep * row_weights(x)).sum(), 1e-30)
            ce, by = xent(z, t)
            sure = softmax(z).max(axis=1) > uda_confidence
            taught, by_taught = kl(strong, softmax(z / uda_temperature))
            loss, grad = (w * ce).sum() + lambda_u * (sure * taught).mean(), w[:, None] * by
            by_strong = lambda_u * sure[:, None] * by_taught / x.n
        put(out, k, (loss, np.stack([grad, by_strong], axis=1)), kept=keep)
        out[f"table.keep.{k}"] = keep
    return out


def peer_loss(x, *, peer_alpha=1.0, label_smoothing=0.0):
    out, drawn = {}, np.eye(x.c)[x.labels_draw.astype(int)]
    for k in range(x.peers):
        put(out, k, total([(1, label_term(x, k, label_smoothing)), (-peer_alpha, mean(x, xent(x.z[k], drawn, 1e-8)))]))
    return out


# --- checks -----------------------------------------------------------------------------------------------------------------

def self_check():
    rng = np.random.default_rng(1)
    t = softmax(rng.normal(size=(4, 5)))
    check_term("ELR", lambda z: elr_term(z, t))
    check_term("squares", lambda z: squares(z, t))
    za = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]])
    y = np.array([0, 2, 1])
    prev = np.array([(.7, .1, .1, .1), (.1, .6, .2, .1), (.25,) * 4])
    given = np.array([(.9, .05, .03, .02), (.2, .3, .3, .2), (.1, .6, .2, .1)])
    x = batch([za], y, table_target_0=given, table_prev_0=prev)
    reg = mean(x, elr_term(za, given))
    np.testing.assert_allclose(reg[0], -0.928518, atol=1.5e-6)
    np.testing.assert_allclose(reg[1][0], (-0.098767, 0.031992, 0.012062, 0.054713), atol=1.5e-6)
    got = elr(x, beta=1.0)
    np.testing.assert_allclose(got["loss.0"], -2.114918, atol=3e-6)
    np.testing.assert_allclose(got["grad.0"][2], (0.010124, -0.308828, 0.271184, 0.027520), atol=3e-6)
    # Without mixing, of averages that say what the table has, it is ELR.
    plain = batch([za, za], y, mix_row=np.array([2, 0, 1]), **{f"table_target_{k}": given for k in (0, 1)},
                  **{f"average_{k}": np.log(given) for k in (0, 1)})
    plus = elr_plus(plain, beta=.7)
    np.testing.assert_allclose(plus["loss.0"], got["loss.0"], atol=1e-12)
    np.testing.assert_allclose(plus["grad.1"], got["grad.0"], atol=1e-12)
    np.testing.assert_allclose(sigmoid_ramp(5, 10), np.exp(-1.25))
    got = heads(x, ps_kd=True, alpha_t=.4)
    np.testing.assert_allclose(got["loss.0"], 1.077969, atol=1.5e-6)
    np.testing.assert_allclose(got["grad.0"][1], (0.082884, 0.007061, -0.147891, 0.057946), atol=1.5e-6)
    np.testing.assert_allclose(mean(x, squares(za, prev))[0], 0.040454, atol=1.5e-6)
    x = batch([za], y, table_keep_0=np.ones(3), state_prior_0=np.array([.4, .3, .2, .1]), state_counts_0=np.zeros(4),
              labels_draw=np.array([1, 1, 1]))
    np.testing.assert_allclose(truncated(x)["loss.0"], 0.464575 - (1 - .5 ** .7) / .7, atol=1.5e-6)
    np.testing.assert_allclose(truncated(x)["grad.0"][1], (0.035052, 0.031716, -0.092736, 0.025967), atol=1.5e-6)
    got = cores(x, epoch=50, sieve_after=99)
    np.testing.assert_allclose(got["loss.0"], -3.637303, atol=3e-6)
    np.testing.assert_allclose(got["grad.0"][0], (-0.382547, 0.194214, 0.131205, 0.057128), atol=3e-6)
    np.testing.assert_array_equal(cores(x, epoch=50)["kept.0"], (1, 0, 1))
    # In its first round CORES* is CORES; in its second by differences of each view, its target being a constant.
    both = np.stack([za, za[::-1]], axis=1)
    star = lambda z, **o: cores_star(batch([z], y, table_keep_0=np.array([1, 0, 1.]), state_prior_0=np.full(4, .25), state_counts_0=np.zeros(4)), **o)
    np.testing.assert_allclose(star(both, round=1)["grad.0"][:, 0], xent(za, np.eye(4)[y])[1] / 3)
    here = star(both, uda_confidence=.5)
    np.testing.assert_allclose(here["loss.0"] - star(both, uda_confidence=1)["loss.0"],
                               (np.array([1, 0, 1]) * kl(za[::-1], softmax(za / .4))[0]).mean())
    np.testing.assert_allclose(here["grad.0"][:, 0], star(both, lambda_u=0)["grad.0"][:, 0])
    more = np.zeros_like(both)
    more[0, 1, 2] = 1e-6
    ends = [star(both + sign * more, uda_confidence=.5)["loss.0"] for sign in (1, -1)]
    np.testing.assert_allclose(here["grad.0"][0, 1, 2], (ends[0] - ends[1]) / 2e-6, atol=1e-8)
    check_term("Lq", lambda z: lq_rows(z, t[:, ::-1], .7))
    check_term("CORES", lambda z: cores_rows(z, t, 2.0, np.array([.4, .3, .1, .1, .1])))
    # SOP's cross entropy, from the whole by taking the squares away; its gradients by central differences.
    u = np.array([[.1], [.5], [1.2]])
    v = np.array([(.1, .2, .3, .4), (.5, .6, .7, .1), (.2, .2, .9, .2)])
    one = np.eye(4)[y]
    loss, dz, du, dv = sop_parts(x, za, u, v, one)
    d = np.eye(4)[za.argmax(axis=1)] + np.clip(u * u * one, 0, 1) - np.clip(v * v * (1 - one), 0, 1) - one
    np.testing.assert_allclose(loss - (d * d).sum() / 3, 0.135060, atol=1.5e-6)
    np.testing.assert_allclose(dz[1], (0.081232, -0.045937, -0.095474, 0.060178), atol=1.5e-6)
    for i in range(2):
        step = np.zeros((3, 1))
        step[i] = 1e-6
        num = (sop_parts(x, za, u + step, v, one)[0] - sop_parts(x, za, u - step, v, one)[0]) / 2e-6
        np.testing.assert_allclose(du[i, 0], num, atol=1e-7)
    # SOP+'s balance, by differences of what is added to it; V is a constant there, so that v learns the same.
    added = lambda z, u: sop_parts(x, z, u, v, one, 2.0)[0] - sop_parts(x, z, u, v, one)[0]
    plus = sop_parts(x, za, u, v, one, 2.0)
    np.testing.assert_array_equal(plus[3], dv)
    for i in range(3):
        for of, base, more in ((0, za, plus[1] - dz), (1, u, plus[2] - du)):
            step = np.zeros_like(base)
            step[i, 0] = 1e-6
            ends = [added(*[v + sign * step if j == of else v for j, v in enumerate((za, u))]) for sign in (1, -1)]
            np.testing.assert_allclose(more[i, 0], (ends[0] - ends[1]) / 2e-6, atol=1e-7)
    # The hint's gradients by central differences, of maps and of rows.
    for shape in ((2, 3, 2, 2), (2, 4, 3), (2, 3)):
        c = 1 if len(shape) == 4 else len(shape) - 1
        s, t = rng.normal(size=shape), rng.normal(size=shape[:c] + (5,) + shape[c + 1:])
        w, b = rng.normal(size=(5, 3) + (1, 1) * (len(shape) == 4)), rng.normal(size=5)
        for i, v in enumerate((s, w, b)):
            at_one = tuple(0 for _ in v.shape)
            step = np.zeros_like(v)
            step[at_one] = 1e-6
            ends = [hint(t, *[u + sign * step if u is v else u for u in (s, w, b)])[0].sum() for sign in (1, -1)]
            np.testing.assert_allclose(hint(t, s, w, b)[1 + i][at_one], (ends[0] - ends[1]) / 2e-6, atol=1e-8)
    # BYOT's feature example and its distillation term.
    F1, FN = np.array([[1, -1, 0], [.5, .2, -.3]]), np.array([[.5, -.2, .1], [-.1, .4, -.2]])
    counts = (F1 > 0) | (FN > 0)
    np.testing.assert_allclose((((F1 - FN) * counts) ** 2).sum(), .66, atol=1e-9)
    zb = np.array([[3, 1, 0, -2], [0, 2.5, -1, .5], [.1, 0, .2, -.1]])
    np.testing.assert_allclose(9 * xent(za / 3, softmax(zb / 3))[0].mean(), 12.636031, atol=1.5e-6)


if __name__ == "__main__":
    self_check()
    print("memory_ref: closed forms and golden vectors agree")
