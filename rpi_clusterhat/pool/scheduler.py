"""Who gets which node: the decisions of a pool, without I/O or waiting.

Each method takes note of something that happened, answers those who asked for a lease, and leaves in
``actions`` what has to be done. One thread or event loop at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import (
    BootError,
    LeaseInUseError,
    NoNodeError,
    NotReadyError,
    PoolClosedError,
    PoolError,
    QueueFullError,
)

from .actions import CallOff
from .balance import balancer
from .failures import Failures
from .queue import WaitingQueue
from .states import PoolState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from .pooled_node import PooledNode
    from .queue import LeaseRequest
    from .settings import PoolSettings

__all__ = ["Scheduler"]


class Scheduler(Failures):
    """Gives nodes to those who ask for a lease. `rpi_clusterhat.pool.runner` does what it asks for."""

    def __init__(
        self,
        names: Sequence[str],
        settings: PoolSettings,
        now: Callable[[], float],
        *,
        random: Random | None = None,
    ) -> None:
        super().__init__(names, settings, now)
        self.waiting = 0
        """Those who wait."""
        self._list = tuple(self.nodes.values())  # one object: the hash ring is remembered by it
        self._balancer = balancer(settings.balance, random)
        self._queue = WaitingQueue(self.nodes)
        self._number = 0

    def ask(self, request: LeaseRequest) -> bool:
        """Whether it has its node now. Else it waits, and is `LeaseRequest.answered` later.

        Raises `LeaseInUseError`, and then nothing has changed; or `PoolError` or `NodeNameError`, and then it
        neither has a node nor waits.
        """
        if request.number >= 0:
            raise LeaseInUseError("this lease has a node or waits for one: release it, or take another lease")
        if self.closed:
            raise PoolClosedError("this pool gives no leases any more: it is closed or being drained")
        if request.wanted is not None:
            self.check_name(request.wanted)
        request.error = None
        node = self._choose(request)
        if node is None or node.state is not PoolState.READY:
            if request.passive:
                raise NotReadyError("no node is ready, and this request wakes none", self.estimate())
            if self.waiting >= self.settings.queue:
                raise QueueFullError(
                    f"{self.waiting} wait for a node already, and no more may", self.estimate()
                )
        request.number = self._number
        self._number += 1
        return self._place(request, node)

    def _usable(self, request: LeaseRequest) -> Callable[[PooledNode], bool]:
        exclude, maxconn = request.exclude, self.settings.maxconn
        ready = request.passive

        def usable(node: PooledNode) -> bool:
            state = node.state
            return (
                state is not PoolState.FAILED
                and node.leases + len(node.assigned) < maxconn
                and not (ready and state is not PoolState.READY)
                and not (exclude and node.name in exclude)
            )

        return usable

    def _choose(self, request: LeaseRequest) -> PooledNode | None:
        """None: it waits for a place. Raises `NoNodeError` where there is nothing to wait for."""
        usable = self._usable(request)
        if request.wanted is not None:
            named = self.nodes[request.wanted]
            if named.state is PoolState.FAILED or not request.may_use(named.name):
                raise self._no_node([named])
            return named if usable(named) else None
        node = self._balancer.choose(self._list, lambda n: not n.is_doubtful and usable(n), request.key)
        if node is None:
            node = self._balancer.choose(self._list, usable, request.key)
        if node is None and not request.passive and not self._may_wait(request):
            raise self._no_node([n for n in self._list if request.may_use(n.name)] or self._list)
        return node

    def _may_wait(self, request: LeaseRequest) -> bool:
        """Whether any node that it may be given has not failed."""
        return any(n.state is not PoolState.FAILED and request.may_use(n.name) for n in self._list)

    def _no_node(self, nodes: Sequence[PooledNode]) -> NoNodeError:
        now = self._now()
        waits = [n.retry_at - now for n in nodes if n.retry_at is not None]
        failed = next((n for n in nodes if n.failure), None)
        why = ""
        if failed:
            why = f": {failed.name}{' is quarantined' if failed.is_quarantined else ''}: {failed.failure}"
        seconds = max(0.0, min(waits, default=0.0))
        return NoNodeError(f"no node can be used now{why}", seconds if seconds < float("inf") else None)

    def _place(self, request: LeaseRequest, node: PooledNode | None) -> bool:
        if node is None:
            self.waiting += 1
            self._queue.add(request)
            return False
        request.pooled_node = node
        if node.state is PoolState.READY:
            self._grant(request, node)
            return True
        self.waiting += 1
        self._assign(request, node)
        return False

    def _grant(self, request: LeaseRequest, node: PooledNode) -> None:
        node.leases += 1
        if not request.passive:
            node.last_used = node.last_active = self._now()

    def _assign(self, request: LeaseRequest, node: PooledNode) -> None:
        """It gets the node when that is ready."""
        request.pooled_node = node
        node.assigned[request] = None
        if node.state is PoolState.OFF:
            self._boot(node, "lease")
        elif node.state is PoolState.STOPPING:
            self.actions.append(CallOff(node.name))

    def release(self, request: LeaseRequest) -> None:
        """The lease is given back, or waits no longer. A boot under way goes on."""
        node, request.pooled_node = request.pooled_node, None
        if request.number < 0:
            return
        request.number = -1
        if node is None:
            if self._queue.remove(request):
                self.waiting -= 1
        elif request in node.assigned:
            del node.assigned[request]
            self.waiting -= 1
            self._fill(node)
        else:
            node.leases -= 1
            if not node.leases:
                self._unused(node)
            if not request.passive:
                node.last_active = self._now()
            if self.waiting and self._queue.has_any_for(node):
                self._fill(node)
            self._watch_idle(node)

    def _answer(self, request: LeaseRequest, error: PoolError | None = None) -> None:
        self.waiting -= 1
        if error is not None:
            request.error, request.pooled_node, request.number = error, None, -1
        request.answered()

    def _fill(self, node: PooledNode) -> None:
        """Gives a node's free places to those who wait for one."""
        while node.state is not PoolState.FAILED and node.in_flight < self.settings.maxconn:
            request = self._queue.take_next(node)
            if request is None:
                return
            if node.state is PoolState.READY:
                request.pooled_node = node
                self._grant(request, node)
                self._answer(request)
            else:
                self._assign(request, node)

    def refuse_waiting(self) -> None:
        """Gives no more leases, and tells so to who waits."""
        self.closed = True
        error = PoolClosedError("the pool was closed while this waited for a node")
        waiting = self._queue.take_all(lambda _: True)
        for node in self._list:
            waiting += [*node.assigned, *node.queue]
            node.assigned.clear()
            node.queue.clear()
        for request in waiting:
            self._answer(request, error)

    # What happens to nodes ------------------------------------------------------------------------------

    def _serve(self, node: PooledNode) -> None:
        if node.state is PoolState.READY:
            assigned, node.assigned = node.assigned, {}
            for request in assigned:
                self._grant(request, node)
                self._answer(request)
        elif node.state is PoolState.OFF and node.assigned:
            self._boot(node, "lease")
        self._fill(node)

    def _give_up(self, node: PooledNode, error: BootError) -> None:
        assigned, node.assigned = node.assigned, {}
        named = list(node.queue)
        node.queue.clear()
        for request in (*assigned, *named):
            request.pooled_node = None
            if request.wanted is not None or not self.settings.redispatch:
                self._answer(request, error)
            else:
                self._redispatch(request, node.name, error)
        for request in self._queue.take_all(lambda request: not self._may_wait(request)):
            self._answer(request, error)

    def _redispatch(self, request: LeaseRequest, name: str, error: PoolError) -> None:
        request.exclude = {*(request.exclude or ()), name}
        try:
            node = self._choose(request)
        except NoNodeError:
            self._answer(request, error)
            return
        self.waiting -= 1
        if self._place(request, node):
            request.answered()
