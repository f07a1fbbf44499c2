"""Simulated nodes that answer: which of them listens follows the world.

The world stays what it is, a function of its events and the time. One thread looks at it every few
milliseconds, and looks closer only when an event happened or something was to change by itself.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from math import inf
from typing import TYPE_CHECKING, NamedTuple

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import BackendError, ClosedError, NodeNameError

from .holders import is_alive
from .listener import Listener
from .service import Echo
from .state_file import StateFile
from .world import World

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Self

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.lock_files import SharedFile

    from .listener import Handler
    from .service import Service
    from .world import WorldSource

__all__ = ["INTERVAL", "Servers"]

_OPEN = ("drops", "up", "hung")
"""What a node is while its port is open."""

INTERVAL = 0.008
"""Seconds between two looks at the world."""


class Servers:
    """Addresses of simulated nodes, with a service on each while its node is up.

        with Servers(world, ["p1", "p2"]) as servers:
            host, port = servers.address("p1")

    An address is the node's from the moment it is added until it is discarded. Who connects is refused while
    the node is not up. A node that loses its power, browns out, is switched off and on or begins to halt
    resets all its connections; one that hangs still lets clients in, and nobody gets an answer; one that
    drops connections lets clients in, and closes. When a call that cuts power or has a node halt returns, in
    this process or in another one that shares the state file, nothing of the node answers any more. What
    happens by itself is seen `INTERVAL` later.

    ``source`` is a `World` or a `StateFile`; ``service`` is as `rpi_clusterhat_sim.service.load_service` has
    it; ``ports`` are for nodes that are not to get any free one. One thread serves all nodes, and runs while
    there are some. All methods may be called from any thread, but not from within a look at the world or a
    change of it, which would keep that thread out.
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
        self._source = source
        self._service = service
        self._host = host
        self._ports = dict(ports or {})
        self._lock = threading.Lock()
        self._stations: dict[str, _Station] = {}
        self._leaving: list[_Station] = []
        self._added = 0
        self._thread: threading.Thread | None = None
        self._seen: object = None
        """What `_sight` was at the last close look."""
        self._clock: Clock = SYSTEM
        self._next_change = -inf
        self._holders: set[str] = set()
        self._of_the_parent: object = None
        after_fork(self, Servers._leave_to_the_parent)
        self.add(names)

    def __repr__(self) -> str:
        return f"<Servers of {len(self._stations)} nodes of {self._source!r}>"

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
            stations: dict[str, _Station] = {}
            try:
                for name in new:
                    stations[name] = _Station(name, self._service, self._host, self._ports.get(name, 0))
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
                states = [_state(world, station.name, now) for station in stations]
        except BackendError:  # the file cannot be read: as long as it says nothing else, all stays as it is
            return
        for station, (phase, boots) in zip(stations, states, strict=True):
            try:
                await station.follow(self._source, phase, boots)
            except OSError:  # out of files, say: the next look tries again
                self._seen = None


def _state(world: World, name: str, now: float | None) -> tuple[str, int]:
    try:
        node = world.node(name, at=now)
    except NodeNameError:  # a state file that was removed
        return "off", 0
    return "drops" if node.is_dropping else node.phase, node.boots


class _Running(NamedTuple):
    """What listens at a node's address."""

    listener: Listener
    boots: int
    """The number of the boot that it belongs to."""
    claim: SharedFile | None
    """Tells other processes that something of the node may answer."""

    def leave(self) -> None:
        if self.claim is not None:
            self.claim.close()


class _Station:
    """A node's address, and what listens there.

    It may be made in any thread. It is used in the thread of `Servers`, except `check_power`.
    """

    def __init__(self, name: str, service: Service, host: str, port: int) -> None:
        self.name = name
        self.gone = threading.Event()
        self._service = service
        self._family = socket.AF_INET6 if ":" in host else socket.AF_INET
        # Never listens: while it is bound, nobody else gets the port, and who connects is refused.
        self._reserved = self._bound((host, port), shares=False)
        self._reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # from now on, with our own
        self.address: tuple[str, int] = self._reserved.getsockname()[:2]
        self._running: _Running | None = None
        self._crashed = 0
        """The boot in which the service could not be made."""

    def _bound(self, address: tuple[str, int], *, shares: bool) -> socket.socket:
        bound = socket.socket(self._family, socket.SOCK_STREAM)
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, shares)
            bound.bind(address)
        except OSError:
            bound.close()
            raise
        return bound

    async def follow(self, source: WorldSource, phase: str, boots: int) -> None:
        """Brings what listens in line with the node. Raises `OSError`."""
        if self._running is not None and (phase not in _OPEN or boots != self._running.boots):
            await self._end()
        if phase in ("up", "drops") and boots != self._crashed:
            if self._running is None:
                self._start(source, phase, boots)
            elif phase == "up" and self._running.listener.handler is None:
                self._running.listener.handler = self._handler(boots)
                if boots == self._crashed:
                    await self._end()
        elif phase == "hung" and self._running is not None and not self._running.listener.frozen:
            self._running.listener.freeze()

    def _handler(self, boots: int) -> Handler | None:
        try:
            return self._service(self.name)
        except Exception as error:  # noqa: BLE001 - a program that does not start leaves a node without one
            self._crashed = boots
            told = {"message": f"the service of {self.name} did not start", "exception": error}
            asyncio.get_running_loop().call_exception_handler(told)
            return None

    def _start(self, source: WorldSource, phase: str, boots: int) -> None:
        handler = self._handler(boots) if phase == "up" else None
        if boots == self._crashed:
            return
        claim = source.served.claim(self.name) if isinstance(source, StateFile) else None
        try:
            # Who cuts the power from now on waits for the claim's end, or finds what listens here.
            with source.look() as world:
                if _state(world, self.name, None) == (phase, boots):
                    self._running = _Running(self._listener(handler), boots, claim)
        finally:
            if self._running is None and claim is not None:
                claim.close()

    def _listener(self, handler: Handler | None) -> Listener:
        listening = self._bound(self.address, shares=True)
        try:
            return Listener(listening, handler)
        except OSError:
            listening.close()
            raise

    def check_power(self, world: World) -> None:
        """Cuts off what listens where the node has lost its power since, or has begun to halt.

        May be called from any thread.
        """
        running = self._running
        if running is not None:
            phase, boots = _state(world, self.name, None)
            if phase not in _OPEN or boots != running.boots:
                running.listener.cut()
                running.leave()

    async def _end(self) -> None:
        """Ends what runs there, and waits until all that it had accepted is closed."""
        running, self._running = self._running, None
        if running is not None:
            running.listener.abort()
            await running.listener.wait_aborted()
            running.leave()

    async def close(self) -> None:
        await self._end()
        self.give_back()

    def files(self) -> list[int]:
        """The numbers of all files that are open for clients."""
        running = self._running
        return [self._reserved.fileno(), *([] if running is None else running.listener.files())]

    def give_back(self) -> None:
        self._reserved.close()
