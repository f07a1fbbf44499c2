"""A lease on a node: routing, power and idle time in one.

async with AsyncNodePool(hat, probe=lambda name: TcpProbe(f"{name}.local", 80)) as pool:
    async with pool.lease() as lease:
        ...                     # lease.node is ready, and stays on until the lease is given back
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Self

from rpi_clusterhat.errors import (
    ClusterHatError,
    LeaseTimeoutError,
    LockTimeoutError,
    TransientBusError,
)
from rpi_clusterhat.nodes.probes import await_until_up
from rpi_clusterhat.power.states import State

from .scheduler import Arm, Boot, Check, Claim, PoolSettings, Recover, Rest, Scheduler

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping
    from random import Random
    from types import TracebackType

    from rpi_clusterhat.aio import AsyncCluster
    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.nodes.probes import Probe

    from .activity import Traffic
    from .scheduler import Action, Member

__all__ = ["AsyncNodePool", "Lease"]


LOOK_INTERVAL = 5.0
"""Seconds between two looks at the lines, which find what others have switched: chosen, not measured."""

TRAFFIC_INTERVAL = 30.0
"""Seconds between two looks at the network counters: chosen, not measured."""

_log = logging.getLogger("rpi_clusterhat")


class Lease(Claim):
    """The right to use a node; while it lasts the node stays on. Belongs to the pool's event loop.

    Either ``async with pool.lease() as lease``, or step by step: `ask`, `wait` where that said False, and
    `release` at the end in any case.
    """

    __slots__ = ("_future", "_pool")

    def __init__(
        self,
        pool: AsyncNodePool,
        wanted: str | None,
        *,
        key: str | None,
        passive: bool,
        exclude: set[str] | None,
    ) -> None:
        super().__init__(wanted, key=key, passive=passive)
        self.exclude = exclude
        self._pool = pool
        self._future: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Lease {self.member.name if self.member else 'of no node yet'}>"

    @property
    def node(self) -> str:
        """The node's name: the one that it has, or that it waits for; empty while it waits for any."""
        return "" if self.member is None else self.member.name

    def ask(self) -> bool:
        """Whether it has its node at once. False: the node starts, or all are full; then `wait`.

        Raises `NodeNameError`, `QueueFullError`, `NoNodeError`, `NotReadyError`, `PoolClosedError`.
        """
        core = self._pool.core
        granted = core.ask(self)
        if not granted:
            self._future = asyncio.get_running_loop().create_future()
        if core.actions:
            self._pool.act()
        return granted

    def settled(self) -> None:
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - of the pool's clock
        """Waits for the node; at most ``queue_timeout`` unless another time is given.

        Raises `LeaseTimeoutError`, `BootError`, `NoNodeError` and `PoolClosedError`; then it is over,
        as it is when this is cancelled. A boot under way goes on in any case.
        """
        future, pool = self._future, self._pool
        if future is None:
            return
        seconds = pool.settings.queue_timeout if timeout is None else timeout
        try:
            if not future.done():
                sleeper = asyncio.ensure_future(pool.cluster.clock.asleep(seconds))
                try:
                    await asyncio.wait((future, sleeper), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    sleeper.cancel()
        except BaseException:
            self.release()
            raise
        if not future.done():
            node, retry_after = self.node, pool.core.estimate(self.member)
            self.release()
            what = f"{node} was not ready" if node else "no node was free"
            raise LeaseTimeoutError(f"{what} within {seconds:g} s", retry_after)
        if self.error is not None:
            raise self.error.with_traceback(None)  # it is of all who waited: none keeps the others' frames

    def estimate(self) -> float:
        """Seconds until its node is likely to be ready, by the boots that this pool has seen.

        While it waits for any node: until the next one that is starting is ready. 0 or more.
        """
        return self._pool.core.estimate(self.member)

    def touch(self) -> None:
        """Something went to the node or came from it: its idle time begins anew."""
        member = self.member
        if member is not None and not self.passive:
            member.last_active = self._pool.now()

    def failed(self) -> None:
        """The node did not answer as it should: it is looked at before anybody else gets it."""
        if self.member is not None:
            self._pool.core.suspect(self.member.name)
            self._pool.act()

    def release(self) -> None:
        """Gives the node back, or ends the wait. May be called again."""
        core = self._pool.core
        core.release(self)
        if core.actions:
            self._pool.act()

    async def __aenter__(self) -> Self:
        if not self.ask():
            await self.wait()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


class AsyncNodePool:
    """The nodes of a cluster, each switched on when somebody needs it and off when nobody has for a while.

    Belongs to one event loop. Nodes that have power are taken over when it opens, and are left as they are
    when it closes.
    """

    def __init__(
        self,
        cluster: AsyncCluster,
        *,
        probe: Callable[[str], Probe],
        settings: PoolSettings | None = None,
        traffic: Traffic | None = None,
        random: Random | None = None,
    ) -> None:
        """probe: makes the probe that says whether the node of a name is ready. traffic: what moves on the
        nodes' networks counts as activity, too. random: for ``balance``.

        Raises `SettingError`.
        """
        self.cluster = cluster
        self.settings = settings or PoolSettings()
        self.now = cluster.clock.now
        self.core = Scheduler(cluster.names, self.settings, self.now, random=random)
        """The decisions, for those who extend the library."""
        self._probes = {name: probe(name) for name in cluster.names}
        self._traffic = traffic
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._others: set[asyncio.Task[None]] = set()
        self._closed = False

    def __repr__(self) -> str:
        nodes = " ".join(f"{m.name}={m.state!s}" for m in list(self.members.values())[:16])
        return f"<AsyncNodePool {nodes}{' …' if len(self.members) > 16 else ''}>"

    @property
    def members(self) -> Mapping[str, Member]:
        """What is known of each node, by name. To be read."""
        return self.core.members

    @property
    def waiting(self) -> int:
        """Leases that wait for a node."""
        return self.core.waiting

    def subscribe(self, callback: Callable[[PoolEvent], object]) -> None:
        """Calls back with each `rpi_clusterhat.events.PoolEvent`, in the event loop. It must not raise."""
        self.core.subscribe(callback)

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Looks which nodes have power, and begins to watch them. Raises `BackendError`."""
        status = await self.cluster.status()
        for name, node in status.nodes.items():
            if node.powered:
                self.core.found_on(name)
        self._spawn(self._watch())
        if self._traffic is not None:
            self._spawn(self._count())
        self.act()

    def lease(
        self,
        node: str | None = None,
        *,
        key: str | None = None,
        passive: bool = False,
        exclude: set[str] | None = None,
    ) -> Lease:
        """A lease on a node of the pool's choice, or on the one named.

        key: for ``balance="hash"``. passive: takes only a node that is ready, and is no activity. exclude:
        nodes that are not to be chosen.
        """
        return Lease(self, node, key=key, passive=passive, exclude=exclude)

    def wake(self, node: str) -> bool:
        """Switches a node on by hand; False where it is on, starting, or failed lately."""
        begun = self.core.wake(node)
        self.act()
        return begun

    @property
    def boot_time(self) -> float:
        """Seconds that a boot is expected to take, from asking for it: the slowest of the last eight, or
        ``boot_estimate`` as long as there was none."""
        return max(self.core.boots, default=self.settings.boot_estimate)

    def estimate(self) -> float:
        """Seconds until the next node is likely to be ready: of those that are starting, or a whole
        `boot_time`."""
        return self.core.estimate()

    def due_at(self, node: str) -> float:
        """When a node will be switched off if nothing happens until then, in the seconds of `now`.

        ``inf`` while it is in use or not ready, and where ``idle_timeout`` is ``inf``. Raises
        `NodeNameError`.
        """
        return self.core.due_at(self.cluster[node].name)

    def refuse_waiting(self) -> None:
        """Gives no more leases, and tells those who wait for a node so, with `PoolClosedError`. Leases that
        are in use stay."""
        self.core.close()

    def power_off(self, node: str) -> bool:
        """Switches a node off by hand; False where it is in use, off, or on its way there. Raises
        `NodeNameError`."""
        begun = self.core.rest(self.cluster[node].name)
        self.act()
        return begun

    def rest(self, node: str) -> bool:
        """See `power_off`."""
        begun = self.core.rest(node)
        self.act()
        return begun

    async def drain(self, seconds: float) -> bool:
        """Gives no more leases, and waits until all are back, at most so long; whether they are."""
        self.core.closed = True
        end = self.now() + seconds
        while any(member.held for member in self.members.values()) or self.waiting:
            if self.now() >= end:
                return False
            await self.cluster.clock.asleep(min(0.05, max(0.001, end - self.now())))
        return True

    async def close(self, *, off: bool = False) -> None:
        """Ends boots under way and idle times; who waits is told. off: switches all nodes off."""
        self._closed = True
        self.core.close()
        tasks = [*self._tasks.values(), *self._others]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if off:
            await self.cluster.off(*self.members)
            for name in self.members:
                self.core.lost(name, "close")

    # Doing what was decided -----------------------------------------------------------------------------

    def act(self) -> None:
        """Does what the decisions ask for: for those who call `core` themselves."""
        actions = self.core.actions
        if self._closed:  # a lease that is given back after the end switches nothing
            actions.clear()
        while actions:
            action = actions.popleft()
            if isinstance(action, Arm):
                self._spawn(self._wait_idle(action.node))
            else:
                self._hand(action)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._others.add(task)
        task.add_done_callback(self._others.discard)

    def _hand(self, action: Boot | Check | Rest | Recover) -> None:
        """One thing at a time for each node: what is newer ends what was begun."""
        name = action.node
        before = self._tasks.get(name)
        if before is asyncio.current_task():
            before = None  # its last words
        elif before is not None:
            before.cancel()
        self._tasks[name] = asyncio.get_running_loop().create_task(self._do(action, before))

    async def _do(self, action: Action, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        name = action.node
        try:
            if isinstance(action, Boot):
                await self.cluster.on(name)
                self.core.powered(name)
                await self._probe(name)
            elif isinstance(action, Check):
                if await self.cluster[name].powered():
                    await self.cluster[name].report_probe(up=False)
                    await self._probe(name)
                else:
                    self.core.lost(name)
            elif isinstance(action, Rest):
                await self.cluster.off(name)
                self.core.rested(name, action.reason)
            elif isinstance(action, Recover):
                await self._recover(action)
        except ClusterHatError as error:
            may_pass = isinstance(error, TransientBusError | LockTimeoutError)
            self.core.failed(name, str(error), may_pass=may_pass)
        except Exception as error:  # noqa: BLE001 - a stranger's probe may raise anything: who waits is told
            _log.exception("%s failed", name)
            self.core.failed(name, f"{type(error).__name__}: {error}")
        self.act()

    async def _probe(self, name: str) -> None:
        settings = self.settings
        verdict = await await_until_up(
            self._probes[name],
            timeout=settings.boot_timeout,
            interval=settings.probe_interval,
            ready_after=settings.ready_after,
            clock=self.cluster.clock,
        )
        if verdict.up:
            await self.cluster[name].report_probe(up=True)
            self.core.ready(name)
        else:
            self.core.failed(name, verdict.reason, timed_out=True)

    async def _recover(self, action: Recover) -> None:
        name = action.node
        if action.cut:
            try:
                await self.cluster.off(name)
                self.core.cut(name)
            except Exception as error:  # noqa: BLE001 - a stranger's backend may raise anything: it is left alone
                _log.warning("%s failed and cannot be switched off: %s", name, error)
        await self.cluster.clock.asleep(action.seconds)
        self.core.recovered(name)

    async def _wait_idle(self, name: str) -> None:
        core = self.core
        while core.due(name):  # first of all: since this was asked for, the node may have got a lease
            await self.cluster.clock.asleep(core.due_at(name) - self.now())
            self._look_at_traffic(name)
        self.act()

    async def _watch(self) -> None:
        """Finds what others have switched."""
        while True:
            await self.cluster.clock.asleep(LOOK_INTERVAL)
            before = {name: (m.state, m.powered_since) for name, m in self.members.items()}
            try:
                status = await self.cluster.status()
            except Exception as error:  # noqa: BLE001 - as above, and the next look may find all well
                _log.warning("the nodes' power cannot be read: %s", error)
                continue
            for name, node in status.nodes.items():
                member = self.members[name]
                if before[name] != (member.state, member.powered_since):
                    continue  # it was being switched meanwhile
                if node.powered:
                    self.core.found_on(name)
                elif member.state in (State.ON, State.READY):
                    self.core.lost(name)
            self.act()

    async def _count(self) -> None:
        while True:
            await self.cluster.clock.asleep(TRAFFIC_INTERVAL)
            for name, member in self.members.items():
                if member.powered_since is not None:
                    self._look_at_traffic(name)

    def _look_at_traffic(self, name: str) -> None:
        try:
            if self._traffic is not None and self._traffic.active(name, self.now()):
                self.core.active(name)
        except Exception as error:  # noqa: BLE001 - as above: the node's idle time goes by its leases then
            _log.warning("the traffic of %s cannot be read: %s", name, error)
