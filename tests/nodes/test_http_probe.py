"""Probes of HTTP servers, good and bad, on loopback."""

from __future__ import annotations

import asyncio
import select
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.nodes.probes import (
    HttpProbe,
    Probe,
    Verdict,
    await_until_up,
)
from tests.nodes.servers import (
    LONG,
    OK,
    Server,
    blocking,
    both,
    in_a_loop,
    resets,
    says,
    silent_port,
    trickles,
    until_it_leaves,
)

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable


FIELD = b"X-Filler: " + b"x" * 1000 + b"\r\n"

ANSWERS: dict[str, tuple[Any, dict[str, Any], bool, str]] = {
    "ok": (says(OK), {}, True, "status 200 from {}"),
    "old": (says(b"HTTP/1.0 301\r\n"), {}, True, "status 301 from {}"),
    "bare line feeds": (says(b"HTTP/1.1 204 No Content\n\n"), {}, True, "status 204 from {}"),
    "in pieces": (says(*(bytes([c]) for c in OK)), {}, True, "status 200 from {}"),
    "interim answers": (
        says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early", b" Hints\r\nLink: </>\r\n\r\n", OK),
        {},
        True,
        "status 200 from {}",
    ),
    "not found": (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), {}, False, "unexpected status 404 from {}"),
    "expected": (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), {"expect": "404"}, True, "status 404 from {}"),
    "unexpected": (says(OK), {"expect": [204, 301]}, False, "unexpected status 200 from {}"),
    "ssh": (
        says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        {},
        False,
        r"not HTTP from {}: b'SSH-2.0-OpenSSH_9.2'",
    ),
    "closes": (says(), {}, False, "{} closed the connection without an answer"),
    "closes half way": (says(OK[:12]), {}, False, "{} closed the connection without an answer"),
    "resets": (resets, {}, False, "connection reset by peer: {}"),
    "silent": (until_it_leaves, {"timeout": 0.1}, False, "no answer from {} within 0.1 s"),
    "trickles": (trickles, {"timeout": 0.1}, False, "no answer from {} within 0.1 s"),
    "endless": (
        says(b"HTTP/1.1 100 Continue\r\n", *[FIELD] * 100),
        {},
        False,
        "no status in the first 64 KiB from {}",
    ),
    "endless interim answers": (
        says(*[b"HTTP/1.1 102 Processing\r\n\r\n" * 40] * 100),
        {},
        False,
        "no status in the first 64 KiB from {}",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    handle, arguments, up, reason = ANSWERS[name]
    with Server(handle) as server:
        settings: dict[str, Any] = {"timeout": LONG, **arguments}
        probe = HttpProbe("127.0.0.1", server.port, **settings)
        expected = Verdict(up, reason.format(f"127.0.0.1:{server.port}"))
        assert blocking(probe) == expected
        assert in_a_loop(probe) == expected
        assert server.connections == 2


def test_the_request() -> None:
    requests: list[str] = []

    def handle(connection: socket.socket) -> None:
        requests.append(connection.recv(4096).decode())
        connection.sendall(OK)

    with Server(handle) as server:
        plain = HttpProbe("127.0.0.1", server.port)
        named = HttpProbe("127.0.0.1", server.port, "/up?a=b%20c", host_header="web.example")
        for probe in (plain, named):
            assert blocking(probe)
            assert in_a_loop(probe)
    assert requests == [text for text in requests[::2] for _ in "12"]
    first, *fields = requests[0].removesuffix("\r\n\r\n").split("\r\n")
    assert first == "GET / HTTP/1.1"
    assert {f"Host: 127.0.0.1:{server.port}", "Connection: close"} < {*fields}
    assert requests[2].startswith("GET /up?a=b%20c HTTP/1.1\r\nHost: web.example\r\n")


@both
def test_ipv6(ask: Callable[[Probe], Verdict]) -> None:
    requests: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        requests.append(connection.recv(4096))
        connection.sendall(OK)

    try:
        server = Server(handle, "::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        where = f"[::1]:{server.port}"
        assert ask(HttpProbe("::1", server.port)) == Verdict(True, f"status 200 from {where}")
    assert f"\r\nHost: {where}\r\n".encode() in requests[0]


def test_a_request_larger_than_what_the_system_takes_at_once() -> None:
    path = "/" + "x" * 8_000_000
    received: list[int] = []

    def handle(connection: socket.socket) -> None:
        count = 0
        tail = b""
        while not tail.endswith(b"\r\n\r\n"):
            more = connection.recv(1 << 20)
            count += len(more)
            tail = (tail + more)[-4:]
        received.append(count)
        connection.sendall(OK)

    with Server(handle) as server:
        probe = HttpProbe("127.0.0.1", server.port, path, timeout=LONG)
        assert blocking(probe)
        assert in_a_loop(probe)
    assert received[0] == received[1] > len(path)


def test_a_cancelled_probe_closes_its_connection() -> None:
    came, left = threading.Event(), threading.Event()

    def handle(connection: socket.socket) -> None:
        came.set()
        until_it_leaves(connection)
        left.set()

    async def leave(port: int) -> None:
        task = asyncio.create_task(await_until_up(HttpProbe("127.0.0.1", port, timeout=LONG), timeout=LONG))
        assert await asyncio.to_thread(came.wait, LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(left.wait, LONG)

    with Server(handle) as server:
        asyncio.run(leave(server.port))


def test_ctrl_c_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()

    def handle(connection: socket.socket) -> None:
        until_it_leaves(connection)
        left.set()

    class Interrupted:
        """A poll during which the user presses Ctrl-C."""

        def register(self, *_: int) -> None:
            pass

        def poll(self, _milliseconds: float) -> None:
            raise KeyboardInterrupt

    with Server(handle) as server:
        monkeypatch.setattr(select, "poll", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            HttpProbe("127.0.0.1", server.port, timeout=LONG).ask()
        assert left.wait(LONG)


@both
def test_a_network_that_is_not_there_yet_is_asked_again_soon(ask: Callable[[Probe], Verdict]) -> None:
    """A whole answer may take long, but not the connection: the system would try once a second."""
    with silent_port() as port:
        began = time.monotonic()
        assert ask(HttpProbe("127.0.0.1", port, timeout=LONG, connect_timeout=0.1)) == Verdict(
            False, f"no connection to 127.0.0.1:{port} within 0.1 s"
        )
        assert ask(HttpProbe("127.0.0.1", port, timeout=LONG)).reason.endswith("within 0.3 s")
        assert time.monotonic() - began < LONG / 2
