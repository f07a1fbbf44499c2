"""A scheduler without a pool, and its clients."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.pool.actions import WatchIdle
from rpi_clusterhat.pool.queue import LeaseRequest
from rpi_clusterhat.pool.scheduler import Scheduler
from rpi_clusterhat.pool.settings import PoolSettings
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.pool.actions import Action
    from rpi_clusterhat.pool.pooled_node import PooledNode


class Client(LeaseRequest):
    """Counts its answers."""

    def __init__(self, wanted: str | None = None, **how: Any) -> None:
        exclude = how.pop("exclude", None)
        super().__init__(wanted, **how)
        self.exclude = exclude
        self.answers = 0

    def answered(self) -> None:
        self.answers += 1

    @property
    def node(self) -> str | None:
        return None if self.pooled_node is None else self.pooled_node.name


class Desk:
    """A scheduler, and what it has asked for and told."""

    def __init__(self, nodes: int = 2, **settings: Any) -> None:
        self.clock = FakeClock(0.0)
        changes: dict[str, Any] = {"balance": "first", "maxconn": 1, **settings}
        names = [f"p{i}" for i in range(1, nodes + 1)]
        self.core = Scheduler(names, PoolSettings(**changes), self.clock.now, random=Random(1))
        self.events: list[PoolEvent] = []
        self.core.subscribe(self.events.append)

    def node(self, name: str) -> PooledNode:
        return self.core.nodes[name]

    def actions(self) -> list[Action]:
        """Those that are new, but for the watching of idle times."""
        new: list[Action] = [action for action in self.core.actions if not isinstance(action, WatchIdle)]
        self.core.actions.clear()
        return new

    def arms(self) -> list[str]:
        new = [action.node for action in self.core.actions if isinstance(action, WatchIdle)]
        self.core.actions.clear()
        return new

    def ask(self, wanted: str | None = None, **how: Any) -> Client:
        client = Client(wanted, **how)
        self.core.ask(client)
        return client

    def boot(self, name: str, seconds: float = 0.0) -> None:
        self.core.powered(name)
        self.clock.advance(seconds)
        self.core.ready(name)

    def up(self, *names: str) -> None:
        """Switches nodes on by hand, and forgets what was asked and told on the way."""
        for name in names:
            assert self.core.wake(name)
            self.boot(name)
        self.core.actions.clear()
        self.events.clear()
