"""The callback that scores a GAN in `fit`, `validate` and `test`."""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from gan.callbacks.collapse import Collapse
from gan.callbacks.evaluation_plan import announcement, default_plan
from gan.callbacks.wording import scores_in_words
from gan.data import ImageData
from gan.images import height_and_width
from gan.metrics.evaluator import Evaluator, ReportProgress, StoppedError
from gan.metrics.exactness import exact_inference
from gan.metrics.frechet import Frechet
from gan.metrics.image_set import ImageSet, image_set, open_folder
from gan.metrics.inception_score import InceptionScore
from gan.metrics.protocol import Protocol
from gan.metrics.score import Score
from gan.metrics.statistics import States
from gan.module import GAN

SEED = 0  # of the samples, the same in every run: scores differ by the generator, not by the noise


class Evaluation(Callback):
    """Scores generated against real images: every n steps of `fit`, at `max_steps`, in `validate` and in `test`.

    Training is not affected: no random number is drawn, no mode or gradient changes, and the feature network enters no
    checkpoint. A signal stops an evaluation between two batches; it is repeated when the run is resumed.

    Args:
        features: The feature network, see `gan.metrics.features`.
        scores: What to compute; None: Frechet distance and inception score.
        num_samples: Number of generated images; None: 10,000, on a CPU 2,500.
        every_n_steps: Generator steps of `fit` between two evaluations; None: 1,000, on a CPU 5,000.
        batch_size: Images at a time, in every process; None: 128, on a CPU 16.
        split: The split of the data that `fit` and `validate` compare with; `test` uses "test". "full_train" are all
            training images, also where the data set trains with some of them (`num_images`, `fraction`).
        collapse: When to stop a training whose generator has collapsed; None: never.
        images: A folder or zip that `validate` and `test` score instead of generated images, without a checkpoint. Its
            images are made to fit the data's size.
    """

    def __init__(
        self,
        features: nn.Module,
        scores: list[Score] | None = None,
        num_samples: int | None = None,
        every_n_steps: int | None = None,
        batch_size: int | None = None,
        split: str = "train",
        collapse: Collapse | None = None,
        images: str | None = None,
    ) -> None:
        chosen = {"num_samples": num_samples, "every_n_steps": every_n_steps, "batch_size": batch_size}
        self._chosen = {name: value for name, value in chosen.items() if value is not None}
        self.plan = replace(default_plan("cpu"), **self._chosen)
        self.evaluator = Evaluator(features, scores or [Frechet(), InceptionScore()])
        self.split = split
        self.collapse = collapse
        self.images = images
        self._references: dict[tuple[str, torch.device], States] = {}
        self._pending_step: int | None = None  # the step that has yet to be evaluated, if any

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check, before the first step, that evaluations will work."""
        if stage == "predict":
            return
        data, split = _data(pl_module), "test" if stage == "test" else self.split
        if stage == "test" and split not in data.splits:
            raise ValueError(f"{data.name} has no test split to compare with: use validate, which takes {self.split}")
        self.plan = replace(default_plan(trainer.strategy.root_device.type), **self._chosen)
        num_images = self._images(trainer, _gan(pl_module)).num_images
        self.evaluator.prepare(data.channels, *height_and_width(data.image_size))
        self.evaluator.check(num_images, data.num_images(split))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Announce what the evaluations will cost."""
        data = _data(pl_module)
        seconds = self._seconds_per_batch(_gan(pl_module)) / trainer.world_size
        files = self.evaluator.reference_files(data.content_hash(self.split)).values()
        num_reference = 0 if all(file.exists() for file in files) else data.num_images(self.split)
        pl_module.print(announcement(self.plan, seconds, num_reference))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that a new run starts with an evaluation. In a resumed run, repeat one that was stopped."""
        self._training_since, self._evaluating = time.perf_counter(), 0.0
        if trainer.global_step == 0 and trainer.ckpt_path is None:
            self._pending_step = 0
        elif trainer.global_step == self._pending_step:
            self._evaluate_in_fit(trainer, _gan(pl_module))

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the untrained generator of a new run.

        Not in `on_train_start`, where the run is saved first: so it can be resumed if it is killed here.
        """
        if trainer.ckpt_path is None and trainer.global_step == self._pending_step:
            self._evaluate_in_fit(trainer, _gan(pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score every n generator steps and at `max_steps`, but not where a run ends early."""
        if trainer.global_step % self.plan.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self._evaluate_in_fit(trainer, _gan(pl_module))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Repeat an evaluation of the last step that was stopped: the hooks of training are not called any more."""
        if trainer.global_step == self._pending_step and not _gan(pl_module).health.should_stop:
            self._training_since, self._evaluating = time.perf_counter(), 0.0
            pl_module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU by now
            self._evaluate_in_fit(trainer, _gan(pl_module))
            pl_module.cpu()

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score and print in `validate`; in `fit` the steps decide."""
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._evaluate_and_print(trainer, _gan(pl_module), self.split)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score and print in `test`."""
        self._evaluate_and_print(trainer, _gan(pl_module), "test")

    def state_dict(self) -> dict[str, Any]:
        """Return the step that has yet to be evaluated, and the state of `collapse`."""
        pending = {} if self._pending_step is None else {"pending_step": self._pending_step}
        return pending | ({} if self.collapse is None else self.collapse.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state."""
        self._pending_step = state_dict.get("pending_step")
        if self.collapse is not None and "best" in state_dict:
            self.collapse.load_state_dict(state_dict)

    # What

    def evaluate(
        self, trainer: Trainer, module: GAN, split: str, should_stop: Callable[[], bool] | None = None
    ) -> tuple[dict[str, float], Protocol]:
        """Return the values by name and their protocol; every process has to call it.

        Args:
            trainer: The trainer.
            module: The GAN.
            split: The split of the data to compare with.
            should_stop: Called between batches. The evaluation stops in all processes if it returns True in one.

        Raises:
            StoppedError: In every process, if one should stop.
        """
        data, images, report = _data(module), self._images(trainer, module), _report(trainer)
        content = data.content_hash(split)
        key = content, module.device
        self.evaluator.to(module.device)
        with exact_inference(module.device.type):
            if key not in self._references:
                real = ImageSet(data.num_images(split), self.plan.batch_size, partial(data.reference, split))
                self._references[key] = self.evaluator.reference(real, content, report, should_stop)
            values = self.evaluator.evaluate(images, self._references[key], report, should_stop)
        return values, self._protocol(trainer, split, images.num_images, module)

    def _evaluate_in_fit(self, trainer: Trainer, module: GAN) -> None:
        started, self._pending_step = time.perf_counter(), None
        try:
            values, protocol = self.evaluate(trainer, module, self.split, lambda: module.health.stop_requested)
        except StoppedError:
            self._pending_step, trainer.should_stop = trainer.global_step, True
            module.health.should_stop = True  # now, not after one more step
            module.print(f"step {trainer.global_step}: evaluation stopped; it is repeated when the run is resumed")
            return
        seconds = time.perf_counter() - started
        self._evaluating += seconds
        share = self._evaluating / (time.perf_counter() - self._training_since)
        cost = {"evaluation_seconds": seconds, "evaluation_share": share}
        module.publish({**values, **cost}, protocol.fields())
        module.print(f"step {trainer.global_step}: {scores_in_words(values)}  ({seconds:.1f} s)")
        if self.collapse is not None and self.collapse.detect(values):
            module.print(f"stopped at generator step {trainer.global_step}: {self.collapse}")
            trainer.should_stop = True

    def _evaluate_and_print(self, trainer: Trainer, module: GAN, split: str) -> None:
        values, protocol = self.evaluate(trainer, module, split)
        module.publish(values, protocol.fields())
        scored = [] if self._scores_files(trainer) else [f"checkpoint: {trainer.ckpt_path}"]
        module.print("\n".join([*(f"{name}: {value!r}" for name, value in values.items()), str(protocol), *scored]))

    def _scores_files(self, trainer: Trainer) -> bool:
        """Whether the images of a folder or zip are scored instead of generated ones."""
        return self.images is not None and trainer.state.fn != TrainerFn.FITTING

    def _images(self, trainer: Trainer, module: GAN) -> ImageSet:
        """Return the images to score."""
        plan = self.plan
        if self._scores_files(trainer):
            try:
                return image_set(open_folder(str(self.images), _data(module).frame), plan.batch_size)
            except (OSError, ValueError) as error:
                raise ValueError(f"images: {error}") from None
        return ImageSet(
            plan.num_samples,
            plan.batch_size,
            lambda batches: (module.sample(n, seed=SEED, start=start) for start, n in batches),
        )

    def _protocol(self, trainer: Trainer, split: str, num_images: int, module: GAN) -> Protocol:
        data = _data(module)
        what = partial(
            self.evaluator.protocol,
            reference="{}/{} {}x{}x{}".format(data.name, split, *height_and_width(data.image_size), data.channels),
            reference_images=data.num_images(split),
            reference_content=data.content_hash(split),
            samples=num_images,
        )
        if self._scores_files(trainer):
            return what(source=f"{self.images}, made to fit")
        return what(
            source=f"{module.weights_name} weights",
            seed=SEED,
            normalization="running statistics",
            generator_precision=str(module.weights_dtype).removeprefix("torch."),
        )

    def _seconds_per_batch(self, module: GAN) -> float:
        """Measure the second batch that is generated and seen by the feature network."""
        self.evaluator.to(module.device)
        with exact_inference(module.device.type):
            for _ in range(2):
                started = time.perf_counter()
                features, _ = self.evaluator.extract(module.sample(self.plan.batch_size, seed=SEED, start=0))
                features.cpu()  # waits for the device
        return time.perf_counter() - started


def _gan(module: LightningModule) -> GAN:
    assert isinstance(module, GAN)
    return module


def _data(module: LightningModule) -> ImageData:
    if (data := _gan(module).image_data) is None:
        raise ValueError("Evaluation compares with an ImageData, but the images come from another data loader")
    return data


def _report(trainer: Trainer) -> ReportProgress | None:
    """Return what shows the progress in the first process, if the progress bar can."""
    bar: ReportProgress | None = getattr(trainer.progress_bar_callback, "evaluation_progress", None)
    return bar if trainer.is_global_zero else None
