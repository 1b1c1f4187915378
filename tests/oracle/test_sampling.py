"""What reads tensors at places that are computed or resizes them, and transforms into frequencies: forward and gradients against PyTorch
(torchvision), and what is refused.
"""
from one_op import *

F = torch.nn.functional


def grid(*shape):
    return RNG.uniform(-1.4, 1.4, shape).astype(np.float32)


def nd(mode, dims):
    return mode if dims == 3 or mode == "nearest" else {"linear": "bilinear", "cubic": "bicubic"}[mode]


# --- grids
for dims in (2, 3):
    for mode in ("linear", "nearest", "cubic")[:3 if dims == 2 else 2]:
        for padding in ("zeros", "border", "reflection"):
            for align in (0, 1):
                space, to = ((4, 5), (3, 6)) if dims == 2 else ((3, 4, 5), (2, 3, 4))
                case(f"grid {dims} {mode} {padding} {align}", "GridSample", [f(N, 3, *space), grid(N, *to, dims)], [],
                     lambda x, g, a=(("bilinear" if mode == "linear" else nd(mode, 2)), padding, bool(align)): F.grid_sample(x, g, *a),
                     opset=20, tol=8, mode=mode, padding_mode=padding, align_corners=align)
case("grid 16", "GridSample", [f(N, 3, 4, 5), grid(N, 3, 6, 2)], [], lambda x, g: F.grid_sample(x, g, "bicubic", "border", False), opset=16, tol=8,
     mode="bicubic", padding_mode="border")
for align in (0, 1):
    for size in ((N, 2, 3, 4), (N, 2, 2, 3, 4)):
        d = len(size) - 2
        case(f"affine grid {d} {align}", "AffineGrid", [f(N, d, d + 1)], [np.array(size)],
             lambda t, s, a=align, size=size: F.affine_grid(t, size, bool(a)), opset=20, align_corners=align)

# --- regions and windows with offsets
ROIS = np.sort(RNG.uniform(-2, 20, (N, 2, 2)), 1)[:, :, ::-1].reshape(N, 4).astype(np.float32)


def roi_align(x, r, b, offset, scale=.5, bins=(3, 4), ratio=2):
    """The mean of samples, each between four elements of its image; what is more than one element outside counts as 0."""
    first, last = r[:, [1, 0]] * scale - offset, r[:, [3, 2]] * scale - offset
    size = last - first if offset else (last - first).clamp(min=1)
    at = []
    for d in range(2):
        k = (torch.arange(bins[d])[:, None] + (torch.arange(ratio) + .5) / ratio).reshape(-1)
        at.append(first[:, d, None] + size[:, d, None] / bins[d] * k)
    keep = [(a >= -1) & (a <= n) for a, n in zip(at, x.shape[2:])]
    y, x_at = (a.clamp(0, n - 1) for a, n in zip(at, x.shape[2:]))
    g = torch.stack(torch.broadcast_tensors(x_at[:, None, :] / (x.shape[3] - 1) * 2 - 1, y[:, :, None] / (x.shape[2] - 1) * 2 - 1), -1)
    v = F.grid_sample(x[b], g, align_corners=True) * (keep[0][:, None, :, None] & keep[1][:, None, None, :])
    return F.avg_pool2d(v, ratio)


for place in ("half_pixel", "output_half_pixel"):
    case(f"roi align {place}", "RoiAlign", [f(N, 3, 8, 9), ROIS, index(0, N, N)], [],
         lambda x, r, b, o=place == "half_pixel": roi_align(x, r, b, .5 * o), tol=20, output_height=3, output_width=4, spatial_scale=.5,
         sampling_ratio=2, coordinate_transformation_mode=place)


def deform_conv(x, w, o, b=None, m=None, stride=(1, 1), pad=(0, 0), dilation=(1, 1), groups=1, parts=1):
    """Taps from grid_sample, then a convolution whose window is the taps of one place."""
    (kh, kw), (oh, ow), (h, wd) = w.shape[2:], o.shape[2:], x.shape[2:]
    o = o.reshape(len(x), parts, kh, kw, 2, oh, ow)
    rows = (torch.arange(oh) * stride[0] - pad[0])[:, None] + (torch.arange(kh) * dilation[0])[:, None, None, None]
    cols = torch.arange(ow) * stride[1] - pad[1] + (torch.arange(kw) * dilation[1])[:, None, None]
    out = []
    for p, part in enumerate(x.chunk(parts, 1)):
        at = torch.stack([(cols + o[:, p, :, :, 1]) / (wd - 1) * 2 - 1, (rows + o[:, p, :, :, 0]) / (h - 1) * 2 - 1], -1)
        v = F.grid_sample(part, at.reshape(len(x), kh * kw * oh, ow, 2), align_corners=True).reshape(*part.shape[:2], kh * kw, oh, ow)
        out.append(v if m is None else v * m.reshape(len(x), parts, 1, kh * kw, oh, ow)[:, p])
    v = torch.cat(out, 1)
    return F.conv3d(v, w.reshape(*w.shape[:2], kh * kw, 1, 1), b, groups=groups)[:, :, 0]


def offsets(channels, *to):
    return RNG.uniform(-1.5, 1.5, (N, channels, *to)).astype(np.float32)


W = f(6, 4, 2, 3), f(6, 2, 2, 3)
case("deform", "DeformConv", [f(N, 4, 6, 7), Known(W[0]), offsets(12, 5, 5)], [], deform_conv, opset=19, tol=20)
case("deform bias and mask", "DeformConv", [f(N, 4, 6, 7), Known(W[0]), offsets(12, 3, 4), Known(f(6)), f(N, 6, 3, 4)], [],
     lambda x, w, o, b, m: deform_conv(x, w, o, b, m, (2, 2), (1, 1)), opset=19, tol=20, strides=[2, 2], pads=[1, 1, 0, 1])
case("deform groups", "DeformConv", [f(N, 4, 6, 7), Known(W[1]), offsets(24, 4, 5)], [],
     lambda x, w, o: deform_conv(x, w, o, dilation=(2, 1), groups=2, parts=2), opset=19, tol=20, group=2, offset_group=2, dilations=[2, 1])

# --- blocks, places and sizes
case("col2im", "Col2Im", [f(N, 2 * 6, 9)], [np.array([5, 6]), np.array([2, 3])],
     lambda x, a, b: F.fold(x, (5, 6), (2, 3), padding=(1, 1), stride=(2, 2)), strides=[2, 2], pads=[1, 1, 1, 1])
case("col2im dilated", "Col2Im", [f(N, 3 * 4, 12)], [np.array([5, 5]), np.array([2, 2])],
     lambda x, a, b: F.fold(x, (5, 5), (2, 2), dilation=(2, 1)), dilations=[2, 1])
X = f(N, 2, 4, 6)
PLACES = F.max_pool2d(torch.tensor(X), 2, return_indices=True)[1].numpy() + np.arange(N * 2).reshape(N, 2, 1, 1) * 24
case("max unpool", "MaxUnpool", [f(N, 2, 2, 3), PLACES], [],
     lambda x, i: F.max_unpool2d(x, i % 24, 2), opset=11, kernel_shape=[2, 2], strides=[2, 2])
case("center crop pad", "CenterCropPad", [f(N, 5, 4, 3)], [np.array([2, 7])], lambda x, s: F.pad(x[:, 1:3], (2, 2)), axes=[1, 3])
BOXES = np.concatenate([index(0, N, N, 1), np.sort(index(-2, 12, N, 2, 2), 1).reshape(N, 4)], 1).astype(np.float32)


def max_roi_pool(x, r, scale=.7, bins=(3, 2)):
    out = torch.zeros(len(r), x.shape[1], *bins, dtype=x.dtype)
    c_round = lambda v: int(np.floor(abs(v) + .5) * np.sign(v))  # noqa: E731
    for k, box in enumerate(r.tolist()):
        x1, y1, x2, y2 = (c_round(np.float32(v) * np.float32(scale)) for v in box[1:])
        for i in range(bins[0]):
            for j in range(bins[1]):
                lim = []
                for low, high, at, count, size in ((y1, y2, i, bins[0], x.shape[2]), (x1, x2, j, bins[1], x.shape[3])):
                    b = np.float32(max(high - low + 1, 1)) / np.float32(count)
                    lim.append(slice(*(int(np.clip(v + low, 0, size)) for v in (np.floor(at * b), np.ceil((at + 1) * b)))))
                part = x[int(box[0]), :, lim[0], lim[1]]
                if part.numel():
                    out[k, :, i, j] = part.amax((1, 2))
    return out


case("max roi pool", "MaxRoiPool", [distinct(N, 2, 8, 9), BOXES], [], lambda x, r: max_roi_pool(x, r.detach()) + 0 * r.sum(), opset=11, grad=False,
     pooled_shape=[3, 2], spatial_scale=.7)

# --- sizes
SIZES = [("linear", "bilinear"), ("cubic", "bicubic")]
for mode, name in SIZES:
    for align in (0, 1):
        for to in ((7, 9), (3, 4)):
            case(f"resize {mode} {align} {to}", "Resize", [f(N, 2, 5, 6), Known(np.zeros(0, np.float32)), Known(np.zeros(0, np.float32))], [np.array(to)],
                 lambda x, a, b, s, m=(name, bool(align)), to=to: F.interpolate(x, to, mode=m[0], align_corners=m[1]), tol=20, mode=mode, axes=[2, 3],
                 coordinate_transformation_mode="align_corners" if align else "pytorch_half_pixel")
    case(f"resize {mode} antialias", "Resize", [f(N, 2, 11, 13), Known(np.zeros(0, np.float32)), Known(np.zeros(0, np.float32))], [np.array([4, 5])],
         lambda x, r, b, s, m=name: F.interpolate(x, (4, 5), mode=m, antialias=True), tol=20, mode=mode, axes=[2, 3], antialias=1,
         exclude_outside=1, cubic_coeff_a=-.5, coordinate_transformation_mode="half_pixel")


def crop(x, to, roi, value):
    at = [(torch.linspace(roi[d], roi[2 + d], to[d], dtype=x.dtype) * (x.shape[2 + d] - 1)) for d in range(2)]
    out = [(a < 0) | (a > n - 1) for a, n in zip(at, x.shape[2:])]
    y, x_at = (a / (n - 1) * 2 - 1 for a, n in zip(at, x.shape[2:]))
    g = torch.stack(torch.broadcast_tensors(x_at[None, :], y[:, None]), -1)
    v = F.grid_sample(x, g.expand(len(x), *g.shape), align_corners=True, padding_mode="border")
    return torch.where(out[0][:, None] | out[1], torch.tensor(value, dtype=x.dtype), v)


ROI = np.array([.2, -.1, .9, 1.2], np.float32)
case("resize a crop", "Resize", [f(N, 2, 6, 7), Known(ROI), Known(np.zeros(0, np.float32))], [np.array([5, 8])],
     lambda x, r, b, s: crop(x, (5, 8), r.tolist(), 9.0), mode="linear", axes=[2, 3], tol=8,
     coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=9.0)
case("resize along channels", "Resize", [f(N, 3, 5, 6), Known(np.zeros(0, np.float32)), Known(np.zeros(0, np.float32))], [np.array([7, 4])],
     lambda x, a, b, s: F.interpolate(x[:, None], (7, 4, 6), mode="trilinear")[:, 0], tol=20, mode="linear", axes=[1, 2],
     coordinate_transformation_mode="half_pixel")

# --- frequencies


def parts(z):
    return torch.view_as_real(z)


def signal(x):
    return torch.complex(x[..., 0], x[..., 1] if x.shape[-1] == 2 else torch.zeros_like(x[..., 0]))


for p in (1, 2):
    for n in (None, 5, 12):
        length = [] if n is None else [np.array(n)]
        case(f"dft {p} {n}", "DFT", [f(N, 9, p)], length, lambda x, *a, n=n: parts(torch.fft.fft(signal(x), n)), opset=17)
        case(f"dft inverse {p} {n}", "DFT", [f(N, 9, p)], length, lambda x, *a, n=n: parts(torch.fft.ifft(signal(x), n)), opset=17, inverse=1)
case("dft onesided", "DFT", [f(N, 9, 1)], [], lambda x: parts(torch.fft.rfft(x[..., 0])), opset=17, onesided=1)
case("dft axis", "DFT", [f(N, 6, 4, 3, 2)], [np.array(7), np.array(1)], lambda x, n, a: parts(torch.fft.fft(signal(x), 7, 1)), opset=20)
case("dft back to reals", "DFT", [f(N, 5, 2)], [np.array(8)], lambda x, n: torch.fft.irfft(signal(x), 8)[..., None], opset=20, onesided=1, inverse=1)
case("dft back to an odd number", "DFT", [f(N, 5, 2)], [np.array(9)], lambda x, n: torch.fft.irfft(signal(x), 9)[..., None], opset=20, onesided=1, inverse=1)


def frames(x, step, frame, window, full):
    v = x[..., 0].unfold(1, frame, step) * window
    return parts((torch.fft.fft if full else torch.fft.rfft)(v))


case("stft", "STFT", [f(N, 32, 1)], [np.array(4), f(8) + 2], lambda x, s, w: frames(x, 4, 8, w, False), opset=17)
case("stft both sides", "STFT", [f(N, 32, 1), Known(np.array(5)), Known(f(7)), Known(np.array(7))], [], lambda x, s, w, n: frames(x, 5, 7, w, True), opset=17,
     onesided=0)

REFUSED = [
    ("boxes by the data", "NonMaxSuppression", [f(N, 6, 4), f(N, 2, 6)], [np.array(3)], "how many boxes it keeps depends on the data", {}),
    ("a transform of the batch", "DFT", [f(N, 9, 1)], [], "it transforms along the batch", dict(axis=0), 17),
    ("three parts", "DFT", [f(N, 9, 3)], [], "its real and imaginary parts", {}, 17),
    ("a long frame", "STFT", [f(N, 9, 1)], [np.array(4), f(12)], "frames of 12 do not fit a signal of 9", {}, 17),
    ("columns", "Col2Im", [f(N, 12, 12)], [np.array([5, 6]), np.array([5, 3])], "do not fit", {}),
    ("a region of the data", "Resize", [f(N, 2, 5, 6), f(N), Known(np.zeros(0, np.float32))], [np.array([4])], "its region, two numbers for each axis, must be known",
     dict(mode="linear", axes=[2], coordinate_transformation_mode="tf_crop_and_resize")),
    ("samples by the data", "RoiAlign", [f(N, 3, 8, 9), ROIS, index(0, N, N)], [], "its sampling_ratio is 0", {}),
    ("a grid of other dims", "GridSample", [f(N, 3, 4, 5), grid(N, 3, 6, 3)], [], "its grid [N,3,6,3] does not fit", {}),
    ("a mode", "GridSample", [f(N, 3, 4, 5), grid(N, 3, 6, 2)], [], 'mode "area"', dict(mode="area")),
    ("offsets of another size", "DeformConv", [f(N, 2, 5, 5), Known(f(3, 2, 3, 3)), f(N, 18, 4, 3)], [], "do not fit together", {}),
]

if __name__ == "__main__":
    run_all(REFUSED)
