"""Lines and buses that fail, and services that break."""

from __future__ import annotations

import asyncio
import http.client
import socket
import struct
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.proxy.failures.failing import HELD, fail, proxy_in
from tests.proxy.running import PATIENCE, Proxy

if TYPE_CHECKING:
    from collections.abc import Generator

    from rpi_clusterhat_sim.state_file import StateFile


@pytest.mark.parametrize("fault", ["p1:stuck-low", "bus:error@1x1000", "bus:gone@1"])
def test_what_cannot_be_switched_is_told(world: StateFile, fault: str) -> None:
    with proxy_in(world, "--retry-after-failure", "0.5", nodes=1) as proxy:
        fail(world, fault)
        reply = proxy.request()
        assert reply.status in (503, 504)
        assert reply.headers["Retry-After"] == "1"
        assert reply.json["detail"].startswith("p1: ")
        fail(world, "p1:ok,bus:ok")
        end = time.monotonic() + PATIENCE
        while proxy.request().status != 200:
            assert time.monotonic() < end
            time.sleep(0.1)


def test_where_one_node_cannot_be_switched_another_serves(world: StateFile) -> None:
    with proxy_in(world, nodes=2) as proxy:
        fail(world, "bus:error@1")
        assert proxy.request(method="POST", body=b"order").json["node"] == "p2"


def test_a_node_that_cannot_be_switched_off_serves_on(world: StateFile) -> None:
    options = ["--idle-timeout", "0.3", "--min-on-time", "0", "--retry-after-failure", "0.3"]
    with proxy_in(world, *options, nodes=1) as proxy:
        assert proxy.request().status == 200
        fail(world, "p1:stuck-high")
        # It was tried, and is tried again after a back-off that is longer than the idle time.
        proxy.until(lambda status: (status["nodes"]["p1"]["idle_off_in"] or 0.0) > 0.3)
        end = time.monotonic() + PATIENCE
        while proxy.request().status != 200:
            assert time.monotonic() < end
            time.sleep(0.05)


class Peer:
    """A service at an address of its own, in a thread: answers each request with ``ok``, and closes each
    connection on which nothing comes for ``idle`` seconds."""

    def __init__(self, idle: float) -> None:
        self.requests = 0
        self._idle = idle
        self._port = 0

    def start(self) -> None:
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(PATIENCE)

    def stop(self) -> None:
        """As a service that is ended: its connections are reset."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(PATIENCE)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._over = asyncio.Event()
        serving: set[asyncio.Task[None]] = set()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task
            serving.add(task)
            try:
                await self._serve(reader, writer)
            except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
                writer.close()
            finally:
                serving.discard(task)
                writer.transport.abort()

        server = await asyncio.start_server(serve, "127.0.0.1", self._port)
        self._port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._over.wait()
        server.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        idle = None  # not before its first request: on a busy machine that may take a while
        while True:
            async with asyncio.timeout(idle):
                head = await reader.readuntil(b"\r\n\r\n")
            idle = self._idle
            if b"\r\nContent-Length: 5\r\n" in head:
                await reader.readexactly(5)
            self.requests += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@contextmanager
def peer(idle: float = PATIENCE) -> Generator[Peer]:
    found = Peer(idle)
    found.start()
    try:
        yield found
    finally:
        found.stop()


def test_connections_that_a_node_closes_while_idle_are_not_noticed() -> None:
    """Each client asks again just when the node closes the connection that was kept open to it."""
    idle = 0.1
    with (
        peer(idle) as node,
        Proxy("--node", f"p1={node.address}", "--nodes", "1", *HELD) as proxy,
        ExitStack() as stack,
    ):
        clients = [
            stack.enter_context(
                closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE))
            )
            for _ in range(40)
        ]
        for turn in range(15):
            for client in clients:
                client.request("GET" if turn % 3 else "PUT", f"/{turn}", None if turn % 3 else b"12345")
            for client in clients:
                with client.getresponse() as answer:
                    assert (answer.status, answer.read()) == (200, b"ok"), turn
            time.sleep(idle - 0.014 + 0.002 * turn)


def test_a_request_that_must_not_be_repeated_uses_no_connection_that_may_be_stale() -> None:
    with (
        peer(1.5) as node,
        Proxy("--node", f"p1={node.address}", "--nodes", "1", "--probe", "tcp", *HELD) as proxy,
    ):
        for turn in range(3):
            assert proxy.request("/", method="POST", body=b"12345").status == 200, turn
            time.sleep(1.49)
        assert node.requests == 3


def test_a_service_that_is_restarted_is_not_noticed() -> None:
    with peer() as node, Proxy("--node", f"p1={node.address}", "--nodes", "1", *HELD) as proxy:
        assert proxy.request().status == 200
        node.stop()
        restart = threading.Timer(0.3, node.start)
        restart.start()
        reply = proxy.request()  # held: the node is looked at, and is back in time
        restart.join()
        assert (reply.status, reply.body) == (200, b"ok")
        assert proxy.status()["nodes"]["p1"]["boots"] == 1


def test_a_node_that_resets_each_request_is_told() -> None:
    """Nothing ever came of it, so it may still be booting: it is tried now and then while there is time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken = 0

        def serve() -> None:
            nonlocal taken
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.settimeout(PATIENCE)
                    try:
                        taken += bool(connection.recv(1000))
                    except TimeoutError:
                        pass
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            address = f"127.0.0.1:{listener.getsockname()[1]}"
            options = ("--nodes", "1", "--probe", "tcp", "--queue-timeout", "1", *HELD)
            with Proxy("--node", f"p1={address}", *options) as proxy:
                for method, body in (("GET", None), ("POST", b"x")):
                    before = taken
                    assert proxy.request(method=method, body=body).status == 502
                    assert 2 <= taken - before <= 8
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
