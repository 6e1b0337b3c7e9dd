"""What `predict` does: it writes samples."""

import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pytorch_lightning import Callback, LightningModule, Trainer

from gan.checks import check_at_least
from gan.images import png
from gan.latents import SAMPLE_BLOCK, sample_inputs
from gan.module import GAN
from gan.randomness import check_seed
from gan.runs.files import named

Write = Callable[[str, bytes], object]


class SampleWriter(Callback):
    """Writes samples of a checkpoint as PNG files, each under its number; those of a class in the class' folder.

    Sample number i depends on the seed and i alone: a longer run of `predict` repeats a shorter one's files.

    Args:
        path: A folder, or a zip file if it ends in `.zip`. It must not exist, or be an empty folder. None: no samples.
        num_samples: How many.
        seed: Which stream of samples; None: the one of `seed_everything`, as in training.
    """

    def __init__(self, path: str | None = "samples", num_samples: int = 64, seed: int | None = None) -> None:
        check_at_least(1, "samples: ", num_samples=num_samples)
        if seed is not None:
            check_seed("samples: seed", seed)
        self.path = None if path is None else Path(path).expanduser()
        self.num_samples, self.seed = num_samples, seed

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuse to write among what is there already."""
        if stage == "predict" and self.path is not None:
            if _is_zip(self.path) and self.path.exists():
                raise FileExistsError(f"--samples.path: {self.path} exists already")
            check_vacant(self.path, "--samples.path")

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the samples."""
        assert isinstance(pl_module, GAN)
        if self.path is None or not trainer.is_global_zero:
            return
        seed = pl_module.seed if self.seed is None else self.seed
        with _writing(self.path) as write:
            for start in range(0, self.num_samples, SAMPLE_BLOCK):
                count = min(SAMPLE_BLOCK, self.num_samples - start)
                # Whole blocks: in a batch of another size the last bits differ, and with them a pixel now and then.
                images = pl_module.sample(SAMPLE_BLOCK, seed=seed, start=start)[:count].cpu()
                for name, image in zip(self._names(pl_module, seed, start, count), images, strict=True):
                    write(name, png(image))
                self._show(trainer, start + count)
        trainer.print(f"{self.num_samples} samples of the {pl_module.weights_name} weights are in {self.path}")

    def _names(self, module: GAN, seed: int, start: int, count: int) -> Iterator[str]:
        _, labels = sample_inputs(module.generator, count, seed=seed, start=start)
        for number, label in enumerate(labels.tolist(), start):
            yield f"{label}/{number:08d}.png" if module.conditional else f"{number:08d}.png"

    def _show(self, trainer: Trainer, done: int) -> None:
        if show := getattr(trainer.progress_bar_callback, "evaluation_progress", None):
            show(done, self.num_samples)


def check_vacant(path: Path, argument: str) -> None:
    """Raise a FileExistsError that names the argument if there is a file or a folder with content."""
    if path.is_file() or (path.is_dir() and any(path.iterdir())):
        raise FileExistsError(f"{argument}: {path} exists already")


@contextmanager
def _writing(path: Path) -> Iterator[Write]:
    """Give a function that writes a file of some name into a zip or a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not _is_zip(path):
        yield lambda name, content: _write_file(path / name, content)
        return
    temporary = path.with_name(f"{path.name}.tmp")  # a zip under its own name is whole
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            yield archive.writestr
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _is_zip(path: Path) -> bool:
    return path.suffix.lower() == ".zip"


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with named(path):
            path.write_bytes(content)
    except BaseException:  # a signal, too
        path.unlink(missing_ok=True)  # half of an image is none
        raise
