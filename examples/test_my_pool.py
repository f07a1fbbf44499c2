"""A service that leases nodes, and its test with simulated nodes and a clock that the test moves."""

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from rpi_clusterhat import AsyncCluster, AsyncNodePool, PoolSettings, Probe, Verdict
from rpi_clusterhat.testing import FakeClock, SimulatedNode, simulated
from rpi_clusterhat.waiting import Step


async def compute(pool: AsyncNodePool, jobs: int) -> list[str]:
    """The code under test. It does jobs of a minute each, and returns which nodes did them."""

    async def one() -> str:
        async with pool.lease() as lease:
            await pool.cluster.clock.asleep(60)
            return lease.node

    return await asyncio.gather(*(one() for _ in range(jobs)))


class AtOnce(ThreadPoolExecutor):
    """In place of worker threads, which the moved clock would not wait for."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - told to whoever asked
            future.set_exception(error)
        return future


class IsUp(Probe):
    """Asks the simulated world, and no socket: that would take real time."""

    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        del left
        yield from ()
        return Verdict(self._node.is_up, f"{self._node.name} is {self._node.phase}")


async def work_and_rest() -> None:
    asyncio.get_running_loop().set_default_executor(AtOnce())
    clock = FakeClock(by_hand=True)
    async with AsyncCluster.open(board="2.3", backend="sim", clock=clock) as hat:
        nodes = simulated(hat)

        def probe(name: str) -> Probe:
            return IsUp(nodes[name])

        settings = PoolSettings(balance="first", maxconn=2)
        async with AsyncNodePool(hat, probe=probe, settings=settings) as pool:
            jobs = asyncio.create_task(compute(pool, 3))
            await clock.pass_time(10)
            assert pool.waiting == 3  # simulated nodes boot in 20 s
            await clock.pass_time(80)
            assert jobs.result() == ["p1", "p1", "p2"]
            await clock.pass_time(580)
            assert [node.phase for node in nodes] == ["up", "up", "off", "off"]
            await clock.pass_time(20)
            assert [node.phase for node in nodes] == ["off"] * 4


def test_nodes_start_for_jobs_and_go_off_after_ten_minutes() -> None:
    asyncio.run(work_and_rest())
