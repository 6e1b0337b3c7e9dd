"""What each norm does to a layer's singular values, and what it costs: docs/norms.png and the table of docs/norms.md.

    python -m benchmarks.norms
    python -m benchmarks.norms --what cost --rounds 20

The picture: a 3×3 convolution, 16 to 32 channels on 8×8 pixels, zero-padded, with two kernels: one of N(0, 0.02²) as
DCGAN's are, and one whose matrix has singular values that fall from 1 to 0.01. Shown are all singular values of the
Jacobian of layer and norm together at one image, in float64. Norms of activations first see 50 batches of 64 images of
N(0, 1) in training mode; the Jacobian is taken in evaluation mode. Power iterations have converged. A weight penalty is
shown by what its kernel is after 300 steps of Adam on the penalty alone.

The cost: one update of DCGAN's discriminator (width 64, 32 pixels, hinge loss, Adam, float32), for 64 real and 64
generated images, in one pass where the norm allows it. The norms take turns in every round, in one process. Printed are
the median over the rounds of the time relative to no norm in the same round, with the quartiles.
"""

import argparse
import copy
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import Tensor, nn

from benchmarks.turns import in_turns, relative
from gan.losses import ConvOrthogonality, Hinge, Orthogonality, WeightPenalty
from gan.networks import DCGANDiscriminator
from gan.norms import (
    ONI,
    Batch,
    Conv,
    Group,
    Instance,
    Layer,
    Mixture,
    Norm,
    NormSite,
    Orthogonal,
    Spectral,
    SpectralOperator,
    Weight,
    normalize,
)

FILE = Path(__file__).parents[1] / "docs" / "norms.png"
NORMS: dict[str, Norm | WeightPenalty | None] = {
    "none": None,
    "Spectral": Spectral(),
    "SpectralOperator": SpectralOperator(),
    "Weight": Weight(),
    "Conv": Conv(),
    "ONI": ONI(),
    "Orthogonal": Orthogonal(),
    "Orthogonality": Orthogonality(),
    "ConvOrthogonality": ConvOrthogonality(),
    "Batch": Batch(),
    "Mixture": Mixture(),
    "Layer": Layer(),
    "Instance": Instance(),
    "Group": Group(8),
}
INPUTS, OUTPUTS, SIZE, BATCH = 16, 32, 8, 64


class Block(nn.Module):
    """A convolution and the place of a norm of its activations."""

    norm: nn.Module

    def __init__(self, kernel: Tensor) -> None:
        super().__init__()
        self.conv = nn.Conv2d(INPUTS, OUTPUTS, 3, padding=1, bias=False)
        self.conv.weight.data = kernel
        self.norm = NormSite(OUTPUTS)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x), None)

    def example_inputs(self) -> tuple[Tensor]:
        """Return an image; `SpectralOperator` asks for it."""
        return (torch.zeros(1, INPUTS, SIZE, SIZE, dtype=torch.float64),)


def kernels() -> dict[str, Tensor]:
    """Return the two kernels (OUTPUTS, INPUTS, 3, 3) by name."""
    random = torch.Generator().manual_seed(0)
    drawn = torch.randn(OUTPUTS, INPUTS * 9, generator=random, dtype=torch.float64)
    left, _, right = torch.linalg.svd(drawn, full_matrices=False)
    falling = torch.logspace(0, -2, OUTPUTS, dtype=torch.float64)
    matrices = {"initial": 0.02 * drawn, "ill-conditioned": left * falling @ right}
    return {name: matrix.view(OUTPUTS, INPUTS, 3, 3).clone() for name, matrix in matrices.items()}


def normalized(kernel: Tensor, norm: Norm | WeightPenalty | None) -> Block:
    """Return the layer with a norm as it is in training after some time, in evaluation mode."""
    block = Block(kernel.clone())
    if isinstance(norm, WeightPenalty):
        _descend(block, norm)
    elif norm is not None:
        normalize(block, [norm]).double()
        random = torch.Generator().manual_seed(1)
        for _ in range(50):
            with torch.no_grad():
                block(torch.randn(BATCH, INPUTS, SIZE, SIZE, generator=random, dtype=torch.float64))
    return block.eval()


def _descend(block: Block, penalty: WeightPenalty) -> None:
    optimizer = torch.optim.Adam(block.parameters(), lr=0.01)
    for _ in range(300):
        optimizer.zero_grad()
        penalty(block).backward()
        optimizer.step()


def singular_values(block: Block) -> Tensor:
    """Return the singular values of the Jacobian at a random image, in descending order."""
    random = torch.Generator().manual_seed(2)
    image = torch.randn(1, INPUTS, SIZE, SIZE, generator=random, dtype=torch.float64)
    if isinstance(block.norm, NormSite):  # linear
        basis = torch.eye(image.numel(), dtype=torch.float64).view(-1, *image.shape[1:])
        with torch.no_grad():
            matrix = (block(basis) - block(0 * image)).flatten(1).T
    else:
        jacobian = torch.autograd.functional.jacobian(block, image, vectorize=True)
        matrix = jacobian.reshape(OUTPUTS * SIZE**2, INPUTS * SIZE**2)
    return torch.linalg.eigvalsh(matrix.T @ matrix).clamp_min(0).sqrt().flip(0)


def draw() -> None:
    """Draw one panel a norm, with both kernels before and after it."""
    torch.manual_seed(0)
    figure, axes = plt.subplots(2, 7, figsize=(15, 5.2), layout="constrained", sharex=True, sharey=True)
    plain = {name: singular_values(Block(kernel)) for name, kernel in kernels().items()}
    print("norm, kernel: largest, median and smallest singular value")
    for axis, (title, norm) in zip(axes.flat, NORMS.items(), strict=True):
        _draw_panel(axis, title, norm, plain)
    axes[0, 0].legend(fontsize=7)
    figure.supxlabel("singular values, in descending order (%)", fontsize=9)
    figure.savefig(FILE, dpi=100)
    print(FILE)


def _draw_panel(axis: Axes, title: str, norm: Norm | WeightPenalty | None, plain: dict[str, Tensor]) -> None:
    for (name, kernel), color in zip(kernels().items(), ("tab:blue", "tab:orange"), strict=True):
        values = plain[name] if norm is None else singular_values(normalized(kernel, norm))
        share = torch.linspace(0, 100, len(values))
        axis.plot(share, plain[name], color=color, linewidth=1, linestyle=":")
        axis.plot(share, values, color=color, linewidth=1.6, label=name)
        print(f"{title}, {name}: {values[0]:.3f} {values.median():.3f} {values[-1]:.4f}", flush=True)
    axis.axhline(1, color="black", linewidth=0.5)
    axis.set(title=title, yscale="log", ylim=(3e-3, 30))


# Cost


def updates(norm: Norm | WeightPenalty | None) -> Callable[[], None]:
    """Return a function that makes an update of the discriminator."""
    torch.manual_seed(0)
    network = DCGANDiscriminator(32)
    penalty = norm if isinstance(norm, WeightPenalty) else None
    normalize(network, [norm] if isinstance(norm, Norm) else [])
    apart = any(isinstance(each, nn.BatchNorm2d) or getattr(each, "uses_batch", False) for each in network.modules())
    optimizer = torch.optim.Adam(network.parameters(), 2e-4, (0.0, 0.9), fused=True)
    real, fake = torch.randn(2, BATCH, 3, 32, 32)
    loss = Hinge()

    def update() -> None:
        optimizer.zero_grad()
        logits: Any = (network(real), network(fake)) if apart else network(torch.cat([real, fake])).chunk(2)
        value = loss.discriminator(*logits)
        (value if penalty is None else value + penalty(network)).backward()
        optimizer.step()

    return update


def measure(rounds: int) -> None:
    """Print the table of costs."""
    seconds = in_turns({name: updates(copy.deepcopy(norm)) for name, norm in NORMS.items()}, rounds)
    print(f"no norm: {1000 * median(seconds['none']):.0f} ms an update, median of {rounds} rounds")
    for name, times in seconds.items():
        ratio, low, high = relative(times, seconds["none"])
        print(f"{name:18} {ratio:.2f}  ({low:.2f} to {high:.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["picture", "cost"], nargs="+", default=["picture", "cost"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if "picture" in options.what:
        draw()
    if "cost" in options.what:
        measure(options.rounds)


if __name__ == "__main__":
    main()
