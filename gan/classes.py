"""Classes by their names."""

from collections.abc import Sequence
from typing import Any

_SHOWN = 20  # names in an error message


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
    listed = ", ".join([*names[:_SHOWN], *(["…"] if len(names) > _SHOWN else [])])
    known = listed if names else f"0 to {num_classes - 1}"
    raise ValueError(f"there is no class {given!r}; known are {known}")


def class_numbers(labels: Any, num_classes: int, names: Sequence[str]) -> Any:
    """Return labels with numbers in place of names. What is no list is returned as it is."""
    if not isinstance(labels, list | tuple):
        return labels
    return [class_number(label, num_classes, names) if isinstance(label, str) else label for label in labels]
