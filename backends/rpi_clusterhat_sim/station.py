"""What stands at a simulated node's address, and follows the node."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, NamedTuple, Protocol

from rpi_clusterhat.errors import NodeNameError

from .listener import Listener
from .ports import Port
from .state_file import StateFile

if TYPE_CHECKING:
    from rpi_clusterhat.hardware.lock_files import SharedFile

    from .listener import Handler
    from .service import Service
    from .world import World, WorldSource

__all__ = ["ServiceStation", "Station", "state_of"]

_OPEN = ("drops", "up", "hung")
"""What a node is while its port is open."""


class Station(Protocol):
    """Something that is a node's own from the moment it is served, whether it has power or not.

    It may be made in any thread. It is used in the thread of `Servers`, except `check_power`.
    """

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> tuple[str, int]: ...

    @property
    def gone(self) -> threading.Event:
        """Is set by `Servers` when it has closed it."""
        ...

    async def follow(self, source: WorldSource, phase: str, boots: int) -> None:
        """Brings itself in line with the node, as `state_of` has it. Raises `OSError`."""
        ...

    def check_power(self, world: World) -> None:
        """Cuts off what belongs to a node that has lost its power since, or has begun to halt.

        May be called from any thread.
        """
        ...

    async def close(self) -> None: ...

    def give_back(self) -> None:
        """Closes one that was never used."""
        ...

    def files(self) -> list[int]:
        """The numbers of all files that a forked child may not keep."""
        ...


def state_of(world: World, name: str, now: float | None) -> tuple[str, int]:
    """What a node is at a time, as `SimNode.phase` has it, or ``drops``; and the number of its boot."""
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


class ServiceStation:
    """A node's address, and what listens there.

    It may be made in any thread. It is used in the thread of `Servers`, except `check_power`.
    """

    def __init__(self, name: str, service: Service, host: str, port: int) -> None:
        self.name = name
        self.gone = threading.Event()
        self._service = service
        self._port = Port(host, port)
        self.address = self._port.address
        self._running: _Running | None = None
        self._crashed = 0
        """The boot in which the service could not be made."""

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
                if state_of(world, self.name, None) == (phase, boots):
                    self._running = _Running(self._listener(handler), boots, claim)
        finally:
            if self._running is None and claim is not None:
                claim.close()

    def _listener(self, handler: Handler | None) -> Listener:
        listening = self._port.bound()
        try:
            return Listener(listening, handler)
        except OSError:
            listening.close()
            raise

    def check_power(self, world: World) -> None:
        """See `Station`."""
        running = self._running
        if running is not None:
            phase, boots = state_of(world, self.name, None)
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
        return [self._port.fileno(), *([] if running is None else running.listener.files())]

    def give_back(self) -> None:
        self._port.give_back()
