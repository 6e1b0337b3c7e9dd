"""What a stage is given: settings, and a file for its lines."""

import json
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Line = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """A stage in a process of its own.

    Attributes:
        name: Its name.
        part: What of it runs, if it has parts.
        out: Folder of `results.jsonl`.
        device: What is measured.
        tiny: Whether everything is to be as small as it can be, to try the script.
        since: When the first stage began, in seconds since the epoch.
        until: When this stage has to be done.
    """

    name: str
    part: str | None
    out: Path
    device: torch.device
    tiny: bool
    since: float
    until: float

    @property
    def batch(self) -> int:
        """Images of a batch."""
        return 2 if self.tiny else 64

    @property
    def on_gpu(self) -> bool:
        """Whether it runs on a GPU."""
        return self.device.type == "cuda"

    def write(self, line: Line) -> None:
        """Append a line to the results, which survives whatever comes next."""
        write(self.out, {"stage": self.name, **line}, self.since)

    def measure(self, what: Line, function: Callable[..., Line | None], *arguments: Any) -> None:
        """Append what a function returns for these arguments, or its error.

        Raises:
            SystemExit: after an error that leaves nothing of the GPU to use.
        """
        try:
            found = function(*arguments)
        except Exception as error:  # one line more, and the next case runs
            where = [f"{frame.filename}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)]
            found = {"error": f"{type(error).__name__}: {error}"[:600], "where": where[-4:]}
        if found is not None:
            self.write({**what, **found})
            if "CUDA error" in str(found.get("error")):
                raise SystemExit(3)


def write(out: Path, line: Line, since: float) -> None:
    """Append a line to the results, with the seconds since the first stage began."""
    with (out / "results.jsonl").open("a") as file:
        file.write(json.dumps({**line, "t": round(time.time() - since, 1)}, default=str) + "\n")


def read(out: Path) -> list[Line]:
    """Return the lines of the results. A line that a kill cut off is left out."""
    lines = []
    for text in (out / "results.jsonl").read_text().splitlines():
        try:
            lines.append(json.loads(text))
        except ValueError:
            continue
    return lines
