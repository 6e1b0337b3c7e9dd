"""The maps between a column, transformed along the first axis, and its points at the frequencies of the second.

`fourier` says what points are.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from convnorm.waves import wave


class Forms(NamedTuple):
    """The points of a column: ``Xr + Xi``, ``Xr`` and ``Xi`` at N frequencies, ``Xr`` alone at others.

    As one matrix that is one product. In two steps it takes a third of the operations: the real transforms of the
    column's real part r and imaginary part q, each by cosines and by sines, give all frequencies by additions, since
    ``X(±g) = (r_cos ± q_sin) + i (q_cos ∓ r_sin)``.

    Letters: P points, 3N of them if there are no others; W places of the column; n columns.

    Attributes:
        matrix: (P, 2W).
        half: the real transform, cosines above sines, (N, W); None where one product is to be used.
    """

    matrix: Tensor
    half: Tensor | None

    def points(self, column: Tensor, out: Tensor, room: Tensor) -> None:
        """Map columns (2W, n), real above imaginary part, to `out`, (P, n), through `room`, of at least 2Nn numbers."""
        if self.half is None:
            torch.mm(self.matrix, column, out=out)
            return
        waves, own, turn = self._waves(room, out)
        torch.bmm(self.half.expand(2, -1, -1), column.unflatten(0, (2, -1)), out=waves)
        (r_cos, q_cos), (r_sin, q_sin) = waves[:, own:turn], waves[:, turn:]
        thirds = out.unflatten(0, (3, -1))
        thirds[1:, :own] = waves[:, :own]
        total, re, im = thirds
        torch.add(r_cos, q_sin, out=re[own:turn])
        torch.sub(r_cos, q_sin, out=re[turn:])
        torch.sub(q_cos, r_sin, out=im[own:turn])
        torch.add(q_cos, r_sin, out=im[turn:])
        torch.add(re, im, out=total)

    def columns(self, points: Tensor, out: Tensor, room: Tensor) -> None:
        """Apply the transpose, from points (P, n), which are lost, to `out`, (2W, n)."""
        if self.half is None:
            torch.mm(self.matrix.T, points, out=out)
            return
        waves, own, turn = self._waves(room, points)
        (r_cos, q_cos), (r_sin, q_sin) = waves[:, own:turn], waves[:, turn:]
        thirds = points.unflatten(0, (3, -1))
        total, re, im = thirds
        re += total
        im += total
        waves[:, :own] = thirds[1:, :own]
        torch.add(re[own:turn], re[turn:], out=r_cos)
        torch.sub(re[own:turn], re[turn:], out=q_sin)
        torch.add(im[own:turn], im[turn:], out=q_cos)
        torch.sub(im[turn:], im[own:turn], out=r_sin)
        torch.bmm(self.half.T.expand(2, -1, -1), waves, out=out.unflatten(0, (2, -1)))

    def _waves(self, room: Tensor, points: Tensor) -> tuple[Tensor, int, int]:
        """Return room for r's and q's sums, (2, N, n); where the cosines of conjugate pairs start; where they end."""
        count = len(points) // 3
        own = 2 - count % 2
        return room[: 2 * points[:count].numel()].view(2, count, -1), own, (count + own) // 2


def frequencies(n: int, real: bool) -> tuple[list[int], list[int]]:
    """Return the frequencies of three points, and those of one.

    Those that are their own conjugates come first, then the others up to N / 2, then the latter's conjugates. Where the
    first axis' frequency is its own conjugate (`real`), g and -g are conjugates, and one is left out.
    """
    own, pairs = [g for g in range(n) if 2 * g % n == 0], list(range(1, (n + 1) // 2))
    return (pairs, own) if real else ([*own, *pairs, *(n - g for g in pairs)], [])


def forms(n: int, places: range, real: bool, dtype: torch.dtype, device: torch.device) -> Forms:
    """Return the points of a column with the given places on a grid of n, at the frequencies of `frequencies`.

    In half precision one product is mostly faster than additions that go through memory.
    Other devices than a CPU, which have not been measured, take one product too.
    """
    three, one = frequencies(n, real)
    waves = wave(n, three, places) * math.sqrt((2 if real else 1) / n)
    re, im = torch.cat([waves.real, -waves.imag], 1), torch.cat([waves.imag, waves.real], 1)
    single = wave(n, one, places) / math.sqrt(n)
    matrix = torch.cat([re + im, re, im, torch.cat([single.real, -single.imag], 1)]).to(device, dtype)
    if real or dtype.itemsize <= 2 or device.type != "cpu":
        return Forms(matrix, None)
    cosines, sines = waves.real[: n // 2 + 1], -waves.imag[2 - n % 2 : n // 2 + 1]
    return Forms(matrix, torch.cat([cosines, sines]).to(device, dtype))
