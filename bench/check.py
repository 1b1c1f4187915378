"""Do both sides compute the same? Nothing is timed that has not passed here."""
import numpy as np

from oracle import read_safetensors, rel

WHOLE, EACH = 1e-3, 2e-2  # relative error of all gradients as one vector, and of a single tensor
LOGITS, LOGITS_BF16 = 1e-4, 5e-2
# A tensor's norm counts as at least this share of the whole gradient's. Below are sums whose terms cancel: BatchNorm shifts
# in front of another BatchNorm. On those PyTorch's own modes are up to 4 % off its float64.
FLOOR = 1e-4
BF16_WHOLE, BF16_EACH = 1.5, 2.0  # times PyTorch's own bfloat16 error: there is no exact answer to be held to
INPUTS = 8


class Differs(Exception):
    pass


def gradients(ours, theirs, reference=None):
    """Compares files of gradients; the result's "good" says whether both limits are met.

    `reference` (PyTorch in float32) is given where both sides compute in bfloat16.
    """
    theirs = read_safetensors(theirs)
    want = read_safetensors(reference) if reference else theirs
    whole, each = difference(read_safetensors(ours), want)
    limits = [WHOLE, EACH]
    if reference:
        own_whole, own_each = difference(theirs, want)
        limits = [max(WHOLE, BF16_WHOLE * own_whole), max(EACH, BF16_EACH * max(own_each.values()))]
    worst = max(each, key=each.get)
    return {"good": whole <= limits[0] and each[worst] <= limits[1], "gradient_error": whole, "worst_tensor": worst,
            "worst_tensor_error": each[worst], "tensors": len(each), "limits": limits}


def one_is_good(compare):
    """compare(seed) for one input after the other, up to INPUTS, until both limits are met.

    One activation within rounding error of a ReLU's kink may fall to either side, and behind a depthwise convolution, whose
    BatchNorm divides by next to nothing where a channel is nearly dead, that is percents of the gradient: PyTorch's two
    memory formats differ by up to 70 % on ShuffleNet. A wrong gradient is wrong for every input, a kink is met by some.
    """
    tried = []
    for seed in range(INPUTS):
        tried.append(compare(seed))
        if tried[-1]["good"]:
            return tried[-1] | {"inputs": len(tried)}
    best = min(tried, key=lambda f: f["gradient_error"])
    raise Differs(f"gradients differ by {best['gradient_error']:.1e} (limit {best['limits'][0]:.0e}), {best['worst_tensor']} by "
                  f"{best['worst_tensor_error']:.1e} (limit {best['limits'][1]:.0e}), the best of {INPUTS} inputs")


def difference(got, want):
    """(error of the whole, error of each tensor); NaN is infinitely wrong."""
    if missing := set(want) - set(got):
        raise Differs(f"our gradients lack {sorted(missing)[:4]}")
    norm = np.sqrt(sum(float((v.astype(np.float64) ** 2).sum()) for v in want.values()))
    if not np.isfinite(norm) or norm == 0:
        raise Differs(f"PyTorch's gradient has the norm {norm}")
    off = np.sqrt(sum(float(((got[k].astype(np.float64) - v) ** 2).sum()) for k, v in want.items()))
    return (float(off / norm) if np.isfinite(off) else np.inf), {k: float(rel(got[k], v, FLOOR * norm)) for k, v in want.items()}


def logits(name, got, want, dtype):
    return within(f"the logits of {name} and onnxruntime", got, want, LOGITS if dtype == "f32" else LOGITS_BF16)


def within(what, got, want, limit):
    error = rel(np.asarray(got), np.asarray(want))
    if not error <= limit:
        raise Differs(f"{what} differ by {error:.1e} (limit {limit:.0e})")
    return error
