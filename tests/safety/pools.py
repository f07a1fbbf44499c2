"""A pool on simulated nodes, with a clock that is moved by hand."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar

from rpi_clusterhat import AsyncCluster, AsyncNodePool, Cluster, PoolSettings
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.testing import FakeClock, simulated
from rpi_clusterhat.waiting import Sleep
from tests.safety.test_tasks_model import InlineExecutor

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

    from rpi_clusterhat.events import PoolEvent
    from rpi_clusterhat.testing import SimulatedNode, Simulation
    from rpi_clusterhat.waiting import Step

__all__ = ["BOOT_TIME", "INTERVAL", "SPACING", "House", "WorldProbe", "run"]

BOOT_TIME = 1.5
SPACING = 0.25
INTERVAL = 0.125
"""All of them sums of few powers of two, so that times are exact."""

HALT_TIME, SETTLE, HALT_TIMEOUT = 0.5, 0.25, 4.0
HALTING = {"halt": ["simulated"], "halt_settle": SETTLE, "halt_timeout": HALT_TIMEOUT}

_T = TypeVar("_T")


def run(work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
    """Runs work in an event loop in which calls for worker threads run at once: the order of everything is
    the same each time."""

    async def main() -> _T:
        asyncio.get_running_loop().set_default_executor(InlineExecutor(1))
        return await work()

    return asyncio.run(main())


class WorldProbe(Probe):
    """Up is what is up in the simulated world when it is asked. The answer comes after a while."""

    def __init__(self, node: Callable[[], SimulatedNode], takes: float = 0.0) -> None:
        self._node = node
        self._takes = takes

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        del left
        node = self._node()
        verdict = Verdict(node.is_up, f"{node.name} is {node.phase}")
        if self._takes:
            yield Sleep(self._takes)
        return verdict


class House:
    """A HAT of simulated nodes, and what happens on it."""

    def __init__(
        self,
        lock_dir: str,
        *,
        clock: FakeClock | None = None,
        nodes: int = 4,
        options: dict[str, object] | None = None,
        probe_takes: float = 0.0,
        halts: bool = False,
    ) -> None:
        self.probe_takes = probe_takes
        self.halts = halts
        self.clock = clock or FakeClock(0.0, by_hand=True)
        given = {"boot_time": BOOT_TIME, "capacity": 100.0, **(options or {})}
        if halts:
            given = {"writes": True, "halt_time": HALT_TIME, **given}
        self.sync = Cluster.open(
            "2.3",
            backend="sim",
            options=given,
            node=HALTING if halts else None,
            nodes=nodes,
            spacing=SPACING,
            lock_dir=lock_dir,
            clock=self.clock,
        )
        """The same open boards, for callers in another thread than the pool's."""
        self.hat = AsyncCluster.of(self.sync)
        self.events: list[PoolEvent] = []

    @property
    def world(self) -> Simulation:
        return simulated(self.hat)

    def probe(self, name: str) -> Probe:
        return WorldProbe(lambda: self.world[name], self.probe_takes)

    def pool(
        self, *, probe: Callable[[str], Probe] | None = None, traffic: Any = None, **settings: Any
    ) -> AsyncNodePool:
        changes: dict[str, Any] = {"balance": "first", "probe_interval": INTERVAL, **settings}
        pool = AsyncNodePool(
            self.hat,
            probe=probe or self.probe,
            settings=PoolSettings(**changes),
            traffic=traffic,
            random=Random(1),
        )
        pool.subscribe(self.events.append)
        return pool

    def outside(self, **on: bool) -> None:
        """Another program switches nodes."""
        for name, level in on.items():
            self.world[name].switch_outside(level)

    def told(self, what: str) -> list[tuple[float, str]]:
        """When this happened in the world, and to which node."""
        return [(event.time, event.node) for event in self.world.boards[0].history if event.what == what]
