"""A computer of a rack in the place of a simulated node: it has power while the node has."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BackendError
from rpi_clusterhat_sim.serving import Stations
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.station import state_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rpi_clusterhat.hardware.lock_files import SharedFile
    from rpi_clusterhat_sim.world import World, WorldSource

    from .rack import Rack

__all__ = ["RackStations"]


class RackStations(Stations):
    """The nodes of a world as computers of a rack, which it takes over: it is closed with the last of them.

    When a call that cuts power returns, in this process or in another one that shares the state file, nothing
    of the node is left. A node that browns out is cut, and starts anew. May be used as `Stations` says.
    """

    def __init__(self, source: WorldSource, rack: Rack) -> None:
        super().__init__(source, lambda name: _RackStation(rack, name))
        self._rack = rack

    def add(self, names: Iterable[str]) -> None:
        """Has these nodes run while they have power. Raises as `Stations.add` and `Rack.add` do."""
        names = list(names)
        self._rack.add(names)
        super().add(names)

    def discard(self, names: Iterable[str]) -> None:
        super().discard(names)
        if not self._stations:
            self._rack.close()

    def ssh_address(self, name: str) -> tuple[str, int]:
        return self._rack.ssh_address(name)

    def console(self, name: str) -> str:
        return self._rack.console(name)

    def is_running(self, name: str) -> bool:
        return self._rack.is_running(name)


class _RackStation:
    """See `Station`."""

    def __init__(self, rack: Rack, name: str) -> None:
        self.name = name
        self.address = rack.address(name)
        self.gone = threading.Event()
        self._rack = rack
        self._lock = threading.Lock()
        self._boot: int | None = None
        """The boot in which it was given power; None where it has none."""
        self._failed: int | None = None
        """The boot in which that failed."""
        self._claim: SharedFile | None = None
        """Tells other processes that something of the node may be left."""

    async def follow(self, source: WorldSource, phase: str, boots: int) -> None:
        self._cut_unless(phase, boots)
        if phase == "off" or boots in (self._boot, self._failed):
            return
        claim = source.served.claim(self.name) if isinstance(source, StateFile) else None
        # Who cuts the power from now on waits for the claim's end, or finds the node running. The world's
        # lock comes before this one's own, as it does for who switches power.
        with source.look() as world, self._lock:
            now, boot = state_of(world, self.name, None)
            if now != "off" and boot == boots:
                self._start(boots)
            if self._boot == boots:
                self._claim, claim = claim, None
        if claim is not None:
            claim.close()

    def _start(self, boots: int) -> None:
        try:
            self._rack.set_power(self.name, True)
        except BackendError as error:
            self._failed = boots
            told = {"message": f"the computer {self.name} did not start", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
        else:
            self._boot = boots

    def check_power(self, world: World) -> None:
        self._cut_unless(*state_of(world, self.name, None))

    def _cut_unless(self, phase: str, boots: int) -> None:
        with self._lock:
            if self._boot is not None and (phase == "off" or boots != self._boot):
                self._cut()

    def _cut(self) -> None:
        self._boot = None
        with suppress(BackendError):  # nothing of it is left either when the process that ran it was killed
            self._rack.set_power(self.name, False)
        claim, self._claim = self._claim, None
        if claim is not None:
            claim.close()

    async def close(self) -> None:
        self._cut_unless("off", 0)

    def give_back(self) -> None:
        """Its addresses are the rack's."""

    def files(self) -> list[int]:
        """None: a forked child leaves the rack to its parent by itself."""
        return []
