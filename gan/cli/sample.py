"""`gan sample`: from a checkpoint alone to images, pictures and films."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from gan import load
from gan.cli.arguments import Arguments, positive, size
from gan.cli.machine import choose_threads
from gan.cli.mistakes import MISTAKES, mistakes_in_one_line
from gan.images import encoded, tile
from gan.latents import SAMPLE_BLOCK
from gan.module import GAN
from gan.networks.exported import is_exported
from gan.randomness import MAX_SEED
from gan.runs.checkpoints import find_checkpoint, read_checkpoint
from gan.sampling.animation import check_film, write_film
from gan.sampling.files import check_vacant, folder_names, is_zip, writing
from gan.sampling.pictures import FORMATS, write_picture
from gan.sampling.selection import Selection, parse_labels, parse_numbers
from gan.sampling.walks import closed_walk, images_of, interpolations
from gan.trained import TrainedGenerator

_EXAMPLES = """\
examples:
  gan sample runs/quickstart/version_0                        64 images in samples/
  gan sample RUN --num 10000 --out fakes.zip                  one zip
  gan sample RUN --labels cat,dog                             64 images of each class, in a folder each
  gan sample RUN --seeds 0-99 --labels 0,3 --truncation 0.7   the same 100 latent vectors in two classes
  gan sample RUN --grid 8x8 --out grid.png
  gan sample RUN --interpolate 6x10 --out ways.png
  gan sample RUN --walk 2x4 --frames 240 --out walk.mp4"""


def main(arguments: Sequence[str]) -> None:
    """Run `gan sample`.

    Args:
        arguments: Its options.

    Raises:
        SystemExit: with a code that is not 0, after one line on stderr, at a user's mistake.
    """
    given = _parser().parse_args(arguments)
    choose_threads()
    with mistakes_in_one_line(mistakes=(*MISTAKES, ImportError)):
        _Sampling(given).run()


def _parser() -> Arguments:
    parser = Arguments("sample", "Images from a checkpoint. Neither configuration nor training images are needed.", "")
    parser.epilog = _EXAMPLES
    parser.add_argument("run", metavar="RUN", help="a run's folder, a checkpoint, an exported file, or hf://user/model")
    parser.add_argument(
        "--out", type=Path, help="folder, .zip, .png, .webp, .gif or .mp4; default: samples/, grid.png, ..."
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--grid", type=size, metavar="RxC", help="one picture of samples, a class a column if there are any"
    )
    what.add_argument(
        "--interpolate", type=size, metavar="RxC", help="one picture whose rows lead from sample to sample"
    )
    what.add_argument("--walk", type=size, metavar="RxC", help="a film of walks from sample to sample, side by side")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--num", type=positive, help="the first samples of a stream, that many (default: 64)")
    which.add_argument("--seeds", type=_numbers, metavar="0-99", help="one sample a seed")
    parser.add_argument("--seed", type=int, help="seed of the stream (default: the run's own)")
    parser.add_argument(
        "--labels", metavar="cat,dog", help="classes by name or number, or all: every sample in each of them"
    )
    parser.add_argument("--truncation", type=float, metavar="T", help="entries of z beyond T are drawn again")
    parser.add_argument("--format", choices=FORMATS, default="png", help="of single images (default: %(default)s)")
    parser.add_argument("--frames", type=positive, default=120, help="of a walk (default: %(default)s)")
    parser.add_argument("--fps", type=positive, default=24, help="frames of a walk a second (default: %(default)s)")
    parser.add_argument("--keys", type=positive, default=5, help="samples that a walk passes (default: %(default)s)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, ... (default: %(default)s)")
    return parser


def _numbers(text: str) -> list[int]:
    try:
        return parse_numbers(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


class _Sampling:
    """A checkpoint, and what is asked of it."""

    def __init__(self, given: argparse.Namespace) -> None:
        self.given = given
        self.out = self._checked_out()
        self.module, self.source = _trained(given.run)
        self.module.to(_device(given.device))
        classes = self.module.classes or tuple(map(str, range(self.module.generator.num_classes)))
        self.folders = folder_names(classes) if self.module.conditional else None
        self.stream = None if given.seeds else (self.module.seed if given.seed is None else given.seed)
        self.labels = self._checked_labels()

    def run(self) -> None:
        """Make what is asked for."""
        given = self.given
        if given.grid:
            self._draw_grid(*given.grid)
        elif given.interpolate:
            self._draw_interpolations(*given.interpolate)
        elif given.walk:
            self._film(*given.walk)
        else:
            count = self._write_images()
            print(f"{count} images are in {self.out} ({self.source})")
            return
        print(f"{self.out} ({self.source})")

    def _checked_out(self) -> Path:
        given = self.given
        if given.seeds and given.seed is not None:
            raise ValueError("--seed is that of a stream: with --seeds every sample has its own")
        if given.seeds and max(given.seeds) > MAX_SEED:
            raise ValueError(f"--seeds must be between 0 and {MAX_SEED}, got {max(given.seeds)}")
        picture = "grid.png" if given.grid else "interpolations.png" if given.interpolate else None
        out = Path(given.out or picture or ("walk.gif" if given.walk else "samples")).expanduser()
        if given.walk:
            check_film(out)
        elif picture and out.suffix.lower().removeprefix(".") not in FORMATS:
            raise ValueError(f"--out of a picture ends in .png or .webp, got {out}")
        elif not picture and out.suffix and not is_zip(out) and not out.is_dir():
            raise ValueError(f"--out of single images is a folder or a .zip, got {out}; --grid draws one picture")
        check_vacant(out)
        return out

    def _checked_labels(self) -> list[int] | None:
        if self.given.labels is None:
            return None
        if not self.module.conditional:
            raise ValueError("--labels: this generator is not conditional, it knows no classes")
        try:
            return parse_labels(self.given.labels, self.module.generator.num_classes, self.module.classes)
        except ValueError as error:
            raise ValueError(f"--labels: {error}") from None

    def _select(self, start: int, count: int) -> Selection:
        numbers = self.given.seeds[start : start + count] if self.given.seeds else range(start, start + count)
        return Selection(numbers, self.stream, self.given.truncation)

    def _inputs(self, count: int) -> tuple[Tensor, Tensor]:
        if self.given.seeds and len(self.given.seeds) < count:
            raise ValueError(f"--seeds: this needs {count} of them, got {len(self.given.seeds)}")
        return self._select(0, count).inputs(self.module.generator)

    def _write_images(self) -> int:
        count = len(self.given.seeds or ()) or self.given.num or SAMPLE_BLOCK
        written = 0
        classes: list[int | None] = list(self.labels) if self.labels else [None]  # None: as the stream has it
        with writing(self.out) as write:
            for label in classes:
                for start in range(0, count, SAMPLE_BLOCK):
                    selection = self._select(start, min(SAMPLE_BLOCK, count - start))
                    z, labels = selection.inputs(self.module.generator)
                    labels = labels if label is None else torch.full_like(labels, label)
                    names = self._names(selection.numbers, labels)
                    for name, image in zip(names, images_of(self.module, z, labels), strict=True):
                        write(name, encoded(image, self.given.format))
                        written += 1
        return written

    def _names(self, numbers: Sequence[int], labels: Tensor) -> Iterator[str]:
        for number, label in zip(numbers, labels.tolist(), strict=True):
            name = f"{number:08d}.{self.given.format}"
            yield f"{self.folders[label]}/{name}" if self.folders else name

    def _draw_grid(self, rows: int, columns: int) -> None:
        z, _ = self._inputs(rows * columns)
        write_picture(self.out, tile(images_of(self.module, z, self._classes(columns).repeat(rows)), columns))

    def _draw_interpolations(self, rows: int, columns: int) -> None:
        z, _ = self._inputs(rows + 1)
        ways = interpolations(z, columns).flatten(0, 1)
        labels = self._classes(rows).repeat_interleave(columns)
        write_picture(self.out, tile(images_of(self.module, ways, labels), columns))

    def _film(self, rows: int, columns: int) -> None:
        keys, walks = self.given.keys, rows * columns
        if not 2 <= keys <= self.given.frames:
            raise ValueError(f"--keys must be at least 2 and at most --frames {self.given.frames}, got {keys}")
        z = self._inputs(keys * walks)[0].unflatten(0, (keys, walks))
        steps = closed_walk(z, self.given.frames).flatten(0, 1)
        images = images_of(self.module, steps, self._classes(walks).repeat(self.given.frames))
        frames = [tile(frame, columns) for frame in images.split(walks)]
        write_film(self.out, torch.stack(frames), self.given.fps)

    def _classes(self, count: int) -> Tensor:
        """Return labels (count,) that go through the classes that are asked for, or all."""
        classes = self.labels or list(range(max(1, self.module.generator.num_classes)))
        return torch.tensor(classes)[torch.arange(count) % len(classes)]


def _trained(given: str) -> tuple[GAN | TrainedGenerator, str]:
    """Return what samples are drawn from, and where its weights come from."""
    if given.startswith("hf://") or is_exported(given):
        exported = load(given)
        assert isinstance(exported, TrainedGenerator)
        return exported, f"{given}, {exported.weights_name} weights, step {exported.facts['step']}"
    checkpoint = read_checkpoint(path := find_checkpoint(given))
    module = GAN.from_checkpoint(checkpoint)
    return module, f"{path}, {module.weights_name} weights, step {checkpoint['global_step']}"


def _device(name: str) -> torch.device:
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=(device := torch.device(name)))
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"--device {name} cannot be used: {str(error).splitlines()[0]}") from None
    return device
