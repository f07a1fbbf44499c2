"""The states of a node, the events that move it, and the one table that says how."""

from __future__ import annotations

from enum import StrEnum

from rpi_clusterhat.errors import TransitionError
from rpi_clusterhat.events import State

__all__ = ["TABLE", "State", "Trigger", "after", "has_power"]


class Trigger(StrEnum):
    """What moves a node from one state to another."""

    SEEN_ON = "seen on"
    SEEN_OFF = "seen off"
    QUEUE = "queue"
    POWER = "power"
    CANCEL = "cancel"
    """It no longer waits for the rail, or its halt was called off."""
    CUT = "cut"
    ANSWER = "answer"
    SILENCE = "silence"
    STOP = "stop"
    FAIL = "fail"
    FORGET = "forget"
    """What was known of it no longer counts."""


_S, _T = State, Trigger
_ALWAYS = {_T.CUT: _S.OFF, _T.FAIL: _S.FAILED, _T.FORGET: _S.UNKNOWN}

TABLE: dict[State, dict[Trigger, State]] = {
    _S.UNKNOWN: {**_ALWAYS, _T.SEEN_ON: _S.ON, _T.SEEN_OFF: _S.OFF, _T.POWER: _S.ON},
    _S.OFF: {**_ALWAYS, _T.SEEN_OFF: _S.OFF, _T.SEEN_ON: _S.ON, _T.QUEUE: _S.QUEUED, _T.POWER: _S.ON},
    _S.QUEUED: {
        **_ALWAYS,
        _T.SEEN_OFF: _S.QUEUED,
        _T.SEEN_ON: _S.ON,
        _T.POWER: _S.ON,
        _T.CANCEL: _S.OFF,
    },
    _S.ON: {**_ALWAYS, _T.SEEN_ON: _S.ON, _T.SEEN_OFF: _S.OFF, _T.ANSWER: _S.READY, _T.STOP: _S.STOPPING},
    _S.READY: {
        **_ALWAYS,
        _T.SEEN_ON: _S.READY,
        _T.SEEN_OFF: _S.OFF,
        _T.SILENCE: _S.ON,
        _T.STOP: _S.STOPPING,
    },
    _S.STOPPING: {**_ALWAYS, _T.SEEN_ON: _S.STOPPING, _T.SEEN_OFF: _S.OFF, _T.CANCEL: _S.ON},
    _S.FAILED: {**_ALWAYS, _T.SEEN_ON: _S.FAILED, _T.SEEN_OFF: _S.FAILED, _T.POWER: _S.ON},
}


def after(state: State, trigger: Trigger) -> State:
    """The state that follows. Raises `TransitionError` where the table has none."""
    try:
        return TABLE[state][trigger]
    except KeyError:
        allowed = ", ".join(TABLE[state])
        raise TransitionError(
            f"{trigger!s} is not allowed for a node that is {state!s}: only {allowed}"
        ) from None


def has_power(state: State) -> bool | None:
    """Whether a node in this state has power; None where the state does not say."""
    if state in (State.OFF, State.QUEUED):
        return False
    if state in (State.ON, State.READY, State.STOPPING):
        return True
    return None
