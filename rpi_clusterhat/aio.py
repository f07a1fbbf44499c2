"""`AsyncCluster` and `AsyncNode`: the front door for asyncio.

Accesses to the hardware run in worker threads, waiting in the event loop. `rpi_clusterhat.cluster` is made
from this file by ``make twins``: change this one.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from ._async_open import AsyncOpener
from ._cluster_base import BOOT_TIMEOUT, CYCLE_PAUSE, HUB_PAUSE, ClusterBase, Handle, NodeHandle
from ._status import BoardStatus, NodeStatus, Status, read_status
from .clock import SYSTEM
from .errors import LevelsNotHeldError
from .waiting import call, drive_async

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import TypeVar

    from ._cluster_base import NodeLike, Wait
    from .clock import Clock
    from .events import State
    from .nodes.console.console import AsyncConsole
    from .nodes.probes import Probe
    from .nodes.ssh import Ssh
    from .power.inventory import Inventory
    from .power.plans import Plan

    _T = TypeVar("_T")

__all__ = [
    "AsyncCluster",
    "AsyncFunction",
    "AsyncHub",
    "AsyncNode",
    "BoardStatus",
    "NodeStatus",
    "Status",
]


class AsyncCluster(ClusterBase):
    """The nodes of one or several Cluster HATs, for asyncio.

        async with AsyncCluster.open() as hat:
            await hat.on("p1", "p3")

    Opening and closing switch nothing. All methods belong to one event loop; subscribers are called in it. A
    cancelled task leaves the nodes in a state that the next look reports truthfully: what was on stays on,
    what waited goes no further.
    """

    @classmethod
    def open(
        cls,
        board: str | None = None,
        *,
        backend: str | None = None,
        options: Mapping[str, object] | None = None,
        boards: Sequence[Mapping[str, object]] | None = None,
        nodes: int | None = None,
        spacing: float | None = None,
        rail: str | None = None,
        lock_dir: str | None = None,
        node: Mapping[str, object] | None = None,
        config: str | None = None,
        clock: Clock = SYSTEM,
    ) -> AsyncOpener[Self]:
        """Finds board and backend and opens them.

        What is not given here is taken from the environment (``RPI_CLUSTERHAT_BOARD`` …), a settings file,
        the vendor's settings file, and at last from what the HAT says of itself.

        Args:
            board: The HAT's version, such as ``"2.3"``.
            backend: ``gpiod``, ``sysfs``, ``i2c``, ``sim`` or a plugin's.
            options: The backend's options, by name.
            boards: Several boards, each a mapping with ``board``, ``backend``, ``options``, ``nodes``,
                ``rail``.
            nodes: How many of the HAT's sockets are in use (4).
            spacing: Seconds between two power-ups (2.0).
            rail: The name of the supply; boards with the same name keep the spacing together.
            lock_dir: The folder where processes share locks (``/run/rpi-clusterhat``).
            node: How nodes are reached and halted: settings by name, such as ``{"halt": ["console"]}``, and
                under a node's name a mapping of those that are its own.
            config: The path of a TOML file to read instead of the usual ones.
            clock: The clock that waits go by.

        Returns:
            The open cluster: of ``await``, or of ``async with``, which also closes it.

        Raises:
            SettingError: A setting is invalid.
            BoardNotFoundError: No HAT says which version it is, and none is given.
            UnknownBackendError: No backend of this name is installed.
            BackendUnavailableError: The backend cannot be used here; the text says why and what to do.
        """
        given: dict[str, object] = {
            "board": board,
            "backend": backend,
            "options": options,
            "boards": boards,
            "nodes": nodes,
            "spacing": spacing,
            "rail": rail,
            "lock_dir": lock_dir,
            "node": node,
        }
        return AsyncOpener(partial(cls._open, given, config, clock))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await self.close()
        except LevelsNotHeldError as error:
            if exc is None:
                raise
            exc.add_note(str(error))

    def __getitem__(self, name: str) -> AsyncNode:
        """The node of this name. Raises `NodeNameError`."""
        return AsyncNode(self, self._inventory, self._check_name(name))

    def __iter__(self) -> Iterator[AsyncNode]:
        return (AsyncNode(self, self._inventory, name) for name in self._inventory.names)

    async def on(
        self, *nodes: NodeLike, wait: Wait | None = None, boot_timeout: float = BOOT_TIMEOUT
    ) -> None:
        """Switches nodes on, each in its turn and with the rail's spacing; returns when the last has power.

        Nodes that have power are left alone and cost no wait. One that is being halted, also by another
        process, is waited for, and boots anew.

        Args:
            nodes: Names, nodes, or lists of them; ``"all"`` for all nodes.
            wait: Return only when the nodes are ready, too: a probe, or for several nodes a function that
                makes the probe for the node of a name.
            boot_timeout: Seconds to wait for that, after the last has power.

        Raises:
            NodeNameError: Something else is named, or nothing. Nothing was switched.
            SettingError: ``wait`` or ``boot_timeout`` is invalid. Nothing was switched.
            NodeFailedError: A node could not be switched on. The others are on.
            SupersededError: Another caller switched a node off while it waited. The others are on.
            BackendError: The hardware failed. What was reached stays, and is reported.
            LockError: The shared lock of the rail cannot be used. What was reached stays.
            BootTimeoutError: A node has power and did not get ready in time.
        """

        names = self.select(*nodes)
        await self._on(names, self._check_wait(wait, names, boot_timeout), boot_timeout)

    async def _on(self, names: list[str], probes: Mapping[str, Probe], boot_timeout: float) -> None:
        await drive_async(self._switch_on(names), self.clock)
        if probes:
            await drive_async(self._until_ready(probes, boot_timeout), self.clock)

    async def off(self, *nodes: NodeLike, now: bool = False, cut: bool = True) -> None:
        """Halts nodes, and cuts the power of each when it is down.

        A node is halted in the ways that its setting ``halt`` names. Without any its power is cut at once,
        which may destroy the files on a card that is being written. Nodes are halted side by side; nodes that
        wait for the rail lose their place. Where lines do not keep their levels (`holds_levels`), nodes are
        off while this cluster is open; `close` says which are on after it.

        Args:
            nodes: Names, nodes, or lists of them; ``"all"`` for all nodes.
            now: Cut the power at once, without a halt.
            cut: Whether a node that is not down within ``halt_timeout`` loses its power all the same. A
                `CutWithoutHalt` tells of it.

        Raises:
            NodeNameError: Something else is named, or nothing. Nothing was switched.
            NodeFailedError: A node still has power, or may have. The others are off.
            SettingError: A setting of a way to halt is invalid. Its node keeps its power.
            HaltRefusedError: A guard does not allow a halt. The others are off.
            HaltError: A node is not down in time, and ``cut`` is false. The others are off.
            SupersededError: Another caller wants a node to stay on, which had not been asked to halt yet. The
                others are off.
            BackendError: The hardware failed. What was reached stays, and is reported.
        """
        await drive_async(self._off(self.select(*nodes), now=now, cut=cut), self.clock)

    async def cycle(self, *nodes: NodeLike, pause: float = CYCLE_PAUSE, now: bool = False) -> None:
        """Switches nodes off as `off` does, waits, and switches them on again one after the other.

        Args:
            nodes: Names, nodes, or lists of them; ``"all"`` for all nodes.
            pause: Seconds without power.
            now: Cut their power at once, without a halt.

        Raises:
            SettingError: An argument is invalid. Nothing was switched.
            ClusterHatError: As `on` and `off` do.
        """
        await drive_async(self._cycle(self.select(*nodes), pause, now=now), self.clock)

    def powered(
        self, *nodes: NodeLike, wait: Wait | None = None, boot_timeout: float = BOOT_TIMEOUT
    ) -> AbstractAsyncContextManager[list[AsyncNode]]:
        """Keeps nodes on for a block: on at its beginning, off after it, whatever happens in it.

        Args:
            nodes: Names, nodes, or lists of them; ``"all"`` for all nodes.
            wait: As of `on`.
            boot_timeout: As of `on`.

        Returns:
            The nodes, in the order in which they were named.

        Raises:
            ClusterHatError: As `on` and `off` do.
        """
        names = self.select(*nodes)
        return self._powered(names, self._check_wait(wait, names, boot_timeout), boot_timeout)

    @asynccontextmanager
    async def _powered(
        self, names: list[str], probes: Mapping[str, Probe], boot_timeout: float
    ) -> AsyncGenerator[list[AsyncNode]]:
        try:
            await self._on(names, probes, boot_timeout)
            yield [self[name] for name in names]
        finally:
            await self.off(names)

    async def init(self) -> bool:
        """Sets up each expander that nobody has set up since it got power.

        ``on`` and ``off`` do so themselves.

        Returns:
            Whether there was one.

        Raises:
            BackendError: The hardware failed.
        """
        from .power import plans

        return await _run(self._inventory, plans.set_up(self._inventory.names))

    async def check_rails(self) -> None:
        """Checks that nodes could be switched on: that their rails' locks can be had. It switches nothing.

        Raises:
            LockError: A rail's lock cannot be had. The text says what to do.
            BackendError: The hardware failed.
        """
        from .power import plans

        await _run(self._inventory, plans.check_rails(self._inventory.names))

    async def status(self) -> Status:
        """Reads all boards. Never writes. Raises `BackendError`."""
        return await _call(self._inventory, partial(read_status, self._inventory))

    @property
    def alert(self) -> AsyncFunction:
        """The ALERT LED."""
        return AsyncFunction(self, self._inventory, "alert")

    @property
    def led(self) -> AsyncFunction:
        """The nodes' LEDs: on lets them shine."""
        return AsyncFunction(self, self._inventory, "led")

    @property
    def hub(self) -> AsyncHub:
        """The USB hub between the nodes and the controller."""
        return AsyncHub(self, self._inventory, "hub")

    @property
    def write_protect(self) -> AsyncFunction:
        """The write protection of the HAT's EEPROM."""
        return AsyncFunction(self, self._inventory, "wp")

    async def close(self) -> None:
        """Gives the lines back. It may be called again.

        It switches nothing itself. If the backend does not hold levels, the lines that it held are inputs
        then, as something pulls them: mostly down, so that nodes lose power. Where that can be read, the
        nodes' states say so.

        Raises:
            LevelsNotHeldError: What was switched off is on again. A block of ``with`` that ends with an error
                of its own gets this as a note to that.
            BackendError: A backend cannot be closed. The others are.
        """
        await _call(self._inventory, self._inventory.close)


async def _run(inventory: Inventory, plan: Plan[_T]) -> _T:
    from .power.operation import Operation

    return await drive_async(Operation(inventory).steps(plan), inventory.clock)


async def _call(inventory: Inventory, function: Callable[[], _T]) -> _T:
    """An access to the hardware, after which the subscribers are told."""
    try:
        return await drive_async(call(function))
    finally:
        inventory.deliver()


class AsyncNode(NodeHandle[AsyncCluster]):
    """One node. Equal to any other of the same name and cluster. Belongs to the cluster's event loop."""

    __slots__ = ()

    async def on(self, *, wait: Wait | None = None, boot_timeout: float = BOOT_TIMEOUT) -> None:
        """Switches it on. See `AsyncCluster.on`."""
        await self._cluster.on(self.name, wait=wait, boot_timeout=boot_timeout)

    async def off(self, *, now: bool = False, cut: bool = True) -> None:
        """Halts it, and cuts its power. See `AsyncCluster.off`."""
        await self._cluster.off(self.name, now=now, cut=cut)

    async def cycle(self, *, pause: float = CYCLE_PAUSE, now: bool = False) -> None:
        """Switches it off, and on again after ``pause`` seconds. See `AsyncCluster.cycle`."""
        await self._cluster.cycle(self.name, pause=pause, now=now)

    async def powered(self) -> bool:
        """Whether it has power, read from its line now. Raises `BackendError`."""
        read = partial(self._inventory.refresh, (self.name,))
        powered = await _call(self._inventory, read)
        return powered[self.name]

    async def state(self) -> State:
        """Its state, after a look at its line. Raises `BackendError`."""
        _ = await self.powered()
        return self._entry.state

    def console(self) -> AsyncConsole:
        """Makes its console, which is opened by its first call or by ``async with``.

        The user and the secret are those of the settings (`node`), and so is the device, unless a simulation
        has its own.

        Raises:
            SettingError: A setting of this node is invalid.
        """
        return self._access.console_async()

    def ssh(self) -> Ssh:
        """Returns its ssh, which runs commands on it: see `Ssh.run` and `Ssh.arun`.

        All callers share one, and its connection.

        Raises:
            SettingError: A setting of this node is invalid.
        """
        return self._access.ssh()

    async def report_probe(self, *, up: bool, power_ups: int | None = None) -> bool:
        """Takes over what a probe of it said: a node that is on is ready then, or is not any more.

        Args:
            up: What the probe said.
            power_ups: What `power_ups` was when the probe began. Where the node has got power since, the
                probe was answered by an earlier boot, and nothing is taken over.

        Returns:
            False where that was so.
        """
        report = partial(self._inventory.report_probe, self.name, up=up, power_ups=power_ups)
        return await _call(self._inventory, report)

    async def report_halt(self, *, under_way: bool) -> None:
        """Takes over that it was asked to halt: it is ``stopping`` then; or that its halt was called off."""
        report = partial(self._inventory.report_halt, self.name, under_way=under_way)
        await _call(self._inventory, report)


class AsyncFunction(Handle[AsyncCluster]):
    """Something that the board switches besides its nodes; of several boards, all at once."""

    __slots__ = ()

    @property
    def supported(self) -> bool:
        """Whether a board of this cluster has it. Where not, the rest raises `UnsupportedError`."""
        return any(self.name in bank.board.functions for bank in self._inventory.banks)

    async def is_on(self) -> bool:
        """Whether it is on (on all boards that have it), read now."""
        read = partial(self._inventory.function, self.name)
        return await _call(self._inventory, read)

    async def on(self) -> None:
        """Switches it on, on all boards that have it. Raises `UnsupportedError`, `BackendError`."""
        from .power import plans

        await _run(self._inventory, plans.set_function(self.name, on=True))

    async def off(self) -> None:
        """Switches it off, on all boards that have it. Raises `UnsupportedError`, `BackendError`."""
        from .power import plans

        await _run(self._inventory, plans.set_function(self.name, on=False))


class AsyncHub(AsyncFunction):
    """The USB hub, which can also be reset."""

    __slots__ = ()

    async def reset(self, *, pause: float = HUB_PAUSE) -> None:
        """Switches it off for ``pause`` seconds and on again, on again even when interrupted.

        All nodes vanish from USB meanwhile. Raises `SettingError`, `UnsupportedError`, `BackendError`.
        """
        from . import validate
        from .power import plans

        plan = plans.pulse_off(self.name, validate.seconds("pause", pause))
        await _run(self._inventory, plan)
