"""docs/journey.sh, line by line, on small images; `gan` is called in processes that are forked."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from small_trainings import ended, start
from test_docs import ROOT, commands, desk, run, shortened, words  # noqa: F401 (desk is a fixture)

import gan
from gan.cli.main import main
from gan.runs.folder import checkpoints

SCRIPT = ROOT / "docs" / "journey.sh"
SPECTRAL = Path("runs/spectral/version_0")
SMALL = ["--model.generator.width=4", "--model.discriminator.width=4", "--data.batch_size=4", "--threads=1"]


@pytest.mark.slow
@pytest.mark.usefixtures("desk")
def test_the_journey_of_the_documentation():
    Path("examples").symlink_to(ROOT / "examples")
    lines = [line for line in commands(SCRIPT.read_text(encoding="utf-8")) if not line.startswith("set ")]
    for line in lines:
        follow(words(line.removesuffix(" || true")))
    assert {path.parent.name for path in Path("made").rglob("*.png")} == {"cat", "dog"}
    assert Image.open("walk.gif").n_frames == 120
    assert "conv" in Path("report.html").read_text()
    for picture in "samples_torch.png", "samples_onnx.png":
        assert min(Image.open(picture).size) >= 4 * 32
    assert torch.equal(gan.load("generator.safetensors").sample(4), gan.load("runs/conv/version_0").sample(4))


def follow(command):
    match command:
        case ["timeout", _, "gan", *arguments]:
            interrupt([*arguments, *SMALL])
        case ["gan", "fit", "--resume", *arguments]:
            step = max(checkpoints(SPECTRAL))
            assert 50 <= step < 10_000  # the interrupted training has saved where it was
            run(["fit", "--resume", *arguments, f"--trainer.max_steps={step + 2}"])
        case ["gan", "fit", *arguments]:
            run(shortened(["fit", *arguments, *SMALL]))
        case ["gan", *arguments]:
            run(arguments)
        case ["python", program, *arguments]:
            run(arguments, program)
        case _:
            pytest.fail(f"how is this tested? {command}")


def interrupt(arguments):
    """Train until some steps are made, then stop as `timeout` does."""
    process = start(lambda: main([*arguments, "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false"]))
    records = SPECTRAL / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (records.exists() and '"step": 50' in records.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    os.kill(process, signal.SIGTERM)
    assert ended(process) == 128 + signal.SIGTERM
