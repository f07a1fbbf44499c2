"""Threads and tasks of one process on one rail, with the real clock."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import AsyncCluster, Cluster
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import SupersededError
from rpi_clusterhat.events import Event, WaitingForRail
from rpi_clusterhat.hardware.boards import node_names
from rpi_clusterhat.hardware.locks import lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile, LocalTurnstile, Turnstile
from rpi_clusterhat.power.bank import Bank
from rpi_clusterhat.power.rail import Rail
from tests.safety.processes import BOARD, Journal, LoggingBackend

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.slow

SPACING = 0.03
LIMIT = 30.0
TOLERANCE = 1e-5


class Bench:
    """Clusters whose writes go to one journal."""

    def __init__(self, folder: Path, *, shared: bool) -> None:
        self.journal = Journal(os.path.join(folder, "journal"))
        self._local = LocalTurnstile()
        self._folder = str(folder) if shared else None

    def banks(self, name: str, boards: int = 1) -> list[Bank]:
        """Of one more cluster."""
        turnstile: Turnstile = (
            self._local if self._folder is None else FileTurnstile(lock_path(self._folder, "rail-main"))
        )
        rail = Rail(turnstile, SYSTEM, SPACING)
        return [
            Bank(BOARD, LoggingBackend(self.journal, name=f"{name}.{i}/"), rail, names)
            for i, names in enumerate(node_names([BOARD] * boards))
        ]

    def check(self, power_ups: int) -> None:
        ups = self.journal.power_ups()
        assert len(ups) == power_ups
        for before, entry in pairwise(ups):
            assert entry.at - before.at >= SPACING - TOLERANCE, (before, entry)


@pytest.fixture(params=[False, True], ids=["local", "shared"])
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Generator[Bench]:
    bench = Bench(tmp_path, shared=request.param)
    yield bench
    bench.journal.close()


def run(works: Sequence[Callable[[], object]]) -> None:
    """In a thread each; raises what the first of them raised."""
    problems: list[BaseException] = []

    def guarded(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as problem:  # noqa: BLE001 (raised below, in the test's own thread)
            problems.append(problem)

    threads = [threading.Thread(target=guarded, args=(work,), daemon=True) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT)
    assert not any(thread.is_alive() for thread in threads)
    if problems:
        raise problems[0]


def in_thread(hat: Cluster, node: str, times: int) -> Callable[[], None]:
    def work() -> None:
        for _ in range(times):
            hat.on(node)
            hat.off(node)

    return work


async def in_tasks(hat: AsyncCluster, nodes: Sequence[str], times: int) -> None:
    async def work(node: str) -> None:
        for _ in range(times):
            await hat.on(node)
            await hat.off(node)

    async with asyncio.timeout(LIMIT), asyncio.TaskGroup() as group:
        for node in nodes:
            group.create_task(work(node))


def test_threads_of_one_cluster(bench: Bench) -> None:
    with Cluster(bench.banks("a", boards=2)) as hat:
        run([in_thread(hat, name, 3) for name in hat.names])
        assert not any(node.powered for node in hat)
    bench.check(8 * 3)


def test_tasks_of_one_cluster(bench: Bench) -> None:
    async def main() -> None:
        async with AsyncCluster(bench.banks("a", boards=2)) as hat:
            await in_tasks(hat, hat.names, 3)

    asyncio.run(main())
    bench.check(8 * 3)


def test_threads_and_tasks_of_several_clusters(bench: Bench) -> None:
    hats = [Cluster(bench.banks(name)) for name in "ab"]

    def tasks() -> None:
        asyncio.run(in_tasks(AsyncCluster(bench.banks("c")), ["p1", "p2", "p3"], 3))

    run([tasks, *(in_thread(hat, name, 3) for hat in hats for name in ("p1", "p2"))])
    bench.check(4 * 3 + 3 * 3)


def test_threads_that_contradict_each_other_end_and_keep_the_spacing(bench: Bench) -> None:
    with Cluster(bench.banks("a")) as hat:

        def on() -> None:
            for _ in range(6):
                with contextlib.suppress(SupersededError):
                    hat.on("p1", "p2")

        def off() -> None:
            for _ in range(12):
                hat.off("p1", "p2")
                SYSTEM.sleep(SPACING / 3)

        def cycle() -> None:
            for _ in range(3):
                with contextlib.suppress(SupersededError):
                    hat.cycle("p1", pause=SPACING / 2)

        run([on, on, off, cycle])
        hat.off("all")
        assert {str(status.state) for status in hat.status().nodes.values()} == {"off"}
    bench.check(len(bench.journal.power_ups()))


def test_waiters_are_served_in_the_order_in_which_they_joined(bench: Bench) -> None:
    """Threads and tasks, of one cluster and of others."""
    joined = threading.Semaphore(0)

    def hear(event: Event) -> None:
        if isinstance(event, WaitingForRail):
            joined.release()

    first = Cluster(bench.banks("first"))
    first.on("p1")
    hats = {name: Cluster(bench.banks(name)) for name in ("a", "b")}
    tasks = AsyncCluster(bench.banks("tasks"))
    for cluster in (*hats.values(), tasks):
        cluster.subscribe(hear)

    def switch_on(name: str, node: str) -> None:
        if name in hats:
            hats[name].on(node)
        else:
            asyncio.run(tasks.on(node))

    order = [
        ("b", "p3"),
        ("tasks", "p2"),
        ("a", "p1"),
        ("a", "p4"),
        ("tasks", "p1"),
        ("b", "p1"),
        ("a", "p2"),
    ]
    held = first.banks[0].rail.join()
    assert held.remaining() > 0.0  # the others wait until all of them have joined
    threads = [threading.Thread(target=switch_on, args=who, daemon=True) for who in order]
    for thread in threads:
        thread.start()
        assert joined.acquire(timeout=LIMIT)
    held.leave()
    for thread in threads:
        thread.join(LIMIT)
    lines = {f"p{i}": role.offset for i, role in enumerate(BOARD.power, 1)}
    served = [entry.node for entry in bench.journal.power_ups()]
    assert served[1:] == [f"{name}.0/{lines[node]}" for name, node in order]
    bench.check(1 + len(order))
