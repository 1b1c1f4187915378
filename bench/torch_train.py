"""A PyTorch process that trains as `smkd-run train` does: data, one network or several, the losses of a method, an update of each."""
import contextlib
import types

import numpy as np

import models
from methods import METHODS
from oracle import write_safetensors
from worker import serve, timed_steps

import torch
import torch.nn.functional as F

MEAN, STD = (.4914, .4822, .4465), (.2023, .1994, .2010)  # those of runtime/data_cifar.c
PAD = 4


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
        return x.contiguous(memory_format=self.fmt), self.labels[index], index

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


def at_time(progress, epoch):
    return types.SimpleNamespace(progress=progress, epoch=epoch)


def make(o):
    fmt = models.set_up(o)
    torch.manual_seed(0)
    nets = [models.build(a, o["side"], o["classes"], o["heads"]).to(memory_format=fmt).train() for a in o["archs"]]
    run = [torch.compile(net) for net in nets] if o["compile"] else nets
    mixed = torch.autocast("cpu", torch.bfloat16) if o["dtype"] == "bf16" else contextlib.nullcontext()
    data = np.load(o["data"])
    loader = Loader(data["pixels"], data["labels"], o["batch"], fmt)

    def restart():
        for net, path in zip(nets, o["weights"]):
            models.load(net, path)
        return METHODS[o["method"]](len(nets), loader.labels, o["classes"]), [models.sgd(net, o["lr"]) for net in nets]
    method, optimizers = restart()

    def train_on(x, labels, index, method, optimizers, time):
        for opt in optimizers:
            opt.zero_grad()
        with mixed:
            out = [models.outputs(net(x)) for net in run]
        losses = method.losses([{k: v.float() for k, v in y.items()} for y in out], labels, index, time)
        sum(losses).backward()  # each reaches its own network only
        for opt in optimizers:
            opt.step()
        return losses

    def step():
        train_on(*loader.next(), method, optimizers, at_time(0.5, 2))

    def gradients(peer, inputs, names, to, reference=False):
        """Of one peer's initial weights by a given gradient of the outputs of these names."""
        restart()
        nets[peer].zero_grad()
        x, dy = (torch.from_numpy(np.load(f)) for f in inputs)
        with contextlib.nullcontext() if reference else mixed:
            out = models.outputs((nets if reference else run)[peer](x.to(memory_format=fmt)))
        torch.autograd.backward([out[k] for k in names], [dy.to(out[k].dtype) for k in names])
        write_safetensors(to, {k: p.grad.float().contiguous().numpy() for k, p in nets[peer].named_parameters()})
        nets[peer].zero_grad()

    def needs():
        """What the loss program of the method looks at beside outputs, labels and the progress."""
        return {"tables": method.tables, "scalars": method.scalars}

    def loss_gradients(inputs, labels, progress, epoch, r, to):
        """inputs: files by the names of the loss program's, logits.K, tap.K.NAME, table.NAME.K."""
        fresh, _ = restart()
        fresh.r = r
        out = [{} for _ in nets]
        for name, file in inputs.items():
            x, parts = torch.from_numpy(np.load(file)), name.split(".")
            if parts[0] == "table":
                getattr(fresh, parts[1])[int(parts[2])][:len(x)] = x
            else:
                out[int(parts[1])][parts[2] if parts[0] == "tap" else parts[0]] = x.requires_grad_(True)
        labels = torch.from_numpy(np.load(labels))
        sum(fresh.losses(out, labels, torch.arange(len(labels)), at_time(progress, epoch))).backward()
        write_safetensors(to, {f"grad.{k}" if name == "logits" else f"grad.tap.{k}.{name}": x.grad.numpy()
                               for k, y in enumerate(out) for name, x in y.items() if x.grad is not None})

    def first_losses(epochs):
        """Of a run whose epochs are one batch each: the first images of the data set, not augmented."""
        (fresh, optimizers), losses = restart(), []
        batch = loader.plain(torch.arange(o["batch"]))
        with torch.no_grad():
            fresh.start([models.outputs(net.eval()(batch[0])) for net in nets])
        for net in nets:
            net.train()
        for t in range(1, epochs + 1):
            losses.append([float(v.detach()) for v in train_on(*batch, fresh, optimizers, at_time(t / epochs, t))])
            fresh.end_epoch()
        restart()
        return losses

    return {"steps": timed_steps(step), "gradients": gradients, "needs": needs, "loss_gradients": loss_gradients,
            "first_losses": first_losses, "flops": lambda: models.step_flops(nets, loader.next()[0]), "threads": torch.get_num_threads}


if __name__ == "__main__":
    serve(make)
