"""Probes without sockets: how they are put together, what they are told, and how long they are asked."""

from __future__ import annotations

import asyncio
import itertools
import math
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
    await_until_up,
    parse_statuses,
    read_status,
    wait_until_up,
)
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat.waiting import Call, Sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

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


# And, or ---------------------------------------------------------------------------------------------------

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


# Waiting ---------------------------------------------------------------------------------------------------


class Scripted(Probe):
    """Takes its times and gives its answers in turn, the last one from then on; keeps to the time left."""

    def __init__(self, clock: FakeClock, script: list[tuple[float, bool]]) -> None:
        self.clock, self.script = clock, script
        self.attempts: list[tuple[float, float, bool]] = []
        """When each began and ended, and whether the node was up."""

    def steps(self, left: Callable[[], float]) -> Generator[Step, Any, Verdict]:
        began = self.clock.now()
        takes, up = self.script[min(len(self.attempts), len(self.script) - 1)]
        up = up and takes <= left()
        yield Sleep(min(takes, left()))
        self.attempts.append((began, self.clock.now(), up))
        return Verdict(up, f"attempt {len(self.attempts)}")


EIGHTHS = st.integers(0, 24).map(lambda n: n / 8)  # exact in binary
SCRIPTS = st.lists(st.tuples(EIGHTHS, st.booleans()), min_size=1, max_size=12)


@given(SCRIPTS, EIGHTHS.map(lambda t: 2 * t + 0.125), EIGHTHS.filter(bool), EIGHTHS)
def test_waiting(
    script: list[tuple[float, bool]], timeout: float, interval: float, ready_after: float
) -> None:
    clock, other = FakeClock(start=0.0), FakeClock(start=0.0)
    probe, again = Scripted(clock, script), Scripted(other, script)
    arguments = {"timeout": timeout, "interval": interval, "ready_after": ready_after}
    verdict = wait_until_up(probe, clock=clock, **arguments)

    attempts = probe.attempts
    assert attempts[0][0] == 0
    for (began, ended, _), (next_began, _, _) in itertools.pairwise(attempts):
        assert next_began == max(began + interval, ended)
    assert all(began < timeout and ended <= timeout for began, ended, _ in attempts)
    settled: list[bool] = []
    for i, (_, ended, up) in enumerate(attempts):
        run = i
        while run > 0 and attempts[run - 1][2] and up:
            run -= 1
        settled.append(up and ended - attempts[run][1] >= ready_after)
    assert settled == [False] * (len(attempts) - 1) + [verdict.up]
    began, ended, up = attempts[-1]
    if not verdict.up:
        assert max(began + interval, ended) >= timeout
        settling = f", but not yet for {ready_after:g} s" if up else ""
        assert verdict.reason == f"attempt {len(attempts)}{settling} (tried for {ended:.3g} s)"
    assert clock.now() == ended

    assert asyncio.run(await_until_up(again, clock=other, **arguments)) == verdict
    assert again.attempts == attempts


def test_waiting_without_end() -> None:
    clock = FakeClock()
    probe = Scripted(clock, [(0.0, False)] * 5000 + [(0.0, True)])
    assert wait_until_up(probe, timeout=math.inf, interval=1.0, clock=clock)
    assert len(probe.attempts) == 5001


def test_a_wait_in_the_event_loop_lets_others_work() -> None:
    clock = FakeClock(start=0.0)
    probe = Scripted(clock, [(0.0, False)])
    seen: list[float] = []

    async def other() -> None:
        for _ in range(3):
            await clock.asleep(0.25)
            seen.append(clock.now())

    async def both() -> None:
        waiting = await_until_up(probe, timeout=1.0, interval=0.5, clock=clock)
        await asyncio.gather(waiting, other())

    asyncio.run(both())
    assert seen == [0.25, 0.5, 0.75]


@pytest.mark.parametrize(
    "arguments",
    [
        {"timeout": 0.0},
        {"timeout": -1.0},
        {"timeout": math.nan},
        {"interval": 0.0},
        {"interval": math.inf},
        {"ready_after": -0.1},
        {"ready_after": math.inf},
    ],
    ids=str,
)
def test_a_wait_that_makes_no_sense(arguments: dict[str, Any]) -> None:
    [name] = arguments
    probe = Scripted(FakeClock(), [(0.0, True)])
    kwargs: dict[str, Any] = {"timeout": 1.0, **arguments}
    with pytest.raises(SettingError, match=f"^{name}: .* must be seconds"):
        wait_until_up(probe, **kwargs)
    assert probe.attempts == []


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


# Statuses --------------------------------------------------------------------------------------------------

STATUS = st.integers(100, 599)
PARTS = st.lists(st.tuples(STATUS, STATUS).map(sorted).map(tuple), min_size=1, max_size=6)
SPACE = st.sampled_from(["", " ", "  "])


@given(PARTS, SPACE)
def test_expected_statuses(parts: list[tuple[int, int]], space: str) -> None:
    text = ",".join(
        f"{space}{low}{space}" if low == high else f"{low}{space}-{space}{high}" for low, high in parts
    )
    expected = {status for low, high in parts for status in range(low, high + 1)}
    assert parse_statuses(text) == expected
    assert parse_statuses(expected) == parse_statuses(sorted(expected)) == expected


WRONG_STATUSES = [
    "", ",", "200,", "99", "600", "20", "2000", "-200", "200-", "300-200", "2xx", "+200", "2_0",
    "\uff12\uff10\uff10",     "200;204", "200-300-400", [], [99], [600], [-200], [True], [2.5], ["200-204-"],
]  # fmt: skip


@pytest.mark.parametrize("expect", WRONG_STATUSES, ids=repr)
def test_wrong_statuses(expect: Any) -> None:
    with pytest.raises(SettingError, match=r"^expect: .* must be statuses from 100 to 599"):
        HttpProbe("p1", expect=expect)


@given(st.text(alphabet="0123456789-, x", max_size=9))
def test_any_text_is_statuses_or_refused(text: str) -> None:
    try:
        found = parse_statuses(text)
    except SettingError:
        return
    assert found
    assert all(100 <= status <= 599 for status in found)
    assert str(min(found)) in text


INTERIM = st.sampled_from([b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\n\r\n"])
REASON = st.sampled_from([b"", b" ", b" OK", b" \xff\xfe"])


@given(
    st.lists(INTERIM, max_size=3),
    st.one_of(st.just(101), st.integers(200, 999)),
    REASON,
    st.sampled_from([b"\n", b"\r\n"]),
    st.sampled_from([b"", b"Server: x\r\n\r\nHTTP/1.1 500 no\r\n"]),
)
def test_the_status_is_read_from_each_beginning_of_an_answer(
    interims: list[bytes], status: int, reason: bytes, end: bytes, more: bytes
) -> None:
    head = b"".join(interims) + b"HTTP/1.1 %d%b%b" % (status, reason, end)
    for length in range(len(head)):
        assert read_status(head[:length]) is None
    assert read_status(head + more) == status


@pytest.mark.parametrize(
    "line",
    [
        b"SSH-2.0-OpenSSH_9.2",
        b"HTTP/2 200",
        b"HTTP/1.x 200 OK",
        b"HTTP/1.1  200",
        b"HTTP/1.1 20",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 +20",
        b"HTTP/1.1\t200",
        b"",
    ],
)
def test_what_is_not_http(line: bytes) -> None:
    assert read_status(line + b"\r\n") == line
    assert read_status(b"HTTP/1.1 100 Continue\r\n\r\n" + line + b"\r\n") == line


def test_other_protocols_are_known_by_their_first_bytes() -> None:
    assert read_status(b"HTT") is None
    assert read_status(b"SSH") == b"SSH"


@given(st.binary(max_size=60))
def test_any_bytes_are_read(data: bytes) -> None:
    status = read_status(data)
    assert status is None or isinstance(status, bytes) or 100 <= status <= 999 or data[9:12].startswith(b"0")


# Arguments -------------------------------------------------------------------------------------------------

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
    with pytest.raises(SettingError, match=f"^{name}: [^\n]* must "):
        make()


# USB -------------------------------------------------------------------------------------------------------


@pytest.fixture
def devices(tmp_path: Path) -> Path:
    """As the kernel shows them: a hub of the vendor's, a board of its, two nodes, a disk, an interface."""
    for device, vendor, product, serial in [
        ("1-1", "3171", "0040", "3"),
        ("1-1.1", "3171", "0014", "4"),
        ("1-1.2", "3171", "0020", "1"),
        ("1-1.3", "3171", "0025", "2"),
        ("1-1.4", "0bda", "9210", "7"),
        ("1-1.5", "3171", "0020", None),
    ]:
        folder = tmp_path / device
        folder.mkdir()
        (folder / "idVendor").write_text(f"{vendor}\n")
        (folder / "idProduct").write_text(f"{product}\n")
        if serial is not None:
            (folder / "serial").write_text(f"{serial}\n")
    (tmp_path / "1-1:1.0").mkdir()
    return tmp_path


def both(probe: Probe) -> Verdict:
    verdict = probe.ask()
    assert asyncio.run(probe.aask()) == verdict
    return verdict


def test_a_node_on_usb(devices: Path) -> None:
    assert both(UsbProbe("1", root=str(devices))) == Verdict(True, "USB device 1-1.2 has the serial number 1")
    assert both(UsbProbe(2, root=str(devices))) == Verdict(True, "USB device 1-1.3 has the serial number 2")


def test_the_vendors_boards_and_hubs_are_no_nodes(devices: Path) -> None:
    for serial in ("3", "4"):
        assert both(UsbProbe(serial, root=str(devices))) == Verdict(
            False, f"no USB device of vendor 3171 has the serial number {serial}"
        )
        assert both(UsbProbe(serial, vendor=None, root=str(devices)))


def test_other_vendors(devices: Path) -> None:
    root = str(devices)
    assert not both(UsbProbe("7", root=root))
    assert both(UsbProbe("7", vendor="0BDA", root=root))
    assert both(UsbProbe("7", vendor=None, root=root))
    assert both(UsbProbe("9", vendor=None, root=root)) == Verdict(
        False, "no USB device has the serial number 9"
    )


def test_a_node_that_leaves(devices: Path) -> None:
    probe = UsbProbe("1", root=str(devices))
    assert both(probe)
    (devices / "1-1.2" / "serial").unlink()
    assert not both(probe)


def test_no_usb_at_all(tmp_path: Path) -> None:
    root = str(tmp_path / "none")
    assert both(UsbProbe("1", root=root)) == Verdict(False, f"no such file or directory: {root}")


def test_looking_at_usb_is_one_step_that_may_block(devices: Path) -> None:
    assert isinstance(next(UsbProbe("1", root=str(devices)).steps(lambda: 1.0)), Call)
