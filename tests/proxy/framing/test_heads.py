"""Heads and bodies that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.proxy.framing.sending import HIDDEN, chunked, get, post
from tests.proxy.peers import Node, ask, client

if TYPE_CHECKING:
    from tests.proxy.running import Proxy


pytestmark = pytest.mark.slow
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
