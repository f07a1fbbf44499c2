"""A pool for threads: `AsyncNodePool`, run in an event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from rpi_clusterhat import validate
from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.aio import AsyncCluster
from rpi_clusterhat.cluster import Cluster
from rpi_clusterhat.errors import ClosedError, PoolClosedError

from .aio import AsyncNodePool

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Mapping
    from random import Random
    from types import TracebackType

    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.nodes.boots import BootHistory
    from rpi_clusterhat.nodes.probes import Probe

    from .activity import Traffic
    from .leases import Lease
    from .pooled_node import PooledNode
    from .settings import PoolSettings

__all__ = ["NodePool", "ThreadLease"]

_T = TypeVar("_T")


class ThreadLease:
    """A `Lease` for threads. May be used from any thread."""

    def __init__(self, give: Callable[[Callable[[], object]], None], lease: Lease) -> None:
        """`NodePool.lease` makes them. give: has something done in the pool's thread."""
        self._give = give
        self._lease = lease
        self.node = lease.node
        """The node's name."""

    def touch(self) -> None:
        """See `Lease.touch`."""
        self._give(self._lease.touch)

    def failed(self) -> None:
        """See `Lease.failed`."""
        self._give(self._lease.failed)


class NodePool:
    """`AsyncNodePool` for threads: it runs in an event loop in a thread of its own.

        with NodePool(hat, probe=lambda name: TcpProbe(f"{name}.local", 80)) as pool:
            with pool.lease() as lease:
                ...

    May be used from any thread. A process that is forked from one with an open pool has to open its own.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        probe: Callable[[str], Probe],
        settings: PoolSettings | None = None,
        traffic: Traffic | None = None,
        history: BootHistory | None = None,
        random: Random | None = None,
    ) -> None:
        """See `AsyncNodePool`."""
        validate.instance("cluster", cluster, Cluster, "an open Cluster")
        self._pool = AsyncNodePool(
            AsyncCluster.of(cluster),
            probe=probe,
            settings=settings,
            traffic=traffic,
            history=history,
            random=random,
        )
        self._lock = threading.Lock()
        """Held while something is given to the event loop, so that this is before its end or refused."""
        self._opened = False
        self._of_the_parent: object = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        after_fork(self, NodePool._leave_to_the_parent)

    def _leave_to_the_parent(self) -> None:
        self._lock = threading.Lock()
        if self._loop is not None:
            # Kept: its end would close what the parent's still uses.
            self._of_the_parent = self._loop, self._thread
            self._loop = self._thread = None

    def __repr__(self) -> str:
        return repr(self._pool).replace("AsyncNodePool", "NodePool")

    @property
    def cluster(self) -> AsyncCluster:
        """The same open boards for asyncio, as the pool's thread uses them."""
        return self._pool.cluster

    @property
    def settings(self) -> PoolSettings:
        """How the pool behaves."""
        return self._pool.settings

    @property
    def nodes(self) -> Mapping[str, PooledNode]:
        """See `AsyncNodePool.nodes`. Single values may be read from any thread."""
        return self._pool.nodes

    @property
    def waiting(self) -> int:
        """See `AsyncNodePool.waiting`."""
        return self._pool.waiting

    @property
    def boot_time(self) -> float:
        """See `AsyncNodePool.boot_time`."""
        return self._pool.boot_time

    def now(self) -> float:
        """The time in seconds, by the clock of the cluster."""
        return self._pool.now()

    def estimate(self) -> float:
        """See `AsyncNodePool.estimate`."""
        return self._pool.estimate()

    def due_at(self, node: str) -> float:
        """See `AsyncNodePool.due_at`."""
        return self._pool.due_at(node)

    def subscribe(self, callback: Callable[[PoolEvent], object]) -> Callable[[], None]:
        """Has a function called with each `rpi_clusterhat.events.PoolEvent`, in the pool's thread.

        It must not wait for the pool. What it raises is logged and disturbs nothing.

        Returns:
            A function that ends the subscription.
        """
        return self._pool.subscribe(callback)

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> None:
        """See `AsyncNodePool.open`. Once only."""
        if self._opened:
            raise ClosedError("this pool was opened before: make a new one")
        self._opened = True
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="rpi-clusterhat pool", daemon=True)
        thread.start()
        self._loop, self._thread = loop, thread
        try:
            self._run(self._pool.open())
        except BaseException:
            self._end()
            raise

    @contextmanager
    def lease(
        self,
        node: str | None = None,
        *,
        key: str | None = None,
        passive: bool = False,
        exclude: set[str] | None = None,
        timeout: float | None = None,
    ) -> Generator[ThreadLease]:
        """Waits for a lease on a node, and releases it at the end of the block.

        Args:
            node: The name of the node; without one, the pool chooses.
            key: Whose request it is, for ``balance="hash"``.
            passive: Takes only a node that is ready, and is no activity.
            exclude: Names of nodes that are not to be chosen.
            timeout: Seconds to wait at most, instead of ``queue_timeout``.

        Returns:
            The lease, whose node is ready.

        Raises:
            SettingError: ``timeout`` is no number of seconds. Nothing was switched.
            PoolError: As `Lease.ask` and `Lease.wait` do.
            NodeNameError: The pool has no such node.
            ClosedError: The pool is not open.
        """
        lease = self._pool.lease(node, key=key, passive=passive, exclude=exclude, timeout=timeout)

        async def begin() -> None:
            if not lease.ask():
                await lease.wait()

        try:
            self._run(begin())
            yield ThreadLease(self._call, lease)
        finally:
            self._call(lease.release)

    def wake(self, node: str) -> bool:
        """See `AsyncNodePool.wake`. Raises `ClosedError` where it is not open, as the methods below do."""
        return self._run(_in_loop(self._pool.wake, node))

    def reinstate(self, node: str) -> bool:
        """See `AsyncNodePool.reinstate`."""
        return self._run(_in_loop(self._pool.reinstate, node))

    def power_off(self, node: str) -> bool:
        """See `AsyncNodePool.power_off`."""
        return self._run(_in_loop(self._pool.power_off, node))

    def refuse_waiting(self) -> None:
        """See `AsyncNodePool.refuse_waiting`."""
        self._run(_in_loop(self._pool.refuse_waiting))

    def drain(self, seconds: float) -> bool:
        """See `AsyncNodePool.drain`."""
        return self._run(self._pool.drain(seconds))

    def close(self, *, off: bool = False) -> None:
        """See `AsyncNodePool.close`. May be called again."""
        if self._loop is not None:
            try:
                self._run(self._pool.close(off=off))
            finally:
                self._end()

    def _call(self, work: Callable[[], object]) -> None:
        """Has something done in the pool's thread, without waiting for it; nothing while it is not open."""
        with self._lock:
            if self._loop is not None:
                self._loop.call_soon_threadsafe(work)

    def _run(self, work: Coroutine[Any, Any, _T]) -> _T:
        with self._lock:
            if self._loop is None:
                work.close()
                if self._of_the_parent is not None:
                    raise PoolClosedError(
                        "this pool is that of the process that this one was forked from: open one here"
                    )
                if self._opened:
                    raise PoolClosedError("this pool is closed: make a new one")
                raise ClosedError("this pool is not open: use it in a with statement")
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise PoolClosedError("the pool was closed meanwhile") from None
        except BaseException:  # Ctrl-C too: what was begun is given up, not left behind
            future.cancel()
            raise

    def _end(self) -> None:
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.run_until_complete(_end_tasks())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()


async def _end_tasks() -> None:
    """Who came in the last moment is told, and nothing is left of an opening or a closing cut short."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _in_loop(call: Callable[..., _T], *args: Any) -> _T:
    return call(*args)
