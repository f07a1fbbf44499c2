"""The options that make nodes answer."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import ClosedError, SettingError
from rpi_clusterhat.hardware.backend import OpenRequest, SupportsConsoles, SupportsSimulation, SupportsSsh
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.serving import Servers
from tests.backends.sim.clients import LINES, TIMEOUT, answers, connect, node_at, refused, until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.backend import Backend
    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.world import World


def opening(clock: Clock, tmp_path: Path, shared: dict[str, Any], **options: str) -> Callable[[], SimBackend]:
    plugin = load("sim")
    values = parse_options("sim", plugin, options, "a test")

    def open_it() -> SimBackend:
        backend: Backend = plugin.open(OpenRequest(LINES, values, clock, str(tmp_path), shared))
        assert isinstance(backend, SimBackend)
        return backend

    return open_it


def test_boards_of_a_cluster_share_the_thread(clock: FakeClock, tmp_path: Path) -> None:
    before = set(threading.enumerate())
    open_it = opening(clock, tmp_path, {}, serve="yes")
    first, second = open_it(), open_it()
    assert set(threading.enumerate()) == before  # nothing runs before anybody asks
    assert isinstance(first, SupportsSimulation)
    addresses = first.addresses()
    others = second.addresses()
    assert first.addresses() == addresses
    assert list(addresses) == list(others) == [0, 1, 2, 3]
    assert len({*addresses.values(), *others.values()}) == 8
    assert len(set(threading.enumerate()) - before) == 1
    second.write({1: True})
    clock.advance(20)
    until(lambda: answers(others[1]))
    assert node_at(others[1]) == "p6"
    first.close()
    with pytest.raises(ClosedError):
        first.addresses()
    assert node_at(others[1]) == "p6"
    second.close()
    second.close()
    assert refused(others[1])
    assert set(threading.enumerate()) == before


def test_without_the_option_there_is_nothing(clock: FakeClock, tmp_path: Path) -> None:
    backend = opening(clock, tmp_path, {})()
    assert isinstance(backend, SupportsSimulation)
    assert backend.addresses() == {}
    assert isinstance(backend, SupportsConsoles)
    assert backend.consoles() == {}
    assert isinstance(backend, SupportsSsh)
    assert backend.ssh_addresses() == {}
    backend.close()
    with pytest.raises(ClosedError):
        backend.consoles()
    with pytest.raises(ClosedError):
        backend.ssh_addresses()


def test_another_service_by_its_name(clock: FakeClock, tmp_path: Path) -> None:
    """To name one is to ask for it."""
    file = tmp_path / "mine.py"
    file.write_text(
        "def service(node):\n"
        "    async def serve(reader, writer):\n"
        "        writer.write(f'{node} here'.encode())\n"
        "    return serve\n",
        encoding="utf-8",
    )
    backend = opening(clock, tmp_path, {}, service=f"{file}:service")()
    address = backend.addresses()[0]
    backend.write({0: True})
    clock.advance(20)
    until(lambda: answers(address))
    with connect(address) as client:
        assert client.recv(100) == b"p1 here"
    backend.close()
    quiet = opening(clock, tmp_path, {}, service=f"{file}:service", serve="no")()
    assert quiet.addresses() == {}


@pytest.mark.parametrize("service", ["nothing", "no_such_module:Service", "json:nothing", "none.py:Service"])
def test_a_service_that_is_not_there(clock: FakeClock, tmp_path: Path, service: str) -> None:
    with pytest.raises(SettingError, match=rf"service(=|: '){service}"):
        opening(clock, tmp_path, {}, service=service)()


def test_lines_that_switch_no_node_have_no_address(world: World) -> None:
    servers = Servers(world)
    backend = SimBackend(world, LINES[1:3], servers=servers)
    assert list(backend.addresses()) == [1, 2]
    assert backend.addresses()[1] == servers.address("p2")
    backend.close()
    with pytest.raises(ClosedError):
        servers.address("p2")


IMPORTED = """
import sys
from rpi_clusterhat import Cluster
Cluster.open(backend="sim", options=dict(option.split("=") for option in sys.argv[1:])).close()
print(*{"asyncio", "socket", "rpi_clusterhat_sim.serving", "rpi_clusterhat_sim.service"} & {*sys.modules})
"""


@pytest.mark.parametrize(
    ("options", "any_of_it"), [([], False), (["serve=no"], False), (["serve=yes"], True)]
)
def test_none_of_it_is_imported_unless_it_is_asked_for(options: list[str], *, any_of_it: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTED, *options],
        capture_output=True,
        text=True,
        check=True,
        timeout=TIMEOUT,
    )
    assert bool(done.stdout.strip()) is any_of_it
