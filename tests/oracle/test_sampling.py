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

REFUSED = [
    ("samples by the data", "RoiAlign", [f(N, 3, 8, 9), ROIS, index(0, N, N)], [], "its sampling_ratio is 0", {}),
    ("a grid of other dims", "GridSample", [f(N, 3, 4, 5), grid(N, 3, 6, 3)], [], "its grid [N,3,6,3] does not fit", {}),
    ("a mode", "GridSample", [f(N, 3, 4, 5), grid(N, 3, 6, 2)], [], 'mode "area"', dict(mode="area")),
    ("offsets of another size", "DeformConv", [f(N, 2, 5, 5), Known(f(3, 2, 3, 3)), f(N, 18, 4, 3)], [], "do not fit together", {}),
]

if __name__ == "__main__":
    run_all(REFUSED)
