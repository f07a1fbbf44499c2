"""What the decisions of a pool ask for. `rpi_clusterhat.pool.runner` does it."""

from __future__ import annotations

from rpi_clusterhat._frozen import Frozen

__all__ = ["Action", "BackOff", "Boot", "CallOff", "Check", "CutPower", "WatchIdle"]


class Boot(Frozen):
    """Switch this node on and probe it; then `Scheduler.powered` and `Scheduler.ready`, or `failed`."""

    node: str


class Check(Frozen):
    """See whether this node has power and is ready; then `Scheduler.ready`, `lost` or `failed`."""

    node: str


class CutPower(Frozen):
    """Halt this node and cut its power; then `Scheduler.powered_off`, `power_off_failed` or `called_off`."""

    node: str
    reason: str


class CallOff(Frozen):
    """Have this node stay on if it was not asked to halt yet: a lease needs it. `CutPower` goes on."""

    node: str


class BackOff(Frozen):
    """Have this node back off.

    Cut its power; then `Scheduler.powered_off` or `power_off_failed`. Wait for so long; then `back_off_over`.
    """

    node: str
    seconds: float
    cut: bool
    """Whether its power is to be cut: not while a lease still uses it."""


class WatchIdle(Frozen):
    """Call `Scheduler.check_idle`, and as long as that says so again at `Scheduler.due_at`."""

    node: str


Action = Boot | Check | CutPower | CallOff | BackOff | WatchIdle
