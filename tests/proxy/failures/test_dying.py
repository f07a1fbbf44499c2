"""Nodes that die within or before their answer."""

from __future__ import annotations

import asyncio
import gc
import http.client
import socket
import struct
import threading
import time
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest

from clusterhat_proxy.node_connections import NodeConnections
from clusterhat_proxy.tunnel import tunnel
from clusterhat_proxy.wire import Wire
from tests.proxy.failures.failing import cut_power, power_ups, proxy_in
from tests.proxy.running import PATIENCE, Proxy, Reply, everything

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat_sim.state_file import StateFile


def brown_out(world: StateFile) -> None:
    """Too many nodes at once: all of the rail start anew."""
    with world.change() as now:
        bank = now.bank("0")
        bank.outside({line.offset: True for line in bank.lines if line.offset in bank.consumers})


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("query", ["chunks=100&interval=0.05", "size=100000000", "sse=100&interval=0.05"])
def test_an_answer_that_is_cut_does_not_end_cleanly(world: StateFile, version: str, query: str) -> None:
    """HTTP/1.0 has no chunks: there only a reset tells a cut answer from a whole one."""
    with proxy_in(world) as proxy, proxy.connect() as connection:
        connection.sendall(f"GET /?{query} HTTP/{version}\r\nHost: c\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        cut_power(world, "p1")
        try:
            rest = everything(connection)
        except ConnectionResetError:
            return
        assert version == "1.1", "an end"
        assert not rest.endswith(b"\r\n0\r\n\r\n")
        assert len(rest) < 100_000_000


@pytest.mark.parametrize("query", ["chunks=100&interval=0.05", "size=100000000"])
def test_an_ordinary_client_notices(world: StateFile, query: str) -> None:
    with (
        proxy_in(world) as proxy,
        closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)) as connection,
    ):
        connection.request("GET", f"/?{query}")
        with connection.getresponse() as answer:
            assert answer.read(10)
            cut_power(world, "p1")
            with pytest.raises((http.client.IncompleteRead, ConnectionResetError)):
                answer.read()
        assert proxy.request("/after").status == 200


def test_a_brown_out_within_an_answer(world: StateFile) -> None:
    with proxy_in(world, "--option", "capacity=4") as proxy, proxy.connect() as connection:
        connection.sendall(b"GET /?chunks=100&interval=0.05 HTTP/1.1\r\nHost: c\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        brown_out(world)
        try:
            assert not everything(connection).endswith(b"\r\n0\r\n\r\n")
        except ConnectionResetError:
            pass
        with world.look() as now:
            assert now.node("p1").brownouts
        assert proxy.request("/after").status == 200


class Asking(threading.Thread):
    """A request that is under way."""

    def __init__(self, proxy: Proxy, path: str, method: str = "GET", body: bytes | None = None) -> None:
        super().__init__()
        self._ask = partial(proxy.request, path, method=method, body=body)
        self._reply: Reply | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.join(PATIENCE)

    def run(self) -> None:
        self._reply = self._ask()

    @property
    def reply(self) -> Reply:
        self.join(PATIENCE)
        assert self._reply is not None
        return self._reply


def is_asked(node: str) -> Callable[[dict[str, Any]], bool]:
    return lambda status: bool(status["nodes"][node]["in_flight"])


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_may_be_repeated_is_asked_again(world: StateFile, nodes: int) -> None:
    with proxy_in(world, nodes=nodes) as proxy:
        assert proxy.request().json["node"] == "p1"
        with Asking(proxy, "/?delay=1", "PUT", b"content") as asking:
            proxy.until(is_asked("p1"))
            cut_power(world, "p1")
            echo = asking.reply.json
        assert echo["body"]["length"] == 7
        assert echo["node"] == ("p2" if nodes == 2 else "p1")
        # A second time, where the first might only have met a connection that was kept open for too long.
        assert 1 <= proxy.status()["proxy"]["retries"] <= 2


@pytest.mark.parametrize("nodes", [1, 2])
def test_what_may_not_be_repeated_is_told(world: StateFile, nodes: int) -> None:
    with proxy_in(world, nodes=nodes) as proxy:
        assert proxy.request().json["node"] == "p1"
        with Asking(proxy, "/?delay=1", "POST", b"order") as asking:
            proxy.until(is_asked("p1"))
            cut_power(world, "p1")
            assert asking.reply.status == 502
            assert asking.reply.headers["Content-Type"].startswith("application/problem+json")
        assert proxy.status()["proxy"]["retries"] == 0
        assert proxy.request(method="POST", body=b"order").status == 200


def test_a_request_that_was_not_sent_goes_to_another_node_whatever_its_method(world: StateFile) -> None:
    """The node is gone, and the proxy has not seen it yet: nothing answers where it tries to connect."""
    with proxy_in(world, nodes=2) as proxy:
        assert proxy.request(headers={"Connection": "close"}).json["node"] == "p1"
        cut_power(world, "p1")
        time.sleep(0.05)  # for the node's own side: that of the proxy is what is tested
        reply = proxy.request(method="POST", body=b"order")
        assert (reply.status, reply.json["node"], reply.json["body"]["length"]) == (200, "p2", 5)


def test_the_only_node_that_was_switched_off_is_started_again(world: StateFile) -> None:
    with proxy_in(world, nodes=1) as proxy:
        assert proxy.request().json["node"] == "p1"
        cut_power(world, "p1")
        time.sleep(0.05)
        reply = proxy.request(method="POST", body=b"order")
        assert (reply.status, reply.json["node"]) == (200, "p1")
        assert power_ups(world) == ["p1", "p1"]


def test_a_connection_that_nobody_waits_for_any_more_is_closed() -> None:
    """A client may leave in each step of connecting to its node, and in the moment in which that is done."""

    async def main() -> None:
        async with await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0) as server:
            connections = NodeConnections({"p1": server.sockets[0].getsockname()}, PATIENCE)
            steps = 0
            while True:
                connecting = asyncio.create_task(connections.connect("p1"))
                for _ in range(steps):
                    await asyncio.sleep(0)
                if not connecting.cancel():
                    break
                await asyncio.wait([connecting])
                await asyncio.sleep(0.01)  # a selector's turn or two, in which what goes on comes to its end
                steps += 1
            assert steps > 3
            (await connecting).abort()

    asyncio.run(main())
    gc.collect()  # a socket that was not closed warns


def test_a_tunnel_whose_sides_go_in_the_same_moment_ends() -> None:
    """The client ends, and there is no node any more to be told, which the event loop will see next."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with closing(socket.create_server(("127.0.0.1", 0))) as listener:
            peers: list[socket.socket] = []
            wires: list[Wire] = []
            for _ in range(2):
                _, wire = await loop.create_connection(partial(Wire, loop), *listener.getsockname())
                wires.append(wire)
                peers.append(listener.accept()[0])
        client, node = peers
        tunnelled = asyncio.create_task(tunnel(wires[0], wires[1], b"", b"", lambda _: None, 0))
        await asyncio.sleep(0)
        node.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        node.close()
        wires[0].eof_received()  # as the loop does, before it sees the reset
        await asyncio.wait_for(tunnelled, PATIENCE)
        for wire in wires:
            wire.abort()
        client.close()

    asyncio.run(main())
