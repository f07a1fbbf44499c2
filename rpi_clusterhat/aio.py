"""`AsyncCluster` and `AsyncNode`: the same for asyncio, from the same plans.

Accesses to the hardware run in worker threads, waiting in the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

from . import plans
from .clock import SYSTEM
from .cluster import CYCLE_PAUSE, HUB_PAUSE, ClusterBase
from .config import load_settings
from .engine import Again, Engine, Operation, is_over
from .opening import open_banks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from .clock import Clock
    from .cluster import Cluster, Status
    from .ledger import NodeRecord
    from .opening import Bank
    from .power import State

__all__ = ["AsyncCluster", "AsyncFunction", "AsyncHub", "AsyncNode"]

_T = TypeVar("_T")


async def _in_thread(call: Callable[..., _T], *args: Any) -> _T:
    """Runs a call in a worker thread and sees it through: a cancellation is let out only when the call is
    over, so that the plan's next step does not meet it half way."""
    future = asyncio.get_running_loop().run_in_executor(None, call, *args)
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001
            break  # the call's own: raised by result() below
    if cancelled is not None:
        if not future.cancelled():
            future.exception()  # looked at, so that asyncio does not report it as lost
        raise cancelled
    return future.result()


async def _drive(engine: Engine, make_plan: Callable[[], plans.Plan]) -> None:
    """Runs a plan in the event loop. What goes wrong is thrown into the plan, cancellation included."""
    operation = Operation()
    answer: Any = None
    error: BaseException | None = None
    try:
        plan = await _in_thread(make_plan)
        while True:
            try:
                while True:  # in the try itself: no line between two steps is outside of it
                    step = plan.send(answer) if error is None else plan.throw(error)
                    answer = error = None
                    answer = await _perform(engine, operation, step)
            except StopIteration:
                return
            except BaseException as caught:
                if is_over(plan):
                    raise
                error = caught
    finally:
        engine.finish(operation)
        engine.deliver()


async def _perform(engine: Engine, operation: Operation, step: plans.Step) -> Any:
    if isinstance(step, plans.Sleep):
        engine.deliver()
        return await engine.clock.asleep(step.seconds)
    while isinstance(answer := await _in_thread(engine.perform, operation, step), Again):
        engine.deliver()
        await engine.clock.asleep(answer.seconds)
    engine.deliver()
    return answer


class AsyncCluster(ClusterBase):
    """The nodes of one or several Cluster HATs, for asyncio.

        async with await AsyncCluster.open() as hat:
            await hat.on("p1", "p3")

    All methods belong to one event loop; subscribers are called in it. A cancelled task leaves the nodes in a
    state that the next look reports truthfully: what was on stays on, what waited goes no further.
    """

    @classmethod
    async def open(
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
        config: str | None = None,
        clock: Clock = SYSTEM,
    ) -> Self:
        """See `rpi_clusterhat.Cluster.open`."""
        said = {
            "board": board,
            "backend": backend,
            "options": options,
            "boards": boards,
            "nodes": nodes,
            "spacing": spacing,
            "rail": rail,
            "lock_dir": lock_dir,
        }
        banks: list[Bank] = []
        try:
            await _in_thread(lambda: banks.extend(open_banks(load_settings(said, config=config), clock)))
        except BaseException:
            for bank in banks:  # open by now, and nobody's: the task was cancelled meanwhile
                bank.backend.close()
            raise
        return cls(banks, clock)

    @classmethod
    def of(cls, cluster: Cluster) -> Self:
        """The same open boards for asyncio. Either may be closed: then both are."""
        new = cls.__new__(cls)
        new._engine = cluster._engine  # noqa: SLF001
        return new

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __getitem__(self, name: str) -> AsyncNode:
        """The node of this name. Raises `NodeNameError`."""
        return AsyncNode(self, self._engine, self._check_name(name))

    def __iter__(self) -> Iterator[AsyncNode]:
        return (AsyncNode(self, self._engine, name) for name in self._engine.names)

    async def on(self, *nodes: str) -> None:
        """See `rpi_clusterhat.Cluster.on`."""
        names = self.select(*nodes)
        await _drive(self._engine, lambda: self._engine.plan_on(names))

    async def off(self, *nodes: str) -> None:
        """See `rpi_clusterhat.Cluster.off`."""
        names = self.select(*nodes)
        await _drive(self._engine, lambda: self._engine.plan_off(names))

    async def cycle(self, *nodes: str, pause: float = CYCLE_PAUSE) -> None:
        """See `rpi_clusterhat.Cluster.cycle`."""
        names = self.select(*nodes)
        await _drive(self._engine, lambda: self._engine.plan_cycle(names, pause))

    async def init(self) -> bool:
        """See `rpi_clusterhat.Cluster.init`."""
        found: list[int] = []
        await _drive(self._engine, lambda: self._engine.plan_init(found))
        return bool(found)

    async def status(self) -> Status:
        """Reads all boards. Never writes."""
        try:
            return await _in_thread(self._status)
        finally:
            self._engine.deliver()

    @property
    def alert(self) -> AsyncFunction:
        """The ALERT LED."""
        return AsyncFunction(self, self._engine, "alert")

    @property
    def led(self) -> AsyncFunction:
        """The nodes' LEDs: on lets them shine."""
        return AsyncFunction(self, self._engine, "led")

    @property
    def hub(self) -> AsyncHub:
        """The USB hub between the nodes and the controller."""
        return AsyncHub(self, self._engine, "hub")

    @property
    def write_protect(self) -> AsyncFunction:
        """The write protection of the HAT's EEPROM."""
        return AsyncFunction(self, self._engine, "wp")

    async def close(self) -> None:
        """See `rpi_clusterhat.Cluster.close`."""
        await _in_thread(self._engine.close)


class _Handle:
    __slots__ = ("_cluster", "_engine", "name")

    def __init__(self, cluster: AsyncCluster, engine: Engine, name: str) -> None:
        self._cluster = cluster
        self._engine = engine
        self.name = name


class AsyncNode(_Handle):
    """One node. As cheap as its name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<AsyncNode {self.name} {self._record.state!s}>"

    @property
    def _record(self) -> NodeRecord:
        return self._engine.records[self.name]

    async def on(self) -> None:
        """See `AsyncCluster.on`."""
        await self._cluster.on(self.name)

    async def off(self) -> None:
        """See `AsyncCluster.off`."""
        await self._cluster.off(self.name)

    async def cycle(self, *, pause: float = CYCLE_PAUSE) -> None:
        """See `AsyncCluster.cycle`."""
        await self._cluster.cycle(self.name, pause=pause)

    async def powered(self) -> bool:
        """Whether it has power, read from its line now."""
        try:
            return (await _in_thread(self._engine.refresh, (self.name,)))[self.name]
        finally:
            self._engine.deliver()

    async def state(self) -> State:
        """Its state, after a look at its line."""
        await self.powered()
        return self._record.state

    async def probed(self, *, up: bool) -> None:
        """See `rpi_clusterhat.Node.probed`."""
        await _in_thread(lambda: self._engine.probed(self.name, up=up))
        self._engine.deliver()

    @property
    def desired(self) -> bool | None:
        """Whether it was last asked to be on; None where this cluster was not asked."""
        return self._record.desired

    @property
    def failure(self) -> str | None:
        """Why it is in the state ``failed``."""
        return self._record.failure


class AsyncFunction(_Handle):
    """Something that the board switches besides its nodes; of several boards, all at once."""

    __slots__ = ()

    @property
    def supported(self) -> bool:
        """Whether a board of this cluster has it. Where not, the rest raises `UnsupportedError`."""
        return any(self.name in board.functions for board in self._cluster.boards)

    async def is_on(self) -> bool:
        """Whether it is on (on all boards that have it), read now."""
        try:
            return await _in_thread(self._engine.function, self.name)
        finally:
            self._engine.deliver()

    async def on(self) -> None:
        await _drive(self._engine, lambda: self._engine.plan_function(self.name, on=True))

    async def off(self) -> None:
        await _drive(self._engine, lambda: self._engine.plan_function(self.name, on=False))


class AsyncHub(AsyncFunction):
    """The USB hub, which can also be reset."""

    __slots__ = ()

    async def reset(self, *, pause: float = HUB_PAUSE) -> None:
        """See `rpi_clusterhat.cluster.Hub.reset`."""
        await _drive(self._engine, lambda: self._engine.plan_hub_reset(pause))
