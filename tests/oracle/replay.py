"""A training run outside our runtime: the networks of ONNX files in PyTorch, float64, with SGD written out; losses and gradients from a
float64 reference (methods_ref.py, memory_ref.py); and what outlives a step, as methods.md has it: rows of tables, states, averages,
snapshots, rounds, stages that train a part, looks at all images, MyLC's r."""
import functools
import inspect

import numpy as np
import torch

import draws
from methods_ref import batch
from onnx_torch import OnnxTorch
from smkd_ref import entropy

torch.set_num_threads(1)  # of networks as small as these


class Network:
    def __init__(self, path):
        self.net = OnnxTorch(path)
        nodes = self.net.model.graph.node
        self.statistics = [x for n in nodes if n.op_type == "BatchNormalization" for x in n.input[3:5]]
        self.initial = self.numbers()
        self.begin()

    def begin(self, order=None):
        """order(name, numbers): a parameter's numbers in another order."""
        self.take({k: torch.from_numpy(order(k, v.numpy().ravel())).reshape(v.shape) if order and k in self.net.params else v
                   for k, v in self.initial.items()})
        self.momentum = {k: torch.zeros_like(p) for k, p in self.net.params.items()}
        self.square, self.steps = {k: torch.zeros_like(p) for k, p in self.net.params.items()}, 0
        self.alone = None

    def begin_part(self, part, order):
        """What is of the part begins anew, and alone is trained; None: all go on, and are."""
        self.alone = part
        now = self.numbers()
        for k in filter(part, now) if part else ():
            now[k] = self.initial[k]
            if k in self.net.params:
                now[k] = torch.from_numpy(order(k, now[k].numpy().ravel())).reshape(now[k].shape)
                self.momentum[k] = torch.zeros_like(now[k])
        self.take(now)

    def numbers(self):
        """Parameters and running statistics."""
        return {**{k: p.detach().clone() for k, p in self.net.params.items()}, **{k: self.net.constants[k].clone() for k in self.statistics}}

    def take(self, numbers):
        with torch.no_grad():
            for k, p in self.net.params.items():
                p.copy_(numbers[k])
        self.net.constants.update({k: numbers[k].clone() for k in self.statistics})

    def untrained(self):
        return all(((self.initial[k] == 0) | (self.initial[k] == 1)).all() for k in self.statistics)

    def train(self, x):
        out = self.net.outputs(x)
        self.net.constants.update(self.net.buffers)
        return out

    def says(self, x, numbers=None):
        """Logits in inference, with other numbers if there are some."""
        return self.outputs(x, numbers)["logits"]

    def outputs(self, x, numbers=None):
        """All that it says in inference, likewise."""
        own = self.numbers() if numbers else None
        if numbers:
            self.take(numbers)
        with torch.no_grad():
            out = {name: v.numpy() for name, v in self.net.outputs(x, training=False).items()}
        if numbers:
            self.take(own)
        return out

    def update(self, outputs, gradients, lr, momentum, decay, edit=None, adamw=None):
        """The gradients of a loss by some of the outputs, chained into the network; then a step of SGD, or of AdamW with these betas and
        epsilon. What no gradient reaches decays. edit(parameters, gradients): what becomes of the gradients before."""
        params = self.net.params
        grads = torch.autograd.grad([outputs[k] for k in gradients], list(params.values()),
                                    [torch.from_numpy(np.ascontiguousarray(g)).reshape(outputs[k].shape) for k, g in gradients.items()],
                                    allow_unused=True)
        if edit:
            grads = edit(list(params.values()), [torch.zeros_like(p) if g is None else g for p, g in zip(params.values(), grads)])
        self.steps += 1
        with torch.no_grad():
            for (k, p), g in zip(params.items(), grads):
                if self.alone and not self.alone(k):
                    continue
                if adamw:
                    b1, b2, eps = adamw
                    g = torch.zeros_like(p) if g is None else g
                    self.momentum[k] = b1 * self.momentum[k] + (1 - b1) * g
                    self.square[k] = b2 * self.square[k] + (1 - b2) * g * g
                    p -= lr * decay * p
                    p -= lr * self.momentum[k] / (1 - b1 ** self.steps) / ((self.square[k] / (1 - b2 ** self.steps)).sqrt() + eps)
                    continue
                self.momentum[k] = momentum * self.momentum[k] + (0 if g is None else g) + decay * p
                p -= lr * self.momentum[k]


def peer_of(key):
    """"entropy.1" -> ("entropy", 1); "threshold" -> ("threshold", None)"""
    stem, _, k = key.rpartition(".")
    return (stem, int(k)) if k.isdigit() else (key, None)


class Metrics:
    """The numbers of one epoch by the names that metrics.jsonl has, of a network or (None) of the run."""

    def __init__(self):
        self.rows, self.sums, self.last = {}, {}, {}

    def add(self, out, n, peers, trained):
        for k in [None, *trained]:
            self.rows[k] = self.rows.get(k, 0) + n
        for key, v in out.items():
            stem, k = peer_of(key)
            if key.startswith(("grad.", "table.", "state.")) or stem == "corrected":
                continue
            if stem in ("loss", "loss.all"):
                for j in range(peers) if k is None else [k]:
                    self.sums["loss", j] = self.sums.get(("loss", j), 0) + v * n
            elif np.ndim(v) and stem != "ensemble_weight":
                self.sums[stem, k] = self.sums.get((stem, k), 0) + np.sum(v)
            else:
                self.last[stem, k] = np.float64(np.squeeze(v))

    def told(self):
        names = {"selected": "selected_count", "kept": "kept_count", "loss": "loss"}
        of = lambda stem, k: 1 if stem in ("selected", "kept") else self.rows[k]
        return {**{(names.get(s, f"mean_{s}"), k): v / of(s, k) for (s, k), v in self.sums.items()}, **self.last}


class Replay:
    """row: what a method's run looks like (test_replay.py); run: the same for all of them; images float64 [n,1,H,W], labels [n],
    targets [n,T] of a regression."""

    def __init__(self, row, run, files, images, labels, targets=None, teacher=None):
        self.row, self.run, self.x, self.y, self.targets = row, run, torch.from_numpy(images), labels, targets
        self.peers = [Network(f) for f in files]
        self.teacher = teacher and Network(teacher)
        takes = inspect.signature(row.ref).parameters
        self.accepts = lambda name: name in takes
        self.r = [0.0] * len(self.peers)
        self.memory = {f"{stem}.{k}": np.array(begin(self, f"{stem}.{k}"), np.float64)
                       for stem, begin in row.memory.items() for k in range(len(self.peers))}
        self.memory.update({name: np.array(begin(self, name), np.float64) for name, begin in row.alone.items()})
        self.hook_memory = np.zeros(16) if row.hook else None
        # (epochs, rate or None for the run's, whether it begins anew; a part that is trained alone, by names, or nothing)
        self.stages = row.stages or [(row.epochs, None, True)] * row.rounds
        self.averages, self.updates = [p.numbers() for p in self.peers], [0] * len(self.peers)
        self.snapshots = None
        held = draws.validation(run.seed, row.val_split, len(labels))
        self.trained_on = np.setdiff1d(np.arange(len(labels)), held)
        self.surveyed = held if len(held) else self.trained_on
        self.steps = self.batches = -(-len(self.trained_on) // run.batch)
        self.metrics = []

    # --- what a reference is given ------------------------------------------------------------------------------------------

    def inputs(self, index):
        """Asked before the networks see the batch."""
        return dict(self.inputs_of(index))

    def inputs_of(self, index):
        x = self.x[index]
        for name, v in self.memory.items():
            yield name, v[index] if name.startswith("table.") else v
        if self.targets is not None:
            yield "targets", self.targets[index]
        for k, p in enumerate(self.peers):
            for name, v in self.teacher.outputs(x).items() if self.teacher else ():
                yield f"teacher.{k}" if name == "logits" else f"teacher.{k}.{name}", v
            if self.row.rounds > 1:  # in the first nobody asks
                yield f"teacher.{k}", p.says(x, self.snapshots and self.snapshots[k])
            for name, v in p.outputs(x, self.averages[k]).items() if self.row.ema_decay is not None else ():
                yield f"average.{k}" if name == "logits" else f"average.{k}.{name}", v

    def refer(self, z, index, given, clock, trained=None):
        """The reference's results for what the networks said of these images; what it remembers is written down. trained: of these
        networks alone."""
        x = batch(z, self.y[index], **{k.replace(".", "_"): v for k, v in given.items()})
        out = self.row.ref(x, **self.row.numbers, **{k: v for k, v in clock.items() if self.accepts(k)})
        out = {key: v for key, v in out.items() if trained is None or peer_of(key)[1] in (None, *trained)}
        for name, old in self.memory.items():
            if name.startswith("state."):
                self.memory[name] = np.reshape(out.get(name, old), np.shape(old))
            elif name in out:
                old[index] = np.reshape(out[name], old[index].shape)
        return out

    def clock(self, epoch, step):
        epochs = self.stages[self.round - 1][0]
        return dict(progress=epoch / epochs, epoch=epoch, epochs=epochs, steps=self.steps, round=self.round, part=step / self.batches,
                    step=(epoch - 1) * self.steps + step, r=tuple(self.r), lr=self.lr, momentum=self.run.momentum,
                    weight_decay=self.run.decay)

    # --- the run ------------------------------------------------------------------------------------------------------------

    def begin_anew(self):
        """Each network starts with the numbers it came with, or with those in another order; in rounds it is its own teacher now."""
        if self.row.rounds > 1:
            self.snapshots = [p.numbers() for p in self.peers]
        for k, p in enumerate(self.peers):
            anew = self.row.anew and p.untrained()
            p.begin(functools.partial(draws.shuffled, self.run.seed, self.round, k) if anew else None)
        self.r, self.updates = [0.0] * len(self.peers), [0] * len(self.peers)

    def look_at_all(self, epoch):
        """Before an epoch: networks in inference, images in their own order."""
        if self.accepts("r") and epoch == 1:  # MyLC's r of networks that come trained
            self.r = [0 if p.untrained() else self.confidence(entropy(p.says(self.x)).mean()) for p in self.peers]
        if self.looks(epoch):
            self.survey(epoch)
        if self.row.hook and self.row.hook.before:
            self.row.hook.before(self, epoch)

    def looks(self, epoch):
        return self.row.survey and self.round == len(self.stages) and self.row.survey(epoch)

    def survey(self, epoch):
        for at in range(0, len(self.surveyed), self.run.batch):
            index = self.surveyed[at:at + self.run.batch]
            clock = dict(self.clock(epoch, 0), survey=1 if at == 0 else 2)
            given = {**self.inputs(index), **self.unseen(len(index))}
            self.refer([self.repeated(p.says(self.x[index])) for p in self.peers], index, given, clock)

    def confidence(self, mean_entropy):
        return float(np.clip(1 - mean_entropy / np.log(self.run.classes), 0, 1))

    def repeated(self, z):
        """What is said of one view stands for all: [N,C] becomes [N,V,C]."""
        return z if self.row.stacked == 1 else np.repeat(z[:, None], self.row.stacked, axis=1)

    def unseen(self, n):
        """What is told of views beside the row's own where there are none."""
        views = self.row.stacked
        return {"mix.row": np.arange(n * views), **{f"guess.{k}": np.zeros((n, views, self.run.classes)) for k in range(len(self.peers))}}

    def views(self, images, others):
        """Images of a batch as a network sees them, in several views, which without augmentation are equal: image i * V + v."""
        x = self.x[images].repeat_interleave(self.row.stacked, dim=0)
        for v in self.row.more:
            x[v::self.row.stacked] = self.x[others]
        return x

    def guess(self, k, x, n, trained):
        """What a network says of images as they are: as in training where it is being trained, and then running statistics move."""
        p = self.peers[k]
        z = p.train(x)["logits"].detach().numpy() if k in trained else p.says(x)
        return z if len(z) == n else z.reshape(n, -1, z.shape[-1])

    def told(self, z, n, narrow):
        """Logits [N,C], of several views [N,V,C]."""
        return self.repeated(z) if narrow else z if self.row.stacked == 1 else z.reshape(n, -1, z.shape[-1])

    def seen(self, x, index, k, epoch, step):
        """Images of a batch as a network sees them that are cut out and mirrored, for each network by itself or not, and mixed with those
        before them."""
        if self.row.augment:
            view = k if self.row.augment == "own" else 0
            x = torch.from_numpy(np.stack([draws.crop_flip(self.run.seed, epoch, i, view, self.x[i].numpy(), self.run.black) for i in index]))
        if self.row.mixup:
            own = draws.mixup(self.run.seed, epoch, step, self.row.mixup)
            x = own * x + (1 - own) * x.roll(1, 0)
        if self.row.cutmix:
            rows, columns = draws.cutmix(self.run.seed, epoch, step, self.row.cutmix, *x.shape[2:])
            x, other = x.clone(), x.roll(1, 0)
            x[:, :, rows, columns] = other[:, :, rows, columns]
        return x

    def mixed_labels(self, index, epoch, step):
        """{other: labels, lam: what an image keeps of its own}"""
        if self.row.mixup:
            lam = draws.mixup(self.run.seed, epoch, step, self.row.mixup)
        elif self.row.cutmix:
            h, w = self.x.shape[2:]
            rows, columns = draws.cutmix(self.run.seed, epoch, step, self.row.cutmix, h, w)
            lam = 1 - max(rows.stop - rows.start, 0) * max(columns.stop - columns.start, 0) / (h * w)
        else:
            return {}
        return dict(other=np.roll(self.y[index], 1), lam=lam)

    def one_step(self, epoch, total_epoch, step, index, beside, trained, how, mix, total_step):
        """beside: images that are no rows of the batch: partners, or of other views."""
        n, given, clock = len(index), {**self.inputs(index), **self.mixed_labels(index, total_epoch, step)}, self.clock(epoch, step)
        if self.row.drawn:
            given["labels.draw"] = self.y[draws.images_at_random(self.run.seed, total_step, n, len(self.y))]
        images = self.x[index] if how.narrow else self.views(index, beside)
        if self.row.guess:
            given.update(self.unseen(n))
            asked = self.x[beside] if self.row.guess == "partner" else images
            given.update({f"guess.{k}": self.guess(k, asked, n, trained) for k in range(len(self.peers)) if not how.narrow})
        if mix:
            clock["mix_lambda"], given["mix.row"] = mix
            images = mix[0] * images + (1 - mix[0]) * images[mix[1]]
        outputs = {k: self.peers[k].train(self.seen(images, index, k, total_epoch, step)) for k in trained}
        given.update({f"tap.{k}.{name}": v.detach().numpy() for k, o in outputs.items() for name, v in o.items() if name != "logits"})
        nothing = np.zeros((len(images), self.run.classes))  # is said by a network that this pass does not train
        z = [self.told(outputs[k]["logits"].detach().numpy() if k in outputs else nothing, n, how.narrow) for k in range(len(self.peers))]
        out = self.refer(z, index, given, clock, trained)
        for k, o in outputs.items():
            by = out[f"grad.{k}"]
            gradients = {"logits": by.sum(axis=1) if how.narrow and by.ndim == 3 else by}
            gradients.update({name: out[f"grad.tap.{k}.{name}"] for name in o if f"grad.tap.{k}.{name}" in out})
            self.peers[k].update(o, gradients, self.lr, self.run.momentum, self.run.decay, self.row.edit, self.row.adamw)
            self.average(k)
        return out

    def average(self, k):
        """Its decay is as given, at most 1 - 1/(step+1) with steps from 0; or it grows over some steps: then the first takes the network
        as it is, and the others' is times exp(-5 (1 - step/S)^2)."""
        if self.row.ema_decay is None:
            return
        step, length = self.updates[k], self.row.ema_ramp
        decay = min(self.row.ema_decay, 1 - 1 / (step + 1))
        if length and step:
            decay = self.row.ema_decay * np.exp(-5 * (1 - min(step / length, 1)) ** 2)
        self.updates[k] += 1
        now = self.peers[k].numbers()
        self.averages[k] = {name: decay * v + (1 - decay) * now[name] for name, v in self.averages[k].items()}

    def chosen(self, how, number):
        """Images of a pass that come as rows, and the others; all, where there are none."""
        every = self.trained_on
        if how.by is None:
            return every, every
        own = number if how.each else 0
        keep = self.memory[f"table.keep.{(own + how.by) % len(self.peers)}"][every] > 0
        return every[keep] if keep.any() else every, every[~keep] if not keep.all() else every

    def train_epoch(self, epoch, total_epoch):
        """In one pass through the images, or one for each network, in an order of its own."""
        m, seed, how = Metrics(), self.run.seed, self.row.passes(self.round, epoch, self.stages[self.round - 1][0])
        passes = [[k] for k in range(len(self.peers))] if how.each else [range(len(self.peers))]
        for number, trained in enumerate(passes):
            rows, others = self.chosen(how, number)
            order = draws.order(seed, total_epoch, rows, number)
            beside = order
            if self.row.guess == "partner":
                beside = draws.partners(seed, total_epoch, self.y, order, number)
            elif self.row.more:
                beside = draws.more(seed, total_epoch, others, len(order), number)
            self.batches = -(-len(order) // self.run.batch)
            for step in range(self.batches):
                at = slice(step * self.run.batch, (step + 1) * self.run.batch)
                n = len(order[at])
                mix = draws.mixing(seed, total_epoch, number, step, n * self.row.stacked, how.mix) if how.mix else None
                total_step = ((total_epoch - 1) * len(passes) + number) * self.steps + step
                m.add(self.one_step(epoch, total_epoch, step, order[at], beside[at], trained, how, mix, total_step), n, len(self.peers), trained)
        return m.told()

    def go(self):
        total_epoch = 0
        for self.round, (epochs, rate, anew, *part) in enumerate(self.stages, 1):
            self.lr = rate or self.run.lr
            if self.round > 1 and anew:
                self.begin_anew()
            for k, p in enumerate(self.peers):
                p.begin_part(part[0] if part else None, functools.partial(draws.shuffled, self.run.seed, self.round, k))
            for epoch in range(1, epochs + 1):
                total_epoch += 1
                self.look_at_all(epoch)
                self.metrics.append(self.train_epoch(epoch, total_epoch))
                for k in range(len(self.peers)):
                    if self.accepts("r"):
                        self.r[k] = self.confidence(self.metrics[-1]["mean_entropy", k])
                if self.row.hook and self.row.hook.after:
                    self.row.hook.after(self, epoch, epoch == epochs)
        return self

    def tensors(self):
        """What a checkpoint holds after it, by the names there."""
        out = dict(self.memory)
        if self.hook_memory is not None:
            out["hook.memory"] = self.hook_memory
        for k, p in enumerate(self.peers):
            parts = {"peer": p.numbers(), **({"opt.exp_avg": p.momentum, "opt.exp_avg_sq": p.square} if self.row.adamw else {"momentum": p.momentum})}
            if self.row.ema_decay is not None:
                parts["ema"] = self.averages[k]
            if self.snapshots:
                parts["snapshot"] = self.snapshots[k]
            out.update({f"{part}.{k}.{name}": v.numpy() for part, of in parts.items() for name, v in of.items()})
        return out
