"""Threads: how many cores this process may keep busy, and how its threads wait. Read before torch is imported."""

import math
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

WAITING = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"
BRIEFLY = "1000"  # a few microseconds; libgomp heeds it before the policy, other runtimes sleep
NUMBERS = "OMP_NUM_THREADS", "MKL_NUM_THREADS"


def let_waiting_threads_spin_briefly(environment: MutableMapping[str, str] = os.environ) -> None:
    """Let OpenMP's threads spin only briefly between two operations, unless the environment says how they wait.

    Threads that spin for long take cores from the process that they wait for when the machine is busy; threads that
    sleep at once take long to wake. `benchmarks/training.md` has the measurements. The results are the same.
    """
    if not any(name in environment for name in WAITING):
        environment.update(OMP_WAIT_POLICY="passive", GOMP_SPINCOUNT=BRIEFLY)


def number_is_set(environment: MutableMapping[str, str] = os.environ) -> bool:
    """Return whether the environment says how many threads there are to be."""
    return any(name in environment for name in NUMBERS)


def usable_cores(processes: int = 1, root: Path = Path("/")) -> int:
    """Return how many cores each of some processes on this machine can keep busy, at least 1.

    These are the cores that the process may run on, within the quota of CPU time of its control groups (a container's
    `--cpus`, a job's limit). SLURM counts the cores of a task by itself.

    Args:
        processes: Processes of this training on this machine, which share the cores.
        root: Root of the file system.
    """
    cores = min(_allowed_cores(), cpu_quota(root))
    if (of_task := os.environ.get("SLURM_CPUS_PER_TASK", "")).isdecimal():
        cores, processes = min(cores, int(of_task)), 1
    return max(1, math.floor(cores) // processes)


def cpu_quota(root: Path = Path("/")) -> float:
    """Return the cores' worth of CPU time that the control groups of this process grant; infinity: no limit."""
    return min((limit for group in _groups(root) for limit in _limits(group)), default=math.inf)


def _allowed_cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # Linux
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _groups(root: Path) -> Iterator[Path]:
    """Yield the folders of the control groups that this process is in, of version 1 and 2, and of those above them."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:  # no Linux
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            hierarchies = [mounted, mounted / "unified"]
        elif "cpu" in controllers.split(","):
            hierarchies = [mounted / controllers, mounted / "cpu"]
        else:
            continue
        for hierarchy in hierarchies:
            # In a container the path may be the host's: then the group itself is mounted as the root
            group = hierarchy / path.lstrip("/")
            yield from (each for each in (group, *group.parents) if each.is_relative_to(hierarchy))


def _limits(group: Path) -> Iterator[float]:
    """Yield the quota of a control group, in cores."""
    for quota, period in (
        _numbers(group / "cpu.max"),
        _numbers(group / "cpu.cfs_quota_us", group / "cpu.cfs_period_us"),
    ):
        if quota > 0 and period > 0:
            yield quota / period


def _numbers(*files: Path) -> tuple[float, float]:
    """Return quota and period in microseconds; (0, 0) if there is no limit, or no such file."""
    try:
        quota, period = " ".join(file.read_text() for file in files).split()
        return float(quota), float(period)
    except (OSError, ValueError):  # "max" is no number, version 1 says -1
        return 0.0, 0.0
