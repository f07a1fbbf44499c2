"""``off`` and ``cycle`` where nodes are halted first."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.state_file import StateFile

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.testing import FakeClock
    from tests.cli.conftest import Command


ASKED = "it was asked to halt (by simulated)"


@pytest.fixture(name="halting")
def _halting(sim: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nodes that write to their cards, and halt within two seconds. Returns the state file."""
    settings.write_text('[node]\nhalt = ["simulated"]\nhalt-timeout = 30\n')
    monkeypatch.setenv("RPI_CLUSTERHAT_OPTIONS", f"state={sim} writes=yes boot_time=5")
    return sim


@pytest.fixture(name="up")
def _up(halting: Path, command: Command) -> Path:
    """p1 and p2 are up."""
    assert command("on", "p1", "p2").code == 0
    command.clock.advance(20.0)
    return halting


def cards(state: Path, clock: FakeClock) -> dict[str, str]:
    with StateFile(str(state), clock=clock).look() as world:
        return {node.name: node.card for node in world.nodes[:2]}


def test_off_says_what_it_does(command: Command, up: Path) -> None:
    result = command("off", "p1", "p2", "p3")
    assert result.err == ""
    assert result.out.splitlines() == [
        "p1 halted after 2.0 s: the simulated node has halted",
        "p1 off",
        "p2 halted after 2.0 s: the simulated node has halted",
        "p2 off",
        "p3 is off already",
    ]
    assert cards(up, command.clock) == {"p1": "clean", "p2": "clean"}


def test_now_cuts_at_once_and_warns(command: Command, up: Path) -> None:
    began = command.clock.now()
    result = command("off", "--now", "p1")
    warning = "p1 loses its power without a halt: its power was to be cut at once"
    assert result == (0, "p1 off\n", f"rpi-clusterhat: warning: {warning}\n")
    assert command.clock.now() == began
    assert cards(up, command.clock)["p1"] == "corrupt"


def test_a_node_that_does_not_go_down_is_cut_and_that_is_said(command: Command, up: Path) -> None:
    result = command("-o", "fault=p1:halt-hangs", "off", "p1", "p2")
    assert result.code == 0
    assert result.err == (
        f"rpi-clusterhat: warning: p1 loses its power without a halt: {ASKED}, and was not down within 30 s: "
        "the simulated node is not down\n"
    )
    assert result.out.splitlines()[-1] == "p1 off"


def test_without_the_cut_it_keeps_its_power(command: Command, up: Path) -> None:
    result = command("-o", "fault=p1:no-halt", "off", "--no-cut", "p1", "p2")
    assert result.code == 1
    assert result.err.startswith(f"rpi-clusterhat: p1 keeps its power: {ASKED}, and was not down")
    assert "p2 off" in result.out
    nodes = json.loads(command("status", "--json").out)["nodes"]
    assert [name for name, node in nodes.items() if node["powered"]] == ["p1"]
    assert cards(up, command.clock) == {"p1": "dirty", "p2": "clean"}


def test_every_error_of_several_nodes_is_told(command: Command, up: Path, settings: Path) -> None:
    settings.write_text(settings.read_text() + "[node.p1]\nhalt-guard = \"sh -c 'echo busy; exit 1'\"\n")
    result = command("-o", "fault=p2:no-halt", "off", "--no-cut", "p1", "p2")
    assert result.code == 1
    assert "p1 is not halted: busy" in result.err
    assert f"p2 keeps its power: {ASKED}" in result.err


def test_nodes_that_are_held_are_halted_and_a_cut_is_told(command: Command, halting: Path) -> None:
    command.clock.during[1] = lambda: signal.raise_signal(signal.SIGINT)
    result = command("-o", "holds=no", "-o", "fault=p1:no-halt", "on", "--hold", "p1")
    assert f"p1 loses its power without a halt: {ASKED}" in result.err


def test_now_and_no_cut_exclude_each_other(command: Command, up: Path) -> None:
    result = command("off", "--now", "--no-cut", "p1")
    assert result.code == 2
    assert "not allowed with argument --now" in result.err


def test_cycle_halts_too(command: Command, up: Path) -> None:
    result = command("cycle", "p1")
    assert result.out.splitlines() == [
        "p1 halted after 2.0 s: the simulated node has halted",
        "p1 off",
        "p1 on",
    ]
    warning = "rpi-clusterhat: warning: p1 loses its power without a halt"
    assert command("cycle", "--now", "p1").err.startswith(warning)


def test_an_interruption_says_which_nodes_are_going_down(command: Command, up: Path) -> None:
    command.clock.during[len(command.clock.sleeps) + 3] = lambda: signal.raise_signal(signal.SIGINT)
    result = command("off", "p1")
    assert result.code == 130
    standing = "p2 is on, p3, p4 are off, p1 is halting, with power until it is switched off"
    assert result.err == f"rpi-clusterhat: interrupted: {standing}\n"
    assert cards(up, command.clock)["p1"] == "dirty"


def test_a_wrong_way_is_named(command: Command, halting: Path, settings: Path) -> None:
    settings.write_text('[node]\nhalt = "consol"\n')
    result = command("off", "p1")
    assert result.code == 2
    assert f"Invalid value for halt: 'consol' (from {settings}: node.halt): expected one of" in result.err
