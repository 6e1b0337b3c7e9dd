"""Draws docs/convnorm.png: singular values of convolutions before and after ConvNorm.

    python -m benchmarks.convnorm_picture

The layers are those of SNGAN's CNN discriminator at 32 pixels, at their published initialization. Nothing is trained or
sampled: the singular values are those of the transfer matrices at every frequency of the layer's grid, in float64.
"""

import argparse
import copy
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from matplotlib.axes import Axes
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from benchmarks.convnorm import layers_of
from convnorm import conv_norm
from convnorm.spectra import singular_values
from gan.networks import SNGANCNNDiscriminator

FILE = Path(__file__).parents[1] / "docs" / "convnorm.png"
LAYER = "64->128 k3s1 16px"


def normalized(layer: nn.Conv2d) -> dict[str, nn.Module]:
    """Return the layer as it is, with spectral norm, and with ConvNorm."""
    spectral = spectral_norm(copy.deepcopy(layer), n_power_iterations=20)
    spectral(torch.zeros(1, layer.in_channels, 8, 8))
    return {
        "plain": copy.deepcopy(layer),
        "spectral norm": spectral.eval(),
        "ConvNorm": conv_norm(copy.deepcopy(layer)),
    }


def draw_histogram(axes: Axes, layer: nn.Conv2d, size: int) -> None:
    for name, module in normalized(layer).items():
        values = singular_values(module, (size, size)).flatten()
        axes.hist(values.numpy(), bins=80, histtype="step", density=True, label=name, linewidth=1.5)
    axes.set(title=f"Singular values of {LAYER}", xlabel="singular value", ylabel="density")
    axes.legend()


def draw_norms(axes: Axes, found: dict[str, tuple[nn.Conv2d, tuple[int, ...]]]) -> None:
    norms: dict[str, list[float]] = {}
    for layer, shape in found.values():
        for name, module in normalized(layer).items():
            norms.setdefault(name, []).append(float(singular_values(module, shape[1:]).max()))
    positions = torch.arange(len(found)).numpy()
    for number, (name, values) in enumerate(norms.items()):
        axes.bar(positions + 0.25 * (number - 1), values, 0.25, label=name)
    bounds = [layer.out_channels**0.5 for layer, _ in found.values()]
    axes.scatter(positions + 0.25, bounds, marker="_", color="black", label="bound of ConvNorm: √(output channels)")
    axes.set_xticks(positions, [name.replace(" ", "\n") for name in found], fontsize=7)
    axes.set(title="Operator norms of all layers", ylabel="largest singular value")
    axes.legend()


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.manual_seed(0)
    found = layers_of(SNGANCNNDiscriminator(32), 32)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=(2, 3))
    layer, shape = found[LAYER]
    draw_histogram(left, layer, shape[1])
    draw_norms(right, found)
    FILE.parent.mkdir(exist_ok=True)
    figure.savefig(FILE, dpi=110)
    print(FILE)


if __name__ == "__main__":
    main()
