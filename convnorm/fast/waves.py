"""Complex exponentials on a grid of N points: what Fourier transforms of an axis are made of."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def wave(n: int, frequencies: Sequence[int], places: range) -> Tensor:
    """Return exp(-2 pi i f p / n), (frequencies, places); the phase is reduced before it is rounded."""
    phase = torch.outer(torch.tensor(frequencies), torch.tensor(places)) % n
    angle = phase.double() * (-2 * math.pi / n)
    return torch.complex(angle.cos(), angle.sin())


def parts(n: int, places: range) -> Tensor:
    """Return the real and the imaginary part of exp(-2 pi i f p / n) for f up to n / 2, (2, F, places)."""
    waves = wave(n, range(n // 2 + 1), places)
    return torch.stack([waves.real, waves.imag])


def real_basis(n: int, places: range) -> Tensor:
    """Return the orthonormal transform of a real signal, (2, F, places): a frequency stands for its conjugate too."""
    norm = torch.tensor([[math.sqrt((1 if 2 * f % n == 0 else 2) / n)] for f in range(n // 2 + 1)], dtype=torch.float64)
    return parts(n, places) * norm
