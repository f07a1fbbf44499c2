"""``on``, ``off``, ``cycle`` and ``--hold``."""

from __future__ import annotations

import errno
import json
import signal
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import UsbProbe, Verdict
from rpi_clusterhat_sim.state_file import StateFile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander
    from tests.cli.conftest import Command

HAT = ("--board", "2.3")
NODES, OTHERS = 0x0F, 0xF0


def raising(number: int) -> Callable[[], None]:
    return lambda: signal.raise_signal(number)


def ready(expander: FakeExpander, nodes: int = 0) -> None:
    expander.output, expander.direction = 0x90 | nodes, 0x00


def powered(command: Command, *argv: str) -> list[str]:
    status = json.loads(command(*argv, "status", "--json").out)
    return [name for name, node in status["nodes"].items() if node["powered"]]


def test_nodes_come_up_one_after_the_other(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    result = command(*HAT, "on", "all")
    assert result == (0, "p1 on\np2 on\np3 on\np4 on\n", "")
    assert expander.levels & NODES == NODES
    assert command.clock.sleeps == pytest.approx([2.0, 2.0, 2.0])


def test_the_spacing_can_be_said(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    assert command(*HAT, "--spacing", "7.5", "on", "p1", "p2").code == 0
    assert command.clock.sleeps == pytest.approx([7.5])


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        (["p3"], "p3 on\n"),
        (["p4,p2"], "p4 on\np2 on\n"),
        (["p[1-2]", "p4"], "p1 on\np2 on\np4 on\n"),
        (["all"], "p1 on\np2 on\np3 on\np4 on\n"),
    ],
)
def test_nodes_are_named(command: Command, expander: FakeExpander, nodes: list[str], expected: str) -> None:
    ready(expander)
    assert command(*HAT, "on", *nodes).out == expected


def test_what_is_as_asked_is_said_so(command: Command, expander: FakeExpander) -> None:
    ready(expander, nodes=0b0101)
    assert command(*HAT, "on", "p1", "p2").out == "p2 on\np1 is on already\n"
    assert command(*HAT, "on", "p[1-3]").out == "p1, p2, p3 are on already\n"
    assert command(*HAT, "off", "p4").out == "p4 is off already\n"
    assert command.clock.sleeps == []


def test_off_cuts_all_at_once(command: Command, expander: FakeExpander) -> None:
    ready(expander, nodes=0b1011)
    expander.reset_counts()
    assert command(*HAT, "off", "all") == (0, "p1 off\np2 off\np4 off\np3 is off already\n", "")
    assert expander.log == [(1, 0x90)]


def test_cycle(command: Command, expander: FakeExpander) -> None:
    ready(expander, nodes=0b0001)
    assert command(*HAT, "cycle", "p1", "p2") == (0, "p1 off\np1 on\np2 on\n", "")
    assert expander.levels & NODES == 0b0011


def test_an_expander_that_nobody_has_set_up_is_set_up_first(command: Command, expander: FakeExpander) -> None:
    result = command(*HAT, "on", "p2")
    assert result == (0, "expander set up for the first time since it got power\np2 on\n", "")
    assert (expander.levels, expander.direction) == (0x92, 0x00)


def test_what_another_program_switches_meanwhile_is_told(command: Command, expander: FakeExpander) -> None:
    ready(expander)

    def other_program() -> None:
        expander.output |= 0b0010

    command.clock.during[1] = other_program
    assert command(*HAT, "on", "p1", "p2").out == "p1 on\np2 on (not by this command)\n"


def test_an_expander_that_loses_power_meanwhile_ends_it(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    command.clock.during[1] = expander.lose_power
    result = command(*HAT, "on", "p1", "p2")
    assert (result.code, result.out) == (1, "p1 on\np1 off (the expander lost power)\n")
    lines = result.err.splitlines()
    assert lines[0] == "rpi-clusterhat: the expander lost power, and its nodes with it"
    assert len(lines) == 2
    assert "lost power" in lines[1]


def test_a_node_that_fails_does_not_stop_the_others(command: Command, sim: Path) -> None:
    result = command("-o", "fault=p2:stuck-low", "on", "p[1-3]")
    assert (result.code, result.out) == (1, "p1 on\np3 on\n")
    assert result.err.startswith("rpi-clusterhat: p2: ")
    assert result.err.count("\n") == 1
    assert powered(command) == ["p1", "p3"]


def test_a_bus_that_does_not_answer_is_one_line(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    expander.fail(times=None)
    result = command(*HAT, "on", "all")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert result.err.startswith("rpi-clusterhat: ")
    assert "0x20" in result.err


@pytest.mark.parametrize(
    ("applied", "said"),
    [(0, "p1 is on, p2, p3, p4 are off\n"), (1, "p2 on\np1, p2 are on, p3, p4 are off\n")],
)
def test_after_an_error_of_the_bus_it_says_what_is_on(
    command: Command, expander: FakeExpander, applied: int, said: str
) -> None:
    """The write fails, after it took effect or before, and then the reads that would tell."""
    ready(expander, nodes=0b0001)
    expander.fail(errno.EIO, at=4, times=4, applied=applied)
    result = command(*HAT, "on", "p2")
    assert (result.code, result.out) == (1, said)
    assert "did not answer in 3 tries (Input/output error)" in result.err
    assert command(*HAT, "on", "p2").code == 0
    assert expander.levels & NODES == 0b0011


# Signals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_it_while_it_waits(
    command: Command, expander: FakeExpander, number: int, code: int
) -> None:
    ready(expander)
    command.clock.during[2] = raising(number)
    result = command(*HAT, "on", "all")
    said = "rpi-clusterhat: interrupted: p1, p2 are on, p3, p4 are off\n"
    assert result == (code, "p1 on\np2 on\n", said)
    assert expander.levels & NODES == 0b0011
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_signal_leaves_no_access_half_done(
    command: Command, expander: FakeExpander, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready(expander)
    transfer = expander.transfer

    def interrupted(messages: list[bytes | int]) -> list[bytes]:
        if messages[0] == bytes([1, 0x91]):
            signal.raise_signal(signal.SIGINT)
        return transfer(messages)

    monkeypatch.setattr(expander, "transfer", interrupted)
    result = command(*HAT, "on", "p1")
    assert result == (130, "p1 on\n", "rpi-clusterhat: interrupted: p1 is on, p2, p3, p4 are off\n")


def test_ctrl_c_in_a_cycle_says_that_the_node_is_off(command: Command, expander: FakeExpander) -> None:
    ready(expander, nodes=NODES)
    command.clock.during[1] = raising(signal.SIGINT)
    result = command(*HAT, "cycle", "p2")
    assert result.code == 130
    assert result.err == "rpi-clusterhat: interrupted: p1, p3, p4 are on, p2 is off\n"


def test_an_interrupted_command_that_cannot_read_says_so(command: Command, expander: FakeExpander) -> None:
    ready(expander)

    def interrupt() -> None:
        expander.fail(times=None)
        signal.raise_signal(signal.SIGINT)

    command.clock.during[1] = interrupt
    result = command(*HAT, "on", "all")
    assert result.code == 130
    assert result.err.startswith("rpi-clusterhat: interrupted: which nodes are on cannot be read: ")


# --hold ---------------------------------------------------------------------------------------------------

HOLDING = "holding until Ctrl-C: the nodes then lose power, unless something pulls their lines up"


@pytest.mark.parametrize("what", ["on", "cycle"])
def test_lines_that_are_not_held_are_refused(command: Command, sim: Path, what: str) -> None:
    result = command("-o", "holds=no", what, "p1")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert f"'{what} --hold'" in result.err
    assert "nothing was switched" in result.err
    assert powered(command) == []
    with StateFile(str(sim), clock=command.clock).look() as world:
        assert "on" not in [record.what for record in world.history]


def test_lines_that_are_not_held_can_be_switched_off(command: Command, sim: Path) -> None:
    command("on", "p1")
    assert command("-o", "holds=no", "off", "p1") == (0, "p1 off\n", "")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["on", "cycle"])
def test_hold_stays_until_a_signal(command: Command, sim: Path, what: str, number: int) -> None:
    seen: list[bool] = []

    def look_and_end() -> None:
        with StateFile(str(sim), clock=command.clock).look() as world:
            seen.append(world.node("p2").powered)
        signal.raise_signal(number)

    command.clock.during[3] = look_and_end
    result = command("-o", "holds=no", what, "--hold", "p1", "p2")
    told = f"{HOLDING}\np1, p2, p3, p4 are off\n"
    assert result == (0, f"p1 on\np2 on\n{told}", "")
    assert command.clock.sleeps[:2] == pytest.approx([2.0, 3600.0])
    assert seen == [True]
    assert powered(command) == []


def test_hold_with_lines_that_are_held(command: Command, sim: Path) -> None:
    command.clock.during[1] = raising(signal.SIGINT)
    result = command("on", "p1", "--hold")
    told = "holding until Ctrl-C: the nodes then stay on\np1 is on, p2, p3, p4 are off\n"
    assert result == (0, f"p1 on\n{told}", "")
    assert powered(command) == ["p1"]


def test_hold_interrupted_before_all_are_on(command: Command, sim: Path) -> None:
    command.clock.during[1] = raising(signal.SIGINT)
    result = command("-o", "holds=no", "on", "all", "--hold")
    assert result == (130, "p1 on\n", "rpi-clusterhat: interrupted: p1, p2, p3, p4 are off\n")
    assert powered(command) == []


def test_hold_with_a_node_that_fails(command: Command, sim: Path) -> None:
    result = command("-o", "holds=no", "-o", "fault=p1:stuck-low", "on", "--hold", "p1", "p2")
    assert (result.code, result.out) == (1, "p2 on\np1, p2, p3, p4 are off\n")
    assert powered(command) == []


# Waiting ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["on", "off", "cycle"])
def test_nothing_named_switches_nothing_and_says_all(
    command: Command, expander: FakeExpander, what: str
) -> None:
    result = command(*HAT, what)
    assert (result.code, result.out) == (2, "")
    assert 'say "all"' in result.err
    assert expander.writes == 0


def test_wait_returns_when_the_node_is_seen_on_usb(
    command: Command, expander: FakeExpander, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def look(probe: UsbProbe) -> Verdict:
        asked.append(probe.serial)
        return Verdict(len(asked) > 3, "no USB device of it")

    monkeypatch.setattr(UsbProbe, "_look", look)
    assert command(*HAT, "on", "p2", "--wait").code == 0
    assert asked == ["2"] * 4


def test_wait_says_what_is_not_ready_in_time(
    command: Command, expander: FakeExpander, monkeypatch: pytest.MonkeyPatch
) -> None:
    def look(_: UsbProbe) -> Verdict:
        return Verdict(False, "no USB device of it")

    monkeypatch.setattr(UsbProbe, "_look", look)
    result = command(*HAT, "on", "p2", "--wait", "3")
    assert (result.code, result.out.splitlines()[-1]) == (1, "p2 on")
    assert "not ready within 3 s: p2: no USB device of it" in result.err


def test_wait_for_simulated_nodes(command: Command, sim: Path) -> None:
    start = command.clock.now()
    assert command("-o", "boot_time=8", "on", "p1", "p2", "--wait").code == 0
    assert command.clock.now() - start == pytest.approx(10.0, abs=0.2)
    result = command("-o", "boot_time=8", "on", "p3", "--wait", "2")
    assert result.code == 1
    assert "not ready within 2 s: p3: the simulated node is booting" in result.err


def test_cycle_pauses_as_long_as_it_is_told(command: Command, expander: FakeExpander) -> None:
    command(*HAT, "on", "p1")
    start = command.clock.now()
    assert command(*HAT, "cycle", "p1", "--pause", "7.5").code == 0
    assert command.clock.now() - start == pytest.approx(7.5)


@pytest.mark.parametrize("words", [("on", "p1", "--wait", "soon"), ("cycle", "p1", "--pause", "-1")])
def test_wrong_seconds_switch_nothing(
    command: Command, expander: FakeExpander, words: tuple[str, ...]
) -> None:
    result = command(*HAT, *words)
    assert result.code == 2
    assert "expected seconds" in result.err
    assert expander.writes == 0
