"""What a probe is, what it answers, and how two of them are combined."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.waiting import drive, drive_async

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.waiting import Steps


class Verdict(Frozen):
    """What a probe found out about a node. It is true where the node is up."""

    up: bool
    """Whether the node is up."""
    reason: str
    """One line that says who answered what, or what is wrong."""

    def __bool__(self) -> bool:
        return self.up


class Probe:
    """A question whose answer says whether a node is up. A node that is down is no error.

    ``a & b`` is up where both are, ``a | b`` where one is. They are asked in this order, and the second one
    only where it decides.

    A probe may be used from any thread and any event loop, and by several at once. For a probe of your own
    override `steps`, or use `CommandProbe`.
    """

    __slots__ = ()

    def ask(self) -> Verdict:
        """Asks once, with blocking calls.

        Returns:
            The verdict. It takes no longer than the probe's time-out, where the probe has one.
        """
        return drive(self.steps(_no_limit), SYSTEM)

    async def aask(self) -> Verdict:
        """Asks once, in the running event loop.

        When it is cancelled, its connection is closed and its command is killed.

        Returns:
            The verdict, as `ask` does.
        """
        return await drive_async(self.steps(_no_limit), SYSTEM)

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        """Makes the steps that lead to the verdict.

        Args:
            left: Returns how many seconds the probe may take at most, counted from the call of ``left``.

        Returns:
            A generator of steps that returns the verdict.
        """
        raise NotImplementedError

    def __and__(self, other: Any) -> Probe:
        return _Pair(self, other, decided_by=False) if isinstance(other, Probe) else NotImplemented

    def __or__(self, other: Any) -> Probe:
        return _Pair(self, other, decided_by=True) if isinstance(other, Probe) else NotImplemented


def _no_limit() -> float:
    return math.inf


class _Pair(Probe):
    """Two probes, of which the first decides alone where its verdict is ``decided_by``."""

    __slots__ = ("_decided_by", "_probes")

    def __init__(self, first: Probe, second: Probe, *, decided_by: bool) -> None:
        self._probes = (first, second)
        self._decided_by = decided_by

    def __repr__(self) -> str:
        first, second = self._probes
        return f"({first!r} {'|' if self._decided_by else '&'} {second!r})"

    def steps(self, left: Callable[[], float]) -> Steps[Verdict]:
        reasons: list[str] = []
        for probe in self._probes:
            verdict = yield from probe.steps(left)
            if verdict.up is self._decided_by:
                return verdict
            reasons.append(verdict.reason)
        return Verdict(not self._decided_by, "; ".join(reasons))
