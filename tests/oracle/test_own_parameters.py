"""What a method trains itself, beside torch.optim: the map of FitNets over a few steps, by SGD with momentum and decay and by Adam. The
states that one step puts out are the inputs of the next, as in a run."""
import numpy as np

from common import RUN, Report, need, need_tools, read_safetensors, run, temp_dir

torch, = need("torch")

STEPS, LIMIT, WEIGHT, DECAY, CHANNELS = 6, 1e-5, 8.0, 0.02, (3, 7)
RULES = {  # rate, torch's, what it remembers
    "sgd": (0.05, lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, weight_decay=DECAY), ("velocity",)),
    "adam": (0.02, lambda p: torch.optim.Adam(p, lr=0.02, weight_decay=DECAY), ("mean", "mean.share", "square", "square.share")),
}


def taken(rule, maps, w, b, batches, tmp):
    """The map after each step, as smkd has it."""
    rate, _, memory = RULES[rule]
    state = {"regressor.weight": w, "regressor.bias": b}
    for name, v in list(state.items()):
        state.update({f"{name}.{what}": np.float32(0) if what.endswith("share") else np.zeros_like(v) for what in memory})
    for s, t in batches:
        n = len(s)
        files = {"teacher.0": np.zeros((n, 4), np.float32), "teacher.0.hint": t, "tap.0.guided": s,
                 **{f"state.{name}.0": v for name, v in state.items()}}
        for name, v in files.items():
            np.save(tmp / f"{name}.npy", v)
        np.save(tmp / "z.npy", np.zeros((n, 4), np.float32))
        np.save(tmp / "y.npy", np.zeros(n, np.int64))
        clock = dict(epoch=1, epochs=4, lr=rate, weight_decay=DECAY, **({"momentum": 0.9} if rule == "sgd" else {}))
        run(RUN, "loss", "fitnets", "--regressor", rule, "--hint-weight", WEIGHT, "--logits", tmp / "z.npy", "--labels", tmp / "y.npy",
            *[x for name in files for x in ("--input", f"{name}={tmp / name}.npy")],
            *[x for name, v in clock.items() for x in ("--scalar", f"{name}={v}")], "-o", tmp / "l", env={"XDG_CACHE_HOME": str(tmp)})
        out = read_safetensors(tmp / "l")
        state = {name: out[f"state.{name}.0"] for name in state}
        yield state["regressor.weight"], state["regressor.bias"]


def case(report, rule, maps, tmp):
    rng = np.random.default_rng(5)
    c, d = CHANNELS
    shape = lambda k: (8, k, 3, 2) if maps else (8, k)
    batches = [(rng.normal(size=shape(c)).astype(np.float32), rng.normal(size=shape(d)).astype(np.float32)) for _ in range(STEPS)]
    w, b = rng.normal(size=(d, c, 1, 1) if maps else (d, c)).astype(np.float32), np.zeros(d, np.float32)
    layer = torch.nn.Conv2d(c, d, 1).double() if maps else torch.nn.Linear(c, d).double()
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(w))
        layer.bias.copy_(torch.from_numpy(b))
    optimizer = RULES[rule][1](layer.parameters())
    for i, ((s, t), got) in enumerate(zip(batches, taken(rule, maps, w, b, batches, tmp))):
        optimizer.zero_grad()
        (WEIGHT / 2 * torch.nn.functional.mse_loss(layer(torch.from_numpy(s).double()), torch.from_numpy(t).double())).backward()
        optimizer.step()
        for name, ours, start in zip(("weight", "bias"), got, (w, b)):
            want = getattr(layer, name).detach().numpy()
            report.check(f"{rule}, {'maps' if maps else 'rows'}: {name} after step {i + 1}", np.abs(ours - want).max() / np.abs(want - start).max(), LIMIT)


def main():
    need_tools(RUN)
    report = Report()
    for rule in RULES:
        for maps in (True, False):
            report.guard_in_folder(f"{rule} {maps}", case, report, rule, maps)
    report.end()


main()
