"""Probes of hosts that are named, with a resolver that the tests control."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.nodes.probes import (
    HttpProbe,
    Probe,
    TcpProbe,
    Verdict,
)
from tests.nodes.servers import (
    LONG,
    OK,
    Server,
    both,
    closed_port,
    says,
    silent_port,
    until_it_leaves,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


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
    monkeypatch.setattr("rpi_clusterhat.nodes.probes.resolve.Lookup.FRESH", 0.0)
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
