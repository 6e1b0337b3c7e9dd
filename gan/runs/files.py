"""Files that are whole or not there."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

_UNFINISHED = ".tmp"


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Let `write` fill a file that appears at `path` only when it is whole, or not at all.

    Raises:
        OSError: if it cannot be written; the message names it.
    """
    # A name of its own even where machines share a folder
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}{_UNFINISHED}")
    try:
        with named(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(temporary, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    finally:
        with suppress(OSError):  # renamed already; or the file system is read-only, and it was never there
            temporary.unlink()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Let an error of the disk say which file cannot be written."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error


def save_tensors(content: dict[str, Any], file: Any) -> None:
    """Write tensors and plain values into an open file.

    Raises:
        OSError: if it cannot be written. torch's writer covers it up: that the disk is full, say.
    """
    try:
        torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove what writers that were killed left in a folder."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        path.unlink()
