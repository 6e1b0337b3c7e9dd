"""All that is to be known of this code on one GPU, in a few minutes.

    python -m benchmarks.gpu --out FOLDER                  # on a machine with a GPU
    python -m benchmarks.gpu --out FOLDER --report         # tables of what was measured, as Markdown
    python -m benchmarks.gpu --out FOLDER --device cpu --tiny   # does this script work?

Every stage is a process with a limit of its own. It appends lines to FOLDER/results.jsonl as it goes, so what was
measured survives whatever ends it. The stages are, the most important first:

- environment: the card, what it copies, multiplies and launches;
- training: generator steps, eager and with CUDA graphs;
- steps: a discriminator's update with each norm and each form of ConvNorm: eager, as a CUDA graph, kernels, launches;
- resume: is a second run, a continued run, a run with CUDA graphs the same bit for bit?
- exactness: ConvNorm against float64 on the CPU;
- waits: does a training step wait for the device?
- tests: those of ConvNorm;
- classifiers: a training of `robustness` with each of its methods;
- layers: each layer of the discriminators;
- compile: generator steps with `torch.compile`, alone and with CUDA graphs.

Stages that are not timed run beside each other, and with them the compilers that fill the cache for `compile`.
"""

import argparse
import importlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import NamedTuple

import torch

from benchmarks.gpu.report import report
from benchmarks.gpu.stage import Stage, write

FUNCTIONS = {
    "environment": "environment.environment",
    "training": "trainings.training",
    "steps": "updates.steps",
    "resume": "trainings.resume",
    "exactness": "exactness.exactness",
    "waits": "trainings.waits",
    "tests": "suite.tests",
    "classifiers": "suite.classifiers",
    "layers": "updates.layers",
    "compile": "trainings.compilation",
}
NAMES = tuple(FUNCTIONS)


class Task(NamedTuple):
    """A stage to run: its name, its limit in seconds, and the part."""

    name: str
    limit: float
    part: str | None = None


# One after the other; what stands in one group runs side by side.
GROUPS: list[list[Task]] = [
    [Task("environment", 30)],
    [Task("training", 100)],
    [Task("steps", 60)],
    [
        Task("resume", 110),
        Task("exactness", 80),
        Task("waits", 80),
        Task("tests", 110),
        Task("classifiers", 110),
        *(Task("compile", 110, norm) for norm in ("Conv", "Spectral", "Batch")),
    ],
    [Task("layers", 50)],
    [Task("compile", 60)],
]
ON_GPU_ONLY = ("compile",)


def run_stage(stage: Stage) -> None:
    """Run a stage in this process."""
    module, function = FUNCTIONS[stage.name].split(".")
    getattr(importlib.import_module(f"benchmarks.gpu.{module}"), function)(stage)  # imports what it needs alone


def spawn(task: Task, arguments: argparse.Namespace, beside: bool) -> None:
    """Run a stage in a process of its own, and end all that it started when its time is up."""
    started = time.time()
    limit = task.limit if arguments.device.type == "cuda" else arguments.budget
    until = min(started + limit, arguments.since + arguments.budget)
    what = {"stage": "done", "what": task.name, "part": task.part}
    if until - started < 5:
        write(arguments.out, {**what, "rc": "no time left"}, arguments.since)
        return
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(arguments.out), "--device", str(arguments.device)]
    command += ["--stage", task.name, "--since", str(arguments.since), "--until", str(until)]
    command += ["--part", task.part] if task.part else []
    command += ["--tiny"] if arguments.tiny else []
    cache = {f"{name}_CACHE_DIR": str(arguments.out / "cache" / name) for name in ("TORCHINDUCTOR", "TRITON")}
    threads = {"OMP_NUM_THREADS": "1"} if beside else {}
    with (arguments.out / "log.txt").open("a") as log:
        environment = {**os.environ, "PYTHONWARNINGS": "ignore", **cache, **threads}
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True)
        try:
            code: int | str = process.wait(until - time.time())
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = "time is up"
    write(arguments.out, {**what, "rc": code, "seconds": round(time.time() - started, 1)}, arguments.since)


def run_all(arguments: argparse.Namespace) -> None:
    """Run all stages that are wanted."""
    for group in GROUPS:
        wanted = [task for task in group if task.name in arguments.only]
        if arguments.device.type == "cpu":
            wanted = [task for task in wanted if task.name not in ON_GPU_ONLY]
        threads = [threading.Thread(target=spawn, args=(task, arguments, len(wanted) > 1)) for task in wanted]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    write(arguments.out, {"stage": "end", "seconds": round(time.time() - arguments.since, 1)}, arguments.since)


def main() -> None:
    """Run all stages, or one, or print tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the results, made where it is missing")
    parser.add_argument("--device", type=torch.device, default="cuda")
    parser.add_argument("--tiny", action="store_true", help="to try the script")
    parser.add_argument("--only", nargs="+", choices=NAMES, default=list(NAMES), metavar="STAGE", help=", ".join(NAMES))
    parser.add_argument("--budget", type=float, default=480, help="seconds of all stages together")
    parser.add_argument("--report", action="store_true", help="print tables of the folder's results")
    parser.add_argument("--stage", choices=NAMES, help=argparse.SUPPRESS)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--since", type=float, default=time.time(), help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=float("inf"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.report:
        print(report(arguments.out))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.stage is None:
        run_all(arguments)
        return
    fields = ("part", "out", "device", "tiny", "since", "until")
    run_stage(Stage(arguments.stage, *(getattr(arguments, field) for field in fields)))


if __name__ == "__main__":
    main()
