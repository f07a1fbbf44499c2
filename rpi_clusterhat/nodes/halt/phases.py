"""The phases of a halt, what moves it from one to the next, and the one table that says how."""

from __future__ import annotations

from enum import StrEnum

from rpi_clusterhat.errors import TransitionError

__all__ = ["TABLE", "HaltPhase", "HaltTrigger", "after"]


class HaltPhase(StrEnum):
    """How far the halt of a node has come."""

    GUARDS = "guards"
    """The guards are asked whether the node may be halted."""
    ASKING = "asking"
    """It is asked to halt, by one way after the other. Until it was told, the halt can be called off."""
    GOING_DOWN = "going down"
    """It was told to halt, and is looked at until it is down."""
    SETTLING = "settling"
    """It is down, and left alone for a moment."""
    DOWN = "down"
    """Its power can be cut."""
    REFUSED = "refused"
    """A guard did not allow it. The node stays on."""
    CALLED_OFF = "called off"
    """Somebody needs the node. It stays on."""
    LATE = "late"
    """The time is over. Its power is cut all the same, unless that is not wanted."""
    OVER = "over"
    """Its power was cut by somebody else."""


class HaltTrigger(StrEnum):
    """What moves a halt from one phase to the next."""

    ALLOW = "allow"
    REFUSE = "refuse"
    TELL = "tell"
    """One way has told it to halt."""
    WANT = "want"
    """Somebody wants the node to stay on."""
    SEE_DOWN = "see it down"
    SETTLE = "settle"
    TIME_OUT = "time out"
    LOSE = "lose"
    """The node has lost its power."""


_P, _T = HaltPhase, HaltTrigger

TABLE: dict[HaltPhase, dict[HaltTrigger, HaltPhase]] = {
    _P.GUARDS: {_T.ALLOW: _P.ASKING, _T.REFUSE: _P.REFUSED},
    _P.ASKING: {
        _T.TELL: _P.GOING_DOWN,
        _T.WANT: _P.CALLED_OFF,
        _T.SEE_DOWN: _P.SETTLING,
        _T.TIME_OUT: _P.LATE,
        _T.LOSE: _P.OVER,
    },
    _P.GOING_DOWN: {_T.SEE_DOWN: _P.SETTLING, _T.TIME_OUT: _P.LATE, _T.LOSE: _P.OVER},
    _P.SETTLING: {_T.SETTLE: _P.DOWN},
    _P.DOWN: {},
    _P.REFUSED: {},
    _P.CALLED_OFF: {},
    _P.LATE: {},
    _P.OVER: {},
}


def after(phase: HaltPhase, trigger: HaltTrigger) -> HaltPhase:
    """The phase that follows. Raises `TransitionError` where the table has none."""
    try:
        return TABLE[phase][trigger]
    except KeyError:
        allowed = ", ".join(TABLE[phase]) or "nothing"
        raise TransitionError(
            f"{trigger!s} is not allowed for a halt that is {phase!s}: only {allowed}"
        ) from None
