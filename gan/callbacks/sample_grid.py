"""Grids of samples from fixed noise, which show the progress of the generator."""

from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from torch import Tensor

from gan.checks import check_at_least
from gan.data import ImageData
from gan.images import tile
from gan.module import GAN
from gan.networks import Generator
from gan.randomness import Stream, rng
from gan.runs.folder import SAMPLES
from gan.runs.logger import run_folder
from gan.sampling.pictures import write_picture


class SampleGrid(Callback):
    """Writes a grid of samples to `samples/step_*.png` in the run's folder, and to TensorBoard.

    Every grid shows the first samples of the run's stream, so the latent vectors are always the same. With a
    conditional generator each column is one class. `samples/real.png` shows training images in the same layout.

    Args:
        every_n_steps: Generator steps between two grids. The first is drawn before training.
        rows: Rows of the grid.
        columns: Columns of the grid.
    """

    def __init__(self, every_n_steps: int = 1000, rows: int = 8, columns: int = 8) -> None:
        check_at_least(1, "SampleGrid: ", every_n_steps=every_n_steps, rows=rows, columns=columns)
        self.every_n_steps, self.rows, self.columns = every_n_steps, rows, columns

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Draw the grid of the untrained generator."""
        self._write_real(trainer, pl_module)
        if trainer.ckpt_path is None:
            self._write(trainer, pl_module)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Draw a grid every n steps and at `max_steps`."""
        if trainer.global_step % self.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self._write(trainer, pl_module)

    @rank_zero_only
    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        if (run := run_folder(trainer)) is None:
            return
        image = grid(pl_module, self.rows, self.columns)
        write_picture(run / SAMPLES / f"step_{trainer.global_step:08d}.png", image)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("samples", image, trainer.global_step)

    @rank_zero_only
    def _write_real(self, trainer: Trainer, pl_module: LightningModule) -> None:
        assert isinstance(pl_module, GAN)
        run, data = run_folder(trainer), getattr(trainer, "datamodule", None)
        if run is None or not isinstance(data, ImageData) or (path := run / SAMPLES / "real.png").exists():
            return
        image = real_grid(data, pl_module, self.rows, self.columns)
        write_picture(path, image)
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_image("real", image, trainer.global_step)


def real_grid(data: ImageData, module: GAN, rows: int, columns: int) -> Tensor:
    """Return training images as one image (C, height, width), laid out as `grid` lays out samples.

    They are the first in the order that the run's seed gives the images; where there are too few, they repeat.
    """
    labels = data.labels("train")
    order = torch.from_numpy(rng(module.seed, Stream.ORDER, 0).permutation(len(labels)))
    wanted = _class_columns(module.generator, 1, columns).tolist() if module.conditional else [None] * columns
    indices = torch.empty(rows, columns, dtype=torch.int64)
    for column, label in enumerate(wanted):
        members = order if label is None else order[labels[order] == label]
        members = members if len(members) else order  # a class without images
        start = column * rows if label is None else column // module.generator.num_classes * rows
        indices[:, column] = members[torch.arange(start, start + rows) % len(members)]
    return tile(data.images_at("train", indices.flatten().tolist()), columns)


def grid(module: GAN, rows: int, columns: int, seed: int | None = None) -> Tensor:
    """Return the first samples of a stream as one image (C, height, width); columns are classes if there are any."""
    labels = _class_columns(module.generator, rows, columns) if module.conditional else None
    return tile(module.sample(rows * columns, labels, seed=seed).cpu(), columns)


def _class_columns(generator: Generator, rows: int, columns: int) -> Tensor:
    return torch.arange(columns).remainder(generator.num_classes).repeat(rows)
