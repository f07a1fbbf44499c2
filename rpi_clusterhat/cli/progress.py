"""Prints what happens to the nodes while they are switched."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.events import (
    BoardSetUp,
    CutWithoutHalt,
    LineDriven,
    LinesAltered,
    LockMissed,
    NodeHalted,
    PowerLost,
    StateChanged,
    WaitingForRail,
)
from rpi_clusterhat.power.states import State, has_power

from .output import listed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rpi_clusterhat.events import Event

    from .output import Output
    from .signals import Signals

__all__ = ["Progress", "board_line"]


def board_line(event: BoardSetUp | PowerLost, boards: int) -> str:
    of_board = f" of board {event.board + 1}" if boards > 1 else ""
    if isinstance(event, PowerLost):
        return f"the expander{of_board} lost power, and its nodes with it"
    return f"expander{of_board} set up for the first time since it got power"


_WHY = {"outside": " (not by this command)", "power lost": " (the expander lost power)"}
"""By an event's cause."""


class Progress:
    """A subscriber that prints a cluster's events."""

    def __init__(self, names: Sequence[str], boards: int, out: Output, signals: Signals) -> None:
        self._names = names
        self._boards = boards
        self._out = out
        self._signals = signals
        self._queued: set[str] = set()
        self._halting: set[str] = set()
        self._changed: set[str] = set()
        self._next = ""
        self._until = 0.0
        if out.terminal:
            signals.tick = self._show_waiting

    def __call__(self, event: Event) -> None:
        if isinstance(event, WaitingForRail):
            self._next, self._until = event.node, self._signals.now() + event.seconds
        elif isinstance(event, PowerLost):
            self._out.error(board_line(event, self._boards))
        elif isinstance(event, LockMissed):
            self._out.warning(f"the power is cut without a shared lock: {event.reason}")
        elif isinstance(event, BoardSetUp):
            self._out.line(board_line(event, self._boards))
        elif isinstance(event, LinesAltered) or event.node not in self._names:
            return
        elif isinstance(event, LineDriven):
            self._say(event.node, "on" if event.on else "off")
        elif isinstance(event, NodeHalted):
            self._out.line(f"{event.node} halted after {event.seconds:.1f} s: {event.reason}")
        elif isinstance(event, CutWithoutHalt):
            self._out.warning(f"{event.node} loses its power without a halt: {event.reason}")
        else:
            self._show(event)

    def _show(self, event: StateChanged) -> None:
        self._queued.discard(event.node)
        self._halting.discard(event.node)
        if event.new is State.STOPPING:
            self._halting.add(event.node)
            return
        if event.new is State.QUEUED:
            self._queued.add(event.node)
            return
        powered = has_power(event.new)
        if powered is None or powered is has_power(event.old):
            return
        self._say(event.node, f"{'on' if powered else 'off'}{_WHY.get(event.cause, '')}")

    def _say(self, node: str, text: str) -> None:
        self._next = ""
        self._changed.add(node)
        self._out.line(f"{node} {text}")

    def _show_waiting(self) -> None:
        if self._halting:
            halting = [name for name in self._names if name in self._halting]
            self._out.passing(f"{', '.join(halting)} {'halts' if len(halting) == 1 else 'halt'}")
        elif self._next:
            left = self._until - self._signals.now()
            after = len(self._queued - {self._next})
            self._out.passing(
                f"{self._next} waits {f'{left:.1f} s' if left > 0.05 else 'for its turn'}"
                + (f", {after} more after it" if after else "")
            )

    def end(self) -> None:
        self._signals.tick = None
        self._out.end()

    def show_unchanged(self, word: str) -> None:
        """Names the nodes that did not change, since they were as asked for."""
        if unchanged := [name for name in self._names if name not in self._changed]:
            self._out.line(f"{listed(unchanged, word)} already")
