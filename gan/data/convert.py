"""Images made to fit once, so that no start has to do it again: a zip that loads at once."""

import hashlib
import json
import shutil
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gan.data.decode import DamagedError, Frame
from gan.data.labels import LABELS_FILE
from gan.data.pool import run_all
from gan.data.sources import FileSource
from gan.data.tree import ImageTree
from gan.data.words import some
from gan.images import encoded
from gan.runs.files import write_atomically

PART = 200  # images that are converted, and kept if the conversion is interrupted, at a time
_FAULTS = "faults.json"
_SHARD = 1000  # images of a folder in the zip
Progress = Callable[[int, int], None]  # images done, images in all


def convert(
    tree: ImageTree,
    destination: Path,
    frame: Frame,
    workers: int = 1,
    skip_damaged: bool = False,
    progress: Progress = lambda done, total: None,
) -> list[str]:
    """Write all images of a folder or zip, made to fit, as PNG into a zip as StyleGAN's dataset tool writes it.

    The images keep their order and splits; `dataset.json` holds their labels and the names of the classes. The zip
    appears when it is whole. What an interrupted conversion has done lies beside it: the next one goes on from there.

    Args:
        tree: The images.
        destination: The zip, which must not exist.
        frame: What the images are made to fit.
        workers: Processes that convert.
        skip_damaged: Whether to leave out images that cannot be read.
        progress: Called as the work goes on.

    Returns:
        What is wrong with the images that were left out, with their names.

    Raises:
        FileExistsError: If there is such a file.
        DamagedError: If images cannot be read; the message names them.
    """
    if destination.exists():
        raise FileExistsError(f"{destination} exists already")
    if destination.suffix.lower() != ".zip":
        raise ValueError(f"the destination must be a zip, got {destination}")
    parts = destination.with_name(f".{destination.name}.parts")
    key = _key(tree, frame)
    if (parts / "key").is_file() and (parts / "key").read_text() != key:
        shutil.rmtree(parts)  # of other images, or made to fit in another way
    write_atomically(parts / "key", lambda file: file.write(key.encode()))
    sources = {split: tree.source(split, frame) for split in tree.splits}
    total = sum(map(len, sources.values()))
    jobs = [(split, start) for split, source in sources.items() for start in range(0, len(source), PART)]
    faults: list[str] = []
    done = 0
    for count, found in run_all(_convert_part, (sources, parts), jobs, workers):
        done += count
        faults += found
        progress(done, total)
    if faults and not skip_damaged:
        raise DamagedError(f"{len(faults):,} images are damaged, --damaged skip leaves them out: {some(faults, 10)}")
    if len(faults) == total:
        raise DamagedError(f"no image can be read: {some(faults)}")
    write_atomically(destination, partial(_join, tree, sources, parts))
    shutil.rmtree(parts)
    return faults


def _key(tree: ImageTree, frame: Frame) -> str:
    """Return what tells one conversion from another: the images, their splits and labels, and the frame."""
    labels = {split: dict(files) for split, files in tree.labels.items()}
    return hashlib.sha256(repr((frame, PART, tree.files.sizes, labels, tree.classes)).encode()).hexdigest()


def _part(parts: Path, split: str, start: int) -> Path:
    return parts / f"{split}_{start:09d}.zip"


def _convert_part(common: tuple[dict[str, FileSource], Path], job: tuple[str, int]) -> tuple[int, list[str]]:
    """Convert a part, unless that was done before; return its number of images, and what is wrong with some."""
    sources, parts = common
    split, start = job
    source, path = sources[split], _part(parts, split, start)
    indices = range(start, min(start + PART, len(source)))
    if path.exists():
        with zipfile.ZipFile(path) as archive:
            return len(indices), json.loads(archive.read(_FAULTS))
    faults: list[str] = []

    def write(file: Any) -> None:
        with zipfile.ZipFile(file, "w") as archive:
            for index in indices:
                try:
                    archive.writestr(str(index), encoded(source[index]))
                except DamagedError as error:
                    faults.append(str(error))
            archive.writestr(_FAULTS, json.dumps(faults))

    write_atomically(path, write)
    return len(indices), faults


def _join(tree: ImageTree, sources: dict[str, FileSource], parts: Path, file: Any) -> None:
    """Write the zip: all images of all parts, and their labels."""
    labels: list[tuple[str, int]] = []
    with zipfile.ZipFile(file, "w") as joined:
        for split, source in sources.items():
            prefix = "" if tree.splits == ("train",) else f"{split}/"
            number = 0
            for start in range(0, len(source), PART):
                with zipfile.ZipFile(_part(parts, split, start)) as archive:
                    for entry in archive.namelist()[:-1]:  # the last are the faults
                        name = f"{prefix}{number // _SHARD:05d}/img{number:08d}.png"
                        joined.writestr(zipfile.ZipInfo(name), archive.read(entry))
                        labels.append((name, int(source.labels[int(entry)])))
                        number += 1
        table = {"labels": labels if tree.classes else None, **({"classes": tree.classes} if tree.classes else {})}
        joined.writestr(zipfile.ZipInfo(LABELS_FILE), json.dumps(table))
