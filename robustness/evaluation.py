"""The callback that tests a classifier: at the end of `fit`, and in `test`."""

from collections.abc import Sequence
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
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.runs.folder import is_run
from gan.runs.logger import append_metrics, run_folder
from robustness.attacks import FGSM, PGD, Attack
from robustness.classifier import Classifier, network_of
from robustness.corruptions import SEVERITIES, STANDARD, Corruption
from robustness.corruptions.published import PublishedImages
from robustness.measurement import SEED, Images, Meter
from robustness.table import Row, Table


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
        self.corruptions = [kind() for kind in STANDARD] if corruptions is None else corruptions
        self.attacks: Sequence[Attack] = (FGSM(), PGD()) if attacks is None else attacks
        self.counts = counts
        self.published = None if cifar10_c is None else PublishedImages(cifar10_c)
        self.transfer_from = transfer_from
        self.operator_norms = operator_norms
        self.batch_size, self.every_n_steps, self.split = batch_size, every_n_steps, split

    # When

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Check, before the first step, that the test will work."""
        data, split = _data(trainer), self._split(trainer)
        if split not in ("validation", *data.splits):
            raise ValueError(f"split must be validation or one of {', '.join(data.splits)}, got {split!r}")
        self._other = None
        if self.transfer_from is not None:
            self._other = network_of(read_checkpoint(find_checkpoint(self.transfer_from), Classifier.facts_key))

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Look at the accuracy on the validation part."""
        if self.every_n_steps is None or trainer.global_step % self.every_n_steps:
            return
        module = _classifier(pl_module)
        source = module.validation_part(_data(trainer).loaded("train"))
        with evaluating(module.network), exact_inference(module.device.type):
            accuracy = self._meter(module).accuracy(Images.choose(source, None))
        module.publish({"accuracy/validation": accuracy})

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test after the last step, by when the run is saved. A run that goes on after that is tested again."""
        module = _classifier(pl_module)
        if trainer.global_step < trainer.max_steps or module.health.should_stop:
            return
        module.to(trainer.strategy.root_device)  # Lightning has moved it to the CPU by now
        try:
            table = self.evaluate(trainer, module)
        except StoppedError:
            module.health.should_stop = True
            _print(trainer, "the test was stopped; it begins anew when the run is resumed")
            return
        finally:
            module.cpu()
        module.publish({f"accuracy/{name}": value for name, value in _of_corruptions(table).items()})
        module.publish(table.scores(), table.protocol)
        self._show(trainer, table, run_folder(trainer))

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Test, print the table, and write it into the folder of the checkpoint's run."""
        module = _classifier(pl_module)
        with torch.inference_mode(False):  # Lightning's mode knows no gradients
            table = self.evaluate(trainer, module)
        run = Path(str(trainer.ckpt_path)).parent.parent
        if is_run(run) and trainer.is_global_zero:
            append_metrics(run, table.step, _of_corruptions(table), None)
            append_metrics(run, table.step, table.scores(), table.protocol)
        self._show(trainer, table, run if is_run(run) else None)

    # What

    def evaluate(self, trainer: Trainer, module: Classifier) -> Table:
        """Return the whole table; every process has to call it.

        Raises:
            StoppedError: In every process, if one is asked to stop.
        """
        source = self._source(trainer, module)
        workers = _data(trainer).num_workers
        clean, corrupted, attacked = (Images.choose(source, count, workers) for count in self.counts.values())
        with evaluating(module.network), exact_inference(module.device.type):
            meter = self._meter(module)
            meter.should_stop = lambda: module.health.stop_requested
            meter.report = self._progress(trainer, len(clean), len(corrupted), len(attacked))
            rows = [Row("clean", "clean", "", 0, len(clean), meter.accuracy(clean))]
            rows += self._corruption_rows(meter, corrupted)
            rows += self._published_rows(meter)
            rows += self._attack_rows(meter, attacked, module)
            gradient_norm = meter.gradient_norm(attacked)
            ((network, inputs),) = module.example_inputs().values()
            norms = dict(operator_norms(network, *inputs)) if self.operator_norms else {}
        protocol = self._protocol(trainer, clean, corrupted, attacked)
        return Table(module.step, protocol, rows, gradient_norm, norms)

    def _corruption_rows(self, meter: Meter, images: Images) -> list[Row]:
        return [
            Row("corruption", each.name, each.group, severity, len(images), meter.corrupted(images, each, severity))
            for each in self.corruptions
            for severity in SEVERITIES
        ]

    def _published_rows(self, meter: Meter) -> list[Row]:
        if (published := self.published) is None:
            return []
        groups = {kind().name: kind().group for kind in STANDARD}
        rows = []
        for name in published.names:
            for severity in SEVERITIES:
                images = Images.choose(published.source(name, severity), self.counts["num_corrupted"])
                accuracy = meter.accuracy(images)
                rows.append(Row("published", name, groups.get(name, ""), severity, len(images), accuracy))
        return rows

    def _attack_rows(self, meter: Meter, images: Images, module: Classifier) -> list[Row]:
        rows = [
            Row("attack", attack.name, "", 0, len(images), meter.attacked(images, attack)) for attack in self.attacks
        ]
        if self._other is not None:
            other = self._other.to(module.device, module.weights_dtype)
            for attack in self.attacks:
                accuracy = meter.attacked(images, attack, lambda pixels: other(pixels * 2 - 1))
                rows.append(Row("transfer", attack.name, "", 0, len(images), accuracy))
        return rows

    def _meter(self, module: Classifier) -> Meter:
        def pixels(images: torch.Tensor) -> torch.Tensor:
            return module.pixels(images.to(module.device))

        return Meter(module.logits, pixels, module.device, self.batch_size)

    def _progress(self, trainer: Trainer, clean: int, corrupted: int, attacked: int) -> Any:
        """Return what counts the images in the progress bar: an attack has as many as its network sees."""
        bar = getattr(trainer.progress_bar_callback, "evaluation_progress", None)
        kinds = len(self.corruptions) + (0 if self.published is None else len(self.published.names))
        attacks = len(self.attacks) * (1 if self._other is None else 2)
        total, done = clean + corrupted * kinds * len(SEVERITIES) + attacked * (attacks + 1), 0

        def report(images: int) -> None:
            nonlocal done
            done += images
            if bar is not None and trainer.is_global_zero:
                bar(min(done, total), total)

        return report

    def _source(self, trainer: Trainer, module: Classifier) -> Source:
        data, split = _data(trainer), self._split(trainer)
        if split != "validation" or split in data.splits:
            return data.loaded(split)
        return module.validation_part(data.loaded("train"))

    def _split(self, trainer: Trainer) -> str:
        return self.split or ("test" if "test" in _data(trainer).splits else "validation")

    def _protocol(self, trainer: Trainer, clean: Images, corrupted: Images, attacked: Images) -> dict[str, str | int]:
        data = _data(trainer)
        fields: dict[str, str | int] = {
            "split": f"{data.name}/{self._split(trainer)}",
            "images": len(clean),
            "corrupted": f"{len(corrupted)} of them, CIFAR-10-C-style",
            "corruptions": ", ".join(each.name for each in self.corruptions),
            "attacked": f"{len(attacked)} of them",
            "attacks": ", ".join(map(repr, self.attacks)),
            "seed": SEED,
        }
        if self.transfer_from is not None:
            fields["transfer_from"] = self.transfer_from
        return fields

    def _show(self, trainer: Trainer, table: Table, run: Path | None) -> None:
        if trainer.is_global_zero and run is not None:
            table.write(run)
        _print(trainer, str(table) + ("" if run is None else f"\nwritten: {run}/robustness.csv and .json"))


def _of_corruptions(table: Table) -> dict[str, float]:
    rows = table.corruptions()
    return {name: sum(row.accuracy for row in each) / len(each) for name, each in rows.items()}


def _classifier(module: LightningModule) -> Classifier:
    assert isinstance(module, Classifier)
    return module


def _data(trainer: Trainer) -> ImageData:
    data: Any = trainer.datamodule  # type: ignore[attr-defined]
    assert isinstance(data, ImageData)
    return data


def _print(trainer: Trainer, text: str) -> None:
    if trainer.is_global_zero:
        bar = trainer.progress_bar_callback
        print(text) if bar is None else bar.print(text)
