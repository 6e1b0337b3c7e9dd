"""The commands that use a run, as they are to be typed."""

import shlex
import sys
from pathlib import Path


def program() -> list[str]:
    """Return how this command was called: `gan`, `python train.py`, `python -m gan` or `python -m robustness`."""
    name = Path(sys.argv[0]).name
    if name == "gan":
        return ["gan"]
    return ["python", "train.py"] if name == "train.py" else ["python", "-m", package()]


def command(*arguments: object, of: str | None = None) -> str:
    """Return a line for a shell that calls this program, or that of another package."""
    called = program() if of is None or of == package() else ["python", "-m", of]
    return shlex.join([*called, *map(str, arguments)])


def package() -> str:
    """Return the package whose program this is."""
    called = Path(sys.argv[0])
    is_ours = called.name == "__main__.py" and (called.parent / "cli").is_dir()
    return called.parent.name if is_ours else "gan"
