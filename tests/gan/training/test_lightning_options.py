"""Every callback and argument of Lightning's trainer works in terms of training steps, or is refused before one."""

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import Corners
from pytorch_lightning import Callback, Trainer
from pytorch_lightning import callbacks as lightning
from small_trainings import fit, small_gan

from gan.callbacks import Evaluation, Monitor
from gan.metrics import Frechet
from gan.training.lightning_options import REFUSED_ARGUMENTS, REFUSED_CALLBACKS

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "lightning.md"


def refused(kind: type[Callback]) -> Callback:
    """Return a callback of a refused kind; none gets as far as to need its settings."""
    return object.__new__(type("Concrete", (kind,), {}))


def table(heading: str) -> set[str]:
    """Return the names in the first column of a table of the page."""
    part = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    return {
        name
        for line in part.splitlines()
        if line.startswith("| `")
        for name in re.findall(r"`(\w+)`", line.split("|")[1])
    }


def test_the_page_lists_every_callback_and_argument() -> None:
    bases = {"Callback", "Checkpoint", "ProgressBar"}
    assert table("Callbacks") == set(lightning.__all__) - bases
    assert table("Arguments of the trainer") == set(inspect.signature(Trainer.__init__).parameters) - {"self"}


@pytest.mark.parametrize("kind", REFUSED_CALLBACKS, ids=lambda kind: kind.__name__)
def test_refused_callbacks_say_what_to_use(kind: type[Callback], monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []
    monkeypatch.setattr("gan.module.GAN.training_step", lambda *_: steps.append(1))
    with pytest.raises(ValueError, match="Concrete cannot be used: "):
        fit(small_gan(), 1, [refused(kind)])
    assert not steps


VALUES: dict[str, Any] = {
    "accumulate_grad_batches": 2,
    "gradient_clip_val": 1.0,
    "gradient_clip_algorithm": "value",
    "val_check_interval": 5,
    "check_val_every_n_epoch": 2,
    "reload_dataloaders_every_n_epochs": 1,
}


@pytest.mark.parametrize("argument", REFUSED_ARGUMENTS)
def test_refused_arguments_say_what_to_use(argument: str) -> None:
    with pytest.raises(ValueError, match=rf"trainer\.{argument} must be .*, got .*: "):
        fit(small_gan(), 1, **{argument: VALUES[argument]})


def test_a_plain_model_checkpoint_saves_at_the_end_alone(tmp_path: Path) -> None:
    fit(small_gan(), 3, [lightning.ModelCheckpoint(tmp_path, save_top_k=-1, filename="{step}")])
    assert [path.name for path in tmp_path.glob("*.ckpt")] == ["step=3.ckpt"]


def test_a_model_checkpoint_of_steps_counts_generator_steps(tmp_path: Path) -> None:
    kept = lightning.ModelCheckpoint(tmp_path, every_n_train_steps=2, save_top_k=-1, filename="{step}")
    fit(small_gan(discriminator_steps=2), 4, [kept])
    assert sorted(path.name for path in tmp_path.glob("*.ckpt")) == ["step=2.ckpt", "step=4.ckpt"]


@pytest.mark.parametrize(
    "callback",
    [
        lightning.LambdaCallback(on_train_batch_end=lambda *_: None),
        lightning.ModelSummary(),
        lightning.RichModelSummary(),
        lightning.OnExceptionCheckpoint("unused"),
        lightning.ThroughputMonitor(lambda batch: len(batch[0])),
        lightning.Timer("00:01:00:00"),
        lightning.TQDMProgressBar(),
        lightning.RichProgressBar(),
    ],
    ids=lambda callback: type(callback).__name__,
)
def test_the_others_train_on(callback: Callback, tmp_path: Path) -> None:
    bar = isinstance(callback, lightning.ProgressBar)
    logger = isinstance(callback, lightning.ThroughputMonitor)
    trainer = fit(small_gan(), 2, [callback], enable_progress_bar=bar, default_root_dir=tmp_path, logger=logger)
    assert trainer.global_step == 2


def test_a_timer_ends_the_training_after_a_step() -> None:
    assert fit(small_gan(), 50, [lightning.Timer("00:00:00:00")]).global_step < 50


def scored(monitor: str, **arguments: Any) -> Trainer:
    evaluation = Evaluation(features=Corners(), scores=[Frechet()], num_samples=8, every_n_steps=1, batch_size=8)
    stopping = lightning.EarlyStopping(monitor, **arguments)
    return fit(small_gan(), 6, [Monitor(1), evaluation, stopping])


def test_early_stopping_counts_scores() -> None:
    # The first value, of step 0, improves on infinity. No later one does, and patience 2 ends the second step.
    assert scored("fd_corners", patience=2, min_delta=1e9).global_step == 2
    assert scored("loss/generator", patience=3, min_delta=1e9).global_step == 4


def test_an_unknown_monitor_is_named_at_the_first_score() -> None:
    with pytest.raises(ValueError, match=r"there is no value 'val_loss' to monitor; there are .*fd_corners"):
        scored("val_loss")


# Clipping


class LastGradients(Callback):
    """Keeps the norm of each network's gradient as its optimizer used it last."""

    def on_train_batch_end(self, trainer: Trainer, pl_module: Any, *_: Any) -> None:
        networks = {"generator": pl_module.generator, "discriminator": pl_module.discriminator}
        self.norms = {
            name: float(torch.stack([p.grad.norm() for p in network.parameters() if p.grad is not None]).norm())
            for name, network in networks.items()
        }


def last_norms(**arguments: Any) -> dict[str, float]:
    watch = LastGradients()
    fit(small_gan(**arguments), 1, [watch])
    return watch.norms


def test_gradients_of_one_network_are_clipped() -> None:
    free, clip = last_norms(), 1e-5
    assert min(free.values()) > 10 * clip
    clipped = last_norms(discriminator_clip=clip)
    assert clipped["discriminator"] == pytest.approx(clip, rel=1e-2)  # torch divides by norm + 1e-6
    assert clipped["generator"] > 10 * clip
    clipped = last_norms(generator_clip=clip)
    assert clipped["generator"] == pytest.approx(clip, rel=1e-2)  # torch divides by norm + 1e-6
    assert clipped["discriminator"] == free["discriminator"]


def test_bounds_of_gradients_are_checked() -> None:
    with pytest.raises(ValueError, match="generator_clip must be greater than 0, got 0"):
        small_gan(generator_clip=0)
