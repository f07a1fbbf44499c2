"""A lease: the right to use a node of a pool, for as long as it lasts."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from rpi_clusterhat import validate
from rpi_clusterhat.errors import LeaseTimeoutError

from .queue import LeaseRequest

if TYPE_CHECKING:
    from types import TracebackType

    from .runner import Runner

__all__ = ["Lease"]


class Lease(LeaseRequest):
    """The right to use a node; while it lasts the node stays on. Belongs to the pool's event loop.

    Either ``async with pool.lease() as lease``, or step by step: `ask`, `wait` where that said False, and
    `release` at the end in any case.
    """

    __slots__ = ("_future", "_runner", "_timeout")

    def __init__(
        self,
        runner: Runner,
        wanted: str | None,
        key: str | None,
        passive: bool,
        exclude: set[str] | None,
        timeout: float | None,
    ) -> None:
        """`AsyncNodePool.lease` makes them."""
        super().__init__(wanted, key, passive, exclude)
        self._runner = runner
        self._timeout = timeout
        self._future: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<Lease {self.pooled_node.name if self.pooled_node else 'of no node yet'}>"

    @property
    def node(self) -> str:
        """The node's name: the one that it has, or that it waits for; empty while it waits for any."""
        return "" if self.pooled_node is None else self.pooled_node.name

    def ask(self) -> bool:
        """Asks for a node.

        Returns:
            Whether it has its node at once. False: the node starts, or all are full; then `wait`.

        Raises:
            LeaseInUseError: It has a node, or waits for one. Nothing has changed.
            NodeNameError: The pool has no node of the name that was asked for.
            QueueFullError: As many as ``queue`` allows wait already.
            NoNodeError: All nodes that it may use failed a short time ago.
            NotReadyError: It is ``passive``, and no node is ready.
            PoolClosedError: The pool gives no leases any more.
        """
        scheduler = self._runner.scheduler
        granted = scheduler.ask(self)
        self._future = None if granted else asyncio.get_running_loop().create_future()
        if scheduler.actions:
            self._runner.act()
        return granted

    def answered(self) -> None:
        """For the pool: it has its node, or an error."""
        future = self._future
        if future is not None and not future.done():
            future.set_result(None)

    async def wait(self, timeout: float | None = None) -> None:  # noqa: ASYNC109 - of the pool's clock
        """Waits for the node. A boot under way goes on, however this ends.

        Args:
            timeout: Seconds to wait at most; without one, that of the lease, or ``queue_timeout``.

        Raises:
            SettingError: ``timeout`` is no number of seconds. The lease waits still.
            LeaseTimeoutError: No node was ready in time. The lease is over, as after each error below, and
                when this is cancelled.
            BootError: The node failed, and there was no other to try.
            PoolClosedError: The pool was closed meanwhile.
        """
        if timeout is not None:
            validate.seconds("timeout", timeout)
        future, runner = self._future, self._runner
        if future is None:
            return
        given = self._timeout if timeout is None else timeout
        seconds = runner.scheduler.settings.queue_timeout if given is None else given
        try:
            if not future.done():
                sleeper = asyncio.ensure_future(runner.cluster.clock.asleep(seconds))
                try:
                    await asyncio.wait((future, sleeper), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    sleeper.cancel()
        except BaseException:
            self.release()
            raise
        if not future.done():
            node, retry_after = self.node, self.estimate()
            self.release()
            what = f"{node} was not ready" if node else "no node was free"
            raise LeaseTimeoutError(f"{what} within {seconds:g} s", retry_after)
        if self.error is not None:
            raise self.error.with_traceback(None)  # it is of all who waited: none keeps the others' frames

    def estimate(self) -> float:
        """Seconds until its node is likely to be ready, by the boots that this pool has seen.

        While it waits for any node: until the next one that is starting is ready. 0 or more.
        """
        return self._runner.scheduler.estimate(self.pooled_node)

    def touch(self) -> None:
        """Something went to the node or came from it: its idle time begins anew."""
        node = self.pooled_node
        if node is not None and not self.passive:
            node.last_active = self._runner.cluster.clock.now()

    def failed(self) -> None:
        """The node did not answer as it should: it is checked before anybody else gets it."""
        if self.pooled_node is not None:
            self._runner.scheduler.health_check(self.pooled_node.name)
            self._runner.act()

    def release(self) -> None:
        """Gives the node back, or ends the wait. May be called again, and when `ask` or `wait` raised."""
        scheduler = self._runner.scheduler
        scheduler.release(self)
        if scheduler.actions:
            self._runner.act()

    async def __aenter__(self) -> Self:
        if not self.ask():
            await self.wait()
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()
