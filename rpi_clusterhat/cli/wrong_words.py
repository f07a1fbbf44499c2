"""Says of a word on the command line that is no option and no command what may be meant.

argparse takes the value of a wrong option as a wrong command, and knows only its own words.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.settings.sources import unknown

from .output import PROGRAM
from .vendor_words import WORDS, explain

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["GLOBAL_OPTIONS", "check_command", "check_options"]

GLOBAL_OPTIONS = (
    *("--help", "--version", "--backend", "--board", "--spacing", "--config", "--option"),
    *("--bus", "--address"),
)


def check_options(argv: Sequence[str], commands: Collection[str]) -> None:
    """Checks the options before the command. Raises `SettingError`."""
    for word in argv:
        if word in commands or word in WORDS:
            return
        if word.startswith("--") and (option := word.partition("=")[0]) not in GLOBAL_OPTIONS:
            raise unknown("option", option, GLOBAL_OPTIONS)


def check_command(words: Sequence[str], commands: Collection[str]) -> None:
    """Checks the command. Raises `SettingError`.

    Args:
        words: The command line without the options that give settings, and their values.
        commands: Those that there are.
    """
    word = next((word for word in words if not word.startswith("-")), None)
    if word is None or word in commands or words[0] in ("-h", "--help"):
        return
    if word in WORDS:
        raise SettingError(explain(word))
    if command := next((other for other in words if other in commands), None):
        raise SettingError(
            f"Unknown command {word!r}: the command comes first, as in '{PROGRAM} {command} {word}'"
        )
    raise unknown("command", word, commands)
