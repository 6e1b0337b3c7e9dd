"""Images that cannot be read in the middle of a training: what was trained is saved, and goes on exactly."""

from pathlib import Path

import pytest
import torch
from pytorch_lightning import Callback
from small_trainings import fit, small_networks
from test_runs import assert_same, lines

from gan.callbacks import EMA, Checkpoint, Monitor, SampleGrid
from gan.data import Folder
from gan.data.decode import DamagedError
from gan.data.order import Order
from gan.images import encoded
from gan.losses import Hinge
from gan.module import GAN
from gan.norms import Batch, Spectral
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.runs.folder import checkpoint_path, checkpoints, newest_run
from gan.runs.logger import RunLogger

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 2 worker processes")
IMAGES, BATCH, STEPS = 40, 4, 7  # five steps of two batches are an epoch
BROKEN_IN = 4  # the step that first sees the broken file, counted from 0; it is read ahead, beside the step before


@pytest.fixture(autouse=True)
def streamed(monkeypatch):
    monkeypatch.setattr("gan.data.image_data.MAX_ENCODED_BYTES", -1)


def write_images(root: Path) -> Path:
    """Write the images; return the file that only that step sees."""
    root.mkdir()
    pixels = torch.randint(0, 256, (IMAGES, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for number, image in enumerate(pixels):
        (root / f"{number:02d}.png").write_bytes(encoded(image))
    order = Order(num_images=IMAGES, batch_size=BATCH, batches_per_step=2, seed=0, flip=True)
    return root / f"{order.batch(BROKEN_IN)[0][0]:02d}.png"


def train(root: Path, *extra: Callback, workers: int = 0) -> None:
    """Begin, or go on from the newest checkpoint."""
    networks = small_networks("dcgan", 8, classes=0)
    module = GAN(*networks, Hinge(), [Batch()], [Spectral()], discriminator_steps=2)
    logger, checkpoint = RunLogger(str(root), "x"), None
    if (root / "x").exists():
        run = newest_run(root / "x")
        checkpoint, step = find_checkpoint(run), max(checkpoints(run))
        logger = RunLogger(str(root), "x", run, step)
    watching = EMA(half_life_images=100), Monitor(every_n_steps=1), SampleGrid(every_n_steps=3, rows=2, columns=2)
    data = Folder(str(root.parent / "images"), 8, 1, batch_size=BATCH, num_workers=workers)
    callbacks = [*watching, *extra, Checkpoint(every_n_steps=100)]
    fit(module, STEPS, callbacks, data=data, logger=logger, ckpt_path=checkpoint)


@pytest.mark.parametrize("workers", [0, 2])
def test_what_was_trained_is_saved_and_goes_on_bit_for_bit(tmp_path, capsys, workers):
    broken = write_images(tmp_path / "images")
    train(tmp_path / "whole")
    content = broken.read_bytes()
    broken.write_bytes(content[:50] + bytes(len(content) - 50))  # not the size: that would be said
    with pytest.raises(DamagedError, match=rf"'{broken.name}' in '.*' is damaged: .*; --data.damaged skip takes"):
        train(tmp_path / "runs", workers=workers)
    whole, run = (tmp_path / root / "x" / "version_0" for root in ("whole", "runs"))
    assert [*checkpoints(run)] == [0, BROKEN_IN - 1]
    assert f"saved before the error: {checkpoint_path(run, BROKEN_IN - 1)}" in capsys.readouterr().out
    broken.write_bytes(content)
    train(tmp_path / "runs", workers=workers)
    assert_same(*(read_checkpoint(find_checkpoint(path)) for path in (whole, run)))
    assert lines(run) == lines(whole)
    for grid in (whole / "samples").iterdir():
        assert grid.read_bytes() == (run / "samples" / grid.name).read_bytes()


def test_it_does_not_matter_why_they_cannot_be_read(tmp_path):
    gone = write_images(tmp_path / "images")

    class Gone(Callback):
        def on_train_start(self, trainer, pl_module):
            gone.unlink()

    with pytest.raises(ValueError, match="cannot be read: No such file"):
        train(tmp_path / "runs", Gone())
    assert [*checkpoints(tmp_path / "runs" / "x" / "version_0")] == [0, BROKEN_IN - 1]


@pytest.mark.parametrize("hook", ["on_before_optimizer_step", "on_train_batch_end"])
def test_half_a_step_is_not_saved(tmp_path, hook):
    write_images(tmp_path / "images")

    class Fails(Callback):
        pass

    def fail(self, trainer, *_):
        if trainer.global_step == 2:
            raise DamagedError("in a step")

    setattr(Fails, hook, fail)
    with pytest.raises(DamagedError, match="in a step"):
        train(tmp_path / "runs", Fails())
    assert [*checkpoints(tmp_path / "runs" / "x" / "version_0")] == [0]
