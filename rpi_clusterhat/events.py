"""What a cluster tells its subscribers."""

from __future__ import annotations

from enum import StrEnum

from ._frozen import Frozen

__all__ = [
    "BoardSetUp",
    "BootFailed",
    "BootFinished",
    "BootStarted",
    "CutWithoutHalt",
    "Event",
    "LineDriven",
    "LinesAltered",
    "LockMissed",
    "NodeHalted",
    "PoolEvent",
    "PowerLost",
    "PowerOffFailed",
    "PoweredOff",
    "Quarantined",
    "State",
    "StateChanged",
    "WaitingForRail",
]


class State(StrEnum):
    """What the library knows of a node's power."""

    UNKNOWN = "unknown"
    """Nothing has been read yet, or the last access failed half way."""
    OFF = "off"
    QUEUED = "queued"
    """Waits for its turn on the rail; has no power yet."""
    ON = "on"
    """Has power; not known to be ready."""
    READY = "ready"
    """Has power, and its probe answered."""
    STOPPING = "stopping"
    """Was asked to halt; still has power."""
    FAILED = "failed"
    """Could not be brought to where it should be. Kept until it is switched again."""


class StateChanged(Frozen):
    """A node went from one state to another."""

    node: str
    old: State
    new: State
    cause: str
    """``request``: somebody asked this cluster for it, or closed it where lines do not keep their levels.
    ``outside``: it was found so at a read, so another program, a person or a power loss that is not known yet
    did it. ``power lost``: its board's expander lost power. ``probe``: a probe said so. ``error``: an access
    failed."""


class WaitingForRail(Frozen):
    """A node has to wait for its turn to be switched on."""

    node: str
    seconds: float
    """At least so long; longer where others are before it."""


class PowerLost(Frozen):
    """The expander of a board (counted from 0) lost power since it was last seen, and its nodes with it."""

    board: int


class BoardSetUp(Frozen):
    """The expander of a board (counted from 0), which nobody had set up since it got power, was set up."""

    board: int


class LineDriven(Frozen):
    """A node's line, an input that read as if it had been switched, is driven to that level now.

    The node's state has not changed.
    """

    node: str
    on: bool


class LinesAltered(Frozen):
    """Lines of a board (counted from 0) are not as the programs of this library left them.

    Something else has changed them since, on purpose or not: the vendor's tool takes no lock, so it can undo
    what is switched at the same moment. It is told once, by the first read that finds it so, which may be one
    of a later process; the next switch of this board takes the lines as they are.
    """

    board: int
    on: tuple[str, ...]
    """The nodes and functions among them that are on: ``p1``, ``hub``."""
    off: tuple[str, ...]
    """Those that are off."""


class LockMissed(Frozen):
    """Nodes of a board (counted from 0) lose their power without the lock that programs share.

    The lock could not be had, which must not keep a node from being switched off. A program that switches the
    same board at the same moment may undo it: read the nodes again.
    """

    board: int
    reason: str
    """What is wrong with the lock, and what to do about it."""


class NodeHalted(Frozen):
    """A node was asked to halt and is down. Its power is cut next."""

    node: str
    way: str | None
    """How it was asked: ``console``, ``ssh`` …; None where it was down already."""
    seconds: float
    """From the beginning until it was down."""
    reason: str
    """From what one can tell that it is down."""


class CutWithoutHalt(Frozen):
    """A node's power is cut although it was not halted first: its card may have been written at that moment.

    Told only of nodes for which there is a way to halt them.
    """

    node: str
    reason: str
    """Why it was not halted: the time ran out, or it was to be cut at once."""


Event = (
    StateChanged
    | WaitingForRail
    | PowerLost
    | BoardSetUp
    | LineDriven
    | LinesAltered
    | LockMissed
    | NodeHalted
    | CutWithoutHalt
)


class BootStarted(Frozen):
    """A pool is about to switch a node on, or to see whether one that has power is ready."""

    node: str
    reason: str
    """``lease``, ``hand``, ``retry`` (it is booted again by itself, since it did not answer the last time),
    ``outside`` (it was found with power) or ``check`` (a lease met a failure)."""


class BootFinished(Frozen):
    """A pool's node is ready."""

    node: str
    seconds: float
    """From the moment it was asked for, its wait for the rail included."""
    reason: str
    """As in `BootStarted`."""


class BootFailed(Frozen):
    """A pool's node could not be switched on, or was not ready in time."""

    node: str
    reason: str
    retry_after: float
    """Seconds for which it backs off."""


class Quarantined(Frozen):
    """A pool leaves a node alone: it was booted as often as may be, and did not answer in time.

    It gets no leases, and its power stays cut, until a person lets it out (`NodePool.reinstate` or
    `NodePool.wake`) or the time is over.
    """

    node: str
    reason: str
    """Why the last boot failed."""
    retry_after: float
    """Seconds until it is booted once more; ``inf`` for never."""
    last_lines: tuple[str, ...]
    """What was last read on its console while it booted; none where its console was not read."""


class PowerOffFailed(Frozen):
    """A pool could not cut a node's power. A node that was ready is checked, and may be leased again."""

    node: str
    reason: str
    retry_after: float
    """Seconds after which this is tried again, where the node is idle then."""


class PoweredOff(Frozen):
    """A pool's node has no power any more."""

    node: str
    reason: str
    """``idle``, ``hand``, ``failure``, ``outside`` or ``close``."""
    seconds: float
    """For how long it had power."""


PoolEvent = BootStarted | BootFinished | BootFailed | Quarantined | PoweredOff | PowerOffFailed
