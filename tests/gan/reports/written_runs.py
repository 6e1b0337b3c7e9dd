"""Folders of runs as trainings leave them, without trainings."""

import json
from pathlib import Path
from typing import Any

import yaml

from gan.runs.outcome import Outcome, write_outcome

PROTOCOL = {"features": "digits", "samples": 500, "source": "ema weights"}


def write_run(
    folder: Path,
    scores: dict[int, float] | None = None,
    seed: int = 0,
    norm: str = "Batch",
    status: str | None = "finished",
    protocol: dict[str, Any] | None = None,
    **config: Any,
) -> Path:
    """Write a run with `fd_digits` at some steps."""
    norms = [{"class_path": f"gan.norms.{norm}"}]
    trainer = {"max_steps": 20, "default_root_dir": str(folder), "devices": seed + 1}
    content = {"seed_everything": seed, "experiment": folder.parent.name, "trainer": trainer}
    content |= {"model": {"discriminator_norms": norms, "discriminator_steps": 2}, **config}
    content |= {"data": {"class_path": "gan.data.Digits", "init_args": {"batch_size": 8}}}
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    lines: list[dict[str, Any]] = [
        {"step": 10, "loss/generator": 1.0, "images_per_second": 32.0, "peak_memory_gib": 1.5}
    ]
    for step, value in (scores or {}).items():
        line = {"step": step, "fd_digits": value, "fd_digits_std": 1.0, "evaluation_seconds": 3.0}
        lines.append({**line, "protocol": protocol or PROTOCOL})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if status is not None:
        message = "loss/generator is nan" if status == "diverged" else ""
        write_outcome(folder, Outcome(status, 20 if status == "finished" else 7, message))
    return folder
