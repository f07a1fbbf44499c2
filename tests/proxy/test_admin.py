"""The operator's side on a loopback socket, with simulated nodes on a clock that is moved by hand."""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from clusterhat_proxy import live, switching
from clusterhat_proxy.admin import MOST_VIEWERS, Admin
from clusterhat_proxy.document import STATUS_POLICY
from clusterhat_proxy.live import READ_INTERVAL
from clusterhat_proxy.metrics import Metrics
from clusterhat_proxy.options import Address, Options
from clusterhat_proxy.server import Server, ServerSettings
from rpi_clusterhat import AsyncCluster, BackendError, Cluster, PoolState
from tests.safety.pools import BOOT_TIME, House, run

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from pathlib import Path

    from clusterhat_proxy.exchange import Exchange
    from clusterhat_proxy.request_metrics import RequestMetrics
    from rpi_clusterhat.cluster import Status

TOKEN = "a-token-of-some-length"
NAME = "status.example"
FORM = "Content-Type: application/x-www-form-urlencoded"
BEARER = f"Authorization: Bearer {TOKEN}"
HTML = "Accept: text/html,application/xhtml+xml,*/*;q=0.8"
GETS = ["/", "/healthz", "/readyz", "/metrics", "/status", "/events"]
ADDRESSES = {"p1": ("p1.local", 80), "p2": ("10.0.0.2", 8000), "p3": ("fd00::3", 80), "p4": ("p4.local", 80)}
LATE = 10.0
"""Seconds after which a test gives up on what comes at once on any machine."""


class Answer(NamedTuple):
    status: int
    fields: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = strictly(self.body)
        return found


def strictly(text: bytes | str) -> Any:
    def refuse(word: str) -> None:
        raise ValueError(f"{word} is no JSON")

    return json.loads(text, parse_constant=refuse)


async def nothing(exchange: Exchange) -> None:
    raise AssertionError("nothing goes through the proxy here")


class Side:
    """An admin side that listens, and what is behind it."""

    port: int

    def __init__(self, house: House, *, token: str | None = TOKEN, **settings: Any) -> None:
        self.house = house
        self.pool = house.pool(**settings)
        self.proxy = Server(nothing, ServerSettings())
        metrics = Metrics(self.pool)
        metrics.watch(self.proxy)
        self.requests = metrics.requests
        idle = {key: value for key, value in settings.items() if key == "idle_timeout"}
        options = Options(admin=Address(NAME, 0), admin_token=token, **idle)
        self.admin = Admin(self.pool, metrics, self.proxy, options, ADDRESSES)

    async def send(
        self, target: str, *lines: str, method: str = "GET", body: str = "", host: str = "localhost"
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        head = [f"{method} {target} HTTP/1.1", f"Host: {host}", "Connection: close", *lines]
        if body:
            head.append(f"Content-Length: {len(body)}")
        writer.write("\r\n".join([*head, "", body]).encode())
        return reader, writer

    async def ask(self, target: str, *lines: str, **how: Any) -> Answer:
        reader, writer = await self.send(target, *lines, **how)
        async with asyncio.timeout(LATE):
            answer = await read_head(reader)
            body = await reader.read()
        writer.close()
        return answer._replace(body=body)

    async def post(self, target: str, *lines: str, body: str = "", **how: Any) -> Answer:
        return await self.ask(target, *lines, method="POST", body=body, **how)

    async def wake(self, name: str) -> None:
        self.pool.wake(name)
        await self.pass_until(name, PoolState.READY)

    async def pass_until(self, name: str, state: PoolState) -> None:
        while self.pool.nodes[name].state is not state:
            await self.house.clock.pass_time(0.25)

    @asynccontextmanager
    async def watch(self) -> AsyncGenerator[Stream]:
        reader, writer = await self.send("/events")
        try:
            async with asyncio.timeout(LATE):
                yield Stream(await read_head(reader), reader)
        finally:
            writer.close()

    async def until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(LATE):
            while not holds():  # noqa: ASYNC110  # it is the server's own: nobody tells
                await asyncio.sleep(0.01)


async def read_head(reader: asyncio.StreamReader) -> Answer:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines if line)
    return Answer(int(first.split()[1]), {name.lower(): value for name, value in fields.items()}, b"")


class Stream:
    """An event stream as a viewer reads it."""

    def __init__(self, head: Answer, reader: asyncio.StreamReader) -> None:
        self.head = head
        self._reader = reader
        self._text = b""

    async def block(self) -> list[str]:
        """The lines up to the next empty one. None come after the stream's end."""
        while b"\n\n" not in self._text:
            size = int(await self._reader.readline(), 16)
            if not size:
                return []
            self._text += await self._reader.readexactly(size)
            await self._reader.readexactly(2)
        text, _, self._text = self._text.partition(b"\n\n")
        return text.decode().split("\n")

    async def message(self) -> dict[str, Any]:
        """The next message without a name."""
        while True:
            lines = await self.block()
            assert lines, "the stream has ended"
            if lines[0].startswith("data: "):
                assert len(lines) == 1
                found: dict[str, Any] = strictly(lines[0].removeprefix("data: "))
                return found

    async def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        while not holds(message := await self.message()):
            pass
        return message


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path))


@pytest.fixture(autouse=True)
def no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(switching, "WRONG_TOKEN_DELAY", 0.0)


def play(house: House, scene: Callable[[Side], Awaitable[None]], **how: Any) -> None:
    """Runs a scene with an admin side."""

    async def main() -> None:
        side = Side(house, **how)
        await side.pool.open()
        try:
            ((_, side.port),) = await side.admin.server.listen("127.0.0.1")
            await scene(side)
        finally:
            await side.admin.server.drain(0)
            await side.pool.close()
            await house.hat.close()

    run(main)


# Paths and methods ------------------------------------------------------------------------------------------


def test_health_and_readiness(house: House) -> None:
    async def scene(side: Side) -> None:
        assert (await side.ask("/healthz"))[::2] == (200, b"ok\n")
        assert (await side.ask("/readyz"))[::2] == (200, b"ready\n")
        side.proxy.draining = True
        assert (await side.ask("/healthz?x=1")).status == 200
        answer = await side.ask("/readyz")
        assert answer.status == 503
        assert answer.body == b"draining: no new connections, 0 requests under way\n"

    play(house, scene)


def test_head_has_what_get_has_but_the_body(house: House) -> None:
    async def scene(side: Side) -> None:
        for path in ["/", "/healthz", "/readyz", "/status"]:
            whole, head = await side.ask(path), await side.ask(path, method="HEAD")
            assert (head.status, head.body) == (200, b""), path
            assert head.fields.keys() == whole.fields.keys(), path
            assert head.fields["content-type"] == whole.fields["content-type"]
            assert int(whole.fields["content-length"]) == len(whole.body)
        for path in ["/metrics", "/events"]:
            head = await side.ask(path, method="HEAD")
            assert (head.status, head.body) == (200, b""), path

    play(house, scene)


def test_other_paths_and_methods(house: House) -> None:
    async def scene(side: Side) -> None:
        for path in [
            "/x",
            "/status/",
            "/nodes",
            "/nodes/p1",
            "/nodes/p1/on/",
            "/nodes//on",
            "//",
            "/nodes/p1/ON",
        ]:
            for method in ["GET", "POST"]:
                answer = await side.ask(path, method=method)
                assert answer.status == 404, (method, path)
        for path in GETS:
            for method in ["POST", "PUT", "DELETE", "BREW", "OPTIONS"]:
                answer = await side.ask(path, method=method)
                assert (answer.status, answer.fields["allow"]) == (405, "GET, HEAD"), (method, path)
        for method in ["GET", "HEAD", "PUT"]:
            answer = await side.ask("/nodes/p1/on", BEARER, method=method)
            assert (answer.status, answer.fields["allow"]) == (405, "POST")
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1:8081",
        "192.168.1.9",
        "[::1]",
        "[fd00::1]:99",
        "localhost",
        "LOCALHOST.:1",
        NAME,
        f"{NAME.upper()}:8081",
        "",
    ],
)
def test_hosts_that_are_served(house: House, host: str) -> None:
    async def scene(side: Side) -> None:
        assert (await side.ask("/healthz", host=host)).status == 200

    play(house, scene)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8081",
        f"x.{NAME}",
        f"{NAME}.evil.example",
        "127.0.0.1.evil.example",
        "1.2.3",
        "localhost.evil.example",
        "[::1].evil.example",
        "[evil.example]",
        "p1.local",
    ],
)
def test_other_names_are_not_served(house: House, host: str) -> None:
    async def scene(side: Side) -> None:
        for path in [*GETS, "/x"]:
            assert (await side.ask(path, host=host)).status in (400, 421), path
        answer = await side.post("/nodes/p1/on", BEARER, host=host)
        assert answer.status in (400, 421)
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene)


# The state --------------------------------------------------------------------------------------------------


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


def fails(monkeypatch: pytest.MonkeyPatch) -> None:
    async def status(_: AsyncCluster) -> Status:
        raise BackendError("the bus does not answer:\n look at the cable")

    monkeypatch.setattr(AsyncCluster, "status", status)


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


# The page ---------------------------------------------------------------------------------------------------


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


# The event stream -------------------------------------------------------------------------------------------


def test_a_change_is_shown_within_a_second(house: House) -> None:
    async def scene(side: Side) -> None:
        async with side.watch() as stream:
            assert stream.head.status == 200
            assert stream.head.fields["content-type"] == "text/event-stream"
            assert stream.head.fields["cache-control"] == "no-store"
            first = await stream.message()
            status = (await side.ask("/status")).json
            assert first.keys() == status.keys()
            assert first["nodes"] == status["nodes"]

            async def shown(holds: Callable[[dict[str, Any]], bool]) -> None:
                async with asyncio.timeout(1.0):
                    await stream.until(holds)

            side.pool.wake("p1")
            await shown(lambda status: status["nodes"]["p1"]["state"] == "on")
            side.pool.wake("p2")
            await shown(lambda status: status["nodes"]["p2"]["state"] == "queued")
            await house.clock.pass_time(0.5)
            await shown(lambda status: status["nodes"]["p2"]["powered"] is True)
            await side.pass_until("p1", PoolState.READY)
            await shown(lambda status: status["nodes"]["p1"]["state"] == "ready")
            side.requests.in_flight = 3
            await shown(lambda status: status["proxy"]["in_flight"] == 3)
            house.outside(p3=True)
            await shown(lambda status: status["nodes"]["p3"]["powered"] is True)
            side.proxy.draining = True
            await shown(lambda status: status["proxy"]["draining"] is True)

    play(house, scene)


def test_counts_are_sent_five_times_a_second_and_times_once(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "TICK", 0.5)

    async def scene(side: Side) -> None:
        async with side.watch() as stream:
            await stream.message()
            begun = time.monotonic()
            busy = asyncio.create_task(change(side.requests))
            for _ in range(4):
                await stream.message()
            assert time.monotonic() - begun >= 3 * live.LOOK_INTERVAL
            busy.cancel()
            await asyncio.gather(busy, return_exceptions=True)
            await stream.message()
            before, after = await stream.message(), await stream.message()
            assert after["proxy"]["uptime"] - before["proxy"]["uptime"] > 0.9 * live.TICK

    async def change(requests: RequestMetrics) -> None:
        while True:
            requests.in_flight += 1
            await asyncio.sleep(0.01)

    play(house, scene)


def test_viewers_share_one_reading(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TICK", 0.3)
    readings = 0
    real = AsyncCluster.status

    async def status(self: AsyncCluster) -> Status:
        nonlocal readings
        readings += 1
        return await real(self)

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", status)
        begun = time.monotonic()
        async with side.watch() as one, side.watch() as two, side.watch() as three:
            seen = [await asyncio.gather(*(s.message() for s in (one, two, three))) for _ in range(3)]
            assert seen[-1][0] == seen[-1][1] == seen[-1][2]
        assert readings <= 2 + (time.monotonic() - begun) / READ_INTERVAL
        await side.until(lambda: not side.admin.server.connections)
        readings_then = readings
        await asyncio.sleep(2 * READ_INTERVAL)
        assert readings == readings_then, "nobody watches"
        async with side.watch() as stream:
            await stream.message()
        assert readings > readings_then

    play(house, scene)


def test_viewers_are_bounded(house: House) -> None:
    async def scene(side: Side) -> None:
        writers: list[asyncio.StreamWriter] = []
        for _ in range(MOST_VIEWERS):
            reader, writer = await side.send("/events")
            assert (await read_head(reader)).status == 200
            writers.append(writer)
        answer = await side.ask("/events")
        assert (answer.status, answer.fields["retry-after"]) == (503, "5")
        assert (await side.ask("/status")).status == 200
        writers.pop().close()
        await side.until(lambda: len(side.admin.server.connections) < MOST_VIEWERS)
        async with side.watch() as stream:
            assert stream.head.status == 200
            assert await stream.message()
        for writer in writers:
            writer.close()

    play(house, scene)


def test_silence_is_broken_by_comments(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hangs(_: AsyncCluster) -> Status:
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", hangs)
        monkeypatch.setattr(live, "HEARTBEAT", 0.05)
        async with side.watch() as stream:
            assert await stream.block() == [":"]
            assert await stream.block() == [":"]

    play(house, scene)


def test_trouble_with_the_cluster_is_told_and_the_rest_goes_on(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(side: Side) -> None:
        real = AsyncCluster.status
        text = "the bus does not answer: look at the cable"
        fails(monkeypatch)
        async with side.watch() as stream:
            event, data = await stream.block()
            assert event == "event: trouble"
            assert strictly(data.removeprefix("data: ")) == {"trouble": text}
            monkeypatch.setattr(AsyncCluster, "status", real)
            assert "trouble" not in await stream.message()
            fails(monkeypatch)
            await stream.until(lambda status: status.get("trouble") == text)
            side.requests.in_flight = 2
            assert (await stream.until(lambda status: status["proxy"]["in_flight"] == 2))["trouble"] == text

    play(house, scene)


def test_draining_ends_the_streams(house: House) -> None:
    async def scene(side: Side) -> None:
        async with side.watch() as stream:
            await stream.message()
            begun = time.monotonic()
            drained = asyncio.create_task(side.admin.server.drain(LATE))
            while await stream.block():
                pass
            assert time.monotonic() - begun < 2 * live.TICK
        assert await drained
        assert not side.admin.server.connections

    play(house, scene)


def test_a_mistake_while_watching_ends_the_stream(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def breaks(_: AsyncCluster) -> Status:
        raise ZeroDivisionError

    async def scene(side: Side) -> None:
        monkeypatch.setattr(AsyncCluster, "status", breaks)
        monkeypatch.setattr(live, "HEARTBEAT", 0.05)
        async with side.watch() as stream:
            with pytest.raises((ConnectionError, ValueError)):
                await stream.block()

    play(house, scene)


# Switching by hand ------------------------------------------------------------------------------------------


def test_switching_on_and_off(house: House) -> None:
    async def scene(side: Side) -> None:
        form = f"token={TOKEN}"
        answer = await side.post("/nodes/p1/on", FORM, "Accept: application/json", body=form)
        assert answer.status == 200
        assert answer.fields["content-type"].startswith("application/json")
        assert answer.json == {"node": "p1", "done": True, "detail": "p1 starts"}
        answer = await side.post("/nodes/p1/on", BEARER)
        assert (answer.status, answer.json["done"], answer.json["detail"]) == (
            200,
            False,
            "p1 starts already",
        )
        answer = await side.post("/nodes/p1/off", BEARER)
        assert answer.status == 409
        assert answer.json["detail"] == "p1 starts: it can be switched off once it is ready"
        await side.pass_until("p1", PoolState.READY)
        assert (await side.post("/nodes/p1/on", BEARER)).json["detail"] == "p1 is on"
        answer = await side.post("/nodes/p1/off", f"authorization: bearer {TOKEN}")
        assert answer.json == {"node": "p1", "done": True, "detail": "p1 goes off"}
        await side.pass_until("p1", PoolState.OFF)
        answer = await side.post("/nodes/p1/off", BEARER)
        assert (answer.status, answer.json["done"], answer.json["detail"]) == (200, False, "p1 is off")
        assert not house.world["p1"].is_up

    play(house, scene)


def test_a_form_without_scripts(house: House) -> None:
    async def scene(side: Side) -> None:
        form = f"token={TOKEN}"
        answer = await side.post("/nodes/p2/on", FORM, HTML, body=form)
        assert (answer.status, answer.fields["location"]) == (303, "/")
        await side.pass_until("p2", PoolState.READY)
        lease = side.pool.lease("p2")
        assert lease.ask()
        answer = await side.post("/nodes/p2/off", FORM, HTML, body=form)
        assert answer.status == 409
        assert answer.fields["content-type"].startswith("text/html")
        assert b"p2 is in use: 1 in flight" in answer.body
        lease.release()

    play(house, scene)


def test_a_node_in_use_stays_on(house: House) -> None:
    async def scene(side: Side) -> None:
        await side.wake("p1")
        lease = side.pool.lease("p1")
        assert lease.ask()
        answer = await side.post("/nodes/p1/off", BEARER)
        assert answer.status == 409
        assert answer.json == {
            "node": "p1",
            "done": False,
            "detail": "p1 is in use: 1 in flight, 0 waiting for it",
        }
        assert side.pool.nodes["p1"].state is PoolState.READY
        lease.release()
        assert (await side.post("/nodes/p1/off", BEARER)).json["done"] is True

    play(house, scene)


def test_a_node_that_failed_is_left_alone(house: House) -> None:
    async def scene(side: Side) -> None:
        side.pool.wake("p1")
        await side.pass_until("p1", PoolState.FAILED)
        for power in ["on", "off"]:
            answer = await side.post(f"/nodes/p1/{power}", BEARER)
            assert (answer.status, answer.json["done"]) == (409, False)
            assert answer.json["detail"].startswith("p1 failed, and is not used for now: ")

    play(house, scene, boot_timeout=BOOT_TIME / 2)


def test_nothing_is_switched_on_once_the_pool_ends(house: House) -> None:
    async def scene(side: Side) -> None:
        await side.pool.drain(0)
        answer = await side.post("/nodes/p1/on", BEARER)
        assert (answer.status, answer.json["detail"]) == (409, "the proxy is ending")

    play(house, scene)


@pytest.mark.parametrize(
    ("lines", "body", "detail"),
    [
        ([], "", "the token is missing"),
        ([FORM], "other=1", "the token is missing"),
        ([FORM], "token=", "the token is missing"),
        (["Content-Type: application/json"], f'{{"token":"{TOKEN}"}}', "the token is missing"),
        (["Content-Type: text/plain"], f"token={TOKEN}", "the token is missing"),
        ([FORM], f"token={TOKEN}x", "the token is wrong"),
        ([FORM], f"token={TOKEN[:-1]}", "the token is wrong"),
        ([FORM], "token=%ff%00\u00e9", "the token is wrong"),
        ([FORM], f"token=x&token={TOKEN}", "the token is wrong"),
        ([f"{BEARER}x"], "", "the token is wrong"),
        ([f"Authorization: Bearer x{TOKEN}", FORM], f"token={TOKEN}", "the token is wrong"),
        ([f"Authorization: Basic {TOKEN}"], "", "the token is missing"),
    ],
)
def test_without_the_token_nothing_is_switched(
    house: House, lines: list[str], body: str, detail: str
) -> None:
    async def scene(side: Side) -> None:
        for path in ["/nodes/p1/on", "/nodes/p9/on"]:
            answer = await side.post(path, *lines, body=body.encode().decode("latin-1"))
            assert (answer.status, answer.json["detail"]) == (403, detail)
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene)


def test_a_wrong_token_costs_time(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(side: Side) -> None:
        begun = time.monotonic()
        wrong = asyncio.create_task(side.post("/nodes/p1/on", BEARER + "x"))
        assert (await side.ask("/healthz")).status == 200
        assert not wrong.done()
        assert (await wrong).status == 403
        assert time.monotonic() - begun >= 0.3

    monkeypatch.setattr(switching, "WRONG_TOKEN_DELAY", 0.3)
    play(house, scene)


def test_without_a_token_of_its_own_it_switches_nothing(house: House) -> None:
    async def scene(side: Side) -> None:
        for lines in ([], [BEARER], ["Authorization: Bearer "], ["Authorization: Bearer None"]):
            answer = await side.post("/nodes/p1/on", *lines)
            assert answer.status == 403
            assert answer.json["detail"] == "switching by hand is off: set --admin-token-file"
        assert side.pool.nodes["p1"].state is PoolState.OFF

    play(house, scene, token=None)


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("Origin: http://localhost:8081", 200),
        ("Origin: HTTP://LOCALHOST:8081", 200),
        ("Origin: http://localhost", 403),
        ("Origin: http://localhost:8082", 403),
        ("Origin: http://evil.example", 403),
        ("Origin: http://evil.example:8081", 403),
        ("Origin: null", 403),
        ("Origin: ", 403),
        ("Sec-Fetch-Site: same-origin", 200),
        ("Sec-Fetch-Site: same-site", 403),
        ("Sec-Fetch-Site: cross-site", 403),
    ],
)
def test_only_pages_of_its_own_may_switch(house: House, line: str, status: int) -> None:
    async def scene(side: Side) -> None:
        answer = await side.post("/nodes/p1/on", line, BEARER, host="localhost:8081")
        assert answer.status == status
        assert (side.pool.nodes["p1"].state is PoolState.OFF) == (status != 200)

    play(house, scene)


def test_a_node_that_is_not_there(house: House) -> None:
    async def scene(side: Side) -> None:
        for name in ["p9", "p1%20", "%70%31", "P1", "..", "p1;p2"]:
            answer = await side.post(f"/nodes/{name}/on", BEARER)
            assert answer.status == 404
            assert answer.json["detail"] == "there is no such node; the nodes are p1, p2, p3, p4"

    play(house, scene)


def test_what_is_sent_is_bounded(house: House) -> None:
    async def scene(side: Side) -> None:
        answer = await side.post("/nodes/p1/on", FORM, body="x" * 5000)
        assert answer.status == 413
        assert (await side.ask("/healthz", f"X: {'x' * 20000}")).status == 431

    play(house, scene)


def test_a_client_that_waits_to_send_its_body_is_told_to(house: House) -> None:
    async def scene(side: Side) -> None:
        body = f"token={TOKEN}"
        lines = [FORM, "Expect: 100-continue", f"Content-Length: {len(body)}"]
        reader, writer = await side.send("/nodes/p1/on", *lines, method="POST")
        async with asyncio.timeout(LATE):
            assert (await read_head(reader)).status == 100
            writer.write(body.encode())
            assert (await read_head(reader)).status == 200
        writer.close()

    play(house, scene)


# Metrics over HTTP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        ("text/plain;version=x.y", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=abc", "text/plain; version=0.0.4; charset=utf-8"),
        ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", "application/openmetrics-text"),
    ],
)
def test_metrics_in_the_format_asked_for(house: House, accept: str | None, kind: str) -> None:
    async def scene(side: Side) -> None:
        answer = await side.ask("/metrics", *([f"Accept: {accept}"] if accept else []))
        assert answer.status == 200
        assert re.match(re.escape(kind), answer.fields["content-type"])
        assert b'clusterhat_node_state{node="p1",state="off"} 1.0\n' in answer.body
        assert answer.body.endswith(b"# EOF\n") == ("openmetrics" in kind)

    play(house, scene)
