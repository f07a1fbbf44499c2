"""Clients that are slow, large or many are cut off, and the others are served meanwhile."""

from __future__ import annotations

import os
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.proxy.peers import Node, Peer, ask, client
from tests.proxy.running import PATIENCE, Proxy

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

pytestmark = pytest.mark.slow

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
HEAD_TIME, IDLE_TIME, CLIENT_TIME, SERVER_TIME = 1.0, 1.2, 1.4, 1.0
RATE = 1000
BODY = 100_000
LATE = 5.0
"""Seconds within which what is due has come on a busy machine, too."""


@pytest.fixture(scope="module")
def node() -> Generator[Node]:
    with closing(Node()) as node:
        yield node


TIMES = {
    "--timeout-http-request": HEAD_TIME,
    "--timeout-http-keep-alive": IDLE_TIME,
    "--timeout-client": CLIENT_TIME,
    "--timeout-server": SERVER_TIME,
    "--timeout-tunnel": SERVER_TIME,
    "--min-body-rate": RATE,
}
SIZES = {"--max-body": BODY, "--max-request-line": 1000, "--max-header-size": 5000, "--max-headers": 20}


@contextmanager
def proxy_with(node: Node, options: Mapping[str, float]) -> Generator[Proxy]:
    given = [text for option, value in options.items() for text in (option, f"{value:g}")]
    alone = ("--nodes", "1", "--cold", "hold", "--probe", "tcp")  # the node says whatever a test wants
    with Proxy(*alone, "--node", f"p1=127.0.0.1:{node.port}", *given) as proxy:
        assert ask(proxy, GET).status == 200
        yield proxy


@pytest.fixture(scope="module")
def hasty(node: Node) -> Generator[Proxy]:
    with proxy_with(node, TIMES) as proxy:
        yield proxy


@pytest.fixture(scope="module")
def narrow(node: Node) -> Generator[Proxy]:
    with proxy_with(node, SIZES) as proxy:
        yield proxy


@pytest.fixture
def proxy(hasty: Proxy, node: Node) -> Proxy:
    node.take()
    return hasty


def get(*fields: bytes, target: bytes = b"/") -> bytes:
    return (
        b"".join(line + b"\r\n" for line in (b"GET " + target + b" HTTP/1.1", b"Host: h", *fields)) + b"\r\n"
    )


def post(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n" % length


CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def send_for_ever(peer: Peer) -> None:
    while True:
        peer.send(bytes(1 << 20))


@contextmanager
def dripping(peer: Peer, data: bytes, interval: float) -> Generator[None]:
    """Sends byte by byte meanwhile, as long as the other side takes it."""

    def drip() -> None:
        with suppress(OSError):
            for i in range(len(data)):
                peer.sock.send(data[i : i + 1])
                if over.wait(interval):
                    return

    over = threading.Event()
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@contextmanager
def takes(at_least: float, at_most: float = LATE) -> Generator[None]:
    began = time.monotonic()
    yield
    assert at_least - 0.05 <= time.monotonic() - began <= at_least + at_most


def check_refused(peer: Peer, status: int) -> None:
    """It is told so, and the connection ends."""
    found = peer.message()
    assert (found.status, found.value("connection")) == (status, b"close")
    assert not peer.gone()


# Time -----------------------------------------------------------------------------------------------------


def test_a_head_that_drips_is_cut_off_and_others_are_served_meanwhile(proxy: Proxy, node: Node) -> None:
    with client(proxy) as peer, takes(HEAD_TIME), dripping(peer, GET[:-2] + b"X: " + b"y" * 1000, 0.05):
        for _ in range(5):
            assert ask(proxy, GET).status == 200
        check_refused(peer, 408)
    assert len(node.take()) == 5


def test_a_later_head_that_drips_is_cut_off_too(proxy: Proxy) -> None:
    with client(proxy) as peer:
        peer.send(GET)
        assert peer.message().status == 200
        with takes(HEAD_TIME), dripping(peer, GET[:-2] + b"X: " + b"y" * 1000, 0.05):
            check_refused(peer, 408)


def test_a_client_that_says_nothing_is_cut_off_silently(proxy: Proxy) -> None:
    with client(proxy) as peer, takes(HEAD_TIME):
        assert peer.rest() == b""


def test_a_client_that_says_nothing_more_is_cut_off_silently(proxy: Proxy) -> None:
    with client(proxy) as peer:
        peer.send(GET)
        assert peer.message().status == 200
        with takes(IDLE_TIME):
            assert peer.rest() == b""


def test_a_body_that_does_not_come_is_cut_off(proxy: Proxy, node: Node) -> None:
    with client(proxy) as peer, takes(CLIENT_TIME):
        peer.send(post(10))
        check_refused(peer, 408)
    ask(proxy, GET)
    assert [request.start for request in node.take()] == [b"GET / HTTP/1.1"]


@pytest.mark.parametrize("head", [post(5000), CHUNKED])
def test_a_body_that_drips_is_cut_off_and_others_are_served_meanwhile(proxy: Proxy, head: bytes) -> None:
    """Although something comes all the time: too little."""
    data = bytes(5000) if head != CHUNKED else b"1\r\nx\r\n" * 1000
    with client(proxy) as peer, takes(CLIENT_TIME):
        peer.send(head)
        with dripping(peer, data, 0.02):
            for _ in range(5):
                assert ask(proxy, GET).status == 200
            check_refused(peer, 408)


def test_a_body_that_comes_slowly_enough_is_let_pass(proxy: Proxy, node: Node) -> None:
    """It takes longer than the time for silence, at twice the rate that is asked for."""
    parts = int(2 * CLIENT_TIME / 0.1)
    size = int(2 * RATE * 0.1)
    with client(proxy) as peer, takes(2 * CLIENT_TIME - 0.2):
        peer.send(post(parts * size))
        for _ in range(parts):
            peer.send(bytes(size))
            threading.Event().wait(0.1)
        assert peer.message().status == 200
    (request,) = node.take()
    assert len(request.body) == parts * size


def test_time_that_a_node_takes_is_not_the_clients(proxy: Proxy, node: Node) -> None:
    """A body waits for a node that reads it late: the client is not slow."""

    def script(peer: Peer) -> None:
        peer.head()
        peer.exactly(50_000)
        peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        peer.exactly(50_000)
        threading.Event().wait(SERVER_TIME - 0.3)
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with node.does(script), client(proxy) as peer:
        peer.send(post(BODY) + bytes(50_000))
        assert peer.message().status == 100
        peer.send(bytes(50_000))
        assert peer.message().status == 200


def test_a_client_that_does_not_read_is_cut_off_and_others_are_served_meanwhile(
    proxy: Proxy, node: Node
) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 500000000\r\n\r\n")
        with pytest.raises(ConnectionError):
            send_for_ever(peer)

    with client(proxy, receive_buffer=65536) as peer:
        with takes(CLIENT_TIME), node.does(script):
            peer.send(GET)
            peer.head()
            node.script = None
            for _ in range(5):
                assert ask(proxy, GET).status == 200
        with suppress(ConnectionResetError):
            while peer.sock.recv(1 << 20):
                pass


def test_time_in_which_a_client_does_not_read_is_not_the_nodes(node: Node) -> None:
    size = 20_000_000

    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    options = ("--nodes", "1", "--node", f"p1=127.0.0.1:{node.port}", "--cold", "hold")
    with Proxy(*options, "--timeout-server", "0.4") as proxy:
        assert ask(proxy, GET).status == 200
        with node.does(script), client(proxy, receive_buffer=65536) as peer:
            peer.send(get(b"Connection: close"))
            peer.until(b"\r\n\r\n")
            threading.Event().wait(1.0)
            got = len(peer.buffer)
            while data := peer.sock.recv(1 << 20):
                got += len(data)
    assert got == size
    node.take()


def test_a_client_that_does_not_read_the_last_of_an_answer_is_cut_off(proxy: Proxy, node: Node) -> None:
    """All of the answer is with the system and in the proxy's buffer: it must not stay there for ever."""
    sizes = [2_400_000 + i * 60_000 for i in range(24)]

    def script(peer: Peer) -> None:
        size = int(peer.message().start.split(b" ")[1][1:])
        with suppress(ConnectionError):
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + bytes(size))

    before = files(proxy)
    with ExitStack() as stack:
        node.script = script
        for size in sizes:
            peer = stack.enter_context(client(proxy, receive_buffer=4096))
            peer.send(get(b"Connection: close", target=b"/%d" % size))
            peer.exactly(20)
        node.script = None
        end = time.monotonic() + CLIENT_TIME + 2 * PATIENCE
        while files(proxy) > before:
            assert time.monotonic() < end, f"{files(proxy) - before} connections stay"
            time.sleep(0.05)
    node.take()


def test_a_client_that_vanishes_is_noticed(proxy: Proxy) -> None:
    """It says nothing any more, not even that it goes: the system asks after it, within half a minute."""
    with client(proxy) as peer:
        peer.send(get(b"Connection: upgrade", b"Upgrade: echo"))
        assert peer.message().status == 200  # all that was sent is acknowledged: no other timer runs
        mine = f":{peer.sock.getsockname()[1]:04X}"
        lines = map(str.split, Path("/proc/net/tcp").read_text().splitlines()[1:])
        timers = [f[5] for f in lines if f[1].endswith(f":{proxy.port:04X}") and f[2].endswith(mine)]
        assert len(timers) == 1
        kind, _, ticks = timers[0].partition(":")
        assert kind == "02"
        assert int(ticks, 16) <= 30 * os.sysconf("SC_CLK_TCK")


def files(proxy: Proxy) -> int:
    """Open sockets of the proxy that belong to connections of clients which it was connected by."""
    inodes = set[str]()
    for entry in Path(f"/proc/{proxy.process.pid}/fd").iterdir():
        with suppress(OSError):
            target = entry.readlink().name
            if target.startswith("socket:["):
                inodes.add(target[8:-1])
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    port = f":{proxy.port:04X}"
    return sum(f[1].endswith(port) and f[3] != "0A" and f[9] in inodes for f in map(str.split, lines))


def test_a_node_that_says_nothing_is_given_up(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.gone()

    for method in (b"GET", b"HEAD"):
        with node.does(script), client(proxy) as peer, takes(SERVER_TIME):
            peer.send(GET.replace(b"GET", method))
            found = peer.message(method=method.decode())
            assert (found.status, found.value("connection")) == (504, b"close")
            assert peer.rest() == b""


def test_a_node_that_falls_silent_within_its_answer_is_given_up(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        peer.gone()

    with node.does(script), client(proxy) as peer, takes(SERVER_TIME):
        peer.send(GET)
        peer.head()
        assert peer.chunk() == b"hello"
        with pytest.raises(ConnectionResetError):
            peer.rest()


def test_a_stream_of_events_may_be_silent(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=utf-8\r\n\r\ndata: 1\n\n")
        threading.Event().wait(SERVER_TIME + 0.6)
        peer.send(b"data: 2\n\n")

    with node.does(script), client(proxy) as peer:
        peer.send(GET)
        assert peer.message().body == b"data: 1\n\ndata: 2\n\n"


def test_a_silent_tunnel_is_closed_and_a_lively_one_is_not(proxy: Proxy, node: Node) -> None:
    def script(peer: Peer) -> None:
        peer.message()
        peer.send(b"HTTP/1.1 101 Go\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n")
        peer.gone()

    with node.does(script), client(proxy) as peer:
        peer.send(get(b"Connection: upgrade", b"Upgrade: echo"))
        assert peer.message().status == 101
        with takes(1.9 * SERVER_TIME):
            for _ in range(10):
                peer.send(b"x")
                threading.Event().wait(SERVER_TIME / 10)
            assert not peer.gone()


# Size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (get(target=b"/" + b"x" * (1000 - len("GET / HTTP/1.1"))), 200),
        (get(target=b"/" + b"x" * (1001 - len("GET / HTTP/1.1"))), 414),
        (b"GET /" + b"x" * 100_000, 414),
        (b"x" * 100_000, 414),
        (get(*[b"X: y"] * 19), 200),
        (get(*[b"X: y"] * 20), 431),
        (get(b"X: " + b"y" * (5000 - len(get(b"X: ")))), 200),
        (get(b"X: " + b"y" * (5001 - len(get(b"X: ")))), 431),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000, 431),
        (b"GET / HTTP/1.1\r\nX: " + b"y" * 100_000, 431),
        (post(BODY) + bytes(BODY), 200),
        (post(BODY + 1), 413),
        (post(10**17), 413),
        (CHUNKED + b"%x\r\n" % BODY + bytes(BODY) + b"\r\n0\r\n\r\n", 200),
        (CHUNKED + b"%x\r\n" % (BODY + 1) + bytes(BODY + 1) + b"\r\n0\r\n\r\n", 413),
        (CHUNKED + (b"1\r\nx\r\n" * (BODY + 1)) + b"0\r\n\r\n", 413),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_too_large_is_refused(narrow: Proxy, node: Node, request_: bytes, status: int) -> None:
    node.take()
    with client(narrow) as peer:
        sender = threading.Thread(target=_send, args=(peer, request_))
        sender.start()
        if status == 200:
            assert peer.message().status == 200
        else:
            check_refused(peer, status)
        sender.join()
    assert ask(narrow, GET).status == 200
    assert len(node.take()) == (2 if status == 200 else 1)


def _send(peer: Peer, data: bytes) -> None:
    with suppress(ConnectionError):
        peer.send(data)


def test_a_body_that_grows_too_large_later_is_refused(narrow: Proxy, node: Node) -> None:
    node.take()
    with client(narrow) as peer:
        peer.send(CHUNKED + b"1\r\nx\r\n")
        assert ask(narrow, GET).status == 200
        _send(peer, b"%x\r\n" % BODY + bytes(BODY) + b"\r\n0\r\n\r\n")
        check_refused(peer, 413)
    ask(narrow, GET)
    assert [request.start for request in node.take()] == [b"GET / HTTP/1.1"] * 2


# Number ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> Generator[Proxy]:
    limits = ("--max-connections", "6", "--max-connections-per-client", "4")
    with Proxy("--nodes", "1", "--cold", "hold", *limits) as proxy:
        assert ask(proxy, GET).status == 200
        yield proxy


def open_to(stack: ExitStack, proxy: Proxy, source: str, count: int) -> list[Peer]:
    """So many connections that are served."""
    peers = [stack.enter_context(client(proxy, source=source)) for _ in range(count)]
    for peer in peers:
        peer.send(GET)
        assert peer.message().status == 200
    return peers


def check_turned_away(proxy: Proxy, source: str) -> None:
    with client(proxy, source=source) as peer:
        found = peer.message()  # at once: nothing was asked yet
        assert (found.status, found.value("connection")) == (503, b"close")
        assert int(found.value("retry-after")) > 0
        peer.send(GET)
        assert not peer.gone()


def until_none(proxy: Proxy) -> None:
    end = time.monotonic() + PATIENCE
    while files(proxy):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_client_with_too_many_connections_is_turned_away_and_others_are_not(small: Proxy) -> None:
    until_none(small)
    with ExitStack() as stack:
        mine = open_to(stack, small, "127.0.0.1", 4)
        for _ in range(3):
            check_turned_away(small, "127.0.0.1")
        other = open_to(stack, small, "127.0.0.2", 2)
        for peer in (*mine, *other):
            peer.send(GET)
            assert peer.message().status == 200
        mine[0].sock.close()
        other[0].sock.close()
        end = time.monotonic() + PATIENCE
        while files(small) > 4:
            assert time.monotonic() < end
            time.sleep(0.02)
        open_to(stack, small, "127.0.0.1", 1)


def test_connections_beyond_all_are_turned_away_and_those_that_are_there_are_served(small: Proxy) -> None:
    until_none(small)
    with ExitStack() as stack:
        peers = open_to(stack, small, "127.0.0.1", 3) + open_to(stack, small, "127.0.0.2", 3)
        for source in ("127.0.0.1", "127.0.0.2", "127.0.0.3"):
            check_turned_away(small, source)
        for peer in peers:
            peer.send(GET)
            assert peer.message().status == 200
    until_none(small)
    assert ask(small, GET).status == 200


def test_very_many_connections_beyond_all_cost_nobody_his_place(small: Proxy) -> None:
    """Those that are turned away and do not go are counted apart, and are closed in the end."""
    until_none(small)
    with ExitStack() as stack:
        (peer, *_) = open_to(stack, small, "127.0.0.1", 4)
        crowd = [stack.enter_context(client(small)) for _ in range(200)]
        for _ in range(5):
            peer.send(GET)
            assert peer.message().status == 200
        for one in crowd:
            assert one.message().status == 503
        end = time.monotonic() + PATIENCE
        while files(small) > 4:
            assert time.monotonic() < end
            time.sleep(0.05)
