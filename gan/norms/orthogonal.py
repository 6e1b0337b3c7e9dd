"""Weights that are orthogonal as matrices, nearly or exactly."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from gan.checks import check_at_least
from gan.norms.base import LAYERS, Norm
from gan.norms.kernels import Kernels, at_least_float32, check_positive, draw_if_zero


@dataclass(frozen=True)
class ONI(Norm):
    """Orthogonalization by Newton's iteration (Huang et al., "Controllable Orthogonalization", CVPR 2020).

    The kernel matrix Z of every layer, one row an output channel, becomes scale · B_T V with V = Z / ‖Z‖_F, B_0 = I and
    B ← 1.5 B − 0.5 B³ V Vᵀ. A matrix with more rows than columns is transposed for that, so that all its columns become
    orthonormal. A singular value s of V becomes s₁ = 1.5 s − 0.5 s³, and so on T times: all are below `scale`, and near
    it the more iterations there are. A single row becomes a unit vector at once.

    The authors' GANs have T = 2 in the discriminator of SNGAN's CNN and T = 3 in that of the ResNet, with scale 1.

    Args:
        iterations: T.
        scale: The bound of the singular values.
    """

    sites = LAYERS
    iterations: int = 2
    scale: float = 1.0

    def __post_init__(self) -> None:
        check_at_least(1, "ONI: ", iterations=self.iterations)
        check_positive("ONI", scale=self.scale)

    def apply(self, site: nn.Module) -> nn.Module:
        draw_if_zero(site)
        newton = _Newton(Kernels.of(site), self.iterations, self.scale)
        return parametrize.register_parametrization(site, "weight", newton)


class _Newton(nn.Module):
    def __init__(self, kernels: Kernels, iterations: int, scale: float) -> None:
        super().__init__()
        self.kernels, self.iterations, self.scale = kernels, iterations, scale

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            z = self.kernels.matrices(at_least_float32(weight))
            tall = z.shape[1] > z.shape[2]
            z = z.mT if tall else z
            v = z / torch.linalg.matrix_norm(z, keepdim=True)
            w = self.scale * (_newton(v @ v.mT, self.iterations) @ v)
            return self.kernels.weight(w.mT if tall else w, weight.shape).to(weight.dtype)


def _newton(gram: Tensor, iterations: int) -> Tensor:
    """Return B_T. With P = B² · gram the step is B ← B (3 I − P) / 2, which rounding cannot lead astray as B³ can."""
    identity = torch.eye(gram.shape[-1], dtype=gram.dtype, device=gram.device)
    b, p = identity, gram
    for _ in range(iterations):
        step = 1.5 * identity - 0.5 * p
        b, p = b @ step, step @ p @ step
    return b


@dataclass(frozen=True)
class Orthogonal(Norm):
    """Exactly orthogonal kernel matrices: orthonormal rows, or columns where there are more rows than columns.

    The parametrization by Householder reflections of `torch.nn.utils.parametrizations.orthogonal`, whose backward pass
    takes one reflection after another; here they are multiplied in compact form (Schreiber and Van Loan, 1989), in 0.3
    instead of 25 seconds for 256→512 channels with 3×3 kernels. Weights start as the Q of their QR decomposition.
    """

    sites = LAYERS

    def apply(self, site: nn.Module) -> nn.Module:
        return parametrize.register_parametrization(site, "weight", _Reflections(Kernels.of(site)))


class _Reflections(nn.Module):
    """The first k columns of H₁ ⋯ H_k, each with a sign; H_i = I − 2 v vᵀ / ‖v‖² has v below the diagonal's 1."""

    def __init__(self, kernels: Kernels) -> None:
        super().__init__()
        self.kernels = kernels

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):
            x = self.kernels.matrices(at_least_float32(weight))
            q = _product(x.mT).mT if x.shape[1] < x.shape[2] else _product(x)
            return self.kernels.weight(q, weight.shape).to(weight.dtype)

    @torch.no_grad()
    def right_inverse(self, weight: Tensor) -> Tensor:
        q = self.kernels.matrices(at_least_float32(weight))
        x = _reflections(q.mT).mT if q.shape[1] < q.shape[2] else _reflections(q)
        return self.kernels.weight(x, weight.shape).to(weight.dtype).contiguous()


def _product(x: Tensor) -> Tensor:
    """Return Q (…, n, k), n ≥ k, of the vectors below the diagonal of x and the signs of the diagonal."""
    identity = torch.eye(*x.shape[-2:], dtype=x.dtype, device=x.device)
    v = x.tril(-1) + identity
    gram = v.mT @ v
    inverse = gram.triu(1) + torch.diag_embed(gram.diagonal(dim1=-2, dim2=-1) / 2)  # H₁ ⋯ H_k = I − v inverse⁻¹ vᵀ
    q = identity - v @ torch.linalg.solve_triangular(inverse, v[..., : x.shape[-1], :].mT, upper=True)
    return q * torch.where(x.diagonal(dim1=-2, dim2=-1) < 0, -1.0, 1.0).to(x.dtype).unsqueeze(-2)


def _reflections(q: Tensor) -> Tensor:
    """Return x whose product is q if that is orthogonal, else the Q of its QR decomposition with positive R."""
    x, tau = torch.geqrf(q)
    signs = x.diagonal(dim1=-2, dim2=-1).sign()
    x.diagonal(dim1=-2, dim2=-1).copy_(torch.where(tau == 0, -signs, signs))  # there LAPACK reflects nothing
    return x
