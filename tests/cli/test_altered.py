"""The command says what something else has changed since it last switched a board."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.testing import FakeExpander, FakeSMBus

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.conftest import Command

HAT = ("--board", "2.3")
IDLE = 0b1001_0000
SAID = "something else, such as clusterctrl, has changed"
SINCE = "since rpi-clusterhat last switched this board"


@pytest.fixture(autouse=True)
def on(command: Command, expander: FakeExpander) -> None:
    """The command has switched p1 on, and something else undoes it."""
    expander.output, expander.direction = IDLE, 0x00
    assert command(*HAT, "on", "p1") == (0, "p1 on\n", "")
    expander.output = IDLE


@pytest.fixture(autouse=True)
def logger() -> object:
    """As in a process of the command's own, where nobody has set logging up."""
    logger = logging.getLogger("rpi_clusterhat")
    before, logger.handlers = logger.handlers, []
    yield
    logger.handlers = before


def test_status_says_so_until_a_board_is_switched(command: Command, expander: FakeExpander) -> None:
    for _ in range(2):
        result = command(*HAT, "status")
        assert result.code == 0
        assert result.out.splitlines()[:2] == [
            "Cluster HAT 2.3, backend i2c",
            f"p1 is off: {SAID} it {SINCE}",
        ]
        assert result.err == ""
    assert json.loads(command(*HAT, "status", "--json").out)["boards"][0]["altered"] == ["p1"]
    expander.output = IDLE | 0b0110
    assert f"p2, p3 are on, p1 is off: {SAID} them {SINCE}\n" in command(*HAT, "status").out
    result = command(*HAT, "on", "p1")
    assert (result.code, result.out) == (0, "p1 on\n")
    assert result.err == f"rpi-clusterhat: warning: p2, p3 are on, p1 is off: {SAID} them {SINCE}\n"
    assert SAID not in command(*HAT, "status").out
    assert "altered" not in json.loads(command(*HAT, "status", "--json").out)["boards"][0]


@pytest.mark.parametrize("arguments", [("off", "all"), ("init",), ("alert", "on"), ("cycle", "p2")])
def test_a_command_that_would_take_it_over_warns_of_it(command: Command, arguments: tuple[str, ...]) -> None:
    result = command(*HAT, *arguments)
    assert result.code == 0
    assert result.err == f"rpi-clusterhat: warning: p1 is off: {SAID} it {SINCE}\n"


def test_of_several_boards_it_says_which(
    command: Command, expander: FakeExpander, monkeypatch: pytest.MonkeyPatch, settings: Path
) -> None:
    second = FakeExpander()
    second.output, second.direction = IDLE, 0x00

    def open_bus(_: object) -> FakeSMBus:
        return FakeSMBus({0x20: expander, 0x21: second})

    monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
    boards = [f'[[boards]]\nboard = "2.3"\noptions = {{ address = "{a}" }}\n' for a in ("0x20", "0x21")]
    settings.write_text("".join(boards), encoding="utf-8")
    assert command("on", "p5").code == 0
    second.output = IDLE | 0x40
    result = command("off", "p5")
    assert result.out == "p5 is off already\n"
    assert result.err == (f"rpi-clusterhat: warning: board 2: alert is on, p5 is off: {SAID} them {SINCE}\n")
