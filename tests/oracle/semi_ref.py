"""Losses of images whose labels are believed and of others without theirs (methods.md 6.16, 6.20), in float64 numpy.

A row has four views: two of its own image, whose label is believed, then two of another. `python semi_ref.py` checks the gradients
by central differences, and the golden vector."""
import numpy as np

from memory_ref import at, squares
from methods_ref import batch, labels_of, mean, put, softmax, weigh, weight_sum, xent
from smkd_ref import entropy
from stages_ref import differences, own_entropy, uniform_prior

BELIEVED, VIEWS = 2, 4


def sharpened(p, temperature):
    s = p ** (1 / temperature)
    return s / s.sum(axis=-1, keepdims=True)


def flat(v):
    return v.reshape(-1, v.shape[-1])


def clipped(now, length):
    return min(max(now / max(length, 1e-6), 0), 1)


def balance(counts):
    """mean(count) / count, 0 where there are none, at most 3"""
    return np.where(counts > 0, np.minimum(counts.mean() / np.maximum(counts, 1), 3), 0)


def four_views(z, t, weight, of_class, even):
    """mean H(t, p) over the believed images' views, weight times the mean of (p - t)^2 over the others' and all classes, and (even) the
    uniform prior of all: (loss, gradient by the logits, first term, second term without its weight)"""
    grad, half = np.zeros_like(z), len(z) * BELIEVED
    rows, by = xent(flat(z[:, :BELIEVED]), flat(t[:, :BELIEVED] * of_class))
    apart, by_apart = squares(flat(z[:, BELIEVED:]), flat(t[:, BELIEVED:]))
    grad[:, :BELIEVED] = by.reshape(len(z), BELIEVED, -1) / half
    grad[:, BELIEVED:] = weight * by_apart.reshape(len(z), BELIEVED, -1) / half
    loss = rows.mean() + weight * apart.mean()
    if even:
        prior, by_prior = uniform_prior(flat(z))
        loss, grad = loss + prior, grad + by_prior.reshape(z.shape)
    return loss, grad, rows.mean(), apart.mean()


def targets(x, k, labels, asked, temperature, own_by, mix_lambda):
    """[N,4,C]. asked: networks that say what the others' targets are; own_by [N,1]: probability that a label is right, or None."""
    say = lambda j, first: softmax(flat(at(x, "guess", j))).reshape(x.n, VIEWS, -1)[:, first:first + BELIEVED].mean(axis=1)
    own = labels if own_by is None else sharpened(own_by * labels + (1 - own_by) * say(k, 0), temperature)
    other = sharpened(np.mean([say(j, BELIEVED) for j in asked], axis=0), temperature)
    t = np.stack([own, own, other, other], axis=1)
    return mix_lambda * t + (1 - mix_lambda) * flat(t)[x.mix_row.astype(int)].reshape(t.shape)


def first_view(x, k):
    return x.z[k] if x.z[k].ndim == 2 else x.z[k][:, 0]


def alone(x, k, term):
    """A term of the first view as one of all."""
    if x.z[k].ndim == 2:
        return term
    grad = np.zeros_like(x.z[k])
    grad[:, 0] = term[1]
    return term[0], grad


def warm_up(x, k, y, penalty=0.0):
    z = first_view(x, k)
    loss, grad = mean(x, xent(z, weigh(x, y)), divisor=weight_sum(x))
    h, by = own_entropy(z)
    return alone(x, k, (loss - penalty * h.mean(), grad - penalty * by / x.n))


def agreeing(x, k, survey, out):
    """PES: a look at all images finds those whose label is the prediction, and counts them by class."""
    keep, counts = at(x, "table.keep", k), at(x, "state.counts", k)
    if survey:
        keep = (first_view(x, k).argmax(axis=1) == x.given.argmax(axis=1)).astype(float)
        counts = (0 if survey == 1 else counts) + (keep[:, None] * x.given).sum(axis=0)
    out[f"table.keep.{k}"], out[f"state.counts.{k}"] = keep, counts


def guessed(x, out, k, warm, warms, now, labels, *, asked, own_by=None, of_class=1.0, even=False, lambda_u, ramp, sharpen, mix_lambda):
    """The loss of four views, or before that what the warm-up has."""
    weight = lambda_u * clipped(now, ramp)
    t = targets(x, k, labels, asked, sharpen, own_by, mix_lambda)
    loss, grad, labelled, apart = four_views(x.z[k], t, weight, of_class, even)
    put(out, k, warm if warms else (loss, grad), labelled_loss=warm[0] if warms else labelled, guessed_loss=0.0 if warms else apart,
        entropy=entropy(first_view(x, k)))
    out["unlabelled_weight"] = weight


def dividemix(x, *, epoch=1, part=0.0, survey=0, refine_labels="yes", guess_by="all", loss_history="last", semi_warmup=None, warmup_penalty=0.0,
              lambda_u=25.0, unlabelled_ramp=16, sharpen=.5, mix_lambda=1.0, label_smoothing=0.0):
    out, y = {}, labels_of(x, label_smoothing)
    warmup = semi_warmup if semi_warmup is not None else 10 if x.c <= 10 else 30
    for k in range(x.peers):
        asked = range(x.peers) if guess_by == "all" else [k]
        own_by = at(x, "table.clean", (k + 1) % x.peers)[:, None] if refine_labels == "yes" else None
        guessed(x, out, k, warm_up(x, k, y, warmup_penalty), epoch <= warmup, epoch - 1 + part - warmup, y, asked=asked, own_by=own_by, even=True,
                lambda_u=lambda_u, ramp=unlabelled_ramp, sharpen=sharpen, mix_lambda=mix_lambda)
        for name in ("keep", "clean"):
            out[f"table.{name}.{k}"] = at(x, f"table.{name}", k)
        out[f"table.loss.{k}"] = xent(first_view(x, k), x.given)[0] if survey else at(x, "table.loss", k)
        if loss_history == "five":
            out[f"table.past.{k}"] = at(x, "table.past", k)
    return out


def mixmatch(x, *, epoch=1, part=0.0, semi_warmup=0, warmup_penalty=0.0, lambda_u=75.0, unlabelled_ramp=16, sharpen=.5,
             mix_lambda=1.0, label_smoothing=0.0):
    out, y = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        guessed(x, out, k, warm_up(x, k, y, warmup_penalty), epoch <= semi_warmup, epoch - 1 + part - semi_warmup, y, asked=[k],
                lambda_u=lambda_u, ramp=unlabelled_ramp, sharpen=sharpen, mix_lambda=mix_lambda)
        out[f"table.keep.{k}"] = at(x, "table.keep", k)
    return out


def pes_semi(x, *, epoch=1, part=0.0, round=3, survey=0, lambda_u=None, unlabelled_ramp=16, sharpen=.5, mix_lambda=1.0, label_smoothing=0.0):
    """Rounds: all, the last part, then this."""
    out, y = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        guessed(x, out, k, warm_up(x, k, y), round < 3, epoch - 1 + part, y, asked=[k], of_class=balance(at(x, "state.counts", k)),
                lambda_u=lambda_u if lambda_u is not None else 5 if x.c <= 10 else 75, ramp=unlabelled_ramp, sharpen=sharpen, mix_lambda=mix_lambda)
        agreeing(x, k, survey, out)
    return out


def pes_cs(x, *, round=4, survey=0, label_smoothing=0.0):
    """Rounds: all, the late part, the last part, then the believed images by the weights of their classes."""
    out, y = {}, labels_of(x, label_smoothing)
    for k in range(x.peers):
        z, w = first_view(x, k), (y * balance(at(x, "state.counts", k))).sum(axis=1)
        rows, grad = xent(z, y)
        put(out, k, warm_up(x, k, y) if round < 4 else ((w * rows).sum() / max(w.sum(), 1e-30), w[:, None] * grad / max(w.sum(), 1e-30)),
            entropy=entropy(z))
        agreeing(x, k, survey, out)
    return out


def self_check():
    za = np.array([[4, 0, -1, .5], [.2, .1, 0, -.1], [-1, 3, 2.5, 0]])
    prev = np.array([(.7, .1, .1, .1), (.1, .6, .2, .1), (.25,) * 4])
    z, t = np.zeros((3, VIEWS, 4)), np.stack([prev] * VIEWS, axis=1)
    z[:, BELIEVED:] = za[:, None]
    loss, grad, *_ = four_views(z, t * np.array([0, 0, 1, 1])[:, None], 1, 1, False)
    np.testing.assert_allclose(loss, 0.040454, atol=1.5e-6)
    np.testing.assert_allclose(2 * grad[:, 2], [(0.002691, -0.000906, -0.000345, -0.001440), (0.009129, -0.014701, 0.001475, 0.004097),
                                                (-0.000871, 0.010786, -0.007641, -0.002275)], atol=1.5e-6)
    rng = np.random.default_rng(1)
    n, c, of = 3, 4, lambda *shape: rng.normal(size=shape)
    more = dict(mix_row=rng.permutation(n * VIEWS), **{f"guess_{k}": of(n, VIEWS, c) for k in (0, 1)},
                **{f"table_{name}_{k}": rng.random(n) for k in (0, 1) for name in ("clean", "keep", "loss")},
                **{f"state_counts_{k}": rng.integers(0, 9, c).astype(float) for k in (0, 1)})
    z, y = [of(n, VIEWS, c), of(n, VIEWS, c)], np.array([0, 2, 1])
    for ref, numbers in ((dividemix, dict(epoch=14, part=.5)), (dividemix, dict(epoch=2, warmup_penalty=.7)), (mixmatch, dict(epoch=9)),
                         (pes_semi, dict(epoch=9)), (pes_semi, dict(round=1))):
        f = lambda v: ref(batch([v, z[1]], y, **more), mix_lambda=.7, **numbers)
        assert np.abs(differences(lambda v: f(v)["loss.0"], z[0].copy()) - f(z[0])["grad.0"]).max() < 1e-6, (ref, numbers)
    f = lambda v: pes_cs(batch([v], y, **more))
    assert np.abs(differences(lambda v: f(v)["loss.0"], z[0][:, 0].copy()) - f(z[0][:, 0])["grad.0"]).max() < 1e-6
    np.testing.assert_allclose(balance(np.array([0, 1, 2, 9.])), (0, 3, 1.5, 1 / 3))
    np.testing.assert_allclose(sharpened(prev[:1], .5)[0, 0], .49 / .52)


if __name__ == "__main__":
    self_check()
    print("ok")
