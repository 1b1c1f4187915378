"""smkd-run detect-noise on probabilities from files: confident learning sample by sample as cleanlab's find_label_issues, all four filters,
also on hostile sets; the other criteria as numpy writes them out; curves and average precision as scikit-learn's.

numpy leaves open in which order equal numbers are sorted, and so which of equally probable images cleanlab prunes: sorting is made
stable here, which keeps them in the order of their index, as ours are.
"""
import csv
import json
import warnings

import numpy as np

from common import RUN, Report, need, need_tools, run, temp_dir

FILTERS = ("prune_by_noise_rate", "prune_by_class", "both", "confident_learning")


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def judge(tmp, probs, labels, *flags):
    """The table's verdicts and scores, the proposed labels, and the summary."""
    probs = probs if isinstance(probs, list) else [probs]
    names = []
    for k, p in enumerate(probs):
        np.save(tmp / f"p{k}.npy", p)
        names += ["--probs", tmp / f"p{k}.npy"]
    np.save(tmp / "y.npy", labels)
    said = run(RUN, "detect-noise", *names, "--labels", tmp / "y.npy", "-o", tmp / "s.csv", "--json", *flags)
    with open(tmp / "s.csv", newline="") as f:
        rows = list(csv.DictReader(f))
    assert [int(r["sample"]) for r in rows] == list(range(len(labels))) and [int(r["given"]) for r in rows] == list(labels)
    return (np.array([r["verdict"] == "noisy" for r in rows]), np.array([float(r["score"]) for r in rows]),
            np.array([int(r["proposed"]) for r in rows]), json.loads(said.stdout))


def noisy_set(rng, n, classes, noise, sharp):
    true = rng.integers(0, classes, n)
    given = np.where(rng.random(n) < noise, rng.integers(0, classes, n), true)
    z = rng.normal(0, 1, (n, classes))
    z[np.arange(n), true] += sharp
    return softmax(z), given, true


def sets(rng):
    for classes, n in ((2, 500), (3, 200), (10, 2000), (20, 1500), (150, 1500)):
        for noise, sharp in ((0.1, 3), (0.4, 2), (0.7, 1)):
            p, y, _ = noisy_set(rng, n, classes, noise, sharp)
            yield f"{n} of {classes} classes, noise {noise}", p, y
    p, y, _ = noisy_set(rng, 400, 5, 0.3, 2)
    y[y == 3] = 1
    yield "a class that is never given", p, y
    p, y, _ = noisy_set(rng, 400, 6, 0.3, 2)
    y[y == 0] = 2
    y[y == 5] = 2
    yield "the first and last class never given", p, y
    p, y, _ = noisy_set(rng, 300, 8, 0.3, 2)
    y[y == 4] = 0
    y[17] = 4
    yield "a class that one image is given", p, y
    for classes in (2, 4, 20):
        p = rng.integers(1, 4, (600, classes)).astype(float)
        yield f"many ties, {classes} classes", p / p.sum(1, keepdims=True), rng.integers(0, classes, 600)
    yield "everything equal", np.full((60, 3), 1 / 3), np.arange(60) % 3
    yield "one-hot", np.eye(4)[rng.integers(0, 4, 300)], rng.integers(0, 4, 300)
    yield "one-hot and always right", np.eye(4)[np.arange(40) % 4], np.arange(40) % 4
    yield "one-hot and always wrong", np.eye(4)[(np.arange(40) + 1) % 4], np.arange(40) % 4
    p, y, _ = noisy_set(rng, 1000, 20, 0.9, 0.2)
    yield "nearly no signal", p, y
    p, y, _ = noisy_set(rng, 12, 10, 0.4, 2)
    yield "fewer images than matter", p, np.concatenate([np.arange(10), y[10:]])
    p, y, _ = noisy_set(rng, 700, 10, 0.4, 2)
    yield "rounded to float16", p.astype(np.float16).astype(float).clip(0, 1), y


def confident(rep, tmp):
    filters, _ = need("cleanlab.filter", "sklearn")
    sort = np.argsort
    warnings.simplefilter("ignore")  # of classes with few images
    for name, p, y in sets(np.random.default_rng(0)):
        for how in FILTERS:
            try:
                np.argsort = lambda a, *args, **kw: sort(a, kind="stable")
                want = filters.find_label_issues(y, p, filter_by=how, n_jobs=1)
            finally:
                np.argsort = sort
            got, score, _, _ = judge(tmp, p, y, "--by", "confident-learning", "--filter", how.replace("_", "-"))
            rep.check(f"confident learning, {name}, {how}: {int(want.sum())} of {len(y)}", float((got != want).sum()), 0)
        rest = np.where(np.arange(p.shape[1]) == y[:, None], -1, p).max(1)
        rep.check(f"confident learning, {name}: margins", np.abs(score - (rest - p[np.arange(len(y)), y])).max(), 1e-8)


def others(rep, tmp):
    rng = np.random.default_rng(1)
    n, classes = 600, 10
    a, y, true = noisy_set(rng, n, classes, 0.4, 4)
    z = np.log(a) + rng.normal(0, 0.5, a.shape)
    b = softmax(z)
    at = np.arange(n)
    mean = (a + b) / 2
    np.save(tmp / "true.npy", true)
    flags = ["--truth", tmp / "true.npy", "--curve", tmp / "c.csv"]

    def scored(what, got, want, said):
        wrong = y != true
        hit, many = (want & wrong).sum(), want.sum()
        precision, recall = 100 * hit / max(many, 1), 100 * hit / wrong.sum()
        rep.check(f"{what}: verdicts", float((got != want).sum()), 0)
        for name, v in (("precision", precision), ("recall", recall), ("f1", 2 * precision * recall / max(precision + recall, 1e-9))):
            rep.check(f"{what}: {name}", abs(said["truth"][name] - v), 1e-9)

    agreement = a * b / (a * b).sum(1, keepdims=True)
    v = agreement[at, y]
    for cut in ("mu1", "s", "mu2"):
        got, score, proposed, said = judge(tmp, [a, b], y, "--by", "agreement", "--threshold", cut, *flags)
        rep.check("agreement: score", np.abs(score - (1 - v)).max(), 1e-8)
        rep.check("proposed", float((proposed != mean.argmax(1)).sum()), 0)
        scored(f"agreement below {cut}", got, v < said["thresholds"][cut], said)
    default, *_ = judge(tmp, [a, b], y)
    rep.check("agreement by default is below mu1", float((default != (v < said["thresholds"]["mu1"])).sum()), 0)

    loss = -(np.log(a[at, y]) + np.log(b[at, y])) / 2
    got, score, _, said = judge(tmp, [a, b], y, "--by", "loss", *flags)
    rep.check("loss: score", np.abs(score - loss).max(), 1e-7)
    scored("loss from s on", got, loss >= said["thresholds"]["s"] - 1e-9, said)
    got, *_, said = judge(tmp, [a, b], y, "--by", "loss", "--share", 0.25, *flags)
    want = np.zeros(n, bool)
    want[np.argsort(-loss, kind="stable")[:n // 4]] = True
    scored("a quarter by loss", got, want, said)

    entropy = -(mean * np.log(mean)).sum(1)
    got, *_, said = judge(tmp, [a, b], y, "--by", "entropy", *flags)
    scored("entropy", got, (mean.argmax(1) != y) & (entropy < said["thresholds"]["mu2"]), said)

    got, score, _, said = judge(tmp, [a, b], y, "--by", "prediction", *flags)
    scored("prediction", got, mean.argmax(1) != y, said)

    got, score, _, said = judge(tmp, [a, b], y, "--by", "gmm", *flags)
    scored("gmm", got, score > 0.5, said)

    each = [judge(tmp, [a, b], y, "--by", c)[0] for c in ("agreement", "loss", "entropy", "gmm", "confident-learning")]
    for votes in (1, 3, 5):
        got, score, _, said = judge(tmp, [a, b], y, "--by", "vote", "--votes", votes, *flags)
        rep.check("votes", np.abs(score - np.sum(each, 0)).max(), 0)
        scored(f"{votes} votes", got, np.sum(each, 0) >= votes, said)
    return a, b, y, true


def curves(rep, tmp, a, b, y, true):
    (metrics,) = need("sklearn.metrics")
    for by in ("agreement", "loss", "gmm", "vote"):
        _, score, _, said = judge(tmp, [a, b], y, "--by", by, "--truth", tmp / "true.npy", "--curve", tmp / "c.csv")
        with open(tmp / "c.csv", newline="") as f:
            rows = [{k: float(v) for k, v in r.items()} for r in csv.DictReader(f)]
        wrong = y != true
        rep.check(f"{by}: average precision", abs(said["truth"]["average_precision"] - 100 * metrics.average_precision_score(wrong, score)), 1e-6)
        precision, recall, limits = metrics.precision_recall_curve(wrong, score)
        rep.check(f"{by}: points of the curve", abs(len(rows) - len(limits)), 0)
        for name, want in (("precision", precision), ("recall", recall)):
            rep.check(f"{by}: {name} of the curve", np.abs(np.array([r[name] for r in rows[::-1]]) - 100 * want[:-1]).max(), 1e-3)


def main():
    need_tools(RUN)
    rep = Report()
    with temp_dir() as tmp:
        a, b, y, true = others(rep, tmp)
        curves(rep, tmp, a, b, y, true)
        confident(rep, tmp)
    rep.end()


main()
