"""Answers on their way to the client."""

from __future__ import annotations

import hashlib
import os
import threading
import time
from email.utils import parsedate_to_datetime

import pytest

from tests.peers.bodies import pattern
from tests.proxy.gateway.talking import CONTINUE, S, get, given, path, post
from tests.proxy.peers import OK, Node, Peer, answer, ask, client
from tests.proxy.running import PATIENCE, Proxy


def test_an_answer_without_a_date_gets_the_time_at_which_it_came(proxy: Proxy, node: Node) -> None:
    before = int(time.time())
    found = given(proxy, node, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    said = parsedate_to_datetime(found.value("date").decode()).timestamp()
    assert before <= said <= time.time()


def test_an_answers_fields_keep_their_order_their_letters_and_their_bytes(proxy: Proxy, node: Node) -> None:
    sent = [
        (b"Set-Cookie", b"a=b"),
        (b"X-A", b"1"),
        (b"set-cookie", b"c=d"),
        (b"X-a", b"\xe4"),
        (b"Set-Cookie", b""),
    ]
    sent += [(b"Server", b"s"), (b"Date", b"now"), (b"X-Forwarded-For", b"kept")]
    head = b"HTTP/1.1 799 As  \xe4sked\r\n" + b"".join(b"%b: %b\r\n" % field for field in sent)
    found = given(proxy, node, head + b"Content-Length: 2\r\n\r\nok")
    assert found.start == b"HTTP/1.1 799 As  \xe4sked"
    assert found.fields == [*sent, (b"Via", b"1.1 rpi-clusterhat"), (b"Content-Length", b"2")]


@pytest.mark.parametrize(
    ("status", "fields", "left"),
    [
        (204, b"", []),
        (204, b"Content-Length: 5\r\n", []),
        (304, b"", []),
        (304, b"Content-Length: 5\r\n", [b"5"]),
        (304, b"Transfer-Encoding: chunked\r\n", []),
    ],
)
@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_answers_without_a_body_end_with_their_head(
    proxy: Proxy, node: Node, status: int, fields: bytes, left: list[bytes], version: str
) -> None:
    with client(proxy) as peer:
        with node.does(answer(b"HTTP/1.1 %d x\r\n" % status + fields + b"\r\n")):
            peer.send(path("/", b"Connection: keep-alive", version=version))
            found = peer.message()
        assert (found.status, found.values("content-length"), found.values("transfer-encoding")) == (
            status,
            left,
            [],
        )
        peer.send(get(b"Connection: close"))
        assert peer.message().body == b"ok"
        assert peer.rest() == b""


@pytest.mark.parametrize(
    ("fields", "left"),
    [(b"Content-Length: 5\r\n", [b"5"]), (b"Transfer-Encoding: chunked\r\n", []), (b"", [])],
)
def test_an_answer_to_head_says_what_one_to_get_would(
    proxy: Proxy, node: Node, fields: bytes, left: list[bytes]
) -> None:
    with client(proxy) as peer:
        with node.does(answer(S + fields + b"\r\n")):
            peer.send(path("/", method="HEAD"))
            assert peer.message(method="HEAD").values("content-length") == left
        peer.send(get(b"Connection: close"))
        assert peer.message().body == b"ok"
        assert peer.rest() == b""


@pytest.mark.parametrize("said", [b"Content-Length: 5", b"Transfer-Encoding: chunked"])
def test_what_comes_late_behind_an_answer_without_a_body_is_no_answer(
    proxy: Proxy, node: Node, said: bytes
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        node.script = None
        peer.send(b"HTTP/1.1 204 No Content\r\n" + said + b"\r\n\r\n")
        assert peer.gone() == b"", "another request"

    with node.does(script):
        assert ask(proxy, get()).status == 204
        assert ask(proxy, get()).status == 200


def test_a_body_up_to_the_connections_end(proxy: Proxy, node: Node) -> None:
    """Is in chunks for HTTP/1.1, and ends with the connection for HTTP/1.0."""
    with client(proxy) as peer:
        with node.does(answer(S + b"\r\nhello")):
            peer.send(get())
            found = peer.message()
        assert (found.values("transfer-encoding"), found.body) == ([b"chunked"], b"hello")
        with node.does(answer(S + b"\r\nhello")):
            peer.send(path("/", b"Connection: keep-alive", version="1.0"))
            found = peer.message()
        assert (found.values("connection"), found.body) == ([b"close"], b"hello")
        assert not found.names & {b"transfer-encoding", b"content-length"}


def test_a_chunked_body_for_an_old_client(proxy: Proxy, node: Node) -> None:
    answered = (
        S + b"Transfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5\r\nhello\r\n3;x=y\r\n me\r\n0\r\nX: y\r\n\r\n"
    )
    found = given(proxy, node, answered, path("/", version="1.0"))
    assert (found.start, found.body, found.values("transfer-encoding")) == (
        b"HTTP/1.1 200 OK",
        b"hello me",
        [],
    )


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 1_000_000])
def test_bodies_arrive_as_they_were_sent(sim: Proxy, size: int) -> None:
    body = os.urandom(size)
    pieces = b"".join(
        b"%x\r\n%b\r\n" % (len(p), p) for i in range(0, size, 9999) if (p := body[i : i + 9999])
    )
    want = {"length": size, "sha256": hashlib.sha256(body).hexdigest()}
    assert ask(sim, post(body)).json()["body"] == want
    assert (
        ask(sim, path("/", b"Transfer-Encoding: chunked", method="PUT") + pieces + b"0\r\n\r\n").json()[
            "body"
        ]
        == want
    )
    assert ask(sim, path(f"/?size={size}")).body == pattern(size)
    found = ask(sim, path(f"/?size={size}&trailers=1"))
    assert found.body == pattern(size)
    assert found.trailers == [(b"X-Body-SHA256", hashlib.sha256(pattern(size)).hexdigest().encode())]


EXPECT = (b"Expect: 100-continue", b"Content-Length: 5")


def test_a_node_asks_for_the_body(proxy: Proxy, node: Node) -> None:
    """The expectation is the node's to meet: the client sends nothing before its 100."""

    def script(peer: Peer) -> None:
        _, fields = peer.head()
        assert (b"Expect", b"100-continue") in fields
        assert not peer.buffer
        peer.send(CONTINUE)
        assert peer.exactly(5) == b"hello"
        peer.send(OK)

    with node.does(script), client(proxy) as peer:
        peer.send(path("/", *EXPECT, method="PUT"))
        assert peer.message().status == 100
        peer.send(b"hello")
        assert peer.message().body == b"ok"


@pytest.mark.parametrize("status", [200, 417, 401])
def test_a_node_does_not_want_the_body(proxy: Proxy, node: Node, status: int) -> None:
    """Its answer comes at once, and the connection ends: the client may or may not send the body now."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.send(b"HTTP/1.1 %d x\r\nContent-Length: 2\r\n\r\nno" % status)
        with pytest.raises(ConnectionResetError):
            peer.rest()

    with node.does(script), client(proxy) as peer:
        peer.send(path("/", *EXPECT, method="PUT"))
        found = peer.message()
        assert (found.status, found.body, found.value("connection")) == (status, b"no", b"close")
        peer.send(b"hello" + get())
        assert peer.rest() == b""
    assert ask(proxy, get()).body == b"ok"


def test_a_node_that_ignores_the_expectation_gets_the_body_when_it_comes(proxy: Proxy, node: Node) -> None:
    with client(proxy) as peer:
        peer.send(path("/", *EXPECT, method="PUT"))
        assert ask(proxy, get()).status == 200
        peer.send(b"hello")
        assert peer.message().status == 200
    assert b"hello" in [request.body for request in node.take()]


def test_an_old_client_expects_nothing(sim: Proxy) -> None:
    with client(sim) as peer:
        peer.send(path("/", *EXPECT, method="PUT", version="1.0") + b"hello")
        found = peer.message()
        assert (found.status, found.json()["body"]["length"]) == (200, 5)
        assert "expect" not in [name.lower() for name, _ in found.json()["headers"]]


EARLY = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x\r\nX: 1\r\n"
EARLY_END = b"Content-Length: 3\r\nLink: </b>\r\n\r\n"


def test_early_hints_are_passed_on_at_once(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(2 * (EARLY + EARLY_END))
        assert arrived.wait(PATIENCE)
        peer.send(b"HTTP/1.1 102 Processing\r\n\r\n" + OK)

    arrived = threading.Event()
    with node.does(script), client(proxy) as peer:
        peer.send(get())
        for _ in range(2):
            found = peer.message()
            assert (found.status, found.fields) == (103, [(b"Link", b"</a>"), (b"Link", b"</b>")])
        arrived.set()
        assert [peer.message().status, peer.message().status] == [102, 200]


def test_an_old_client_gets_no_interim_answers(proxy: Proxy, node: Node) -> None:
    with node.does(answer(EARLY + EARLY_END + CONTINUE + OK)), client(proxy) as peer:
        peer.send(path("/", version="1.0"))
        assert peer.message().status == 200
