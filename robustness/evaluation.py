"""The callback that tests a classifier: at the end of `fit`, and in `test`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import Callback, LightningModule, Trainer

from gan.callbacks.operator_norms import operator_norms
from gan.checks import check_at_least
from gan.data import ImageData
from gan.data.sources import Source
from gan.metrics.evaluator import StoppedError
from gan.metrics.exactness import exact_inference
from gan.networks.evaluation_mode import evaluating
from gan.runs.folder import is_run
from gan.runs.logger import append_metrics, run_folder
from robustness.attacks import FGSM, PGD, Attack
from robustness.classifier import Classifier
from robustness.corruptions import STANDARD, Corruption
from robustness.corruptions.published import PublishedImages
from robustness.measurement import Images, Meter, unchanging
from robustness.plan import Plan
from robustness.table import Table
from robustness.trials import as_they_are


class Evaluation(Callback):
    """Tests a classifier under corruption and attack, and writes `robustness.csv` and `.json` into the run's folder.

    Training is not affected: no random number of its own is drawn, and no mode or gradient changes. A signal stops a
    test between two batches; it begins anew when the run is resumed.

    Args:
        corruptions: What damages images; None: the 15 of CIFAR-10-C's benchmark. The 4 extra ones count in no mean.
        attacks: What attacks the classifier; None: FGSM and PGD with 20 steps, both with ε 8/255.
        num_images: Images of the split that are classified as they are; None: all.
        num_corrupted: The same, for each corruption at each severity.
        num_attacked: The same, for each attack.
        cifar10_c: Folder of the published files of CIFAR-10-C, to be classified too.
        transfer_from: A run or checkpoint of another classifier, for which the attacks are made too.
        operator_norms: Whether to compute the exact operator norm of every layer.
        batch_size: Images at a time, in every process.
        every_n_steps: Training steps between two looks at the accuracy on the validation part; None: none.
        split: "test", "validation", or another split of the data; None: "test" if the data have it, else "validation".
    """

    def __init__(
        self,
        corruptions: list[Corruption] | None = None,
        attacks: list[Attack] | None = None,
        num_images: int | None = None,
        num_corrupted: int | None = None,
        num_attacked: int | None = None,
        cifar10_c: str | None = None,
        transfer_from: str | None = None,
        operator_norms: bool = True,
        batch_size: int = 250,
        every_n_steps: int | None = None,
        split: str | None = None,
    ) -> None:
        counts = {"num_images": num_images, "num_corrupted": num_corrupted, "num_attacked": num_attacked}
        given = {name: count for name, count in counts.items() if count is not None}
        check_at_least(1, "Evaluation: ", batch_size=batch_size, every_n_steps=every_n_steps or 1, **given)
        self.plan = Plan(
            [kind() for kind in STANDARD] if corruptions is None else corruptions,
            [FGSM(), PGD()] if attacks is None else attacks,
            **counts,
            published=None if cifar10_c is None else PublishedImages(cifar10_c),
            transfer_from=transfer_from,
        )
        self.operator_norms = operator_norms
        self.batch_size, self.every_n_steps, self.split = batch_size, every_n_steps, split

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check, before the first step, that the test will work."""
        data, split = _data(trainer), self._split(trainer)
        if split not in ("validation", *data.splits):
            raise ValueError(f"split must be validation or one of {', '.join(data.splits)}, got {split!r}")
        self.plan.check(data)
        self._other = self.plan.other_network(data.classes)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the accuracy on the validation part."""
        if self.every_n_steps is None or trainer.global_step % self.every_n_steps:
            return
        module = _classifier(pl_module)
        data = _data(trainer)
        images = Images.choose(module.validation_part(data.loaded("train")), None, data.num_workers)
        with unchanging(module.network, module.device.type):
            accuracy = self._meter(module).accuracy(images, as_they_are)
        module.publish({"accuracy/validation": accuracy})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test after the last step, by when the run is saved. A run that goes on after that is tested again."""
        module = _classifier(pl_module)
        if module.health.should_stop:
            return
        if trainer.global_step < trainer.max_steps:
            module.print(f"not tested: ended at step {trainer.global_step:,} of {trainer.max_steps:,}")
            return
        module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU by now
        try:
            table = self.evaluate(trainer, module)
        except StoppedError:
            module.health.should_stop = True
            module.print("the test was stopped; it begins anew when the run is resumed")
            return
        finally:
            module.cpu()
        module.publish(table.corruption_means())
        module.publish(table.scores(), table.protocol)
        self._show(module, table, run_folder(trainer))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test, print the table, and write it into the folder of the checkpoint's run."""
        module = _classifier(pl_module)
        with torch.inference_mode(False):  # Lightning's mode knows no gradients
            table = self.evaluate(trainer, module)
        run = Path(str(trainer.ckpt_path)).parent.parent
        if is_run(run) and trainer.is_global_zero:
            append_metrics(run, table.step, table.corruption_means(), None)
            append_metrics(run, table.step, table.scores(), table.protocol)
        self._show(module, table, run if is_run(run) else None)

    # What

    def evaluate(self, trainer: Trainer, module: Classifier) -> Table:
        """Return the whole table; every process has to call it.

        Raises:
            StoppedError: In every process, if one is asked to stop.
        """
        data = _data(trainer)
        source, other = self._source(trainer, module), self._other
        if other is not None:
            other = other.to(module.device, module.weights_dtype)
        trials = self.plan.trials(source, data.num_workers, other)
        attacked = Images.choose(source, self.plan.num_attacked, data.num_workers)
        with unchanging(module.network, module.device.type):
            meter = self._meter(module)
            meter.should_stop = lambda: module.health.stop_requested
            meter.report = _progress(trainer, sum(len(trial.images) for trial in trials) + len(attacked))
            rows = [trial.row(meter) for trial in trials]
            gradient_norm = meter.gradient_norm(attacked)
        return Table(
            module.step, self._protocol(trainer, module, len(source)), rows, gradient_norm, self._norms(module)
        )

    def _norms(self, module: Classifier) -> dict[str, float]:
        """Return the operator norms, computed from weights of at least float32."""
        ((network, inputs),) = module.example_inputs().values()
        if not self.operator_norms:
            return {}
        with evaluating(network), exact_inference(module.device.type):
            return operator_norms(network, *inputs)

    def _protocol(self, trainer: Trainer, module: Classifier, images: int) -> dict[str, str | int]:
        data, split = _data(trainer), self._split(trainer)
        return self.plan.protocol(data, f"{split} ({module.holdout})" if self._is_held_back(trainer) else split, images)

    def _is_held_back(self, trainer: Trainer) -> bool:
        return self._split(trainer) == "validation" and "validation" not in _data(trainer).splits

    def _meter(self, module: Classifier) -> Meter:
        def pixels(images: torch.Tensor) -> torch.Tensor:
            return module.pixels(images.to(module.device))

        return Meter(module.logits, pixels, module.device, self.batch_size)

    def _source(self, trainer: Trainer, module: Classifier) -> Source:
        data, split = _data(trainer), self._split(trainer)
        return module.validation_part(data.loaded("train")) if self._is_held_back(trainer) else data.loaded(split)

    def _split(self, trainer: Trainer) -> str:
        return self.split or ("test" if "test" in _data(trainer).splits else "validation")

    def _show(self, module: Classifier, table: Table, run: Path | None) -> None:
        if module.trainer.is_global_zero and run is not None:
            table.write(run)
        module.print(str(table) + ("" if run is None else f"\nwritten: {run}/robustness.csv and .json"))


def _classifier(module: LightningModule) -> Classifier:
    assert isinstance(module, Classifier)
    return module


def _data(trainer: Trainer) -> ImageData:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageData)
    return data


def _progress(trainer: Trainer, total: int) -> Callable[[int], None]:
    """Return what counts the images in the progress bar."""
    bar = getattr(trainer.progress_bar_callback, "evaluation_progress", None)
    done = 0

    def report(images: int) -> None:
        nonlocal done
        done += images
        if bar is not None and trainer.is_global_zero:
            bar(done, total)

    return report
