"""Lightning's options in terms of training steps: what would do nothing here, or something else, is refused."""

from collections.abc import Iterator, Mapping

from pytorch_lightning import Callback, Trainer
from pytorch_lightning import callbacks as lightning
from torch import Tensor

# Data without an end have no epochs, and the modules make several updates a step by themselves.
REFUSED_CALLBACKS: Mapping[type[Callback], str] = {
    lightning.BackboneFinetuning: "it acts between epochs, and the data have no end",
    lightning.BaseFinetuning: "it acts between epochs, and the data have no end",
    lightning.BasePredictionWriter: "nothing is predicted; `gan sample` writes images",
    lightning.BatchSizeFinder: "it needs automatic optimization; set data.batch_size",
    lightning.GradientAccumulationScheduler: "it needs automatic optimization; a GAN has model.micro_batches",
    lightning.LearningRateFinder: "it needs automatic optimization; set the learning rate of each optimizer",
    lightning.LearningRateMonitor: "there are no schedulers; gan.callbacks.Monitor logs the learning rates",
    lightning.ModelPruning: "it acts between epochs, and the data have no end",
    lightning.SpikeDetection: "it expects one loss a step; a loss that is not finite ends the training anyway",
    lightning.WeightAveraging: "gan.callbacks.EMA averages a GAN's generator",
    lightning.StochasticWeightAveraging: "gan.callbacks.EMA averages a GAN's generator",
}
# Arguments of the trainer, with the values that change nothing
REFUSED_ARGUMENTS: Mapping[str, tuple[object, str]] = {
    "accumulate_grad_batches": (1, "to split a batch, a GAN has model.micro_batches"),
    "gradient_clip_val": (None, "a GAN has model.generator_clip and model.discriminator_clip"),
    "gradient_clip_algorithm": (None, "model.generator_clip and model.discriminator_clip of a GAN clip by the norm"),
    "val_check_interval": (1.0, "a GAN has metrics.every_n_steps, a classifier evaluation.every_n_steps"),
    "check_val_every_n_epoch": (1, "a GAN has metrics.every_n_steps, a classifier evaluation.every_n_steps"),
    "reload_dataloaders_every_n_epochs": (0, "the data have no end"),
}


def check_lightning_options(trainer: Trainer) -> None:
    """Check the callbacks and arguments of a trainer before its first step.

    Raises:
        ValueError: if one would do nothing, or something else than it says. The message names what to use instead.
    """
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        for kind, reason in REFUSED_CALLBACKS.items():
            if isinstance(callback, kind):
                raise ValueError(f"{type(callback).__name__} cannot be used: {reason}")
    for argument, (neutral, reason) in REFUSED_ARGUMENTS.items():
        if (value := getattr(trainer, argument, neutral)) != neutral and not trainer.fast_dev_run:  # type: ignore[attr-defined]
            raise ValueError(f"trainer.{argument} must be {neutral}, got {value}: {reason}")


def check_early_stopping(trainer: Trainer, published: Mapping[str, float]) -> None:
    """Let each `EarlyStopping` look at the value that it monitors, if that is among the published ones.

    Its patience then counts values, and not epochs.
    """
    for callback in _early_stopping(trainer):
        if callback.monitor in published:
            callback.on_train_epoch_end(trainer, trainer.lightning_module)
            callback.on_validation_end(trainer, trainer.lightning_module)  # it acts in one of the two


def check_monitors(trainer: Trainer, known: Mapping[str, Tensor]) -> None:
    """Check that each `EarlyStopping` monitors a value that there is.

    Raises:
        ValueError: if it does not.
    """
    for callback in _early_stopping(trainer):
        if callback.monitor not in known:
            names = ", ".join(sorted(known))
            raise ValueError(f"EarlyStopping: there is no value {callback.monitor!r} to monitor; there are {names}")


def _early_stopping(trainer: Trainer) -> Iterator[lightning.EarlyStopping]:
    yield from (each for each in trainer.callbacks if isinstance(each, lightning.EarlyStopping))  # type: ignore[attr-defined]
