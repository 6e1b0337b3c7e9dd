"""The callback that scores a GAN while it trains, and in `validate` and `test`."""

import time
from dataclasses import replace
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from gan.callbacks.checkpoint import Checkpoint
from gan.callbacks.collapse import Collapse
from gan.callbacks.evaluation_plan import announcement, default_plan
from gan.data import ImageData
from gan.distributed import any_process
from gan.metrics.evaluator import Evaluator, Progress
from gan.metrics.exactness import exact_inference
from gan.metrics.features import precision_of, resize_of
from gan.metrics.frechet import Frechet
from gan.metrics.image_set import ImageSet, images_of, sampled, split_of
from gan.metrics.inception_score import InceptionScore
from gan.metrics.protocol import Protocol, package_versions
from gan.metrics.score import Score
from gan.metrics.statistics import Collected
from gan.module import GAN

SEED = 0  # of the samples, in every run: curves differ by the generators, not by the luck of the draw


class CutShortError(Exception):
    """An evaluation gives way to the wish of a process to stop."""


class Evaluation(Callback):
    """Scores generated against real images: every so many steps of `fit`, at `max_steps`, in `validate` and `test`.

    The training sees nothing of it: no random number is drawn, no mode or gradient changes, no network enters the
    checkpoint. A signal cuts an evaluation short while images are looked at; it is made up for when the run goes on.

    Args:
        features: The feature network, see `gan.metrics.features`.
        scores: What to compute; None: Frechet distance and inception score.
        num_samples: How many images are generated; None: 10,000, on a CPU 2,500.
        every_n_steps: How often in `fit`, in generator steps; None: 1,000, on a CPU 5,000.
        batch_size: Images at a time, in every process; None: 128, on a CPU 16.
        split: The split of the data that `fit` and `validate` compare with; `test` takes "test".
        collapse: When a training is to be stopped because its generator has collapsed; None: never.
        images: A folder or zip whose images `validate` and `test` score instead of the generator's, so that no
            checkpoint is needed. They are made to fit the data's size.
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
        self._references: dict[tuple[str, torch.device], Collected] = {}
        self._missed_at: int | None = None

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Find out before the first step what could not work at the first evaluation."""
        if stage == "predict":
            return
        data, split = _data(trainer), "test" if stage == "test" else self.split
        if stage == "test" and split not in data.splits:
            raise ValueError(f"{data.name} has no test split to compare with: use validate, which takes {self.split}")
        self.plan = replace(default_plan(trainer.strategy.root_device.type), **self._chosen)
        num_scored = self._scored(trainer, _gan(pl_module)).total
        with exact_inference(self.evaluator.device.type):
            self.evaluator.prepare(_ramp(data.channels, data.image_size))
        self.evaluator.check(num_scored, data.num_images(split))

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say what the evaluations will cost."""
        data = _data(trainer)
        seconds = self._seconds_per_batch(_gan(pl_module)) / trainer.world_size
        files = self.evaluator.reference_files(data.content_hash(self.split)).values()
        num_reference = 0 if all(file.exists() for file in files) else data.num_images(self.split)
        _say(trainer, announcement(self.plan, seconds, num_reference))

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the untrained generator, so that the curve has a first point, and what was cut short."""
        self._training_since, self._evaluating = time.perf_counter(), 0.0
        if trainer.global_step == 0 and trainer.ckpt_path is None:
            self._missed_at = 0  # until it is made: it may take long, and be killed
            for callback in trainer.checkpoint_callbacks:
                if isinstance(callback, Checkpoint):
                    callback.save_start(trainer, pl_module)
        if trainer.global_step == self._missed_at:
            self._evaluate_in_fit(trainer, _gan(pl_module))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Score every so many generator steps, and at `max_steps`. What ends a run early has no time to lose."""
        if trainer.global_step % self.plan.every_n_steps == 0 or trainer.global_step == trainer.max_steps:
            self._evaluate_in_fit(trainer, _gan(pl_module))

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score what a signal has cut short after the last step: no training starts any more."""
        if trainer.global_step == self._missed_at and not _gan(pl_module).health.should_stop:
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
        """Return the step whose evaluation was cut short, and what stopping at a collapse has to remember."""
        missed = {} if self._missed_at is None else {"missed_at": self._missed_at}
        return missed | ({} if self.collapse is None else self.collapse.state_dict())

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore it."""
        self._missed_at = state_dict.get("missed_at")
        if self.collapse is not None and "best" in state_dict:
            self.collapse.load_state_dict(state_dict)

    # What

    def evaluate(self, trainer: Trainer, module: GAN, split: str) -> tuple[dict[str, float], Protocol]:
        """Return the values by name, and how they were made; every process has to call it.

        Raises:
            CutShortError: Some process wishes to stop; all of them raise it.
        """
        data, images, progress = _data(trainer), self._scored(trainer, module), _progress(trainer, module)
        with exact_inference(module.device.type):
            self.evaluator.to(module.device)
            content = data.content_hash(split)
            key = content, module.device
            if key not in self._references:
                real = split_of(data, split, self.plan.batch_size)
                self._references[key] = self.evaluator.reference(real, content, progress)
            values = self.evaluator.evaluate(images, self._references[key], progress)
        return values, self._protocol(trainer, split, images.total, module)

    def _evaluate_in_fit(self, trainer: Trainer, module: GAN) -> None:
        started, self._missed_at = time.perf_counter(), None
        try:
            values, protocol = self.evaluate(trainer, module, self.split)
        except CutShortError:
            self._missed_at, trainer.should_stop = trainer.global_step, True
            _say(trainer, f"step {trainer.global_step}: the evaluation is cut short, to be made when the run goes on")
            return
        seconds = time.perf_counter() - started
        self._evaluating += seconds
        share = self._evaluating / (time.perf_counter() - self._training_since)
        cost = {"evaluation_seconds": seconds, "evaluation_share": share}
        module.publish({**values, **cost}, protocol.fields())
        scores = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        _say(trainer, f"step {trainer.global_step}: {scores}  ({seconds:.1f} s; evaluations: {share:.0%} of the time)")
        if self.collapse is not None and self.collapse.has_come(values):
            _say(trainer, f"stopped at generator step {trainer.global_step}: {self.collapse}")
            trainer.should_stop = True

    def _evaluate_and_print(self, trainer: Trainer, module: GAN, split: str) -> None:
        values, protocol = self.evaluate(trainer, module, split)
        module.publish(values, protocol.fields())
        scored = [] if self._foreign(trainer) else [f"checkpoint: {trainer.ckpt_path}"]
        _say(trainer, "\n".join([*(f"{name}: {value!r}" for name, value in values.items()), str(protocol), *scored]))

    def _foreign(self, trainer: Trainer) -> bool:
        """Whether the scored images are those of `images` instead of the generator's."""
        return self.images is not None and trainer.state.fn != TrainerFn.FITTING

    def _scored(self, trainer: Trainer, module: GAN) -> ImageSet:
        """Return the images to be scored."""
        plan = self.plan
        if self._foreign(trainer):
            return images_of(str(self.images), _data(trainer), plan.batch_size)
        return sampled(lambda n, start: module.sample(n, seed=SEED, start=start), plan.num_samples, plan.batch_size)

    def _protocol(self, trainer: Trainer, split: str, num_scored: int, module: GAN) -> Protocol:
        data, network, ours = _data(trainer), self.evaluator.network, not self._foreign(trainer)
        size = f"{data.image_size}x{data.image_size}x{data.channels}"
        generator = f"generator {str(module.weights_dtype).removeprefix('torch.')}, " if ours else ""
        return Protocol(
            scores=", ".join(map(str, self.evaluator.scores)),
            features=self.evaluator.name,
            features_weights=self.evaluator.weights_hash,
            resize=resize_of(network),
            reference=f"{data.name}/{split} {size}",
            reference_images=data.num_images(split),
            reference_content=data.content_hash(split)[:16],
            samples=num_scored,
            source=f"{module.weights_name} weights" if ours else f"{self.images}, made to fit",
            seed=SEED if ours else None,
            normalization="running statistics" if ours else "unknown",
            precision=f"{generator}features {precision_of(network)}",
            device=torch.cuda.get_device_name(module.device) if module.device.type == "cuda" else module.device.type,
            versions=package_versions(),
        )

    def _seconds_per_batch(self, module: GAN) -> float:
        """Return how long it takes to generate and look at a batch, after the first."""
        with exact_inference(module.device.type):
            self.evaluator.to(module.device)
            for _ in range(2):
                started = time.perf_counter()
                features, _ = self.evaluator.extract(module.sample(self.plan.batch_size, seed=SEED, start=0))
                features.cpu()  # waits for the device
        return time.perf_counter() - started


def _ramp(channels: int, size: int) -> torch.Tensor:
    """Return an image that is the same always and whose channels differ: uint8 (1, channels, size, size)."""
    return torch.arange(channels * size * size).remainder(251).to(torch.uint8).view(1, channels, size, size)


def _gan(module: LightningModule) -> GAN:
    assert isinstance(module, GAN)
    return module


def _data(trainer: Trainer) -> ImageData:
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, ImageData):
        raise ValueError(f"Evaluation needs an ImageData to compare with, got {type(data).__name__}")
    return data


def _say(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        bar = trainer.progress_bar_callback
        print(text) if bar is None else bar.print(text)


def _progress(trainer: Trainer, module: GAN) -> Progress:
    """Return what shows the progress, if the progress bar can, and makes an evaluation give way."""
    bar: Progress | None = getattr(trainer.progress_bar_callback, "evaluation_progress", None)

    def progress(done: int, total: int) -> None:
        if bar is not None and trainer.is_global_zero:
            bar(done, total)
        fits = trainer.state.fn == TrainerFn.FITTING  # elsewhere a signal ends the process
        if fits and done < total and any_process(module.health.stop_requested, module.device):
            module.health.should_stop = True  # now, not at the end of one more step
            raise CutShortError

    return progress
