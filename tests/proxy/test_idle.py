"""What keeps a node on for longer than its idle time, and what does not."""

from __future__ import annotations

import http.client
import socket
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import Cluster
from tests.proxy.running import PATIENCE, Proxy, everything

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

IDLE = 0.5
LONG = 3 * IDLE
OPTIONS = ("--idle-timeout", f"{IDLE:g}", "--min-on-time", "0", "--cold", "hold", "--balance", "first")


def is_on(proxy: Proxy) -> bool:
    return bool(proxy.status()["nodes"]["p1"]["powered"])


def off_after(proxy: Proxy) -> float:
    """Seconds until all nodes are off."""
    began = time.monotonic()
    proxy.until(lambda status: not any(node["powered"] for node in status["nodes"].values()))
    return time.monotonic() - began


def check_off_in_time(proxy: Proxy) -> None:
    assert IDLE - 0.2 <= off_after(proxy) <= IDLE + 1.0
    assert proxy.status()["nodes"]["p1"]["boots"] == 1


@contextmanager
def exchange(proxy: Proxy) -> Generator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection("127.0.0.1", proxy.port, timeout=PATIENCE)) as connection:
        yield connection


def upgraded(connection: socket.socket, protocol: bytes) -> None:
    """Asks for another protocol, and gets it."""
    extra = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
    connection.sendall(
        b"GET / HTTP/1.1\r\nHost: c\r\nConnection: Upgrade\r\nUpgrade: %b\r\n%b\r\n"
        % (protocol, extra if protocol == b"websocket" else b"")
    )
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += connection.recv(1)
    assert head.startswith(b"HTTP/1.1 101 ")


def test_simulated_nodes_serve_wherever_the_simulation_is_asked_for() -> None:
    options = ("--cold", "hold", "--boot-time", "0.1", "--spacing", "0.05")
    with Proxy(
        *options, sim=False, env={"RPI_CLUSTERHAT_BACKEND": "sim", "RPI_CLUSTERHAT_BOARD": "2.3"}
    ) as proxy:
        assert proxy.request().status == 200


def test_the_log_tells_what_happens_to_a_node() -> None:
    with Proxy(*OPTIONS) as proxy:
        assert proxy.request().status == 200
        off_after(proxy)
    told = [line for line in proxy.errors.splitlines() if " p1: " in line]
    starts, ready, off = told
    assert starts == "INFO p1: is to start (lease)"
    assert ready.startswith("INFO p1: ready after ")
    assert off.startswith("INFO p1: off after ")
    assert off.endswith(" s (idle)")


def test_the_log_tells_of_a_loss_of_power(tmp_path: Path) -> None:
    state = ("--option", f"state={tmp_path / 'world'}")
    with Proxy("--cold", "hold", "--balance", "first", *state) as proxy:
        assert proxy.request().status == 200
        with Cluster.open(backend="sim", options={"state": tmp_path / "world", "fault": "bus:power-lost"}):
            pass
        proxy.until(lambda status: not status["nodes"]["p1"]["powered"])
        assert proxy.request().status == 200
    assert "WARNING the expander lost power, and its nodes with it" in proxy.errors.splitlines()


def test_a_slow_download() -> None:
    with Proxy(*OPTIONS) as proxy, exchange(proxy) as connection:
        began = time.monotonic()
        connection.request("GET", f"/?chunks=3&interval={LONG / 2:g}")
        with connection.getresponse() as answer:
            assert answer.read().count(b"chunk ") == 3
        assert time.monotonic() - began >= LONG
        check_off_in_time(proxy)


def test_a_slow_upload() -> None:
    def body() -> Generator[bytes]:
        for _ in range(3):
            yield b"part"
            time.sleep(LONG / 3)  # it is what is tested

    with Proxy(*OPTIONS) as proxy, exchange(proxy) as connection:
        began = time.monotonic()
        connection.request("POST", "/", body(), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
        with connection.getresponse() as answer:
            assert answer.status == 200
            assert b'"length":12' in answer.read()
        assert time.monotonic() - began >= LONG - 0.1
        check_off_in_time(proxy)


def test_an_answer_that_takes_its_time() -> None:
    with Proxy(*OPTIONS) as proxy:
        assert proxy.request(f"/?delay={LONG:g}").status == 200
        check_off_in_time(proxy)


def test_a_stream_of_events() -> None:
    """Also a silent one, which the limit for the node's silence does not end either."""
    with Proxy(*OPTIONS, "--timeout-server", "0.5") as proxy, exchange(proxy) as connection:
        connection.request("GET", f"/?sse=2&interval={LONG:g}")
        with connection.getresponse() as answer:
            assert answer.readline() == b"id: 1\n"
            assert answer.read().count(b"data: ") == 2
        check_off_in_time(proxy)


@pytest.mark.parametrize(
    ("protocol", "said", "heard"),
    [
        (b"echo", b"hello", b"hello"),
        (b"websocket", b"\x81\x85\0\0\0\0hello", b"\x81\x05hello"),
    ],
    ids=["echo", "websocket"],
)
def test_an_idle_tunnel(protocol: bytes, said: bytes, heard: bytes) -> None:
    with Proxy(*OPTIONS) as proxy:
        with proxy.connect() as connection:
            upgraded(connection, protocol)
            end = time.monotonic() + LONG
            while time.monotonic() < end:
                assert is_on(proxy)
                time.sleep(0.1)
            assert proxy.status()["proxy"]["tunnels"] == 1
            connection.sendall(said)
            got = b""
            while len(got) < len(heard):
                got += connection.recv(100)
            assert got == heard
        check_off_in_time(proxy)
        assert proxy.status()["proxy"]["tunnels"] == 0


def test_only_the_silent_tunnel_ends() -> None:
    """Of those that are silent for as long: a download, an upload, a stream of events, and two tunnels of
    which one is busy."""
    silence = 0.5
    with (
        Proxy(*OPTIONS, "--timeout-tunnel", f"{silence:g}") as proxy,
        proxy.connect() as silent,
        proxy.connect() as busy,
        exchange(proxy) as download,
        exchange(proxy) as events,
        exchange(proxy) as upload,
    ):
        upgraded(silent, b"echo")
        began = time.monotonic()
        upgraded(busy, b"echo")
        download.request("GET", f"/?chunks=2&interval={3 * silence:g}")
        events.request("GET", f"/?sse=2&interval={3 * silence:g}")
        upload.putrequest("POST", "/")
        upload.putheader("Content-Length", "10")
        upload.endheaders(b"first")
        silent.setblocking(False)
        ended: float | None = None
        while time.monotonic() - began < 3 * silence:
            busy.sendall(b"x")
            assert busy.recv(1) == b"x"
            if ended is None and is_over(silent):
                ended = time.monotonic() - began
            time.sleep(0.05)
        assert ended is not None
        assert ended >= silence - 0.05
        upload.send(b"later")
        with upload.getresponse() as answer:
            assert answer.status == 200
            assert b'"length":10' in answer.read()
        with download.getresponse() as answer:
            assert answer.read().count(b"chunk ") == 2
        with events.getresponse() as answer:
            assert answer.read().count(b"data: ") == 2
        assert proxy.status()["nodes"]["p1"]["boots"] == 1


def is_over(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_a_node_stays_on_for_a_while_at_least() -> None:
    options = ("--idle-timeout", "0.2", "--min-on-time", "2", "--cold", "hold", "--balance", "first")
    with Proxy(*options) as proxy:
        began = time.monotonic()
        assert proxy.request().status == 200
        off_after(proxy)
        whole = time.monotonic() - began
        assert 2.0 <= proxy.status()["nodes"]["p1"]["seconds_powered"] <= whole


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHo"], ids=["idle", "half a request"])
def test_connections_without_a_request_keep_nothing_on(sent: bytes) -> None:
    with Proxy(*OPTIONS) as proxy, proxy.connect() as connection:
        connection.sendall(b"GET /?size=5 HTTP/1.1\r\nHost: c\r\n\r\n")
        got = b""
        while not got.endswith(b"\r\n\r\n\0\1\2\3\4"):
            got += connection.recv(1000)
        connection.sendall(sent)
        check_off_in_time(proxy)
        assert proxy.status()["proxy"]["connections"] == 1
        connection.settimeout(0.01)
        with pytest.raises(TimeoutError):
            connection.recv(1)


def test_a_client_that_has_left_keeps_nothing_on() -> None:
    with Proxy(*OPTIONS) as proxy:
        with proxy.connect() as connection:
            connection.sendall(b"GET /?chunks=1000&interval=0.1 HTTP/1.1\r\nHost: c\r\n\r\n")
            assert connection.recv(100)
        check_off_in_time(proxy)


def test_a_request_while_the_node_goes_off_is_served_by_its_next_boot() -> None:
    """Asked again and again just when the idle time ends: never an error, and never a cut answer."""
    with Proxy(
        "--idle-timeout", "0.1", "--min-on-time", "0", "--cold", "hold", "--balance", "first"
    ) as proxy:
        for i in range(12):
            time.sleep(0.09 + 0.004 * i)
            answer = proxy.request(f"/{i}")
            assert (answer.status, answer.json["target"]) == (200, f"/{i}")
        off_after(proxy)


def test_a_tunnel_that_is_over_keeps_nothing_on() -> None:
    with Proxy(*OPTIONS) as proxy:
        with proxy.connect() as connection:
            upgraded(connection, b"echo")
            connection.sendall(b"bye")
            connection.shutdown(socket.SHUT_WR)
            assert everything(connection) == b"bye"
        check_off_in_time(proxy)
