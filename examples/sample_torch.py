"""Samples from an exported generator in plain PyTorch: `python examples/sample_torch.py generator.safetensors`."""

import sys

import torch
from torchvision.utils import save_image

from gan.networks import load, read_facts

file, picture = sys.argv[1], "samples_torch.png"
facts = read_facts(file)
generator = load(file)

z = torch.randn(16, generator.latent_dim, generator=torch.Generator().manual_seed(0))
labels = torch.arange(16) % max(1, len(facts["classes"]))
with torch.no_grad():
    images = generator(z, labels) if facts["conditional"] else generator(z)

save_image(images, picture, nrow=4, normalize=True, value_range=(-1, 1))
print(f"{picture}: 16 images of {facts['classes'] or 'no classes'}, step {facts['step']}, scores {facts['scores']}")
