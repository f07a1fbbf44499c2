"""What all probes have in common, and how two of them are combined."""

from __future__ import annotations

import asyncio
import math
import socket
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import SettingError
from rpi_clusterhat.nodes.probes import (
    CommandProbe,
    HttpProbe,
    Probe,
    TcpProbe,
    UsbProbe,
    Verdict,
)
from rpi_clusterhat.waiting import Readable

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.waiting import Step


class Known(Probe):
    """Answers what it is told to, and keeps that it was asked."""

    def __init__(self, name: str, asked: list[str], *, up: bool) -> None:
        self.name, self.asked, self.up = name, asked, up

    def __repr__(self) -> str:
        return self.name

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        self.asked.append(self.name)
        yield from ()
        return Verdict(self.up, f"{self.name} is {'up' if self.up else 'down'}")


def test_a_verdict_is_as_true_as_the_node_is_up() -> None:
    assert Verdict(True, "answered")
    assert not Verdict(False, "silent")


EXPRESSIONS: st.SearchStrategy[Any] = st.recursive(
    st.booleans(), lambda inner: st.tuples(st.sampled_from("&|"), inner, inner), max_leaves=12
)


@given(EXPRESSIONS)
def test_and_or_decide_and_ask_as_in_python(expression: Any) -> None:
    asked: list[str] = []
    expected: list[str] = []
    names = iter(range(100))

    def build(part: Any) -> tuple[Probe, Callable[[], bool]]:
        if isinstance(part, bool):
            name = f"n{next(names)}"

            def leaf() -> bool:
                expected.append(name)
                return part

            return Known(name, asked, up=part), leaf
        operator, first, second = part
        (a, is_a), (b, is_b) = build(first), build(second)
        if operator == "&":
            return a & b, lambda: is_a() and is_b()
        return a | b, lambda: is_a() or is_b()

    probe, is_up = build(expression)
    assert probe.ask().up is is_up()
    assert asked == expected
    first_time = list(asked)
    asked.clear()
    assert asyncio.run(probe.aask()).up is probe.ask().up
    assert asked == first_time * 2


def test_reasons() -> None:
    log: list[str] = []
    up, down, other = Known("a", log, up=True), Known("b", log, up=False), Known("c", log, up=False)
    assert (up & up).ask() == Verdict(True, "a is up; a is up")
    assert (up & down & other).ask() == Verdict(False, "b is down")
    assert (down | up | other).ask() == Verdict(True, "a is up")
    assert (down | other).ask() == Verdict(False, "b is down; c is down")


def test_reprs() -> None:
    v4, v6 = TcpProbe("p1.local", 22), HttpProbe("fe80::1%usb0", 8080, "/healthz")
    assert repr(v4 & (v6 | UsbProbe(3))) == (
        "(<TcpProbe p1.local:22> & (<HttpProbe [fe80::1%usb0]:8080> | <UsbProbe 3>))"
    )
    assert repr(CommandProbe("ping", "-c1", "p1")) == "<CommandProbe 'ping'>"


@pytest.mark.parametrize(
    "probe", [TcpProbe("127.0.0.1", 9), UsbProbe("3"), CommandProbe("true")], ids=lambda p: type(p).__name__
)
def test_without_time_nobody_is_asked(probe: Probe) -> None:
    steps = probe.steps(lambda: 0.0)
    with pytest.raises(StopIteration) as end:
        next(steps)
    verdict: Verdict = end.value.value
    assert not verdict.up
    assert verdict.reason.startswith("no time was left to ")


WRONG: list[tuple[str, Callable[[], Probe]]] = [
    *(
        ("host", lambda host=host: TcpProbe(host, 80))
        for host in ("", "p 1", "p1\r\n", "[::1]", "http://p1", "me@p1", "p1..local", "x" * 64, "p1\0")
    ),
    *(("port", lambda port=port: TcpProbe("p1", port)) for port in (0, -1, 65536, cast("int", "80"), True)),
    *(
        ("timeout", lambda time=time: TcpProbe("p1", 80, timeout=time))
        for time in (0, -1, math.nan, math.inf)
    ),
    *(
        ("path", lambda path=path: HttpProbe("p1", path=path))
        for path in ("", "x", "/a b", "/a\r\nX: y", "/ä", "/a#b", "http://p2/")
    ),
    *(("host_header", lambda name=name: HttpProbe("p1", host_header=name)) for name in ("", "a b", "a\r\n")),
    *(("serial", lambda serial=serial: UsbProbe(serial)) for serial in ("", " 3", "3\n")),
    *(("vendor", lambda vendor=vendor: UsbProbe("3", vendor=vendor)) for vendor in ("", "317", "31g1")),
    *(("argv", lambda argv=argv: CommandProbe(*argv)) for argv in ((), ("",), ("a", "b\0"))),
    ("timeout", lambda: CommandProbe("true", timeout=0)),
]


@pytest.mark.parametrize(("name", "make"), WRONG, ids=[f"{i}-{name}" for i, (name, _) in enumerate(WRONG)])
def test_wrong_arguments(name: str, make: Callable[[], Probe]) -> None:
    with pytest.raises(SettingError, match=f"^Invalid value for {name}: [^\n]*: expected "):
        make()


def test_a_probe_that_is_asked_once_may_wait_for_all_the_time_that_is_left() -> None:
    ours, theirs = socket.socketpair()

    class SocketProbe(Probe):
        def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
            ready: bool = yield Readable(ours.fileno(), left())
            return Verdict(ready, "it answers")

    with ours, theirs:
        theirs.send(b"x")
        assert SocketProbe().ask()
        assert asyncio.run(SocketProbe().aask())
