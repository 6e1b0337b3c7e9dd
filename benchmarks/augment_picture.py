"""Draws docs/augment.png: what each augmentation makes of crops of scikit-learn's two photographs.

    python -m benchmarks.augment_picture

The random numbers are those of one seed; nothing is trained.
"""

import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor
from torch.nn import functional as F

from gan.augment import Augment, DiffAugment, Pipe, Unchanged
from gan.images import tile, to_uint8
from gan.randomness import Stream, rng, uniform

FILE = Path(__file__).parents[1] / "docs" / "augment.png"
SIZE, COLUMNS = 64, 8
KINDS: dict[str, Augment] = {
    "no augmentation": Unchanged(),
    "DiffAugment: color": DiffAugment(translation=False, cutout=False),
    "DiffAugment: translation": DiffAugment(color=False, cutout=False),
    "DiffAugment: cutout": DiffAugment(color=False, translation=False),
    "DiffAugment: all": DiffAugment(),
    "Pipe, ADA: blit": Pipe(geometry=0.0, color=0.0),
    "Pipe, ADA: geometry": Pipe(blit=0.0, color=0.0),
    "Pipe, ADA: color": Pipe(blit=0.0, geometry=0.0),
    "Pipe: cutout": Pipe(blit=0.0, geometry=0.0, color=0.0, cutout=1.0),
    "ADA, p = 0.2": Pipe(0.2),
    "ADA, p = 1": Pipe(),
}


def crops() -> Tensor:
    """Return squares of the photographs (COLUMNS, 3, SIZE, SIZE) in [-1, 1], halved once in size."""
    photos = [load_sample_image(f"{name}.jpg") for name in ("china", "flower")]
    places, images = np.random.default_rng(1), []
    for number in range(COLUMNS):
        photo = torch.from_numpy(photos[number % 2].copy()).permute(2, 0, 1)[None].float()
        top, left = (int(places.integers(0, size - 4 * SIZE)) for size in photo.shape[2:])
        images.append(F.avg_pool2d(photo[:, :, top : top + 4 * SIZE, left : left + 4 * SIZE], 4))
    return torch.cat(images) / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=FILE)
    arguments = parser.parse_args()
    images = crops()
    figure, axes = plt.subplots(len(KINDS), 1, figsize=(8, 8.2))
    for axis, (name, augment) in zip(axes, KINDS.items(), strict=True):
        changed = augment(images, uniform(rng(0, Stream.AUGMENT), COLUMNS, augment.numbers))
        axis.imshow(tile(to_uint8(changed.clamp(-1, 1)), COLUMNS).permute(1, 2, 0).numpy())
        axis.set_ylabel(name, rotation=0, ha="right", va="center")
        axis.set(xticks=[], yticks=[])
        for spine in axis.spines.values():
            spine.set_visible(False)
    figure.subplots_adjust(hspace=0.06)
    figure.savefig(arguments.out, dpi=90, bbox_inches="tight")


if __name__ == "__main__":
    main()
