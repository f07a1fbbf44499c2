"""Nodes whose port is open before they can serve: a request is held, and none is lost or served twice."""

from __future__ import annotations

import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.proxy.failures.failing import proxy_in
from tests.proxy.running import PATIENCE, Proxy

if TYPE_CHECKING:
    from collections.abc import Generator

    from rpi_clusterhat_sim.state_file import StateFile

DROPS = 1.5


@pytest.mark.parametrize("probe", ["http", "tcp"])
def test_requests_of_every_kind_wait_until_the_node_serves(world: StateFile, probe: str) -> None:
    """The sixteen come at once, and some are sent to a port that takes them and closes."""

    def ask(proxy: Proxy, number: int) -> Any:
        method, body = ("POST", b"order") if number % 2 else ("GET", None)
        return proxy.request(f"/{number}", method=method, body=body)

    fault = ("--option", f"fault=p1:drops={DROPS}")
    with proxy_in(world, "--probe", probe, *fault, nodes=1) as proxy, ThreadPoolExecutor(16) as pool:
        began = time.monotonic()
        replies = list(pool.map(partial(ask, proxy), range(16)))
        assert time.monotonic() - began >= DROPS
        assert [(reply.status, reply.json["target"]) for reply in replies] == [
            (200, f"/{number}") for number in range(16)
        ]
        assert proxy.status()["nodes"]["p1"]["boots"] == 1


class Opening:
    """A service that takes whole requests and closes without a word, until it is ready."""

    def __init__(self) -> None:
        self.dropped: list[bytes] = []
        self.served: list[bytes] = []
        self.is_ready = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    @contextmanager
    def running(self) -> Generator[None]:
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._listener.shutdown(socket.SHUT_RDWR)
            thread.join()
            self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with client:
                client.settimeout(PATIENCE)
                data = client.recv(1 << 16)
                if b"\r\nContent-Length: 5\r\n" in data and not data.endswith(b"order"):
                    data += client.recv(1 << 16)
                if not data:  # a probe that only looks
                    continue
                if self.is_ready.is_set():
                    self.served.append(data)
                    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                else:
                    self.dropped.append(data)


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_node_that_never_answered_since_its_boot_is_asked_again_after_ever_longer_pauses(
    world: StateFile, method: str
) -> None:
    node = Opening()
    options = ("--probe", "tcp", "--node", f"p1=127.0.0.1:{node.port}")
    with node.running(), proxy_in(world, *options, nodes=1) as proxy:
        threading.Timer(DROPS, node.is_ready.set).start()
        reply = proxy.request("/first", method=method, body=b"order" if method == "POST" else None)
        assert (reply.status, reply.body) == (200, b"ok")
        # 50, 100, 200, 400, 500 … ms: about six in this time. All at once would be hundreds.
        assert 3 <= len(node.dropped) <= 12
        assert len(node.served) == 1


def test_a_request_waits_no_longer_than_its_time(world: StateFile) -> None:
    node = Opening()
    options = ("--probe", "tcp", "--node", f"p1=127.0.0.1:{node.port}", "--queue-timeout", "1")
    with node.running(), proxy_in(world, *options, nodes=1) as proxy:
        began = time.monotonic()
        assert proxy.request("/").status in (502, 504)
        assert 0.4 <= time.monotonic() - began < PATIENCE


def test_what_may_have_been_served_is_not_sent_again(world: StateFile) -> None:
    """A node that has answered before dropped this because of what it is, as far as anybody knows."""
    node = Opening()
    node.is_ready.set()
    with node.running(), proxy_in(world, "--node", f"p1=127.0.0.1:{node.port}", nodes=1) as proxy:
        assert proxy.request("/").status == 200
        node.is_ready.clear()
        assert proxy.request("/", method="POST", body=b"order").status == 502
        assert [data for data in node.dropped if data.startswith(b"POST")] == node.dropped[:1]
