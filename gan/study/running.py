"""Running the cells of a study on this machine, several at a time."""

import fcntl
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from gan.runs.outcome import DIVERGED, read_outcome
from gan.study.description import Cell, Study
from gan.study.progress import CELL, LOG, arguments_of, described, folder_of, state_of


@dataclass(frozen=True)
class Result:
    """The outcome of a cell.

    Attributes:
        cell: The cell.
        failure: Why it is not over, in one line; None if it is.
        remark: What else there is to say.
    """

    cell: Cell
    failure: str | None = None
    remark: str = "finished"


class Runner:
    """Runs cells as `fit` of the study's program, each in a process of its own, and hands signals on to them.

    A cell is locked while its process lives, so that two runners of one study, or what is left of a killed one, do not
    train the same run.

    Args:
        study: The study.
        jobs: How many cells at a time.
        cores: The cores that they share.
        say: Takes a line for each cell that begins or ends.
    """

    def __init__(self, study: Study, jobs: int, cores: int, say: Callable[[str], None]) -> None:
        self._study, self._jobs, self._cores, self._say = study, jobs, cores, say
        self._children: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self._stopped: int | None = None

    def run(self, cells: Sequence[Cell]) -> list[Result]:
        """Run the cells and return what became of them.

        Raises:
            SystemExit: with 128 + its number after a signal, when the cells under way have saved their state.
        """
        previous = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            with ThreadPoolExecutor(self._jobs) as pool:
                results = list(pool.map(self._run, cells))
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)
        if self._stopped is not None:
            raise SystemExit(128 + self._stopped)
        return results

    def _run(self, cell: Cell) -> Result:
        if self._stopped is not None:
            return Result(cell, "not begun")
        folder = folder_of(self._study, cell)
        folder.mkdir(parents=True, exist_ok=True)
        with open(folder / LOG, "ab+") as log:
            try:
                fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the child inherits it
            except OSError:
                return Result(cell, "another process is running it")
            if state_of(self._study, cell).over:
                return Result(cell)
            return self._train(cell, log)

    def _train(self, cell: Cell, log: Any) -> Result:
        arguments = arguments_of(self._study, cell)
        log.write(f"{CELL}{described(self._study, cell)}\n".encode())
        log.flush()
        start = log.seek(0, os.SEEK_END)
        self._say(f"{cell.experiment}: {'goes on' if '--resume' in arguments else 'begins'}")
        command = [sys.executable, "-m", self._study.program, *arguments]
        with self._lock:
            if self._stopped is not None:
                return Result(cell, "not begun")
            # A session of its own: a terminal's Ctrl-C comes once, through this process
            child = subprocess.Popen(command, stdout=log, stderr=log, env=self._environment(), start_new_session=True)
            self._children.add(child)
        code = child.wait()
        with self._lock:
            self._children.discard(child)
        result = self._result(cell, code, log, start)
        self._say(f"{cell.experiment}: {result.failure or result.remark}")
        return result

    def _result(self, cell: Cell, code: int, log: Any, start: int) -> Result:
        run = state_of(self._study, cell).run
        outcome = None if run is None else read_outcome(run)
        if outcome is not None and outcome.status == DIVERGED:
            return Result(cell, remark=f"diverged at step {outcome.step}: {outcome.message}")
        if code == 0 and outcome is not None:
            return Result(cell, remark=f"{outcome.status} at step {outcome.step}")
        if self._stopped is not None:
            return Result(cell, "stopped; it can go on")
        log.seek(start)
        lines = log.read().decode(errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("error: ")] or lines or [f"exit code {code}"]
        return Result(cell, f"failed: {errors[-1].removeprefix('error: ')}")

    def _environment(self) -> dict[str, str]:
        if self._jobs == 1 or "OMP_NUM_THREADS" in os.environ:
            return dict(os.environ)
        return {**os.environ, "OMP_NUM_THREADS": str(max(1, self._cores // self._jobs))}

    def _stop(self, number: int, frame: Any) -> None:
        self._stopped = number
        for child in list(self._children):
            child.send_signal(number)
