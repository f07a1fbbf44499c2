"""The states of a node in a pool, what moves it between them, and the one table that says how.

Whether a node has power is known to the cluster alone, whose events move the node here. These states are what
a pool adds to that: what it is about to do with the node, and whether it may be leased.
"""

from __future__ import annotations

from enum import StrEnum

from rpi_clusterhat.errors import TransitionError

__all__ = ["TABLE", "PoolState", "PoolTrigger", "after", "is_starting"]


class PoolState(StrEnum):
    """What a pool does with a node."""

    OFF = "off"
    """Has no power, and nobody needs it."""
    QUEUED = "queued"
    """Is being switched on; may wait for its turn on the rail."""
    BOOTING = "booting"
    """Was switched on by this pool, and has not answered its probe yet."""
    CHECKING = "checking"
    """Has power, and is probed before it gets leases: another program switched it on, a lease met a failure,
    its power could not be cut, its halt was called off, or a back-off is over."""
    READY = "ready"
    """Answered its probe: it may be leased."""
    STOPPING = "stopping"
    """It is being halted, or its power cut. Leases that ask for it wait until it has booted again."""
    FAILED = "failed"
    """Could not be switched on, or did not answer in time. It backs off or is quarantined, and gets no leases
    meanwhile."""


class PoolTrigger(StrEnum):
    """What moves a node of a pool from one state to another."""

    BOOT = "boot"
    """A lease needs it, somebody switches it on by hand, or it is tried again after a boot that timed out."""
    POWER = "power"
    """This pool has switched it on."""
    ANSWER = "answer"
    """Its probe answered."""
    FAIL = "fail"
    """It could not be switched on, or its probe did not answer in time."""
    CHECK = "check"
    """It is to be probed again: see `PoolState.CHECKING`."""
    STOP = "stop"
    """It was idle for long enough, or is switched off by hand."""
    CUT = "cut"
    """This pool has cut its power."""
    RETRY = "retry"
    """The back-off or quarantine of a node without power is over."""
    FOUND_ON = "found on"
    """The cluster says that somebody else switched it on."""
    LOST = "lost"
    """The cluster says that it has no power any more, and this pool did not cut it."""


_S, _T = PoolState, PoolTrigger

TABLE: dict[PoolState, dict[PoolTrigger, PoolState]] = {
    _S.OFF: {
        _T.BOOT: _S.QUEUED,
        _T.CUT: _S.OFF,
        _T.FOUND_ON: _S.CHECKING,
        _T.LOST: _S.OFF,
    },
    _S.QUEUED: {
        _T.POWER: _S.BOOTING,
        _T.FAIL: _S.FAILED,
        _T.CUT: _S.OFF,
        _T.FOUND_ON: _S.QUEUED,
        _T.LOST: _S.QUEUED,
    },
    _S.BOOTING: {
        _T.ANSWER: _S.READY,
        _T.FAIL: _S.FAILED,
        _T.CUT: _S.OFF,
        _T.FOUND_ON: _S.BOOTING,
        _T.LOST: _S.OFF,
    },
    _S.CHECKING: {
        _T.ANSWER: _S.READY,
        _T.FAIL: _S.FAILED,
        _T.CUT: _S.OFF,
        _T.FOUND_ON: _S.CHECKING,
        _T.LOST: _S.OFF,
    },
    _S.READY: {
        _T.CHECK: _S.CHECKING,
        _T.STOP: _S.STOPPING,
        _T.CUT: _S.OFF,
        _T.FOUND_ON: _S.READY,
        _T.LOST: _S.OFF,
    },
    _S.STOPPING: {
        _T.CHECK: _S.CHECKING,
        _T.CUT: _S.OFF,
        _T.FOUND_ON: _S.STOPPING,
        _T.LOST: _S.STOPPING,
    },
    _S.FAILED: {
        _T.CHECK: _S.CHECKING,
        _T.RETRY: _S.OFF,
        _T.CUT: _S.FAILED,
        _T.FOUND_ON: _S.FAILED,
        _T.LOST: _S.FAILED,
    },
}


def after(state: PoolState, trigger: PoolTrigger) -> PoolState:
    """The state that follows. Raises `TransitionError` where the table has none."""
    try:
        return TABLE[state][trigger]
    except KeyError:
        allowed = ", ".join(TABLE[state])
        raise TransitionError(
            f"{trigger!s} is not allowed for a node of a pool that is {state!s}: only {allowed}"
        ) from None


def is_starting(state: PoolState) -> bool:
    """Whether a node in this state is on its way to be ready."""
    return state in (PoolState.QUEUED, PoolState.BOOTING, PoolState.CHECKING)
