"""Losses of methods with stages (methods.md 5 and 6), in float64 numpy.

As methods_ref.py, whose terms and sums these use; `python stages_ref.py` checks closed forms and golden vectors."""
import numpy as np

import memory_ref as memory
from methods_ref import batch, labels_of, mean, put, softmax, total, weigh, weight_sum, xent
from smkd_ref import log_softmax

BLIND_EPOCHS = 4


def through_softmax(p, g):
    return p * (g - (g * p).sum(axis=1, keepdims=True))


# --- blind knowledge distillation (5.1, 5.2, 5.5) -----------------------------------------------------------------------------

def sharpened(q, p, alpha):
    """S(beta), and what turns a gradient by it into one by p; alpha [N,1]."""
    beta = (1 - alpha) * q + alpha * p
    u = beta ** (1 + alpha)
    s = u.sum(axis=1, keepdims=True)
    t = u / s
    return t, lambda g: (g - (g * t).sum(axis=1, keepdims=True)) / s * (1 + alpha) * beta ** alpha * alpha


def robust(x, q, alpha, detached):
    """mean H(S(beta), p_T): value, gradients by z_T and z_S."""
    p = softmax(x.z[1])
    t, back = sharpened(q, p, alpha)
    loss, by_teacher = mean(x, xent(x.z[0], weigh(x, t)), divisor=weight_sum(x))
    by_student = through_softmax(p, back(weigh(x, -log_softmax(x.z[0])) / weight_sum(x)))
    return t, loss, by_teacher, 0 * by_student if detached else by_student


def student(x, denominator, detached):
    d = (x.z[0] - x.z[1]) * (1 - x.given)
    by = x.n * (x.c - 1) if denominator == "paper" else x.n * x.c - 1
    grad = 2 * d * (1 - x.given) / by
    return (d * d).sum() / by, 0 * grad if detached else grad, -grad


def blind(x, *, epoch=1, student_denom="code", detach_teacher=False, detach_robust_target=False, blind_alpha1=.3, blind_alpha2=.45,
          blind_alpha3=.55, blind_alpha4=.7, label_smoothing=0.0, otsu=None):
    alpha = np.array([0, blind_alpha1, blind_alpha2, blind_alpha3, blind_alpha4])[x.table_group.astype(int)][:, None]
    t, teacher, zt, zs = robust(x, labels_of(x, label_smoothing), alpha, detach_robust_target)
    squares, st, ss = student(x, student_denom, detach_teacher)
    together = softmax(x.z[0] + x.z[1])
    agree = x.table_agree.copy()
    agree[:, epoch % BLIND_EPOCHS] = (x.given * together).sum(axis=1)
    return {"loss.all": teacher + squares, "grad.0": zt + st, "grad.1": zs + ss, "teacher_loss": teacher, "student_loss": squares,
            "table.agree": agree, "kept.0": (x.table_group != BLIND_EPOCHS).astype(float), "corrected.0": t.argmax(axis=1),
            "confidence.0": softmax(x.z[0]).max(axis=1), "confidence.1": softmax(x.z[1]).max(axis=1)}


# --- transition matrices (6.6, 6.7) -------------------------------------------------------------------------------------------

FLOOR = 1e-8


def forward(z, t, T):
    """-sum t ln max(p T, 1e-8)"""
    p = softmax(z)
    noisy = p @ T
    g = np.where(noisy > FLOOR, -t / noisy, 0)
    return -(t * np.log(np.maximum(noisy, FLOOR))).sum(axis=1), through_softmax(p, g @ T.T)


def reweighted(z, t, given, T):
    p = softmax(z)
    w = (given * p).sum(axis=1) / np.maximum((given * (p @ T)).sum(axis=1), FLOOR)
    rows, grad = xent(z, t)
    return w * rows, w[:, None] * grad


def revised(z, t, given, S):
    """w H(t, p) with w = p_y / (T' p)_y live, T the matrix S with its rows divided by their sums: rows, gradients by z, and of the sum
    weighed by v of the rows by S."""
    p, sums = softmax(z), S.sum(axis=1, keepdims=True)
    T = S / sums
    a, raw = (given * p).sum(axis=1), (given * (p @ T)).sum(axis=1)
    b, live = np.maximum(raw, FLOOR), raw > FLOOR
    w, (ce, by_ce) = a / b, xent(z, t)
    inside = np.where(live, a / b ** 2, 0)[:, None]
    grad = ce[:, None] * through_softmax(p, given / b[:, None] - inside * (given @ T.T)) + w[:, None] * by_ce

    def by_matrix(v):
        g = -(v * ce)[:, None, None] * inside[:, :, None] * p[:, :, None] * given[:, None, :]
        g = g.sum(axis=0)
        return (g - (g * T).sum(axis=1, keepdims=True)) / sums
    return w * ce, grad, by_matrix


def transition(x, *, use="forward", round=2, estimator="anchors", survey=0, revise_lr=5e-7, label_smoothing=0.0):
    stage, out = round - (estimator != "given"), {}
    revising = use == "revision" and stage == 2
    for k in range(x.peers):
        t, T = labels_of(x, label_smoothing), getattr(x, f"state_transition_{k}")
        w = np.ones(x.n) if x.weight is None else (x.weight * x.given).sum(axis=1)
        if use == "forward":
            rows = forward(x.z[k], t, T)
        elif revising:
            *rows, by_matrix = revised(x.z[k], t, x.given, T + getattr(x, f"state_slack_{k}"))
            out.update(memory.adam(x, "slack", k, by_matrix(w / w.sum()), revise_lr, 0, 0))
        else:
            rows = reweighted(x.z[k], t, x.given, T)
        if stage == 0:
            loss = mean(x, xent(x.z[k], weigh(x, t)), divisor=weight_sum(x))
        else:
            loss = mean(x, (w * rows[0], w[:, None] * rows[1]), divisor=w.sum())
        put(out, k, loss)
        if use == "revision" and not revising:
            for name in ("", ".mean", ".mean.share", ".square", ".square.share"):
                out[f"state.slack{name}.{k}"] = memory.at(x, f"state.slack{name}", k)
        if estimator != "given":
            out[f"table.said.{k}"] = softmax(x.z[k]) if survey else getattr(x, f"table_said_{k}")
    if use == "revision":
        out["revising"] = float(revising)
    return out


# --- labels that are made or doubted (6.5, 6.23) -----------------------------------------------------------------------------

def uniform_prior(z):
    """sum_j u_j ln(u_j / mean_i p_ij): value, gradient by z."""
    p, (n, c) = softmax(z), z.shape
    mean_p = p.mean(axis=0)
    kept = np.maximum(mean_p, FLOOR)
    g = np.where(mean_p > FLOOR, -1 / (c * n * kept), 0) * np.ones_like(z)
    return np.log(1 / (c * kept)).sum() / c, through_softmax(p, g)


def own_entropy(z):
    p, logs = softmax(z), log_softmax(z)
    h = -np.where(p > 0, p * logs, 0).sum(axis=1, keepdims=True)
    return h[:, 0], -np.where(p > 0, p * (logs + h), 0)


def kl_to(z, s):
    """KL(s || p), s a constant"""
    rows, grad = xent(z, s)
    return rows + np.where(s > 0, s * np.log(np.where(s > 0, s, 1)), 0).sum(axis=1), grad


def row_mean(x, term):
    w = np.ones(x.n) if x.weight is None else (x.weight * x.given).sum(axis=1)
    return mean(x, (w * term[0], w[:, None] * term[1]), divisor=w.sum())


def m_correction(x, *, epoch=1, survey=0, mixture_start=105, prior_weight=1.0, bootstrap="hard", label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        z, t, w = x.z[k], labels_of(x, label_smoothing), getattr(x, f"table_wrong_{k}")
        own = softmax(z) if bootstrap == "soft" else np.eye(x.c)[z.argmax(axis=1)]
        (label, by_label), (mine, by_mine) = xent(z, t), xent(z, own)
        rows = ((1 - w) * label + w * mine, (1 - w)[:, None] * by_label + w[:, None] * by_mine)
        weight = prior_weight if epoch >= mixture_start else 0
        put(out, k, total([(1, row_mean(x, rows)), (weight, uniform_prior(z))]), kept=(w < .5).astype(float))
        out[f"table.loss.{k}"] = label if survey else getattr(x, f"table_loss_{k}")
    return out


def joint(x, *, epoch=1, round=1, relabel_start=70, prior_weight=1.2, entropy_weight=.8, label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        z, t = x.z[k], labels_of(x, label_smoothing)
        history = getattr(x, f"table_history_{k}").reshape(x.n, 10, x.c).copy()
        mass = history.sum(axis=(1, 2))[:, None]
        s = np.where(mass > .5, history.sum(axis=1) / np.where(mass > .5, mass, 1), t)
        if round == 1 and epoch < relabel_start:
            s = t
        parts = [(1, row_mean(x, kl_to(z, s)))]
        if round == 1:
            parts += [(prior_weight, uniform_prior(z)), (entropy_weight, mean(x, own_entropy(z)))]
            history[:, epoch % 10] = softmax(z)
        put(out, k, total(parts), corrected=s.argmax(axis=1))
        out[f"table.history.{k}"] = history.reshape(x.n, -1)
    return out


def dmi(x, *, round=2, label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        t, p = labels_of(x, label_smoothing), softmax(x.z[k])
        if round == 1:
            put(out, k, mean(x, xent(x.z[k], weigh(x, t)), divisor=weight_sum(x)))
            continue
        t = x.given
        u = t.T @ p
        sign, logs = np.linalg.slogdet(u)
        if sign == 0 or (t.sum(axis=0) == 0).any() or x.n < x.c:
            put(out, k, (-np.log(1e-3), np.zeros_like(p)))
            continue
        det = np.exp(logs)
        put(out, k, (-np.log(det + 1e-3), through_softmax(p, -det / (det + 1e-3) * t @ np.linalg.inv(u).T)))
    return out


def cal(x, *, epoch=1, step=0, steps=1, survey=0, cal_alpha=2.0, cal_warmup=10, cal_ramp=30, cal_start=65, cal_threshold=-8.0,
        label_smoothing=0.0):
    out, later = {}, epoch > cal_start
    alpha = cal_alpha * min(max((epoch - 1 - cal_warmup) / cal_ramp, 0), 1)
    begins = later and not survey and step < (epoch - 1) * steps + .5
    for k in range(x.peers):
        z, p, of = x.z[k], softmax(x.z[k]), lambda name: memory.at(x, f"state.{name}", k)
        l, g, y = -np.log(p + 1e-5), np.zeros_like(p), x.given.argmax(axis=1)
        ce = -(x.given * np.log(p + 1e-8)).sum(axis=1)
        keeps = ce + np.log(p + 1e-8).mean(axis=1) < cal_threshold
        d = np.where(keeps, y, z.argmax(axis=1)) if survey else getattr(x, f"table_distilled_{k}").astype(int)
        rows = np.eye(x.c)[d]
        value, grad = mean(x, xent(z, weigh(x, labels_of(x, label_smoothing)), 1e-8), divisor=weight_sum(x))
        value -= alpha * (of("prior") * l).sum() / x.n
        g += alpha * of("prior") / x.n / (p + 1e-5)
        if later:
            counts, n = of("counts"), np.maximum(rows.sum(axis=0), 1)[:, None]
            of_class = counts.sum(axis=1, keepdims=True)
            label, weight = counts / np.maximum(of_class, 1), of_class / max(counts.sum(), 1) / n
            T = x.given - rows @ label  # T_cj(i) of the row's own c
            value -= (rows @ weight * T * (l - rows @ of("mean"))).sum()
            g += rows @ weight * T / (p + 1e-5)
        put(out, k, (value, grad + through_softmax(p, g)), corrected=d if later else y, kept=(d == y).astype(float) if later else np.ones(x.n))
        out[f"table.distilled.{k}"] = d
        out[f"state.counts.{k}"] = (0 if survey == 1 else of("counts")) + rows.T @ x.given if survey else of("counts")
        trains = later and not survey
        out[f"state.mean.{k}"] = of("sums") / np.maximum(of("n"), 1) if begins else of("mean")
        for name, now in (("sums", rows.T @ l), ("n", rows.sum(axis=0)[:, None])):
            out[f"state.{name}.{k}"] = (0 if begins else of(name)) + now if trains else of(name)
    return out


def plain(x, *, label_smoothing=0.0):
    out = {}
    for k in range(x.peers):
        put(out, k, mean(x, xent(x.z[k], weigh(x, labels_of(x, label_smoothing))), divisor=weight_sum(x)))
    return out


# --- checks -----------------------------------------------------------------------------------------------------------------

def differences(f, z, h=1e-6):
    """Central differences of a number."""
    g = np.zeros_like(z)
    for i in np.ndindex(*z.shape):
        for s in (1, -1):
            v = z.copy()
            v[i] += s * h
            g[i] += s * f(v) / (2 * h)
    return g


def self_check():
    blind_check()
    transition_check()
    joint_check()
    dmi_check()
    cal_check()


def cal_check():
    rng = np.random.default_rng(1)
    z, y = rng.normal(size=(6, 4)), np.array([0, 2, 1, 3, 0, 2])
    more = {"table_distilled_0": np.array([0, 2, 1, 1, 0, 3]), "state_counts_0": rng.integers(0, 9, (4, 4)).astype(float), "state_mean_0": rng.random((4, 4)),
            "state_sums_0": np.zeros((4, 4)), "state_n_0": np.zeros((4, 1)), "state_prior_0": np.array([.4, .3, .2, .1])}
    of = lambda v: cal(batch([v], y, **more), epoch=70)
    assert np.abs(differences(lambda v: of(v)["loss.0"], z.copy()) - of(z)["grad.0"]).max() < 1e-6


def dmi_check():
    z, y = np.array([[2, 0, 0, 0], [0, 1, 0, .5], [.3, 0, 2, 0], [0, 0, .2, 1]]), np.arange(4)
    got = dmi(batch([z], y))
    assert abs(got["loss.0"] - 2.734999) < 1e-6
    assert np.abs(got["grad.0"][1] - (.194735, -.879979, .192539, .492705)).max() < 1e-6
    assert abs(dmi(batch([z[:3]], y[:3]))["loss.0"] - 6.907755) < 1e-6


def joint_check():
    zA, y = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]]), np.array([0, 2, 1])
    x, s = batch([zA], y), np.array([[.7, .1, .1, .1], [.1, .6, .2, .1], [.25] * 4])
    for got, loss, row in ((uniform_prior(zA), .141265, (.022159, -.001070, -.001210, -.019879)),
                           (mean(x, own_entropy(zA)), .821662, (-.063653, .021976, .010213, .031464)),
                           (mean(x, kl_to(zA, s)), .550422, (.082547, -.027548, -.031205, -.023795))):
        assert abs(got[0] - loss) < 1e-6 and np.abs(got[1][0] - row).max() < 1e-6, loss


def transition_check():
    zA, y = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]]), np.array([0, 2, 1])
    x, T = batch([zA], y), np.full((4, 4), .1) + .6 * np.eye(4)
    for term, loss, row in ((forward(zA, x.given, T), .867503, (-.014842, .004920, .001810, .008112)),
                            (reweighted(zA, x.given, x.given, T), .719317, (-.024737, .008200, .003017, .013520))):
        got = mean(x, term)
        assert abs(got[0] - loss) < 1e-6 and np.abs(got[1][0] - row).max() < 1e-6
    S = T + np.linspace(0, .1, 16).reshape(4, 4)
    rows, by_z, by_matrix = revised(zA, x.given, x.given, S)
    assert np.abs(differences(lambda z: revised(z, x.given, x.given, S)[0].sum(), zA.copy()) - by_z).max() < 1e-6
    assert np.abs(differences(lambda m: revised(zA, x.given, x.given, m)[0].sum(), S.copy()) - by_matrix(np.ones(3))).max() < 1e-6
    want = differences(lambda z: forward(z, x.given, T)[0].sum(), zA.copy())
    assert np.abs(want - forward(zA, x.given, T)[1]).max() < 1e-6


def blind_check():
    zA = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]])
    zB = np.array([[3, 1, 0, -2], [0, 2.5, -1, .5], [.1, 0, .2, -.1]])
    y = np.array([0, 2, 1])
    x = batch([zA, zB], y)
    for which, loss, row in (("paper", 2.324444, (0, .222222, .222222, -.555556)), ("code", 1.901818, (0, .181818, .181818, -.454545))):
        got = student(x, which, True)
        assert abs(got[0] - loss) < 1e-6 and np.abs(got[2][0] - row).max() < 1e-6, which
    alpha = np.array([[.3], [.7], [.45]])
    t, loss, by_teacher, _ = robust(x, x.given, alpha, True)
    assert abs(loss - .822334) < 1e-6 and np.abs(by_teacher[0] - (-.011868, .001466, .000951, .009451)).max() < 1e-6
    assert np.abs(sharpened(x.given, softmax(zB), np.array([[.45]] * 3))[0][1] - (.008947, .335736, .636844, .018473)).max() < 1e-6
    together = (x.given * softmax(zA + zB)).sum(axis=1)
    assert np.abs(together - (.996991, .022235, .553676)).max() < 1e-6
    for k in range(2):
        def of(z):
            v = batch([z if j == k else w for j, w in enumerate((zA, zB))], y)
            return robust(v, v.given, alpha, False)[1] + student(v, "code", False)[0]
        want = robust(x, x.given, alpha, False)[2 + k] + student(x, "code", False)[1 + k]
        assert np.abs(differences(of, (zA, zB)[k].copy()) - want).max() < 1e-6, k


if __name__ == "__main__":
    self_check()
    print("ok")
