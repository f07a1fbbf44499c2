"""What listens on a simulated node: whoever was let in is let go with it."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.listener import Listener
from tests.peers.client import TIMEOUT, Client, Running
from tests.peers.node import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def running() -> Iterator[Running]:
    with Running(Peer("p7")) as running:
        yield running


def test_abort_stops_in_the_middle_of_everything(running: Running) -> None:
    clients = [Client(running.address) for _ in range(4)]
    clients[0].ask("/?early=103&delay=30")
    clients[1].ask("/?size=1000000000")
    clients[2].ask("/", "GET", "Connection: upgrade", "Upgrade: echo")
    clients[3].send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n\r\n")
    assert [clients[i].response().status for i in (0, 2, 3)] == [103, 101, 100]
    assert clients[1].file.readline() == b"HTTP/1.1 200 OK\r\n"
    running.call(running.listener.abort)
    for client in clients:
        with client, pytest.raises(ConnectionResetError):
            client.rest()
    with pytest.raises(ConnectionRefusedError):
        Client(running.address)


@pytest.mark.parametrize("end", ["abort", "cut"])
@pytest.mark.parametrize("frozen", [False, True])
def test_whoever_is_let_in_in_the_moment_of_the_end_is_reset_too(end: str, *, frozen: bool) -> None:
    """A connection is accepted in several steps of the event loop, and the end may come between any two."""

    async def main() -> None:
        for steps in range(8):
            sock = socket.create_server(("127.0.0.1", 0))
            address = sock.getsockname()
            listener = Listener(sock, Peer("p1"))
            if frozen:
                listener.freeze()
            with socket.create_connection(address, TIMEOUT) as client:
                for _ in range(steps):
                    await asyncio.sleep(0)
                getattr(listener, end)()
                if end == "cut":  # at once, while the event loop does something else
                    client.setblocking(False)
                else:
                    await listener.wait_aborted()
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
                await listener.wait_aborted()

    asyncio.run(main())
    gc.collect()  # a socket that was not closed warns


def test_one_that_hangs_lets_in_and_says_nothing(running: Running) -> None:
    where = running.address
    with (
        Client(where) as stream,
        Client(where) as idle,
        Client(where) as tunnel,
    ):
        stream.ask("/?sse=1000&interval=0.01")
        assert stream.file.readline() == b"HTTP/1.1 200 OK\r\n"
        assert idle.get("/").status == 200
        tunnel.ask("/", "GET", "Connection: upgrade", "Upgrade: echo")
        assert tunnel.response().status == 101
        running.call(running.listener.freeze)
        idle.ask("/")
        tunnel.send(b"hello?")
        with Client(where) as late:
            late.ask("/")
            stream.socket.setblocking(False)
            with suppress(BlockingIOError):  # what was sent before is still there
                while stream.socket.recv(65536):
                    pass
            for client in (stream, idle, tunnel, late):
                client.socket.settimeout(0.05)
                with pytest.raises(TimeoutError):
                    client.socket.recv(1)
            running.call(running.listener.abort)
            late.socket.settimeout(TIMEOUT)
            with pytest.raises(ConnectionResetError):
                late.socket.recv(1)


def test_many_at_once(running: Running) -> None:
    clients = [Client(running.address) for _ in range(200)]
    for client in clients:
        client.ask("/?delay=0.05")
    told = [client.response().json for client in clients]
    for client in clients:
        client.file.close()
        client.socket.close()
    assert {one["requests"] for one in told} == {1}
    assert max(one["service"]["requests"] for one in told) == 200


def test_a_client_that_resets_leaves_no_error_that_nobody_looks_at() -> None:
    """asyncio would report it at some time later, when the connection is collected."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await writer.wait_closed()
        done.set()

    async def main() -> None:
        sock = socket.create_server(("127.0.0.1", 0))
        listener = Listener(sock, handler)
        client = socket.create_connection(sock.getsockname(), TIMEOUT)
        await asyncio.sleep(0.01)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await asyncio.wait_for(done.wait(), TIMEOUT)
        listener.abort()
        await listener.wait_aborted()

    done = asyncio.Event()
    asyncio.run(main())
