"""The node's answers."""

from __future__ import annotations

import socket
import struct
import threading

import pytest

from tests.proxy.framing.sending import get
from tests.proxy.peers import Node, Peer, answer, ask, client
from tests.proxy.running import PATIENCE, Proxy, everything

S = b"HTTP/1.1 200 OK\r\n"
BAD_ANSWERS = {
    "length and coding": S
    + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "two lengths": S + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "the same length twice": S + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "lengths in a list": S + b"Content-Length: 5, 5\r\n\r\nhello",
    "no number": S + b"Content-Length: 5x\r\n\r\nhello",
    "below zero": S + b"Content-Length: -5\r\n\r\nhello",
    "bare feeds": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "a bare feed": S + b"X: y\nContent-Length: 5\r\n\r\nhello",
    "a bare return": S + b"X-Bare: one\rtwo\r\nContent-Length: 5\r\n\r\nhello",
    "a NUL": S + b"X-Nul: one\0two\r\nContent-Length: 5\r\n\r\nhello",
    "a folded line": S + b"X-Fold: one\r\n two\r\nContent-Length: 5\r\n\r\nhello",
    "a space before the colon": S + b"Content-Length : 5\r\n\r\nhello",
    "no colon": S + b"Content-Length 5\r\n\r\nhello",
    "a status that is none": b"HTTP/1.1 2x0 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a status below all": b"HTTP/1.1 099 OK\r\nContent-Length: 5\r\n\r\nhello",
    "another protocol": b"ICY 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "a version that is none": b"HTTP/3.7 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/0.9": b"hello",
    "garbage": b"\x16\x03\x01 this is not HTTP\r\n\r\n",
    "no end of the head": S + b"X-Huge: " + b"a" * 100_000,
    "a huge head": S + b"X-Huge: " + b"a" * 100_000 + b"\r\nContent-Length: 5\r\n\r\nhello",
    "very many fields": S + b"X: y\r\n" * 1000 + b"Content-Length: 5\r\n\r\nhello",
    "an unknown coding": S + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "101 unasked": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nhello",
    "half a head": S + b"Content-Le",
    "nothing": b"",
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
def test_a_nodes_answer_that_is_not_as_it_must_be_is_a_502(proxy: Proxy, node: Node, name: str) -> None:
    """And nothing of it reaches the client, in this answer or in the next."""
    with node.does(answer(BAD_ANSWERS[name])), client(proxy) as peer:
        peer.send(get())
        found = peer.message()
        assert found.status == 502
        assert b"hello" not in found.body
        assert b"/" not in found.body.replace(b"about:blank", b"").replace(b"HTTP/", b"")
        node.script = None
        peer.send(get(b"Connection: close", line=b"GET /next HTTP/1.1"))
        assert peer.message().body == b"ok"
        assert peer.rest() == b""


CUT_ANSWERS = {
    "short": S + b"Content-Length: 10\r\n\r\nhello",
    "no chunk": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "a chunk longer than it says": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhellooo\r\n0\r\n\r\n",
    "a chunk that ends with a bare feed": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
    "no last chunk": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "half a chunk": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n5\r\nhel",
    "no empty line": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "bare feeds in the trailers": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\n\n",
    "a folded trailer": S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
}


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@pytest.mark.parametrize("name", CUT_ANSWERS)
def test_an_answer_that_breaks_after_its_head_does_not_look_whole(
    proxy: Proxy, node: Node, name: str, version: str
) -> None:
    """The client's connection is reset; an HTTP/1.0 client could take an end for the body's."""
    with node.does(answer(CUT_ANSWERS[name])), client(proxy) as peer:
        peer.send(get(b"Connection: keep-alive", line=f"GET / HTTP/{version}".encode()))
        with pytest.raises(ConnectionResetError):
            peer.rest()
        assert not peer.buffer.endswith(b"0\r\n\r\n")
    assert ask(proxy, get()).body == b"ok"


@pytest.mark.parametrize(
    "first",
    [
        S + b"Content-Length: 5\r\n\r\nhello",
        S + b"Content-Length: 0\r\n\r\n",
        S + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    ],
)
@pytest.mark.parametrize("together", [True, False])
def test_what_a_node_sends_after_an_answer_is_given_to_nobody(
    proxy: Proxy, node: Node, first: bytes, together: bool
) -> None:
    poison = S + b"Content-Length: 6\r\n\r\npoison"

    def script(peer: Peer) -> None:
        peer.message()
        if together:
            peer.send(first + poison)
        else:
            peer.send(first)
            assert got.wait(PATIENCE)
            peer.send(poison)
        sent.set()
        assert not peer.gone()

    got, sent = threading.Event(), threading.Event()
    with client(proxy) as one, client(proxy) as other, node.does(script):
        one.send(get())
        assert b"poison" not in one.message().body
        got.set()
        assert sent.wait(PATIENCE)
        node.script = None
        for peer in (one, other):
            peer.send(get(b"Connection: close"))
            assert peer.message().body == b"ok"
            assert peer.rest() == b""


def test_an_answer_to_head_has_no_body_even_if_a_node_sends_one(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(S + b"Content-Length: 5\r\n\r\nhello")
        peer.gone()

    with client(proxy) as peer:
        with node.does(script):
            peer.send(get(line=b"HEAD / HTTP/1.1"))
            found = peer.message(method="HEAD")
            assert found.value("content-length") == b"5"
        peer.send(get(b"Connection: close"))
        assert peer.message().body == b"ok"
        assert peer.rest() == b""


def test_a_node_that_resets_within_its_body_resets_the_client(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(S + b"\r\nhello")
        reached.recv(1)
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    reached, told = socket.socketpair()
    with reached, told, node.does(script), client(proxy) as peer:
        peer.send(get(line=b"GET / HTTP/1.0"))
        assert peer.until(b"hello")
        told.send(b"x")
        with pytest.raises(ConnectionResetError):
            peer.rest()


def test_an_answer_byte_by_byte_is_the_same_answer(proxy: Proxy, node: Node) -> None:
    data = S + b"Transfer-Encoding: chunked\r\nX: y\r\n\r\n5\r\nhello\r\n0\r\nZ: z\r\n\r\n"

    def script(peer: Peer) -> None:
        peer.message()
        for i in range(len(data)):
            peer.send(data[i : i + 1])

    with node.does(script):
        found = ask(proxy, get())
    assert (found.status, found.body, found.trailers) == (200, b"hello", [(b"Z", b"z")])
    assert found.value("x") == b"y"


def test_the_connection_is_closed_after_an_answer_to_a_broken_request(proxy: Proxy) -> None:
    """Also where more comes than the proxy reads: the answer arrives."""
    assert everything_after(proxy, get(host=b"") + b"x" * 1_000_000).startswith(b"HTTP/1.1 400 ")


def everything_after(proxy: Proxy, data: bytes) -> bytes:
    with proxy.connect() as connection:
        connection.sendall(data)
        return everything(connection)
