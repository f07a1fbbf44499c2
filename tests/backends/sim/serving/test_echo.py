"""The echo on a simulated node, over real sockets: as JSON and as a page, and what it refuses."""

from __future__ import annotations

import html.parser
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rpi_clusterhat_sim.service import MAX_HEAD, Echo, load_service
from tests.peers.client import Client, Running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EMPTY = sha256().hexdigest()


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    with Running(Echo("p7")) as running:
        yield running


@pytest.fixture
def client(running: Running) -> Iterator[Client]:
    with Client(running.address) as client:
        yield client


def test_the_request_comes_back_as_it_was_sent(client: Client) -> None:
    client.send(
        b"BREW //a/../b%20c?x=%zz&&y HTTP/1.1\r\nhOsT: node\r\nX-B: 2\r\nX-A: \t1 \r\n"
        b"x-b: \xe9\r\nContent-Length: 5\r\n\r\nhello"
    )
    answer = client.response()
    told = answer.json
    assert answer.status == 200
    assert told == {
        "node": "p7",
        "method": "BREW",
        "target": "//a/../b%20c?x=%zz&&y",
        "version": "HTTP/1.1",
        "headers": [["hOsT", "node"], ["X-B", "2"], ["X-A", "1"], ["x-b", "é"], ["Content-Length", "5"]],
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
    assert short.body == b""
    assert abs(int(short.all("Content-Length")[0]) - len(long.body)) <= 2  # "HEAD" for "GET", the counters
    assert client.get("/").status == 200


def test_connect_makes_no_tunnel(client: Client) -> None:
    answer = client.get("elsewhere:443", "CONNECT")
    assert (answer.status, answer.json["target"]) == (501, "elsewhere:443")


def test_a_chunked_body(client: Client) -> None:
    client.send(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b'5;x="y"\r\nhello\r\n006 \r\n world\r\n0\r\nX-Sum: 1\r\nx-Two: 2\r\n\r\n'
    )
    told = client.response().json
    assert told["body"] == {"length": 11, "sha256": sha256(b"hello world").hexdigest()}
    assert client.get("/").json["requests"] == 2


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


def test_close_is_honoured(client: Client) -> None:
    assert client.get("/", "GET", "Connection: x, Close").all("Connection") == ["close"]
    assert client.rest() == b""


class Cells(html.parser.HTMLParser):
    """The text of a table's cells; what is in no cell is passed over."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._inside = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._inside = tag in ("th", "td")
        if self._inside:
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1] += data.strip("\n")


def test_a_browser_gets_a_page(client: Client) -> None:
    answer = client.get("/<where>?a&b", "GET", "Accept: text/html,application/xml;q=0.9,*/*;q=0.8", "X: <b>")
    assert answer.all("Content-Type") == ["text/html; charset=utf-8"]
    assert answer.all("Vary") == ["Accept"]
    page = answer.body.decode()
    assert "<title>p7</title>" in page
    cells = Cells(page).found
    assert cells[:2] == ["request", "GET /<where>?a&b HTTP/1.1"]
    assert dict(zip(cells[::2], cells[1::2], strict=True))["X"] == "<b>"
    assert client.get("/", "GET", "Accept: application/json").json["requests"] == 2


def test_expect_is_answered_before_the_body(client: Client) -> None:
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
    assert client.response().status == 100
    client.send(b"ok")
    assert client.response().json["body"]["length"] == 2
    assert client.get("/", "GET", "Expect: 100-continue").status == 200  # there is no body to wait for


def test_http_1_0(client: Client) -> None:
    client.send(b"GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n")
    assert client.response().all("Connection") == ["keep-alive"]
    client.send(b"GET / HTTP/1.0\r\n\r\n")
    assert client.response().all("Connection") == ["close"]
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
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1" * 70_000, 400),
        (HEAD + b"X: " + b"a" * MAX_HEAD, 431),
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


# Others in its place ------------------------------------------------------------------------------------


def test_a_service_is_found_by_its_module_or_file(tmp_path: Path) -> None:
    assert load_service("rpi_clusterhat_sim.service:Echo") is Echo
    file = tmp_path / "mine.py"
    file.write_text(
        "class Mine:\n    def __init__(self, node):\n        self.node = node\nnothing = 1\n",
        encoding="utf-8",
    )
    assert getattr(load_service(f"{file}:Mine")("p1"), "node", None) == "p1"
    for name in ("nothing", "missing"):
        with pytest.raises(TypeError, match=name):
            load_service(f"{file}:{name}")
    with pytest.raises(ModuleNotFoundError, match="no_such"):
        load_service("no_such:Thing")
    with pytest.raises(FileNotFoundError):
        load_service(f"{tmp_path}/none.py:Thing")
