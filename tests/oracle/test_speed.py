"""ResNet-18 (3x32x32, batch 128) trains at no less than half of PyTorch's speed, in no more memory, measured in turns."""
import os, subprocess, sys
try:
    import torch  # noqa: F401
except ImportError:
    print('skipped: no torch'); sys.exit(77)
sys.exit(subprocess.run([sys.executable, os.path.join(os.environ['SMKD_SRC'], 'bench', 'compare_pytorch.py'), '--build', os.environ['SMKD_BUILD'],
                         '--rounds', '2', '--steps', '2', '--min-ratio', '0.5']).returncode)
