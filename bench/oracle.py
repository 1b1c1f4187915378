"""What the oracle tests have already: tensor files, comparing, BatchNorm values, an ONNX file's inference form."""
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "oracle"))
from common import read_safetensors, rel, spread_batchnorm, write_safetensors  # noqa: E402
from test_models import inference_form  # noqa: E402

__all__ = ["inference_form", "read_safetensors", "rel", "spread_batchnorm", "write_safetensors"]
