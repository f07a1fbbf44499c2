"""What a value must be, and the error for one that is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["flag", "function", "instance", "invalid", "seconds"]

_SHOWN_MOST = 80


def invalid(name: str, value: object, expected: str, where: object = "") -> SettingError:
    """Returns the error for a value.

    Args:
        name: What has the value.
        value: The value, which the error shows, shortened.
        expected: What it should have been: ``a number from 0 to 9``.
        where: Where the value comes from, when its text is not empty.
    """
    try:
        shown = repr(value)
    except ValueError:  # Python writes no whole number of more than 4,300 digits
        shown = "a huge number"
    if len(shown) > _SHOWN_MOST:
        shown = f"{shown[:_SHOWN_MOST]}…"
    place = f" (from {where})" if str(where) else ""
    return SettingError(f"Invalid value for {name}: {shown}{place}: expected {expected}")


def seconds(name: str, value: object, *, above: bool = False) -> float:
    """Returns the value, where that is a finite number from 0, or ``above`` 0.

    Raises:
        SettingError: The value is another.
    """
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value < float("inf")
        and not (above and value == 0)
    ):
        return value
    raise invalid(name, value, f"seconds, {'above 0' if above else '0 or more'}")


def flag(name: str, value: object) -> bool:
    """Returns the value, where that is True or False; the text ``"no"``, which is true, is not.

    Raises:
        SettingError: The value is another.
    """
    if value is True or value is False:
        return value
    raise invalid(name, value, "True or False")


def function(name: str, value: Any) -> Callable[..., Any]:
    """Returns the value, where that can be called.

    Raises:
        SettingError: The value is another.
    """
    if callable(value):
        called: Callable[..., Any] = value
        return called
    raise invalid(name, value, "a function")


def instance(name: str, value: object, kind: type, expected: str) -> None:
    """Raises `SettingError` for a value that is not of this type."""
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise invalid(name, value, expected)
