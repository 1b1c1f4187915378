#!/usr/bin/env python3
"""ResNet-18 training steps beside PyTorch's, in turns on the same machine, with the memory of each.

usage: compare_pytorch.py [--build build] [--batch-size 128] [--input 3x32x32] [--rounds 3] [--steps 3] [--threads 0] [--min-ratio R]

Each round times `steps` steps of ours and then of PyTorch (forward, backward, SGD with momentum and weight decay), so that a
machine that slows down slows both. A step's gradient of the logits is given, so neither side computes a loss. Memory is the
highest resident size of a process that does nothing else. With --min-ratio the exit code says whether the median of
PyTorch's time over ours reached R and whether ours needed no more memory.
"""
import argparse, json, os, statistics, subprocess, sys, tempfile, time

TORCH = r"""
import sys, time, json, torch, torch.nn as nn
n, c, h, w, threads = map(int, sys.argv[1:6])
if threads: torch.set_num_threads(threads)
class Block(nn.Module):
    def __init__(self, i, o, s):
        super().__init__()
        self.a, self.an = nn.Conv2d(i, o, 3, s, 1, bias=False), nn.BatchNorm2d(o)
        self.b, self.bn, self.r = nn.Conv2d(o, o, 3, 1, 1, bias=False), nn.BatchNorm2d(o), nn.ReLU(inplace=True)
        self.d = nn.Sequential(nn.Conv2d(i, o, 1, s, bias=False), nn.BatchNorm2d(o)) if s > 1 or i != o else nn.Identity()
    def forward(self, x):
        return self.r(self.bn(self.b(self.r(self.an(self.a(x))))) + self.d(x))
small = h <= 64
stem = [nn.Conv2d(c, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True)] if small else \
       [nn.Conv2d(c, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)]
wd = [64, 64, 128, 256, 512]
layers = [Block(wd[k] if j == 0 else wd[k + 1], wd[k + 1], 2 if j == 0 and k else 1) for k in range(4) for j in range(2)]
net = nn.Sequential(*stem, *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, 10)).train()
opt = torch.optim.SGD(net.parameters(), 1e-4, momentum=.9, weight_decay=5e-4)
x, dy = torch.randn(n, c, h, w), torch.randn(n, 10) / n
def step():
    t = time.perf_counter(); opt.zero_grad(); net(x).backward(dy); opt.step(); return time.perf_counter() - t
step(); step()
print('ready', flush=True)
for line in sys.stdin:
    t = [step() for _ in range(int(line))]
    kib = [int(l.split()[1]) for l in open('/proc/self/status') if l.startswith('VmHWM')][0]
    print(json.dumps({'seconds': t, 'bytes': kib * 1024}), flush=True)
"""

p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
p.add_argument('--build', default='build'); p.add_argument('--batch-size', type=int, default=128); p.add_argument('--input', default='3x32x32')
p.add_argument('--rounds', type=int, default=3); p.add_argument('--steps', type=int, default=3); p.add_argument('--threads', type=int, default=0)
p.add_argument('--min-ratio', type=float)
a = p.parse_args()
c, h, w = map(int, a.input.split('x'))
threads = a.threads or len(os.sched_getaffinity(0))
with tempfile.TemporaryDirectory() as d:
    run = lambda *args: subprocess.run([os.path.join(a.build, args[0]), *args[1:]], check=True, stdout=subprocess.PIPE, text=True).stdout
    run('smkdc', 'new', 'resnet18', '--input', a.input, '-o', d + '/m.onnx')
    run('smkdc', 'compile', d + '/m.onnx', '-o', d + '/m.smkd')
    torch = subprocess.Popen([sys.executable, '-c', TORCH, *map(str, (a.batch_size, c, h, w, threads))], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert torch.stdout.readline().strip() == 'ready'
    ratios, ours, theirs, mem = [], [], [], [0, 0]
    for r in range(a.rounds):
        o = json.loads(run('smkd-run', 'bench', d + '/m.smkd', '--batch-size', str(a.batch_size), '--phase', 'train', '--steps', str(a.steps),
                           '--warmup', '1', '--threads', str(threads), '--json'))
        torch.stdin.write(f'{a.steps}\n'); torch.stdin.flush()
        t = json.loads(torch.stdout.readline())
        ours += o['seconds']; theirs += t['seconds']; mem = [max(mem[0], o['peak_memory_bytes']), max(mem[1], t['bytes'])]
        ratios.append(statistics.median(t['seconds']) / statistics.median(o['seconds']))
        print(f"round {r + 1}: ours {statistics.median(o['seconds']):.3f} s, PyTorch {statistics.median(t['seconds']):.3f} s a step: {ratios[-1]:.2f} times as fast")
    torch.stdin.close(); torch.wait()
ratio = statistics.median(ratios)
print(f'ResNet-18 {a.input}, batch {a.batch_size}, {threads} threads: {ratio:.2f} times PyTorch (fastest steps {min(ours):.3f} and {min(theirs):.3f} s); '
      f'peak memory {mem[0] / 1e6:.0f} MB, PyTorch {mem[1] / 1e6:.0f} MB')
if a.min_ratio is not None and (ratio < a.min_ratio or mem[0] > mem[1]):
    sys.exit(f'below the floor of {a.min_ratio} times PyTorch, or more memory')
