"""The tests of ConvNorm, and trainings of classifiers, on a machine with a GPU."""

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.stage import Line, Stage

METHODS: dict[str, Sequence[str]] = {
    "batch norm": ("--model.norms=[]", "--evaluation.attacks=[FGSM,PGD,MarginPGD]"),
    "ConvNorm": ("--model.norms=[Conv]",),
    "spectral norm": ("--model.norms=[Spectral]",),
    "ONI": ("--model.norms=[ONI]",),
    "OCNN's penalty": ("--model.norms=[]", "--model.weight_penalty=gan.losses.ConvOrthogonality"),
    "adversarial": ("--model.adversarial=robustness.adversarial.FreeTraining",),
    "label noise": (
        "--model.label_noise=robustness.label_noise.Symmetric",
        "--model.label_noise.init_args.fraction=0.4",
    ),
}


def tests(stage: Stage) -> None:
    """Run the fast tests: those that need a GPU run there, too."""
    stage.measure({}, _run, stage)


def _run(stage: Stage) -> Line:
    chosen = ["tests/convnorm/test_choice.py"] if stage.tiny else ["tests/convnorm", "-m", "not slow"]
    command = [sys.executable, "-m", "pytest", "--no-header", "-rfE", "--tb=line", "-p", "no:cacheprovider"]
    if not stage.tiny and importlib.util.find_spec("xdist"):
        command += ["-n", "6"]
    limit = ["timeout", "-s", "INT", str(max(1, int(stage.until - time.time()) - 4))]
    done = subprocess.run([*limit, *command, *chosen], capture_output=True, text=True, check=False)
    lines = (done.stdout + done.stderr).splitlines()
    (stage.out / "tests.txt").write_text("\n".join(lines))
    failed = [line[:200] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"rc": done.returncode, "last": lines[-1:], "failed": len(failed), "first": failed[:20]}


def classifiers(stage: Stage) -> None:
    """Train and test a classifier of the digits with each method."""
    for method, arguments in list(METHODS.items())[-1 if stage.tiny else 0 :]:
        stage.measure({"method": method}, _classifier, stage, arguments)


def _classifier(stage: Stage, arguments: Sequence[str]) -> Line:
    short = ["--trainer.max_steps=2", "--evaluation.num_corrupted=4", "--evaluation.num_attacked=4"]
    command = [sys.executable, "-m", "robustness", "fit", "--config=robustness/digits", *arguments]
    command += [f"--trainer.accelerator={'gpu' if stage.on_gpu else 'cpu'}", *(short if stage.tiny else [])]
    with tempfile.TemporaryDirectory() as folder:
        begin = time.monotonic()
        done = subprocess.run(
            [*command, f"--trainer.default_root_dir={folder}"], capture_output=True, text=True, check=False
        )
        seconds = round(time.monotonic() - begin, 1)
        records = [json.loads(text) for path in Path(folder).rglob("metrics.jsonl") for text in path.open()]
    if done.returncode:
        return {"rc": done.returncode, "error": done.stderr[-600:]}
    return {"rc": 0, "seconds": seconds, **{key: each[key] for each in records for key in each if key == "accuracy"}}
