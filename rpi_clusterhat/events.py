"""What a cluster tells its subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .record import Record

if TYPE_CHECKING:
    from .power import State

__all__ = ["BoardSetUp", "Event", "PowerLost", "StateChanged", "WaitingForRail"]


class StateChanged(Record):
    """A node went from one state to another."""

    node: str
    old: State
    new: State
    cause: str
    """``request``: somebody asked this cluster for it. ``outside``: it was found so at a read, so another
    program, a power loss or a person did it. ``error``: an access failed."""


class WaitingForRail(Record):
    """A node has to wait for its turn to be switched on."""

    node: str
    seconds: float
    """At least so long; longer where others are before it."""


class PowerLost(Record):
    """The expander of a board (counted from 0) lost power since it was last seen, and its nodes with it."""

    board: int


class BoardSetUp(Record):
    """The expander of a board (counted from 0), which nobody had set up since it got power, was set up."""

    board: int


Event = StateChanged | WaitingForRail | PowerLost | BoardSetUp
