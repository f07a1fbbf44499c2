"""Smuggling, and where requests go."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.proxy.framing.sending import HIDDEN, chunked, get, post
from tests.proxy.peers import Node, ask, client

if TYPE_CHECKING:
    from tests.proxy.running import Proxy


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
