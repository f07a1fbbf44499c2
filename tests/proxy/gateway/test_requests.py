"""Requests on their way to a node."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.proxy.gateway.talking import S, get, given, path, seen, started
from tests.proxy.peers import Node, Peer, ask, client

if TYPE_CHECKING:
    from tests.proxy.running import Proxy


@pytest.mark.parametrize(
    "target",
    [
        "/",
        "//",
        "//other/x",
        "/a//b/",
        "/%2F%2f%00",
        "/a/../../b/./c",
        "/a;b=c/d;e",
        "/?",
        "/?a=b&a=c&&=",
        "/a?b?c",
        "/a?http://x/%",
        "/|^`{}\"<>\\[]'*!$()+,",
        "/a b".replace(" ", "%20"),
        "/" + "x" * 8000,
    ],
)
def test_path_and_query_stay_as_they_are(proxy: Proxy, node: Node, target: str) -> None:
    assert seen(proxy, node, path(target)).start == f"GET {target} HTTP/1.1".encode()


@pytest.mark.parametrize(
    "method", ["GET", "POST", "DELETE", "BREW", "PROPFIND", "m-search", "get", "!#$%&'*+-.^_`|~"]
)
def test_any_method_is_passed_on_as_it_is(proxy: Proxy, node: Node, method: str) -> None:
    assert seen(proxy, node, path("/x", method=method)).start == f"{method} /x HTTP/1.1".encode()


def test_fields_keep_their_order_their_letters_and_their_bytes(proxy: Proxy, node: Node) -> None:
    sent = [
        (b"X-A", b"1"),
        (b"x-UNKNOWN", b'a , b;c="d"'),
        (b"X-A", b"2"),
        (b"Cookie", b"a=b"),
        (b"x-a", b"3"),
        (b"X-Bytes", b"\xe4\xff\x01 \t "[:4] + b"x"),
        (b"X-Empty", b""),
        (b"Accept-Encoding", b"br"),
        (b"User-Agent", b"x"),
        (b"Cookie", b"c=d"),
        (b"Authorization", b"Basic eA=="),
    ]
    found = seen(proxy, node, get(*(name + b": " + value for name, value in sent)))
    assert [field for field in found.fields if field in sent] == sent
    assert found.names - {name.lower() for name, _ in sent} == {
        *(b"host", b"via", b"forwarded"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
    }


def test_nothing_is_asked_that_the_client_did_not_ask(proxy: Proxy, node: Node) -> None:
    assert not seen(proxy, node, get()).names & {
        b"connection",
        b"te",
        b"accept",
        b"accept-encoding",
        b"expect",
    }


HOP = [
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authorization: Basic eA==",
    b"Proxy-Authenticate: Basic",
    b"Proxy-Authentication-Info: x",
    b"TE: gzip",
    b"Upgrade: x",
    b"X-One: 1",
    b"X-Two: 2",
    b"X-Three: 3",
]
NAMED = [b"Connection: X-One ,keep-alive,,", b"connection: x-two", b'CONNECTION:\tX-THREE , "x-stays"']


def test_what_is_for_the_next_hop_stops_here(proxy: Proxy, node: Node) -> None:
    found = seen(proxy, node, get(*HOP[:5], *NAMED, b"X-Stays: 4", *HOP[5:]))
    assert found.names == {
        *(b"host", b"x-stays", b"via", b"forwarded"),
        *(b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"),
    }


def test_what_a_node_says_to_the_next_hop_stops_here_too(proxy: Proxy, node: Node) -> None:
    fields = b"\r\n".join([*HOP[:5], *NAMED, b"X-Stays: 4", *HOP[5:], b"Content-Length: 2"])
    found = given(proxy, node, S + fields + b"\r\n\r\nok")
    assert found.names == {b"x-stays", b"date", b"via", b"content-length"}


TRAILERS = [
    b"X-One: 1",
    b"X-Two: 2",
    b"X-Stays: 4",
    b"Content-Length: 9",
    b"Host: x",
    b"Transfer-Encoding: chunked",
    b"X-Forwarded-For: 6.6.6.6",
    b"Connection: close",
]


def test_trailers_are_passed_on_both_ways_without_what_must_not_stand_there(proxy: Proxy, node: Node) -> None:
    fields = [b"Connection: x-one", b"Connection: X-Two", b"Trailer: X-Stays", b"Transfer-Encoding: chunked"]
    body = b"5\r\nhello\r\n0\r\n" + b"".join(line + b"\r\n" for line in TRAILERS) + b"\r\n"
    request = path("/", *fields, method="POST") + body
    found = seen(proxy, node, request)
    assert (found.body, found.trailers, found.value("trailer")) == (
        b"hello",
        [(b"X-Stays", b"4")],
        b"X-Stays",
    )
    back = given(proxy, node, S + b"".join(line + b"\r\n" for line in fields) + b"\r\n" + body)
    assert (back.body, back.trailers, back.value("trailer")) == (b"hello", [(b"X-Stays", b"4")], b"X-Stays")


def test_trailers_of_a_body_that_comes_later_are_passed_on(proxy: Proxy, node: Node) -> None:
    with client(proxy) as peer:
        peer.send(path("/", b"Transfer-Encoding: chunked", method="POST"))
        ask(proxy, get())
        peer.send(b"5\r\nhello\r\n")
        ask(proxy, get())
        peer.send(b"0\r\nX: y\r\nHost: x\r\n\r\n")
        assert peer.message().status == 200
    assert [(r.body, r.trailers) for r in node.take() if r.start.startswith(b"POST")] == [
        (b"hello", [(b"X", b"y")])
    ]


@pytest.mark.parametrize(("said", "told"), [(b"trailers", True), (b"gzip, Trailers", True), (b"gzip", False)])
def test_that_trailers_are_welcome_is_said_anew(proxy: Proxy, node: Node, said: bytes, told: bool) -> None:
    found = seen(proxy, node, get(b"TE: " + said, b"Connection: TE"))
    assert found.values("te") == ([b"trailers"] if told else [])
    assert found.values("connection") == ([b"TE"] if told else [])


def test_via_comes_after_those_that_are_there(proxy: Proxy, node: Node) -> None:
    found = seen(proxy, node, get(b"Via: 1.0 one", b"Via: 1.1 two"))
    assert found.values("via") == [b"1.0 one", b"1.1 two", b"1.1 rpi-clusterhat"]
    assert seen(proxy, node, path("/", version="1.0")).value("via") == b"1.0 rpi-clusterhat"
    back = given(proxy, node, S + b"Via: 1.1 deeper\r\nContent-Length: 0\r\n\r\n")
    assert back.values("via") == [b"1.1 deeper", b"1.1 rpi-clusterhat"]
    old = given(proxy, node, b"HTTP/1.0 200 OK\r\n\r\nold")
    assert (old.value("via"), old.body) == (b"1.0 rpi-clusterhat", b"old")


SAID = [
    b"X-Forwarded-For: 6.6.6.6",
    b"X-Forwarded-Proto: https",
    b"X-Forwarded-Host: evil",
    b"X-Forwarded-Port: 443",
    b"X-Forwarded-Prefix: /admin",
    b"X-Real-IP: 6.6.6.6",
    b"Forwarded: for=6.6.6.6;proto=https",
    b"x_forwarded_for: 6.6.6.6",
    b"X_Forwarded-Host: evil",
    b"X_Real_Ip: 6.6.6.6",
]


def test_a_client_cannot_say_who_it_is(proxy: Proxy, node: Node) -> None:
    found = seen(proxy, node, get(*SAID, b"Forwarded-Mail: kept", host=b"h:81"))
    assert sorted(found.fields) == [
        (b"Forwarded", b'for=127.0.0.1;proto=http;host="h:81"'),
        (b"Forwarded-Mail", b"kept"),
        (b"Host", b"h:81"),
        (b"Via", b"1.1 rpi-clusterhat"),
        (b"X-Forwarded-For", b"127.0.0.1"),
        (b"X-Forwarded-Host", b"h:81"),
        (b"X-Forwarded-Proto", b"http"),
    ]


@pytest.mark.parametrize("host", [b"a,for=6.6.6.6", b"a;for=6.6.6.6", b"a;proto=https", b""])
def test_the_name_of_a_host_adds_nothing_to_forwarded(proxy: Proxy, node: Node, host: bytes) -> None:
    found = seen(proxy, node, get(host=host))
    assert found.value("forwarded") == b'for=127.0.0.1;proto=http;host="%b"' % host


def test_a_trusted_proxy_is_believed(trusting: Proxy, node: Node) -> None:
    found = seen(trusting, node, get(*SAID[:7], b"X-Forwarded-For: 7.7.7.7", b"Forwarded: for=7.7.7.7"))
    assert found.values("x-forwarded-for") == [b"6.6.6.6, 7.7.7.7, 127.0.0.1"]
    assert found.values("x-forwarded-proto") == [b"https"]
    assert found.values("x-forwarded-host") == [b"evil"]
    assert found.values("x-forwarded-port") == [b"443"]
    assert found.values("x-real-ip") == [b"6.6.6.6"]
    assert found.values("forwarded") == [
        b"for=6.6.6.6;proto=https, for=7.7.7.7, for=127.0.0.1;proto=http;host=h"
    ]


def test_others_than_the_trusted_are_not_believed(trusting: Proxy, node: Node) -> None:
    with client(trusting, source="127.0.0.77") as peer:
        node.take()
        peer.send(get(*SAID))
        assert peer.message().status == 200
    (found,) = node.take()
    assert found.values("x-forwarded-for") == [b"127.0.0.77"]
    assert found.values("forwarded") == [b"for=127.0.0.77;proto=http;host=h"]
    assert not found.values("x-real-ip")


def test_an_ipv6_client_is_named_in_quotes(node: Node) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 here")
    with started(node, "--listen", "[::1]:0") as proxy:
        with Peer(socket.create_connection(("::1", proxy.port))) as peer:
            node.take()
            peer.send(get())
            assert peer.message().status == 200
        (found,) = node.take()
    assert found.value("forwarded") == b'for="[::1]";proto=http;host=h'
    assert found.value("x-forwarded-for") == b"::1"


@pytest.mark.parametrize("hops", [b"9" * 5000, b"0x1", b"-1", b""])
def test_a_number_of_hops_that_cannot_be_is_not_counted(proxy: Proxy, node: Node, hops: bytes) -> None:
    found = seen(proxy, node, path("/", b"Max-Forwards: " + hops, method="OPTIONS"))
    assert found.start == b"OPTIONS / HTTP/1.1"


def test_hops_are_counted_down_to_the_proxy_itself(proxy: Proxy, node: Node) -> None:
    assert seen(proxy, node, path("/", b"Max-Forwards: 1", method="TRACE")).value("max-forwards") == b"0"
    assert seen(proxy, node, path("/", b"Max-Forwards: 0")).value("max-forwards") == b"0"
    for method, status in (("TRACE", 501), ("OPTIONS", 204)):
        assert ask(proxy, path("/", b"Max-Forwards: 0", method=method)).status == status
    assert not node.take()
