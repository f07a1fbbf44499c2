"""A node that does not boot: the last lines of its console are told, from a real pseudo-terminal."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from rpi_clusterhat import AsyncCluster, AsyncNodePool, PoolSettings, TcpProbe
from rpi_clusterhat.events import BootFailed, PoolEvent, Quarantined
from rpi_clusterhat.nodes.console.listener import ConsoleListener
from rpi_clusterhat.waiting import drive_async
from tests.nodes.console.ptys import Pair, pair_of_ends
from tests.nodes.servers import LONG

if TYPE_CHECKING:
    from pathlib import Path


async def heard(listener: ConsoleListener, last: str) -> tuple[str, ...]:
    async with asyncio.timeout(LONG):
        while not (lines := listener.last_lines()) or lines[-1] != last:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    return lines


async def stop(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def test_the_last_lines_are_kept_without_control_sequences_and_nothing_is_written() -> None:
    async def work(pair: Pair) -> None:
        listener = ConsoleListener(pair.path)
        task = asyncio.create_task(drive_async(listener.steps()))
        await asyncio.sleep(0.3)
        os.write(pair.node, b"".join(b"line %d\r\n" % i for i in range(40)) + b"\r\n\x1b[31mpanic\x1b[0m\r\n")
        lines = await heard(listener, "panic")
        assert lines == (*(f"line {i}" for i in range(21, 40)), "panic")
        for _ in range(64):
            os.write(pair.node, b"x" * 1000)
            await asyncio.sleep(0.002)
        os.write(pair.node, b"\r\nend\r\n")
        lines = await heard(listener, "end")
        assert all(len(line) <= 200 for line in lines)
        await stop(task)
        assert pair.hears_nothing()

    with pair_of_ends() as pair:
        asyncio.run(work(pair))


def test_a_console_that_comes_late_is_read(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        path = tmp_path / "ttypi1"
        listener = ConsoleListener(str(path))
        task = asyncio.create_task(drive_async(listener.steps()))
        await asyncio.sleep(0.1)
        path.symlink_to(pair.path)
        await asyncio.sleep(1.5)
        os.write(pair.node, b"it boots\r\n")
        assert await heard(listener, "it boots") == ("it boots",)
        await stop(task)

    with pair_of_ends() as pair:
        asyncio.run(work(pair))


def test_one_that_is_no_console_is_no_error(tmp_path: Path) -> None:
    async def work() -> None:
        (tmp_path / "file").write_bytes(b"no terminal")
        listener = ConsoleListener(str(tmp_path / "file"))
        task = asyncio.create_task(drive_async(listener.steps()))
        await asyncio.sleep(0.2)
        assert not task.done()
        assert listener.last_lines() == ()
        await stop(task)

    asyncio.run(work())


def test_a_quarantine_tells_the_last_lines(tmp_path: Path) -> None:
    async def work(pair: Pair) -> None:
        events: list[PoolEvent] = []
        options = {"fault": "p1:no-boot"}
        async with AsyncCluster.open(
            "2.3", backend="sim", options=options, lock_dir=str(tmp_path), node={"console": pair.path}
        ) as hat:
            settings = PoolSettings(boot_timeout=1.0, boot_attempts=1)
            async with AsyncNodePool(
                hat, probe=lambda _: TcpProbe("127.0.0.1", 1, timeout=0.1), settings=settings
            ) as pool:
                pool.subscribe(events.append)
                pool.wake("p1")
                await asyncio.sleep(0.5)
                os.write(pair.node, b"mmc0: error -110\r\n\x1b[1mKernel panic\x1b[0m\r\n")
                async with asyncio.timeout(LONG):
                    while not pool.nodes["p1"].is_quarantined:  # noqa: ASYNC110
                        await asyncio.sleep(0.05)
                assert pair.hears_nothing()
        told = next(event for event in events if isinstance(event, Quarantined))
        assert told.last_lines == ("mmc0: error -110", "Kernel panic")
        failed = next(event for event in events if isinstance(event, BootFailed))
        assert failed.reason.endswith("; last on its console: 'Kernel panic'")
        assert "Kernel panic" in (pool.nodes["p1"].failure or "")

    with pair_of_ends() as pair:
        asyncio.run(work(pair))
