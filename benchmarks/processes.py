"""Measurements in processes of their own: what ran before leaves its mark on a process' memory."""

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any


def alone(run: Callable[..., Any], *task: Any) -> Any:
    """Return what a function returns in a new process."""
    with ProcessPoolExecutor(1, get_context("spawn")) as process:
        return process.submit(run, *task).result()
