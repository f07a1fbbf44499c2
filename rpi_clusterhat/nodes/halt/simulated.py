"""Halting a simulated node, which its backend knows how to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.waiting import Call

from .way import HaltWay

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.hardware.backend import SupportsHalting
    from rpi_clusterhat.waiting import Steps

__all__ = ["SimulatedWay"]


class SimulatedWay(HaltWay):
    """Asks the backend of a simulation."""

    __slots__ = ("_backend", "_offset")

    name = "simulated"

    def __init__(self, backend: SupportsHalting, offset: int) -> None:
        self._backend = backend
        self._offset = offset

    def ask(self, left: Callable[[], float], go: Callable[[], None]) -> Steps[None]:  # noqa: ARG002 - at once
        go()
        yield Call(lambda: self._backend.ask_to_halt(self._offset), uninterruptible=True)
