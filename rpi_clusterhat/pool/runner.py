"""Does what a scheduler asks for, and takes the cluster's events to it. Belongs to one event loop."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.errors import ClusterHatError, LockTimeoutError, SupersededError, TransientBusError
from rpi_clusterhat.events import State, StateChanged
from rpi_clusterhat.nodes.probes import await_until_up
from rpi_clusterhat.power.states import has_power
from rpi_clusterhat.waiting import drive_async

from .actions import BackOff, Boot, CallOff, Check, CutPower, WatchIdle
from .states import PoolState, is_starting

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping

    from rpi_clusterhat.aio import AsyncCluster
    from rpi_clusterhat.events import Event
    from rpi_clusterhat.nodes.probes import Probe

    from .actions import Action
    from .scheduler import Scheduler
    from .traffic_watch import TrafficWatch

__all__ = ["LOOK_INTERVAL", "Runner"]

LOOK_INTERVAL = 5.0
"""Seconds between two reads of the lines, at which the cluster finds what others have switched: chosen, not
measured."""

_log = logging.getLogger("rpi_clusterhat")


class Runner:
    """One task for each node that is being switched, probed or waited for."""

    def __init__(
        self,
        cluster: AsyncCluster,
        scheduler: Scheduler,
        probes: Mapping[str, Probe],
        traffic: TrafficWatch | None,
    ) -> None:
        self.cluster = cluster
        self.scheduler = scheduler
        self._probes = probes
        self._traffic = traffic
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """The last one begun for each node: what an earlier one has to say does not count any more."""
        self._running: set[asyncio.Task[None]] = set()
        self._switching: set[str] = set()
        """The nodes that this pool is just switching: it learns from the call how that ended."""
        self._unsubscribe: Callable[[], None] | None = None
        self._ended = False

    async def begin(self) -> None:
        """Finds which nodes have power, and is told from now on. Raises `BackendError` and `LockError`."""
        loop = asyncio.get_running_loop()

        def heard(event: Event) -> None:
            if isinstance(event, StateChanged):
                if _is_running(loop):
                    self._take(event)
                else:  # a thread that uses the same cluster
                    with suppress(RuntimeError):  # the loop has ended
                        loop.call_soon_threadsafe(self._take, event)

        await self.cluster.check_rails()  # said now, not to the first who waits for a node
        self._unsubscribe = self.cluster.subscribe(heard)
        status = await self.cluster.status()
        for name, node in status.nodes.items():
            if node.powered:
                self.scheduler.found_on(name)  # the first look at a node is no event
        self._spawn(self._look())
        if self._traffic is not None:
            self._spawn(self._traffic.run())
        self.act()

    async def end(self) -> None:
        """Ends all tasks. Nothing is switched from now on, but a node that was asked to halt goes off."""
        self._ended = True
        if self._unsubscribe is not None:
            self._unsubscribe()
        halting = {self._tasks[name] for name in self._switching if not self.cluster[name].call_off_halt()}
        tasks = list(self._running)
        for task in tasks:
            if task not in halting:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What the cluster says ------------------------------------------------------------------------------

    def _take(self, event: StateChanged) -> None:
        """An event moves the node, unless it is of this pool's own doing."""
        name = event.node
        if self._ended or (event.cause == "request" and name in self._switching):
            return
        scheduler = self.scheduler
        before, now = has_power(event.old), has_power(event.new)
        if now is True and before is not True:
            scheduler.found_on(name)
        elif now is False and before is not False:
            was_starting = is_starting(scheduler.nodes[name].state)
            scheduler.lost(name)
            if was_starting and scheduler.nodes[name].state is PoolState.OFF:
                self._abandon(name)
        elif event.old is State.READY and now is True:
            scheduler.health_check(name)  # another probe had no answer, or it was asked to halt
        self.act()

    async def _look(self) -> None:
        """Has the cluster find what others have switched."""
        while True:
            await self.cluster.clock.asleep(LOOK_INTERVAL)
            try:
                await self.cluster.status()
            except Exception as error:  # noqa: BLE001 - a stranger's backend may raise anything; the next may do
                _log.warning("the nodes' power cannot be read: %s", error)

    # Doing what was decided -----------------------------------------------------------------------------

    def act(self) -> None:
        """Does what the decisions ask for."""
        actions = self.scheduler.actions
        if self._ended:  # a lease that is given back after the end switches nothing
            actions.clear()
        while actions:
            action = actions.popleft()
            if isinstance(action, WatchIdle):
                self._spawn(self._watch_idle(action.node))
            elif isinstance(action, CallOff):
                self.cluster[action.node].call_off_halt()
            else:
                self._hand(action)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return task

    def _hand(self, action: Boot | Check | CutPower | BackOff) -> None:
        """One thing at a time for each node: what is newer ends what was begun."""
        name = action.node
        before = self._tasks.get(name)
        if before is not None and before is not asyncio.current_task():
            before.cancel()  # else these are its last words
        self._tasks[name] = self._spawn(self._do(action, before))

    def _abandon(self, name: str) -> None:
        """There is nothing to probe any more."""
        task = self._tasks.get(name)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    def _report(self, tell: Callable[..., None], name: str, *details: Any, **more: Any) -> None:
        """Tells the scheduler how something ended, unless that is out of date."""
        if self._tasks.get(name) is asyncio.current_task():
            tell(name, *details, **more)
            self.act()

    async def _do(self, action: Action, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait((before,))
        name, scheduler = action.node, self.scheduler
        try:
            if isinstance(action, Boot):
                async with self._listening(name) as last_lines:
                    with self._switches(name):
                        await self.cluster.on(name)
                    self._report(scheduler.powered, name)
                    await self._probe(name, last_lines)
            elif isinstance(action, Check):
                await self._check(name)
            elif isinstance(action, CutPower):
                await self._cut(name, action.reason)
            elif isinstance(action, BackOff):
                if action.cut:
                    await self._cut(name, "failure")
                    if self._ended or self._tasks.get(name) is not asyncio.current_task():
                        return
                if action.seconds < float("inf"):  # else a person ends it
                    await self.cluster.clock.asleep(action.seconds)
                    self._report(scheduler.back_off_over, name)
        except Exception as error:  # noqa: BLE001 - a stranger's probe may raise anything: who waits is told
            self._report(scheduler.failed, name, _reason(name, error), may_pass=_may_pass(error))

    @contextmanager
    def _switches(self, name: str) -> Generator[None]:
        self._switching.add(name)
        try:
            yield
        finally:
            self._switching.discard(name)

    async def _check(self, name: str) -> None:
        node = self.cluster[name]
        if not await node.powered():
            self._report(self.scheduler.lost, name)
            return
        self._report(self.scheduler.found_on, name)
        # A failure is kept, and the cluster tells nothing of it; what nobody drives may go off at any time.
        if node.failure is not None or not node.driven:
            with self._switches(name):
                await node.on()
        await node.report_probe(up=False)
        await self._probe(name)

    @asynccontextmanager
    async def _listening(self, name: str) -> AsyncGenerator[Callable[[], tuple[str, ...]]]:
        """Reads the console of a node meanwhile, where one is set. Yields what gives its last lines."""
        listener = self.cluster[name].console_listener()
        if listener is None:
            yield _no_lines
            return
        task = asyncio.get_running_loop().create_task(drive_async(listener.steps(), self.cluster.clock))
        try:
            yield listener.last_lines
        finally:
            task.cancel()
            await asyncio.wait((task,))
            if not task.cancelled() and (error := task.exception()) is not None:
                _log.warning("the console of %s cannot be read: %s", name, error)

    async def _probe(self, name: str, last_lines: Callable[[], tuple[str, ...]] | None = None) -> None:
        settings = self.scheduler.settings
        node = self.cluster[name]
        while True:
            power_ups = node.power_ups
            verdict = await await_until_up(
                self._probes[name],
                timeout=settings.boot_timeout,
                interval=settings.probe_interval,
                ready_after=settings.ready_after,
                clock=self.cluster.clock,
            )
            if not verdict.up:
                lines = last_lines() if last_lines is not None else ()
                reason = f"{verdict.reason}; last on its console: {lines[-1]!r}" if lines else verdict.reason
                self._report(self.scheduler.failed, name, reason, timed_out=True, last_lines=lines)
                return
            if await node.report_probe(up=True, power_ups=power_ups):
                self._report(self.scheduler.ready, name)
                return

    async def _cut(self, name: str, reason: str) -> None:
        try:
            with self._switches(name):
                await self.cluster.off(name)
        except SupersededError:
            self._report(self.scheduler.called_off, name)
        except Exception as error:  # noqa: BLE001 - a stranger's backend may raise anything: it is told and tried again
            _log.warning("%s cannot be switched off: %s", name, error)
            tell, text = self.scheduler.power_off_failed, _reason(name, error)
            self._report(tell, name, text, may_pass=_may_pass(error))
        else:
            self._report(self.scheduler.powered_off, name, reason)
            # While it was being halted, another caller may have cut its power and given it again.
            if has_power(self.cluster[name].last_state):
                self._report(self.scheduler.found_on, name)

    async def _watch_idle(self, name: str) -> None:
        scheduler, clock = self.scheduler, self.cluster.clock
        while scheduler.check_idle(name):  # at first, too: meanwhile the node may have got a lease
            await clock.asleep(scheduler.due_at(name) - clock.now())
            if self._traffic is not None:
                self._traffic.look(name)
        self.act()


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether this is the thread of the event loop, which runs."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _no_lines() -> tuple[str, ...]:
    return ()


def _may_pass(error: Exception) -> bool:
    return isinstance(error, TransientBusError | LockTimeoutError)


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, ClusterHatError):
        return str(error)
    _log.error("%s failed", name, exc_info=error)
    return f"{type(error).__name__}: {error}"
