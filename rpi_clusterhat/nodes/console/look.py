"""The steps that find out what a node's console is doing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .prompts import state_of
from .states import ConsoleState

if TYPE_CHECKING:
    from rpi_clusterhat.waiting import Steps

    from .channel import Channel
    from .times import ConsoleTimes

__all__ = ["CLEAR", "ENTER", "INTERRUPT", "look", "rest"]

ENTER = b"\r"
"""What a terminal sends for Enter. A getty that is sent a line feed instead sets the terminal up for that."""

CLEAR = b"\x15"
"""Ctrl-U: takes away what somebody has left half typed, so that Enter does not run it."""

INTERRUPT = b"\x03"
"""Ctrl-C."""

_FLOWS = 2.0
"""Seconds after which a console that does not pause is not waited for any longer."""

_PROMPTS = {ConsoleState.LOGIN, ConsoleState.SHELL, ConsoleState.EMERGENCY}


def rest(
    channel: Channel,
    times: ConsoleTimes,
    mark: int,
    deadline: float,
    seconds: float,
    *,
    after_user: bool = False,
) -> Steps[ConsoleState | None]:
    """Reads until what came since a mark ends in a prompt and stands still, or nothing comes any more.

    Args:
        channel: The console.
        times: How long to wait for what.
        mark: Where in the screen to begin.
        deadline: When to end at the latest.
        seconds: Without a byte, until nothing more is waited for; where the output does not end, six times
            as long in all.
        after_user: See `state_of`.

    Returns:
        The state that is shown, None for none that is known.
    """
    heard = channel.now()
    end = min(deadline, heard + 6 * seconds)
    while True:
        received = channel.screen.received
        paused = yield from channel.settle(times.quiet, min(end, channel.now() + _FLOWS + times.quiet))
        now = channel.now()
        if channel.screen.received > received:
            heard = now
        state = state_of(channel.screen.lines(mark), after_user=after_user)
        if paused and state not in {None, ConsoleState.BOOTING}:
            return state
        if now >= min(end, heard + seconds):
            return state


def look(channel: Channel, times: ConsoleTimes, deadline: float) -> Steps[ConsoleState]:
    """Finds out the state of a console: from what it says now, else from its answer to Enter."""
    began = channel.screen.received
    flows = not (yield from channel.settle(times.quiet, min(deadline, channel.now() + _FLOWS)))
    state = state_of(channel.screen.lines(began))
    if state is not None and state is not ConsoleState.BOOTING:
        return state
    if not flows:
        found = yield from _poke(channel, times, deadline)
        if found is not None:
            return found
        state = state_of(channel.screen.lines(began))
    if state is not None:
        return state
    return ConsoleState.SILENT if channel.screen.received == began else ConsoleState.BUSY


def _poke(channel: Channel, times: ConsoleTimes, deadline: float) -> Steps[ConsoleState | None]:
    """Types Enter up to three times. Returns the state where a prompt answers."""
    asks = False
    former = None
    for keys in (CLEAR + ENTER, ENTER, ENTER):
        if channel.now() >= deadline:
            break
        mark = channel.screen.received
        yield from channel.send(keys, min(deadline, channel.now() + times.turn))
        # A login that was sent no password takes a while to say so.
        patience = times.answer if asks else 0.6 * times.answer
        state = yield from rest(channel, times, mark, deadline, patience)
        if state in _PROMPTS:
            return state
        asks = state is ConsoleState.PASSWORD
        if state is ConsoleState.BOOTING or channel.screen.received == mark:
            return None
        # A prompt of any look, when the very same one comes again on a new line; but not a question.
        lines = channel.screen.lines(mark)
        last = lines[-1].strip() if len(lines) > 1 else ""
        if last and last == former and not last.endswith((":", "?", "]", "\uff1a")):
            return ConsoleState.SHELL
        former = last
    return ConsoleState.PASSWORD if asks else None
