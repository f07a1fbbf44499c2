"""A pool keeps its boots in a history, and takes from it how long they take."""

from __future__ import annotations

import time
from random import Random
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat import (
    AsyncNodePool,
    BootHistory,
    BootRecord,
    Cluster,
    NodePool,
    PoolSettings,
    SettingError,
)
from tests.pool.lease_users import about
from tests.safety.pools import BOOT_TIME, INTERVAL, SPACING, House, run

if TYPE_CHECKING:
    from pathlib import Path


def pool_of(house: House, history: BootHistory, **settings: Any) -> AsyncNodePool:
    how = PoolSettings(balance="first", probe_interval=INTERVAL, **settings)
    return AsyncNodePool(house.hat, probe=house.probe, settings=how, history=history, random=Random(1))


def kept(history: BootHistory) -> list[tuple[str, float, str, str]]:
    return [(r.node, about(r.seconds), r.outcome, r.reason) for r in history.records()]


def test_each_boot_is_kept_with_its_end(house: House, tmp_path: Path) -> None:
    history = BootHistory(tmp_path / "boots.jsonl")
    began = time.time()

    async def work() -> None:
        house.world["p3"].fail(boots=False)
        async with pool_of(house, history, boot_timeout=4.0, retry_after_failure=1.0) as pool:
            pool.wake("p1")
            pool.wake("p2")
            await house.clock.pass_time(BOOT_TIME + SPACING)
            await house.hat["p1"].report_probe(up=False)  # a check is no boot
            await house.clock.pass_time(1.0)
            pool.wake("p3")
            await house.clock.pass_time(5.25)
            house.world["p3"].fail()
            await house.hat.off("p3")
            await house.clock.pass_time(1.0)
            house.outside(p4=True)
            await house.clock.pass_time(6.0)
            pool.wake("p3")
            await house.clock.pass_time(0.5)
            await pool.close(off=True)  # its boot is not over

    run(work)
    records = kept(history)
    assert records[0] == ("p1", BOOT_TIME, "ready", "hand")
    assert records[1] == ("p2", BOOT_TIME + SPACING, "ready", "hand")
    node, _, outcome, reason = records[2]
    assert (node, outcome) == ("p3", "failed")
    assert 3.5 < history.records("p3")[0].seconds <= 4.5
    assert reason.startswith("p3 is failed")
    assert [(r[0], r[2], r[3]) for r in records[3:]] == [("p3", "lost", "retry")]
    assert all(began - 1.0 < record.at < time.time() + 1.0 for record in history.records())


def test_the_next_pool_expects_boots_to_take_as_long(house: House, tmp_path: Path) -> None:
    history = BootHistory(tmp_path / "boots.jsonl")
    for record in (
        BootRecord("p1", 1.0, 99.0, "ready", "lease"),  # of long ago
        *(BootRecord("p1", 2.0, 20.0 + i, "ready", "lease") for i in range(8)),
        BootRecord("p1", 3.0, 120.0, "failed", "no answer"),
        BootRecord("p9", 3.0, 60.0, "ready", "lease"),  # of another cluster
    ):
        history.add(record)

    async def work() -> None:
        pool = pool_of(house, history)
        assert pool.boot_time == 30.0
        async with pool:
            assert pool.boot_time == 27.0
            lease = pool.lease("p2")
            assert not lease.ask()
            assert lease.estimate() == 27.0
            await house.clock.pass_time(BOOT_TIME)
            await lease.wait()
            lease.release()
            assert pool.boot_time == 27.0
        async with pool_of(house, BootHistory(tmp_path / "none")) as pool:
            assert pool.boot_time == 30.0

    run(work)


def test_a_history_that_cannot_be_written_disturbs_nothing(
    house: House, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work() -> None:
        async with pool_of(house, BootHistory(tmp_path)) as pool:
            for _ in range(2):
                lease = pool.lease("p2")
                lease.ask()
                await house.clock.pass_time(BOOT_TIME + SPACING)
                await lease.wait()
                lease.release()
                await house.hat.off("p2")

    run(work)
    assert len(caplog.messages) == 1
    assert "the history of boots" in caplog.messages[0]


def test_a_pool_for_threads_takes_one_too(tmp_path: Path) -> None:
    history = BootHistory(tmp_path / "boots.jsonl")
    house = House(str(tmp_path))
    house.world["p1"].switch_outside(False)
    with NodePool(house.sync, probe=house.probe, history=history) as pool:
        assert pool.boot_time == 30.0
    history.add(BootRecord("p1", 1.0, 9.0, "ready", "lease"))
    with NodePool(Cluster.of(house.hat), probe=house.probe, history=history) as pool:
        assert pool.boot_time == 9.0


def test_what_is_no_history(house: House) -> None:
    wrong: Any = "boots.jsonl"
    with pytest.raises(SettingError, match="history"):
        pool_of(house, wrong)
