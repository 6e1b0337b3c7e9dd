"""A folder or a zip that images are written to, one file each."""

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from gan.runs.files import named

Write = Callable[[str, bytes], object]


def check_vacant(path: Path) -> None:
    """Refuse to write among what is there already.

    Raises:
        FileExistsError: if there is a file, or a folder with content.
    """
    if path.is_file() or (path.is_dir() and (is_zip(path) or any(path.iterdir()))):
        raise FileExistsError(f"{path} exists already: give another --out")


def is_zip(path: Path) -> bool:
    """Return whether a path means a zip file."""
    return path.suffix.lower() == ".zip"


def folder_names(classes: Sequence[str]) -> list[str]:
    """Return a name for the folder of each class: the class's name where that can be one.

    Characters that are not allowed in names of files on every system become "_". Where two folders would have the same
    name, if only on a disk that does not tell capitals, all names begin with the number of the class.
    """
    names = [re.sub(r'[<>:"/\\|?*\x00-\x1f]|^\.|[. ]$', "_", name) or "_" for name in classes]
    if len({name.casefold() for name in names}) < len(names):
        return [f"{number}_{name}" for number, name in enumerate(names)]
    return names


@contextmanager
def writing(path: Path) -> Iterator[Write]:
    """Give a function that writes the content of a file, under a name, into a zip or a folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not is_zip(path):
        yield lambda name, content: _write_file(path / name, content)
        return
    temporary = path.with_name(f"{path.name}.tmp")  # a zip under its own name is whole
    try:
        with zipfile.ZipFile(temporary, "w") as archive:
            yield archive.writestr
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _write_file(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with named(path):
            path.write_bytes(content)
    except BaseException:  # a signal, too
        path.unlink(missing_ok=True)  # half of an image is none
        raise
