"""Comparison of the classes of a checkpoint and of the data."""

from collections.abc import Sequence
from itertools import zip_longest

from gan.data.words import some


def check_same_classes(saved: Sequence[str], current: Sequence[str]) -> None:
    """Check that the classes of a checkpoint are those of the data, in the same order.

    Raises:
        ValueError: If they are not; the message names the first that differs.
    """
    pairs = enumerate(zip_longest(saved, current))
    if changed := next(((number, *pair) for number, pair in pairs if pair[0] != pair[1]), None):
        number, was, now = changed
        raise ValueError(
            f"the classes of the data are not the checkpoint's, whose networks know class {number} as {was!r}: it is "
            f"{now!r} now (classes were {some(saved, 10)}; are {some(current, 10)}); --init_from takes the weights "
            "alone"
        )
