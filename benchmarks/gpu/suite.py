"""The tests of ConvNorm on a machine with a GPU."""

import importlib.util
import subprocess
import sys
import time

from benchmarks.gpu.stage import Line, Stage


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
