"""How an image size is reached by doubling: a small base, times a power of two."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gan.images import ImageSize, as_image_size, height_and_width, size_text

BASES = range(3, 8)


@dataclass(frozen=True)
class Pyramid:
    """Height and width of the smallest feature map, and how often it is doubled to give the image.

    Attributes:
        bottom: Height and width of the smallest feature map.
        doublings: How often both are doubled.
    """

    bottom: tuple[int, int]
    doublings: int

    @property
    def image_size(self) -> ImageSize:
        """The size of the image."""
        height, width = self.bottom
        return as_image_size((height << self.doublings, width << self.doublings))

    @property
    def halvings(self) -> int:
        """How often the image can be halved while both sides are even."""
        more = (math.gcd(*self.bottom) & -math.gcd(*self.bottom)).bit_length() - 1
        return self.doublings + more


def pyramid(image_size: int | Sequence[int], doublings: Sequence[int] = range(1, 12)) -> Pyramid:
    """Return how an image size is reached: both sides are 3 to 7 times the same power of two.

    Of two ways (48 is 6 * 8 and 3 * 16) it is the one with the larger bottom.

    Args:
        image_size: A number, or (height, width).
        doublings: The powers that are allowed.

    Raises:
        ValueError: if there is no way; the message names the nearest sizes that have one.
    """
    height, width = height_and_width(image_size)
    for power in sorted(doublings):
        if all(side % 2**power == 0 and side >> power in BASES for side in (height, width)):
            return Pyramid((height >> power, width >> power), power)
    powers = f"{2 ** min(doublings)} to {2 ** max(doublings)}"
    nearest = " or ".join(map(size_text, _nearest(height, width, doublings)))
    raise ValueError(
        f"image_size must be 3 to 7 times the same power of two in height and width ({powers}), got "
        f"{size_text(image_size)}; the nearest that work are {nearest}"
    )


def _nearest(height: int, width: int, doublings: Sequence[int]) -> list[ImageSize]:
    """Return the two sizes that need the least resizing, squares only for a square."""
    found = {each.image_size for each in _all(doublings) if height != width or each.bottom[0] == each.bottom[1]}

    def change(size: ImageSize) -> float:
        new_height, new_width = height_and_width(size)
        return max(abs(math.log(new_height / max(1, height))), abs(math.log(new_width / max(1, width))))

    return sorted(sorted(found, key=change)[:2], key=height_and_width)


def _all(doublings: Sequence[int]) -> Iterator[Pyramid]:
    for power in doublings:
        for high in BASES:
            for wide in BASES:
                yield Pyramid((high, wide), power)
