"""Very many requests at once at a cluster without power."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import resource
import socket
import time
from contextlib import contextmanager
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import pytest

from rpi_clusterhat_sim.state_file import StateFile
from tests.proxy.running import PATIENCE, Proxy

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

BOOT = 1.5
SPACING = 0.3
NODES = 4


class Answer(NamedTuple):
    status: int
    retry_after: str | None
    body: bytes
    asked: float
    answered: float
    """Seconds of the monotonic clock."""


@contextmanager
def open_files(wanted: int) -> Generator[None]:
    """This process may have so many files open meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this process may have {hard} files open, not {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def clients(wanted: int) -> int:
    """As many of so many clients as the proxy has room for, which keeps two files for each."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if hard == resource.RLIM_INFINITY else min(wanted, hard // 2 - 500)


async def ask(port: int, request: bytes) -> Answer:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        asked = time.monotonic()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        body = await reader.readexactly(int(fields[b"content-length"]))
        again = fields.get(b"retry-after")
        return Answer(status, again.decode() if again else None, body, asked, time.monotonic())
    finally:
        writer.close()


def took(answers: list[Answer]) -> float:
    return max(answer.answered for answer in answers) - min(answer.asked for answer in answers)


def request(number: int, body: bytes) -> bytes:
    if not body:
        return b"GET /%d HTTP/1.1\r\nHost: cluster\r\n\r\n" % number
    head = b"POST /%d HTTP/1.1\r\nHost: cluster\r\nContent-Length: %d\r\n\r\n" % (number, len(body))
    return head + body


def resident(process: int) -> int:
    """Bytes of memory that a process has had at most."""
    with open(f"/proc/{process}/status", encoding="ascii") as file:
        line = next(line for line in file if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def power_ups(world: StateFile) -> list[tuple[float, str]]:
    with world.look() as now:
        return [(record.time, record.node) for record in now.history if record.what == "on"]


def check_power_ups(world: StateFile) -> None:
    ups = power_ups(world)
    assert sorted(node for _, node in ups) == [f"p{n}" for n in range(1, NODES + 1)]
    times = [at for at, _ in ups]
    assert all(b - a >= SPACING - 1e-6 for a, b in itertools.pairwise(times)), times


def test_a_thousand_at_once_wake_each_node_once(tmp_path: Path) -> None:
    choose = random.Random(1)
    bodies = [b"" if n % 2 else choose.randbytes(choose.randrange(1, 5000)) for n in range(1000)]
    world = StateFile(str(tmp_path / "world"))
    options = ["--option", f"state={world.path}", "--boot-time", str(BOOT), "--spacing", str(SPACING)]

    async def all_of_them(port: int) -> list[Answer]:
        async with asyncio.timeout(4 * PATIENCE):
            return await asyncio.gather(*[ask(port, request(n, body)) for n, body in enumerate(bodies)])

    with open_files(2000), Proxy("--cold", "hold", *options, dev=False) as proxy:
        answers = asyncio.run(all_of_them(proxy.port))
        warm = took(asyncio.run(all_of_them(proxy.port)))
        assert proxy.status()["proxy"]["in_flight"] == 0
    assert [answer.status for answer in answers] == [200] * 1000
    told = [json.loads(answer.body) for answer in answers]
    assert [echo["target"] for echo in told] == [f"/{n}" for n in range(1000)]
    assert [echo["method"] for echo in told] == ["POST" if body else "GET" for body in bodies]
    assert [echo["body"] for echo in told] == [
        {"length": len(body), "sha256": sha256(body).hexdigest()} for body in bodies
    ]
    assert {echo["node"] for echo in told} == {"p1", "p2", "p3", "p4"}
    check_power_ups(world)
    cold = took(answers)
    print(f"1,000 at once: all answered after {cold:.2f} s, by warm nodes after {warm:.2f} s")
    assert cold <= BOOT + 3 * SPACING + 3 * warm + 0.5


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As a node does: answers each request with ``ok``."""
    try:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


def test_of_ten_thousand_at_once_those_beyond_the_queue_are_told_at_once(tmp_path: Path) -> None:
    """The nodes come up when all the others have been told."""
    queue, count = 500, clients(10_000)
    world = StateFile(str(tmp_path / "world"))
    options = ["--option", f"state={world.path}", "--boot-time", "0.1", "--spacing", str(SPACING)]
    long = ("--timeout-http-request", "60", "--queue-timeout", "60")

    async def all_of_them(port: int, node: socket.socket) -> list[Answer]:
        told = 0
        all_told = asyncio.Event()

        async def one(number: int) -> Answer:
            nonlocal told
            answer = await ask(port, request(number, b""))
            told += answer.status == 503
            if told == count - queue:
                all_told.set()
            return answer

        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            asking = [group.create_task(one(n)) for n in range(count)]
            await all_told.wait()
            async with await asyncio.start_server(serve, sock=node):
                answers = [await task for task in asking]
                assert (await ask(port, request(count, b""))).status == 200
                return answers

    with open_files(2 * count + 1000), socket.socket() as node:
        node.bind(("127.0.0.1", 0))  # refuses connections until it listens
        at = [f"--node=p{n}=127.0.0.1:{node.getsockname()[1]}" for n in range(1, NODES + 1)]
        with Proxy("--cold", "hold", "--queue", str(queue), *at, *long, *options, dev=False) as proxy:
            before = resident(proxy.process.pid)
            answers = asyncio.run(all_of_them(proxy.port, node))
            grown = resident(proxy.process.pid) - before
            assert proxy.status()["proxy"]["in_flight"] == 0
    served = [answer for answer in answers if answer.status == 200]
    refused = [answer for answer in answers if answer.status == 503]
    assert (len(served), len(refused)) == (queue, count - queue)
    assert all(answer.retry_after and 1 <= int(answer.retry_after) <= 30 for answer in refused)
    longest = max(answer.answered - answer.asked for answer in refused)
    print(
        f"{count} at once: {len(refused)} refused, the slowest after {longest:.2f} s; "
        f"memory grew by {grown / 1e6:.1f} MB from {before / 1e6:.1f} MB"
    )
    assert max(answer.answered for answer in refused) < min(answer.answered for answer in served)
    assert grown < 100e6
    check_power_ups(world)
