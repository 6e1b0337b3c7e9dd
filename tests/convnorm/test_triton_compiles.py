"""The kernels that layers launch compile for NVIDIA's GPUs, without one, and fit in registers."""

import importlib.util
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from test_triton import fresh_copies
from torch import Tensor, nn

from convnorm.fast.dft import positions
from convnorm.grid import full_grid

triton = pytest.importorskip("triton")
TOOLS = Path(triton.__file__).parent / "backends/nvidia/bin"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (TOOLS / "ptxas").exists(), reason="this Triton has no assembler for NVIDIA's GPUs"),
    pytest.mark.skipif(importlib.util.find_spec("triton.backends.nvidia") is None, reason="Triton for other GPUs"),
]
TYPES = {torch.float32: "*fp32", torch.bfloat16: "*bf16"}
KERNELS = {
    "transforms": ("transform",),
    "products": ("products", "kernels_to_points", "points_to_kernels"),
    "spectrum": ("spectrum",),
}
MOST_SPILLED = 64  # bytes a thread


class Recorder:
    """Stands for a kernel and notes its launches."""

    def __init__(self, kernel: Any, launches: list[tuple[Any, tuple[Any, ...], dict[str, Any]]]) -> None:
        self.kernel, self.launches = kernel, launches

    def __getitem__(self, grid: tuple[int, ...]) -> Callable[..., None]:
        return lambda *args, **options: self.launches.append((self.kernel, args, options))


def launches(layer: nn.Conv2d, size: int, batch: int, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what a forward and a backward pass launch, on the meta device."""
    gpu = fresh_copies()
    noted: list[Any] = []
    for module, names in KERNELS.items():
        for name in names:
            monkeypatch.setattr(vars(gpu)[module], name, Recorder(vars(vars(gpu)[module])[name], noted))
    x = torch.empty(batch, layer.in_channels, size, size, device="meta", dtype=torch.bfloat16, requires_grad=True)
    grid, weight = full_grid(layer, (size, size)), layer.weight.float()
    v = gpu.launch.preconditioner(weight.detach(), grid.size, layer.dilation)
    y = gpu.points.convolve(x, weight, v, positions(layer, grid))
    torch.autograd.grad(y, [x, weight], torch.empty_like(y))
    return noted


def compiled(kernel: Any, args: tuple[Any, ...], options: dict[str, Any], capability: int) -> Any:
    """Compile a launch as Triton's runtime would: ones are constants, multiples of 16 known as such."""
    signature, constants, attributes = {}, {}, {}
    for i, name in enumerate(kernel.arg_names):
        value = args[i] if i < len(args) else options[name]
        if i >= len(args) or (type(value) is int and value == 1):
            signature[name], constants[(i,)] = "constexpr", value
        elif isinstance(value, float):
            signature[name] = "fp64" if value < torch.finfo(torch.float32).tiny else "fp32"
        else:
            signature[name] = TYPES[value.dtype] if isinstance(value, Tensor) else "i32"
            if isinstance(value, Tensor) or value % 16 == 0:
                attributes[(i,)] = [["tt.divisibility", 16]]
    source = triton.compiler.ASTSource(kernel, signature, constants, attributes)
    target = triton.backends.compiler.GPUTarget("cuda", capability, 32)
    launch = {name: options[name] for name in ("num_warps", "num_stages")}
    return triton.compile(source, target=target, options=launch)


def resources(binary: Any, tmp_path: Path) -> SimpleNamespace:
    file = tmp_path / "kernel.cubin"
    file.write_bytes(binary.asm["cubin"])
    usage = subprocess.run([TOOLS / "cuobjdump", "-res-usage", file], capture_output=True, text=True, check=True)
    found = dict(re.findall(r"(REG|STACK):(\d+)", usage.stdout + usage.stderr))
    return SimpleNamespace(registers=int(found["REG"]), spilled=int(found["STACK"]))


@pytest.mark.parametrize(
    ("layer", "size", "capability", "kernels"),
    [
        ((64, 64, 4, 2, 1), 32, 90, ("transform", "products", "spectrum", "kernels_to_points", "points_to_kernels")),
        ((64, 128, 3, 1, 1), 4, 80, ("transform", "products")),
    ],
)
def test_kernels_compile_and_fit(layer, size: int, capability: int, kernels, monkeypatch, tmp_path) -> None:
    seen = set()
    for kernel, args, options in launches(nn.Conv2d(*layer, device="meta"), size, 64, monkeypatch):
        if kernel.__name__ in kernels:
            used = resources(compiled(kernel, args, options, capability), tmp_path)
            seen.add(kernel.__name__)
            assert used.spilled <= MOST_SPILLED, (kernel.__name__, options, used)
    assert seen == set(kernels)
