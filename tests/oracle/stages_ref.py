"""Losses of methods with stages (methods.md 5 and 6), in float64 numpy.

As methods_ref.py, whose terms and sums these use; `python stages_ref.py` checks closed forms and golden vectors."""
import numpy as np

from methods_ref import batch, labels_of, mean, softmax, total, weigh, weight_sum, xent
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
