"""Images a second of our loader beside torchvision's own pipeline: DataLoader, Pillow, RandomResizedCrop, flip, normalisation; the same
files, workers and batches, epoch by epoch in turns. Started by bench/loader.sh."""
import argparse
import pathlib
import statistics
import subprocess
import sys
import time
import types


def torch_side(folder, size, batch, workers):
    """A function that goes through an epoch and returns (seconds, images)."""
    import torch
    # The compiled ops of torchvision do not load beside a CPU-only torch; its transforms do not need them.
    sys.modules.setdefault("torchvision._meta_registrations", types.ModuleType("torchvision._meta_registrations"))
    from PIL import Image
    from torchvision import transforms as T
    torch.set_num_threads(1)
    files = sorted(str(p) for p in pathlib.Path(folder).rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp", ".bmp"))
    prepare = T.Compose([T.RandomResizedCrop(size), T.RandomHorizontalFlip(), T.PILToTensor(), T.ConvertImageDtype(torch.float),
                         T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])

    class Photos(torch.utils.data.Dataset):
        def __len__(self):
            return len(files)

        def __getitem__(self, i):
            with open(files[i], "rb") as f:
                return prepare(Image.open(f).convert("RGB")), 0

    loader = torch.utils.data.DataLoader(Photos(), batch_size=batch, shuffle=True, num_workers=workers, persistent_workers=True)

    def epoch():
        begin, n = time.perf_counter(), 0
        for x, _ in loader:
            n += len(x)
        return time.perf_counter() - begin, n
    return epoch


def our_side(program, folder, size, batch, workers):
    p = subprocess.Popen([program, folder, str(workers), str(batch), str(size)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def epoch():
        p.stdin.write("\n")
        p.stdin.flush()
        s, n = p.stdout.readline().split()
        return float(s), int(n)
    return epoch


def main():
    a = argparse.ArgumentParser()
    a.add_argument("program")
    a.add_argument("folder")
    a.add_argument("--size", type=int, default=224)
    a.add_argument("--batch-size", type=int, default=64)
    a.add_argument("-j", "--workers", type=int, default=2)
    a.add_argument("--rounds", type=int, default=5)
    a = a.parse_args()
    sides = {"smkd": our_side(a.program, a.folder, a.size, a.batch_size, a.workers), "torchvision": torch_side(a.folder, a.size, a.batch_size, a.workers)}
    rate = {name: [] for name in sides}
    for epoch in sides.values():
        epoch()  # files into the page cache, workers started
    for _ in range(a.rounds):
        for name, epoch in sides.items():
            s, n = epoch()
            rate[name].append(n / s)
    print(f"{n} images of {a.folder}, {a.size} x {a.size}, batches of {a.batch_size}, {a.workers} workers, {a.rounds} epochs each in turns; images a second:")
    for name, r in rate.items():
        print(f"{name:12} median {statistics.median(r):8.0f}   slowest {min(r):8.0f}   fastest {max(r):8.0f}")
    ratio = [a / b for a, b in zip(*rate.values())]
    print(f"ratio        median {statistics.median(ratio):8.2f}   least   {min(ratio):8.2f}   largest {max(ratio):8.2f}")


if __name__ == "__main__":
    main()
