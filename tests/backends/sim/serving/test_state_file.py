"""Nodes of a world that is in a file."""

from __future__ import annotations

import errno
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import LockError
from rpi_clusterhat_sim import served, station
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.listener import Listener
from rpi_clusterhat_sim.load import NodeModel
from rpi_clusterhat_sim.service import Echo
from rpi_clusterhat_sim.serving import INTERVAL, Servers
from rpi_clusterhat_sim.state_file import StateFile
from tests.backends.sim.clients import LINES, NAMES, answers, connect, get, refused, until

if TYPE_CHECKING:
    import socket
    from pathlib import Path


SWITCHER = """
import sys
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.listener import Listener
from rpi_clusterhat_sim.state_file import StateFile
lines = [Line(i, f"p{i + 1}") for i in range(4)]
backend = SimBackend(StateFile(sys.argv[1]), lines, holds=sys.argv[2] == "holds")
for line in sys.stdin:
    name, word = line.split()
    offset = int(name[1:]) - 1
    if word == "halt":
        backend.ask_to_halt(offset)
    else:
        backend.write({offset: word == "on"})
    print("done", flush=True)
"""


class Switcher:
    """Another process that switches the nodes of a state file."""

    def __init__(self, path: Path, *, holds: bool = True) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SWITCHER, str(path), "holds" if holds else "not"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, order: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(order, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    file = StateFile(str(tmp_path / "world.json"))
    with file.change() as world:
        world.add_bank("0", LINES, model=NodeModel(boot_time=0.05))
    return file


@pytest.mark.parametrize("holds", [True, False])
def test_another_process_switches(state: StateFile, tmp_path: Path, *, holds: bool) -> None:
    switcher = Switcher(tmp_path / "world.json", holds=holds)
    try:
        with Servers(state, NAMES) as servers:
            address = servers.address("p1")
            assert refused(address)
            switcher("p1 on")
            until(lambda: answers(address))
            with connect(address) as client:
                assert get(client)["node"] == "p1"
                if holds:
                    switcher("p1 off")
                else:
                    switcher.close()  # its lines drop with it, and nobody writes that down
                with pytest.raises(ConnectionResetError):
                    client.recv(1)
            until(lambda: refused(address))
    finally:
        switcher.close()


def test_nothing_answers_once_another_process_has_cut_the_power(state: StateFile, tmp_path: Path) -> None:
    """Nor when that process gives the power back at once: the node boots anew."""
    with state.change() as world:
        world.node("p1").fail(slow=10)  # longer than this takes on a busy machine
    switcher = Switcher(tmp_path / "world.json")
    try:
        with Servers(state, NAMES) as servers:
            address = servers.address("p1")
            for again in range(8):
                switcher("p1 on")
                until(lambda: answers(address))
                with connect(address) as client:
                    switcher("p1 off")
                    if again % 2:
                        switcher("p1 on")
                    assert refused(address)
                    client.setblocking(False)
                    with pytest.raises(ConnectionResetError):
                        client.recv(1)
    finally:
        switcher.close()


def test_nothing_answers_once_another_process_has_had_the_node_halt(state: StateFile, tmp_path: Path) -> None:
    switcher = Switcher(tmp_path / "world.json")
    try:
        with Servers(state, NAMES) as servers:
            address = servers.address("p1")
            for _ in range(4):
                switcher("p1 on")
                until(lambda: answers(address))
                with connect(address) as client:
                    switcher("p1 halt")
                    assert refused(address)
                    client.setblocking(False)
                    with pytest.raises(ConnectionResetError):
                        client.recv(1)
                switcher("p1 off")
    finally:
        switcher.close()


def test_a_process_that_serves_and_has_stopped_holds_nobody_up_for_long(
    state: StateFile, tmp_path: Path
) -> None:
    backend = SimBackend(state, LINES)
    backend.write({0: True, 1: True})
    claim = state.served.claim("p1")
    assert claim is not None
    began = SYSTEM.now()
    backend.write({1: False})
    assert SYSTEM.now() - began < 0.9, "nobody serves p2"
    backend.write({0: False})
    assert 0.9 < SYSTEM.now() - began < 5.0
    claim.close()


def test_a_start_that_meets_a_power_cut_is_none(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process cuts the power between the look at the world and the start of the service."""
    other = SimBackend(StateFile(state.path), LINES)
    met: list[bool] = []

    class Met(Echo):
        def __init__(self, name: str) -> None:
            super().__init__(name)
            if not met:
                other.write({0: False})
                met.append(True)

    listened: list[object] = []

    class Noted(Listener):
        def __init__(self, sock: socket.socket, handler: Any) -> None:
            listened.append(handler)
            super().__init__(sock, handler)

    monkeypatch.setattr(station, "Listener", Noted)
    with Servers(state, ["p1"], service=Met) as servers:
        address = servers.address("p1")
        other.write({0: True})
        until(lambda: met)
        threading.Event().wait(4 * INTERVAL)
        assert refused(address)
        assert listened == []
        other.write({0: True})
        until(lambda: answers(address))


def test_a_state_file_that_is_removed_or_spoilt(state: StateFile, tmp_path: Path) -> None:
    path = tmp_path / "world.json"
    backend = SimBackend(state, LINES)
    backend.write({0: True})
    with Servers(state, ["p1"]) as servers:
        address = servers.address("p1")
        until(lambda: answers(address))
        spoilt = tmp_path / "spoilt"
        spoilt.write_text("no world", encoding="utf-8")
        spoilt.replace(path)
        threading.Event().wait(4 * INTERVAL)
        assert answers(address)  # nothing says that the node went off
        path.unlink()
        until(lambda: refused(address))


def test_nothing_is_read_while_nothing_happens(state: StateFile, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[None] = []
    look = StateFile.look

    def counted(self: StateFile) -> Any:
        looks.append(None)
        return look(self)

    monkeypatch.setattr(StateFile, "look", counted)
    with Servers(state, NAMES):
        until(lambda: len(looks) == 2)  # by `add`, and the first of the thread
        threading.Event().wait(6 * INTERVAL)
        assert len(looks) == 2


def test_a_node_is_served_also_where_others_cannot_be_told(
    state: StateFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a folder that may only be read."""

    def refuse(*_: object, **__: object) -> None:
        raise LockError(errno.EACCES, "no permission")

    backend = SimBackend(state, LINES)
    backend.write({0: True})
    monkeypatch.setattr(served, "SharedFile", refuse)
    with Servers(state, ["p1"]) as servers:
        until(lambda: answers(servers.address("p1")))
