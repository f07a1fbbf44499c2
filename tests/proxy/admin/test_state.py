"""The state of nodes and proxy, as JSON and as a page."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from clusterhat_proxy.document import STATUS_POLICY
from rpi_clusterhat import AsyncCluster, BackendError, Cluster, PoolState
from tests.proxy.admin.side import HTML, LATE, TOKEN, Side, fails, play
from tests.safety.pools import BOOT_TIME, House

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.cluster import Status


def test_status_of_nodes_and_proxy(house: House) -> None:
    async def scene(side: Side) -> None:
        await side.wake("p1")
        lease = side.pool.lease("p1")
        assert lease.ask()
        waits = side.pool.lease("p2")
        assert not waits.ask()
        for _ in range(2):
            side.requests.over("200", "warm")
        side.requests.over("503", "none")
        for _ in range(4):
            side.requests.retry()
        side.requests.in_flight, side.requests.tunnels = 5, 1
        await house.clock.pass_time(0.125)
        answer = await side.ask("/status")
        assert answer.fields["content-type"].startswith("application/json")
        assert answer.fields["cache-control"] == "no-store"
        status = answer.json
        p1 = status["nodes"]["p1"]
        assert p1.pop("seconds_powered") >= BOOT_TIME
        assert p1.pop("last_boot_seconds") == pytest.approx(BOOT_TIME, abs=0.5)
        assert p1 == {
            "powered": True,
            "state": "ready",
            "in_flight": 1,
            "waiting": 0,
            "last_activity": 0.125,
            "boots": 1,
            "quarantined": False,
            "idle_off_in": None,
            "address": "p1.local:80",
        }
        assert status["nodes"]["p2"]["waiting"] == 1
        assert status["nodes"]["p3"] == {
            "powered": False,
            "state": "off",
            "in_flight": 0,
            "waiting": 0,
            "last_activity": None,
            "boots": 0,
            "quarantined": False,
            "last_boot_seconds": None,
            "idle_off_in": None,
            "seconds_powered": 0.0,
            "address": "[fd00::3]:80",
        }
        proxy = status.pop("proxy")
        assert 0 <= proxy.pop("uptime") < LATE
        assert proxy == {
            "in_flight": 5,
            "waiting": 1,
            "tunnels": 1,
            "requests": 3,
            "retries": 4,
            "connections": 0,
            "balance": "random",
            "mode": "forward",
            "cold": "auto",
            "idle_timeout": 600.0,
            "draining": False,
        }
        (board,) = status["boards"]
        assert (board["board"], board["backend"], board["functions"]["alert"]) == ("2.3", "sim", False)
        lease.release()
        waits.release()
        await house.clock.pass_time(1.0)
        node = (await side.ask("/status")).json["nodes"]["p1"]
        assert (node["last_activity"], node["idle_off_in"]) == (1.0, 599.0)

    play(house, scene)


def test_the_pools_state_is_told_where_it_says_more(house: House) -> None:
    async def scene(side: Side) -> None:
        async def states() -> str:
            nodes = (await side.ask("/status")).json["nodes"]
            return " ".join(f"{name}={node['state']}/{node['powered']:d}" for name, node in nodes.items())

        await side.wake("p1")
        side.pool.wake("p2")
        assert await states() == "p1=ready/1 p2=queued/0 p3=off/0 p4=off/0"
        await side.pass_until("p2", PoolState.BOOTING)
        house.outside(p1=False, p3=True)  # nobody has told the pool
        assert side.pool.nodes["p1"].state is PoolState.READY
        assert await states() == "p1=off/0 p2=on/1 p3=on/1 p4=off/0"

    play(house, scene)


def test_a_failure_is_told(house: House) -> None:
    async def scene(side: Side) -> None:
        side.pool.wake("p1")
        await side.pass_until("p1", PoolState.FAILED)
        node = (await side.ask("/status")).json["nodes"]["p1"]
        assert node["state"] == "failed"
        assert node["failure"] == side.pool.nodes["p1"].failure
        assert node["last_boot_seconds"] is None

    play(house, scene, boot_timeout=BOOT_TIME / 2)


def test_never_is_null(house: House) -> None:
    async def scene(side: Side) -> None:
        await side.wake("p1")
        status = (await side.ask("/status")).json
        assert status["proxy"]["idle_timeout"] is None
        assert status["nodes"]["p1"]["idle_off_in"] is None

    play(house, scene, idle_timeout=float("inf"))


def test_several_boards(house: House, tmp_path: Path) -> None:
    boards = [{"board": "2.3", "backend": "sim"}, {"board": "2.3", "backend": "sim"}]
    both = Cluster.open(boards=boards, lock_dir=str(tmp_path), clock=house.clock)
    house.hat = AsyncCluster.of(both)

    async def scene(side: Side) -> None:
        status = (await side.ask("/status")).json
        assert [board["nodes"] for board in status["boards"]] == [
            ["p1", "p2", "p3", "p4"],
            ["p5", "p6", "p7", "p8"],
        ]
        assert list(status["nodes"]) == [f"p{n}" for n in range(1, 9)]
        assert status["nodes"]["p8"]["address"] is None
        page = await side.ask("/")
        assert page.status == 200
        assert b'data-node="p8"' in page.body

    play(house, scene)


def test_a_cluster_that_cannot_be_read(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(side: Side) -> None:
        fails(monkeypatch)
        answer = await side.ask("/status")
        assert answer.status == 500
        assert answer.fields["content-type"].startswith("application/problem+json")
        assert answer.json["detail"] == "the bus does not answer: look at the cable"
        page = await side.ask("/", HTML)
        assert page.status == 500
        assert page.fields["content-type"].startswith("text/html")
        assert b"look at the cable" in page.body
        assert (await side.ask("/healthz")).status == 200
        assert (await side.ask("/metrics")).status == 200

    play(house, scene)


def test_readings_at_the_same_time_are_one(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    readings = 0
    real = AsyncCluster.status

    async def status(self: AsyncCluster) -> Status:
        nonlocal readings
        readings += 1
        await asyncio.sleep(0.2)
        return await real(self)

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", status)
        answers = await asyncio.gather(*(side.ask("/status") for _ in range(20)))
        assert {answer.status for answer in answers} == {200}
        assert readings <= 2, "one for the first who asked, and one for all who asked during it"

    play(house, scene)


def test_a_reading_that_fails_is_told_to_all_who_asked(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(_: AsyncCluster) -> Status:
        await asyncio.sleep(0.02)
        raise BackendError("the bus does not answer")

    async def scene(side: Side) -> None:
        assert (await side.ask("/status")).status == 200
        real = AsyncCluster.status
        monkeypatch.setattr(AsyncCluster, "status", status)
        answers = await asyncio.gather(*(side.ask("/status") for _ in range(5)))
        assert [answer.status for answer in answers] == [500] * 5, "nobody is given an older reading"
        monkeypatch.setattr(AsyncCluster, "status", real)
        assert (await side.ask("/status")).status == 200

    play(house, scene)


@pytest.mark.parametrize("token", [None, TOKEN])
def test_the_page(house: House, token: str | None) -> None:
    async def scene(side: Side) -> None:
        await side.wake("p1")
        page = await side.ask("/", HTML)
        assert page.status == 200
        assert page.fields["content-security-policy"] == STATUS_POLICY.decode()
        assert page.fields["cache-control"] == "no-store"
        assert page.fields["content-type"] == "text/html; charset=utf-8"
        assert b">ready<" in page.body
        assert (b"nodes/p1/on" in page.body) == (token is not None)
        assert TOKEN.encode() not in page.body

    play(house, scene, token=token)
