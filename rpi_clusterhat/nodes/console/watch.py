"""The steps that watch a console while its node goes down."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import ConsoleError

from .prompts import last_words

if TYPE_CHECKING:
    from rpi_clusterhat.waiting import Steps

    from .channel import Channel
    from .wire import Answers

__all__ = ["Ending", "Watched", "watch"]

_LOOKED_AT = 2048
"""Bytes of the newest text in which last words are looked for, beside what came last."""


class Ending(StrEnum):
    """Why a console is not watched any longer."""

    HUNG_UP = "hung up"
    """The line ended: the node left USB, or lost power."""
    LAST_WORDS = "last words"
    """The kernel said that the system is down."""
    FAILED = "failed"
    """The command that was sent ended with another status than 0."""
    SILENT = "silent"
    """Nothing has come for as long as was asked for."""
    TIME_OUT = "time-out"
    """The time is over, and the console was not silent for long enough."""


class Watched(Frozen):
    """What a watched console showed."""

    ending: Ending
    """Why it is not watched any longer."""
    status: int | None
    """The exit status of the command that was sent, None where it is not known."""
    words: str
    """The last words, or what the command wrote that failed; ``""`` where there is none."""


def watch(
    channel: Channel, answers: Answers | None, mark: int, deadline: float, quiet: float
) -> Steps[Watched]:
    """Reads until the node is down, as far as its console can tell.

    Args:
        channel: The console.
        answers: Reads what comes of the command that was sent.
        mark: Where in the screen last words count from.
        deadline: When to end at the latest.
        quiet: Seconds without a byte that count as the end, from now on.
    """
    heard = channel.now()
    status = None
    while True:
        if answers is not None:
            status = answers.status
            if status:
                return Watched(Ending.FAILED, status, answers.output().strip())
        if words := last_words(channel.screen.lines(mark, _LOOKED_AT)):
            return Watched(Ending.LAST_WORDS, status, words)
        now = channel.now()
        if now >= min(deadline, heard + quiet):
            return Watched(Ending.SILENT if now >= heard + quiet else Ending.TIME_OUT, status, "")
        before = channel.screen.received
        try:
            data = yield from channel.receive(min(deadline, heard + quiet) - now)
        except ConsoleError:
            if not channel.has_hung_up:
                raise
            return Watched(Ending.HUNG_UP, status, "")
        if data:
            mark = max(mark, before - _LOOKED_AT)
            heard = channel.now()
            if answers is not None:
                answers.feed(data)
