"""Speed of the quickstart by threads and by how they wait, alone and beside busy processes.

    python -m benchmarks.threads

Each cell is a training of its own in a new process, as a user starts it; a row's cells follow each other, and all is
repeated. Prints the median of images/s with the lowest and highest, as a Markdown table.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from gan.cli.threads import NUMBERS, WAITING
from gan.runs.folder import METRICS

SPINS = "300000"  # libgomp's own choice, https://gcc.gnu.org/onlinedocs/libgomp/GOMP_005fSPINCOUNT.html
WAITS = {
    "spin": {"GOMP_SPINCOUNT": SPINS},
    "spin briefly": {},  # our choice
    "sleep": {"OMP_WAIT_POLICY": "passive"},
}
FIRST = 10  # steps that do not count


def speed(program: list[str], threads: int, waiting: dict[str, str], steps: int) -> float:
    """Return the images/s of a training, its first steps left out."""
    environment = {name: value for name, value in os.environ.items() if name not in (*NUMBERS, *WAITING)}
    environment |= {"OMP_NUM_THREADS": str(threads), **waiting}
    monitor = f"{{class_path: gan.callbacks.Monitor, init_args: {{every_n_steps: {FIRST}}}}}"
    with tempfile.TemporaryDirectory() as root:
        options = {
            "trainer.max_steps": steps + FIRST,
            "trainer.default_root_dir": root,
            "trainer.callbacks": f"[{monitor}]",
            "trainer.enable_progress_bar": "false",
            "metrics": "null",
        }
        arguments = [
            "fit",
            "--config",
            "configs/quickstart.yaml",
            *(f"--{key}={each}" for key, each in options.items()),
        ]
        subprocess.run([*program, *arguments], env=environment, check=True, stdout=subprocess.DEVNULL)
        (path,) = Path(root).rglob(METRICS)
        lines = [json.loads(line) for line in path.read_text().splitlines()]
    return statistics.harmonic_mean([line["images_per_second"] for line in lines[1:]])


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keep some processes busy meanwhile."""
    others = [multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)]
    for other in others:
        other.start()
    yield
    for other in others:
        other.terminate()


def _spin() -> None:
    while True:
        pass


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--busy", type=int, nargs="+", default=[0, 2, 4])
    parser.add_argument("--program", default=f"{sys.executable} train.py", help="another checkout's, to compare with")
    arguments = parser.parse_args()
    program = arguments.program.split()
    found: dict[tuple[int, str, int], list[float]] = {}
    for _ in range(arguments.repeats):
        for others in arguments.busy:
            with busy(others):
                for threads in arguments.threads:
                    for name, waiting in WAITS.items() if threads > 1 else [("", {})]:
                        value = speed(program, threads, waiting, arguments.steps)
                        found.setdefault((threads, name, others), []).append(value)
                        print(f"{threads} threads, {name}, {others} busy: {value:.0f}", file=sys.stderr, flush=True)
    print(f"torch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} at the end\n")
    print("| threads | waiting | " + " | ".join(f"beside {others} busy" for others in arguments.busy) + " |")
    print("| --- | --- |" + " --- |" * len(arguments.busy))
    for threads, name in dict.fromkeys((threads, name) for threads, name, _ in found):
        cells = [found[threads, name, others] for others in arguments.busy]
        words = [f"{statistics.median(cell):.0f} ({min(cell):.0f} to {max(cell):.0f})" for cell in cells]
        print(f"| {threads} | {name} | {' | '.join(words)} |")


if __name__ == "__main__":
    main()
