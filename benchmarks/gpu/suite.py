"""The tests of ConvNorm beside a GPU, and with all tensors on it by default."""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.gpu.stage import Line, Stage

PLUGIN = "import torch\n\n\ndef pytest_configure(config):\n    torch.set_default_device('{device}')\n"
ON_DEVICE = "devices", "depthwise", "functional", "modules", "transforms", "choice"


def tests(stage: Stage) -> None:
    """Run the tests. The part "device" makes the GPU torch's default device, and runs what can be run so."""
    stage.measure({"part": stage.part}, _run, stage)


def _run(stage: Stage) -> Line:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "on_device.py").write_text(PLUGIN.format(device=stage.device))
        command = [sys.executable, "-m", "pytest", "--no-header", "-rfE", "--tb=line", "-p", "no:cacheprovider"]
        chosen = ["tests/convnorm", "-m", "not slow"]
        if stage.part == "device":
            command += ["-p", "on_device"]
            found = [f"tests/convnorm/test_{name}.py" for name in ON_DEVICE]
            chosen = [*(path for path in found if Path(path).exists()), "-m", "not slow"]
        if stage.tiny:
            chosen = ["tests/convnorm/test_choice.py"]
        elif importlib.util.find_spec("xdist"):
            command += ["-n", "6"]
        path = os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])
        limit = ["timeout", "-s", "INT", str(max(1, int(stage.until - time.time()) - 4))]
        done = subprocess.run(
            [*limit, *command, *chosen], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path}
        )
    lines = (done.stdout + done.stderr).splitlines()
    (stage.out / f"tests_{stage.part}.txt").write_text("\n".join(lines))
    failed = [line[:200] for line in lines if line.startswith(("FAILED", "ERROR"))]
    return {"rc": done.returncode, "last": lines[-1:], "failed": len(failed), "first": failed[:20]}
