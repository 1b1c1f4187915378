"""What picks, places, sorts and sums up elements, with indices that are computed, and sums of products by Einsum: forward and gradients
against PyTorch, and what is refused.
"""
from one_op import *
from onnx import TensorProto as T


def holes(*shape):
    """Small numbers with zeros among them."""
    return np.where(RNG.random(shape) < .3, 0, RNG.uniform(.5, 1.5, shape)).astype(np.float32)


def wrap(i, n):
    return torch.where(i < 0, i + n, i)


# --- elements along an axis
for axis in (1, 2, -1):
    dims = {1: (4, 6), 2: (3, 9), -1: (3, 2)}[axis]
    case(f"gather elements {axis}", "GatherElements", [f(N, 3, 6), index(-3, 3, N, *dims)], [],
         lambda x, i, a=axis: torch.gather(x[:, :i.shape[1], :] if a != 1 else x[:, :, :i.shape[2]], a, wrap(i, x.shape[a])), axis=axis)
case("gather elements 0", "GatherElements", [f(N, 4), index(0, N, N, 4)], [], lambda x, i: torch.gather(x, 0, i))
TORCH = {"none": "assign", "add": "sum", "mul": "prod", "max": "amax", "min": "amin"}


def scatter(x, i, u, axis, how):
    i = wrap(i, x.shape[axis])
    if how == "none":
        return torch.scatter(x, axis, i, u)
    return torch.scatter_reduce(x, axis, i, u, TORCH[how])


def apart(low, high, rows, k):
    """Indices without repetition in a row."""
    return np.stack([RNG.permutation(high - low)[:k] + low for _ in range(rows)])


for how in TORCH:
    for draw in (f, holes, distinct):
        case(f"scatter elements {how} {draw.__name__}", "ScatterElements",
             [draw(N, 6), apart(-6, 0, N, 4) if how == "none" else index(-6, 6, N, 9), draw(N, 4 if how == "none" else 9)], [],
             lambda x, i, u, how=how: scatter(x, i, u, 1, how), axis=1, reduction=how)
    case(f"scatter elements {how} 0", "ScatterElements", [distinct(N, 3), apart(0, N, 3, N).T, distinct(N, 3)], [],
         lambda x, i, u, how=how: scatter(x, i, u, 0, how), reduction=how)
case("scatter a part", "ScatterElements", [f(N, 4, 6, 3), index(0, 4, N, 2, 5, 1), f(N, 2, 5, 1)], [],
     lambda x, i, u: scatter(x, i, u, 1, "add"), axis=1, reduction="add")
case("scatter 9", "Scatter", [f(N, 6), apart(0, 6, N, 4), f(N, 4)], [], lambda x, i, u: scatter(x, i, u, 1, "none"), opset=9, axis=1)

# --- elements by coordinates


def gather_nd(x, i, b=0):
    if b == 0:
        return x[tuple(i[..., k] for k in range(i.shape[-1]))]
    return torch.stack([gather_nd(x[k], i[k], b - 1) for k in range(x.shape[0])])


case("gather nd", "GatherND", [f(N, 4, 3), np.concatenate([index(0, N, N, 2, 1), index(-4, 4, N, 2, 1)], -1)], [], gather_nd)
case("gather nd whole", "GatherND", [f(N, 4), np.concatenate([index(-N, N, N, 1), index(-4, 4, N, 1)], -1)], [], gather_nd)
case("gather nd batch", "GatherND", [f(N, 4, 3), index(-4, 4, N, 5, 1)], [], lambda x, i: gather_nd(x, i, 1), batch_dims=1)
case("gather nd batch 2", "GatherND", [f(N, 2, 4, 3, 2), np.concatenate([index(-4, 4, N, 2, 5, 1), index(-3, 3, N, 2, 5, 1)], -1)], [],
     lambda x, i: gather_nd(x, i, 2), batch_dims=2)
case("gather nd known", "GatherND", [f(N, 4, 3)], [np.array([[0, 1], [0, -1]])], gather_nd)


def scatter_nd(x, i, u, how):
    where = tuple(i[..., k] for k in range(i.shape[-1]))
    if how in ("none", "add"):
        return x.index_put(where, u, accumulate=how == "add")
    y = list(x.reshape(-1).unbind())
    flat = torch.arange(x.numel()).reshape(x.shape)[where].reshape(-1)
    for k, v in zip(flat.tolist(), u.reshape(-1).unbind()):
        y[k] = {"mul": torch.mul, "max": torch.maximum, "min": torch.minimum}[how](y[k], v)
    return torch.stack(y).reshape(x.shape)


for how in TORCH:
    at = np.concatenate([RNG.permutation(N)[:, None], index(-4, 4, N, 1)], -1)
    case(f"scatter nd {how}", "ScatterND", [distinct(N, 4, 3), at, distinct(N, 3) / 3], [],
         lambda x, i, u, how=how: scatter_nd(x, i, u, how), reduction=how)
case("scatter nd rows", "ScatterND", [f(N, 4), index(0, N, N, 1), f(N, 4)], [], lambda x, i, u: scatter_nd(x, i, u, "add"), reduction="add")

# --- rows of the batch, a table by samples
case("gather samples", "Gather", [f(N, 4)], [np.array([2, 0, -1])], lambda x, i: x[i])
case("gather by samples", "Gather", [f(N, 4), index(-N, N, N, 2)], [], lambda x, i: x[i])

# --- sorted
for largest in (0, 1):
    case(f"top k {largest}", "TopK", [distinct(N, 9)], [np.array([4])],
         lambda x, k, b=largest: torch.topk(x, 4, 1, bool(b)), outs=2, largest=largest)
    case(f"top k inner {largest}", "TopK", [distinct(N, 7, 3)], [np.array([7])],
         lambda x, k, b=largest: torch.topk(x, 7, 1, bool(b)), outs=2, largest=largest, axis=1)
case("top k 1", "TopK", [distinct(N, 7)], [], lambda x: torch.topk(x, 3), opset=9, outs=2, k=3)
case("top k ties", "TopK", [index(0, 3, N, 20).astype(np.float32)], [np.array([20])], None, outs=2, grad=False)
case("top k NaN", "TopK", [np.array([[1, np.nan, 3, np.inf, np.nan, -np.inf, 0, -0.0]] * N, np.float32)], [np.array([8])], None, outs=2, grad=False)
case("top k NaN least", "TopK", [np.array([[1, np.nan, 3, np.inf, np.nan, -np.inf, 0, -0.0]] * N, np.float32)], [np.array([8])], None, outs=2,
     grad=False, largest=0)
case("top k int32", "TopK", [index(-4, 4, N, 13).astype(np.int32)], [np.array([6])], None, outs=2, grad=False)
for op in ("ArgMax", "ArgMin"):
    for last in (0, 1):
        case(f"{op} {last}", op, [index(0, 3, N, 12).astype(np.float32)], [], None, grad=False, axis=1, select_last_index=last)
        case(f"{op} of the batch {last}", op, [index(0, 3, N, 4).astype(np.int32)], [], None, grad=False, axis=0, keepdims=0, select_last_index=last)

# --- along an axis
for ex in (0, 1):
    for rev in (0, 1):
        back = (lambda x: x.flip(1)) if rev else (lambda x: x)
        shift = (lambda y, x, one: torch.cat([torch.full_like(x[:, :1], one), y[:, :-1]], 1)) if ex else (lambda y, x, one: y)
        case(f"cumsum {ex}{rev}", "CumSum", [f(N, 6, 3)], [np.array(1)],
             lambda x, a, back=back, shift=shift: back(shift(torch.cumsum(back(x), 1), x, 0)), exclusive=ex, reverse=rev)
        for draw in (f, holes):
            case(f"cumprod {ex}{rev} {draw.__name__}", "CumProd", [draw(N, 6, 3)], [np.array(1)],
                 lambda x, a, back=back, shift=shift: back(shift(torch.cumprod(back(x), 1), x, 1)), opset=26, exclusive=ex, reverse=rev)
case("cumsum of the batch", "CumSum", [f(N, 3)], [np.array(0)], lambda x, a: torch.cumsum(x, 0))
case("cumsum int64", "CumSum", [index(-9, 9, N, 5)], [np.array(1)], None, grad=False)


def reverse_sequence(x, n):
    return torch.stack([torch.cat([r[:k].flip(0), r[k:]]) for r, k in zip(x, n.tolist())])


case("reverse sequence", "ReverseSequence", [f(N, 6, 3), index(0, 7, N)], [], reverse_sequence, batch_axis=1 - 1, time_axis=1)
case("reverse sequence inner", "ReverseSequence", [f(N, 3, 6)], [np.array([1, 6, 0])],
     lambda x, n: torch.stack([reverse_sequence(r, n) for r in x]), batch_axis=1, time_axis=2)
for mode in ("linear", "circular"):
    top = 7 if mode == "circular" else 5
    case(f"tensor scatter {mode}", "TensorScatter", [f(N, 2, 7, 3), f(N, 2, 3, 3), index(0, top, N)], [],
         lambda x, u, i: torch.stack([r.index_copy(1, (k + torch.arange(3)) % 7, v) for r, v, k in zip(x, u, i)]), opset=24, mode=mode)

# --- sums of products: each label once, diagonals, broadcasts, any number of operands, results as they are implied
for eq, fed, known in (
        ("nij,njk->nik", [f(N, 3, 4), f(N, 4, 5)], []), ("nij,njk->nki", [f(N, 3, 4)], [f(1, 4, 5)]),
        ("nii->n", [f(N, 4, 4)], []), ("nii->ni", [f(N, 4, 4)], []), ("niji->nj", [f(N, 4, 3, 4)], []),
        ("niii->ni", [f(N, 3, 3, 3)], []), ("n...->n...", [f(N, 3, 4)], []), ("...ij,...jk", [f(N, 2, 3, 4), f(N, 2, 4, 5)], []),
        ("...ij,jk->...ik", [f(N, 2, 3, 4)], [f(4, 5)]), ("n...i,...i->n...", [f(N, 2, 3, 4)], [f(3, 4)]), ("ni,nj,nk->nijk", [f(N, 2), f(N, 3), f(N, 4)], []),
        ("nab,bc,cd,de->nae", [f(N, 2, 3)], [f(3, 4), f(4, 2), f(2, 5)]), ("ni,ni->n", [f(N, 4), f(N, 4)], []), ("ni,ni->ni", [f(N, 4), f(N, 4)], []),
        ("ni,ni", [f(N, 4), f(N, 4)], []), ("nij,kij->nk", [f(N, 3, 4)], [f(6, 3, 4)]), ("ni,mi->nm", [f(N, 3)], [f(6, 3)]), ("nhqd,nhkd->nhqk", [f(N, 2, 3, 4), f(N, 2, 5, 4)], []),
        ("n i j -> n j i", [f(N, 3, 4)], []), ("nij,nij,nij->n", [f(N, 3, 4), f(N, 3, 4), f(N, 3, 4)], []), ("nij,ij->", [f(N, 3, 4)], [f(3, 4)]),
        ("nAb,nAc->ncb", [f(N, 3, 4), f(N, 3, 2)], []), ("ni,nj->n", [f(N, 3), f(N, 4)], []), ("nii,nij->nij", [f(N, 3, 3), f(N, 3, 4)], [])):
    case(f"einsum {eq}", "Einsum", fed, known, lambda *t, eq=eq: torch.einsum(eq.replace(" ", ""), *t), equation=eq)

# --- masks and what is known
case("trilu of k", "Trilu", [f(N, 4, 5)], [np.array(-1)], lambda x, k: torch.tril(x, -1), upper=0)
case("trilu of the batch", "Trilu", [f(N, 4)], [np.array(1)], lambda x, k: torch.triu(x, 1))
case("eye like the batch", "EyeLike", [f(N, 7)], [], None, grad=False, k=1)
case("compress", "Compress", [f(N, 4, 3)], [np.array([True, False, True])], lambda x, m: x[:, [0, 2]], axis=1)
case("compress the batch", "Compress", [f(N, 4)], [np.array([False, True, True])], lambda x, m: x[[1, 2]], axis=0)
case("one hot inside", "OneHot", [index(-4, 5, N, 3)], [np.array(4), np.array([-1, 2], np.float32)], None, grad=False, axis=1)

# --- what is refused
REFUSED = [
    ("floats as indices", "GatherElements", [f(N, 3), f(N, 3)], [], "its indices must be integers", dict(axis=1)),
    ("known index outside", "GatherElements", [f(1, 3)], [np.array([[3]])], "index 3 is outside axis 1 of size 3", dict(axis=1)),
    ("other ranks", "GatherElements", [f(N, 3)], [np.array([1])], "as many dimensions as its data", dict(axis=1)),
    ("wider index", "GatherElements", [f(N, 3, 2), index(0, 3, N, 3, 4)], [], "along axis 2 its data has 2 elements", dict(axis=1)),
    ("updates of another shape", "ScatterElements", [f(N, 3), index(0, 3, N, 2), f(N, 3)], [], "must have the same shape", dict(axis=1)),
    ("unknown reduction", "ScatterElements", [f(N, 3), index(0, 3, N, 2), f(N, 2)], [], "unknown reduction 'mean'", dict(axis=1, reduction="mean")),
    ("coordinates outside", "GatherND", [f(N, 3)], [np.array([[0, 3]])], "its index 0 is outside of [N,3]", {}),
    ("too many coordinates", "GatherND", [f(N, 3)], [np.array([[0, 1, 1]])], "its indices do not fit a tensor of 2 dimensions", {}),
    ("updates that do not fit", "ScatterND", [f(N, 3), index(0, 2, N, 1), f(N, 2)], [], "do not fit its indices", {}),
    ("k of the data", "TopK", [f(N, 3), np.array([1] * N)], [], "must be one number", {}),
    ("k too large", "TopK", [f(N, 3)], [np.array([4])], "it takes 4 of 3 elements", {}),
    ("sorted batch", "TopK", [f(N, 3)], [np.array([1])], "along the batch dimension", dict(axis=0)),
    ("axis outside", "CumSum", [f(N, 3)], [np.array(2)], "axis 2 is outside a tensor of rank 2", {}),
    ("a condition of the data", "Compress", [f(N, 3), index(0, 2, N) > 0], [], "its condition, which must be known", dict(axis=0)),
    ("places of the data", "NonZero", [f(N, 3)], [], "the size of its result depends on its data", {}),
    ("values of the data", "Unique", [f(N, 3)], [], "the size of its result depends on its data", {}),
    ("an index of two sizes", "Einsum", [f(N, 3), f(N, 4)], [], "is 3 in one place, 4 in another", dict(equation="ni,ni->n")),
    ("an equation", "Einsum", [f(N, 3)], [], 'equation "ni->nii" cannot be read', dict(equation="ni->nii")),
    ("an index of nothing", "Einsum", [f(N, 3)], [], "is in no operand", dict(equation="ni->nk")),
    ("the batch twice", "Einsum", [f(N, 3), f(N, 3)], [], "has the batch under two indices", dict(equation="ni,mi->nm")),
    ("lengths that do not fit", "ReverseSequence", [f(N, 3), index(0, 3, N)], [], "its lengths [N] do not fit", {}),
]


def by_sample_numbers(report, tmp):
    """x[range(N), i], as exporters write it: each sample picks and is written to by itself, so that samples are kept apart."""
    i64 = lambda name, *v: numpy_helper.from_array(np.array(v, np.int64), name)  # noqa: E731
    head = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Gather", ["s", "first"], ["n"]),
            helper.make_node("Range", ["zero", "n", "one"], ["numbers"]), helper.make_node("Unsqueeze", ["numbers", "last"], ["a"]),
            helper.make_node("Unsqueeze", ["i", "last"], ["b"]), helper.make_node("Concat", ["a", "b"], ["at"], axis=-1)]
    x, i, dy = f(N, 4, 3), index(-4, 4, N), f(N, 3)
    for op, operands, shape in (("GatherND", ["x", "at"], (3,)), ("ScatterND", ["x", "at", "u"], (4, 3))):
        info = lambda name, t, *dims: helper.make_tensor_value_info(name, t, ["N", *dims])  # noqa: E731
        ins = [info("x", T.FLOAT, 4, 3), info("i", T.INT64)] + ([info("u", T.FLOAT, 3)] if op == "ScatterND" else [])
        g = helper.make_graph(head + [helper.make_node(op, operands, ["y"])], "g", ins, [info("y", T.FLOAT, *shape)],
                              [numpy_helper.from_array(np.array(v), k) for k, v in (("first", 0), ("zero", 0), ("one", 1))] + [i64("last", -1)])
        (tmp / "m.onnx").write_bytes(helper.make_model(g, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString())
        p = run(SMKDC, "compile", tmp / "m.onnx", "-o", tmp / "m.smkd", "--max-batch", 8)
        report.check(f"{op}: samples are kept apart", int("all samples" in p.stderr), 0)
        given = options(tmp, dict((("x", x), ("i", i), ("u", dy))[:len(ins)]), "input")
        cot = dy if op == "GatherND" else f(N, 4, 3)
        run(RUN, "grad", tmp / "m.smkd", *given, *options(tmp, {"y": cot}, "cotangent"), "-o", tmp / "g.st")
        got, want, grad = read_safetensors(tmp / "g.st"), x.copy(), np.zeros_like(x)
        if op == "GatherND":
            want = x[np.arange(N), i]
            grad[np.arange(N), i] = cot
        else:
            want[np.arange(N), i] = dy
            grad = cot.copy()
            grad[np.arange(N), i] = 0
        report.check(f"{op}: y", rel(got["y"], want), 0)
        report.check(f"{op}: gradient", rel(got["grad.x"], grad), 0)


if __name__ == "__main__":
    run_all(REFUSED, [by_sample_numbers])
