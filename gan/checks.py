"""Checks of arguments."""


def check_at_least(least: int, where: str = "", **values: int) -> None:
    """Raise a ValueError that names the first of the values which is below `least`; `where` comes before its name."""
    for name, value in values.items():
        if value < least:
            raise ValueError(f"{where}{name} must be at least {least}, got {value}")
