"""Normalization by a mixture of Gaussians instead of one."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from convnorm import memory_format
from gan.checks import check_at_least
from gan.distributed import process_group, sum_over_processes
from gan.norms.base import Norm, NormSite, channels_of
from gan.norms.gaussians import EPS, Gaussians, fit, kmeans_plus_plus
from gan.norms.kernels import at_least_float32
from gan.randomness import Stream, check_seed, rng, uniform

SAMPLE = 1024  # channel vectors that the mixture is fitted to in a step, all processes together
FIRST_STEPS = 10  # of EM, from k-means++; then
STEPS = 2  # a batch, from the mixture of the batch before
GOLDEN = 0.6180339887498949  # its multiples modulo 1 are spread evenly
MOMENTUM = 0.1


@dataclass(frozen=True)
class Mixture(Norm):
    """Mixture normalization in our formulation (after Kalayeh and Shah, TPAMI 2019); see `MixtureNorm`.

    With one component it is batch normalization.

    Args:
        components: K, the number of Gaussians.
        seed: Of the choice of the first means and of the positions that the mixture is fitted to.
    """

    sites = (NormSite,)
    components: int = 3
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least(1, "Mixture: ", components=self.components)
        check_seed("Mixture: seed", self.seed)

    def apply(self, site: nn.Module) -> nn.Module:
        return MixtureNorm(channels_of(site), self.components, self.seed)


class MixtureNorm(nn.Module):
    """Normalization of channel vectors by the modes of a Gaussian mixture, over the batch of all processes together.

    The published method's settings and code are not public; this is our formulation. In training, EM fits K Gaussians
    with diagonal covariance to channel vectors at positions that change with every step: ten steps from k-means++ on
    the first batch, then two steps a batch from where the batch before ended. Autograd takes the fitted mixture to be
    constant. With its responsibilities τ_k(x) for every channel vector x of the batch,

        y = Σ_k τ_k(x) / √(K π_k) · (x − m_k) / √(v_k + 1e-5)

    where π_k is the batch's mean of τ_k, and m_k and v_k are its mean and variance weighed by τ_k. √K keeps the second
    moment of y at 1 where components do not overlap. Then each channel has a gain and a bias.

    In evaluation a running average of (π, m, v) is the mixture, and what normalizes. For K = 1 all this is batch norm.
    Every process must have as many images as any other. The state is in the buffers; the random numbers are a function
    of the seed and of the number of batches seen.

    Args:
        channels: Number of channels.
        components: K.
        seed: Of the first means and of the positions.
    """

    uses_batch = True
    num_batches_tracked: Tensor
    positions: Tensor
    choices: Tensor

    def __init__(self, channels: int, components: int = 3, seed: int = 0) -> None:
        super().__init__()
        self.channels, self.components = channels, components
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        for mixture in "running", "fitted":
            self.register_buffer(f"{mixture}_weights", torch.full((components,), 1 / components))
            self.register_buffer(f"{mixture}_means", torch.zeros(components, channels))
            self.register_buffer(f"{mixture}_variances", torch.ones(components, channels))
        self.register_buffer("num_batches_tracked", torch.tensor(0))
        self._started = False  # whether num_batches_tracked is known to be above 0: to look at it waits for the device
        random = rng(seed, Stream.MIXTURE)
        self.register_buffer("positions", uniform(random, SAMPLE), persistent=False)
        self.register_buffer("choices", uniform(random, components), persistent=False)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        """Normalize (N, C, H, W); the labels are not used."""
        with torch.autocast(x.device.type, enabled=False):
            vectors = at_least_float32(x).flatten(2)
            if self.training:
                self._fit(_sample(vectors.detach(), self.positions, self.num_batches_tracked))
            mixture = self._mixture("fitted" if self.training else "running", vectors)
            centre = mixture.centre()
            centred, mixture = vectors - centre[:, None], mixture.moved(-centre)
            squares = centred.square()
            shares = mixture.responsibilities(centred, squares)
            if self.training:
                mixture = _moments(centred, squares, shares)
                self._track(mixture.moved(centre), x.numel() // x.shape[1] * process_group()[1])
            normalized = self._normalize(centred, shares, mixture)
            return memory_format.like(normalized.view(x.shape), x).to(x.dtype)

    def _normalize(self, x: Tensor, shares: Tensor, mixture: Gaussians) -> Tensor:
        shares = shares * (self.components * mixture.weights.clamp_min(EPS)).rsqrt()[:, None]
        scales = (mixture.variances + EPS).rsqrt() * self.weight
        return x * (scales.T @ shares) - (scales * mixture.means).T @ shares + self.bias[:, None]

    @torch.no_grad()
    def _fit(self, sample: Tensor) -> None:
        centre = sample.mean((0, 2))
        sample = sample - centre[:, None]
        self._started = self._started or bool(self.num_batches_tracked > 0)
        if self._started:
            fitted = fit(sample, self._mixture("fitted", sample).moved(-centre), STEPS)
        else:
            fitted = fit(sample, kmeans_plus_plus(sample, self.choices), FIRST_STEPS)
        for buffer, value in zip(self._buffers_of("fitted"), fitted.moved(centre), strict=True):
            buffer.copy_(value)

    @torch.no_grad()
    def _track(self, batch: Gaussians, count: int) -> None:
        batch = batch._replace(variances=batch.variances * (count / (count - 1)))
        for buffer, value in zip(self._buffers_of("running"), batch, strict=True):
            buffer.lerp_(value.to(buffer.dtype), MOMENTUM)
        self.num_batches_tracked.add_(1)
        self._started = True

    def _buffers_of(self, mixture: str) -> tuple[Tensor, Tensor, Tensor]:
        weights, means, variances = (getattr(self, f"{mixture}_{part}") for part in Gaussians._fields)
        return weights, means, variances

    def _mixture(self, name: str, like: Tensor) -> Gaussians:
        return Gaussians(*(buffer.to(like.dtype, copy=True) for buffer in self._buffers_of(name)))

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._started = False
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        return f"{self.channels}, components={self.components}"


def _moments(x: Tensor, squares: Tensor, shares: Tensor) -> Gaussians:
    """Return the weights, means and variances of vectors (N, C, pixels) weighed by (N, K, pixels)."""
    pixels = x.shape[0] * x.shape[2]
    sums = torch.cat([shares.sum((0, 2))[:, None], (shares @ x.mT).sum(0), (shares @ squares.mT).sum(0)], dim=1)
    if (processes := process_group()[1]) > 1:
        sums = sum_over_processes(sums)
    total, first, second = sums.split([1, x.shape[1], x.shape[1]], dim=1)
    total = total.clamp_min(EPS)
    means = first / total
    return Gaussians(total[:, 0] / (pixels * processes), means, (second / total - means.square()).clamp_min(0))


def _sample(x: Tensor, positions: Tensor, step: Tensor) -> Tensor:
    """Return vectors (1, C, S) of all processes' vectors x (N, C, pixels): one of each of S parts of equal length."""
    rank, processes = process_group()
    count = x.shape[0] * x.shape[2]
    size = min(SAMPLE // processes, count)
    within = (positions[rank * size : (rank + 1) * size].double() + step * GOLDEN) % 1
    part = torch.arange(size, device=x.device)
    chosen = ((part + within) * (count / size)).long().clamp_max(count - 1)
    own = x[chosen // x.shape[2], :, chosen % x.shape[2]]
    if processes == 1:
        return own.T[None]
    everyone = own.new_empty(processes * size, own.shape[1])
    dist.all_gather_into_tensor(everyone, own.contiguous())
    return everyone.T[None]
