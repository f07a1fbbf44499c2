"""Probes that connect to ports of loopback."""

from __future__ import annotations

import _socket
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.nodes.probes import (
    Probe,
    TcpProbe,
    Verdict,
)
from tests.nodes.servers import (
    LONG,
    Server,
    both,
    closed_port,
    silent_port,
    until_it_leaves,
)

if TYPE_CHECKING:
    from collections.abc import Callable


@both
def test_who_takes_the_connection_is_up(ask: Callable[[Probe], Verdict]) -> None:
    with Server(until_it_leaves) as server:
        assert ask(TcpProbe("127.0.0.1", server.port)) == Verdict(
            True, f"connected to 127.0.0.1:{server.port}"
        )


def leaves(connection: socket.socket) -> None:
    """It is closed when this returns."""


def resets_at_once(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@both
@pytest.mark.parametrize("drop", [leaves, resets_at_once])
def test_who_takes_the_connection_and_drops_it_is_down(
    ask: Callable[[Probe], Verdict], drop: Callable[[socket.socket], object]
) -> None:
    """A service may open its port before it can serve."""
    with Server(drop) as server:
        verdict = ask(TcpProbe("127.0.0.1", server.port, timeout=LONG, open_for=LONG))
        assert not verdict.up
        assert verdict.reason in (
            f"127.0.0.1:{server.port} took the connection and closed it",
            f"connection reset by peer: 127.0.0.1:{server.port}",
        )
        assert ask(TcpProbe("127.0.0.1", server.port, timeout=LONG)).up is False
        if drop is leaves:  # a reset may be there before the probe has looked at all
            assert ask(TcpProbe("127.0.0.1", server.port, timeout=LONG, open_for=0)).up


@both
def test_who_sends_something_is_up_at_once(ask: Callable[[Probe], Verdict]) -> None:
    def greet(connection: socket.socket) -> None:
        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
        until_it_leaves(connection)

    with Server(greet) as server:
        began = time.monotonic()
        assert ask(TcpProbe("127.0.0.1", server.port, timeout=LONG, open_for=LONG)).up
        assert time.monotonic() - began < LONG / 2


@both
def test_nobody_listens(ask: Callable[[Probe], Verdict]) -> None:
    with closed_port() as port:
        assert ask(TcpProbe("127.0.0.1", port)) == Verdict(False, f"connection refused by 127.0.0.1:{port}")


@both
def test_nobody_answers(ask: Callable[[Probe], Verdict]) -> None:
    with silent_port() as port:
        assert ask(TcpProbe("127.0.0.1", port, timeout=0.1)) == Verdict(
            False, f"no answer from 127.0.0.1:{port} within 0.1 s"
        )


@both
def test_a_connection_to_oneself_is_none(
    ask: Callable[[Probe], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens by chance when the port is one of those that the system gives to clients."""
    with closed_port() as port:
        pass

    def connect_ex(connection: socket.socket, address: Any) -> int:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(address)
        return _socket.socket.connect_ex(connection, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    assert ask(TcpProbe("127.0.0.1", port)) == Verdict(False, f"connection refused by 127.0.0.1:{port}")


@both
def test_an_address_of_a_kind_that_this_machine_has_not(
    ask: Callable[[Probe], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        return [(250, socket.SOCK_STREAM, 0, "", (host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert ask(TcpProbe("127.0.0.1", 80)) == Verdict(
        False, "address family not supported by protocol: 127.0.0.1:80"
    )
