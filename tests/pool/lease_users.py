"""Those who take leases in the tests of a pool."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncNodePool,
    ClusterHatError,
    PoolState,
)

if TYPE_CHECKING:
    from rpi_clusterhat.pool.scheduler import Scheduler
    from tests.safety.pools import House


def about(value: Any) -> Any:
    return pytest.approx(value, abs=1e-6)  # pyright: ignore[reportUnknownMemberType] - its types are incomplete


def scheduler_of(pool: AsyncNodePool) -> Scheduler:
    scheduler: Scheduler = vars(pool)["_scheduler"]
    return scheduler


def state(pool: AsyncNodePool, name: str) -> PoolState:
    return pool.nodes[name].state


class User:
    """Takes a lease, and keeps it until told to leave."""

    def __init__(self, house: House, pool: AsyncNodePool, node: str | None = None, **how: Any) -> None:
        self.lease = pool.lease(node, **how)
        self.granted_at: float | None = None
        self.error: ClusterHatError | None = None
        self.ended_at: float | None = None
        self._house = house
        self._leaves = asyncio.Event()
        self.task = asyncio.create_task(self._use())

    async def _use(self) -> None:
        clock = self._house.clock
        try:
            async with self.lease as lease:
                self.granted_at = clock.now()
                assert self._house.world[lease.node].is_up
                await self._leaves.wait()
        except ClusterHatError as error:
            self.error = error
        finally:
            self.ended_at = clock.now()

    def leave(self) -> None:
        self._leaves.set()
