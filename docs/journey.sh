#!/usr/bin/env bash
# From a folder of photos to a generator that others can use.
#
# Run it in the environment of the checkout, from the checkout's folder, with your photos in photos/: a subfolder for each
# class. On a GPU the two trainings take minutes, on a CPU hours: lower --trainer.max_steps to see the way first.
set -euo pipefail

# What is in the folder? The second command makes the images fit once, into a zip that loads at once.
gan data check photos/ --size 32
gan data convert photos/ photos.zip --size 32

# Train a generator that knows the classes. Something interrupts it after two minutes: it saves, and goes on later.
timeout 120 gan fit --config folder --data.root photos.zip --data.image_size 32 --experiment spectral \
    '--model.generator_norms=[ConditionalBatch]' --model.discriminator.conditional true \
    --trainer.max_steps 10000 || true
gan fit --resume runs/spectral/version_0

# The same with ConvNorm on the discriminator's convolutions. What was better?
gan fit --config folder --data.root photos.zip --data.image_size 32 --experiment conv \
    '--model.generator_norms=[ConditionalBatch]' --model.discriminator.conditional true \
    '--model.discriminator_norms=[Conv,Spectral]' --trainer.max_steps 10000
gan compare runs/spectral runs/conv --html report.html

# Images of every class, and a walk from image to image.
gan sample runs/conv/version_0 --labels all --num 8 --out made
gan sample runs/conv/version_0 --walk 2x4 --out walk.gif

# One file for others, and what they do with it: plain PyTorch, and no PyTorch at all.
gan export runs/conv/version_0
gan export runs/conv/version_0 --to onnx
python examples/sample_torch.py generator.safetensors
python examples/sample_onnx.py generator.onnx
