"""Samples from an exported generator in ONNX Runtime, without PyTorch: `python examples/sample_onnx.py x.onnx`."""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

picture = "samples_onnx.png"
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["convnorm-gan"])

z = np.random.default_rng(0).standard_normal((16, facts["latent_dim"]), dtype=np.float32)
labels = {"labels": np.arange(16) % len(facts["classes"])} if facts["conditional"] else {}
(images,) = session.run(None, {"z": z, **labels})

rows = images.transpose(0, 2, 3, 1).reshape(4, 4, *facts["image_size"], facts["channels"]).swapaxes(1, 2)
pixels = ((rows + 1) * 127.5).round().clip(0, 255).astype(np.uint8)
height, width = facts["image_size"]
Image.fromarray(pixels.reshape(4 * height, 4 * width, -1).squeeze()).save(picture)
print(f"{picture}: 16 images of {facts['classes'] or 'no classes'}, step {facts['step']}")
