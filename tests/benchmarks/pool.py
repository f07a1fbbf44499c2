"""What a lease on a node that is ready costs beside a bare draw, and how much room one takes
while it waits."""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from random import Random
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.aio import AsyncCluster
from rpi_clusterhat.hardware.boards import board, node_names
from rpi_clusterhat.hardware.turnstile import LocalTurnstile
from rpi_clusterhat.nodes.probes import Probe
from rpi_clusterhat.pool.aio import AsyncNodePool
from rpi_clusterhat.pool.settings import PoolSettings
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.testing import FakeClock
from tests.benchmarks.report import Row, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from rpi_clusterhat.pool.scheduler import Scheduler

LEASES = 5_000
WAITING = 10_000


class Lines:
    """A bank in memory."""

    holds_levels = True

    def __init__(self, count: int) -> None:
        self._levels = dict.fromkeys(range(count), False)

    def read(self) -> dict[int, bool]:
        return self._levels

    def write(self, levels: Mapping[int, bool]) -> None:
        self._levels.update(levels)

    def close(self) -> None:
        pass


def pool_of(nodes: int, **settings: Any) -> AsyncNodePool:
    """A pool whose clock stands still, so that nothing but leases takes time."""
    clock = FakeClock(by_hand=True)
    one = board("2.3")
    names = node_names([one] * (nodes // 4))
    rail = Rail(LocalTurnstile(), clock, 2.0)
    hat = AsyncCluster([Bank(one, Lines(8), rail, own) for own in names], clock)
    return AsyncNodePool(hat, probe=lambda _: Probe(), settings=PoolSettings(**settings), random=Random(1))


def measure() -> Iterator[Row]:
    for nodes in (4, 10_000):
        for balance in ("random", "first"):
            ours, bare = asyncio.run(_warm(nodes, balance))
            yield Row(
                f"warm lease and release, {balance}, {nodes:,} nodes",
                "",
                f"{ours * 1e6:.1f} µs",
                f"random.choice {bare * 1e6:.1f} µs",
                None,
            )
    claim, task = asyncio.run(_waiting())
    yield Row(
        "memory of a lease that waits",
        "",
        f"{claim:.1f} kB; in a task of its own {task:.1f} kB",
        f"{WAITING:,} that wait for one boot",
        None,
    )


async def _warm(nodes: int, balance: str) -> tuple[float, float]:
    pool = pool_of(nodes, balance=balance)
    core: Scheduler = vars(pool)["_scheduler"]
    for name in pool.nodes:
        core.wake(name)
        core.powered(name)
        core.ready(name)
    core.actions.clear()
    members = tuple(pool.nodes.values())
    choice = Random(1).choice

    def leases() -> None:
        for _ in range(LEASES):
            lease = pool.lease()
            if not lease.ask():
                raise AssertionError("a node that is ready makes nobody wait")
            lease.release()

    def choices() -> None:
        for _ in range(LEASES):
            choice(members)

    ours, bare, _ = in_turn(leases, choices)
    await pool.close()
    return ours / LEASES, bare / LEASES


async def _waiting() -> tuple[float, float]:
    """Kilobytes of each: asked for only, and waited for by a task of its own."""
    pool = pool_of(4, maxconn=WAITING, queue=2 * WAITING)
    gc.collect()
    tracemalloc.start()
    leases = [pool.lease() for _ in range(WAITING)]
    for lease in leases:
        lease.ask()
    claims = tracemalloc.get_traced_memory()[0]
    tasks = [asyncio.create_task(lease.wait()) for lease in leases]
    for _ in range(5):
        await asyncio.sleep(0)
    whole = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await pool.close()
    return claims / WAITING / 1e3, whole / WAITING / 1e3
