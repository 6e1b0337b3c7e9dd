"""Any value for any argument of `fit` gives a run, or one line that says what is wrong."""

import contextlib
import copy
import io
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from gan.cli.main import main

ROOT = Path(__file__).parents[3]
SMALL = """
trainer: {max_steps: 1, accelerator: cpu, devices: 1, enable_progress_bar: false}
model:
  generator: {init_args: {width: 4}}
  discriminator: {init_args: {width: 4}}
  discriminator_norms: [Conv, {class_path: Spectral, init_args: {power_iterations: 1}}]
  penalty: {class_path: R1, init_args: {weight: 1.0}}
  decay: {start: 0, end: 5}
data: {init_args: {batch_size: 8}}
metrics: {init_args: {num_samples: 20, batch_size: 10}}
"""
SECONDS = 60  # after which a run counts as hanging
# These start processes or compilers, or wait for other machines.
LEFT_OUT = (
    "trainer.devices",
    "trainer.num_nodes",
    "trainer.strategy",
    "trainer.accelerator",
    "trainer.plugins",
    "model.compile",
)

# Numbers that may be sizes stay small: memory is not the test.
NUMBERS = st.sampled_from([-(10**30), -7, -1, 0, 1, 2, 3, 5, 16, -1.5, 0.25, 1e-300, 1e308, float("nan"), float("inf")])
OTHERS = st.sampled_from(
    [True, False, None, "", "last", "größe ☃ 数", "1e3", [], {}, [1, "x"], {"class_path": "Hinge"}]
)
VALUES = NUMBERS | OTHERS | st.text(st.characters(codec="utf-8", exclude_categories=["C"]), max_size=8)

Path_ = tuple[str | int, ...]


def arguments(config: Any, path: Path_ = ()) -> list[Path_]:
    """Return where in a configuration there is a value."""
    items = config.items() if isinstance(config, dict) else enumerate(config) if isinstance(config, list) else ()
    return [found for key, value in items for found in arguments(value, (*path, key))] or [path]


def base() -> dict[str, Any]:
    """Return a whole small configuration, with the defaults of everything."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as small:
        small.write(SMALL)
        small.flush()
        quickstart = str(ROOT / "configs" / "quickstart.yaml")
        code, printed, errors = call("--config", quickstart, "--config", small.name, "--print_config")
    assert code == 0, errors
    return yaml.safe_load(printed)


def call(*arguments: str) -> tuple[int, str, str]:
    """Call `fit`; return its exit code (-1 after a traceback), and what it wrote to stdout and stderr."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    signal.signal(signal.SIGALRM, _too_long)
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(output):
            sys.argv = ["train.py", "fit", *arguments]
            main()
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException:
        code = -1
        errors.write(traceback.format_exc())
    finally:
        signal.alarm(0)
    return code, output.getvalue(), errors.getvalue()


def _too_long(*_: Any) -> None:
    raise TimeoutError(f"no end after {SECONDS} s")


def outcome(config: dict[str, Any], path: Path_, value: Any) -> tuple[int, str]:
    """Train with one value changed; return the exit code and what was written to stderr."""
    config = copy.deepcopy(config)
    place: Any = config
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        Path("fuzz.yaml").write_text(yaml.safe_dump(config, allow_unicode=True), encoding="utf-8")
        try:
            code, _, errors = call("--config", "fuzz.yaml")
        finally:
            os.chdir(before)
    return code, errors


def is_fine(code: int, errors: str) -> bool:
    """Say whether it was a run, or one line."""
    lines = [line for line in errors.strip().splitlines() if not line.startswith("warning: ")]
    return code == 0 or (code > 0 and len(lines) == 1 and lines[0].startswith("error: "))


def failures(config: dict[str, Any], path: Path_) -> list[tuple[Path_, Any, int, str]]:
    """Return what went wrong with some values of one argument."""
    failed = []

    # Of Lightning's own arguments, which are many, one value.
    @settings(max_examples=1 if path[0] == "trainer" else 2, deadline=None, derandomize=True, database=None)
    @given(VALUES)
    def check(value: Any) -> None:
        code, errors = outcome(config, path, value)
        if not is_fine(code, errors):
            failed.append((path, value, code, errors[-500:]))

    check()
    return failed


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_any_value_for_any_argument(monkeypatch):
    monkeypatch.setattr(sys, "argv", sys.argv)
    config = base()
    paths = [path for path in arguments(config) if not ".".join(map(str, path)).startswith(LEFT_OUT)]
    assert len(paths) > 100
    failed = [failure for path in paths for failure in failures(config, path)]
    assert not failed, "\n\n".join(map(str, failed))
