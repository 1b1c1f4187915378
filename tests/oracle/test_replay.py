"""Every row of `smkd-run methods` trained on Fashion-MNIST, step by step the same as a replay in PyTorch and numpy (replay.py).

The replay has the same images in the same order, the method's loss and its gradients from the float64 references that are written from
the equations alone, and SGD; nothing of the runtime, of the compiler or of our autodiff. After two epochs of three batches, the last
of them smaller (three epochs where nothing happens before; rounds of two for the methods in rounds), all parameters, running
statistics, momenta, tables, states, averages and snapshots of last.safetensors are within 1e-4 of the replay's, relative to the
largest number of each tensor, and so are the losses and numbers of metrics.jsonl. What a method does must show: its networks end
elsewhere than those of plain cross entropy.

A new method is a row of REPLAYS; WITH has what any method may be trained with: mixed images and labels, augmentation, AdamW. That two
longer epochs end above chance is in tests/cli/train_methods.sh, which trains all of them.
"""
import functools
import gzip
import json
import math
import sys
import types

import numpy as np
import torch

import draws
import fusion_ref as fusion
import methods_ref as ref
import test_methods
from common import FASHION, RUN, SMKDC, Report, need, need_tools, read_safetensors, run, skip, temp_dir

LIMIT = 1e-4
SHOWS = 10 * LIMIT  # how far from plain cross entropy a method must lead
NEXT_TO_NOTHING = 1e-3  # of a tensor, beside the largest of its kind: biases in front of a BatchNorm, whose gradient is rounding
SETTING = types.SimpleNamespace(batch=16, lr=0.02, momentum=0.9, decay=5e-3, seed=3, classes=10)
IMAGES, TESTS, MEAN, STD = 40, 16, 0.286, 0.353
SETTING.black = -MEAN / STD  # what stands around an image


# --- rows ---------------------------------------------------------------------------------------------------------------------

def row(reference=None, nets=("a",), epochs=2, rounds=1, memory={}, run={}, ema_decay=None, survey=None, drawn=False, teacher=None,
        targets=False, anew=False, alone={}, stages=None, hook=None, edit=None, never=(), guess=None, stacked=1, more=(), passes=lambda *_: one_pass(),
        ema_ramp=0, trusted=False, augment=None, mixup=0, cutmix=0, adamw=None, val_split=0, **numbers):
    """reference: that of test_methods.py unless given. nets: the peers. memory: {stem of a table or state: how it begins}. numbers:
    flags that the reference takes, too; run: flags that only the run sees. teacher: "heads", as the run of it, or an artifact. anew:
    whether later rounds begin with new numbers. alone: as memory, of no single peer. stages, hook, edit: replay.py. never: counts of
    rows between which so few epochs choose nothing. guess: networks are asked of another image of the label ("partner") or of all views
    as they are ("views"). stacked: views of each row that a network sees as one batch; more: those of them that are of images that are
    no rows. passes(round, epoch of it, epochs): one_pass. ema_ramp: steps over which ema_decay grows. trusted: --trusted. augment: crop-flip,
    the "same" of every network or its "own". mixup, cutmix: alphas. adamw: (beta1, beta2, epsilon) of an optimizer in place of SGD.
    val_split: the share of validation images, of which surveys are then."""
    return types.SimpleNamespace(ref=reference, nets=nets, epochs=epochs, rounds=rounds, memory=memory, run=run, ema_decay=ema_decay,
                                 survey=survey, drawn=drawn, teacher=teacher, targets=targets, anew=anew, alone=alone, stages=stages,
                                 hook=hook, edit=edit, never=never, guess=guess, stacked=stacked, more=more, passes=passes,
                                 ema_ramp=ema_ramp, trusted=trusted, augment=augment, mixup=mixup, cutmix=cutmix, adamw=adamw,
                                 val_split=val_split, numbers=numbers)


def one_pass(each=False, mix=None, narrow=False, by=None):
    """How an epoch goes through the images. each: a pass for each network. mix: alpha of the Beta distribution. narrow: of view 0 alone.
    by: images come as rows where table.keep of the network that is so many after the one that is trained has them."""
    return types.SimpleNamespace(each=each, mix=mix, narrow=narrow, by=by)


def of_classes(value):
    return lambda replay, name: np.full((len(replay.y), SETTING.classes), value)


def an_image(value):
    return lambda replay, name: np.full(len(replay.y), value)


def one_hot(replay, name):
    return np.eye(SETTING.classes)[replay.y]


def near_zero(width):
    """N(0, 1e-8)"""
    return lambda replay, name: draws.normal(SETTING.seed, name, len(replay.y) * width, 1e-8).reshape(-1, width)


def shares(replay, name):
    return np.bincount(replay.y, minlength=SETTING.classes) / len(replay.y)


def layer(*shape, most=1):
    """Uniform, as PyTorch's layers begin, or as He 2015 has it with the root of 6."""
    return lambda replay, name: draws.uniform(SETTING.seed, name, shape, most)


def nothing(*shape):
    return lambda replay, name: np.zeros(shape)


def ones(*shape):
    return lambda replay, name: np.ones(shape)


def trained(rule="sgd", k="", **states):
    """States of a method's own that SGD or Adam trains: {name: (shape, how it begins, with the shape)}. k: "" or ".0", of a peer."""
    out = {}
    for name, (shape, begin) in states.items():
        out[f"state.{name}{k}"] = begin(*shape)
        for what in {"sgd": ("velocity",), "adam": ("mean", "square")}[rule]:
            out[f"state.{name}.{what}{k}"] = nothing(*shape)
            if rule == "adam":
                out[f"state.{name}.{what}.share{k}"] = nothing()
    return out


he = functools.partial(layer, most=math.sqrt(6))


def fused(channels, out):
    """FFL's classifier."""
    memory = trained(**{"fusion.fc.weight": ((SETTING.classes, out), layer), "fusion.fc.bias": ((SETTING.classes,), nothing)})
    for name, n, shape in (("depth", channels, (channels, 1, 3, 3)), ("point", out, (out, channels, 1, 1))):
        memory.update(trained(**{f"fusion.{name}.weight": (shape, he), f"fusion.{name}.scale": ((n,), ones), f"fusion.{name}.shift": ((n,), nothing)}))
        memory.update({f"state.fusion.{name}.running_mean": nothing(n), f"state.fusion.{name}.running_var": ones(n)})
    return memory


def adversaries(*channels):
    """AFD's maps to the next network's channels, and discriminators of these."""
    memory = {}
    for k, mine in enumerate(channels):
        other = channels[(k + 1) % len(channels)]
        memory.update(trained("sgd", f".{k}", **{"transfer.weight": ((other, mine, 1, 1), layer), "transfer.bias": ((other,), nothing)}))
        memory.update(trained("adam", f".{k}", **{
            "discriminator.conv.weight": ((64, other, 3, 3), he), "discriminator.conv.bias": ((64,), nothing),
            "discriminator.fc.weight": ((1, 64), layer), "discriminator.fc.bias": ((1,), nothing)}))
    return memory


# --- what happens between epochs, and to gradients ---------------------------------------------------------------------------

def hook(before=None, after=None):
    return types.SimpleNamespace(before=before, after=after)


def remember_confidence(replay, epoch, last):
    """Blind: too few epochs for a tipping point, for which tests/cli/train_stages.sh is; what is remembered for it."""
    replay.hook_memory[(epoch - 1) % 6] = replay.metrics[-1]["mean_confidence", 1]


def transition(counted):
    """Row c of the matrix: what the network says of the image with the largest p_c below the 97th percentile; counted: times the
    share of each label among the images that are taken for a class."""
    def after(replay, epoch, last):
        if replay.round != 1 or not last:
            return
        replay.survey(epoch)
        for k in range(len(replay.peers)):
            p = replay.memory[f"table.said.{k}"]
            below = [np.where(q < np.percentile(q, 97, method="higher"), q, 0) for q in p.T]
            t = np.array([p[q.argmax()] for q in below])
            if counted:
                b = np.zeros_like(t)
                np.add.at(b, (p.argmax(axis=1), replay.y), 1)
                t = t @ (b / np.maximum(b.sum(axis=1, keepdims=True), 1))
            replay.memory[f"state.transition.{k}"] = t
    return hook(after=after)


def two_betas(x):
    """Posterior of the component with the larger losses, of moments in ten steps (Arazo 2019)."""
    low, high = np.quantile(x, [.05, .95])
    x = np.clip((np.clip(x, low, high) - low) / (high - low), 1e-4, 1 - 1e-4)
    a, b, w = np.array([1., 2]), np.array([2., 1]), np.array([.5, .5])
    def share():
        norm = [math.lgamma(a[k] + b[k]) - math.lgamma(a[k]) - math.lgamma(b[k]) for k in (0, 1)]
        d = np.maximum([w[k] * np.exp(norm[k] + (a[k] - 1) * np.log(x) + (b[k] - 1) * np.log1p(-x)) for k in (0, 1)], 1e-12)
        return d / d.sum(axis=0)
    for _ in range(10):
        r = share()
        mean = (r * x).sum(axis=1) / r.sum(axis=1)
        var = (r * (x - mean[:, None]) ** 2).sum(axis=1) / r.sum(axis=1)
        a = mean * (mean * (1 - mean) / var - 1)
        b, w = a * (1 - mean) / mean, r.sum(axis=1) / r.sum()
    return share()[1]


def judge(replay, epoch):
    for k in range(len(replay.peers) if replay.row.survey(epoch) else 0):
        replay.memory[f"table.wrong.{k}"] = two_betas(replay.memory[f"table.loss.{k}"])


def two_gaussians(x):
    """Posterior of the component with the lower losses, by at most ten steps of scikit-learn's GaussianMixture(tol=1e-2, reg_covar=5e-4)
    from the two groups of 2-means."""
    between, before = np.quantile(x, [.25, .75]).mean(), None
    while between != before:
        before, between = between, (x[x <= between].mean() + x[x > between].mean()) / 2

    def maximised(r):
        mean = (r * x).sum(axis=1) / r.sum(axis=1)
        return r.mean(axis=1), mean, (r * (x - mean[:, None]) ** 2).sum(axis=1) / r.sum(axis=1) + 5e-4

    def shares(w, mean, var):
        logs = np.log(w)[:, None] - (np.log(2 * np.pi * var)[:, None] + (x - mean[:, None]) ** 2 / var[:, None]) / 2
        return np.exp(logs - np.logaddexp(*logs)), np.logaddexp(*logs).mean()
    fit, likelihood = maximised(np.stack([x <= between, x > between]).astype(float)), -np.inf
    for _ in range(10):
        r, now = shares(*fit)
        fit = maximised(r)
        if abs(now - likelihood) < 1e-2:
            break
        likelihood = now
    return shares(*fit)[0][fit[1].argmin()]


def believe(replay, epoch):
    """DivideMix: whose label is right with more than 1/2, by losses in [0, 1], or the mean of those of up to five looks."""
    for k in range(len(replay.peers) if replay.looks(epoch) else 0):
        x = replay.memory[f"table.loss.{k}"]
        x = (x - x.min()) / (x.max() - x.min())
        if f"table.past.{k}" in replay.memory:
            past, look = replay.memory[f"table.past.{k}"], epoch - 1 - replay.row.numbers["semi_warmup"]
            past[:, look % 5] = x
            x = past[:, :min(look + 1, 5)].mean(axis=1)
        w = two_gaussians(x)
        assert np.abs(w - .5).min() > 1e-3, "a label is as likely right as wrong: float32 may believe it"
        replay.memory[f"table.clean.{k}"], replay.memory[f"table.keep.{k}"] = w, (w > .5).astype(float)


def critical(rate):
    """CDR: of the weights with two or four dimensions the share 1 - rate with the largest |g w| learns, by 1 - rate of its gradient."""
    def edit(params, grads):
        weights = [i for i, p in enumerate(params) if p.dim() in (2, 4)]
        size = [(grads[i] * params[i]).abs() for i in weights]
        every = torch.cat([s.flatten() for s in size]).sort(descending=True).values
        least = every[int((1 - rate) * len(every)) - 1]
        for i, s in zip(weights, size):
            grads[i] = torch.where(s >= least, (1 - rate) * grads[i], torch.zeros_like(s))
        return grads
    return edit


def identity(replay, name):
    return np.eye(SETTING.classes)


def regression(x, *, error, huber_delta=1.0):
    """Means over all numbers of d^2, |d|, or d^2/2 up to delta and delta (|d| - delta/2) beyond."""
    out = {}
    for k, z in enumerate(x.z):
        d = z - x.targets
        far = np.abs(d) > huber_delta
        rows, grad = {"squared": lambda: (d * d, 2 * d), "absolute": lambda: (np.abs(d), np.sign(d)),
                      "huber": lambda: (np.where(far, huber_delta * (np.abs(d) - huber_delta / 2), d * d / 2),
                                        np.clip(d, -huber_delta, huber_delta))}[error]()
        ref.put(out, k, (rows.mean(), grad / d.size))
    return out


def part(*begin):
    return lambda name: name.startswith(begin)


def divides(warmup):
    return lambda round, epoch, epochs: one_pass(narrow=True) if epoch <= warmup else one_pass(each=True, mix=4, by=1)


TRUSTED = np.float64(np.arange(IMAGES) % 3 > 0)
AGREES = {"table.keep": an_image(0.0), "state.counts": nothing(10)}
PAIR = ("a", "b")
SMKD = functools.partial(row, nets=PAIR, eta=1.1, b2=-1.0)
PAST = {"table.prev": one_hot}
HEADS = functools.partial(row, nets=("heads",))
NUMBERS = functools.partial(row, targets=True)

REPLAYS = {
    "smkd-p": SMKD(),
    "smkd-s": row(nets=PAIR, eta=1.1),
    "cmd-p": SMKD(b1=4.0),
    "cmd-s": row(nets=PAIR, eta=1.1, refine="proselflc"),
    "all": row(nets=PAIR, refine="boot-soft"),
    "zero": row(refine="proselflc"),
    "ce": row(),
    "ls": row(),
    "cp": row(),
    "boot-soft": row(),
    "proselflc": row(),
    "mylc": row(nets=("heads",), b1=4.0),  # which come trained: r is known before the first step
    "elr": row(memory={"table.target": of_classes(0.0)}),
    # The rates are such that u and v, from 1e-8, matter in the third epoch.
    "sop": row(epochs=3, memory={"table.u": near_zero(1), "table.v": near_zero(10)}, lr_u=5e3, lr_v=2e4),
    "sop+": row(epochs=3, memory={"table.u": near_zero(1), "table.v": near_zero(10)}, stacked=2, lr_u=5e3, lr_v=2e4, sop_balance=0.5),
    "elr+": row(nets=PAIR, memory={"table.target": of_classes(0.0)}, ema_decay=0.6, ema_ramp=4, run=dict(ema_decay=0.6, ema_ramp=4, mix_alpha=0.7),
                passes=lambda *_: one_pass(each=True, mix=0.7), lambda_ramp=5, label_product=1),
    "temporal-ensembling": row(memory={"table.z": of_classes(0.0)}, ramp=2),
    "mean-teacher": row(ema_decay=0.6, run=dict(ema_decay=0.6), ramp=2),
    "mkd": row(nets=PAIR),
    "dml": row(nets=PAIR, temperature=2.0),
    "t2s": row(teacher="heads", temperature=2.0),
    "fitnets": row(nets=("guided",), teacher="hint", epochs=3, hint_epochs=1, hint_later=0.5, epsilon_decay=0.4,
                   memory={"state.regressor.weight": layer(12, 16, 1, 1), "state.regressor.weight.velocity": nothing(12, 16, 1, 1),
                           "state.regressor.bias": nothing(12), "state.regressor.bias.velocity": nothing(12)}),
    # Its ReLUs stay, where operands within rounding of 0 would be taken differently: with this seed the nearest of half a million is 2.9e-6
    # (1.5e-7 with seed 4, and of twenty seeds two go another way).
    "ffl": row(functools.partial(fusion.ffl, names=("guided", "hint")), nets=("guided", "hint"), alone=fused(16 + 12, 14), ramp=2, fusion_decay=0.01),
    "afd": row(functools.partial(fusion.afd, names=("guided", "hint")), nets=("guided", "hint"), alone=adversaries(16, 12), discriminator_lr=3e-4),
    "pcl": HEADS(ema_decay=0.6, run=dict(ema_decay=0.6), ramp=2,
                 memory=trained(**{"classifier.weight": ((10, 4 * 32), layer), "classifier.bias": ((10,), nothing)})),
    "two-round": row(rounds=2),
    "born-again": row(rounds=3, anew=True),
    "cs-kd": row(guess="partner", temperature=4.0),
    "tf-kd-self": row(rounds=2, epsilon=0.9, temperature=20.0),
    "kdcl": row(nets=PAIR),
    "tf-kd-reg": row(),
    "gce": row(),
    "gce-truncated": row(memory={"table.keep": an_image(1.0)}, survey=lambda epoch: epoch >= 2, run=dict(prune_start=2, prune_every=1), gce_k=0.1),
    "cores": row(memory={"state.counts": nothing(10), "state.prior": shares}, cores_warmup=0, cores_ramp=2, sieve_after=1),
    "cores-star": row(memory={"table.keep": an_image(1.0), "state.counts": nothing(10), "state.prior": shares}, cores_warmup=0, cores_ramp=2, sieve_after=1,
                      stacked=2, passes=lambda round, *_: one_pass(narrow=round == 1), stages=[(2, None, False), (2, None, True)], uda_confidence=0.2,
                      run=dict(sieve_epochs=2, strong_augment="none")),
    "peer-loss": row(drawn=True, peer_alpha=0.3),
    "sce": row(),
    "apl": row(),
    "nce-rce": row(loss_beta=0.5),
    "nce-mae": row(),
    "ps-kd": row(memory=PAST),
    "byot": HEADS(byot_beta=1e-3),
    "dmfl": HEADS(dmfl="live"),
    "ps-kd+byot": HEADS(memory=PAST, byot_beta=1e-3),
    "ps-kd+dmfl": HEADS(memory=PAST, dmfl="live"),
    "byot+dmfl": HEADS(dmfl="live", byot_beta=1e-3),
    "ps-kd+byot+dmfl": HEADS(memory=PAST, dmfl="live", byot_beta=1e-3),
    "co-teaching": row(nets=PAIR, ramp=2),
    "co-teaching+": row(nets=PAIR, ramp=2, init_epoch=1),
    "jocor": row(nets=PAIR, ramp=2),
    "mentornet": row(memory={"state.percentile": nothing()}, burn_in=1),
    "s2e": row(nets=PAIR, p6=0.0, p10=0.1),
    "forward": row(memory={"table.said": of_classes(0.0), "state.transition": identity}, stages=[(2, None, False), (1, None, True)], epochs=1,
                   run=dict(estimate_epochs=2), hook=transition(False)),
    "dual-t": row(memory={"table.said": of_classes(0.0), "state.transition": identity}, stages=[(2, None, False), (1, None, True)], epochs=1,
                  run=dict(estimate_epochs=2), hook=transition(True)),
    "t-revision": row(memory={"table.said": of_classes(0.0), "state.transition": identity, "state.slack": nothing(10, 10), **{
        f"state.slack.{what}": nothing(*size) for what, size in (("mean", (10, 10)), ("square", (10, 10)), ("mean.share", ()), ("square.share", ()))}},
                      stages=[(2, None, False), (1, None, False), (1, 0.01, False)], epochs=1, run=dict(estimate_epochs=2), hook=transition(False), revise_lr=0.01),
    "cal": row(memory={"table.distilled": an_image(0.0), "state.prior": shares, "state.n": nothing(10, 1),
                       **{f"state.{name}": nothing(10, 10) for name in ("counts", "mean", "sums")}},
               survey=lambda epoch: epoch == 2, epochs=3, cal_start=1, cal_warmup=0, cal_ramp=2, cal_threshold=-0.5),
    "dmi": row(stages=[(1, None, False), (1, 0.01, False)], epochs=1, run=dict(pretrain_epochs=1, dmi_lr=0.01)),
    "cdr": row(run=dict(noise_rate=0.4), edit=critical(0.4)),
    "m-correction": row(memory={"table.loss": an_image(0.0), "table.wrong": an_image(0.0)}, survey=lambda epoch: epoch >= 2, mixture_start=2,
                        hook=hook(before=judge)),
    "joint": row(memory={"table.history": nothing(IMAGES, 100)}, stages=[(3, 0.05, False), (1, None, True)], epochs=1, relabel_start=3,
                 run=dict(relabel_epochs=3, relabel_lr=0.05)),
    "blind": row(nets=PAIR, alone={"table.group": an_image(0.0), "table.agree": nothing(IMAGES, 4)},
                 hook=hook(after=remember_confidence), never=["kept_count"]),
    "blind-paper": row(nets=PAIR, alone={"table.group": an_image(0.0), "table.agree": nothing(IMAGES, 4)},
                 hook=hook(after=remember_confidence), never=["kept_count"]),
    "dividemix": row(nets=PAIR, epochs=3, guess="views", stacked=4, more=(2, 3), passes=divides(1), survey=lambda epoch: epoch > 1,
                     memory={"table.keep": an_image(0.0), "table.clean": an_image(1.0), "table.loss": an_image(0.0), "table.past": nothing(IMAGES, 5)},
                     hook=hook(before=believe), semi_warmup=1, unlabelled_ramp=2, warmup_penalty=0.5, loss_history="five", run=dict(mix_alpha=4)),
    "mixmatch": row(trusted=True, guess="views", stacked=4, more=(2, 3), passes=lambda *_: one_pass(mix=0.75, by=0), hook=hook(),
                    memory={"table.keep": lambda replay, name: TRUSTED}, unlabelled_ramp=1),
    "pes-cs": row(epochs=2, hook=hook(), survey=lambda epoch: True, memory=AGREES, passes=lambda round, *_: one_pass(**({"by": 0, "each": True} if round > 3 else {"narrow": True})),
                  stages=[(2, None, False), (1, 0.03, False, part("layer3.", "fc.")), (1, 0.03, False, part("fc.")), (2, None, False)],
                  run=dict(early_epochs=2, late_epochs=1, last_epochs=1, refine_lr=0.03)),
    "pes-semi": row(epochs=2, hook=hook(), survey=lambda epoch: True, memory=AGREES, guess="views", stacked=4, more=(2, 3),
                    passes=lambda round, epoch, epochs: one_pass(mix=4 if epoch <= epochs / 2 else 0.75, by=0, each=True) if round > 2 else one_pass(narrow=True),
                    stages=[(2, None, False), (1, 0.03, False, part("fc.")), (2, None, False)], unlabelled_ramp=1,
                    run=dict(early_epochs=2, last_epochs=1, refine_lr=0.03)),
    "mse": NUMBERS(functools.partial(regression, error="squared")),
    "l1": NUMBERS(functools.partial(regression, error="absolute")),
    "huber": NUMBERS(functools.partial(regression, error="huber"), huber_delta=0.3),
}

# What any method may be trained with, on a few of them: (method, its row).
ADAMW = (0.8, 0.98, 1e-3)  # an epsilon beside which the rounding of a gradient next to 0 is nothing
WITH = {
    "ce with mixup": ("ce", row(mixup=0.7)),
    "zero with mixup": ("zero", row(refine="proselflc", mixup=0.7)),
    "mkd with cutmix": ("mkd", row(nets=PAIR, cutmix=1.0)),
    "ce with crop-flip": ("ce", row(augment="same")),
    "all with crop-flip and cutmix": ("all", row(nets=PAIR, refine="boot-soft", augment="same", cutmix=1.0)),
    "kdcl with views": ("kdcl", row(nets=PAIR, augment="own")),
    "kdcl general": ("kdcl", row(nets=PAIR, augment="own", val_split=0.5, survey=lambda epoch: epoch >= 2, kdcl_mode="general",
                                 alone={"state.gram": nothing(2, 2), "state.rows": nothing()})),
    "smkd-p with adamw": ("smkd-p", SMKD(adamw=ADAMW, stages=[(2, 2e-3, True)])),
    "co-teaching with adamw": ("co-teaching", row(nets=PAIR, ramp=2, adamw=ADAMW, stages=[(2, 2e-3, True)])),
}


# --- the two sides ------------------------------------------------------------------------------------------------------------

def first_images(part, n):
    """The first n images and labels of Fashion-MNIST."""
    read = lambda name, head, size: np.frombuffer(gzip.open(FASHION / name).read(head + n * size)[head:], np.uint8)
    return read(f"{part}-images-idx3-ubyte.gz", 16, 784).reshape(n, 28, 28), read(f"{part}-labels-idx1-ubyte.gz", 8, 1).astype(np.int64)


def change(path, surer=1):
    """A ReLU whose operand is within rounding of 0 passes its gradient on one side and not on the other, and on Fashion-MNIST's black
    borders a whole area has one value: the networks have Tanh instead. surer: factor of the last layer's weights, since what new
    networks say is so nearly uniform that methods which look at it would have nothing to tell apart."""
    import onnx
    from onnx import numpy_helper
    m = onnx.load(str(path))
    for n in m.graph.node:
        n.op_type = "Tanh" if n.op_type == "Relu" else n.op_type
    for t in m.graph.initializer:
        if t.name == "fc.weight":
            t.CopyFrom(numpy_helper.from_array(surer * numpy_helper.to_array(t), t.name))
    onnx.save(m, str(path))


def show(path, to, name):
    """The file with the end of its second stage as an output of that name."""
    import onnx
    m = onnx.load(str(path))
    value, = (n.output[0] for n in m.graph.node if n.name == "/layer2/0/Relu_1")
    for n in m.graph.node:
        for names in (n.input, n.output):
            names[:] = [name if v == value else v for v in names]
    m.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["N", None, 14, 14]))
    onnx.save(m, str(to))


class Bench:
    """Images, networks and a teacher that all runs share."""

    def __init__(self, tmp):
        self.tmp = tmp
        x, self.y = first_images("train", IMAGES)
        tx, ty = first_images("t10k", TESTS)
        self.x = (x[:, None] / 255 - MEAN) / STD
        away = np.random.default_rng(0).normal(size=(784, SETTING.classes)) / 28
        numbers = lambda v: (((v / 255 - MEAN) / STD).reshape(len(v), -1) @ away).astype(np.float32)
        self.targets = np.float64(numbers(x))
        for name, v in dict(x=x, y=self.y, tx=tx, ty=ty, t=numbers(x), tt=numbers(tx), trusted=TRUSTED).items():
            np.save(tmp / f"{name}.npy", v)
        for name, width, seed in (("a", 8, 0), ("b", 6, 1)):
            run(SMKDC, "new", "resnet8", "--width", width, "--input", "1x28x28", "--classes", SETTING.classes, "--seed", seed, "-o", self.onnx(name))
            change(self.onnx(name), np.float32(4))
            run(SMKDC, "compile", self.onnx(name), "-o", self.artifact(name))
        for name, of in (("guided", "a"), ("hint", "b")):
            show(self.onnx(of), self.onnx(name), name)
            run(SMKDC, "compile", self.onnx(name), "-o", self.artifact(name))
        # A network with heads as a file: they are in what a run exports. It is trained a little, and so a teacher, too.
        heads = [f"{v}:byot" for v in ("/Relu", "/layer1/0/Relu_1", "/layer2/0/Relu_1")]
        run(SMKDC, "compile", self.onnx("a"), *(w for h in heads for w in ("--head", h)), "--seed", 5, "-o", tmp / "fresh.smkd")
        self.train("first", "ce", ["fresh"], False, "--epochs", 2)
        run(RUN, "export", tmp / "first", "--heads", "-o", self.onnx("heads"))
        change(self.onnx("heads"))
        run(SMKDC, "compile", self.onnx("heads"), "-o", self.artifact("heads"))

    def onnx(self, name):
        return self.tmp / f"{name}.onnx"

    def artifact(self, name):
        return self.tmp / f"{name}.smkd"

    def train(self, out, method, nets, regression, *flags):
        files = [self.tmp / f"{n}.npy" for n in (("x", "t", "tx", "tt") if regression else ("x", "y", "tx", "ty"))]
        s = SETTING
        usual = {"--lr": s.lr, "--momentum": s.momentum, "--weight-decay": s.decay}
        run(RUN, "train", *(w for n in nets for w in ("--peer", self.artifact(n))), "--method", method, "--data", ",".join(map(str, files)), "--mean",
            MEAN, "--std", STD, "--batch-size", s.batch, *(w for k, v in usual.items() if k not in flags for w in (k, v) if "--opt" not in flags or
            k != "--momentum"), "--lr-scheduler", "constant", "--seed", s.seed, "--quiet", *flags, "-o", self.tmp / out)

    def ours(self, name, method, r):
        """(tensors of the checkpoint, its numbers, lines of the metrics)"""
        more = ["--epochs", r.epochs, *test_methods.flags({**r.numbers, **r.run})]
        if r.rounds > 1:
            more += ["--rounds", r.rounds]
        if r.trusted:
            more += ["--trusted", self.tmp / "trusted.npy"]
        if r.teacher:
            more += ["--teacher", self.tmp / "first" if r.teacher == "heads" else self.artifact(r.teacher)]
        if r.augment:
            more += ["--augment", "crop-flip"]
        for flag, v in (("--mixup-alpha", r.mixup), ("--cutmix-alpha", r.cutmix), ("--val-split", r.val_split)):
            more += [flag, v] if v else []
        if r.adamw:
            more += ["--opt", "adamw", "--lr", r.stages[0][1], *(w for f in zip(("--beta1", "--beta2", "--opt-eps"), r.adamw) for w in f)]
        self.train(name, method, r.nets, r.targets, *more)
        raw = (self.tmp / name / "last.safetensors").read_bytes()
        told = json.loads(raw[8:8 + int.from_bytes(raw[:8], "little")])["__metadata__"]
        lines = [json.loads(line) for line in (self.tmp / name / "metrics.jsonl").read_text().splitlines()]
        return read_safetensors(self.tmp / name / "last.safetensors"), told, lines

    def replay(self, r):
        from replay import Replay
        return Replay(r, SETTING, [self.onnx(n) for n in r.nets], self.x, self.y, self.targets if r.targets else None,
                      self.onnx(r.teacher) if r.teacher else None).go()

    @functools.lru_cache
    def plain(self, nets, epochs, rounds, *more):
        """The networks that cross entropy leads to; more: how these see their images, and whether and at what rate by AdamW."""
        return self.replay(row(reference_of("ce"), nets, epochs, rounds, **dict(more))).tensors()


def reference_of(name):
    entries = test_methods.METHODS[name]
    return (entries[0] if isinstance(entries, list) else entries).ref


# --- comparing ----------------------------------------------------------------------------------------------------------------

def kind(key):
    part, k = key.split(".")[:2]
    return key if part in ("table", "state") else f"{part}.{k}"


def far(got, want):
    """(largest difference of a tensor relative to its largest number, its name); those that are next to nothing beside the others of
    their kind, relative to these."""
    largest = {}
    for key, v in want.items():
        largest[kind(key)] = max(largest.get(kind(key), 0), np.abs(v).max())
    worst = (0.0, "")
    for key, v in want.items():
        g = np.asarray(got[key], np.float64).reshape(np.shape(v))
        against = max(np.abs(v).max(), NEXT_TO_NOTHING * largest[kind(key)], 1e-30)
        worst = max(worst, (np.abs(g - v).max() / against if np.isfinite(g).all() else np.inf, key))
    return worst


def told(lines, metrics, temperature):
    """(largest relative difference of a number of the epochs, its name). A divergence is the difference of two sums of up to
    T^2 ln C, of which float32 has seven digits: with T = 20 none are left of it, though its gradient has all."""
    worst, n = (0.0, ""), 0
    for epoch, (line, want) in enumerate(zip(lines, metrics, strict=True)):
        for (name, k), v in want.items():
            got = line[name] if k is None else line["peers"][k][name]
            n += 1
            if got is None or not np.isfinite(v):
                error = 0.0 if got is None and np.isinf(v) else np.inf
            else:
                error = abs(got - v) / max(abs(v), 1e-3 if name != "mean_divergence" else temperature ** 2 * np.log(SETTING.classes))
            worst = max(worst, (error, f"{name}{'' if k is None else f' of {k}'}, epoch {epoch + 1}"))
    return worst, n


def networks(tensors):
    return {k: v for k, v in tensors.items() if k.startswith("peer.")}


def undecided(metrics):
    """Names of rows that are chosen, of which there were all or none in every epoch; nothing is where the threshold is infinite."""
    if np.isinf(metrics[-1].get(("threshold", None), 0)):
        return []
    names = {name for m in metrics for name, _ in m if name.endswith("_count")}
    return [n for n in names if not any(0 < v < IMAGES for m in metrics for (name, _), v in m.items() if name == n)]


def beside(name, method, r):
    """What plain() is to be like: but for the method as the run is or, where that is cross entropy, the plainest run."""
    if name == method or method == "ce":
        return ()
    return tuple((k, getattr(r, k)) for k in ("augment", "mixup", "cutmix", "val_split", "adamw")) + (("stages", r.stages and tuple(r.stages)),)


def compare(report, bench, name, method, r):
    if r.ref is None:
        r.ref = reference_of(method)
    tensors, numbers, lines = bench.ours(name, method, r)
    replay = bench.replay(r)
    want = replay.tensors()
    assert set(want) == set(tensors), f"the checkpoint and the replay hold different tensors: {sorted(set(want) ^ set(tensors))}"
    error, key = far(tensors, want)
    apart = np.inf if name == "ce" or r.targets else far(networks(want), networks(bench.plain(r.nets, r.epochs, r.rounds, *beside(name, method, r))))[0]
    elsewhere = "" if np.isinf(apart) else f", {apart:.1e} from cross entropy"
    report.check(f"{name}: {len(want)} tensors after {len(lines) * replay.steps} steps{elsewhere} (worst {key})", error, LIMIT)
    (error, key), n = told(lines, replay.metrics, r.numbers.get("temperature", 1.0))
    report.check(f"{name}: {n} numbers of {len(lines)} epochs (worst {key})", error, LIMIT)
    if any(replay.r):
        off = max(abs(float.fromhex(numbers[f"r.{k}"]) - v) for k, v in enumerate(replay.r))
        report.check(f"{name}: r {[round(v, 3) for v in replay.r]}", off, LIMIT)
    if apart < SHOWS:
        report.fail(name, "these steps lead where cross entropy does: nothing was compared")
    chooses = r.passes(len(replay.stages), replay.stages[-1][0], replay.stages[-1][0]).by is not None
    if chooses and any(v.min() == v.max() for key, v in want.items() if key.startswith("table.keep")):
        report.fail(name, "all images are believed or none: no choice was compared")
    for what in set(undecided(replay.metrics)) - set(r.never):
        report.fail(name, f"{what} is none or all in every epoch: no choice was compared")


def main():
    need_tools(SMKDC, RUN)
    need("torch", "onnx")
    if not FASHION.is_dir():
        skip("no dataset-fashion-mnist")
    report = Report()
    rows = [line.split()[0] for line in run(RUN, "methods").stdout.splitlines()]
    for name in sorted(set(rows) ^ set(REPLAYS)):
        report.fail(name, "is a row of REPLAYS but no method" if name in REPLAYS else
                    "the method has no replay: give it a row of REPLAYS in test_replay.py")
    with temp_dir() as tmp:
        bench = Bench(tmp)
        for name, (method, r) in {**{name: (name, r) for name, r in REPLAYS.items()}, **WITH}.items():
            if method in rows and (len(sys.argv) < 2 or name in sys.argv[1:]):
                report.guard(name, compare, report, bench, name, method, r)
    report.end()


if __name__ == "__main__":
    main()
