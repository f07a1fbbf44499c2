"""Consoles of simulated nodes, as terminals."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.nodes.console.line import DeviceLine
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.consoles import Consoles
from rpi_clusterhat_sim.serving import Servers
from rpi_clusterhat_sim.state_file import StateFile
from tests.backends.sim.clients import LINES, NAMES, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.world import World


@pytest.fixture
def consoles(world: World) -> Iterator[Consoles]:
    before = set(threading.enumerate())
    made = Consoles(world)
    made.add(NAMES)
    yield made
    made.close()
    made.close()
    assert set(threading.enumerate()) == before


def talk(line: DeviceLine, text: str, until_shown: str) -> str:
    """Types, and returns what is shown then, up to this."""
    line.write(text.encode())
    shown = b""
    deadline = SYSTEM.now() + 10
    while until_shown.encode() not in shown:
        assert SYSTEM.now() < deadline, shown
        shown += line.read() or b""
        SYSTEM.sleep(0.002)
    return shown.decode()


def ended(line: DeviceLine) -> bool:
    return line.read() == b""


def test_a_console_comes_and_goes_with_its_node(world: World, clock: FakeClock, consoles: Consoles) -> None:
    path = consoles.path("p1")
    assert os.path.basename(path) == "ttypi1"
    bank = world.banks["0"]
    SYSTEM.sleep(0.15)
    assert not os.path.lexists(path)
    bank.write({0: True})
    until(lambda: os.path.exists(path))
    assert not os.path.lexists(consoles.path("p2"))
    line = DeviceLine(path)
    assert "Booting Linux" in talk(line, "", "\r\n")
    clock.advance(60)
    talk(line, "", "p1 login: ")
    talk(line, "pi\r", "Password: ")
    talk(line, "raspberry\r", "$ ")
    assert talk(line, "uname -n\r", "$ ") == "uname -n\r\np1\r\npi@p1:~ $ "
    bank.write({0: False})
    assert ended(line)  # from that moment on
    line.close()
    until(lambda: not os.path.lexists(path))


def test_a_node_that_is_told_to_halt_does_so_and_says_so(
    world: World, clock: FakeClock, consoles: Consoles
) -> None:
    world.banks["0"].write({0: True})
    clock.advance(60)
    path = consoles.path("p1")
    until(lambda: os.path.exists(path))
    line = DeviceLine(path)
    talk(line, "", "login: ")
    talk(line, "pi\rraspberry\r", "$ ")
    talk(line, "sudo poweroff\r", "Stopped getty")
    assert world.node("p1").phase == "halting"
    clock.advance(60)
    assert world.node("p1").phase == "halted"
    talk(line, "", "reboot: Power down")
    until(lambda: ended(line))
    line.close()


def test_a_node_that_hangs_says_nothing(world: World, clock: FakeClock, consoles: Consoles) -> None:
    world.banks["0"].write({0: True})
    clock.advance(60)
    until(lambda: os.path.exists(consoles.path("p1")))
    line = DeviceLine(consoles.path("p1"))
    talk(line, "", "login: ")
    world.node("p1").hang()
    SYSTEM.sleep(0.15)
    line.write(b"pi\r")
    SYSTEM.sleep(0.1)
    assert line.read() is None
    line.close()


def test_processes_that_share_a_world_have_one_console_of_a_node(clock: FakeClock, tmp_path: Path) -> None:
    file = str(tmp_path / "hat.json")
    first, second = StateFile(file, clock=clock), StateFile(file, clock=clock)
    backend = SimBackend(first, LINES)
    backend.write({0: True})
    clock.advance(60)
    one, other = Consoles(first), Consoles(second)
    one.add(["p1"])
    path = one.path("p1")
    assert path == f"{file}.consoles/ttypi1"
    until(lambda: os.path.exists(path))
    other.add(["p1"])
    SYSTEM.sleep(0.15)
    line = DeviceLine(other.path("p1"))
    talk(line, "", "login: ")
    one.close()
    assert ended(line)
    line.close()
    until(lambda: os.path.exists(path))
    line = DeviceLine(path)
    talk(line, "", "login: ")
    began = SYSTEM.now()
    backend.write({0: False})
    assert SYSTEM.now() - began < 0.9  # it waited until the console was gone
    assert ended(line)
    line.close()
    other.close()
    assert [name for name in os.listdir(f"{file}.consoles") if not name.endswith(".lock")] == []


def test_a_backend_that_serves_has_consoles(world: World, clock: FakeClock) -> None:
    with Servers(world) as servers:
        backend = SimBackend(world, LINES, servers=servers)
        paths = backend.consoles()
        assert [os.path.basename(path) for path in paths.values()] == [f"ttypi{n[1:]}" for n in NAMES]
        assert backend.consoles() == paths
        backend.write({0: True})
        until(lambda: os.path.exists(paths[0]))
        backend.close()
        assert not os.path.exists(os.path.dirname(paths[0]))
