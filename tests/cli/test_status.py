"""``status``, ``init`` and the board's functions."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander
    from tests.cli.conftest import Command

HAT = ("--board", "2.3")


def ready(expander: FakeExpander, nodes: int = 0) -> None:
    expander.output, expander.direction = 0x90 | nodes, 0x00


def test_the_table(command: Command, expander: FakeExpander) -> None:
    ready(expander, nodes=0b0101)
    table = (
        "Cluster HAT 2.3, backend i2c\n"
        "node   power  state\n"
        "p1     on     on\n"
        "p2     off    off\n"
        "p3     on     on\n"
        "p4     off    off\n"
        "alert  off\n"
        "led    on\n"
        "hub    on\n"
        "wp     on\n"
    )
    assert command(*HAT, "status") == (0, table, "")
    assert expander.writes == 0


def test_json_is_one_line_with_the_library_s_keys(command: Command, expander: FakeExpander) -> None:
    ready(expander, nodes=0b0001)
    off = {"powered": False, "state": "off"}
    result = command(*HAT, "status", "--json")
    assert (result.code, result.out.count("\n"), result.err) == (0, 1, "")
    board = {
        "board": "2.3",
        "backend": "i2c",
        "nodes": ["p1", "p2", "p3", "p4"],
        "functions": {"alert": False, "led": True, "hub": True, "wp": True},
        "set_up": True,
    }
    assert json.loads(result.out) == {
        "boards": [board],
        "nodes": {"p1": {"powered": True, "state": "on"}, "p2": off, "p3": off, "p4": off},
    }


def test_an_expander_that_nobody_has_set_up(command: Command, expander: FakeExpander) -> None:
    lines = command(*HAT, "status").out.splitlines()
    assert lines[1].startswith(
        "this expander has not been set up since it got power: run 'rpi-clusterhat init'"
    )
    assert json.loads(command(*HAT, "status", "--json").out)["boards"][0]["set_up"] is False
    assert (expander.writes, expander.direction) == (0, 0xFF)


def test_functions_that_a_board_lacks_are_left_out(command: Command, sim: Path) -> None:
    assert "led" not in command("--board", "1.2", "status").out
    status = json.loads(command("--board", "1.2", "status", "--json").out)
    assert set(status["boards"][0]["functions"]) == {"alert"}


def test_several_boards(command: Command, settings: Path) -> None:
    settings.write_text('backend = "sim"\n[[boards]]\nboard = "2.3"\nnodes = 2\n[[boards]]\nboard = "1.2"\n')
    lines = command("status").out.splitlines()
    assert [line.split()[0] for line in lines] == [
        *("Cluster", "node", "p1", "p2", "alert", "led", "hub", "wp"),
        *("Cluster", "node", "p3", "p4", "p5", "p6", "alert"),
    ]
    assert [board["board"] for board in json.loads(command("status", "--json").out)["boards"]] == [
        "2.3",
        "1.2",
    ]


def test_watch_prints_when_something_changed(command: Command, expander: FakeExpander) -> None:
    ready(expander)

    def other_program() -> None:
        expander.output |= 0b0010

    command.clock.during = {2: other_program, 4: lambda: signal.raise_signal(signal.SIGINT)}
    result = command(*HAT, "status", "--watch", "0.5")
    assert (result.code, result.err) == (0, "")
    assert [line for line in result.out.splitlines() if line.startswith("p2")] == [
        "p2     off    off",
        "p2     on     on",
    ]
    assert command.clock.sleeps == pytest.approx([0.5] * 3)


def test_watch_as_json_prints_every_reading(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    command.clock.during = {3: lambda: signal.raise_signal(signal.SIGTERM)}
    result = command(*HAT, "status", "--json", "--watch")
    assert result.code == 0
    assert len([json.loads(line) for line in result.out.splitlines()]) == 3
    assert command.clock.sleeps == pytest.approx([1.0, 1.0])


def test_watch_goes_on_after_an_error_that_can_pass(command: Command, sim: Path) -> None:
    command.clock.during = {3: lambda: signal.raise_signal(signal.SIGINT)}
    result = command("-o", "fault=bus:error@2", "status", "--watch")
    assert result.code == 0
    assert result.out.count("Cluster HAT") == 2
    assert result.err.count("\n") == 1


def test_watch_tells_an_error_that_stays_once(command: Command, sim: Path) -> None:
    command.clock.during = {8: lambda: signal.raise_signal(signal.SIGINT)}
    result = command("-o", "fault=bus:error@2x3,bus:error@6", "status", "--watch")
    assert (result.code, result.out.count("Cluster HAT"), result.err.count("\n")) == (0, 3, 2)


def test_watch_ends_when_the_bus_is_gone(command: Command, sim: Path) -> None:
    result = command("-o", "fault=bus:gone@2", "status", "--watch")
    assert (result.code, result.out.count("Cluster HAT"), result.err.count("\n")) == (1, 1, 1)


# init -----------------------------------------------------------------------------------------------------


def test_init(command: Command, expander: FakeExpander) -> None:
    assert command(*HAT, "init") == (0, "expander set up for the first time since it got power\n", "")
    assert (expander.levels, expander.direction) == (0x90, 0x00)
    assert command(*HAT, "init") == (0, "the expander is set up already\n", "")


def test_init_sees_its_work_through(
    command: Command, expander: FakeExpander, monkeypatch: pytest.MonkeyPatch
) -> None:
    transfer = expander.transfer

    def interrupted(messages: list[bytes | int]) -> list[bytes]:
        if bytes([1, 0x90]) in messages:
            signal.raise_signal(signal.SIGTERM)
        return transfer(messages)

    monkeypatch.setattr(expander, "transfer", interrupted)
    result = command(*HAT, "init")
    assert result.code == 143
    assert result.err == "rpi-clusterhat: interrupted: p1, p2, p3, p4 are off\n"
    assert (expander.levels, expander.direction) == (0x90, 0x00)


def test_init_of_several_boards_says_which(command: Command, settings: Path) -> None:
    settings.write_text(
        'backend = "sim"\nboards = [{board = "2.3"}, {board = "2.3", options = {set_up = false}}]\n'
    )
    assert command("init").out == "expander of board 2 set up for the first time since it got power\n"


def test_init_of_a_board_without_expander(command: Command, sim: Path) -> None:
    assert command("--board", "1.2", "init").out == "nothing to set up: the board has no expander\n"


# Functions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bit", "level_when_on"), [("alert", 6, 1), ("led", 4, 1), ("hub", 5, 0), ("wp", 7, 1)]
)
def test_functions(command: Command, expander: FakeExpander, name: str, bit: int, level_when_on: int) -> None:
    ready(expander, nodes=0b0001)
    for action, level in (("on", level_when_on), ("off", 1 - level_when_on), ("on", level_when_on)):
        assert command(*HAT, name, action) == (0, f"{name} {action}\n", "")
        assert expander.levels >> bit & 1 == level
    assert expander.levels & 0x0F == 0b0001


def test_hub_reset(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    expander.reset_counts()
    assert command(*HAT, "hub", "reset") == (0, "hub was reset\n", "")
    assert expander.log == [(1, 0xB0), (1, 0x90)]
    assert command.clock.sleeps == pytest.approx([0.5])


def test_hub_reset_interrupted_leaves_the_hub_on(command: Command, expander: FakeExpander) -> None:
    ready(expander)
    command.clock.during[1] = lambda: signal.raise_signal(signal.SIGINT)
    assert command(*HAT, "hub", "reset") == (130, "", "rpi-clusterhat: interrupted: hub is on\n")
    assert expander.levels == 0x90


@pytest.mark.parametrize("argv", [("led", "on"), ("hub", "reset"), ("wp", "off")])
def test_a_function_that_the_board_lacks(command: Command, sim: Path, argv: tuple[str, str]) -> None:
    result = command("--board", "1.2", *argv)
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "1.2 has no" in result.err


def test_a_function_that_would_not_last_is_refused(command: Command, sim: Path) -> None:
    result = command("-o", "holds=no", "alert", "on")
    assert (result.code, result.out, result.err.count("\n")) == (1, "", 1)
    assert "nothing was switched" in result.err
    assert command("-o", "holds=no", "alert", "off").code == 0  # to what the line drops back to
    assert command("-o", "holds=no", "hub", "on").code == 0
    assert command("-o", "holds=no", "hub", "off").code == 1
