"""Simulated nodes that answer, or run: which of them does follows the world.

The world stays what it is, a function of its events and the time. One thread looks at it every few
milliseconds, and looks closer only when an event happened or something was to change by itself.
"""

from __future__ import annotations

import asyncio
import os
import threading
from math import inf
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import BackendError, ClosedError

from .holders import is_alive
from .service import Echo
from .state_file import StateFile
from .station import ServiceStation, state_of
from .world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Self

    from rpi_clusterhat.clock import Clock

    from .service import Service
    from .station import Station
    from .world import WorldSource

__all__ = ["INTERVAL", "Servers", "Stations"]

INTERVAL = 0.008
"""Seconds between two looks at the world."""


class Stations:
    """What stands at the addresses of simulated nodes, and follows them.

    An address is the node's from the moment it is added until it is discarded. One thread looks after all
    nodes, and runs while there are some. All methods may be called from any thread, but not from within a
    look at the world or a change of it, which would keep that thread out.
    """

    def __init__(self, source: WorldSource, make: Callable[[str], Station]) -> None:
        """``source`` is a `World` or a `StateFile`; ``make`` makes a node's station, or raises `OSError`."""
        self._source = source
        self._make = make
        self._lock = threading.Lock()
        self._stations: dict[str, Station] = {}
        self._leaving: list[Station] = []
        self._added = 0
        self._thread: threading.Thread | None = None
        self._seen: object = None
        """What `_sight` was at the last close look."""
        self._clock: Clock = SYSTEM
        self._next_change = -inf
        self._holders: set[str] = set()
        self._of_the_parent: object = None
        after_fork(self, Stations._leave_to_the_parent)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self._stations)} nodes of {self._source!r}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def add(self, names: Iterable[str]) -> None:
        """Gives these nodes of the world an address; those that have one keep it.

        Raises `NodeNameError` for a node that the world does not have, and `OSError` where an address cannot
        be had; then none is added.
        """
        with self._lock:
            new = [name for name in dict.fromkeys(names) if name not in self._stations]
            if not new:
                return
            with self._source.look() as world:
                for name in new:
                    world.node(name)
            stations: dict[str, Station] = {}
            try:
                for name in new:
                    stations[name] = self._make(name)
            except OSError:
                for station in stations.values():
                    station.give_back()
                raise
            self._stations.update(stations)
            self._added += 1
            if self._thread is None:
                self._unwatch = self._source.watch(self._check_power)
                self._thread = threading.Thread(
                    target=lambda: asyncio.run(self._run()), name="simulated nodes", daemon=True
                )
                self._thread.start()

    def discard(self, names: Iterable[str]) -> None:
        """Takes these nodes' addresses back: when this returns, nothing of them is open any more."""
        with self._lock:
            leaving = [self._stations.pop(name) for name in dict.fromkeys(names) if name in self._stations]
            self._leaving += leaving
            thread = None if self._stations else self._thread
        for station in leaving:
            station.gone.wait()
        if thread is not None:
            thread.join()

    def close(self) -> None:
        """Discards all. May be called again."""
        self.discard(list(self._stations))

    def address(self, name: str) -> tuple[str, int]:
        """Host and TCP port of a node. Raises `ClosedError` for one that has no address (any more)."""
        station = self._stations.get(name)
        if station is None:
            raise ClosedError(f"{name} has no address, as it is not served: add it")
        return station.address

    def _leave_to_the_parent(self) -> None:
        """In a forked child: nothing of what the parent's thread serves may stay open here."""
        stations = [*self._stations.values(), *self._leaving]
        null = os.open(os.devnull, os.O_RDWR)
        for number in (number for station in stations for number in station.files()):
            if number >= 0:
                os.dup2(null, number)  # not closed: an object that ends later would close another's file
        os.close(null)
        self._of_the_parent = stations
        self._stations, self._leaving, self._thread = {}, [], None
        self._lock = threading.Lock()

    # In the thread ----------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while await self._release():
                await self._look()
                await asyncio.sleep(INTERVAL)
        finally:
            with self._lock:
                rest = [*self._stations.values(), *self._leaving]
            for station in rest:
                await station.close()
                station.gone.set()

    async def _release(self) -> bool:
        """Closes the stations that are to go. Tells whether others are left; where not, the thread ends."""
        with self._lock:
            leaving, self._leaving = self._leaving, []
            goes_on = bool(self._stations)
            if not goes_on:
                self._unwatch()
                self._thread = None
        for station in leaving:
            await station.close()
            station.gone.set()
        return goes_on

    def _check_power(self, world: World) -> None:
        """Called by whoever switched power or had a node halt, in its thread."""
        for station in list(self._stations.values()):
            station.check_power(world)

    def _sight(self) -> object:
        """Something that is another thing once anything happened in the world; None where that is unknown."""
        source = self._source
        if isinstance(source, World):
            return self._added, source.timeline.version
        if not isinstance(source, StateFile) or not all(map(is_alive, self._holders)):
            return None
        try:
            status = os.stat(source.path)
        except OSError:
            return self._added, None
        return self._added, status.st_ino, status.st_mtime_ns, status.st_size

    async def _look(self) -> None:
        sight = self._sight()
        if sight is not None and sight == self._seen and self._clock.now() < self._next_change:
            return
        self._seen = sight
        with self._lock:
            stations = list(self._stations.values())
        try:
            with self._source.look() as world:
                timeline = world.timeline
                now = timeline.now()
                self._clock = timeline.clock
                next_change = world.next_event(now)
                self._next_change = inf if next_change is None else next_change
                self._holders = {holder for bank in world.banks.values() for holder in bank.holders.values()}
                states = [state_of(world, station.name, now) for station in stations]
        except BackendError:  # the file cannot be read: as long as it says nothing else, all stays as it is
            return
        for station, (phase, boots) in zip(stations, states, strict=True):
            try:
                await station.follow(self._source, phase, boots)
            except OSError:  # out of files, say: the next look tries again
                self._seen = None


class Servers(Stations):
    """Addresses of simulated nodes, with a service on each while its node is up.

        with Servers(world, ["p1", "p2"]) as servers:
            host, port = servers.address("p1")

    Who connects is refused while the node is not up. A node that loses its power, browns out, is switched
    off and on or begins to halt resets all its connections; one that hangs still lets clients in, and nobody
    gets an answer; one that drops connections lets clients in, and closes. When a call that cuts power or has
    a node halt returns, in this process or in another one that shares the state file, nothing of the node
    answers any more. What happens by itself is seen `INTERVAL` later.

    ``service`` is as `rpi_clusterhat_sim.service.load_service` has it; ``ports`` are for nodes that are not
    to get any free one.
    """

    def __init__(
        self,
        source: WorldSource,
        names: Iterable[str] = (),
        *,
        service: Service = Echo,
        host: str = "127.0.0.1",
        ports: Mapping[str, int] | None = None,
    ) -> None:
        own = dict(ports or {})
        super().__init__(source, lambda name: ServiceStation(name, service, host, own.get(name, 0)))
        self.add(names)
