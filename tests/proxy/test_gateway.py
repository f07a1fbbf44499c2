"""What the proxy passes on, and what it does to it on the way: fields, bodies, interim answers, upgrades."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
import time
from base64 import b64encode
from contextlib import closing
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.peers.bodies import pattern
from tests.proxy.peers import OK, Message, Node, Peer, answer, ask, client
from tests.proxy.running import PATIENCE, Proxy

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

S = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture(scope="module")
def node() -> Generator[Node]:
    with closing(Node()) as node:
        yield node


def started(node: Node, *options: str) -> Proxy:
    return Proxy("--nodes", "1", "--node", f"p1=127.0.0.1:{node.port}", "--cold", "hold", *options)


@pytest.fixture(scope="module")
def shared(node: Node) -> Generator[Proxy]:
    with started(node) as proxy:
        assert ask(proxy, get()).status == 200
        yield proxy


@pytest.fixture
def proxy(shared: Proxy, node: Node) -> Proxy:
    node.take()
    return shared


@pytest.fixture(scope="module")
def trusting(node: Node) -> Generator[Proxy]:
    with started(node, "--trust-proxy", "127.0.0.0/28") as proxy:
        assert ask(proxy, get()).status == 200
        yield proxy


@pytest.fixture(scope="module")
def sim() -> Generator[Proxy]:
    """The node is the simulation's own service."""
    with Proxy("--nodes", "1", "--cold", "hold") as proxy:
        assert ask(proxy, get()).status == 200
        yield proxy


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"h") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, b"Host: " + host, *fields)) + b"\r\n"


def path(target: str, *fields: bytes, method: str = "GET", version: str = "1.1") -> bytes:
    return get(*fields, line=f"{method} {target} HTTP/{version}".encode())


def post(body: bytes, *fields: bytes, target: str = "/") -> bytes:
    return path(target, b"Content-Length: %d" % len(body), *fields, method="POST") + body


def seen(proxy: Proxy, node: Node, request: bytes) -> Message:
    """The request as the node got it."""
    node.take()
    assert ask(proxy, request).status == 200
    (found,) = node.take()
    return found


def given(proxy: Proxy, node: Node, answered: bytes, request: bytes = b"") -> Message:
    """The answer as the client got it."""
    with node.does(answer(answered)):
        return ask(proxy, request or get(), method="HEAD" if request.startswith(b"HEAD") else "GET")


# Requests -------------------------------------------------------------------------------------------------


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


# Answers --------------------------------------------------------------------------------------------------


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


# Connections ----------------------------------------------------------------------------------------------


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


# Interim answers ------------------------------------------------------------------------------------------

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


# Upgrades -------------------------------------------------------------------------------------------------

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


# Memory ---------------------------------------------------------------------------------------------------

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
