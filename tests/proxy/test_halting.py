"""The proxy halts nodes before it cuts their power: idle ones, by hand, and at its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.state_file import StateFile
from tests.proxy.running import Proxy

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

HALTS = {
    "RPI_CLUSTERHAT_NODE_HALT": "simulated",
    "RPI_CLUSTERHAT_NODE_HALT_SETTLE": "0.1",
    "RPI_CLUSTERHAT_NODE_HALT_TIMEOUT": "10",
}


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> StateFile:
    return StateFile(str(tmp_path / "world"))


def proxy(world: StateFile, *options: str, halt_time: float = 0.3) -> Proxy:
    """Its nodes write to their cards without end."""
    writes = ("--option", f"state={world.path}", "--option", "writes=yes", "--option", "capacity=100")
    halts = ("--option", f"halt_time={halt_time}")
    return Proxy("--cold", "hold", "--balance", "first", *writes, *halts, *options, env=HALTS)


def told(world: StateFile, what: str) -> int:
    with world.look() as now:
        return len([record for record in now.history if record.what == what])


def test_an_idle_node_is_halted(world: StateFile) -> None:
    with proxy(world, "--idle-timeout", "0.3", "--min-on-time", "0") as running:
        assert running.request().status == 200
        running.until(lambda status: status["nodes"]["p1"]["state"] == "stopping")
        running.until(lambda status: status["nodes"]["p1"]["state"] == "off")
    assert (told(world, "halted"), told(world, "corrupted")) == (1, 0)


def test_a_request_that_comes_meanwhile_is_answered_after_one_more_boot(world: StateFile) -> None:
    with proxy(world, "--idle-timeout", "0.3", "--min-on-time", "0", halt_time=1.0) as running:
        assert running.request().status == 200
        running.until(lambda status: status["nodes"]["p1"]["state"] == "stopping")
        assert running.request().status == 200
    assert told(world, "corrupted") == 0


def test_nodes_are_halted_at_its_end(world: StateFile) -> None:
    with proxy(world, "--off-at-exit") as running:
        assert running.request().status == 200
        running.process.terminate()
        assert running.process.wait(30) == 0
    with world.look() as now:
        assert not now.node("p1").powered
        assert now.node("p1").card == "clean"
    assert told(world, "halted") == 1


def test_a_node_that_ignores_its_halt_is_cut_and_that_is_logged(world: StateFile) -> None:
    with proxy(world, "--off-at-exit", "--option", "fault=p1:no-halt") as running:
        assert running.request().status == 200
        running.process.terminate()
        running.process.wait(30)
    assert "WARNING p1 loses its power without a halt: it was asked to halt (by simulated)" in running.errors
    assert told(world, "corrupted") == 1
