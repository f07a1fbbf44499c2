"""What an option is, and how its value is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar, cast

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.validate import invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from .sources import Given

__all__ = [
    "Option",
    "Parser",
    "as_text",
    "choice",
    "named_types",
    "parse_bool",
    "parse_int",
    "read_value",
    "seconds",
    "text",
    "traits",
    "whole",
]

T = TypeVar("T")


class Parser(Frozen, Generic[T]):
    """Reads a value from text. It is called as a function is."""

    read: Callable[[str], T]
    """Raises `ValueError`, whose text says what is expected: ``a number from 0 to 9``."""
    types: tuple[type, ...] = (str,)
    """What a file or a program may give: `str`, `int`, `float`, `bool`. Text is always taken."""
    words: tuple[str, ...] = ()
    """Text that may stand for a number."""
    expected: str = ""
    """What is expected, for a value of another type; without it the types are named."""
    write: Callable[[Any], str] = str
    """Writes a number as users have to write it: `hex`, say."""

    def __call__(self, text: str) -> T:
        return self.read(text)


class Option(Frozen):
    """An option, which has a name in every place where it can be set.

    An option of a plugin is given as ``-o NAME=VALUE`` or under ``options`` in a file.
    """

    name: str
    """With ``_`` between its words; users may write ``-`` as well."""
    parse: Callable[[str], Any]
    """Reads the value from text; raises `ValueError` whose text says what is expected. A `Parser` also says
    which other types it takes; a plain function gets the text of a number, and is given no ``bool``."""
    default: Any
    help: str
    metavar: str = ""
    group: str = ""
    """The heading under which the help shows it."""
    shape: Literal["one", "many", "pairs", "switch"] = "one"
    """``many`` may be given several times; ``pairs`` too, as ``KEY=VALUE``; a ``switch`` is yes or no."""
    shown: str = ""
    """The default as users write it; empty where there is none."""
    flags: tuple[str, ...] = ()
    """How the command line calls it, where that is not ``--name``."""

    @property
    def flag(self) -> str:
        """The option's long name on the command line."""
        return self.flags[-1] if self.flags else "--" + self.name.replace("_", "-")


_ANY_TEXT = (str, int, float)
_NOUNS = ((float, "a number"), (int, "a whole number"), (bool, "true or false"), (str, "text"))


def read_value(parse: Callable[[str], Any], given: Given, name: str, *, numbers_as_text: bool = True) -> Any:
    """Reads a value that was given as text or as what it is.

    Args:
        parse: The option's parser.
        given: The value, and where it comes from.
        name: What an error calls the option.
        numbers_as_text: Whether the text of a number may stand for it.

    Raises:
        SettingError: The value has a wrong type, or the parser refuses it.
    """
    types, words, expected = traits(parse)
    value: object = given.value
    if isinstance(value, str):
        text = value if numbers_as_text or str in types or value in words else None
    else:
        text = as_text(value, types, getattr(parse, "write", str))
    if text is None:
        if not expected or not numbers_as_text:
            expected = _nouns(types, words, given)
        raise invalid(name, value, expected, given.origin)
    if "\0" in text:
        raise invalid(name, value, "text without NUL characters", given.origin)
    try:
        return parse(text)
    except ValueError as error:
        raise invalid(name, value, str(error), given.origin) from error


def traits(parse: Callable[[str], Any]) -> tuple[tuple[type, ...], tuple[str, ...], str]:
    """Returns the types and the words that a parser takes, and what it expects."""
    if isinstance(parse, Parser):
        return parse.types, parse.words, parse.expected
    return _ANY_TEXT, (), ""


def as_text(value: object, types: tuple[type, ...], write: Callable[[Any], str] = str) -> str | None:
    """Returns what a value is written as, or None where it has another type than these."""
    if isinstance(value, bool):
        return ("yes" if value else "no") if bool in types else None
    if isinstance(value, types):
        try:
            return write(value)
        except ValueError:  # Python writes no whole number of more than 4,300 digits
            return None
    if str in types and hasattr(value, "__fspath__"):
        path = os.fspath(cast("os.PathLike[str] | os.PathLike[bytes]", value))
        return path if isinstance(path, str) else None  # or bytes
    return None


def _nouns(types: tuple[type, ...], words: tuple[str, ...], given: Given) -> str:
    in_file = given.origin.source == "file"
    expected = named_types(types, in_file=in_file)
    if str in types and in_file and isinstance(given.value, float):
        expected += f', "{given.value}"'
    return " or ".join([expected, *(f'"{word}"' for word in words)])


def named_types(types: tuple[type, ...], *, in_file: bool = True) -> str:
    """Returns the types in words: ``a number or text in quotes``, which a file has."""
    nouns = [noun for kind, noun in _NOUNS if kind in types and not (kind is int and float in types)]
    if str in types and in_file:
        nouns[-1] = "text in quotes"
    return " or ".join(nouns)


# Parsers -------------------------------------------------------------------------------------------------


def _read_text(text: str) -> str:
    if not text.strip():
        raise ValueError("text that is not empty")
    return text.strip()


text = Parser(_read_text)
"""Text that is not empty, without the white space around it."""


def _read_bool(text: str) -> bool:
    word = text.strip().lower()
    if word in ("1", "yes", "true", "on"):
        return True
    if word in ("0", "no", "false", "off"):
        return False
    raise ValueError("yes or no")


parse_bool = Parser(_read_bool, (bool, int), expected="yes or no")
"""Reads ``yes`` or ``no``, ``true`` or ``false``, ``on`` or ``off``, ``1`` or ``0``."""


def parse_int(low: int, high: int) -> Parser[int]:
    """Returns a parser for a whole number in a range, decimal or ``0x`` hexadecimal.

    Args:
        low: The least that is taken.
        high: The most that is taken.
    """
    allowed = f"a number from {low} to {high}"

    def read(text: str) -> int:
        try:
            value = int(text, 0)
        except ValueError:
            raise ValueError(allowed) from None
        if not low <= value <= high:
            raise ValueError(allowed)
        return value

    return Parser(read, (int,), expected=allowed)


def whole(low: int, high: int) -> Parser[int]:
    """Returns a parser for a whole number in a range, in decimal digits."""
    allowed = f"a whole number from {low} to {high}"

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20 and low <= int(text) <= high):
            raise ValueError(allowed)
        return int(text)

    return Parser(read, (int,), expected=allowed)


def seconds(most: float, *, above: bool = False, or_else: str = "") -> Parser[float]:
    """Returns a parser for seconds from 0, or ``above`` 0, to ``most``."""
    allowed = f"seconds {f'above 0, up to {most:g}' if above else f'from 0 to {most:g}'}{or_else}"

    def read(text: str) -> float:
        try:
            value = float(text) if text.isascii() and "_" not in text else -1.0
        except ValueError:
            value = -1.0
        if not 0 <= value <= most or (above and value == 0):
            raise ValueError(allowed)
        return value + 0.0  # no -0

    return Parser(read, (int, float), expected=allowed)


def choice(*choices: str) -> Parser[Any]:
    """Returns a parser for one of some words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"one of {', '.join(choices)}")
        return text

    return Parser(read)
