"""Probes of real servers on loopback and of real commands; the blocking and the asyncio driver alike."""

from __future__ import annotations

import _socket
import asyncio
import contextlib
import gc
import os
import select
import socket
import struct
import threading
from typing import TYPE_CHECKING, Any, Self

import pytest

from rpi_clusterhat.nodes.probes import (
    CommandProbe,
    HttpProbe,
    Probe,
    TcpProbe,
    Verdict,
    await_until_up,
    wait_until_up,
)
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator
    from pathlib import Path

LONG = 30.0
"""Seconds that no test takes unless it fails."""


def blocking(probe: Probe) -> Verdict:
    return probe.ask()


def in_a_loop(probe: Probe) -> Verdict:
    return asyncio.run(probe.aask(), debug=True)


both = pytest.mark.parametrize("ask", [blocking, in_a_loop])


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """A socket or process that nobody closed is a ResourceWarning, and so an error of the test's own."""
    yield
    gc.collect()


class Server:
    """Takes connections on loopback and hands each to ``handle``, in a thread of its own."""

    def __init__(self, handle: Callable[[socket.socket], object], host: str = "127.0.0.1") -> None:
        self._handle = handle
        self._listener = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):  # the client is gone
            connection.settimeout(LONG)
            self._handle(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join()


def until_it_leaves(connection: socket.socket) -> None:
    while connection.recv(4096):
        pass


def says(*pieces: bytes) -> Callable[[socket.socket], None]:
    """Reads the request, sends the pieces one by one, and closes."""

    def handle(connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        request = b""
        while b"\r\n\r\n" not in request:
            request += connection.recv(4096)
        for piece in pieces:
            connection.sendall(piece)

    return handle


def trickles(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 ")
    for _ in range(int(LONG / 0.01)):
        connection.sendall(b"O")
        select.select([], [], [], 0.01)


def resets(connection: socket.socket) -> None:
    connection.recv(1)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@contextlib.contextmanager
def closed_port() -> Generator[int, None, None]:
    """One that nobody listens on, and that nobody else gets meanwhile."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Generator[int, None, None]:
    """One whose listener's queue is full: the system drops what else comes."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address[1]


# TCP -------------------------------------------------------------------------------------------------------


@both
def test_who_takes_the_connection_is_up(ask: Callable[[Probe], Verdict]) -> None:
    with Server(until_it_leaves) as server:
        assert ask(TcpProbe("127.0.0.1", server.port)) == Verdict(
            True, f"connected to 127.0.0.1:{server.port}"
        )


@both
def test_nobody_listens(ask: Callable[[Probe], Verdict]) -> None:
    with closed_port() as port:
        assert ask(TcpProbe("127.0.0.1", port)) == Verdict(False, f"connection refused by 127.0.0.1:{port}")


@both
def test_nobody_answers(ask: Callable[[Probe], Verdict]) -> None:
    with silent_port() as port:
        assert ask(TcpProbe("127.0.0.1", port, timeout=0.1)) == Verdict(
            False, f"no answer from 127.0.0.1:{port} within 0.1 s"
        )


@both
def test_a_connection_to_oneself_is_none(
    ask: Callable[[Probe], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it happens by chance when the port is one of those that the system gives to clients."""
    with closed_port() as port:
        pass

    def connect_ex(connection: socket.socket, address: Any) -> int:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        connection.bind(address)
        return _socket.socket.connect_ex(connection, address)

    monkeypatch.setattr(socket.socket, "connect_ex", connect_ex)
    assert ask(TcpProbe("127.0.0.1", port)) == Verdict(False, f"connection refused by 127.0.0.1:{port}")


@both
def test_an_address_of_a_kind_that_this_machine_has_not(
    ask: Callable[[Probe], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        return [(250, socket.SOCK_STREAM, 0, "", (host, port))]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert ask(TcpProbe("127.0.0.1", 80)) == Verdict(
        False, "address family not supported by protocol: 127.0.0.1:80"
    )


# HTTP ------------------------------------------------------------------------------------------------------

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
FIELD = b"X-Filler: " + b"x" * 1000 + b"\r\n"

ANSWERS: dict[str, tuple[Any, dict[str, Any], bool, str]] = {
    "ok": (says(OK), {}, True, "status 200 from {}"),
    "old": (says(b"HTTP/1.0 301\r\n"), {}, True, "status 301 from {}"),
    "bare line feeds": (says(b"HTTP/1.1 204 No Content\n\n"), {}, True, "status 204 from {}"),
    "in pieces": (says(*(bytes([c]) for c in OK)), {}, True, "status 200 from {}"),
    "interim answers": (
        says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early", b" Hints\r\nLink: </>\r\n\r\n", OK),
        {},
        True,
        "status 200 from {}",
    ),
    "not found": (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), {}, False, "unexpected status 404 from {}"),
    "expected": (says(b"HTTP/1.1 404 Not Found\r\n\r\n"), {"expect": "404"}, True, "status 404 from {}"),
    "unexpected": (says(OK), {"expect": [204, 301]}, False, "unexpected status 200 from {}"),
    "ssh": (
        says(b"SSH-2.0-OpenSSH_9.2\r\n"),
        {},
        False,
        r"not HTTP from {}: b'SSH-2.0-OpenSSH_9.2'",
    ),
    "closes": (says(), {}, False, "{} closed the connection without an answer"),
    "closes half way": (says(OK[:12]), {}, False, "{} closed the connection without an answer"),
    "resets": (resets, {}, False, "connection reset by peer: {}"),
    "silent": (until_it_leaves, {"timeout": 0.1}, False, "no answer from {} within 0.1 s"),
    "trickles": (trickles, {"timeout": 0.1}, False, "no answer from {} within 0.1 s"),
    "endless": (
        says(b"HTTP/1.1 100 Continue\r\n", *[FIELD] * 100),
        {},
        False,
        "no status in the first 64 KiB from {}",
    ),
    "endless interim answers": (
        says(*[b"HTTP/1.1 102 Processing\r\n\r\n" * 40] * 100),
        {},
        False,
        "no status in the first 64 KiB from {}",
    ),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_answers(name: str) -> None:
    handle, arguments, up, reason = ANSWERS[name]
    with Server(handle) as server:
        settings: dict[str, Any] = {"timeout": LONG, **arguments}
        probe = HttpProbe("127.0.0.1", server.port, **settings)
        expected = Verdict(up, reason.format(f"127.0.0.1:{server.port}"))
        assert blocking(probe) == expected
        assert in_a_loop(probe) == expected
        assert server.connections == 2


def test_the_request() -> None:
    requests: list[str] = []

    def handle(connection: socket.socket) -> None:
        requests.append(connection.recv(4096).decode())
        connection.sendall(OK)

    with Server(handle) as server:
        plain = HttpProbe("127.0.0.1", server.port)
        named = HttpProbe("127.0.0.1", server.port, "/up?a=b%20c", host_header="web.example")
        for probe in (plain, named):
            assert blocking(probe)
            assert in_a_loop(probe)
    assert requests == [text for text in requests[::2] for _ in "12"]
    first, *fields = requests[0].removesuffix("\r\n\r\n").split("\r\n")
    assert first == "GET / HTTP/1.1"
    assert {f"Host: 127.0.0.1:{server.port}", "Connection: close"} < {*fields}
    assert requests[2].startswith("GET /up?a=b%20c HTTP/1.1\r\nHost: web.example\r\n")


@both
def test_ipv6(ask: Callable[[Probe], Verdict]) -> None:
    requests: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        requests.append(connection.recv(4096))
        connection.sendall(OK)

    try:
        server = Server(handle, "::1")
    except OSError:
        pytest.skip("this machine has no IPv6")
    with server:
        where = f"[::1]:{server.port}"
        assert ask(HttpProbe("::1", server.port)) == Verdict(True, f"status 200 from {where}")
    assert f"\r\nHost: {where}\r\n".encode() in requests[0]


def test_a_request_larger_than_what_the_system_takes_at_once() -> None:
    path = "/" + "x" * 8_000_000
    received: list[int] = []

    def handle(connection: socket.socket) -> None:
        count = 0
        tail = b""
        while not tail.endswith(b"\r\n\r\n"):
            more = connection.recv(1 << 20)
            count += len(more)
            tail = (tail + more)[-4:]
        received.append(count)
        connection.sendall(OK)

    with Server(handle) as server:
        probe = HttpProbe("127.0.0.1", server.port, path, timeout=LONG)
        assert blocking(probe)
        assert in_a_loop(probe)
    assert received[0] == received[1] > len(path)


# Names -----------------------------------------------------------------------------------------------------


class Resolver:
    """In the place of the system's: knows its names and answers when it may."""

    def __init__(self, names: dict[str, list[tuple[str, int]]]) -> None:
        self.names = names
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        self.may_answer.set()
        self._system = socket.getaddrinfo

    def __call__(self, host: str, port: int, *, type: int, flags: int) -> Any:  # noqa: A002  # as the system's
        if flags:
            return self._system(host, port, type=type, flags=flags)
        self.asked.append(host)
        self.may_answer.wait(LONG)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, type, 0, "", address) for address in self.names[host]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    resolver = Resolver({})
    monkeypatch.setattr(socket, "getaddrinfo", resolver)
    yield resolver
    resolver.may_answer.set()
    for thread in threading.enumerate():
        if thread.name.startswith("resolve "):
            thread.join()


@both
def test_a_name_that_nobody_knows(ask: Callable[[Probe], Verdict], resolver: Resolver) -> None:
    probe = TcpProbe("p1.local", 80, timeout=LONG)
    expected = Verdict(False, "p1.local cannot be resolved: name or service not known")
    assert [ask(probe), ask(probe)] == [expected, expected]
    assert resolver.asked == ["p1.local"] * 2


@both
def test_each_address_of_a_name_is_tried(ask: Callable[[Probe], Verdict], resolver: Resolver) -> None:
    with closed_port() as port, Server(until_it_leaves) as server:
        closed, opened = ("127.0.0.1", port), ("127.0.0.1", server.port)
        resolver.names = {"up": [closed, opened], "down": [closed, closed], "none": []}
        assert ask(TcpProbe("up", 80, timeout=LONG)) == Verdict(True, "connected to up:80")
        assert ask(TcpProbe("down", 80, timeout=LONG)) == Verdict(False, "connection refused by down:80")
        assert ask(TcpProbe("none", 80, timeout=LONG)).up is False


@both
def test_an_address_that_is_silent_leaves_time_for_the_next(
    ask: Callable[[Probe], Verdict], resolver: Resolver
) -> None:
    with silent_port() as port, Server(until_it_leaves) as server:
        resolver.names = {"p1": [("127.0.0.1", port), ("127.0.0.1", server.port)]}
        assert ask(TcpProbe("p1", 80, timeout=0.4)) == Verdict(True, "connected to p1:80")


@both
def test_a_slow_resolver_is_asked_once_and_its_answer_counts_later(
    ask: Callable[[Probe], Verdict], resolver: Resolver
) -> None:
    resolver.may_answer.clear()
    probe = TcpProbe("p1.local", 80, timeout=0.05)
    for _ in range(3):
        assert ask(probe) == Verdict(
            False, "p1.local is not resolved yet"
        )  # asyncio.run() does not wait either
    assert resolver.asked == ["p1.local"]
    with Server(until_it_leaves) as server:
        resolver.names = {"p1.local": [("127.0.0.1", server.port)]}
        resolver.may_answer.set()
        probe.timeout = LONG
        assert ask(probe)
    assert resolver.asked == ["p1.local"]


def test_an_answer_that_came_long_ago_does_not_count(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rpi_clusterhat.nodes.probes._Lookup.FRESH", 0.0)
    resolver.may_answer.clear()
    probe = TcpProbe("p1.local", 80, timeout=0.05)
    assert not probe.ask()
    [thread] = [thread for thread in threading.enumerate() if thread.name == "resolve p1.local"]
    resolver.may_answer.set()
    thread.join()
    with Server(until_it_leaves) as server:
        resolver.names = {"p1.local": [("127.0.0.1", server.port)]}
        probe.timeout = LONG
        assert probe.ask()
    assert resolver.asked == ["p1.local"] * 2


def test_one_probe_asked_by_many_threads(resolver: Resolver) -> None:
    verdicts: list[Verdict] = []
    with Server(says(OK)) as server:
        resolver.names = {"node": [("127.0.0.1", server.port)]}
        probe = HttpProbe("node", 80, timeout=LONG)
        threads = [threading.Thread(target=lambda: verdicts.append(probe.ask())) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert verdicts == [Verdict(True, "status 200 from node:80")] * 8


# Waiting ---------------------------------------------------------------------------------------------------


class BootClock(FakeClock):
    """During whose third sleep a node comes up."""

    def __init__(self, boot: Callable[[], object]) -> None:
        super().__init__(start=0.0)
        self._boot = boot

    def _sleeps(self) -> None:
        if len(self.sleeps) == 2:
            self._boot()

    def sleep(self, seconds: float) -> None:
        self._sleeps()
        super().sleep(seconds)

    async def asleep(self, seconds: float) -> None:
        self._sleeps()
        await super().asleep(seconds)


@pytest.mark.parametrize("wait", ["blocking", "in a loop"])
def test_a_node_that_comes_up(wait: str) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        clock = BootClock(listener.listen)
        arguments: dict[str, Any] = {"timeout": 60.0, "interval": 0.25, "ready_after": 0.5, "clock": clock}
        probe = TcpProbe("127.0.0.1", port)
        verdict = (
            wait_until_up(probe, **arguments)
            if wait == "blocking"
            else asyncio.run(await_until_up(probe, **arguments))
        )
        assert verdict == Verdict(True, f"connected to 127.0.0.1:{port}")
        assert clock.sleeps == [0.25] * 5


def test_no_attempt_takes_more_than_what_is_left() -> None:
    with Server(until_it_leaves) as server:
        probe = HttpProbe("127.0.0.1", server.port, timeout=LONG)
        verdict = wait_until_up(probe, timeout=0.1)
    where = f"127.0.0.1:{server.port}"
    assert verdict.reason.startswith(f"no answer from {where} within 0.1 s (tried for 0.")


# Commands --------------------------------------------------------------------------------------------------


@both
def test_commands(ask: Callable[[Probe], Verdict]) -> None:
    assert ask(CommandProbe("true")) == Verdict(True, "'true' ended with status 0")
    assert ask(CommandProbe("sh", "-c", "exit 3")) == Verdict(False, "'sh' ended with status 3")
    assert ask(CommandProbe("sh", "-c", "kill -9 $$")) == Verdict(False, "'sh' ended with signal 9")
    assert ask(CommandProbe("/no/such")) == Verdict(
        False, "'/no/such' cannot be run: no such file or directory"
    )
    assert ask(CommandProbe(os.curdir)) == Verdict(False, "'.' cannot be run: permission denied")


@both
def test_a_command_has_nothing_to_read_and_its_output_goes_nowhere(
    ask: Callable[[Probe], Verdict], capfd: pytest.CaptureFixture[str]
) -> None:
    assert ask(
        CommandProbe("sh", "-c", 'echo out; echo err >&2; test -z "$(cat)" && test \'*\' = "$1"', "sh", "*")
    )
    assert capfd.readouterr() == ("", "")


class Family:
    """A command that starts another and waits; whoever of them lives holds the pipe's end open."""

    def __init__(self, folder: Path) -> None:
        path = folder / "alive"
        os.mkfifo(path)
        self.end = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.argv = ("sh", "-c", f"exec 9>{path}; sleep {LONG} & echo >&9; wait")

    def wait_for(self, event: int) -> None:
        poll = select.poll()
        poll.register(self.end, event)
        assert poll.poll(LONG * 1000)

    def has_started(self) -> None:
        self.wait_for(select.POLLIN)
        assert os.read(self.end, 9) == b"\n"

    def is_gone(self) -> None:
        self.wait_for(0)  # nothing but the hang-up
        assert os.read(self.end, 9) == b""


@pytest.fixture
def family(tmp_path: Path) -> Iterator[Family]:
    family = Family(tmp_path)
    yield family
    os.close(family.end)


@both
def test_at_its_time_out_a_command_is_killed_with_its_children(
    ask: Callable[[Probe], Verdict], family: Family
) -> None:
    assert ask(CommandProbe(*family.argv, timeout=0.5)) == Verdict(False, "no answer from 'sh' within 0.5 s")
    family.has_started()
    family.is_gone()


@both
def test_a_command_that_may_not_be_killed_is_left_to_itself(
    ask: Callable[[Probe], Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []

    def killpg(group: int, _signal: int) -> None:
        asked.append(group)
        raise PermissionError

    monkeypatch.setattr(os, "killpg", killpg)

    def ask_and_forget() -> bool:
        verdict = ask(CommandProbe("sleep", str(LONG), timeout=0.02))
        gc.collect()
        return verdict.up

    with pytest.warns(ResourceWarning, match="still running"):
        assert not ask_and_forget()
    monkeypatch.undo()
    [group] = asked
    os.killpg(group, 9)
    os.waitpid(group, 0)


# Cancellation ----------------------------------------------------------------------------------------------


def test_a_cancelled_command_is_killed_with_its_children(family: Family) -> None:
    async def leave() -> None:
        task = asyncio.create_task(CommandProbe(*family.argv, timeout=LONG).aask())
        await asyncio.to_thread(family.has_started)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    family.is_gone()


def test_a_cancelled_probe_closes_its_connection() -> None:
    came, left = threading.Event(), threading.Event()

    def handle(connection: socket.socket) -> None:
        came.set()
        until_it_leaves(connection)
        left.set()

    async def leave(port: int) -> None:
        task = asyncio.create_task(await_until_up(HttpProbe("127.0.0.1", port, timeout=LONG), timeout=LONG))
        assert await asyncio.to_thread(came.wait, LONG)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await asyncio.to_thread(left.wait, LONG)

    with Server(handle) as server:
        asyncio.run(leave(server.port))


def test_ctrl_c_closes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    left = threading.Event()

    def handle(connection: socket.socket) -> None:
        until_it_leaves(connection)
        left.set()

    class Interrupted:
        """A poll during which the user presses Ctrl-C."""

        def register(self, *_: int) -> None:
            pass

        def poll(self, _milliseconds: float) -> None:
            raise KeyboardInterrupt

    with Server(handle) as server:
        monkeypatch.setattr(select, "poll", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            HttpProbe("127.0.0.1", server.port, timeout=LONG).ask()
        assert left.wait(LONG)
