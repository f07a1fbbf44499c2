"""Several processes and one node that is being halted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.state_file import StateFile
from tests.cli.test_processes import TIMEOUT, powered, run, started

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.slow

SETTINGS = '[node]\nhalt = ["simulated"]\nhalt-settle = 1.5\n'


@pytest.fixture(name="up")
def _up(sim: Path, settings: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """p1 is up, and writes to its card. Returns the state file."""
    settings.write_text(SETTINGS)
    monkeypatch.setenv("RPI_CLUSTERHAT_OPTIONS", f"state={sim} writes=yes boot_time=0.2 halt_time=1")
    monkeypatch.setenv("RPI_CLUSTERHAT_SPACING", "0.1")
    assert run("on", "p1").returncode == 0
    until(lambda: phase(sim) == "up")
    return sim


def phase(state: Path) -> str:
    with StateFile(str(state)).look() as world:
        return world.node("p1").phase


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize("when", ["halting", "halted"])
def test_on_waits_for_the_halt_of_another_process(up: Path, when: str) -> None:
    with started("off", "p1") as other:
        until(lambda: phase(up) == when)
        on = run("on", "p1")
        other.communicate(timeout=TIMEOUT)
    assert (on.returncode, on.stderr, other.returncode) == (0, "", 0)
    assert on.stdout.splitlines()[-1] == "p1 on"
    assert powered() == ["p1"]
    with StateFile(str(up)).look() as world:
        assert world.node("p1").corruptions == 0


@pytest.mark.parametrize("how", [("off", "--now"), ("cycle", "--now", "--pause=0")])
def test_nobody_cuts_what_another_process_has_booted_anew(up: Path, how: tuple[str, ...]) -> None:
    with started("off", "p1") as other:
        until(lambda: phase(up) == "halted")
        assert run(*how, "p1").returncode == 0
        assert run("on", "p1").returncode == 0
        other.communicate(timeout=TIMEOUT)
    assert powered() == ["p1"]


def test_two_processes_that_switch_a_node_off_share_one_halt(up: Path) -> None:
    with started("off", "p1") as other:
        until(lambda: phase(up) == "halting")
        second = run("off", "p1")
        out, _ = other.communicate(timeout=TIMEOUT)
    assert (second.returncode, second.stderr) == (0, "")
    assert ("halted after" in out, "halted after" in second.stdout) == (True, False)
    with StateFile(str(up)).look() as world:
        assert world.node("p1").corruptions == 0
    assert powered() == []


def test_nobody_waits_for_a_process_that_was_killed_while_it_halted_a_node(up: Path) -> None:
    with started("off", "p1") as other:
        until(lambda: phase(up) == "halted")
        other.kill()
        other.wait(TIMEOUT)
    off = run("off", "p1")
    assert off.stdout.splitlines()[-1] == "p1 off"
