"""Connections to clients and to nodes, and what is held in memory."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.gateway.talking import S, get, path, post
from tests.proxy.peers import Node, Peer, ask, client
from tests.proxy.running import PATIENCE, Proxy


def test_many_requests_sent_at_once_are_answered_in_their_order(sim: Proxy) -> None:
    requests = [path(f"/{i}") if i % 3 else post(b"x" * i, target=f"/{i}") for i in range(300)]
    requests[50] = path("/50?delay=0.2")
    with client(sim) as peer:
        sender = threading.Thread(target=peer.send, args=(b"".join(requests),))
        sender.start()
        found = [peer.message().json() for _ in requests]
        sender.join()
    assert [answer["target"].partition("?")[0] for answer in found] == [f"/{i}" for i in range(300)]
    assert [answer["body"]["length"] for answer in found[:4]] == [0, 0, 0, 3]


@pytest.mark.parametrize(
    ("version", "said", "stays"),
    [
        ("1.1", b"", True),
        ("1.1", b"keep-alive", True),
        ("1.1", b"close", False),
        ("1.1", b"x, Close", False),
        ("1.0", b"", False),
        ("1.0", b"Keep-Alive", True),
        ("1.0", b"keep-alive, close", False),
        ("1.2", b"", True),
    ],
)
def test_a_clients_connection_stays_open_or_not_as_it_asks(
    proxy: Proxy, version: str, said: bytes, stays: bool
) -> None:
    fields = [b"Connection: " + said] if said else []
    with client(proxy) as peer:
        peer.send(path("/", *fields, version=version) + get(b"Connection: close", line=b"GET /2 HTTP/1.1"))
        found = peer.message()
        if stays:
            assert found.values("connection") == ([b"keep-alive"] if version == "1.0" else [])
            assert peer.message().value("connection") == b"close"
        else:
            assert found.values("connection") == [b"close"]
        assert peer.rest() == b""


@pytest.mark.parametrize("said", [b"Connection: close", b"Connection: x\r\nConnection: Close"])
def test_a_nodes_connection_that_it_closes_is_not_used_again(proxy: Proxy, node: Node, said: bytes) -> None:
    """The client's stays open. A request that could not be sent again is safe, too."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(S + said + b"\r\nContent-Length: 0\r\n\r\n")
        assert not peer.gone(), "it was used again"

    with client(proxy) as peer, node.does(script):
        peer.send(get())
        assert not peer.message().values("connection")
        node.script = None
        peer.send(post(b"x"))
        assert peer.message().body == b"ok"


def test_nodes_connections_are_used_again(sim: Proxy) -> None:
    with client(sim) as peer:
        found: list[dict[str, Any]] = []
        for _ in range(3):
            peer.send(get())
            found.append(peer.message().json())
    _, one, other = found
    assert (other["peer"], other["requests"]) == (one["peer"], one["requests"] + 1)


def test_an_answer_before_the_body_has_come(proxy: Proxy, node: Node) -> None:
    """Reaches the client at once; both connections end, for what comes next would be body."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 413 No\r\nContent-Length: 4\r\n\r\nlong")
        with pytest.raises((ConnectionError, AssertionError)):
            peer.exactly(1_000_000_000)
        ended.set()

    ended = threading.Event()
    with node.does(script), client(proxy) as peer:
        peer.send(path("/", b"Content-Length: 1000000000", method="POST") + b"x" * 1000)
        found = peer.message()
        assert (found.status, found.body, found.value("connection")) == (413, b"long", b"close")
        assert peer.rest() == b""
        assert ended.wait(PATIENCE)


def test_both_directions_flow_at_the_same_time(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(S + b"Transfer-Encoding: chunked\r\n\r\n")
        while part := peer.chunk():
            peer.send(b"%x\r\n%b\r\n" % (len(part), part))
        peer.until(b"\r\n")
        peer.send(b"0\r\n\r\n")

    with node.does(script), client(proxy) as peer:
        peer.send(path("/", b"Transfer-Encoding: chunked", method="POST"))
        assert peer.head()[0] == b"HTTP/1.1 200 OK"
        for i in range(5):
            peer.send(b"2\r\n%02d\r\n" % i)
            assert peer.chunk() == b"%02d" % i
        peer.send(b"0\r\n\r\n")
        assert peer.chunk() == b""


def test_a_body_that_breaks_while_it_is_answered_ends_the_answer(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        peer.send(S + b"Transfer-Encoding: chunked\r\n\r\n2\r\nok\r\n")
        with pytest.raises((ConnectionError, AssertionError)):
            peer.exactly(1_000_000)

    with node.does(script), client(proxy) as peer:
        peer.send(path("/", b"Transfer-Encoding: chunked", method="POST"))
        peer.head()
        assert peer.chunk() == b"ok"
        peer.send(b"nonsense\r\n")
        with pytest.raises(ConnectionResetError):
            peer.rest()


def test_a_client_that_leaves_ends_the_nodes_request(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        reached.set()
        with pytest.raises(ConnectionResetError):
            peer.rest()
        left.set()

    reached, left = threading.Event(), threading.Event()
    with node.does(script):
        with client(proxy) as peer:
            peer.send(get())
            assert reached.wait(PATIENCE)
        assert left.wait(PATIENCE)


def test_events_arrive_one_by_one(proxy: Proxy, node: Node) -> None:
    """Each is with the client before the node sends the next."""

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(S + b"Content-Type: text/event-stream\r\n\r\n")
        for i in range(5):
            peer.send(b"data: %d\n\n" % i)
            assert arrived.acquire(timeout=PATIENCE)
        peer.end()

    arrived = threading.Semaphore(0)
    with node.does(script), client(proxy) as peer:
        peer.send(get())
        peer.head()
        for i in range(5):
            assert peer.chunk() == b"data: %d\n\n" % i
            arrived.release()
        assert peer.chunk() == b""


MB = 1_000_000


def resident(proxy: Proxy) -> int:
    """Bytes of the proxy's memory."""
    lines = Path(f"/proc/{proxy.process.pid}/status").read_text().splitlines()
    (size,) = [line.split()[1] for line in lines if line.startswith("VmRSS:")]
    return int(size) * 1024


def test_bodies_of_any_size_take_no_memory(sim: Proxy) -> None:
    size = 100 * MB
    ask(sim, path(f"/?size={MB}"))
    before, most = resident(sim), 0
    with client(sim) as peer:
        peer.send(path(f"/?size={size}"))
        peer.head()
        left = size - len(peer.buffer)
        while left:
            part = len(peer.sock.recv(1 << 18))
            assert part
            left -= part
            if left % 16 == 0:
                most = max(most, resident(sim))
        block = b"10000\r\n" + bytes(65536) + b"\r\n"
        peer.buffer = b""
        peer.send(path("/", b"Transfer-Encoding: chunked", method="POST"))
        for i in range(size // 65536):
            peer.send(block)
            if i % 100 == 0:
                most = max(most, resident(sim))
        peer.send(b"0\r\n\r\n")
        assert peer.message().json()["body"]["length"] == size // 65536 * 65536
    assert max(most, resident(sim)) - before < 10 * MB


def test_a_client_that_does_not_read_holds_the_node_back(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(S + b"Content-Length: 500000000\r\n\r\n")
        sent.append(fill(peer))

    sent = list[int]()
    before = resident(proxy)
    with node.does(script), client(proxy, receive_buffer=65536) as peer:
        peer.send(get())
        peer.head()
        while not sent:
            threading.Event().wait(0.01)
        assert sent[0] < 50 * MB
        assert resident(proxy) - before < 10 * MB
        node.script = None
        assert ask(proxy, get()).body == b"ok"


def test_a_node_that_does_not_read_holds_the_client_back(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.head()
        assert over.wait(PATIENCE)

    over = threading.Event()
    before = resident(proxy)
    with node.does(script), client(proxy) as peer:
        peer.send(path("/", b"Content-Length: 500000000", method="POST"))
        assert fill(peer) < 50 * MB
        assert resident(proxy) - before < 10 * MB
        over.set()


def fill(peer: Peer) -> int:
    """How many bytes can be sent until nothing more is taken for a while."""
    peer.sock.settimeout(0.5)
    count = 0
    block = bytes(1 << 18)
    try:
        while count < 200 * MB:
            count += peer.sock.send(block)
    except TimeoutError:
        pass
    return count
