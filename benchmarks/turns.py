"""Times of several runs that take turns in one process, so that whatever else the machine does meets all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import median, quantiles

Times = dict[str, list[float]]


def in_turns(
    runs: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Return each run's seconds in every round, after a run of each that is not counted.

    Args:
        runs: The runs by name.
        rounds: How often each is timed, at least 2.
        clock: `time.thread_time` counts the time in which this thread had a core, so another load matters less.
    """
    for run in runs.values():
        run()
    seconds: Times = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            start = clock()
            run()
            seconds[name].append(clock() - start)
    return seconds


def relative(times: list[float], reference: list[float]) -> tuple[float, float, float]:
    """Return median and quartiles of the times relative to those of another run in the same rounds."""
    ratios = [one / other for one, other in zip(times, reference, strict=True)]
    low, _, high = quantiles(ratios, n=4)
    return median(ratios), low, high
