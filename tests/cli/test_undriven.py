"""``on``, ``off`` and functions on lines that nobody drives before, or after, the command."""

from __future__ import annotations

import signal
from functools import partial
from typing import TYPE_CHECKING

import gpiod
import pytest

from tests.backends.gpiod.kernel import FakeHardware, FakeKernel

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander
    from tests.cli.conftest import Command

OFF = "p1, p2, p3, p4 are off"


@pytest.fixture
def header(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeHardware:
    """The chip of a header that lets lines drop. The settings name it."""
    kernel = FakeKernel(tmp_path / "kernel")
    chip = kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))
    monkeypatch.setattr(gpiod, "Chip", kernel.chip)
    monkeypatch.setenv("RPI_CLUSTERHAT_BOARD", "1.3")
    monkeypatch.setenv("RPI_CLUSTERHAT_BACKEND", "gpiod")
    monkeypatch.setenv("RPI_CLUSTERHAT_OPTIONS", f"chip={kernel.dev}/gpiochip0 persist=no")
    return chip


def test_a_pin_of_an_expander_that_is_an_input_is_driven(command: Command, expander: FakeExpander) -> None:
    expander.output, expander.direction, expander.pins = 0x91, 0x03, 0x02
    assert command("--board", "2.3", "off", "p1").out == "p1 off\n"
    assert command("--board", "2.3", "on", "p2").out == "p2 on\n"
    expander.pins = 0x01
    assert expander.levels & 0x0F == 0x02
    assert command("--board", "2.3", "off", "p1").out == "p1 is off already\n"
    assert command("--board", "2.3", "on", "p2").out == "p2 is on already\n"


def test_off_tells_of_a_node_that_is_on_again_when_the_line_is_let_go(
    command: Command, header: FakeHardware
) -> None:
    header.lines[6].pull = True
    result = command("off", "p1", "p2")
    assert (result.code, result.out) == (1, "p1 off\np2 off\n")
    assert result.err.startswith(
        "rpi-clusterhat: p1 is on again: it was switched off, but the backend gpiod "
    )
    assert header.levels() == {6: True, 13: False, 19: False, 26: False}


def test_off_of_nodes_that_stay_off(command: Command, header: FakeHardware) -> None:
    assert command("off", "p1", "p2") == (0, "p1 off\np2 off\n", "")


def test_a_function_that_is_on_again_is_told(command: Command, header: FakeHardware) -> None:
    header.lines[5].pull = True
    result = command("alert", "off")
    assert (result.code, result.out) == (1, "alert off\n")
    assert "alert is on again" in result.err


@pytest.mark.parametrize("pulled_up", [False, True])
def test_hold_keeps_nodes_off(command: Command, header: FakeHardware, pulled_up: bool) -> None:
    header.lines[6].pull = True
    seen: list[bool] = []

    def look_and_end() -> None:
        seen.append(header.lines[6].level)
        header.lines[6].pull = pulled_up
        signal.raise_signal(signal.SIGINT)

    command.clock.during[1] = look_and_end
    result = command("off", "--hold", "p1")
    holding = "holding until Ctrl-C: the nodes then stay off, unless something pulls their lines up"
    standing = "p1 is on, p2, p3, p4 are off" if pulled_up else OFF
    assert (result.code, result.out) == (int(pulled_up), f"p1 off\n{holding}\n{standing}\n")
    assert ("p1 is on again" in result.err) is pulled_up
    assert seen == [False]


def test_the_end_of_hold_says_what_the_pins_show_then(command: Command, header: FakeHardware) -> None:
    header.lines[6].pull = True
    command.clock.during[2] = partial(signal.raise_signal, signal.SIGTERM)
    result = command("on", "--hold", "p1", "p2")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines()[-1] == "p1 is on, p2, p3, p4 are off"


def test_an_interruption_says_what_the_pins_show_after_it(command: Command, header: FakeHardware) -> None:
    header.lines[6].pull = True
    command.clock.during[1] = partial(signal.raise_signal, signal.SIGINT)
    result = command("on", "--hold", "p2", "p3")
    assert (result.code, result.out) == (130, "p2 on\n")
    assert result.err == "rpi-clusterhat: interrupted: p1 is on, p2, p3, p4 are off\n"


def test_an_error_is_followed_by_what_the_pins_show_after_it(command: Command, header: FakeHardware) -> None:
    header.lines[13].stuck = False
    result = command("on", "--hold", "p1", "p2")
    assert (result.code, result.out) == (1, f"p1 on\n{OFF}\n")
    assert "p2: " in result.err
