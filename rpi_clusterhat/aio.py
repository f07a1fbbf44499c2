"""`AsyncCluster` and `AsyncNode`: the same for asyncio, from the same plans.

Accesses to the hardware run in worker threads, waiting in the event loop.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

from .clock import SYSTEM
from .cluster import CYCLE_PAUSE, HUB_PAUSE, ClusterBase
from .power import plans
from .power.bank import open_banks
from .power.executor import Again, Executor, Operation, is_over
from .settings import load_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import TracebackType

    from .clock import Clock
    from .cluster import Cluster, Status
    from .power.bank import Bank
    from .power.inventory import NodeEntry
    from .power.states import State

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


async def _drive(executor: Executor, make_plan: Callable[[], plans.Plan]) -> None:
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
                    answer = await _perform(executor, operation, step)
            except StopIteration:
                return
            except BaseException as caught:
                if is_over(plan):
                    raise
                error = caught
    finally:
        executor.finish(operation)
        executor.deliver()


async def _perform(executor: Executor, operation: Operation, step: plans.Step) -> Any:
    if isinstance(step, plans.Sleep):
        executor.deliver()
        return await executor.clock.asleep(step.seconds)
    while isinstance(answer := await _in_thread(executor.perform, operation, step), Again):
        executor.deliver()
        await executor.clock.asleep(answer.seconds)
    executor.deliver()
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
        new._executor = cluster._executor  # noqa: SLF001
        return new

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    def __getitem__(self, name: str) -> AsyncNode:
        """The node of this name. Raises `NodeNameError`."""
        return AsyncNode(self, self._executor, self._check_name(name))

    def __iter__(self) -> Iterator[AsyncNode]:
        return (AsyncNode(self, self._executor, name) for name in self._executor.names)

    async def on(self, *nodes: str) -> None:
        """See `rpi_clusterhat.Cluster.on`."""
        names = self.select(*nodes)
        await _drive(self._executor, lambda: self._executor.plan_on(names))

    async def off(self, *nodes: str) -> None:
        """See `rpi_clusterhat.Cluster.off`."""
        names = self.select(*nodes)
        await _drive(self._executor, lambda: self._executor.plan_off(names))

    async def cycle(self, *nodes: str, pause: float = CYCLE_PAUSE) -> None:
        """See `rpi_clusterhat.Cluster.cycle`."""
        names = self.select(*nodes)
        await _drive(self._executor, lambda: self._executor.plan_cycle(names, pause))

    async def init(self) -> bool:
        """See `rpi_clusterhat.Cluster.init`."""
        found: list[int] = []
        await _drive(self._executor, lambda: self._executor.plan_init(found))
        return bool(found)

    async def status(self) -> Status:
        """Reads all boards. Never writes."""
        try:
            return await _in_thread(self._status)
        finally:
            self._executor.deliver()

    @property
    def alert(self) -> AsyncFunction:
        """The ALERT LED."""
        return AsyncFunction(self, self._executor, "alert")

    @property
    def led(self) -> AsyncFunction:
        """The nodes' LEDs: on lets them shine."""
        return AsyncFunction(self, self._executor, "led")

    @property
    def hub(self) -> AsyncHub:
        """The USB hub between the nodes and the controller."""
        return AsyncHub(self, self._executor, "hub")

    @property
    def write_protect(self) -> AsyncFunction:
        """The write protection of the HAT's EEPROM."""
        return AsyncFunction(self, self._executor, "wp")

    async def close(self) -> None:
        """See `rpi_clusterhat.Cluster.close`."""
        await _in_thread(self._executor.close)


class _Handle:
    __slots__ = ("_cluster", "_executor", "name")

    def __init__(self, cluster: AsyncCluster, executor: Executor, name: str) -> None:
        self._cluster = cluster
        self._executor = executor
        self.name = name


class AsyncNode(_Handle):
    """One node. As cheap as its name."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<AsyncNode {self.name} {self._entry.state!s}>"

    @property
    def _entry(self) -> NodeEntry:
        return self._executor.entries[self.name]

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
            return (await _in_thread(self._executor.refresh, (self.name,)))[self.name]
        finally:
            self._executor.deliver()

    async def state(self) -> State:
        """Its state, after a look at its line."""
        await self.powered()
        return self._entry.state

    async def report_probe(self, *, up: bool) -> None:
        """See `rpi_clusterhat.Node.report_probe`."""
        await _in_thread(lambda: self._executor.report_probe(self.name, up=up))
        self._executor.deliver()

    @property
    def desired(self) -> bool | None:
        """Whether it was last asked to be on; None where this cluster was not asked."""
        return self._entry.desired

    @property
    def failure(self) -> str | None:
        """Why it is in the state ``failed``."""
        return self._entry.failure


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
            return await _in_thread(self._executor.function, self.name)
        finally:
            self._executor.deliver()

    async def on(self) -> None:
        await _drive(self._executor, lambda: self._executor.plan_function(self.name, on=True))

    async def off(self) -> None:
        await _drive(self._executor, lambda: self._executor.plan_function(self.name, on=False))


class AsyncHub(AsyncFunction):
    """The USB hub, which can also be reset."""

    __slots__ = ()

    async def reset(self, *, pause: float = HUB_PAUSE) -> None:
        """See `rpi_clusterhat.cluster.Hub.reset`."""
        await _drive(self._executor, lambda: self._executor.plan_hub_reset(pause))
