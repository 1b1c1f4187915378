"""The training methods that are timed, in PyTorch as those who use it would write them: after their papers' code, whole batches at a
time, and nothing taken to the host.

A method is asked for the losses of a batch: `out` is what each network gave, by name (logits, and of side heads head1.., feat1..),
`index` the places of the images in the data set, `time.progress` how far training is, 0 to 1, and `time.epoch` counts from 1. Each
loss reaches its own network only. Numbers are the defaults of `smkd-run train` (docs/methods.md; 10 classes).
"""
import math

import torch
import torch.nn.functional as F


class Method:
    tables = ()  # what it remembers of each image; self.NAME has a tensor [images, classes] for each network
    scalars = ()  # what else of the time the loss program of smkd-run looks at, beside the progress

    def __init__(self, networks, labels, classes):
        self.classes = classes
        self.r = [0.0] * networks  # each network's mean confidence, which MyLC looks at
        for name in self.tables:
            setattr(self, name, [self.at_first(labels) for _ in range(networks)])

    def at_first(self, labels):
        return torch.zeros(len(labels), self.classes)

    def start(self, out):
        """`out`: what networks that come trained say of all images, in inference."""

    def end_epoch(self):
        pass


class Mkd(Method):
    """Cross entropy and the other's prediction, half each."""
    epsilon = 0.5

    def losses(self, out, labels, index, time):
        z = [o["logits"] for o in out]
        logp = [F.log_softmax(v, 1) for v in z]
        return [(1 - self.epsilon) * F.cross_entropy(z[k], labels)
                + self.epsilon * F.kl_div(logp[k], logp[1 - k].detach(), reduction="batchmean", log_target=True) for k in range(2)]


class SmkdP(Method):
    """Labels refined by MyLC, taught where the teacher's entropy is below a threshold that falls with time."""
    eta, b1, b2, rho = 4.0, 10.0, -5.0, 0.5

    def __init__(self, networks, labels, classes):
        super().__init__(networks, labels, classes)
        self.full = math.log(classes)
        self.begin()

    def begin(self):
        self.seen, self.entropy = 0, [torch.zeros(()) for _ in self.r]

    def entropies(self, logp):
        return -(logp.exp() * logp).sum(1).clamp(-self.full, 0)

    def confidence(self, h):
        return min(max(1 - float(h) / self.full, 0), 1)

    def start(self, out):
        self.r = [self.confidence(self.entropies(F.log_softmax(o["logits"], 1)).mean()) for o in out]

    def end_epoch(self):
        self.r = [self.confidence(h / self.seen) for h in self.entropy]
        self.begin()

    def losses(self, out, labels, index, time):
        chi = self.full / self.eta * 2 / (1 + math.exp(-(time.progress - 0.5) * self.b2))
        logp = [F.log_softmax(o["logits"], 1) for o in out]
        q = F.one_hot(labels, self.classes).to(logp[0].dtype)
        target, gate = [], []
        for k in range(2):
            with torch.no_grad():
                h = self.entropies(logp[k])
                trust = (1 - h / self.full) / (1 + math.exp(-(self.r[k] - self.rho) * self.b1))
                gate.append((h < chi).to(q.dtype))
                self.entropy[k] += h.sum()
            target.append((1 - trust[:, None]) * q + trust[:, None] * logp[k].exp())
        self.seen += len(labels)
        losses = []
        for k in range(2):
            own = -(target[k] * logp[k]).sum(1).mean()
            taught = -(target[1 - k].detach() * logp[k]).sum(1) * gate[1 - k]
            losses.append(own + taught.sum() / gate[1 - k].sum().clamp(min=1))  # nobody taught: the sum is 0
        return losses


class CoTeaching(Method):
    """Each network learns from the rows that have the other's smallest losses."""
    forget, ramp = 0.4, 10
    scalars = ("epoch",)

    def losses(self, out, labels, index, time):
        keep = int((1 - self.forget * min((time.epoch - 1) / (self.ramp - 1), 1)) * len(labels))
        each = [F.cross_entropy(o["logits"], labels, reduction="none") for o in out]
        chosen = [torch.argsort(v.detach())[:keep] for v in each]
        return [each[k][chosen[1 - k]].mean() for k in range(2)]


class Elr(Method):
    """A row's earlier predictions are its target."""
    weight, beta = 3.0, 0.7
    tables = ("target",)

    def losses(self, out, labels, index, time):
        losses = []
        for table, o in zip(self.target, out):
            p = F.softmax(o["logits"], 1).clamp(1e-4, 1 - 1e-4)
            with torch.no_grad():
                t = self.beta * table[index] + (1 - self.beta) * p / p.sum(1, keepdim=True)
                table[index] = t
            losses.append(F.cross_entropy(o["logits"], labels) + self.weight * (1 - (t * p).sum(1)).log().mean())
        return losses


class PsKdByot(Method):
    """Labels refined by the predictions of the epoch before; the network's own classifier teaches those at its sides."""
    alpha_t, alpha, beta, temperature = 0.8, 0.1, 1e-6, 3.0
    tables = ("prev",)

    def at_first(self, labels):
        return F.one_hot(labels, self.classes).to(torch.float32)

    def losses(self, out, labels, index, time):
        losses, a, t = [], self.alpha_t * time.progress, self.temperature
        for table, o in zip(self.prev, out):
            z, heads = o["logits"], sum(name.startswith("head") for name in o)
            y = (1 - a) * F.one_hot(labels, self.classes) + a * table[index]
            own, last = F.cross_entropy(z, y), o[f"feat{heads + 1}"].detach()
            said = F.softmax(z.detach() / t, 1)
            loss = own + (1 - self.alpha) * own
            for i in range(1, heads + 1):
                head, feature = o[f"head{i}"], o[f"feat{i}"]
                counts = (feature > 0) | (last > 0)
                loss = loss + self.beta * ((feature - last) ** 2 * counts).sum() + self.alpha * t * t * F.cross_entropy(head / t, said) \
                    + (1 - self.alpha) * F.cross_entropy(head, y)
            with torch.no_grad():
                table[index] = F.softmax(z, 1)
            losses.append(loss)
        return losses


METHODS = {"mkd": Mkd, "smkd-p": SmkdP, "co-teaching": CoTeaching, "elr": Elr, "ps-kd+byot": PsKdByot}
