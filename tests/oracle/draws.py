"""What a training run draws from its seed, without the runtime: validation images, the order of an epoch's, how they are cut out and
mirrored, partners of theirs, what they are mixed with, images drawn at random, first values of tables and of layers that a method trains
itself, the numbers of a later round. Philox4x32-10 (Salmon et al. 2011) with the seed as its key and a stream of numbers for each use
(runtime/data.h)."""
import math

import numpy as np

SPLIT, SHUFFLE, AUGMENT, MIX, TABLE, DRAW, ROUND, PARTNER, MORE = 2, 3, 4, 6, 7, 8, 9, 10, 11  # kinds of streams
WORD = 0xffffffff


def philox(counter, key):
    c, (k0, k1) = list(counter), key
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k0, b & WORD, a >> 32 ^ c[3] ^ k1, a & WORD]
        k0, k1 = k0 + 0x9E3779B9 & WORD, k1 + 0xBB67AE85 & WORD
    return c


class Stream:
    def __init__(self, seed, kind, epoch=0, item=0):
        stream = kind << 60 | (epoch & 0xffffff) << 36 | item & 0xfffffffff
        self.key, self.high = (seed & WORD, seed >> 32), (stream & WORD, stream >> 32)
        self.position, self.left = 0, []

    def u32(self):
        if not self.left:
            self.left = philox((self.position & WORD, self.position >> 32, *self.high), self.key)
            self.position += 1
        return self.left.pop(0)

    def u64(self):
        return self.u32() << 32 | self.u32()

    def below(self, n):
        """Numbers near 2^64 would favour small results: they are drawn again."""
        if n < 2:
            return 0
        most = 2 ** 64 - 1
        while (v := self.u64()) >= most - most % n:
            pass
        return v % n

    def uniform(self):
        return (self.u64() >> 11) / 2 ** 53


def permute(s, values):
    """Fisher and Yates from the end."""
    out = list(values)
    for i in range(len(out), 1, -1):
        j = s.below(i)
        out[i - 1], out[j] = out[j], out[i - 1]
    return np.array(out)


def order(seed, epoch, images, number=0):
    """The images of a pass (from 0) of an epoch (from 1), as --sampler shuffle has them."""
    return permute(Stream(seed, SHUFFLE, epoch, number), images)


def more(seed, epoch, images, n, number=0):
    """Beside so many rows of a pass as many images of others: all of them, in an order that each lap has of its own."""
    s = Stream(seed, MORE, epoch, number)
    return np.concatenate([permute(s, images) for _ in range(-(-n // len(images)))])[:n]


def validation(seed, share, n):
    """The images that --val-split holds out of n, in their order."""
    return np.sort(permute(Stream(seed, SPLIT), range(n))[:math.floor(share * n + 0.5)])


def crop_flip(seed, epoch, image, view, x, around, pad=4):
    """A view of an image [C,H,W]: as much of it with `pad` pixels of `around` on each side, from a place of its own, mirrored or not."""
    s = Stream(seed, AUGMENT, epoch, int(image))
    s.position = view << 48
    top, left, mirrored = s.below(2 * pad + 1), s.below(2 * pad + 1), s.uniform() < 0.5
    out = np.pad(x, ((0, 0), (pad, pad), (pad, pad)), constant_values=around)[:, top:top + x.shape[1], left:left + x.shape[2]]
    return out[:, :, ::-1] if mirrored else out


def partners(seed, epoch, labels, order, number=0):
    """For each image in that order another one of its label, or itself: one of all but the last, which stands in for the image."""
    s, out = Stream(seed, PARTNER, epoch, number), []
    for image in order:
        of = np.flatnonzero(labels == labels[image])
        other = of[s.below(len(of) - 1)] if len(of) > 1 else image
        out.append(of[-1] if other == image else other)
    return np.array(out)


def standard_normal(s):
    """Marsaglia's polar method, of whose two numbers one is kept."""
    while True:
        x, y = (2 * s.uniform() - 1 for _ in range(2))
        r = x * x + y * y
        if 0 < r < 1:
            return x * math.sqrt(-2 * math.log(r) / r)


def log_gamma(s, alpha):
    """The logarithm of Gamma(alpha, 1) by Marsaglia and Tsang; below 1 by Gamma(a) = Gamma(a + 1) U^(1/a)."""
    more = math.log(1 - s.uniform()) / alpha if alpha < 1 else 0.0
    d = (alpha + 1 if alpha < 1 else alpha) - 1 / 3
    while True:
        x = standard_normal(s)
        v = (1 + x / math.sqrt(9 * d)) ** 3
        if v > 0 and math.log(1 - s.uniform()) < x * x / 2 + d - d * v + d * math.log(v):
            return math.log(d * v) + more


def mixing(seed, epoch, number, batch, n, alpha):
    """(lambda, row that each of n images is mixed with) of a batch of a pass: of Beta(alpha, alpha), the larger of it and 1 - it."""
    s = Stream(seed, MIX, epoch, number << 32 | batch)
    own = share(s, alpha)
    return max(own, 1 - own), permute(s, range(n))


def share(s, alpha):
    """Of Beta(alpha, alpha)."""
    a, b = log_gamma(s, alpha), log_gamma(s, alpha)
    return 1 / (1 + math.exp(b - a))


def mixup(seed, epoch, batch, alpha):
    """What the images of a batch keep of themselves."""
    return share(Stream(seed, MIX, epoch, batch), alpha)


def cutmix(seed, epoch, batch, alpha, height, width):
    """The rows and columns that come from another image, of a centre drawn anywhere."""
    s = Stream(seed, MIX, epoch, batch)
    half = 0.5 * math.sqrt(1 - share(s, alpha))
    x, y = s.below(width), s.below(height)
    within = lambda at, by, size: slice(max(at - int(half * by), 0), min(at + int(half * by), size))
    return within(y, height, height), within(x, width, width)


def images_at_random(seed, step, count, n):
    """For each row of a step's batch another image."""
    s = Stream(seed, DRAW, 0, step)
    return np.array([s.below(n) for _ in range(count)])


def fnv1a(text):
    h = 0xcbf29ce484222325
    for byte in text.encode():
        h = (h ^ byte) * 0x100000001b3 & (1 << 64) - 1
    return h


def shuffled(seed, round, peer, name, numbers):
    """What a parameter starts a later round with: the numbers it came with, in an order that is its name's."""
    return permute(Stream(seed ^ fnv1a(name), ROUND, round, peer), numbers)


def uniform(seed, table, shape, most=1):
    """A layer's weight [out,in,..], between -most and most over the root of its fan-in."""
    s = Stream(seed, TABLE, fnv1a(table) & 0xffff)
    return most * np.array([2 * s.uniform() - 1 for _ in range(math.prod(shape))]).reshape(shape) / math.sqrt(math.prod(shape[1:]))


def normal(seed, table, count, deviation):
    """What a table starts with, by Box and Muller; its stream is that of its name."""
    s, out = Stream(seed, TABLE, fnv1a(table) & 0xffff), []
    while len(out) < count:
        r, angle = math.sqrt(-2 * math.log(1 - s.uniform())), 6.283185307179586 * s.uniform()
        out += [r * math.cos(angle), r * math.sin(angle)]
    return deviation * np.array(out[:count])
