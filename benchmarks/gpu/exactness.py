"""ConvNorm on the device against ConvNorm on the CPU in float64: outputs and all gradients."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from benchmarks.gpu.stage import Line, Stage
from benchmarks.gpu.updates import FORMS, forced
from convnorm import ConvNorm
from convnorm.fast.preconditioner import preconditioner


class Case(NamedTuple):
    """A layer and the size of its images."""

    layer: nn.Conv2d | nn.ConvTranspose2d
    size: int


class Precision(NamedTuple):
    """Data type of the images, or autocast's; and whether cuDNN and products of matrices may use TF32."""

    dtype: torch.dtype
    cudnn: bool = True
    matmul: bool = False


CASES = {
    "k3s1 64-128 16px": Case(nn.Conv2d(64, 128, 3, padding=1), 16),
    "k4s2 64-64 32px": Case(nn.Conv2d(64, 64, 4, 2, 1), 32),
    "k3s1 3-64 32px": Case(nn.Conv2d(3, 64, 3, padding=1), 32),
    "k1 64-64 16px": Case(nn.Conv2d(64, 64, 1), 16),
    "grouped k3 16-32 16px": Case(nn.Conv2d(16, 32, 3, padding=1, groups=4), 16),
    "reflecting k3 16-16 16px": Case(nn.Conv2d(16, 16, 3, padding=1, padding_mode="reflect"), 16),
    "transposed k4s2 256-128 8px": Case(nn.ConvTranspose2d(256, 128, 4, 2, 1), 8),
}
PRECISIONS = {
    "bf16": Precision(torch.bfloat16),
    "fp32": Precision(torch.float32),
    "fp32 without TF32": Precision(torch.float32, cudnn=False),
    "fp32, TF32 everywhere": Precision(torch.float32, matmul=True),
    "fp16": Precision(torch.float16),
    "fp64": Precision(torch.float64),
}


def exactness(stage: Stage) -> None:
    """Measure relative errors, largest of the tensors of a layer; then whether repeated passes are equal."""
    cases = {**CASES, "blur, k3s1 64-128 16px": Case(_blur(), 16)}
    for name, case in list(cases.items())[: 1 if stage.tiny else None]:
        torch.manual_seed(0)
        layer, x = case.layer, torch.randn(2 if stage.tiny else 16, case.layer.in_channels, case.size, case.size)
        expected = _passes(ConvNorm(copy.deepcopy(layer)).double(), x.double())
        for form in (None, *FORMS):
            for precision, how in PRECISIONS.items() if form is None or stage.on_gpu else ():
                what = {"layer": name, "form": form, "precision": precision}
                stage.measure(what, _error, stage, layer, x, expected, form, how)
    stage.measure({"what": "repeated preconditioners"}, _repeated, stage)


def _blur() -> nn.Conv2d:
    """Return a layer whose kernels are blurs, almost: V is large where its transfer matrices are nearly zero."""
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 128, 3, padding=1)
    with torch.no_grad():
        layer.weight.copy_(layer.weight.mean((2, 3), keepdim=True) + 1e-3 * layer.weight)
    return layer


def _passes(norm: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output, then the gradients in the images and in each parameter."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = norm(x)
    grad = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).cos().view(y.shape).to(y.device, y.dtype)
    return [y.detach(), *torch.autograd.grad(y, [x, *norm.parameters()], grad)]


def _error(
    stage: Stage, layer: nn.Module, x: Tensor, expected: list[Tensor], form: str | None, how: Precision
) -> Line | None:
    half = how.dtype.itemsize < 4
    dtype = torch.float32 if half else how.dtype
    norm = ConvNorm(copy.deepcopy(layer)).to(stage.device, dtype)
    images = x.to(stage.device, dtype).to(memory_format=torch.channels_last)
    autocast = torch.autocast(stage.device.type, how.dtype if half else torch.bfloat16, enabled=half)
    with _tf32(how), autocast, forced(form) as used:
        found = _passes(norm, images)
    if form is not None and form not in used:
        return None  # the layer does not have it
    output, *gradients = (
        float((ours.double().cpu() - exact).norm() / exact.norm().clamp_min(1e-30))
        for ours, exact in zip(found, expected, strict=True)
    )
    return {"forms": sorted(used), "output": output, "gradients": max(gradients)}


@contextmanager
def _tf32(how: Precision) -> Iterator[None]:
    backends: Any = torch.backends
    before = backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32
    backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = how.cudnn, how.matmul
    try:
        yield
    finally:
        backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32 = before


def _repeated(stage: Stage) -> Line:
    kernels, passes = torch.randn(512, 256, 3, 3, device=stage.device), 5 if stage.tiny else 200
    first = preconditioner(kernels, (6, 6))
    unequal = sum(not torch.equal(first, preconditioner(kernels, (6, 6))) for _ in range(passes))
    return {"passes": passes, "unequal": unequal}
