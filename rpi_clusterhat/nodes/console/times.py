"""How long a dialogue with a console waits for what."""

from __future__ import annotations

from rpi_clusterhat import validate
from rpi_clusterhat._frozen import Frozen

__all__ = ["ConsoleTimes", "checked"]


class ConsoleTimes(Frozen):
    """How long a dialogue with a node's console waits, in seconds. The defaults are chosen, not measured."""

    look: float = 15.0
    """For the state of the console to be found out."""
    login: float = 120.0
    """For a login, with the end of a boot that goes on. A login that nobody completes ends after 60 s."""
    command: float = 60.0
    """For a command to end, where nothing else is said."""
    quiet: float = 0.3
    """Without a byte, until a line that looks like a prompt is taken for one. A slower console needs more."""
    answer: float = 5.0
    """Without a byte, until a node is taken not to answer what was typed."""
    turn: float = 10.0
    """For another program that types on the same console to stop."""


def checked(times: object) -> ConsoleTimes:
    """Returns the times, where they are.

    Raises:
        SettingError: They are none, or one of them is not above 0.
    """
    if not isinstance(times, ConsoleTimes):
        raise validate.invalid("times", times, "ConsoleTimes(login=60)")
    for name in times.__match_args__:
        validate.seconds(name, getattr(times, name), above=True)
    return times
