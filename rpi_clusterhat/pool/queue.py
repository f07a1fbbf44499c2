"""Leases that were asked for, and those of them that wait for a place."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rpi_clusterhat.errors import PoolError

    from .pooled_node import PooledNode

__all__ = ["LeaseRequest", "WaitingQueue"]


class LeaseRequest:
    """What was asked for, and what became of it. `rpi_clusterhat.pool.leases.Lease` is one that can wait."""

    __slots__ = ("error", "exclude", "key", "number", "passive", "pooled_node", "wanted")

    def __init__(
        self,
        wanted: str | None = None,
        key: str | None = None,
        passive: bool = False,
        exclude: set[str] | None = None,
    ) -> None:
        self.wanted = wanted
        """The node that was asked for by name."""
        self.key = key
        """Whose request it is, for ``balance="hash"``."""
        self.passive = passive
        """Takes only a node that is ready, and is no activity."""
        self.exclude = exclude
        """The nodes that are not to be tried (again)."""
        self.pooled_node: PooledNode | None = None
        """The node that it has, or will have once that is ready; None while it waits for any."""
        self.error: PoolError | None = None
        """Why it was refused after it had waited."""
        self.number = -1
        """Its place in the order in which all asked; below 0 where it neither waits nor has a node."""

    def answered(self) -> None:
        """Called once, when one that had to wait has got its node or an error."""

    def may_use(self, name: str) -> bool:
        """Whether a node of this name is not excluded."""
        return not self.exclude or name not in self.exclude


class WaitingQueue:
    """Those that wait for a place while all nodes that they may use are full: first come, first served.

    Those who want one node by name stand in that node's own ``queue``. One thread or event loop at a time.
    """

    __slots__ = ("_any", "_nodes")

    def __init__(self, nodes: Mapping[str, PooledNode]) -> None:
        self._nodes = nodes
        self._any: deque[LeaseRequest] = deque()

    def _queue_of(self, request: LeaseRequest) -> deque[LeaseRequest]:
        return self._any if request.wanted is None else self._nodes[request.wanted].queue

    def add(self, request: LeaseRequest) -> None:
        """It comes last."""
        self._queue_of(request).append(request)

    def remove(self, request: LeaseRequest) -> bool:
        """Whether it was there."""
        queue = self._queue_of(request)
        if request not in queue:
            return False
        queue.remove(request)
        return True

    def has_any_for(self, node: PooledNode) -> bool:
        """Whether somebody may wait for a place on this node."""
        return bool(self._any or node.queue)

    def take_next(self, node: PooledNode) -> LeaseRequest | None:
        """Takes out who came first of those that may use this node; None where there is none."""
        request = next((r for r in self._any if r.may_use(node.name)), None)
        own = node.queue[0] if node.queue else None
        if own is not None and (request is None or own.number < request.number):
            node.queue.popleft()
            return own
        if request is not None:
            self._any.remove(request)
        return request

    def take_all(self, of: Callable[[LeaseRequest], bool]) -> list[LeaseRequest]:
        """Takes out those that wait for any node, and of which this is true."""
        taken = [request for request in self._any if of(request)]
        for request in taken:
            self._any.remove(request)
        return taken
