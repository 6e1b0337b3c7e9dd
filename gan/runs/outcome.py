"""How a run ended: one small file in its folder. A run that was killed, or failed, has none."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from gan.runs.files import write_atomically

OUTCOME = "outcome.json"
FINISHED, STOPPED, DIVERGED = "finished", "stopped", "diverged"


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        status: "finished" at `max_steps`; "stopped" before, by a rule of its configuration; "diverged" when a loss or
            weight was not finite.
        step: The last training step.
        message: What was wrong with a diverged run.
    """

    status: str
    step: int
    message: str = ""


def write_outcome(run: Path, outcome: Outcome) -> None:
    """Write how a run ended into its folder."""
    text = json.dumps(asdict(outcome)) + "\n"
    write_atomically(run / OUTCOME, lambda file: file.write(text.encode()))


def read_outcome(run: Path) -> Outcome | None:
    """Return how a run ended; None if it has not, or was killed."""
    try:
        return Outcome(**json.loads((run / OUTCOME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def forget_outcome(run: Path) -> None:
    """Remove what says that a run has ended: it goes on."""
    (run / OUTCOME).unlink(missing_ok=True)
