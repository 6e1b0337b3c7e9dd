"""ADA's pipeline of transforms, with a probability that is given or adapts itself.

Karras et al., "Training Generative Adversarial Networks with Limited Data", NeurIPS 2020: appendix B has the transforms
and their ranges, equation 1 and section 3 how the probability is steered.
"""

import math

import torch
from torch import Tensor

from gan.augment.base import Augment
from gan.augment.color import Colors
from gan.augment.pixels import whole_number
from gan.augment.plane import rotation, scaling, translation, turn
from gan.augment.resampling import resample
from gan.randomness import as_normal
from gan.schedules import Schedule, extremes, value_at


class Pipe(Augment):
    """Pixel blitting, geometry, colour and cutout, each transform with the probability p times its group's strength.

    Blitting: mirror, rotate by quarter turns, move by whole pixels (up to 1/8 of the size). Geometry: scale (standard
    deviation 0.2 in log2), rotate by any angle, stretch one axis against the other (0.2 in log2), move by a fraction
    (standard deviation 1/8 of the size). Colour: brightness (0.2), contrast (0.5 in log2), inverted luma, hue (full
    circle), saturation (1 in log2). Cutout: a square of half the size. Images are continued by reflection; they can be
    gray, and higher than wide.

    The paper leaves cutout out, which strengths of 1, 1, 1 and 0 mean.

    Args:
        p: The probability, a number or a schedule.
        blit: Strength of pixel blitting.
        geometry: Strength of geometry.
        color: Strength of colour.
        cutout: Strength of cutout.

    Raises:
        ValueError: if `p` or a strength is not in [0, 1].
    """

    numbers = 31
    _given: Tensor

    def __init__(
        self,
        p: float | Schedule = 1.0,
        blit: float = 1.0,
        geometry: float = 1.0,
        color: float = 1.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__()
        given = {"p": p, "blit": blit, "geometry": geometry, "color": color, "cutout": cutout}
        for name, value in given.items():
            least, most = extremes(value)
            if not 0 <= least <= most <= 1:
                raise ValueError(f"{type(self).__name__}: {name} must be between 0 and 1, got {value}")
        self.schedule = p
        self.blit, self.geometry, self.color, self.cutout = blit, geometry, color, cutout
        self.register_buffer("_given", torch.tensor(value_at(p, 0)), persistent=False)

    @property
    def p(self) -> Tensor:
        """The probability, a scalar on the device."""
        return self._given

    def begin(self, images: int) -> None:
        self._given.fill_(value_at(self.schedule, images))

    def watched(self) -> dict[str, Tensor]:
        return {"augment/p": self.p.detach().clone()}

    def transform(self, images: Tensor, draws: Tensor) -> Tensor:
        p = self.p.to(images.dtype)
        blits, geometry, colors, cutout = draws.split([7, 11, 10, 3], dim=1)
        height, width = images.shape[2:]
        maps = blit_maps(blits, p * self.blit, height, width) @ geometry_maps(
            geometry, p * self.geometry, height, width
        )
        images = change_colors(resample(images, maps), colors, p * self.color)
        return cut_out(images, cutout, p * self.cutout)


class ADA(Pipe):
    """Adaptive discriminator augmentation: p rises while the discriminator is too sure of real images, and falls else.

    Every `every` updates of the discriminator p moves by sign(r - target) · n / `images_to_one`: n is the number of
    real images in these updates, r the mean sign of the discriminator's logits on them. It is never below 0. p is part
    of checkpoints. The sign is meaningful for losses that judge each image: with `gan.losses.Relativistic` use `Pipe`.

    Args:
        target: r where p stays as it is.
        images_to_one: Real images after which p could have risen from 0 to 1; the paper has 500,000, and 100,000 for
            going on from a trained network.
        every: Updates of the discriminator between two moves.
        blit: See `Pipe`.
        geometry: See `Pipe`.
        color: See `Pipe`.
        cutout: See `Pipe`.

    Raises:
        ValueError: if an argument is out of its range.
    """

    images_up: Tensor
    signs: Tensor
    judged: Tensor

    def __init__(
        self,
        target: float = 0.6,
        images_to_one: int = 500_000,
        every: int = 4,
        blit: float = 1.0,
        geometry: float = 1.0,
        color: float = 1.0,
        cutout: float = 0.0,
    ) -> None:
        super().__init__(0.0, blit, geometry, color, cutout)
        if not -1 < target < 1:
            raise ValueError(f"ADA: target is a mean of signs, so between -1 and 1, got {target}")
        for name, value in {"images_to_one": images_to_one, "every": every}.items():
            if value < 1:
                raise ValueError(f"ADA: {name} must be at least 1, got {value}")
        self.target, self.images_to_one, self.every = target, images_to_one, every
        # Whole numbers: sums of them are exact, however many processes or digits there are.
        for name in "images_up", "signs", "judged":
            self.register_buffer(name, torch.zeros((), dtype=torch.int64))

    @property
    def p(self) -> Tensor:
        return self.images_up.float() / self.images_to_one

    def begin(self, images: int) -> None:
        """Do nothing: p follows from what was observed."""

    @torch.no_grad()
    def observe(self, real_sign: Tensor, count: int, update: int) -> None:
        self.signs += (real_sign.double() * count).round().long()
        self.judged += count
        if (update + 1) % self.every == 0:
            direction = (self.signs.double() - self.target * self.judged.double()).sign().long()
            self.images_up.add_(direction * self.judged).clamp_(min=0)
            self.signs.zero_()
            self.judged.zero_()


def blit_maps(draws: Tensor, p: Tensor, height: int, width: int) -> Tensor:
    """Return the maps (N, 3, 3) of mirrors, quarter turns and whole shifts, from draws (N, 7)."""
    mirror, mirrors, turn, turns, shift, down, right = draws.unbind(1)
    signs = 1 - 2 * _gated(whole_number(mirrors, 2), mirror, p)
    quarters = _gated(whole_number(turns, 4), turn, p)
    x, y = (_gated(((2 * each - 1) * size / 8).round(), shift, p) for each, size in ((right, width), (down, height)))
    return scaling(signs, torch.ones_like(signs)) @ _quarter_turns(quarters) @ translation(-x, -y)


def geometry_maps(draws: Tensor, p: Tensor, height: int, width: int) -> Tensor:
    """Return the maps (N, 3, 3) of scaling, rotation, stretching and fractional shifts, from draws (N, 11)."""
    scale, scales, first, first_turns, aniso, stretches, last, last_turns, shift, down, right = draws.unbind(1)
    # With this probability for each of the two rotations, p is that of any.
    once = 1 - (1 - p).clamp(min=0).sqrt()
    factor = torch.exp2(_gated(as_normal(scales) * 0.2, scale, p))
    stretch = torch.exp2(_gated(as_normal(stretches) * 0.2, aniso, p))
    before, after = (
        rotation(_gated((2 * turns - 1) * math.pi, gate, once))
        for turns, gate in ((first_turns, first), (last_turns, last))
    )
    x, y = (_gated(as_normal(each) * size / 8, shift, p) for each, size in ((right, width), (down, height)))
    return scaling(1 / factor, 1 / factor) @ before @ scaling(1 / stretch, stretch) @ after @ translation(-x, -y)


def change_colors(images: Tensor, draws: Tensor, p: Tensor) -> Tensor:
    """Return images (N, C, H, W) in other colours, from draws (N, 10)."""
    gates, values = draws[:, 0::2].unbind(1), draws[:, 1::2].unbind(1)
    colors = Colors(len(images), images.shape[1], images)
    colors.brighten(_gated(as_normal(values[0]) * 0.2, gates[0], p))
    colors.scale(torch.exp2(_gated(as_normal(values[1]) * 0.5, gates[1], p)))
    colors.flip_luma(_gated(whole_number(values[2], 2), gates[2], p))
    colors.rotate_hue(_gated((2 * values[3] - 1) * math.pi, gates[3], p))
    colors.saturate(torch.exp2(_gated(as_normal(values[4]), gates[4], p)))
    return colors(images)


def cut_out(images: Tensor, draws: Tensor, p: Tensor) -> Tensor:
    """Return images (N, C, H, W) with a square of half their size, centered anywhere, filled with 0; draws (N, 3)."""
    gate, row, column = draws.unbind(1)
    in_rows, in_columns = (
        ((torch.arange(size, device=draws.device) + 0.5) / size - center[:, None]).abs() < 0.25
        for size, center in zip(images.shape[2:], (row, column), strict=True)
    )
    hole = in_rows[:, :, None] & in_columns[:, None, :] & (gate < p)[:, None, None]
    return images * (~hole).unsqueeze(1).to(images.dtype)


def _gated(values: Tensor, gates: Tensor, p: Tensor) -> Tensor:
    """Return the values where a transform takes place, and 0, which changes nothing, elsewhere."""
    return torch.where(gates < p, values, torch.zeros_like(values))


def _quarter_turns(count: Tensor) -> Tensor:
    """Return the maps of 0 to 3 quarter turns (N,), exactly: the cosine of pi / 2 is not 0 in floating point."""
    return turn(cosine=(2 - count).abs() - 1, sine=1 - (1 - count).abs())
