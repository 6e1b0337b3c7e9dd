"""The commands that use a run, as they are to be typed."""

import shlex
import sys
from pathlib import Path


def program() -> list[str]:
    """Return how this command was called: `gan`, `python train.py` or `python -m gan`."""
    name = Path(sys.argv[0]).name
    if name == "gan":
        return ["gan"]
    return ["python", "train.py"] if name == "train.py" else ["python", "-m", "gan"]


def command(*arguments: object) -> str:
    """Return a line for a shell that calls this program."""
    return shlex.join([*program(), *map(str, arguments)])
