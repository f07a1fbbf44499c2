"""Upgrades and tunnels."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from base64 import b64encode

import pytest

from tests.proxy.gateway.talking import get, path, seen
from tests.proxy.peers import Node, Peer, answer, client
from tests.proxy.running import PATIENCE, Proxy

ECHO = (b"Connection: Upgrade", b"Upgrade: echo")


@pytest.mark.parametrize("size", [1, 70_000, 3_000_000])
def test_an_upgraded_connection_carries_bytes_as_they_are(sim: Proxy, size: int) -> None:
    data = os.urandom(size)
    with client(sim) as peer:
        peer.send(get(*ECHO))
        found = peer.message()
        assert (found.status, found.value("upgrade"), found.value("connection")) == (101, b"echo", b"Upgrade")
        sender = threading.Thread(target=peer.send, args=(data,))
        sender.start()
        assert peer.exactly(size) == data
        sender.join()
        peer.end()
        assert peer.rest() == b""


def test_bytes_sent_together_with_the_upgrade_arrive_both_ways(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        found = peer.message()
        assert (found.value("upgrade"), found.value("connection")) == (b"x/1, echo", b"Upgrade")
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: x/1\r\nX: y\r\n\r\n\0first")
        assert peer.exactly(6) == b"\r\n\0abc"
        peer.send(b"got it")
        peer.end()
        assert peer.rest() == b"the last"

    with node.does(script), client(proxy) as peer:
        peer.send(get(b"Connection: keep-alive, upgrade", b"Upgrade: x/1, echo") + b"\r\n\0abc")
        found = peer.message()
        assert (found.start, found.value("upgrade"), found.value("x")) == (b"HTTP/1.1 101 Go", b"x/1", b"y")
        assert peer.rest() == b"\0firstgot it"  # the node has ended; the other way is still open
        peer.send(b"the last")
        peer.end()


def test_a_client_that_ends_first_still_gets_the_rest(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        data = peer.rest()
        peer.send(data[::-1] * 100_000)

    with node.does(script), client(proxy) as peer:
        peer.send(get(*ECHO))
        assert peer.message().status == 101
        peer.send(b"abc")
        peer.end()
        assert peer.rest() == b"cba" * 100_000


def test_all_that_a_client_sent_arrives_where_the_node_ended_first_and_reads_late(
    proxy: Proxy, node: Node
) -> None:
    size = 8_000_000

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        peer.end()
        assert closed.wait(PATIENCE)
        received.append(len(peer.rest()))

    closed, received = threading.Event(), list[int]()
    with node.does(script), client(proxy) as peer:
        peer.send(get(*ECHO))
        assert peer.message().status == 101
        assert peer.rest() == b""
        sender = threading.Thread(target=peer.send, args=(bytes(size),))
        sender.start()
        sender.join(0.3)  # until the buffers are full: the node does not read
        closed.set()
        sender.join()
        peer.end()
    assert received == [size]


def test_one_side_that_is_reset_resets_the_other(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    with node.does(script), client(proxy) as peer:
        peer.send(get(*ECHO))
        assert peer.message().status == 101
        try:
            assert peer.rest() == b""
        except ConnectionResetError:
            pass  # as good


@pytest.mark.parametrize("status", [200, 400, 426])
def test_a_node_that_refuses_an_upgrade_just_answers(proxy: Proxy, node: Node, status: int) -> None:
    """What the client sent behind its request is its next request then."""
    with client(proxy) as peer:
        with node.does(answer(b"HTTP/1.1 %d No\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nno" % status)):
            peer.send(get(*ECHO))
            found = peer.message()
        assert (found.status, found.body, found.names) == (
            status,
            b"no",
            {b"date", b"via", b"content-length"},
        )
        peer.send(get(*ECHO) + get(b"Connection: close", line=b"GET /next HTTP/1.1"))
        assert [peer.message().status, peer.message().status] == [200, 200]
        assert peer.rest() == b""
    assert node.take()[-1].start == b"GET /next HTTP/1.1"


@pytest.mark.parametrize(
    "request_",
    [
        path("/", *ECHO, version="1.0"),
        get(b"Upgrade: echo"),
        get(b"Connection: upgrade"),
        get(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    ],
    ids=["HTTP/1.0", "no Connection", "no Upgrade", "HTTP/2"],
)
def test_an_upgrade_that_is_not_asked_rightly_is_not_asked(proxy: Proxy, node: Node, request_: bytes) -> None:
    assert not seen(proxy, node, request_).names & {b"upgrade", b"connection"}


def test_a_length_is_passed_on_as_a_plain_number(proxy: Proxy, node: Node) -> None:
    request = path("/", b"Content-Length: 010", method="POST") + b"0123456789"
    (length,) = [v for n, v in seen(proxy, node, request).fields if n.lower() == b"content-length"]
    assert length == b"10"


def test_a_node_cannot_change_the_protocol_within_a_body(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        with pytest.raises(ConnectionResetError):
            peer.rest()

    with node.does(script), client(proxy) as peer:
        peer.send(path("/", *ECHO, b"Content-Length: 5", method="POST"))
        assert peer.message().status == 502


def test_a_websocket(sim: Proxy) -> None:
    key = b64encode(os.urandom(16))
    fields = [
        b"Connection: Upgrade",
        b"Upgrade: websocket",
        b"Sec-WebSocket-Version: 13",
        b"Sec-WebSocket-Key: " + key,
    ]
    guid = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
    accept = b64encode(hashlib.sha1(key + guid, usedforsecurity=False).digest())
    with client(sim) as peer:
        peer.send(get(*fields) + b"\x81\x85\0\0\0\0hello")
        found = peer.message()
        assert (found.status, found.value("sec-websocket-accept")) == (101, accept)
        assert peer.exactly(7) == b"\x81\x05hello"
        peer.send(b"\x88\x82\0\0\0\0\x03\xe8")
        assert peer.rest() == b"\x88\x02\x03\xe8"
    with client(sim) as peer:
        peer.send(get(*fields[:2], b"Sec-WebSocket-Version: 8", fields[3]))
        assert peer.message().status == 426
