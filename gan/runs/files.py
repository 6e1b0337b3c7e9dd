"""Atomic writes."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_UNFINISHED = ".tmp"


def write_atomically(path: Path, write: Callable[[Any], None]) -> None:
    """Call `write` with an open file, which appears at `path` only when it is complete.

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
        with suppress(OSError):  # it was renamed, or never created
            temporary.unlink()


@contextmanager
def named(path: Path) -> Iterator[None]:
    """Add the name of the file to errors of writing it."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"cannot be written: {error.strerror}", str(path)) from error


def save_tensors(content: dict[str, Any], file: Any) -> None:
    """Write tensors and plain values to an open file.

    Raises:
        OSError: if it cannot be written, as on a full disk. torch's writer hides that error behind a RuntimeError.
    """
    import torch  # what reads runs without loading any needs none

    try:
        torch.save(content, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


def remove_unfinished(folder: Path) -> None:
    """Remove temporary files that killed writers left in a folder."""
    for path in folder.glob(f".*{_UNFINISHED}"):
        path.unlink()
