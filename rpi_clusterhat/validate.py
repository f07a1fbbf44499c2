"""What an argument must be."""

from __future__ import annotations

from .errors import SettingError

__all__ = ["seconds"]


def seconds(name: str, value: object, *, above: bool = False) -> float:
    """The value, where that is a finite number from 0, or ``above`` 0. Raises `SettingError`."""
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < float("inf")
        and not (above and value == 0)
    ):
        return value
    raise SettingError(f"{name}: {value!r}: must be seconds, {'above 0' if above else '0 or more'}")
