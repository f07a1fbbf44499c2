"""A node that has power only since its line is pulled up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat import AsyncCluster, AsyncNodePool, PoolSettings
from rpi_clusterhat.hardware.boards import board
from rpi_clusterhat.hardware.turnstile import LocalTurnstile
from rpi_clusterhat.nodes.probes import Probe, Verdict
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail
from rpi_clusterhat.testing import FakeClock
from tests.power.test_directions import PulledBackend
from tests.safety.pools import run

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.waiting import Step


class AlwaysUp(Probe):
    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        del left
        yield from ()
        return Verdict(True, "")


def test_the_line_of_a_node_that_is_taken_over_is_driven_before_the_node_is_leased() -> None:
    backend = PulledBackend(13)
    clock = FakeClock(0.0, by_hand=True)
    rail = Rail(LocalTurnstile(), clock, 2.0)
    bank = Bank(board("1.3"), backend, rail, ["p1", "p2", "p3", "p4"])

    settings = PoolSettings(balance="first")

    async def work() -> None:
        async with (
            AsyncCluster([bank], clock) as hat,
            AsyncNodePool(hat, probe=lambda _: AlwaysUp(), settings=settings) as pool,
        ):
            await clock.pass_time(5.0)
            async with pool.lease() as lease:
                assert lease.node == "p2"
                assert backend.driven == {13: True}

    run(work)
