"""Every method with every switch: what `smkd-run loss` puts out against the float64 references of methods_ref.py, to 1e-5.

A method is one entry of METHODS: its reference, for how many networks, and its switches. Each entry meets ordinary and hostile
batches: saturated and uniform logits, a class that is absent, one row, two and a thousand classes, mixed labels, class weights.
"""
import functools
import itertools
import sys
import types

import numpy as np

import fusion_ref as fusion
import memory_ref as memory
import methods_ref as ref
import semi_ref as semi
import stages_ref as stages
from common import RUN, Report, need_tools, read_safetensors, rel, run, temp_dir

LIMIT = 1e-5


def entry(reference, peers=(1, 2), switches=({},), avoid=None, inputs=None, most=1 << 30, views=1, predicts=None, **fixed):
    """peers: numbers of networks; the first is the one for which edges are tried. switches: numbers and switches by the names of
    the flags, each combination compared. avoid(batch, **numbers): batches that are drawn again, since float32 may rightly decide
    otherwise than float64. inputs(rng, n, c, peers): {name: array} of further inputs, which the reference finds in its batch. views: of
    each row, which logits [N,V,C] are of; one: [N,C]. predicts(batch): what the program that predicts puts out."""
    return types.SimpleNamespace(ref=functools.partial(reference, **fixed), peers=peers, switches=switches, avoid=avoid, inputs=inputs,
                                 most=most, views=views, predicts=predicts)


def product(**words):
    return [dict(zip(words, v)) for v in itertools.product(*words.values())]


def near_threshold(x, progress=1.0, eta=4.0, b2=-5.0, **_):
    return any(np.abs(ref.entropy(z) - ref.threshold(x.c, progress, eta, b)).min() < 1e-4 for z in x.z for b in (0.0, b2))


REFINED = [dict(refine="ls"), dict(refine="ls", ls_mode="others"), dict(refine="cp"), dict(refine="cp", cp_mode="penalty"),
           dict(refine="cp", detach_target=True), dict(refine="cp", log_floor=1e-3), dict(refine="boot-soft"),
           dict(refine="boot-soft", detach_target=True, epsilon=0.6)]
CLOCK = dict(progress=0.6, eta=1.6, b2=-2.0)
SELECTED = [{**CLOCK, **r} for r in REFINED] + [dict(CLOCK, refine="ls", peer_denom="N"), dict(CLOCK, refine="cp", peer_log_floor=1e-3),
                                                dict(CLOCK, refine="mylc", r=(0.55, 0.4, 0.6)), dict(CLOCK, refine="proselflc")]
SMKD = functools.partial(entry, ref.mutual, (2, 3), SELECTED, near_threshold, gate="below")
CMD = functools.partial(entry, ref.mutual, (2,), SELECTED[::4], near_threshold, gate="below")  # the same by its earlier name
SELF = functools.partial(entry, ref.mutual, (1, 2), gate="none")

def tables(widths):
    """Inputs table.NAME.K with rows that sum to 1, or numbers around 0 where there is a width: {name: None, "classes" or a number}."""
    def draw_tables(rng, n, c, peers):
        out = {}
        for k in range(peers):
            for name, w in widths.items():
                v = rng.normal(size=(n, w if isinstance(w, int) else c))
                out[f"{name}.{k}"] = (ref.softmax(2 * v) if w is None else v * 0.4).astype(np.float32)
        return out
    return draw_tables


def sides(rng, n, c, peers):
    out = tables({"table.prev": None})(rng, n, c, peers)
    for k in range(peers):
        out.update({f"tap.{k}.head{i}": (3 * rng.normal(size=(n, c))).astype(np.float32) for i in (1, 2, 3)})
        out.update({f"tap.{k}.feat{i}": rng.normal(size=(n, 7)).astype(np.float32) for i in (1, 2, 3, 4)})
    return out


def said(rng, n, c, peers, name="teacher"):
    return {f"{name}.{k}": (3 * rng.normal(size=(n, c))).astype(np.float32) for k in range(peers)}


def mixed_rows(rng, n, c, peers):
    return {**tables({"table.target": None})(rng, n, c, peers), **said(rng, n, c, peers, "average"), "mix.row": rng.permutation(n)}


def hints(rule, size=(3, 2), names=("hint", "guided")):
    """Maps of a teacher with 5 channels and of networks with 3, what lies between, and what its rule remembers."""
    def draw_hints(rng, n, c, peers):
        out = said(rng, n, c, peers)
        more = {"sgd": ("velocity",), "adam": ("mean", "square")}[rule]
        for k in range(peers):
            shape = lambda channels: (n, channels, *size) if len(size) == 2 else (n, *size, channels)
            out[f"teacher.{k}.{names[0]}"] = rng.normal(size=shape(5)).astype(np.float32)
            out[f"tap.{k}.{names[1]}"] = rng.normal(size=shape(3)).astype(np.float32)
            for name, of in (("weight", (5, 3) + (1, 1) * (len(size) == 2)), ("bias", (5,))):
                out[f"state.regressor.{name}.{k}"] = rng.normal(size=of).astype(np.float32)
                for what in more:
                    v = 0.1 * rng.normal(size=of)
                    out[f"state.regressor.{name}.{what}.{k}"] = (v * v if what == "square" else v).astype(np.float32)
                    if rule == "adam":
                        out[f"state.regressor.{name}.{what}.share.{k}"] = np.float32(rng.uniform(0.1, 1))
        return out
    return draw_hints


REMEMBERED = {"sgd": ("velocity",), "adam": ("mean", "square")}


def trained(rng, states, rule):
    """The states, and what their rule remembers of them."""
    out = {key: np.float32(v) for key, v in states.items()}
    for key, v in states.items():
        stem, dot, k = key.rpartition(".")
        name, end = (stem, dot + k) if k.isdigit() else (key, "")
        for what in () if "running" in key else REMEMBERED[rule]:
            m = 0.1 * rng.normal(size=np.shape(v))
            out[f"{name}.{what}{end}"] = np.float32(m * m if what == "square" else m)
            if rule == "adam":
                out[f"{name}.{what}.share{end}"] = np.float32(rng.uniform(0.1, 1))
    return out


def fused(rule, name="feature"):
    def draw_fused(rng, n, c, peers):
        channels = [3, 5, 4][:peers]
        out = {f"tap.{k}.{name}": np.float32(rng.normal(size=(n, channels[k], 3, 2))) for k in range(peers)}
        return {**out, **trained(rng, fusion.ffl_states(rng, sum(channels), peers, c), rule)}
    return draw_fused


def adversaries(rule):
    def draw_adversaries(rng, n, c, peers):
        channels = [3, 5, 4][:peers]
        out = {f"tap.{k}.feature": np.float32(rng.normal(size=(n, channels[k], 3, 2))) for k in range(peers)}
        for key, v in fusion.afd_states(rng, channels).items():
            out.update(trained(rng, {key: v}, "adam" if "discriminator" in key else rule))
        return out
    return draw_adversaries


def branches(rule):
    """Heads with features of several sizes, what the averages say, and the classifier of all."""
    def draw_branches(rng, n, c, peers):
        sizes, out = (7, 5, 4, 6), {}
        for k in range(peers):
            out.update({f"tap.{k}.feat{i + 1}": np.float32(rng.normal(size=(n, s))) for i, s in enumerate(sizes)})
            for whose in ("tap", "average"):
                out.update({f"{whose}.{k}.head{i}": np.float32(3 * rng.normal(size=(n, c))) for i in (1, 2, 3)})
            out[f"average.{k}"] = np.float32(3 * rng.normal(size=(n, c)))
            out.update(trained(rng, {f"state.classifier.weight.{k}": rng.normal(size=(c, sum(sizes))), f"state.classifier.bias.{k}": rng.normal(size=c)}, rule))
        return out
    return draw_branches


def past(rng, n, c, peers):
    return tables({"table.prev": None})(rng, n, c, peers)


def without_past(rng, n, c, peers):
    return {k: v for k, v in sides(rng, n, c, peers).items() if not k.startswith("table")}


def near_clamp(x, **_):  # of 1e-4
    return any(np.abs(np.log(np.concatenate([ref.softmax(z), 1 - ref.softmax(z)])) - np.log(1e-4)).min() < 1e-3 for z in x.z)


def near_floor(x, label_smoothing=0, **_):  # of p + U - V, and where little is left of p for a label
    y = ref.labels_of(x, label_smoothing)
    for k, z in enumerate(x.z):
        u, v, p = memory.at(x, "table.u", k), memory.at(x, "table.v", k), ref.softmax(z if z.ndim == 2 else z[:, 0])
        raw = p + np.clip(u * u * y, 0, 1) - np.clip(v * v * (1 - y), 0, 1)
        m = np.maximum(raw, 1e-4)
        shares = (m / m.sum(axis=1, keepdims=True)).mean(axis=0)  # which SOP+ has a floor for, too
        if ((y > 0) & (raw > 1e-4) & (raw < p / 100)).any():
            return True
        if np.abs(raw - 1e-4).min() < 1e-6 or (z.ndim == 3 and np.abs(shares - 1e-4).min() < 1e-9):
            return True
    return False


def kept(rng, n, c, peers):
    return {f"table.keep.{k}": (rng.random(n) < 0.6).astype(np.float32) for k in range(peers)}


def counted(rng, n, c, peers):
    out = {f"state.counts.{k}": rng.integers(1, 50, c).astype(np.float32) for k in range(peers)}
    out.update({f"state.prior.{k}": ref.softmax(rng.normal(size=(1, c)))[0].astype(np.float32) for k in range(peers)})
    return out


def drawn(rng, n, c, peers):
    return {"labels.draw": rng.integers(0, c, n)}


def near_limit(x, gce_k=.5, **_):
    return any(np.abs(ref.softmax(z)[np.arange(x.n), x.y] - gce_k).min() < 1e-4 for z in x.z)


def near_sieve(x, **_):
    first = [z if z.ndim == 2 else z[:, 0] for z in x.z]
    return any(np.abs(ref.xent(z, x.given)[0] + ref.log_softmax(z).mean(axis=1)).min() < 1e-4 for z in first)


def near_sieve_or_sure(x, uda_confidence=.8, **_):
    return near_sieve(x) or any(np.abs(ref.softmax(z[:, 0]).max(axis=1) - uda_confidence).min() < 1e-4 for z in x.z)


def kept_and_counted(*a):
    return {**kept(*a), **counted(*a)}


def split(**widths):
    """What is told of four views, and tables and states: {name: width, 0 of one number a row, or "classes" of a state's}."""
    def draw_split(rng, n, c, peers):
        out = {"mix.row": rng.permutation(4 * n), **kept(rng, n, c, peers)}
        for k in range(peers):
            out[f"guess.{k}"] = (3 * rng.normal(size=(n, 4, c))).astype(np.float32)
            for name, w in widths.items():
                v = rng.integers(0, 6, c) if w == "classes" else rng.random((n, w) if w else n)
                out[f"{'state' if w == 'classes' else 'table'}.{name}.{k}"] = v.astype(np.float32)
        return out
    return draw_split


def agreements(rng, n, c, peers):
    return {k: v for k, v in split(counts="classes")(rng, n, c, peers).items() if k.startswith(("table", "state"))}


def near_cut(x, **o):
    """Whether two losses between which a method cuts are nearly, but not truly, equal: float32 may choose otherwise."""
    cuts = []
    ref.small_loss(x, cuts=cuts, **o)
    return any(0 < gap < 1e-4 for gap in cuts)


def near_cut_or_one(x, **o):
    """Of one row the networks are to say the same: then there is none that they disagree on."""
    return near_cut(x, disagreement=True, **o) or (x.n == 1 and len({z.argmax() for z in x.z}) > 1)


def grams(rng, n, c, peers):
    """What a survey of 50 rows may have left."""
    off = rng.normal(size=(peers, 30)) + 0.5 * rng.normal(size=30)
    return {"state.gram": (off @ off.T).astype(np.float32), "state.rows": np.float32(50)}


def equal_grams(rng, n, c, peers):
    """That of networks that say the same."""
    return {"state.gram": np.full((peers, peers), 37, np.float32), "state.rows": np.float32(50)}


def no_grams(rng, n, c, peers):
    return {"state.gram": np.zeros((peers, peers), np.float32), "state.rows": np.float32(0)}


def percentiles(rng, n, c, peers):
    return {f"state.percentile.{k}": np.float32(rng.uniform(0.5, 3)) for k in range(peers)}


def groups(rng, n, c, peers):
    return {"table.group": rng.integers(0, 5, n).astype(np.float32), "table.agree": rng.random((n, 4)).astype(np.float32)}




def matrices(rng, n, c, peers):
    out = tables({"table.said": None})(rng, n, c, peers)
    out.update({f"state.transition.{k}": (0.6 * np.eye(c) + 0.4 * ref.softmax(rng.normal(size=(c, c)))).astype(np.float32) for k in range(peers)})
    return out


def slack(rng, n, c, peers):
    out = matrices(rng, n, c, peers)
    for k in range(peers):
        out[f"state.slack.{k}"] = (0.02 * rng.random((c, c))).astype(np.float32)
        out[f"state.slack.mean.{k}"], out[f"state.slack.square.{k}"] = ((0.01 * rng.random((c, c))).astype(np.float32) for _ in range(2))
        out[f"state.slack.mean.share.{k}"], out[f"state.slack.square.share.{k}"] = np.float32(0.271), np.float32(0.003)
    return out


def only_matrices(*a):
    return {k: v for k, v in matrices(*a).items() if k.startswith("state")}


def covariances(rng, n, c, peers):
    out = {}
    for k in range(peers):
        out[f"table.distilled.{k}"] = rng.integers(0, c, n).astype(np.float32)
        out[f"state.counts.{k}"] = rng.integers(0, 9, (c, c)).astype(np.float32)
        out[f"state.mean.{k}"], out[f"state.sums.{k}"] = (rng.uniform(0, 5, (c, c)).astype(np.float32) for _ in range(2))
        out[f"state.n.{k}"] = rng.integers(0, 40, (c, 1)).astype(np.float32)
        out[f"state.prior.{k}"] = ref.softmax(rng.normal(size=(1, c)))[0].astype(np.float32)
    return out


def near_kept(x, cal_threshold=-8.0, **_):
    floored = [np.log(ref.softmax(z) + 1e-8) for z in x.z]
    return any(np.abs(-(x.given * v).sum(axis=1) + v.mean(axis=1) - cal_threshold).min() < 1e-3 for v in floored)


def judged(rng, n, c, peers):
    return {f"table.{name}.{k}": rng.random(n).astype(np.float32) for name in ("wrong", "loss") for k in range(peers)}


def histories(rng, n, c, peers):
    out = {}
    for k in range(peers):
        h = ref.softmax(2 * rng.normal(size=(n * 10, c))).reshape(n, 10, c)
        h[rng.random((n, 10)) < 0.3] = 0  # epochs that left the image out
        h[0] = 0
        out[f"table.history.{k}"] = h.reshape(n, -1).astype(np.float32)
    return out


HEADS = functools.partial(entry, memory.heads)
CLOCKED = ("mix_lambda", "part", "epoch", "epochs", "round", "step", "steps", "survey", "lr", "momentum", "weight_decay", "nesterov")

MIXED = dict(mix_lambda=0.7)
LATE = dict(epoch=5)
OF_20 = dict(epoch=5, epochs=20)
FORGETS = [LATE, dict(LATE, forget=0.8, ramp=1), dict(LATE, forget=1 / 3, ramp=1),
           dict(LATE, forget=0.6, forget_exponent=2, ramp=4), dict(epoch=1), dict(LATE, forget=1, ramp=5)]
RATED = dict(epoch=2, epochs=8, lr=0.1, momentum=0.9, weight_decay=0.01)
OWN = dict(lr=0.1, momentum=0.9)
SMALL = functools.partial(entry, ref.small_loss, (2, 3))
BLIND = functools.partial(entry, stages.blind, (2,), [dict(epoch=1), dict(epoch=6, blind_alpha3=0.8), dict(epoch=7, blind_alpha4=0)],
                          inputs=groups)
TRANSITION = functools.partial(entry, stages.transition, inputs=matrices,
                               switches=[dict(round=2), dict(round=1), dict(round=1, survey=1)])
KDCL = functools.partial(entry, ref.distill, sources="ensemble", balance="added", temperature=2.0)

# Several entries where switches go with numbers of networks.
METHODS = {
    "smkd-p": SMKD(),
    "smkd-s": SMKD(still=True),
    "cmd-p": CMD(),
    "cmd-s": CMD(still=True),
    "all": entry(ref.mutual, (2, 3), REFINED, gate="all"),
    "zero": SELF(switches=REFINED + [dict(refine="mylc", r=(0.55, 0.4)), dict(refine="proselflc", progress=0.6), dict(refine="none")]),
    "ce": SELF(refine="none"),
    "ls": SELF(refine="ls", switches=[{}, dict(ls_mode="others"), dict(epsilon=1)]),
    "cp": SELF(refine="cp", switches=[{}, dict(cp_mode="penalty", epsilon=0.1), dict(detach_target=True), dict(epsilon=0)]),
    "boot-soft": SELF(refine="boot-soft", switches=[{}, dict(detach_target=True), dict(epsilon=0.05)]),
    "proselflc": SELF(refine="proselflc", switches=[dict(progress=0.6), dict(progress=0.6, detach_target=True)]),
    "mylc": SELF(refine="mylc", switches=[dict(r=(0.55, 0.4)), dict(r_scope="batch"), dict(r=(0.55, 0.4), detach_target=True)]),
    "mkd": entry(ref.distill, (2, 3), [{}, dict(epsilon=0.2), dict(temperature=4)]),
    "dml": entry(ref.distill, (2, 3), [{}, dict(distill_weight=0.3, temperature=2)], several="sum", balance="added"),
    "t2s": entry(ref.distill, switches=[{}, dict(epsilon=0.2, temperature=4)], inputs=said, sources="teacher"),
    "fitnets": [entry(memory.fitnets, (1, 2), [RATED, dict(RATED, epoch=3, temperature=4), dict(RATED, epoch=6, hint_epochs=4, epsilon_decay=0.6,
                                                                                               hint_later=3), dict(RATED, hint_epochs=0, hint_weight=1)],
                      inputs=hints("sgd")),
                entry(memory.fitnets, (1,), [{**{k: v for k, v in RATED.items() if k != "momentum"}, "regressor": "adam", "hint_weight": 4}], inputs=hints("adam", (4,))),
                entry(memory.fitnets, (1,), [dict(RATED, hint="of_it", guided="by_it")], inputs=hints("sgd", (), ("of_it", "by_it")),
                      names=("of_it", "by_it"))],
    "ffl": [entry(fusion.ffl, (2, 3), [dict(OWN, epoch=9, ramp=12), dict(OWN, epoch=90, temperature=2, distill_weight=0.4, nesterov=1, fusion_decay=0.01)],
                  inputs=fused("sgd"), predicts=fusion.ffl_predicts),
            entry(fusion.ffl, (2,), [dict(epoch=40, lr=0.01, fusion="adam")], inputs=fused("adam")),
            entry(fusion.ffl, (2,), [dict(OWN, epoch=9, feature="maps")], inputs=fused("sgd", "maps"))],
    "pcl": [entry(fusion.pcl, (1, 2), [dict(OWN, epoch=9, ramp=12, weight_decay=0.01), dict(OWN, epoch=90, nesterov=1, temperature=2, distill_weight=0.4)],
                  inputs=branches("sgd"), predicts=fusion.pcl_predicts),
            entry(fusion.pcl, (1,), [dict(lr=0.01, epoch=70, weight_decay=0.1, classifier="adam")], inputs=branches("adam"))],
    "afd": [entry(fusion.afd, (2, 3), [dict(OWN, weight_decay=0.01), dict(OWN, nesterov=1, adversarial_weight=0.3, distill_weight=2, temperature=1,
                                                                          discriminator_lr=0.01)], inputs=adversaries("sgd")),
            entry(fusion.afd, (2,), [dict(lr=0.01, weight_decay=0.1, transfer="adam")], inputs=adversaries("adam"))],
    "two-round": entry(ref.distill, switches=[dict(round=1), dict(round=2, epsilon=0.2)], inputs=said, sources="former"),
    "born-again": entry(ref.distill, switches=[dict(round=3), dict(round=2, temperature=4)], inputs=said, sources="former", balance="added"),
    "cs-kd": entry(ref.distill, switches=[dict(temperature=4), dict(distill_weight=0.3, temperature=1)],
                   inputs=functools.partial(said, name="guess"), sources="partner", balance="added"),
    "tf-kd-self": entry(ref.distill, switches=[dict(round=2, epsilon=0.9, temperature=20)], inputs=said, sources="former"),
    "kdcl": [KDCL(peers=(2, 3), switches=[{}, dict(kdcl_mode="naive"), dict(distill_weight=0.5, temperature=1)]),
             KDCL(peers=(2,), switches=[dict(kdcl_mode="linear"), dict(kdcl_mode="linear", temperature=1)]),
             KDCL(peers=(2, 3), switches=[dict(kdcl_mode="general"), dict(kdcl_mode="general", survey=1), dict(kdcl_mode="general", survey=2)],
                  inputs=grams),
             KDCL(peers=(3,), switches=[dict(kdcl_mode="general")], inputs=equal_grams),
             KDCL(peers=(2,), switches=[dict(kdcl_mode="general")], inputs=no_grams)],
    "tf-kd-reg": entry(ref.distill, switches=[{}, dict(teacher_as="probabilities"), dict(mult=3, epsilon=0.95, temperature=2, teacher_prob=0.9)],
                       sources="virtual", epsilon=0.1, temperature=20.0),
    "gce": entry(ref.robust, switches=[{}, dict(gce_q=0.1), dict(gce_q=1)], rule="gce"),
    "sce": entry(ref.robust, switches=[{}, dict(loss_alpha=2, loss_beta=0.5)], rule="sce", few=(.1, 1), many=(6, .1)),
    "apl": entry(ref.robust, rule="nce-rce", few=(1, 1), many=(10, .1)),
    "nce-rce": entry(ref.robust, switches=[{}, dict(loss_beta=0.5)], rule="nce-rce", few=(1, 1), many=(10, .1)),
    "nce-mae": entry(ref.robust, switches=[{}, dict(loss_alpha=3)], rule="nce-mae", few=(1, 1), many=(10, 1)),
    "gce-truncated": entry(memory.truncated, switches=[{}, dict(survey=1), dict(survey=2, gce_k=0.2)], avoid=near_limit, inputs=kept),
    "cores": entry(memory.cores, switches=[dict(epoch=1), dict(epoch=25, step=48, steps=2), dict(epoch=40, step=79, steps=2, sieve_after=20),
                                           dict(epoch=40, step=78, steps=2, cores_beta=1)], avoid=near_sieve, inputs=counted),
    "cores-star": entry(memory.cores_star, avoid=near_sieve_or_sure, inputs=kept_and_counted, views=2,
                        switches=[dict(round=2), dict(round=2, epoch=40, step=39, steps=1, uda_confidence=0.3, uda_temperature=1.5, lambda_u=3),
                                  dict(round=1, epoch=25, step=48, steps=2), dict(round=1, epoch=40, step=79, steps=2, sieve_after=20)]),
    "peer-loss": entry(memory.peer_loss, switches=[{}, dict(peer_alpha=0.4)], inputs=drawn),
    "elr": entry(memory.elr, switches=[{}, dict(lambda_=2.5, beta=0.6)], avoid=near_clamp, inputs=tables({"table.target": None})),
    "sop": entry(memory.sop, switches=[{}, dict(lr_u=0.3, lr_v=2)], avoid=near_floor, inputs=tables({"table.u": 1, "table.v": "classes"})),
    "sop+": entry(memory.sop_plus, switches=[{}, dict(lr_u=0.3, lr_v=2, sop_consistency=2, sop_balance=1.5), dict(sop_consistency=0, sop_balance=0)],
                  avoid=near_floor, inputs=tables({"table.u": 1, "table.v": "classes"}), views=2),
    "elr+": entry(memory.elr_plus, (2, 3), [dict(mix_lambda=0.7), dict(mix_lambda=0.7, label_product=1), dict(mix_lambda=1, lambda_ramp=8, step=3),
                                            dict(mix_lambda=0.55, label_product=1, lambda_ramp=8, step=9, lambda_=2.5, beta=0.6)],
                  near_clamp, mixed_rows),
    "temporal-ensembling": entry(memory.temporal, switches=[dict(epoch=1), dict(epoch=5, ramp=10, consistency=4), dict(epoch=90, alpha_z=0.9)],
                                 inputs=tables({"table.z": None})),
    "mean-teacher": entry(memory.mean_teacher, switches=[dict(epoch=1), dict(epoch=7, ramp=5, consistency=2)],
                          inputs=tables({"average": "classes"})),
    "ps-kd": HEADS(switches=[dict(progress=0.5), dict(alpha_t=0.3)], inputs=past, ps_kd=True),
    "byot": HEADS(switches=[{}, dict(byot_alpha=0.4, byot_beta=0.01, temperature=2)], inputs=without_past, byot=True),
    "dmfl": HEADS(switches=[dict(dmfl="live"), dict(dmfl="value")], inputs=without_past),
    "ps-kd+byot": HEADS(switches=[dict(progress=0.5)], inputs=sides, ps_kd=True, byot=True),
    "ps-kd+dmfl": HEADS(switches=[dict(progress=0.5, dmfl="live"), dict(progress=0.5, dmfl="value")], inputs=sides, ps_kd=True),
    "byot+dmfl": HEADS(switches=[dict(dmfl="live")], inputs=without_past, byot=True),
    "ps-kd+byot+dmfl": HEADS(switches=[dict(progress=0.5, dmfl="live"), dict(dmfl="value")], inputs=sides, ps_kd=True, byot=True),
    "co-teaching": SMALL(FORGETS, near_cut),
    "co-teaching+": SMALL([dict(LATE, init_epoch=4, forget=0), dict(LATE, init_epoch=4), dict(LATE, init_epoch=5), dict(LATE, init_epoch=0, forget=0.8, ramp=1)],
                          near_cut_or_one, disagreement=True),
    "jocor": SMALL(FORGETS + [dict(LATE, co_lambda=0), dict(LATE, co_lambda=1)], functools.partial(near_cut, rank="joint"), rank="joint"),
    "s2e": SMALL([OF_20, dict(OF_20, epoch=1), dict(OF_20, epoch=20, p0=0.9, p6=0, p10=0.1), dict(OF_20, epoch=1, p8=0),
                  dict(OF_20, epoch=1, p1=0, p5=0, p11=0), dict(OF_20, p0=1, p2=0.5, p1=1, p6=0, p10=0),
                  dict(OF_20, p0=0, p7=1, p4=0.5, p3=1, p5=2, p11=2), dict(OF_20, p8=0, p9=0, p0=0, p7=0)],
                 functools.partial(near_cut, schedule="s2e"), schedule="s2e"),
    "blind": BLIND(),
    "blind-paper": BLIND(student_denom="paper", detach_teacher=True, detach_robust_target=True),
    "t-revision": [TRANSITION(use="revision", inputs=slack, switches=[dict(round=1), dict(round=2), dict(round=3, revise_lr=0.1)]),
                   TRANSITION(use="revision", inputs=lambda *a: {k: v for k, v in slack(*a).items() if k.startswith("state")},
                              switches=[dict(estimator="given", round=1), dict(estimator="given", round=2, revise_lr=0.1)])],
    "forward": [TRANSITION(), TRANSITION(inputs=only_matrices, switches=[dict(estimator="given")])], "dual-t": TRANSITION(estimator="dual-t"),
    "cdr": entry(stages.plain),
    "cal": entry(stages.cal, inputs=covariances, avoid=near_kept,
                 switches=[dict(epoch=66, step=130, steps=2), dict(epoch=67, step=133, steps=2), dict(epoch=20), dict(epoch=66, survey=1, cal_threshold=-1),
                           dict(epoch=66, survey=2, cal_threshold=-1), dict(epoch=5, cal_start=3, cal_warmup=1, cal_ramp=2, cal_alpha=0.5)]),
    "dmi": entry(stages.dmi, switches=[dict(round=2), dict(round=1)], most=200),
    "m-correction": entry(stages.m_correction, inputs=judged,
                          switches=[dict(epoch=105), dict(epoch=104), dict(epoch=7, survey=1, mixture_start=3, prior_weight=0.4, bootstrap="soft")]),
    "joint": entry(stages.joint, inputs=histories,
                   switches=[dict(round=1, epoch=71), dict(round=1, epoch=69), dict(round=1, epoch=5, relabel_start=3, prior_weight=0.3, entropy_weight=2),
                             dict(round=2, epoch=3)]),
    "dividemix": [entry(semi.dividemix, (2, 3), [dict(MIXED, epoch=19, part=0.5), dict(MIXED, epoch=40, lambda_u=150, sharpen=1),
                                                 dict(MIXED, epoch=9), dict(MIXED, epoch=9, warmup_penalty=1), dict(epoch=12, mix_lambda=1),
                                                 dict(MIXED, epoch=3, semi_warmup=2, unlabelled_ramp=0, guess_by="own", refine_labels="no"),
                                                 dict(MIXED, epoch=12, survey=1), dict(MIXED, epoch=12, survey=2)],
                        inputs=split(clean=0, loss=0), views=4),
                  entry(semi.dividemix, (2,), [dict(MIXED, epoch=19, loss_history="five")], inputs=split(clean=0, loss=0, past=5), views=4)],
    "mixmatch": entry(semi.mixmatch, (1, 2), [dict(MIXED, epoch=3, part=0.25), dict(MIXED, epoch=20, lambda_u=5, sharpen=0.3),
                                              dict(MIXED, epoch=4, semi_warmup=4, warmup_penalty=0.5)],
                      inputs=split(), views=4),
    "pes-cs": entry(semi.pes_cs, (1, 2), [dict(round=4), dict(round=3), dict(round=1), dict(round=4, survey=1), dict(round=4, survey=2)],
                    inputs=agreements),
    "pes-semi": entry(semi.pes_semi, (1, 2), [dict(MIXED, round=3, epoch=3, part=0.5), dict(MIXED, round=3, epoch=30, lambda_u=9), dict(MIXED, round=2),
                                              dict(MIXED, round=1), dict(MIXED, round=3, survey=1), dict(MIXED, round=3, survey=2)],
                      inputs=split(counts="classes"), views=4),
    "mentornet": entry(ref.small_loss, (1, 2), [dict(burn_in=0, epoch=2, step=1), dict(burn_in=2, epoch=2, step=9), dict(burn_in=0, epoch=1),
                                               dict(burn_in=1, epoch=3, step=7, percentile=0.9, percentile_decay=0)],
                       functools.partial(near_cut, rank="self"), percentiles, rank="self"),
}
TOGETHER = {"dividemix"}  # have a program that predicts by all logits; co-teaching and others of the kind: train_everything.sh
ELSEWHERE = {"mse", "l1", "huber"}  # numbers instead of classes: test_recipes.py


# --- batches --------------------------------------------------------------------------------------------------------------

def logits(rng, n, c, peers, scale, views=1):
    z = [(rng.normal(size=(n * views, c)) * rng.choice(scale, size=(n * views, 1))).astype(np.float32) for _ in range(peers)]
    return z if views == 1 else [v.reshape(n, views, c) for v in z]


def labels(rng, z, n, c, least=0):
    """Half of them where the first network is surest, so that saturated rows are right as well as wrong."""
    surest = z[0].argmax(axis=-1) if z[0].ndim == 2 else z[0][:, 0].argmax(axis=-1)
    return np.where(rng.random(n) < 0.5, np.clip(surest, least, None), rng.integers(least, c, n))


# name: (rows, classes, scales of the logits, least label)
ORDINARY = {"ordinary": (32, 10, [0.3, 2, 6], 0)}
HOSTILE = {"saturated": (24, 10, [3, 30, 80], 0), "uniform": (16, 10, [0, 1e-3, 1], 0), "a class absent": (24, 10, [1, 4], 1)}
EDGES = {"one row": (1, 10, [2], 0), "two classes": (17, 2, [1, 4], 0), "a thousand classes": (12, 1000, [1, 6], 0)}


def draw(rng, e, shape, peers, numbers, labelled):
    n, c, scale, least = shape
    while True:
        z = logits(rng, n, c, peers, scale, e.views)
        y = labels(rng, z, n, c, least)
        more = e.inputs(rng, n, c, peers) if e.inputs else {}
        kind = {}
        if labelled == "mixed":
            kind = dict(other=rng.integers(0, c, n), lam=0.7)
        elif labelled == "weighted":
            kind = dict(weight=np.float64(np.float32(rng.uniform(0.2, 3, c))))
        x = ref.batch(z, y, **kind, **{k.replace(".", "_"): np.float64(v) for k, v in more.items()})
        if not e.avoid or not e.avoid(x, **numbers):
            return x, z, more, kind


def flags(numbers):
    out = []
    for name, v in numbers.items():
        if name in CLOCKED:
            out += ["--scalar", f"{name.replace('mix_', 'mix.')}={v}"]
        elif v is True:
            out += [f"--{name.replace('_', '-')}"]
        elif v is not False:
            out += [f"--{name.strip('_').replace('_', '-')}", ",".join(map(repr, v)) if isinstance(v, tuple) else str(v)]
    return out


def loss_of(tmp, name, x, z, more, kind, numbers, *flags_too):
    args, files = [*flags_too], {"labels": x.y.astype(np.int64)}
    for k, v in enumerate(z):
        np.save(tmp / f"z{k}.npy", v)
        args += ["--logits", tmp / f"z{k}.npy"]
    if "other" in kind:
        files["labels.mix"] = kind["other"].astype(np.int64)
        args += ["--scalar", f"mix.lambda={kind['lam']}"]
    if "weight" in kind:
        files["class.weight"] = kind["weight"].astype(np.float32)
    files.update(more)
    for key, v in files.items():
        np.save(tmp / f"{key}.npy", v)
        args += ["--labels", tmp / "labels.npy"] if key == "labels" else ["--input", f"{key}={tmp / key}.npy"]
    run(RUN, "loss", name, *args, *flags(numbers), "-o", tmp / "l.safetensors", env={"XDG_CACHE_HOME": str(tmp)})
    return read_safetensors(tmp / "l.safetensors")


def remembered(key):
    return set(key.split(".")) & {"velocity", "mean", "square"}


def off(key, got, want):
    got = np.asarray(got, np.float64).reshape(np.shape(want))
    if key.startswith(("selected", "corrected", "kept", "table.keep")) or np.isinf(want).any():
        return 0.0 if np.array_equal(got, want) else np.inf
    if np.ndim(want) == 0:
        return abs(got - want) / max(abs(want), 1e-3)
    return rel(got, want, floor=1e-3 if key.startswith("grad") else 1e-2)  # rows: float32 rounds whole rows of exp


def compare(report, tmp, what, rng, name, e, shape, peers, numbers, labelled="plain"):
    x, z, more, kind = draw(rng, e, shape, peers, numbers, labelled)
    with np.errstate(divide="ignore"):
        want = e.ref(x, **numbers)
    got = loss_of(tmp, name, x, z, more, kind, numbers)
    missing = [k for k in want if k not in got]
    assert not missing, f"{what}: {', '.join(missing)} missing"
    worst = max((off(k, got[k], w), k) for k, w in want.items())
    report.check(f"{what} ({worst[1]})", worst[0], LIMIT)
    if e.predicts and labelled == "plain":
        want, by = e.predicts(x), {k: v for k, v in more.items() if k.startswith("tap.") or (k.startswith("state.") and not remembered(k))}
        got = loss_of(tmp, name, x, z, by, {}, {k: v for k, v in numbers.items() if k not in CLOCKED}, "--predict")
        worst = max((off(k, got[k], w), k) for k, w in want.items())
        report.check(f"{what}, predicted ({worst[1]})", worst[0] if set(got) == set(want) else np.inf, LIMIT)


def compare_together(report, tmp, name, e):
    """What networks predict together: softmax of the sum of their logits."""
    rng = np.random.default_rng(7)
    for peers in e.peers:
        z = logits(rng, 24, 10, peers, [0.3, 6, 60])
        np.save(tmp / "labels.npy", np.zeros(24, np.int64))  # which are not looked at
        args = ["--labels", tmp / "labels.npy"]
        for k, v in enumerate(z):
            np.save(tmp / f"z{k}.npy", v)
            args += ["--logits", tmp / f"z{k}.npy"]
        run(RUN, "loss", name, "--predict", *args, "-o", tmp / "p.safetensors", env={"XDG_CACHE_HOME": str(tmp)})
        got = read_safetensors(tmp / "p.safetensors")["probs.ensemble"]
        report.check(f"{name}: what {peers} networks predict together", rel(got, ref.softmax(np.sum(np.float64(z), axis=0))), LIMIT)


def cases(entries):
    """(entry, what, shape, peers, numbers, labelled) of everything that is compared for a method."""
    for e in entries if isinstance(entries, list) else [entries]:
        for case in cases_of(e):
            yield e, *case


def cases_of(e):
    for numbers in e.switches:
        for peers in e.peers:
            for what, shape in {**ORDINARY, **(HOSTILE if peers == e.peers[0] else {})}.items():
                yield what, shape, peers, numbers, "plain"
    first = e.switches[0]
    for what, shape in EDGES.items():
        if shape[1] > e.most:
            continue
        yield what, shape, e.peers[0], first, "plain"
    for labelled in ("mixed", "weighted"):
        yield labelled, ORDINARY["ordinary"], e.peers[0], first, labelled
    yield "smoothed", ORDINARY["ordinary"], e.peers[0], dict(first, label_smoothing=0.1), "plain"


def main():
    ref.self_check()
    memory.self_check()
    fusion.self_check()
    stages.self_check()
    semi.self_check()
    need_tools(RUN)
    report = Report()
    rows = [line.split()[0] for line in run(RUN, "methods").stdout.splitlines()]
    for name in rows:
        if name not in METHODS and name not in ELSEWHERE:
            report.fail(name, "the method has no entry in METHODS")
    with temp_dir() as tmp:
        for name, entries in METHODS.items():
            if len(sys.argv) > 1 and name not in sys.argv[1:]:
                continue
            rng = np.random.default_rng(7)
            for e, what, shape, peers, numbers, labelled in cases(entries):
                text = " ".join([name, *(f"{k}={v}" for k, v in numbers.items()), f"{what}, {peers} peer{'s' * (peers > 1)}"])
                report.guard(text, compare, report, tmp, text, rng, name, e, shape, peers, numbers, labelled)
            if name in TOGETHER:
                report.guard(name, compare_together, report, tmp, name, entries[0])
    report.end()


if __name__ == "__main__":
    sys.exit(main())
