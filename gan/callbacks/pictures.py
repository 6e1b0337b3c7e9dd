"""What `predict` draws: sample grids and latent interpolations."""

import math
from pathlib import Path

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from torch import Tensor

from gan.callbacks.sample_grid import grid, write_png
from gan.callbacks.sample_writer import check_vacant
from gan.checks import check_at_least
from gan.images import tile, to_uint8
from gan.latents import SAMPLE_BLOCK, sample_inputs
from gan.module import GAN
from gan.randomness import check_seed


class Pictures(Callback):
    """Draws `grid.png` and `interpolations.png` of a checkpoint, in a folder of their own.

    The grid shows the first samples, as in training. Each row of the interpolations leads from one sample to the next,
    where the next row begins; with a conditional generator each row keeps to one class.

    Args:
        path: The folder, which must not exist or be empty; None: no pictures.
        rows: Rows of either picture.
        columns: Columns of either picture.
        seed: Which stream of samples; None: the one of `seed_everything`, as in training.
    """

    def __init__(self, path: str | None = None, rows: int = 8, columns: int = 8, seed: int | None = None) -> None:
        check_at_least(1, "pictures: ", rows=rows, columns=columns)
        if seed is not None:
            check_seed("pictures: seed", seed)
        self.path = None if path is None else Path(path).expanduser()
        self.rows, self.columns, self.seed = rows, columns, seed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to draw among what is there already."""
        if stage == "predict" and self.path is not None:
            check_vacant(self.path, "--pictures.path")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw."""
        assert isinstance(pl_module, GAN)
        if self.path is None or not trainer.is_global_zero:
            return
        seed = pl_module.seed if self.seed is None else self.seed
        ways = interpolations(pl_module, self.rows, self.columns, seed)
        write_png(self.path / "grid.png", grid(pl_module, self.rows, self.columns, seed))
        write_png(self.path / "interpolations.png", tile(ways.cpu(), self.columns))
        trainer.print(f"grid.png and interpolations.png of the {pl_module.weights_name} weights are in {self.path}")


def interpolations(module: GAN, rows: int, columns: int, seed: int) -> Tensor:
    """Return uint8 images (rows * columns, C, H, W), row r leading from sample r of a stream to sample r + 1.

    The ways are quarter circles, cos(t) a + sin(t) b: normally distributed wherever one stops, as latent vectors are.
    Straight ways would lead through shorter vectors than the generator ever saw.
    """
    z, _ = sample_inputs(module.generator, rows + 1, seed=seed)
    t = torch.linspace(0, math.pi / 2, columns, dtype=torch.float64)[:, None]
    ways = t.cos() * z[:-1, None] + t.sin() * z[1:, None]
    labels = torch.arange(rows).remainder(max(1, module.generator.num_classes)).repeat_interleave(columns)
    parts = zip(ways.flatten(0, 1).split(SAMPLE_BLOCK), labels.split(SAMPLE_BLOCK), strict=True)
    return torch.cat([to_uint8(module.generate(z, y)) for z, y in parts])
