"""Signs that a node is down."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rpi_clusterhat.waiting import Call

from .way import Sighting, Sign

if TYPE_CHECKING:
    from rpi_clusterhat.hardware.backend import SupportsHalting
    from rpi_clusterhat.nodes.probes import Probe
    from rpi_clusterhat.waiting import Steps

__all__ = ["DeviceSign", "ProbeSign", "SimulatedSign"]

_PROBE_MOST = 2.0


class ProbeSign(Sign):
    """A probe that answers while the node is up.

    Args:
        probe: The probe.
        name: What it looks at: ``USB``.
        is_sure: Whether a node of which it hears nothing is down for sure.
    """

    __slots__ = ("is_sure", "name", "probe")

    def __init__(self, probe: Probe, name: str, *, is_sure: bool) -> None:
        self.probe = probe
        self.name = name
        self.is_sure = is_sure

    def begin(self) -> Steps[bool]:
        verdict = yield from self.probe.steps(lambda: _PROBE_MOST)
        return verdict.up

    def look(self) -> Steps[Sighting]:
        verdict = yield from self.probe.steps(lambda: _PROBE_MOST)
        if verdict.up:
            return Sighting(False, f"it still answers ({self.name}): {verdict.reason}")
        return Sighting(True, f"gone from {self.name}", self.is_sure)


class DeviceSign(Sign):
    """The device of its console, which the controller's kernel takes away with the node's USB device."""

    __slots__ = ("path",)

    def __init__(self, path: str) -> None:
        self.path = path

    def begin(self) -> Steps[bool]:
        there: bool = yield Call(self._is_there)
        return there

    def look(self) -> Steps[Sighting]:
        if (yield from self.begin()):
            return Sighting(False, f"its console {self.path} is still there")
        return Sighting(True, f"its console {self.path} is gone")

    def _is_there(self) -> bool:
        return os.path.exists(self.path)


class SimulatedSign(Sign):
    """What the simulation knows of its node."""

    __slots__ = ("_backend", "_offset")

    def __init__(self, backend: SupportsHalting, offset: int) -> None:
        self._backend = backend
        self._offset = offset

    def begin(self) -> Steps[bool]:
        yield from ()
        return True

    def look(self) -> Steps[Sighting]:
        halted: bool = yield Call(lambda: self._backend.has_halted(self._offset))
        return Sighting(
            halted, "the simulated node has halted" if halted else "the simulated node is not down"
        )
