"""Weight penalties: terms that depend on a network's weights alone."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from convnorm import ConvNorm
from gan.networks.evaluation_mode import evaluating
from gan.norms.kernels import Kernels, at_least_float32, check_positive


class WeightPenalty(nn.Module, ABC):
    """weight · Σ of a term for each layer: `penalty(network)` is a scalar with a graph.

    It reads each layer's weight as the layer uses it in evaluation mode: after its parametrizations, and without a step
    of their power iterations. Of a `ConvNorm` it reads the convolution inside. A layer that is used several times
    counts once. Terms are computed in float32 at least, also under autocast.

    Args:
        weight: How strong it is.

    Attributes:
        sites: The kinds of layers that have a term.

    Raises:
        ValueError: if the weight is not positive.
    """

    sites: ClassVar[tuple[type[nn.Module], ...]]

    def __init__(self, weight: float) -> None:
        super().__init__()
        check_positive(type(self).__name__, weight=weight)
        self.weight = weight

    @abstractmethod
    def term(self, layer: nn.Module, weight: Tensor) -> Tensor:
        """Return the term of a layer, an instance of one of `sites`, whose effective weight is given."""

    def forward(self, network: nn.Module) -> Tensor:
        """Return the penalty of any network, a scalar.

        Raises:
            ValueError: if the network has no layer of the kinds in `sites`.
        """
        layers = self.layers(network)
        with torch.autocast(next(network.parameters()).device.type, enabled=False):
            terms = [self.term(layer, at_least_float32(_weight(layer))) for layer in layers]
            return self.weight * torch.stack(terms).sum()

    def layers(self, network: nn.Module) -> list[nn.Module]:
        """Return the layers that have a term.

        Raises:
            ValueError: if there is none.
        """
        found = [layer for layer in dict.fromkeys(_layers(network)) if isinstance(layer, self.sites)]
        if not found:
            kinds = ", ".join(kind.__name__ for kind in self.sites)
            raise ValueError(f"{type(self).__name__} finds no layer in {type(network).__name__}: no {kinds}")
        return found


class Orthogonality(WeightPenalty):
    """weight · Σ ‖G − diag(G)‖²_F, G being the Gram matrix of a layer's weight (Brock et al., ICLR 2019, eq. 3).

    The weight is read as a matrix with a row for each output channel; each group of a convolution has its own. G holds
    the products of its rows, or of its columns where there are fewer: only that side can be orthogonal. Lengths are
    free. The authors' code adds half of the exact gradient.

    Args:
        weight: How strong it is. BigGAN uses 1e-4 in the generator.
    """

    sites = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)

    def __init__(self, weight: float = 1e-4) -> None:
        super().__init__(weight)

    def term(self, layer: nn.Module, weight: Tensor) -> Tensor:
        matrices = Kernels.of(layer).matrices(weight)
        matrices = matrices.mT if matrices.shape[1] > matrices.shape[2] else matrices
        gram = matrices @ matrices.mT
        return (gram - torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1))).square().sum()


class ConvOrthogonality(WeightPenalty):
    """weight · Σ ‖A Aᵀ − I‖²_F, A being a convolution as an operator (Wang et al., OCNN, CVPR 2020).

    A is the convolution with its stride, on an image without border. All rows of an output channel are shifts of one,
    which is counted once. A Aᵀ is a convolution, too: its kernel is the layer's, convolved with itself at all shifts at
    which the two overlap (eq. 7: stride S, padding ⌊(k − 1) / S⌋ · S). Where a layer has more outputs than inputs at
    S² positions, as from 3 to 64 channels, Aᵀ A takes its place (eq. 10), since only that can be the identity; the two
    differ by a constant. An orthogonal kernel costs 0: away from the image's border, all singular values of the layer
    are 1.

    The square, less that constant, is the L_orth of Achour, Malgouyres and Mamalet (JMLR 23, 2022). The code of Wang et
    al. takes the norm without the square, with weight 0.1, and pads by 1, which misses shift 0 where the stride is 2.
    That weight does not carry over; the default here is ours.

    Args:
        weight: How strong it is.
    """

    sites = (nn.Conv2d, nn.ConvTranspose2d)

    def __init__(self, weight: float = 0.01) -> None:
        super().__init__(weight)

    def term(self, layer: nn.Module, weight: Tensor) -> Tensor:
        assert isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
        groups = layer.groups
        kernels = _phases(weight, _distinct_strides(layer)).unflatten(0, (groups, -1))  # (groups, O, I, h, w)
        kernels = kernels.transpose(1, 2) if kernels.shape[1] > kernels.shape[2] else kernels
        height, width = kernels.shape[3:]
        # Shifts (y, x) and (-y, -x) give the same numbers: rows y = 0, 1, ... are enough
        images = F.pad(kernels.transpose(0, 1).flatten(1, 2), (width - 1, width - 1, 0, height - 1))
        products = F.conv2d(images, kernels.flatten(0, 1), groups=groups)  # (O, groups · O, h, 2 w - 1)
        identity = torch.eye(len(products), dtype=products.dtype, device=products.device).repeat(1, groups)
        unshifted = products[:, :, 0] - F.pad(identity.unsqueeze(2), (width - 1, width - 1))
        return unshifted.square().sum() + 2 * products[:, :, 1:].square().sum()


def _layers(network: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules of a network, but no depthwise filter of a `ConvNorm`."""
    if isinstance(network, ConvNorm):
        yield network.layer
        return
    yield network
    for child in network.children():
        yield from _layers(child)


def _weight(layer: nn.Module) -> Tensor:
    with evaluating(layer):
        weight = layer.weight
    assert isinstance(weight, Tensor)
    return weight


def _distinct_strides(layer: nn.Conv2d | nn.ConvTranspose2d) -> list[int]:
    """Return the strides of an undilated convolution whose rows overlap as those of the layer do.

    Shifts at which rows overlap are common multiples of stride and dilation; a stride beyond the kernel separates rows
    no further.
    """
    axes = zip(layer.stride, layer.dilation, layer.kernel_size, strict=True)
    return [min(stride // math.gcd(stride, dilation), size) for stride, dilation, size in axes]


def _phases(weight: Tensor, strides: list[int]) -> Tensor:
    """Return the kernel (O, I · s · s, k', k') with stride 1 that does on an image's phases what (O, I, k, k) does."""
    for axis, stride in zip((2, 3), strides, strict=True):
        missing = -weight.shape[axis] % stride
        padded = F.pad(weight, (0, 0, 0, missing) if axis == 2 else (0, missing))
        weight = padded.unflatten(axis, (-1, stride)).movedim(axis + 1, 2).flatten(1, 2)
    return weight
