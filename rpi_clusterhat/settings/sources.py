"""The places that values come from: code, the command line, the environment and TOML files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.validate import invalid

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from .option import Option

__all__ = [
    "Given",
    "Layer",
    "Origin",
    "from_environment",
    "from_file",
    "parse_pairs",
    "read_toml",
    "unknown",
    "unknown_variables",
]

_FILE_MOST = 1 << 20
_LISTED_MOST = 20


class Origin(Frozen):
    """Where a value comes from. Its text is what an error names."""

    source: Literal["argument", "option", "variable", "file", "vendor's file", "HAT", "detected", "default"]
    name: str = ""
    """The option, the variable, or the key of the file. An argument of a call needs none."""
    file: str = ""

    def __str__(self) -> str:
        if not self.name:
            return self.file or ("" if self.source == "argument" else self.source)
        return f"{self.file}: {self.name}" if self.file else self.name


class Given(Frozen):
    """A value and where it comes from."""

    value: Any
    origin: Origin


Layer = dict[str, Given]
"""What one place sets, by the option's name."""


def parse_pairs(texts: Iterable[str], where: object) -> dict[str, str]:
    """Reads ``KEY=VALUE`` pairs; in keys ``-`` and ``_`` are alike.

    Raises:
        SettingError: A text is no such pair.
    """
    return dict(_pair(text, where) for text in texts)


def _pair(text: str, where: object) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise invalid("options", text, "KEY=VALUE", where)
    return key.replace("-", "_"), value


# The environment -----------------------------------------------------------------------------------------


def from_environment(prefix: str, options: Iterable[Option], env: Mapping[str, str]) -> Layer:
    """Returns what variables set. An empty one sets nothing; several values stand as words of a shell.

    Raises:
        SettingError: The words of a variable have no closing quotation, or are no pairs.
    """
    layer: Layer = {}
    for option in options:
        variable = prefix + option.name.upper()
        text = env.get(variable)
        if not text:
            continue
        value: object = text
        if option.shape in ("many", "pairs"):
            import shlex

            try:
                value = shlex.split(text)
            except ValueError as error:
                raise invalid(option.name, text, f"words of a shell ({error})", variable) from error
        layer[option.name] = Given(value, Origin("variable", variable))
    return layer


def unknown_variables(prefix: str, known: Iterable[str], env: Mapping[str, str]) -> Iterator[str]:
    """Yields a warning for each variable with this prefix that names no option.

    Args:
        prefix: What the variables of the program begin with.
        known: The names of options and of other variables, without the prefix, in lower case.
        env: The environment.
    """
    names = {prefix + name.upper() for name in known}
    for variable in env:
        if variable.startswith(prefix) and variable not in names:
            yield f"Unknown environment variable {variable}{_suggestion(variable, names)}"


# Files ---------------------------------------------------------------------------------------------------


def read_toml(path: str, where: str = "") -> dict[str, Any]:
    """Reads a file of settings, of up to 1 MiB.

    Args:
        path: The file.
        where: What named the file, for errors.

    Raises:
        SettingError: The file cannot be read, or is not TOML.
    """
    import tomllib

    named = f" (from {where})" if where else ""
    try:
        with open(path, "rb") as file:
            content = file.read(_FILE_MOST + 1)
        if len(content) > _FILE_MOST:
            raise SettingError(f"Cannot read {path}{named}: it is longer than 1 MiB, so no settings file")
        return tomllib.loads(content.decode())
    except OSError as error:
        raise SettingError(f"Cannot read {path}{named}: {error.strerror}") from error
    except SettingError:
        raise
    except ValueError as error:  # also a path with NUL, and a number of 5,000 digits
        raise SettingError(f"Cannot read {path}{named}: the file is not TOML: {error}") from error
    except RecursionError as error:
        raise SettingError(f"Cannot read {path}{named}: the file is not TOML: nested too deeply") from error


def from_file(table: Mapping[str, Any], known: Collection[str], file: str, within: str = "") -> Layer:
    """Returns what a table of a file sets, with ``-`` and ``_`` alike in its keys.

    Args:
        table: The table.
        known: The names that it may hold.
        file: The file that holds it.
        within: Where in the file the table stands, such as ``of board 2``.

    Raises:
        SettingError: A key is unknown, or stands there twice.
    """
    layer: Layer = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        origin = Origin("file", f"{key} {within}".rstrip(), file)
        if name not in known:
            raise unknown("setting", key, known, origin)
        if name in layer:
            raise SettingError(f"Setting {name} is set twice (from {origin})")
        layer[name] = Given(value, origin)
    return layer


# Names that nobody knows ---------------------------------------------------------------------------------


def unknown(
    what: str, name: str, known: Collection[str], where: object = "", *, of: str = ""
) -> SettingError:
    """Returns the error for a name that is none of those known. It suggests the nearest.

    Args:
        what: What the name should have been: ``option``.
        name: The name.
        known: The names that there are. A short list is shown.
        where: Where the name comes from, when its text is not empty.
        of: What has no such thing: ``the backend sim``.
    """
    owner = f" of {of}" if of else ""
    place = f" (from {where})" if str(where) else ""
    suggestion = _suggestion(name.replace("-", "_") if not name.startswith("-") else name, known)
    text = f"Unknown {what} {name!r}{owner}{place}{suggestion}"
    if len(known) <= _LISTED_MOST:
        text += f"{'' if suggestion else '.'} Known are {', '.join(known) or 'none'}"
    return SettingError(text)


def _suggestion(name: str, known: Collection[str]) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    return f": did you mean {near[0]}?" if near else ""
