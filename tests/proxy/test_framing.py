"""Messages whose ends the proxy and its neighbours could see differently: none of them gets through."""

from __future__ import annotations

import socket
import struct
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.proxy.peers import Node, Peer, answer, ask, client
from tests.proxy.running import PATIENCE, Proxy, everything

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

H = b"Host: h\r\n"
HIDDEN = b"GET /hidden HTTP/1.1\r\nHost: h\r\n\r\n"


@pytest.fixture(scope="module")
def node() -> Generator[Node]:
    with closing(Node()) as node:
        yield node


@pytest.fixture(scope="module")
def shared(node: Node) -> Generator[Proxy]:
    with Proxy("--nodes", "1", "--node", f"p1=127.0.0.1:{node.port}", "--cold", "hold") as proxy:
        assert ask(proxy, b"GET / HTTP/1.1\r\n" + H + b"\r\n").status == 200
        yield proxy


@pytest.fixture
def proxy(shared: Proxy, node: Node) -> Proxy:
    node.take()
    return shared


def post(*fields: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    lines = [b"POST / HTTP/" + version, b"Host: h", *fields]
    return b"".join(line + b"\r\n" for line in lines) + b"\r\n" + body


def chunked(body: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", body=body)


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"Host: h\r\n") -> bytes:
    return line + b"\r\n" + host + b"".join(field + b"\r\n" for field in fields) + b"\r\n"


HEADS = {
    "length and coding": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "coding and length": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "two lengths": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello!"), 400),
    "the same length twice": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), 400),
    "twice, in other letters": (post(b"Content-Length: 5", b"cOntent-length: 5", body=b"hello"), 400),
    "lengths in a list": (post(b"Content-Length: 5, 5", body=b"hello"), 400),
    "length with a plus": (post(b"Content-Length: +5", body=b"hello"), 400),
    "length below zero": (post(b"Content-Length: -5", body=b"hello"), 400),
    "length in hex": (post(b"Content-Length: 0x5", body=b"hello"), 400),
    "length with an underscore": (post(b"Content-Length: 1_0", body=b"hellohello"), 400),
    "length with a space": (post(b"Content-Length: 1 0", body=b"hellohello"), 400),
    "length without a number": (post(b"Content-Length:", body=b"hello"), 400),
    "length beyond all": (post(b"Content-Length: 99999999999999999999", body=b"hello"), 400),
    "length in other digits": (post(b"Content-Length: \xd9\xa5", body=b"hello"), 400),
    "a space before the colon": (post(b"Content-Length : 5", body=b"hello"), 400),
    "a tab before the colon": (post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"), 400),
    "a space before the first field": (b"GET / HTTP/1.1\r\n Host: h\r\nHost: h\r\n\r\n", 400),
    "a folded line": (get(b"X-Fold: one", b" two"), 400),
    "a line folded with a tab": (get(b"X-Fold: one", b"\ttwo"), 400),
    "a line folded to a length": (post(b"X-Fold: one", b" Content-Length: 5", body=b"hello"), 400),
    "a bare return in a value": (get(b"X-Bare: one\rtwo"), 400),
    "a bare return before a field": (post(b"X: y\rContent-Length: 5", body=b"hello"), 400),
    "a bare return in the first line": (get(line=b"GET /\r HTTP/1.1"), 400),
    "a bare return as an end": (b"GET / HTTP/1.1\rHost: h\r\r", 400),
    "bare feeds": (b"GET / HTTP/1.1\nHost: h\n\n", 400),
    "a bare feed after the first line": (b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
    "a bare feed after a field": (b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
    "a bare feed as the last line": (b"GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
    "returns and a bare feed": (b"GET / HTTP/1.1\r\nHost: h\r\r\n\r\n", 400),
    "a NUL in a value": (get(b"X-Nul: one\0two"), 400),
    "a NUL in a name": (get(b"X-\0Nul: one"), 400),
    "a NUL in the target": (get(line=b"GET /\0 HTTP/1.1"), 400),
    "an unknown coding": (post(b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"), 400),
    "chunked twice": (post(b"Transfer-Encoding: chunked, chunked", body=b"0\r\n\r\n"), 400),
    "chunked in two fields": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        400,
    ),
    "a coding in a second field": (
        post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", body=b"0\r\n\r\n"),
        400,
    ),
    "gzip and chunked": (post(b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), 400),
    "identity": (post(b"Transfer-Encoding: identity"), 400),
    "no coding": (post(b"Transfer-Encoding:", body=b"0\r\n\r\n"), 400),
    "a coding with a vertical tab": (post(b"Transfer-Encoding: \x0bchunked", body=b"0\r\n\r\n"), 400),
    "chunked in quotes": (post(b'Transfer-Encoding: "chunked"', body=b"0\r\n\r\n"), 400),
    "chunked in HTTP/1.0": (post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"), 400),
    "HTTP/0.9": (b"GET /\r\n\r\n", 400),
    "HTTP/0.9 with a number": (get(line=b"GET / HTTP/0.9"), 505),
    "HTTP/2.0": (get(line=b"GET / HTTP/2.0"), 505),
    "the start of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "a version of two digits": (get(line=b"GET / HTTP/1.10"), 400),
    "a version in small letters": (get(line=b"GET / http/1.1"), 400),
    "no version's digit": (get(line=b"GET / HTTP/1."), 400),
    "two spaces before the target": (get(line=b"GET  / HTTP/1.1"), 400),
    "two spaces after the target": (get(line=b"GET /  HTTP/1.1"), 400),
    "a space in the target": (get(line=b"GET /a b HTTP/1.1"), 400),
    "a tab after the method": (get(line=b"GET\t/ HTTP/1.1"), 400),
    "a space at the line's end": (get(line=b"GET / HTTP/1.1 "), 400),
    "a space before the method": (get(line=b" GET / HTTP/1.1"), 400),
    "no method": (get(line=b"/ HTTP/1.1"), 400),
    "a method that is no token": (get(line=b"GE(T / HTTP/1.1"), 400),
    "a target beyond ASCII": (get(line="GET /ä HTTP/1.1".encode()), 400),
    "no path": (get(line=b"GET index.html HTTP/1.1"), 400),
    "a query only": (get(line=b"GET ?a HTTP/1.1"), 400),
    "a star for GET": (get(line=b"GET * HTTP/1.1"), 400),
    "another scheme": (get(line=b"GET ftp://h/ HTTP/1.1"), 400),
    "authority only": (get(line=b"GET h:80 HTTP/1.1"), 400),
    "an absolute URI without a host": (get(line=b"GET http:///path HTTP/1.1"), 400),
    "an absolute URI with a user": (get(line=b"GET http://user@h/ HTTP/1.1"), 400),
    "CONNECT": (get(line=b"CONNECT h:443 HTTP/1.1"), 501),
    "CONNECT to a path": (get(line=b"CONNECT / HTTP/1.1"), 501),
    "CONNECT to a URI": (get(line=b"CONNECT http://h:443/ HTTP/1.1"), 501),
    "no host": (get(host=b""), 400),
    "no host in a later version": (get(line=b"GET / HTTP/1.2", host=b""), 400),
    "two hosts": (get(b"Host: h"), 400),
    "two different hosts": (get(b"Host: other"), 400),
    "two hosts in HTTP/1.0": (get(b"Host: other", line=b"GET / HTTP/1.0"), 400),
    "a host with a path": (get(host=b"Host: h/x\r\n"), 400),
    "a host with a user": (get(host=b"Host: user@h\r\n"), 400),
    "a host with a space": (get(host=b"Host: h x\r\n"), 400),
    "a host with a port that is none": (get(host=b"Host: h:x\r\n"), 400),
    "a list of hosts": (get(host=b'Host: h, "x"\r\n'), 400),
    "no colon": (get(b"X-Field"), 400),
    "no name": (get(b": value"), 400),
    "a name with a space": (get(b"X Field: value"), 400),
    "a name beyond ASCII": (get("Ä: value".encode()), 400),
    "garbage": (b"\x80\x81\x82 garbage\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
}


def check_refused(proxy: Proxy, node: Node, request: bytes, status: int) -> None:
    """It is refused, the connection is really closed, and the node has got no request."""
    with client(proxy) as peer:
        peer.send(request + HIDDEN)
        found = peer.message()
        assert (found.status, found.value("connection")) == (status, b"close"), found
        assert peer.rest() == b""
    ask(proxy, get(line=b"GET /after HTTP/1.1"))
    assert [request.start for request in node.take()] == [b"GET /after HTTP/1.1"]


@pytest.mark.parametrize("name", HEADS)
def test_a_request_that_is_not_as_it_must_be_is_refused(proxy: Proxy, node: Node, name: str) -> None:
    check_refused(proxy, node, *HEADS[name])


BODIES = {
    "no number": b"xyz\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "below zero": b"-5\r\nhello\r\n0\r\n\r\n",
    "with a plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "with an underscore": b"1_0\r\nhellohellohelloh\r\n0\r\n\r\n",
    "a space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "far too large": b"F" * 40 + b"\r\nhello\r\n0\r\n\r\n",
    "a bare feed after the size": b"5\nhello\r\n0\r\n\r\n",
    "a bare feed after the data": b"5\r\nhello\n0\r\n\r\n",
    "a bare return in the extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "a bare feed in the extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "a NUL in the extension": b"5;a\0b\r\nhello\r\n0\r\n\r\n",
    "no line's end after the data": b"5\r\nhello0\r\n\r\n",
    "other bytes after the data": b"5\r\nhelloXX0\r\n\r\n",
    "more than it says": b"3\r\nhello\r\n0\r\n\r\n",
    "an extension without end": b"5;" + b"a" * 70000 + b"\r\nhello\r\n0\r\n\r\n",
    "a bare feed as the end": b"5\r\nhello\r\n0\r\n\n",
    "a trailer with bare feeds": b"5\r\nhello\r\n0\r\nX: y\n\n",
    "a trailer with a bare feed": b"5\r\nhello\r\n0\r\nX: y\nZ: z\r\n\r\n",
    "a trailer with a bare return": b"5\r\nhello\r\n0\r\nX: y\rZ: z\r\n\r\n",
    "a folded trailer": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
    "a trailer with a space before the colon": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "a trailer without a colon": b"5\r\nhello\r\n0\r\nX\r\n\r\n",
    "trailers without end": b"0\r\n" + b"X-Much: " + b"a" * 70000 + b"\r\n\r\n",
}


@pytest.mark.parametrize("name", BODIES)
def test_a_chunked_body_that_is_not_as_it_must_be_is_refused(proxy: Proxy, node: Node, name: str) -> None:
    check_refused(proxy, node, chunked(BODIES[name]), 400)


@pytest.mark.parametrize("name", BODIES)
def test_it_is_refused_too_where_it_comes_byte_by_byte_after_the_head(
    proxy: Proxy, node: Node, name: str
) -> None:
    """The node has the request's head by then, and gets no whole request."""
    with client(proxy) as peer:
        peer.send(chunked(b""))
        body = BODIES[name]
        for i in range(min(len(body), 40)):
            peer.send(body[i : i + 1])
        peer.send(body[40:] + HIDDEN)
        assert peer.message().status == 400
        assert peer.rest() == b""
    ask(proxy, get(line=b"GET /after HTTP/1.1"))
    assert [request.start for request in node.take()] == [b"GET /after HTTP/1.1"]


@pytest.mark.parametrize("size", [b"5", b"05", b"0000000005", b"5;name", b'5;name="a value"', b"5 "])
def test_chunks_as_they_may_be_are_passed_on(proxy: Proxy, node: Node, size: bytes) -> None:
    assert ask(proxy, chunked(size + b"\r\nhello\r\n0\r\n\r\n")).status == 200
    (request,) = node.take()
    assert request.body == b"hello"
    assert request.value("transfer-encoding") == b"chunked"


# Smuggling ------------------------------------------------------------------------------------------------


def exchange(proxy: Proxy, data: bytes, count: int) -> list[int]:
    """The statuses of so many answers on one connection. Nothing comes after them."""
    with client(proxy) as peer:
        peer.send(data)
        found = [peer.message().status for _ in range(count)]
        peer.send(get(b"Connection: close", line=b"GET /last HTTP/1.1"))
        assert peer.message().body == b"ok"
        assert peer.rest() == b""
        return found


def test_a_request_in_a_body_is_a_body(proxy: Proxy, node: Node) -> None:
    data = post(b"Content-Length: %d" % len(HIDDEN), body=HIDDEN)
    data += chunked(b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN))
    assert exchange(proxy, data, 2) == [200, 200]
    one, other, last = node.take()
    assert (one.start, one.body) == (b"POST / HTTP/1.1", HIDDEN)
    assert (other.start, other.body) == (b"POST / HTTP/1.1", HIDDEN)
    assert last.start == b"GET /last HTTP/1.1"


@pytest.mark.parametrize("name", ["Content-Length", "content-length", "Host", "Transfer-Encoding"])
@pytest.mark.parametrize("length", [True, False])
def test_a_client_cannot_take_the_framing_out_by_naming_it_in_connection(
    proxy: Proxy, node: Node, name: str, length: bool
) -> None:
    connection = f"Connection: {name}".encode()
    if length:
        data = post(connection, b"Content-Length: %d" % len(HIDDEN), body=HIDDEN)
    else:
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(HIDDEN), HIDDEN)
        data = post(connection, b"Transfer-Encoding: chunked", body=body)
    assert exchange(proxy, data, 1) == [200]
    request, last = node.take()
    assert (request.start, request.body) == (b"POST / HTTP/1.1", HIDDEN)
    assert request.value("host") == b"h"
    assert last.start == b"GET /last HTTP/1.1"


def test_what_follows_a_body_is_the_next_request(proxy: Proxy, node: Node) -> None:
    for body in (post(b"Content-Length: 5", body=b"hello"), chunked(b"5\r\nhello\r\n0\r\n\r\n")):
        assert exchange(proxy, body + HIDDEN, 2) == [200, 200]
        assert [(r.start, r.body) for r in node.take()] == [
            (b"POST / HTTP/1.1", b"hello"),
            (b"GET /hidden HTTP/1.1", b""),
            (b"GET /last HTTP/1.1", b""),
        ]


def test_garbage_after_a_body_is_refused_and_ends_the_connection(proxy: Proxy, node: Node) -> None:
    with client(proxy) as peer:
        peer.send(post(b"Content-Length: 5", body=b"helloX") + b"\r\n\r\n" + HIDDEN)
        assert peer.message().status == 200
        assert peer.message().status == 400
        assert peer.rest() == b""
    (request,) = node.take()
    assert request.body == b"hello"


def test_one_empty_line_before_a_request_is_let_pass(proxy: Proxy, node: Node) -> None:
    data = post(b"Content-Length: 5", body=b"hello") + b"\r\n" + HIDDEN
    assert exchange(proxy, data, 2) == [200, 200]
    assert len(node.take()) == 3


def test_an_empty_line_in_two_pieces_is_let_pass_too(proxy: Proxy) -> None:
    with client(proxy) as peer:
        for part in (b"\r", b"\n", b"GET / HTTP/1.1\r", b"\nHost: h\r\n\r", b"\n"):
            peer.send(part)
            # Each part is to be read alone: the proxy has had it when a later connection is answered.
            ask(proxy, get())
        assert peer.message().status == 200


def test_requests_byte_by_byte_are_the_same_requests(proxy: Proxy, node: Node) -> None:
    data = chunked(b"5\r\nhello\r\n0\r\nX: y\r\n\r\n") + post(b"Content-Length: 5", body=b"world")
    with client(proxy) as peer:
        for i in range(len(data)):
            peer.send(data[i : i + 1])
        assert [peer.message().status, peer.message().status] == [200, 200]
    one, other = node.take()
    assert (one.body, one.trailers, other.body) == (b"hello", [(b"X", b"y")], b"world")


# Where it goes --------------------------------------------------------------------------------------------


def test_no_request_can_say_where_it_goes(proxy: Proxy, node: Node) -> None:
    """Whatever names the other host, the node gets the request and the other nothing."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.setblocking(False)
        place = b"127.0.0.1:%d" % other.getsockname()[1]
        for request in (
            get(line=b"GET http://" + place + b"/x?y HTTP/1.1"),
            get(line=b"GET /x?y HTTP/1.1", host=b"Host: " + place + b"\r\n"),
            get(b"X-Forwarded-Host: " + place, b"Forwarded: host=" + place, line=b"GET /x?y HTTP/1.1"),
            get(b"X-Forwarded-Server: " + place, b"X-Real-Host: " + place, line=b"GET /x?y HTTP/1.1"),
            get(b"Cookie: clusterhat-node=" + place, line=b"GET /x?y HTTP/1.1"),
            get(b"Cookie: clusterhat-node=../p1; clusterhat-node=p4", line=b"GET /x?y HTTP/1.1"),
            get(line=b"GET /x?y HTTP/1.1", host=b"Host: 169.254.169.254\r\n"),
            get(line=b"GET http://169.254.169.254/x?y HTTP/1.1"),
        ):
            assert ask(proxy, request).status == 200
        for request in (
            get(line=b"CONNECT " + place + b" HTTP/1.1", host=b"Host: " + place + b"\r\n"),
            get(line=b"CONNECT http://" + place + b"/ HTTP/1.1"),
        ):
            assert ask(proxy, request).status == 501
        with pytest.raises(BlockingIOError):
            other.accept()
    assert {request.start for request in node.take()} == {b"GET /x?y HTTP/1.1"}


@pytest.mark.parametrize(
    ("uri", "target", "host"),
    [
        (b"http://other/a?b", b"/a?b", b"other"),
        (b"HTTP://other:81/a", b"/a", b"other:81"),
        (b"https://other", b"/", b"other"),
        (b"http://other?b", b"/?b", b"other"),
        (b"http://[::1]:80/a", b"/a", b"[::1]:80"),
    ],
)
@pytest.mark.parametrize("field", [b"Host: h\r\n", b""])
def test_the_host_of_an_absolute_uri_counts_more_than_the_field(
    proxy: Proxy, node: Node, uri: bytes, target: bytes, host: bytes, field: bytes
) -> None:
    version = b"1.1" if field else b"1.0"
    assert ask(proxy, get(line=b"GET " + uri + b" HTTP/" + version, host=field)).status == 200
    (request,) = node.take()
    assert request.start == b"GET " + target + b" HTTP/1.1"
    assert request.values("host") == [host]
    assert request.value("x-forwarded-host") == host


def test_the_host_is_the_nodes_own_where_an_old_client_names_none(proxy: Proxy, node: Node) -> None:
    assert ask(proxy, b"GET / HTTP/1.0\r\n\r\n").status == 200
    (request,) = node.take()
    assert request.values("host") == [b"127.0.0.1:%d" % node.port]


@pytest.mark.parametrize("target", [b"*", b"http://h"])
def test_a_question_for_the_options_of_all_is_passed_on(proxy: Proxy, node: Node, target: bytes) -> None:
    assert ask(proxy, get(line=b"OPTIONS " + target + b" HTTP/1.1")).status == 200
    (request,) = node.take()
    assert request.start == b"OPTIONS * HTTP/1.1"


# The node's answers ---------------------------------------------------------------------------------------

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
