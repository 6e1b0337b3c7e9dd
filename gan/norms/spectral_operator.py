"""Layers divided by the norm of the operator that they are."""

import copy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan.checks import check_at_least
from gan.norms.base import LAYERS, Norm
from gan.norms.kernels import at_least_float32, check_positive, draw_if_zero

WARM_UP = 15  # power iterations before training, as many as torch's spectral norm makes
Size = tuple[int, int]


class SpectralOperator(Norm):
    """Every layer divided by its norm as it acts: with zero padding and stride, on images of the size that it sees.

    Spectral normalization of the kernel's matrix bounds that norm only up to a factor. Here it is found by power
    iteration on the convolution and its transpose (Gouk et al., "Regularisation of Neural Networks by Enforcing
    Lipschitz Continuity", 2018; Farnia et al., ICLR 2019), on a vector that is kept, once every forward pass in
    training. Linear layers and embeddings are divided by the spectral norm of their matrix.

    GANs do poorly with strict operator norms unless a scale makes up for it (Lin et al., NeurIPS 2021).

    Args:
        scale: The norm that every layer is given.
        power_iterations: Steps of the power iteration in a forward pass in training.
    """

    sites = LAYERS

    def __init__(self, scale: float = 1.0, power_iterations: int = 1) -> None:
        check_positive("SpectralOperator", scale=scale)
        check_at_least(1, "SpectralOperator: ", power_iterations=power_iterations)
        self.scale = scale
        self.power_iterations = power_iterations
        self._sizes: dict[nn.Module, Size] = {}

    def of(self, network: nn.Module) -> Norm:
        """Learn the size of each convolution's input, from one pass of the network in evaluation mode.

        Raises:
            ValueError: if the network does not say what it takes, as those of `gan.networks` do.
        """
        example_inputs: Any = getattr(network, "example_inputs", None)
        if example_inputs is None:
            name = type(network).__name__
            raise ValueError(f"SpectralOperator: {name} must have a method example_inputs, as gan.networks have")
        bound = SpectralOperator(self.scale, self.power_iterations)
        bound._sizes = _input_sizes(network, *example_inputs())
        return bound

    def apply(self, site: nn.Module) -> nn.Module:
        draw_if_zero(site)
        weight = site.weight
        assert isinstance(weight, Tensor)
        if not isinstance(site, nn.Conv2d | nn.ConvTranspose2d):
            operator = _Operator(False, (1, 1), (0, 0), (1, 1), (0, 0), 1, (1, 1))
        elif site in self._sizes:
            operator = _Operator.of(site, self._sizes[site])
        else:
            raise ValueError(f"SpectralOperator: the network never calls {site}, so its input's size is unknown")
        divided = _Divided(operator, weight.detach(), self.scale, self.power_iterations)
        return parametrize.register_parametrization(site, "weight", divided)


class _Operator(NamedTuple):
    """A convolution on one image, and its transpose. A matrix is one of 1×1 on a single pixel."""

    transposed: bool
    stride: Size
    padding: Size
    dilation: Size
    output_padding: Size
    groups: int
    size: Size  # of the input

    @staticmethod
    def of(layer: nn.Conv2d | nn.ConvTranspose2d, size: Size) -> "_Operator":
        if layer.padding_mode != "zeros" or isinstance(layer.padding, str):
            raise ValueError(f"SpectralOperator: a convolution's padding must be a number of zeros, got {layer}")
        transposed = isinstance(layer, nn.ConvTranspose2d)
        stride, padding, dilation, output_padding = (
            (axes[0], axes[1]) for axes in (layer.stride, layer.padding, layer.dilation, layer.output_padding)
        )
        return _Operator(transposed, stride, padding, dilation, output_padding, layer.groups, size)

    def forward(self, x: Tensor, weight: Tensor) -> Tensor:
        return self._up(x, weight, self.output_padding) if self.transposed else self._down(x, weight)

    def adjoint(self, y: Tensor, weight: Tensor) -> Tensor:
        if self.transposed:
            return self._down(y, weight)
        reach = [dilation * (k - 1) for dilation, k in zip(self.dilation, weight.shape[2:], strict=True)]
        axes = zip(self.size, self.padding, reach, self.stride, strict=True)
        return self._up(y, weight, [(h + 2 * p - r - 1) % s for h, p, r, s in axes])

    def _down(self, x: Tensor, weight: Tensor) -> Tensor:
        return F.conv2d(x, weight, None, self.stride, self.padding, self.dilation, self.groups)

    def _up(self, x: Tensor, weight: Tensor, output_padding: Any) -> Tensor:
        return F.conv_transpose2d(
            x, weight, None, self.stride, self.padding, output_padding, self.groups, self.dilation
        )


class _Divided(nn.Module):
    """The weight over the operator's norm u · A v, u and v being constants for autograd (Miyato et al., 2018)."""

    u: Tensor
    v: Tensor

    def __init__(self, operator: _Operator, weight: Tensor, scale: float, power_iterations: int) -> None:
        super().__init__()
        self.operator, self.scale, self.power_iterations = operator, scale, power_iterations
        kernel = _kernel(weight)
        inputs = kernel.shape[0] if operator.transposed else kernel.shape[1] * operator.groups
        random = torch.Generator().manual_seed(0)
        v = torch.randn(1, inputs, *operator.size, generator=random, device="cpu").to(kernel)
        self.register_buffer("v", _unit(v))
        self.register_buffer("u", torch.zeros_like(operator.forward(v, kernel)))
        self._iterate(kernel, WARM_UP)

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            kernel = _kernel(weight)
            if self.training:
                self._iterate(kernel.detach(), self.power_iterations)
            u, v = self.u.clone().to(kernel.dtype), self.v.clone().to(kernel.dtype)  # the next pass changes them
            norm = (u * self.operator.forward(v, kernel)).sum()
            return weight * (self.scale / norm).to(weight.dtype)

    @torch.no_grad()
    def _iterate(self, kernel: Tensor, times: int) -> None:
        u, v = self.u, self.v.to(kernel.dtype)
        for _ in range(times):
            u = _unit(self.operator.forward(v, kernel))
            v = _unit(self.operator.adjoint(u, kernel))
        self.u.copy_(_unit(self.operator.forward(v, kernel)))
        self.v.copy_(v)


def _kernel(weight: Tensor) -> Tensor:
    weight = at_least_float32(weight)
    return weight if weight.dim() == 4 else weight[:, :, None, None]


def _unit(x: Tensor) -> Tensor:
    return x / x.norm().clamp_min(1e-12)


@torch.no_grad()
def _input_sizes(network: nn.Module, *inputs: Tensor) -> dict[nn.Module, Size]:
    """Return the height and width of what each convolution sees; the largest if it is called several times."""
    sizes: dict[nn.Module, Size] = {}
    convolutions = nn.Conv2d, nn.ConvTranspose2d
    layers = [module for module in network.modules() if isinstance(module, convolutions)]
    twin = copy.deepcopy(network).eval()  # so that neither its mode nor its state changes
    twins = [module for module in twin.modules() if isinstance(module, convolutions)]

    def look(layer: nn.Module, x: Tensor) -> None:
        height, width = sizes.get(layer, (0, 0))
        sizes[layer] = max(height, x.shape[2]), max(width, x.shape[3])

    for layer, copied in zip(layers, twins, strict=True):
        copied.register_forward_pre_hook(lambda _, given, layer=layer: look(layer, given[0]))
    twin.forward(*inputs)
    return sizes
