"""Classes by their names."""

from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

from gan.data.words import some


def class_number(given: str, num_classes: int, names: Sequence[str]) -> int:
    """Return the label of a class that is given by its name, or by its number in digits.

    Args:
        given: The name or number. A name comes first: classes may be called "10" and "9".
        num_classes: Number of classes.
        names: Names of the classes in the order of their labels; empty if they are not known.

    Raises:
        ValueError: If there is no such class; the message lists those that there are.
    """
    if given in names:
        return list(names).index(given)
    if given.isdecimal() and int(given) < num_classes:
        return int(given)
    known = some(names, 20) if names else f"0 to {num_classes - 1}"
    raise ValueError(f"there is no class {given!r}; known are {known}")


def class_numbers(labels: Any, num_classes: int, names: Sequence[str]) -> Any:
    """Return labels with numbers in place of names. What is no list is returned as it is."""
    if not isinstance(labels, list | tuple):
        return labels
    return [class_number(label, num_classes, names) if isinstance(label, str) else label for label in labels]


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
