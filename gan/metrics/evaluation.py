"""The callback that measures a GAN while it trains, and in `validate` and `test`."""

import time
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn

from gan.metrics.collect import Collected
from gan.metrics.evaluator import Evaluator, Progress
from gan.metrics.exactness import exact_inference
from gan.metrics.frechet import Frechet
from gan.metrics.inception_score import InceptionScore
from gan.metrics.protocol import Protocol
from gan.metrics.score import Score


class Evaluation(Callback):
    """Scores samples of the generator against real images: every so many steps of `fit`, in `validate` and in `test`.

    The samples are the same stream each time: a curve shows the generator, not the luck of the draw. The training sees
    nothing of it: no random number is drawn, no mode or gradient changes, no network enters the checkpoint.

    Args:
        features: The feature network, see `gan.metrics.features`.
        scores: What to compute.
        num_samples: How many images are generated.
        every_n_steps: How often in `fit`, in generator steps.
        batch_size: Images at a time, in every process.
        split: The split of the data that `fit` and `validate` compare with; `test` takes "test".
        seed: Seed of the samples.
    """

    def __init__(
        self,
        features: nn.Module,
        scores: list[Score] = [Frechet(), InceptionScore()],  # noqa: B006, B008 (never changed; a list in YAML)
        num_samples: int = 10_000,
        every_n_steps: int = 1_000,
        batch_size: int = 64,
        split: str = "train",
        seed: int = 0,
    ) -> None:
        for name, value in (("num_samples", num_samples), ("every_n_steps", every_n_steps), ("batch_size", batch_size)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.evaluator = Evaluator(features, scores, batch_size)
        self.num_samples = num_samples
        self.every_n_steps = every_n_steps
        self.split = split
        self.seed = seed
        self._references: dict[str, Collected] = {}
        self._protocol_logged = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out before the first step what could not work at the first evaluation."""
        if stage != "predict":
            data = _data(trainer)
            split = "test" if stage == "test" else self.split
            self.evaluator.check(next(data.reference(split))[:1], self.num_samples, data.num_images(split))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the untrained generator, so that the curve has a first point."""
        if trainer.global_step == 0 and trainer.ckpt_path is None:
            self.evaluate(trainer, pl_module, self.split)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure every so many generator steps."""
        if trainer.global_step % self.every_n_steps == 0:
            self.evaluate(trainer, pl_module, self.split)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and print in `validate`; in `fit` the steps decide."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._print(trainer, *self.evaluate(trainer, pl_module, self.split))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure and print in `test`."""
        self._print(trainer, *self.evaluate(trainer, pl_module, "test"))

    def evaluate(self, trainer: Trainer, pl_module: Any, split: str) -> tuple[dict[str, float], Protocol]:
        """Score the generator and publish the values; every process has to call it.

        Returns:
            The values by name, and how they were made.
        """
        started = time.perf_counter()
        progress = _progress(trainer)
        with exact_inference(pl_module.device.type):
            self.evaluator.network.to(pl_module.device)
            if split not in self._references:
                self._references[split] = self._reference(trainer, pl_module, split)
            generated = self.evaluator.generated(
                lambda n, start: _sample(pl_module, n, self.seed, start), self.num_samples, progress
            )
            values = self.evaluator.compute(generated, self._references[split])
        protocol = self._protocol(trainer, pl_module, split)
        pl_module.publish({**values, "evaluation_seconds": time.perf_counter() - started})
        self._log_protocol(trainer, protocol)
        return values, protocol

    def _reference(self, trainer: Trainer, pl_module: Any, split: str) -> Collected:
        data = _data(trainer)
        return self.evaluator.reference(
            lambda: data.reference(split),
            data.num_images(split),
            data.content_hash(split),
            pl_module.device,
            _progress(trainer),
        )

    def _protocol(self, trainer: Trainer, pl_module: Any, split: str) -> Protocol:
        data = _data(trainer)
        network = self.evaluator.network
        return Protocol(
            features=self.evaluator.name,
            weights=self.evaluator.weights_hash,
            resize=str(getattr(network, "resize", "the feature network's own")),
            precision="float32",
            reference=f"{data.name}/{split}",
            reference_images=data.num_images(split),
            reference_hash=data.content_hash(split)[:16],
            samples=self.num_samples,
            seed=self.seed,
            generator=pl_module.weights_name,
            normalization="evaluation mode",
        )

    def _log_protocol(self, trainer: Trainer, protocol: Protocol) -> None:
        if self._protocol_logged or not trainer.is_global_zero:
            return
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_text("protocol", str(protocol), trainer.global_step)
        self._protocol_logged = True

    def _print(self, trainer: Trainer, values: dict[str, float], protocol: Protocol) -> None:
        if trainer.is_global_zero:
            print(*(f"{name}: {value:.6g}" for name, value in values.items()), protocol, sep="\n")


def _sample(pl_module: Any, n: int, seed: int, start: int) -> Tensor:
    images: Tensor = pl_module.sample(n, seed=seed, start=start)
    return images


def _data(trainer: Trainer) -> Any:
    """Return the data module (any with `reference`, `num_images`, `content_hash` and `name`)."""
    if trainer.datamodule is None:  # type: ignore[attr-defined]
        raise ValueError("Evaluation needs a data module to compare with, got none")
    return trainer.datamodule  # type: ignore[attr-defined]


def _progress(trainer: Trainer) -> Progress:
    """Return what shows the progress: the progress bar, if it can."""
    show = getattr(trainer.progress_bar_callback, "evaluation_progress", None)
    return show if show is not None and trainer.is_global_zero else lambda done, total: None
