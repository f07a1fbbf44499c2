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


_S, _H = State, Trigger
_ALWAYS = {_H.CUT: _S.OFF, _H.FAIL: _S.FAILED, _H.FORGET: _S.UNKNOWN}

TABLE: dict[State, dict[Trigger, State]] = {
    _S.UNKNOWN: {**_ALWAYS, _H.SEEN_ON: _S.ON, _H.SEEN_OFF: _S.OFF, _H.POWER: _S.ON},
    _S.OFF: {**_ALWAYS, _H.SEEN_OFF: _S.OFF, _H.SEEN_ON: _S.ON, _H.QUEUE: _S.QUEUED, _H.POWER: _S.ON},
    _S.QUEUED: {
        **_ALWAYS,
        _H.SEEN_OFF: _S.QUEUED,
        _H.SEEN_ON: _S.ON,
        _H.POWER: _S.ON,
        _H.CANCEL: _S.OFF,
    },
    _S.ON: {**_ALWAYS, _H.SEEN_ON: _S.ON, _H.SEEN_OFF: _S.OFF, _H.ANSWER: _S.READY, _H.STOP: _S.STOPPING},
    _S.READY: {
        **_ALWAYS,
        _H.SEEN_ON: _S.READY,
        _H.SEEN_OFF: _S.OFF,
        _H.ANSWER: _S.READY,
        _H.SILENCE: _S.ON,
        _H.STOP: _S.STOPPING,
    },
    _S.STOPPING: {**_ALWAYS, _H.SEEN_ON: _S.STOPPING, _H.SEEN_OFF: _S.OFF, _H.CANCEL: _S.ON},
    _S.FAILED: {**_ALWAYS, _H.SEEN_ON: _S.FAILED, _H.SEEN_OFF: _S.FAILED, _H.POWER: _S.ON},
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
