"""A PyTorch process that trains a pair with SMKD-P as `smkd-run train` does: data, two networks, losses, two updates."""
import contextlib

import numpy as np

import models
from oracle import write_safetensors
from worker import serve, timed_steps

import torch
import torch.nn.functional as F

MEAN, STD = (.4914, .4822, .4465), (.2023, .1994, .2010)  # those of runtime/data_cifar.c
PAD = 4
ETA, B1, B2, RHO = 4.0, 10.0, -5.0, 0.5  # the defaults of smkd-run train: smkd-p, mylc, r of the epoch before, denominator K


def entropy(logp):
    return -(logp.exp() * logp).sum(1)


def smkd_losses(logits, labels, progress, r):
    """Both peers' losses (docs/losses.md) and mean entropies; nothing is taken to the host."""
    classes = logits[0].shape[1]
    full = float(np.log(classes))
    chi = full / ETA * 2 / (1 + np.exp(-(progress - 0.5) * B2))
    logp = [F.log_softmax(z, 1) for z in logits]
    q = F.one_hot(labels, classes).to(logp[0].dtype)
    target, gate, h = [], [], []
    for k in range(2):
        with torch.no_grad():
            h.append(entropy(logp[k]).clamp(0, full))
            trust = (1 - h[k] / full) / (1 + np.exp(-(r[k] - RHO) * B1))
            gate.append((h[k] < chi).to(q.dtype))
        target.append((1 - trust[:, None]) * q + trust[:, None] * logp[k].exp())
    losses = []
    for k in range(2):
        own = -(target[k] * logp[k]).sum(1).mean()
        taught = -(target[1 - k].detach() * logp[k]).sum(1) * gate[1 - k]
        losses.append(own + taught.sum() / gate[1 - k].sum().clamp(min=1))  # nobody taught: the sum is 0
    return losses, [x.mean() for x in h]


class Loader:
    """Random crops and flips of a shuffled epoch, a batch at once: on a few cores that beats worker processes.

    The bytes are normalised last, so padding is black as it is in the runtime.
    """

    def __init__(self, pixels, labels, batch, fmt):
        self.padded = F.pad(torch.from_numpy(pixels), (PAD, PAD, PAD, PAD))
        self.labels, self.batch, self.fmt = torch.from_numpy(labels), batch, fmt
        self.mean = torch.tensor(MEAN).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(STD).view(1, 3, 1, 1) * 255
        self.order, self.at = torch.empty(0, dtype=torch.long), 0

    def pick(self, index, top, left, flip):
        n, side = len(index), self.padded.shape[2] - 2 * PAD
        rows = (top[:, None] + torch.arange(side))[:, None, :, None]
        columns = left[:, None] + torch.arange(side)
        columns = torch.where(flip[:, None], columns.flip(1), columns)[:, None, None, :]
        x = self.padded[index.view(n, 1, 1, 1), torch.arange(3).view(1, 3, 1, 1), rows, columns]
        x = (x.to(torch.float32) - self.mean) / self.std
        return x.contiguous(memory_format=self.fmt), self.labels[index]

    def next(self):
        if self.at + self.batch > len(self.order):
            self.order, self.at = torch.randperm(len(self.labels)), 0
        index = self.order[self.at:self.at + self.batch]
        self.at += self.batch
        n = len(index)
        return self.pick(index, torch.randint(0, 2 * PAD + 1, (n,)), torch.randint(0, 2 * PAD + 1, (n,)), torch.rand(n) < 0.5)

    def plain(self, index):
        middle = torch.full((len(index),), PAD)
        return self.pick(index, middle, middle, torch.zeros(len(index), dtype=torch.bool))


def make(o):
    fmt = models.set_up(o)
    torch.manual_seed(0)
    nets = [models.build(a, o["side"], o["classes"]).to(memory_format=fmt).train() for a in o["archs"]]

    def restart():
        for net, path in zip(nets, o["weights"]):
            models.load(net, path)
        return [models.sgd(net, o["lr"]) for net in nets]
    optimizers = restart()
    run = [torch.compile(net) for net in nets] if o["compile"] else nets
    mixed = torch.autocast("cpu", torch.bfloat16) if o["dtype"] == "bf16" else contextlib.nullcontext()
    data = np.load(o["data"])
    loader = Loader(data["pixels"], data["labels"], o["batch"], fmt)

    def train_on(x, labels, optimizers, progress, r):
        for opt in optimizers:
            opt.zero_grad()
        with mixed:
            z = [net(x) for net in run]
        losses, h = smkd_losses([v.float() for v in z], labels, progress, r)
        (losses[0] + losses[1]).backward()  # each reaches its own network only
        for opt in optimizers:
            opt.step()
        return losses, h

    def step():
        x, labels = loader.next()
        train_on(x, labels, optimizers, 0.5, (0.1, 0.1))

    def gradients(peer, inputs, to, reference=False):
        """Of one peer's initial weights by a given gradient of its logits."""
        restart()
        nets[peer].zero_grad()
        x, dy = (torch.from_numpy(np.load(f)) for f in inputs)
        with contextlib.nullcontext() if reference else mixed:
            y = (nets if reference else run)[peer](x.to(memory_format=fmt))
        y.backward(dy.to(y.dtype))
        write_safetensors(to, {k: p.grad.float().contiguous().numpy() for k, p in nets[peer].named_parameters()})
        nets[peer].zero_grad()

    def loss_gradients(logits, labels, progress, r, to):
        z = [torch.from_numpy(np.load(f)).requires_grad_(True) for f in logits]
        losses, _ = smkd_losses(z, torch.from_numpy(np.load(labels)), progress, r)
        (losses[0] + losses[1]).backward()
        write_safetensors(to, {f"grad.{k}": z[k].grad.numpy() for k in range(2)})

    def first_losses(epochs):
        """Of a run whose epochs are one batch each: the first images of the data set, not augmented."""
        fresh, r, out = restart(), [0.0, 0.0], []
        x, labels = loader.plain(torch.arange(o["batch"]))
        for t in range(1, epochs + 1):
            losses, h = train_on(x, labels, fresh, t / epochs, r)
            r = [min(max(1 - float(v) / np.log(o["classes"]), 0), 1) for v in h]
            out.append([float(v.detach()) for v in losses])
        restart()
        return out

    return {"steps": timed_steps(step), "gradients": gradients, "loss_gradients": loss_gradients, "first_losses": first_losses,
            "flops": lambda: models.step_flops(nets, loader.next()[0]), "threads": torch.get_num_threads}


if __name__ == "__main__":
    serve(make)
