"""The card, and its ceilings."""

import os
import sys

import torch

from benchmarks.device import timed
from benchmarks.gpu.stage import Line, Stage


def environment(stage: Stage) -> None:
    """Name the card; measure how fast it copies, multiplies and launches."""
    facts = {"torch": torch.__version__, "python": sys.version.split()[0], "cores": os.cpu_count()}
    if stage.on_gpu:
        facts |= {"card": torch.cuda.get_device_name(), "cudnn": torch.backends.cudnn.version()}
    stage.write(facts)
    stage.measure({"what": "copy"}, _copy, stage)
    for dtype in torch.bfloat16, torch.float32, torch.float64:
        stage.measure({"what": f"product {dtype}"}, _product, stage, dtype)
    stage.measure({"what": "launch"}, _launch, stage)


def _copy(stage: Stage) -> Line:
    source = torch.zeros(2**20 if stage.tiny else 2**28, device=stage.device)
    target = torch.empty_like(source)
    return {"TB_s": round(8 * source.numel() / timed(lambda: target.copy_(source), stage.device).ms / 1e9, 3)}


def _product(stage: Stage, dtype: torch.dtype) -> Line:
    size = 128 if stage.tiny else 8192
    a, b = torch.randn(2, size, size, device=stage.device).to(dtype).unbind()
    return {"TFLOP_s": round(2 * size**3 / timed(lambda: a @ b, stage.device).ms / 1e9, 1)}


def _launch(stage: Stage) -> Line:
    small = torch.zeros(8, device=stage.device)
    count = 100 if stage.tiny else 2000

    def launch() -> None:
        for _ in range(count):
            small.add_(1)

    return {"us": round(timed(launch, stage.device).ms / count * 1e3, 2)}
