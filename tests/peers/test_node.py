"""The peer that tests have for a node: what it tells, what it is asked for, how it breaks."""

from __future__ import annotations

import socket
import threading
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.peers.bodies import pattern
from tests.peers.broken import RAW
from tests.peers.client import TIMEOUT, Client, Running
from tests.peers.node import MAX_HEAD, Peer

if TYPE_CHECKING:
    from collections.abc import Iterator

EMPTY = sha256().hexdigest()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running(Peer("p7")) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.address) as client:
        yield client


# What it tells ------------------------------------------------------------------------------------------


def test_the_request_comes_back_as_it_was_sent(client: Client) -> None:
    client.send(
        b"BREW //a/../b%20c?x=%zz&&y HTTP/1.1\r\nhOsT: node\r\nX-B: 2\r\nX-A: \t1 \r\n"
        b"x-b: \xe9\r\nContent-Length: 5\r\n\r\nhello"
    )
    answer = client.response()
    told = answer.json
    assert answer.status == 200
    assert told.pop("service")["requests"] >= 1
    assert told == {
        "node": "p7",
        "method": "BREW",
        "target": "//a/../b%20c?x=%zz&&y",
        "version": "HTTP/1.1",
        "headers": [["hOsT", "node"], ["X-B", "2"], ["X-A", "1"], ["x-b", "é"], ["Content-Length", "5"]],
        "trailers": [],
        "body": {"length": 5, "sha256": sha256(b"hello").hexdigest()},
        "peer": list(client.socket.getsockname()),
        "requests": 1,
    }


def test_requests_of_a_connection_are_counted(client: Client) -> None:
    assert [client.get("/").json["requests"] for _ in range(3)] == [1, 2, 3]
    assert client.get("/").json["body"] == {"length": 0, "sha256": EMPTY}


def test_head_has_the_header_of_get(client: Client) -> None:
    long = client.get("/", "GET")
    short = client.get("/", "HEAD")
    sized = client.get("/?size=1000", "HEAD")
    assert short.body == b""
    assert abs(int(short.all("Content-Length")[0]) - len(long.body)) <= 2  # "HEAD" for "GET", the counters
    assert sized.all("Content-Length") == ["1000"]
    assert client.get("/").status == 200


def test_connect_makes_no_tunnel(client: Client) -> None:
    answer = client.get("elsewhere:443", "CONNECT")
    assert (answer.status, answer.json["target"]) == (501, "elsewhere:443")


def test_a_chunked_body_with_trailers(client: Client) -> None:
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b'5;x="y"\r\nhello\r\n006 \r\n world\r\n0\r\nX-Sum: 1\r\nx-Two: 2\r\n\r\n'
    )
    told = client.response().json
    assert told["body"] == {"length": 11, "sha256": sha256(b"hello world").hexdigest()}
    assert told["trailers"] == [["X-Sum", "1"], ["x-Two", "2"]]
    assert client.get("/").json["trailers"] == []


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_it_does_not_matter_how_the_bytes_arrive(running: Running, data: st.DataObject) -> None:
    bodies = data.draw(
        st.lists(st.lists(st.binary(min_size=1, max_size=40), max_size=4), min_size=1, max_size=3)
    )
    sent = b""
    for chunks in bodies:
        if data.draw(st.booleans()):
            framed = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
            sent += (
                b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
                + framed
                + b"0\r\nA: b\r\n\r\n"
            )
        else:
            body = b"".join(chunks)
            sent += b"\r\nPUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    with Client(running.address) as client:
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            client.send(sent[start:end])
        for number, chunks in enumerate(bodies, 1):
            told = client.response().json
            assert told["requests"] == number
            assert told["body"]["sha256"] == sha256(b"".join(chunks)).hexdigest()


def test_pipelined_requests_are_answered_in_turn(client: Client) -> None:
    targets = ["/?delay=0.03", "/1", "/?chunks=2&interval=0.01", "/?status=204", "/?size=3", "/2"]
    for target in targets:
        client.ask(target)
    answers = [client.response() for _ in targets]
    assert [answer.status for answer in answers] == [200, 200, 200, 204, 200, 200]
    assert answers[2].body == b"chunk 1 of 2\nchunk 2 of 2\n"
    assert answers[4].body == pattern(3)
    assert [answers[i].json["requests"] for i in (0, 1, 5)] == [1, 2, 6]


def test_who_does_not_read_is_not_read_on(client: Client) -> None:
    """Neither end holds all of a flood: the client's sending comes to a stop."""
    client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.socket.settimeout(0.2)

    def flood() -> None:
        requests = (b"GET /" + b"x" * 1000 + b" HTTP/1.1\r\nHost: a\r\n\r\n") * 64
        for _ in range(500):
            client.socket.send(requests)  # each has its time: only a standstill ends it

    with pytest.raises(TimeoutError):
        flood()


def test_who_reads_late_gets_all(client: Client) -> None:
    client.ask("/?size=20000000")
    threading.Event().wait(0.05)  # in which the service comes to a stop
    assert client.response().body == pattern(20_000_000)


def test_answers_that_are_read_late_are_all_there(client: Client) -> None:
    count = 2500
    requests = b"".join(b"GET /%d%b HTTP/1.1\r\nHost: a\r\n\r\n" % (i, b"x" * 4000) for i in range(count))
    sender = threading.Thread(target=client.send, args=[requests])
    sender.start()
    threading.Event().wait(0.1)
    for number in range(count):
        told = client.response().json
        assert told["requests"] == number + 1
        assert told["target"].strip("x") == f"/{number}"
    sender.join()


def send_byte_by_byte(client: Client, data: bytes) -> None:
    for i in range(len(data)):
        client.send(data[i : i + 1])
        threading.Event().wait(0.001)  # or the system makes one of many


def test_byte_by_byte(client: Client) -> None:
    send_byte_by_byte(
        client,
        b"\r\nPUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n",
    )
    told = client.response().json
    assert told["body"]["sha256"] == sha256(b"hi!").hexdigest()
    assert told["trailers"] == [["A", "b"]]


def test_a_large_body_each_way(client: Client) -> None:
    body = pattern(3_000_000)
    told = client.get("/", "POST", body=body).json
    assert told["body"] == {"length": 3_000_000, "sha256": sha256(body).hexdigest()}
    assert client.get("/?size=3000000").body == body


def test_http_1_0(client: Client) -> None:
    client.send(b"GET /?chunks=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = client.response()
    assert (answer.body, answer.all("Connection")) == (b"chunk 1 of 2\nchunk 2 of 2\n", ["close"])


def test_http_1_0_keeps_alive_where_it_is_asked_to(client: Client) -> None:
    for target, says in ("/", "keep-alive"), ("/?size=1", "keep-alive"):
        client.send(f"GET {target} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n".encode())
        assert client.response().all("Connection") == [says]
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.response().all("Connection") == ["close"]
    assert client.rest() == b""


def test_close_is_honoured(client: Client) -> None:
    assert client.get("/", "GET", "Connection: x, Close").all("Connection") == ["close"]
    assert client.rest() == b""


def test_a_client_that_has_said_all_gets_its_answers(client: Client) -> None:
    client.ask("/")
    client.ask("/?delay=0.02&size=200000")
    client.socket.shutdown(socket.SHUT_WR)
    assert client.response().status == 200
    assert client.response().body == pattern(200_000)
    assert client.rest() == b""


# What it refuses ----------------------------------------------------------------------------------------

HEAD = b"GET / HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"GET /\r\n\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"G@T / HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (HEAD + b"Host: b\r\n\r\n", 400),
        (HEAD + b"X : 1\r\n\r\n", 400),
        (HEAD + b"X: 1\r\n 2\r\n\r\n", 400),
        (HEAD + b"no colon\r\n\r\n", 400),
        (HEAD + b": empty\r\n\r\n", 400),
        (HEAD + b"X: a\nY: b\r\n\r\n", 400),
        (HEAD + b"X: a\rb\r\n\r\n", 400),
        (HEAD + b"X: a\0b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\nHost: a\n\n", 400),
        (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\nx", 400),
        (HEAD + b"Content-Length: +1\r\n\r\nx", 400),
        (HEAD + b"Content-Length: 1, 1\r\n\r\nx", 400),
        (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        (b"GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0x1\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\na\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, 431),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n0\r\nbad trailer\r\n\r\n", 400),
        (HEAD + b"Expect: 200-ok\r\n\r\n", 417),
        (HEAD + b"X: " + b"a" * MAX_HEAD, 431),
        (b"GET /?delay=soon HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?delay=-1 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?delay=nan HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?status=100 HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /?raw=well HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    ],
)
def test_broken_requests_are_refused_by_name(client: Client, sent: bytes, status: int) -> None:
    client.send(sent)
    answer = client.response()
    assert answer.status == status
    assert answer.json["node"] == "p7"
    assert answer.json["error"]
    assert answer.all("Connection") == ["close"]
    assert client.rest() == b""


def test_a_refusal_is_not_lost_to_what_is_sent_after_it(client: Client) -> None:
    client.send(HEAD + b"X : 1\r\n\r\n" + b"y" * 500_000)
    assert client.response().status == 400


# What it is asked for -----------------------------------------------------------------------------------


def test_delay(client: Client) -> None:
    client.socket.settimeout(0.05)
    client.ask("/?delay=0.1")
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.socket.settimeout(TIMEOUT)
    assert client.socket.recv(8) == b"HTTP/1.1"


@pytest.mark.parametrize("status", [200, 201, 307, 404, 418, 503, 599])
def test_status(client: Client, status: int) -> None:
    answer = client.get(f"/?status={status}")
    assert (answer.status, answer.json["node"]) == (status, "p7")


@pytest.mark.parametrize("status", [204, 304])
def test_statuses_without_a_body(client: Client, status: int) -> None:
    answer = client.get(f"/?status={status}&trailers=1")
    assert (answer.status, answer.fields) == (status, [])
    assert client.get("/").status == 200


@pytest.mark.parametrize("size", [0, 1, 251, 64_256, 64_257, 1_000_000])
def test_size(client: Client, size: int) -> None:
    answer = client.get(f"/?size={size}")
    assert answer.all("Content-Length") == [str(size)]
    assert answer.body == bytes(i % 251 for i in range(size))


def test_a_large_body_is_not_made_at_once(running: Running, client: Client) -> None:
    client.ask("/?size=1000000000000")
    assert client.socket.recv(8) == b"HTTP/1.1"
    with Client(running.address) as other:
        assert other.get("/").status == 200


def test_chunks_come_one_by_one(client: Client) -> None:
    client.ask("/?chunks=3&interval=0.02")
    seen: list[bytes] = []
    while b"\r\n0\r\n\r\n" not in b"".join(seen):
        seen.append(client.socket.recv(4096))
    assert len(seen) >= 3
    assert b"".join(seen).endswith(
        b"\r\n\r\nd\r\nchunk 1 of 3\n\r\nd\r\nchunk 2 of 3\n\r\nd\r\nchunk 3 of 3\n\r\n0\r\n\r\n"
    )


def test_chunks_of_a_size(client: Client) -> None:
    answer = client.get("/?chunks=3&size=70000")
    assert answer.body == pattern(70_000) * 3
    assert client.get("/?chunks=0").body == b""


def test_trailers(client: Client) -> None:
    answer = client.get("/?trailers=1&size=1000")
    assert answer.all("Trailer") == ["X-Body-SHA256"]
    assert answer.trailers == [("X-Body-SHA256", sha256(pattern(1000)).hexdigest())]
    assert client.get("/?trailers=1").json["requests"] == 2


def test_events(client: Client) -> None:
    answer = client.get("/?sse=2&interval=0.01")
    assert answer.all("Content-Type") == ["text/event-stream"]
    assert answer.body.decode() == (
        'id: 1\ndata: {"node":"p7","event":1}\n\nid: 2\ndata: {"node":"p7","event":2}\n\n'
    )


def test_early_hints_come_before_the_body_is_sent(client: Client) -> None:
    client.send(b"POST /?early=103 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n")
    hint = client.response()
    assert (hint.status, hint.fields) == (103, [("Link", "</style.css>; rel=preload; as=style")])
    client.send(b"ok")
    assert client.response().status == 200


def test_http_1_0_gets_no_hints(client: Client) -> None:
    client.send(b"GET /?early=103 HTTP/1.0\r\nExpect: 100-continue\r\n\r\n")
    assert client.response().status == 200


@pytest.mark.parametrize("cut", [0, 1, 700, 2_000_000])
def test_cut(client: Client, cut: int) -> None:
    client.ask(f"/?cut={cut}")
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.file.readline()
    assert f"Content-Length: {cut + 1024}\r\n".encode() in head
    body = b""
    with pytest.raises(ConnectionResetError):  # noqa: PT012 - bytes come before it
        while data := client.file.read1(65536):
            body += data
    assert body == pattern(cut)


@pytest.mark.parametrize("target", ["/?cut=5&chunks=3", "/?cut=5&sse=10", "/?cut=99999&chunks=2"])
def test_cut_of_a_stream(client: Client, target: str) -> None:
    client.ask(target)
    with pytest.raises(ConnectionResetError):
        client.rest()


def test_close(client: Client) -> None:
    assert client.get("/?close=1").all("Connection") == ["close"]
    assert client.rest() == b""


def test_no_length(client: Client) -> None:
    answer = client.get("/?no-length=1&size=100000")
    assert {name for name, _ in answer.fields} == {"Content-Type", "Connection"}
    assert answer.body == pattern(100_000)


def test_hop_by_hop_fields(client: Client) -> None:
    answer = client.get("/?hop=1&trailers=1")
    assert answer.all("Connection") == ["x-hop, X-Other-Hop"]
    assert {"X-Hop", "X-Other-Hop", "Keep-Alive", "Proxy-Authenticate", "X-End"} <= dict(answer.fields).keys()
    assert "X-Hop" in dict(answer.trailers)
    assert client.get("/?hop=1&close=1").all("Connection") == ["close, x-hop, X-Other-Hop"]


def test_cookies(client: Client) -> None:
    assert client.get("/?cookies=3").all("Set-Cookie") == [f"cookie{i}={i}; Path=/" for i in range(3)]


def test_slow_read(client: Client) -> None:
    client.socket.settimeout(0.05)
    body = pattern(8_000_000)
    with pytest.raises(TimeoutError):
        client.ask("/?slow-read=30", "POST", body=body)


def test_slow_read_reads_in_the_end(client: Client) -> None:
    body = pattern(1_000_000)
    told = client.get("/?slow-read=0.05", "POST", body=body).json
    assert told["body"]["sha256"] == sha256(body).hexdigest()


def test_expect_is_answered_before_the_body(client: Client) -> None:
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert client.response().status == 100
    client.send(b"ok")
    assert client.response().json["body"]["length"] == 2
    assert client.get("/", "GET", "Expect: 100-continue").status == 200  # there is no body to wait for


def test_expect_can_be_ignored(client: Client) -> None:
    client.send(
        b"PUT /?ignore-expect=1 HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    )
    client.socket.settimeout(0.05)
    with pytest.raises(TimeoutError):
        client.socket.recv(1)
    client.send(b"ok")
    client.socket.settimeout(TIMEOUT)
    assert client.socket.recv(12) == b"HTTP/1.1 200"


@pytest.mark.parametrize("name", sorted(RAW))
def test_broken_answers(client: Client, name: str) -> None:
    client.ask(f"/?raw={name}")
    assert client.rest() == RAW[name]


def test_a_reset_without_a_byte(client: Client) -> None:
    client.ask("/?raw=reset")
    with pytest.raises(ConnectionResetError):
        client.rest()
