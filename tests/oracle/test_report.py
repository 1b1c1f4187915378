"""Reports of evaluations beside their definitions, written out in numpy: accuracies, NLL, ECE, AURC (over every order of small sets of
equally confident images), precision, recall, F1, the matrix.
"""
import itertools
import json
import subprocess

import numpy as np

from common import BUILD, Report, need_tools

TOOL = BUILD / "tests" / "oracle_report"


def ours(x, labels, logits=False):
    text = f"{x.shape[1]} {int(logits)}\n" + "\n".join(f"{y} " + " ".join(repr(float(v)) for v in row) for y, row in zip(labels, x))
    return json.loads(subprocess.run([str(TOOL)], input=text, capture_output=True, text=True, check=True).stdout)


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def curve(wrong):
    """The area for one order of images."""
    return 1000 * np.mean(np.cumsum(wrong) / np.arange(1, len(wrong) + 1))


def aurc(confidence, wrong, orders=None, rng=None):
    """The mean over all orders of equally confident images: each one where there are few, else `orders` drawn at random."""
    groups = [np.flatnonzero(confidence == c) for c in np.unique(confidence)[::-1]]
    if orders is None:
        all_orders = itertools.product(*(itertools.permutations(g) for g in groups))
        return np.mean([curve(wrong[np.concatenate(o)]) for o in all_orders])
    return np.mean([curve(wrong[np.concatenate([rng.permutation(g) for g in groups])]) for _ in range(orders)])


def theirs(p, labels, scores):
    n, classes = p.shape
    # Equal scores: the lower class comes first, as a stable sort has it.
    order = np.argsort(-scores, axis=1, kind="stable")
    predicted, confidence = order[:, 0], p.max(1)
    hit = predicted == labels
    matrix = np.zeros((classes, classes), int)
    np.add.at(matrix, (labels, predicted), 1)
    support, taken, hits = matrix.sum(1), matrix.sum(0), np.diag(matrix)
    with np.errstate(invalid="ignore"):
        precision, recall, f1 = 100 * hits / taken, 100 * hits / support, 200 * hits / (support + taken)
    there = support + taken > 0
    ece = 0
    for b in range(10):
        inside = (confidence > b / 10) & (confidence <= (b + 1) / 10)
        if inside.any():
            ece += 100 * inside.sum() / n * abs(hit[inside].mean() - confidence[inside].mean())
    return {
        "top1": 100 * hit.mean(), "top5": 100 * (order[:, :5] == labels[:, None]).any(1).mean(),
        "nll": -np.log(p[np.arange(n), labels]).mean(), "ece": ece,
        "macro": {k: np.nan_to_num(v)[there].mean() for k, v in (("precision", precision), ("recall", recall), ("f1", f1))},
        "support": support, "predicted": taken, "precision": precision, "recall": recall, "f1": f1, "confusion": matrix,
        "confidence": confidence, "wrong": ~hit,
    }


def main():
    need_tools(TOOL)
    rep, rng = Report(), np.random.default_rng(0)

    def compare(what, x, labels, logits, area):
        got = ours(x, labels, logits)
        x32 = x.astype(np.float32).astype(float)
        want = theirs(softmax(x32) if logits else x, labels, x32 if logits else x)
        for k in ("top1", "top5", "nll", "ece"):
            rep.check(f"{what}: {k}", abs(got[k] - want[k]), 1e-9)
        for k in ("precision", "recall", "f1"):
            rep.check(f"{what}: macro {k}", abs(got["macro"][k] - want["macro"][k]), 1e-9)
            of = np.array([np.nan if c[k] is None else c[k] for c in got["classes"]])
            same = np.isnan(of) == np.isnan(want[k])
            rep.check(f"{what}: {k} of each class", np.inf if not same.all() else np.nanmax(np.abs(of - want[k])), 1e-9)
        for k in ("support", "predicted"):
            rep.check(f"{what}: {k}", np.abs(np.array([c[k] for c in got["classes"]]) - want[k]).max(), 0)
        matrix = np.zeros_like(want["confusion"])
        for y, c, n in got["confusion"]:
            matrix[y, c] += n
        rep.check(f"{what}: confusion", np.abs(matrix - want["confusion"]).max(), 0)
        expect, limit = area(want["confidence"], want["wrong"])
        rep.check(f"{what}: AURC", abs(got["aurc"] - expect), limit)
        n, m = len(labels), int(want["wrong"].sum())
        least = 1000 / n * sum(i / (n - m + i) for i in range(1, m + 1))
        rep.check(f"{what}: E-AURC", abs(got["eaurc"] - (expect - least)), limit)

    def plain(conf, wrong):
        return curve(wrong[np.argsort(-conf)]), 1e-9

    for n, classes in ((1, 2), (7, 3), (500, 10), (2000, 101)):
        z = rng.normal(0, 2, (n, classes))
        labels = np.where(rng.random(n) < 0.5, z.argmax(1), rng.integers(0, classes, n))
        compare(f"{n} logits of {classes}", z, labels, True, plain)
        compare(f"{n} probabilities of {classes}", softmax(z), labels, False, plain)
    # Classes without images, and classes that nothing is taken for.
    z = rng.normal(0, 2, (300, 12))
    z[:, 7] = -30
    compare("holes", z, rng.integers(0, 9, 300), True, plain)
    # Ties: of scores within an image, of confidences between them.
    for seed in range(4):
        r = np.random.default_rng(seed)
        p = r.choice([0.25, 0.5], (8, 2))
        p[:, 1] = 1 - p[:, 0]
        compare(f"ties {seed}", p, r.integers(0, 2, 8), False, lambda c, w: (aurc(c, w), 1e-9))
    p = rng.choice(np.arange(1, 10), (200, 4)).astype(float)
    p /= p.sum(1, keepdims=True)
    compare("many ties", p, rng.integers(0, 4, 200), False, lambda c, w: (aurc(c, w, 20000, rng), 1))
    # Logits that softmax makes equal: the network still says which is larger.
    z = np.float32([[0, 1e-9, 0], [40, 0, 0], [0, 40, 0], [0, 0, 1e-12]]).astype(float)
    compare("equal after softmax", z, np.array([1, 0, 1, 2]), True, lambda c, w: (aurc(c, w), 1e-9))
    rep.end()


main()
