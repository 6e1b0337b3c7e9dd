"""Checks of arguments, and words for their messages."""

import difflib
from collections.abc import Iterable


def check_at_least(least: int, where: str = "", **values: int) -> None:
    """Raise a ValueError that names the first of the values which is below `least`; `where` comes before its name."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{where}{name} must be at least {least}, got {value}")


def did_you_mean(name: str, known: Iterable[str], prefix: str = "", similarity: float = 0.6) -> str:
    """Return the end of a message about an unknown name: "; did you mean X?", or nothing if no known name is near.

    Args:
        name: What came.
        known: What is allowed.
        prefix: What stands before a name where a user writes it, such as "--".
        similarity: How near a name must be, from 0 to 1, see `difflib.get_close_matches`.
    """
    nearest = difflib.get_close_matches(name, list(known), n=1, cutoff=similarity)
    return f"; did you mean {prefix}{nearest[0]}?" if nearest else ""
