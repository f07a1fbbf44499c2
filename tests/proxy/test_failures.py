"""Nodes that die, hang, break or never boot, and what clients see of it."""

from __future__ import annotations

import asyncio
import gc
import http.client
import socket
import struct
import threading
import time
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

import pytest

from clusterhat_proxy.node_connections import NodeConnections
from clusterhat_proxy.tunnel import tunnel
from clusterhat_proxy.wire import Wire
from rpi_clusterhat_sim.faults import parse_faults
from rpi_clusterhat_sim.state_file import StateFile
from tests.proxy.running import PATIENCE, Proxy, Reply, everything

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

HELD = ("--cold", "hold", "--balance", "first")


@pytest.fixture
def world(tmp_path: Path) -> StateFile:
    return StateFile(str(tmp_path / "world"))


def fail(world: StateFile, faults: str) -> None:
    """As ``--option fault=`` does."""
    with world.change() as now:
        for fault in parse_faults(faults):
            fault.apply(now, now.bank("0"))


def cut_power(world: StateFile, node: str) -> None:
    with world.change() as now:
        bank = now.bank("0")
        line = bank.line(node)
        assert line
        bank.outside({line.offset: False})


def power_ups(world: StateFile) -> list[str]:
    with world.look() as now:
        return [record.node for record in now.history if record.what == "on"]


def proxy_in(world: StateFile, *options: str, nodes: int = 4) -> Proxy:
    return Proxy("--option", f"state={world.path}", "--nodes", str(nodes), *HELD, *options)


# A node that dies within its answer -------------------------------------------------------------------------


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


# A node that dies before its answer -------------------------------------------------------------------------


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


# A node that hangs ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_hung_node_is_told_after_its_time(world: StateFile, method: str) -> None:
    with proxy_in(world, "--timeout-server", "0.7", nodes=1) as proxy:
        assert proxy.request().status == 200
        fail(world, "p1:hang")
        time.sleep(0.05)
        began = time.monotonic()
        assert proxy.request(method=method, body=b"x").status == 504
        assert 0.7 <= time.monotonic() - began <= PATIENCE


def test_a_hung_node_is_looked_at_and_started_anew(world: StateFile) -> None:
    """Its system still takes connections: only who asks more of it than that can see that it hangs."""
    options = ["--probe", "http", "--probe-timeout", "0.2", "--boot-timeout", "0.5"]
    options += ["--timeout-server", "0.4", "--retry-after-failure", "0.1"]
    with proxy_in(world, *options, nodes=1) as proxy:
        assert proxy.request().status == 200
        fail(world, "p1:hang")
        time.sleep(0.05)
        assert proxy.request().status == 504
        proxy.until(lambda status: not status["nodes"]["p1"]["powered"])
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "off")
        assert proxy.request().status == 200
    assert power_ups(world) == ["p1", "p1"]


def test_who_waits_for_a_hung_node_does_not_keep_it_from_being_started_anew(world: StateFile) -> None:
    """A stream of events may be silent for ever."""
    options = ["--probe", "http", "--probe-timeout", "0.5", "--boot-timeout", "2"]
    options += ["--timeout-server", "0.4", "--retry-after-failure", "0.1"]
    with proxy_in(world, *options, nodes=1) as proxy, proxy.connect() as connection:
        connection.sendall(b"GET /?sse=1000&interval=0.05 HTTP/1.1\r\nHost: c\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        fail(world, "p1:hang")
        time.sleep(0.05)
        assert proxy.request().status == 504
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "off")
        assert proxy.request().status == 200


def test_a_node_that_hangs_within_its_answer(world: StateFile) -> None:
    with proxy_in(world, "--timeout-server", "0.7", nodes=1) as proxy, proxy.connect() as connection:
        connection.sendall(b"GET /?chunks=100&interval=0.05 HTTP/1.1\r\nHost: c\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
        fail(world, "p1:hang")
        try:
            assert not everything(connection).endswith(b"\r\n0\r\n\r\n")
        except ConnectionResetError:
            pass


# A node that never boots ------------------------------------------------------------------------------------


def test_a_node_that_never_boots(world: StateFile) -> None:
    """504 after its time, then left alone, then tried again; the others serve on."""
    options = ["--option", "fault=p2:no-boot", "--no-redispatch", "--balance", "hash", "--hash-on", "path"]
    options += ["--boot-timeout", "0.8", "--probe-interval", "0.05", "--retry-after-failure", "1.5"]
    with proxy_in(world, *options, nodes=2) as proxy:
        number = 0
        while True:
            bad = f"/{number}"
            began = time.monotonic()
            reply = proxy.request(bad)
            if reply.status != 200:
                break
            assert reply.json["node"] == "p1"
            number += 1
        failed = time.monotonic()
        assert reply.status == 504
        assert 0.75 <= failed - began <= PATIENCE  # the last probe that fits
        assert int(reply.headers["Retry-After"]) == 2
        assert reply.json["detail"].startswith("p2: ")
        assert proxy.request(bad).json["node"] == "p1"
        assert power_ups(world).count("p2") == 1
        status = proxy.until(lambda status: status["nodes"]["p2"]["state"] != "failed")
        assert time.monotonic() - failed >= 1.4
        assert status["nodes"]["p2"]["failure"]
        fail(world, "p2:ok")
        assert proxy.request(bad).json["node"] == "p2"
        assert power_ups(world).count("p2") == 2


def test_the_only_node_never_boots(world: StateFile) -> None:
    options = ["--option", "fault=p1:no-boot", "--boot-timeout", "0.5", "--retry-after-failure", "2"]
    with proxy_in(world, *options, nodes=1) as proxy:
        reply = proxy.request()
        assert reply.status == 504
        reply = proxy.request()  # left alone: told at once, and nothing is switched
        assert reply.status == 503
        assert 1 <= int(reply.headers["Retry-After"]) <= 3
        assert power_ups(world) == ["p1"]
        proxy.until(lambda status: status["nodes"]["p1"]["state"] != "failed")
        assert proxy.request().status == 504
        assert power_ups(world) == ["p1", "p1"]
        assert int(proxy.request().headers["Retry-After"]) > 2  # twice as long
        fail(world, "p1:ok")
        proxy.until(lambda status: status["nodes"]["p1"]["state"] != "failed")
        assert proxy.request().status == 200


def test_another_node_serves_for_one_that_does_not_boot(world: StateFile) -> None:
    with proxy_in(world, "--option", "fault=p1:no-boot", "--boot-timeout", "0.5", nodes=2) as proxy:
        reply = proxy.request("/late", method="POST", body=b"order")
        assert (reply.status, reply.json["node"], reply.json["body"]["length"]) == (200, "p2", 5)
        assert power_ups(world) == ["p1", "p2"]


def test_a_request_is_held_no_longer_than_its_time(world: StateFile) -> None:
    with proxy_in(world, "--boot-time", "2.5", "--queue-timeout", "0.5", nodes=1) as proxy:
        began = time.monotonic()
        reply = proxy.request()
        assert time.monotonic() - began >= 0.5
        assert reply.status == 504
        assert int(reply.headers["Retry-After"]) >= 1
        proxy.until(lambda status: status["nodes"]["p1"]["state"] == "ready")  # its boot goes on
        assert proxy.request().status == 200
        assert power_ups(world) == ["p1"]


# Lines and buses that fail ----------------------------------------------------------------------------------


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


# Services on nodes ------------------------------------------------------------------------------------------


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
    with peer(1.5) as node, Proxy("--node", f"p1={node.address}", "--nodes", "1", *HELD) as proxy:
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
    """It is up, and nothing comes of it: an error after a few tries, not a loop."""
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
            with Proxy("--node", f"p1={address}", "--nodes", "1", *HELD) as proxy:
                assert proxy.request().status == 502
                assert 1 <= taken <= 3
                assert proxy.request(method="POST", body=b"x").status == 502
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(PATIENCE)
