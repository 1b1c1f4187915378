"""Methods that train layers of their own on what lies inside networks (methods.md 3.5), in float64 numpy.

As methods_ref.py, whose terms and sums these use; `python fusion_ref.py` checks each layer against central differences."""
import types

import numpy as np

from memory_ref import adam, at, sgd
from methods_ref import batch, kl, label_term, labels_of, mean, put, softmax, total, weigh, weight_sum, xent
from smkd_ref import entropy

# --- layers: (result, d -> gradients) ---------------------------------------------------------------------------------------


def conv(x, w, groups=1):
    """A filter of odd side that keeps height and width; d -> gradients by x and w."""
    (n, c, h, wide), (out, _, side, _) = x.shape, w.shape
    edge, xs, ws = side // 2, x.reshape(n, groups, c // groups, h, wide), w.reshape(groups, out // groups, c // groups, side, side)
    padded = np.pad(xs, ((0, 0),) * 3 + ((edge, edge),) * 2)
    at_place = lambda v, i, j: v[:, :, :, i:i + h, j:j + wide]
    places = [(i, j) for i in range(side) for j in range(side)]
    y = sum(np.einsum("goc,ngchw->ngohw", ws[..., i, j], at_place(padded, i, j)) for i, j in places)

    def back(d):
        d = d.reshape(y.shape)
        dx, dw = np.zeros_like(padded), np.zeros_like(ws)
        for i, j in places:
            at_place(dx, i, j)[...] += np.einsum("goc,ngohw->ngchw", ws[..., i, j], d)
            dw[..., i, j] = np.einsum("ngohw,ngchw->goc", d, at_place(padded, i, j))
        return dx[:, :, :, edge:edge + h, edge:edge + wide].reshape(x.shape), dw.reshape(w.shape)
    return y.reshape(n, out, h, wide), back


def norm(x, scale, shift, eps=1e-5):
    """Of each channel over batch and places: (y, mean, variance as PyTorch keeps it, d -> gradients by x, scale and shift)."""
    axes, wide = (0, 2, 3), (slice(None), None, None)
    m, var = x.mean(axis=axes), x.var(axis=axes)
    count = x.size // x.shape[1]
    inv = 1 / np.sqrt(var + eps)
    unit = (x - m[wide]) * inv[wide]

    def back(d):
        by_scale, by_shift = (d * unit).sum(axis=axes), d.sum(axis=axes)
        return (scale * inv)[wide] * (d - (by_shift[wide] + unit * by_scale[wide]) / count), by_scale, by_shift
    return scale[wide] * unit + shift[wide], m, var * count / (count - 1) if count > 1 else None, back


def linear(x, w, bias):
    """Of rows; d -> gradients by x, w and bias."""
    return x @ w.T + bias, lambda d: (d @ w, d.T @ x, d.sum(axis=0))


def pooled(x):
    """The mean of each map; d -> gradient."""
    return x.mean(axis=(2, 3)), lambda d: np.broadcast_to(d[:, :, None, None], x.shape) / (x.shape[2] * x.shape[3])


# --- what is trained --------------------------------------------------------------------------------------------------------

def steps(x, k, grads, rule, rate, decay, momentum=0.0, nesterov=0):
    """States after a step, of {name: gradient}; of peer k, or None of none."""
    out = {}
    for name, g in grads.items():
        out.update(adam(x, name, k, g, rate, momentum, decay) if rule == "adam" else sgd(x, name, k, g, rate, momentum, decay, nesterov))
    return out


def risen(epoch, ramp):
    return np.exp(-5 * (1 - min(epoch / ramp, 1)) ** 2)


# --- FFL: a classifier of the feature maps of all ---------------------------------------------------------------------------------

def fused_maps(x, names):
    return np.concatenate([np.float64(getattr(x, f"tap_{k}_{name}")) for k, name in enumerate(names)], axis=1)


def fused(x, names):
    """(logits, running statistics after it, d -> ({state: gradient}, gradient by the maps))"""
    s = lambda name: at(x, f"state.fusion.{name}", None)
    maps, statistics, backs = fused_maps(x, names), {}, []
    y = maps
    for layer, groups in (("depth", y.shape[1]), ("point", 1)):
        y, by_conv = conv(y, s(f"{layer}.weight"), groups)
        y, m, var, by_norm = norm(y, s(f"{layer}.scale"), s(f"{layer}.shift"))
        for what, now in (("mean", m), ("var", var)):
            old = s(f"{layer}.running_{what}")
            statistics[f"state.fusion.{layer}.running_{what}"] = old if var is None else .9 * old + .1 * now
        backs.append((layer, by_conv, by_norm, y > 0))
        y = np.maximum(y, 0)
    y, by_pool = pooled(y)
    z, by_fc = linear(y, s("fc.weight"), s("fc.bias"))

    def back(d):
        grads = {}
        d, grads["fusion.fc.weight"], grads["fusion.fc.bias"] = by_fc(d)
        d = by_pool(d)
        for layer, by_conv, by_norm, positive in reversed(backs):
            d, grads[f"fusion.{layer}.scale"], grads[f"fusion.{layer}.shift"] = by_norm(d * positive)
            d, grads[f"fusion.{layer}.weight"] = by_conv(d)
        return grads, d
    return z, statistics, back


def soft(z, of, T):
    """T^2 KL(softmax(of/T) || softmax(z/T)) of a constant `of`."""
    return kl(z, softmax(of / T), T)


def labelled(x, z, smoothing):
    """The label term of other logits than a peer's."""
    return mean(x, xent(z, weigh(x, labels_of(x, smoothing))), divisor=weight_sum(x))


def ffl(x, *, names=None, epoch=1, ramp=80.0, temperature=3.0, distill_weight=1.0, fusion="sgd", fusion_decay=1e-5, lr=0.0, momentum=0.0,
        nesterov=0, label_smoothing=0.0, feature=None):
    names = names or [feature or "feature"] * x.peers
    w, T = distill_weight * risen(epoch, ramp), temperature
    zf, out, back = fused(x, names)
    taught = soft(zf, sum(x.z) / x.peers, T)
    value, dzf = total([(1, labelled(x, zf, label_smoothing)), (w, mean(x, taught))])
    grads, dmaps = back(dzf)
    out.update({"fused_loss": value, "fused_divergence": taught[0]})
    out.update(steps(x, None, grads, fusion, lr, fusion_decay, momentum, nesterov))
    first = 0
    for k, name in enumerate(names):
        d = soft(x.z[k], zf, T)
        own = total([(1, label_term(x, k, label_smoothing)), (w, mean(x, d))])
        put(out, k, (own[0] + value, own[1]), divergence=d[0], entropy=entropy(x.z[k]))
        channels = getattr(x, f"tap_{k}_{name}").shape[1]
        out[f"grad.tap.{k}.{name}"] = dmaps[:, first:first + channels]
        first += channels
    return out


def ffl_predicts(x):
    """By the running statistics."""
    s = lambda name: at(x, f"state.fusion.{name}", None)
    y, wide = fused_maps(x, ["feature"] * x.peers), (slice(None), None, None)
    for layer, groups in (("depth", y.shape[1]), ("point", 1)):
        y = conv(y, s(f"{layer}.weight"), groups)[0] - s(f"{layer}.running_mean")[wide]
        y = y / np.sqrt(s(f"{layer}.running_var") + 1e-5)[wide]
        y = np.maximum(s(f"{layer}.scale")[wide] * y + s(f"{layer}.shift")[wide], 0)
    return {"probs.ensemble": softmax(linear(y.mean(axis=(2, 3)), s("fc.weight"), s("fc.bias"))[0])}


# --- AFD: maps that are to pass for another network's ------------------------------------------------------------------------

def channels_to(x, w, bias):
    """The channels of maps to others."""
    y, back = conv(x, w)
    return y + bias[:, None, None], lambda d: (*back(d), d.sum(axis=(0, 2, 3)))


def discriminator(x, w, bias, fw, fbias):
    """One number a row."""
    y, by_conv = channels_to(x, w, bias)
    open = 1 / (1 + np.exp(-y))
    slope = open * (1 + y * (1 - open))
    y, by_pool = pooled(y * open)
    y, by_fc = linear(y, fw, fbias)

    def back(d):
        d, dfw, dfb = by_fc(d[:, None])
        return (*by_conv(by_pool(d) * slope), dfw, dfb)
    return y[:, 0], back


DISCRIMINATOR = ("discriminator.conv.weight", "discriminator.conv.bias", "discriminator.fc.weight", "discriminator.fc.bias")


def afd(x, *, names=None, distill_weight=1.0, temperature=3.0, adversarial_weight=0.1, transfer="sgd", discriminator_lr=1e-4, lr=0.0, momentum=0.0,
        weight_decay=0.0, nesterov=0, label_smoothing=0.0, feature=None):
    names = names or [feature or "feature"] * x.peers
    maps = [np.float64(getattr(x, f"tap_{k}_{name}")) for k, name in enumerate(names)]
    out = {}
    for k, name in enumerate(names):
        s = lambda what: at(x, f"state.{what}", k)
        judge = lambda v: discriminator(v, *map(s, DISCRIMINATOR))
        mine, by_transfer = channels_to(maps[k], s("transfer.weight"), s("transfer.bias"))
        passes, by_mine = judge(mine)
        real, by_real = judge(maps[(k + 1) % x.peers])
        far = (1 - passes) ** 2
        of_fake, of_real = by_mine(2 * passes / x.n), by_real(-2 * (1 - real) / x.n)
        dmap, dw, db = by_transfer(by_mine(-2 * adversarial_weight * (1 - passes) / x.n)[0])
        taught = [soft(x.z[k], z, temperature) for j, z in enumerate(x.z) if j != k]
        d = [sum(t[i] for t in taught) / len(taught) for i in range(2)]
        loss, dz = total([(1, label_term(x, k, label_smoothing)), (distill_weight, mean(x, d))])
        put(out, k, (loss + adversarial_weight * far.mean(), dz), adversarial=far, divergence=d[0], entropy=entropy(x.z[k]),
            discriminator_loss=((1 - real) ** 2).mean() + (passes ** 2).mean())
        out[f"grad.tap.{k}.{name}"] = dmap
        out.update(steps(x, k, {"transfer.weight": dw, "transfer.bias": db}, transfer, lr, weight_decay, momentum, nesterov))
        out.update(steps(x, k, {n: a + b for n, a, b in zip(DISCRIMINATOR, of_fake[1:], of_real[1:])}, "adam", discriminator_lr, 0))
    return out


# --- PCL: branches, a classifier of all their features, and the average's branches -------------------------------------------------

HEADS = (1, 2, 3)


def branches(x, k):
    """Logits of the branches, the network itself last, and their features."""
    z = [getattr(x, f"tap_{k}_head{i}") for i in HEADS] + [x.z[k]]
    return [np.float64(v) for v in z], [np.float64(getattr(x, f"tap_{k}_feat{i}")) for i in (*HEADS, 4)]


def pcl(x, *, epoch=1, ramp=80.0, temperature=3.0, distill_weight=1.0, ema_decay=.999, classifier="sgd", lr=0.0, momentum=0.0, weight_decay=0.0,
        nesterov=0, label_smoothing=0.0):
    w, out = distill_weight * risen(epoch, ramp), {}
    for k in range(x.peers):
        z, f = branches(x, k)
        ze, by_classifier = linear(np.concatenate(f, axis=1), at(x, "state.classifier.weight", k), at(x, "state.classifier.bias", k))
        averages = [getattr(x, f"average_{k}_head{i}") for i in HEADS] + [getattr(x, f"average_{k}")]
        value, dze = labelled(x, ze, label_smoothing)
        df, dw, db = by_classifier(dze)
        all_taught, grads = 0, []
        for i, zi in enumerate(z):
            terms = [(1, soft(zi, ze, temperature))] + [(1 / len(HEADS), soft(zi, a, temperature)) for j, a in enumerate(averages) if j != i]
            taught = sum(f * v for f, (v, _) in terms), sum(f * g for f, (_, g) in terms)
            own = total([(1, labelled(x, zi, label_smoothing)), (w, mean(x, taught))])
            value += own[0]
            grads.append(own[1])
            all_taught = all_taught + taught[0]
        put(out, k, (value, grads[-1]), divergence=all_taught, entropy=entropy(x.z[k]))
        out.update({f"grad.tap.{k}.head{i}": g for i, g in zip(HEADS, grads)})
        ends = np.cumsum([v.shape[1] for v in f])[:-1]
        out.update({f"grad.tap.{k}.feat{i + 1}": g for i, g in enumerate(np.split(df, ends, axis=1))})
        out.update(steps(x, k, {"classifier.weight": dw, "classifier.bias": db}, classifier, lr, weight_decay, momentum, nesterov))
    return out


def pcl_predicts(x):
    out, every = {}, 0
    for k in range(x.peers):
        z, f = branches(x, k)
        out.update({f"probs.head{i}.{k}": softmax(v) for i, v in zip(HEADS, z)})
        p = softmax(linear(np.concatenate(f, axis=1), at(x, "state.classifier.weight", k), at(x, "state.classifier.bias", k))[0])
        out[f"probs.heads.{k}"] = p
        every = every + p / x.peers
    return {**out, "probs.ensemble": every}


# --- checks -----------------------------------------------------------------------------------------------------------------

def check_layer(what, layer, operands):
    """layer(operands..) -> (y, ..., d -> gradients), of which each is compared at some places with central differences."""
    rng = np.random.default_rng(2)
    y, *_, back = layer(*operands)
    d = rng.normal(size=y.shape)
    grads = back(d)
    for i, (v, g) in enumerate(zip(operands, grads if isinstance(grads, tuple) else (grads,))):
        for _ in range(4):
            place = tuple(rng.integers(0, n) for n in v.shape)
            step = np.zeros_like(v)
            step[place] = 1e-6
            ends = [(layer(*[u + sign * step if j == i else u for j, u in enumerate(operands)])[0] * d).sum() for sign in (1, -1)]
            np.testing.assert_allclose(g[place], (ends[0] - ends[1]) / 2e-6, atol=1e-7, err_msg=f"{what}, operand {i}")


def ffl_states(rng, channels, peers, classes):
    """{name: values} of the fused classifier of maps with so many channels together."""
    out, point = {}, channels // peers
    for layer, shape in (("depth", (channels, 1, 3, 3)), ("point", (point, channels, 1, 1))):
        n = shape[0]
        out[f"state.fusion.{layer}.weight"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
        out.update({f"state.fusion.{layer}.scale": rng.uniform(.5, 1.5, n), f"state.fusion.{layer}.shift": .3 * rng.normal(size=n),
                    f"state.fusion.{layer}.running_mean": .1 * rng.normal(size=n), f"state.fusion.{layer}.running_var": rng.uniform(.5, 2, n)})
    out["state.fusion.fc.weight"], out["state.fusion.fc.bias"] = rng.normal(size=(classes, point)), rng.normal(size=classes)
    return out


def afd_states(rng, channels):
    """{name: values} of networks whose maps have so many channels."""
    out = {}
    for k, mine in enumerate(channels):
        other = channels[(k + 1) % len(channels)]
        for name, shape in (("transfer.weight", (other, mine, 1, 1)), ("transfer.bias", (other,)), ("discriminator.conv.weight", (64, other, 3, 3)),
                            ("discriminator.conv.bias", (64,)), ("discriminator.fc.weight", (1, 64)), ("discriminator.fc.bias", (1,))):
            out[f"state.{name}.{k}"] = rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))
    return out


def self_check():
    rng = np.random.default_rng(1)
    check_layer("conv", conv, [rng.normal(size=(2, 3, 4, 5)), rng.normal(size=(2, 3, 3, 3))])
    check_layer("conv of each channel", lambda x, w: conv(x, w, 4), [rng.normal(size=(2, 4, 3, 3)), rng.normal(size=(4, 1, 3, 3))])
    check_layer("norm", norm, [rng.normal(size=(3, 2, 2, 2)), rng.normal(size=2), rng.normal(size=2)])
    check_layer("linear", linear, [rng.normal(size=(3, 4)), rng.normal(size=(5, 4)), rng.normal(size=5)])
    check_layer("pooled", pooled, [rng.normal(size=(3, 2, 2, 4))])
    check_layer("channels", channels_to, [rng.normal(size=(2, 3, 2, 2)), rng.normal(size=(4, 3, 1, 1)), rng.normal(size=4)])
    check_layer("discriminator", discriminator, [rng.normal(size=(3, 4, 3, 3)), rng.normal(size=(5, 4, 3, 3)), rng.normal(size=5),
                                                 rng.normal(size=(1, 5)), rng.normal(size=1)])
    y = conv(np.ones((1, 1, 3, 3)), np.ones((1, 1, 3, 3)))[0]
    np.testing.assert_array_equal(y[0, 0], [[4, 6, 4], [6, 9, 6], [4, 6, 4]])
    # FFL as a whole: maps and states are moved by L_f alone, since as a teacher the classifier is a constant.
    z, y, states = [rng.normal(size=(4, 5)) for _ in range(2)], np.array([0, 4, 2, 2]), ffl_states(rng, 6, 2, 5)
    maps = {f"tap.{k}.feature": rng.normal(size=(4, 3, 2, 3)) for k in range(2)}
    memory = {f"{name}.velocity": np.zeros_like(v) for name, v in states.items()}

    def run(changed):
        given = {**states, **maps, **memory, **changed}
        return ffl(batch(z, y, **{k.replace(".", "_"): v for k, v in given.items()}), epoch=40, lr=1.0, fusion_decay=0.0)
    base = run({})
    gradients = {"tap.1.feature": base["grad.tap.1.feature"], **{n: states[n] - base[n] for n in states if "running" not in n}}
    for name, g in gradients.items():
        v = {**states, **maps}[name]
        step, place = np.zeros_like(v), tuple(n - 1 for n in v.shape)
        step[place] = 1e-6
        ends = [run({name: v + sign * step})["fused_loss"] for sign in (1, -1)]
        np.testing.assert_allclose(g[place], (ends[0] - ends[1]) / 2e-6, atol=1e-7, err_msg=f"FFL, {name}")


if __name__ == "__main__":
    self_check()
    print("fusion_ref: closed forms agree")
