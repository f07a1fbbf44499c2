"""Simulated nodes that answer: what listens follows the world, whoever changes it."""

from __future__ import annotations

import errno
import json
import socket
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import ClosedError, NodeNameError, SettingError
from rpi_clusterhat.hardware.backend import Line, OpenRequest, SupportsSimulation
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim import serving
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.listener import Listener
from rpi_clusterhat_sim.serving import INTERVAL, Servers
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.supply import NodeModel
from rpi_clusterhat_sim.world import World
from tests.peers.node import Peer

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.hardware.backend import Backend

TIMEOUT = 5.0
LINES = [Line(i, f"p{i + 1}") for i in range(4)]
NAMES = ["p1", "p2", "p3", "p4"]
Address = tuple[str, int]


def until(holds: Callable[[], object]) -> None:
    """Until the servers, which look every `INTERVAL`, have seen it."""
    pause = threading.Event()
    for _ in range(2000):
        if holds():
            return
        pause.wait(0.001)
    raise AssertionError("it does not come to be")


def refused(address: Address) -> bool:
    try:
        socket.create_connection(address, TIMEOUT).close()
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:  # was let in just before the end
        return False
    return False


def answers(address: Address) -> bool:
    return not refused(address)


def connect(address: Address) -> socket.socket:
    return socket.create_connection(address, TIMEOUT)


def ask(client: socket.socket, target: str = "/") -> None:
    client.sendall(f"GET {target} HTTP/1.1\r\nHost: node\r\n\r\n".encode())


def read_all(client: socket.socket) -> int:
    size = 0
    while data := client.recv(1 << 20):
        size += len(data)
    return size


def get(client: socket.socket, target: str = "/") -> Any:
    ask(client, target)
    with client.makefile("rb") as file:
        assert file.readline() == b"HTTP/1.1 200 OK\r\n"
        length = 0
        while (line := file.readline()) != b"\r\n":
            name, _, value = line.partition(b": ")
            length = int(value) if name == b"Content-Length" else length
        return json.loads(file.read(length))


def node_at(address: Address) -> str:
    with connect(address) as client:
        return str(get(client)["node"])


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    world = World(clock=clock)
    world.add_bank("0", LINES)
    return world


@pytest.fixture
def servers(world: World) -> Iterator[Servers]:
    with Servers(world, NAMES, service=Peer) as servers:
        yield servers


def switch(world: World, **levels: bool) -> None:
    world.bank("0").write({NAMES.index(name): level for name, level in levels.items()})


def boot(world: World, clock: FakeClock, servers: Servers, name: str = "p1") -> Address:
    switch(world, **{name: True})
    clock.advance(20)
    address = servers.address(name)
    until(lambda: answers(address))
    return address


def test_each_node_answers_under_its_name_once_it_is_up(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    addresses = {name: servers.address(name) for name in NAMES}
    assert len(set(addresses.values())) == 4
    assert all(refused(address) for address in addresses.values())
    switch(world, p1=True)
    clock.advance(2)
    switch(world, p3=True)
    clock.advance(17.9)
    threading.Event().wait(4 * INTERVAL)
    assert all(refused(address) for address in addresses.values())
    clock.advance(0.1)
    until(lambda: answers(addresses["p1"]))
    assert refused(addresses["p3"])
    clock.advance(2)
    until(lambda: answers(addresses["p3"]))
    assert [node_at(addresses[name]) for name in ("p1", "p3")] == ["p1", "p3"]
    assert refused(addresses["p2"])


def test_a_power_cut_stops_everything_in_the_middle(world: World, clock: FakeClock, servers: Servers) -> None:
    address = boot(world, clock, servers)
    with connect(address) as stream, connect(address) as waiting, connect(address) as idle:
        ask(stream, "/?size=1000000000000")
        assert stream.recv(8) == b"HTTP/1.1"
        ask(waiting, "/?delay=60")
        get(idle)
        switch(world, p1=False)
        began = time.monotonic()
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
        assert time.monotonic() - began < 1
        with pytest.raises(ConnectionResetError):
            idle.recv(1)
        with pytest.raises(ConnectionResetError):  # after what this end's system has
            read_all(stream)
    until(lambda: refused(address))


class Deaf:
    """A service that keeps all of the simulation's thread busy until it is let go."""

    let_go = threading.Event()

    def __init__(self, node: str) -> None:
        pass

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"busy")
        if await reader.read(1):
            writer.write(b"more")
            assert self.let_go.wait(TIMEOUT)
            writer.write(b"from beyond")


@pytest.mark.parametrize("way", ["off", "brown-out", "board", "state file"])
def test_nothing_answers_from_the_moment_of_a_power_cut(
    world: World, clock: FakeClock, tmp_path: Path, way: str
) -> None:
    """Whoever cuts it: when that returns, all is over, whatever the thread that serves the nodes is at."""
    source: World | StateFile = world
    if way == "state file":
        source = StateFile(str(tmp_path / "world"), clock=clock)
    backend = SimBackend(source, LINES)
    backend.write({0: True})
    clock.advance(20)
    Deaf.let_go.clear()
    with Servers(source, ["p1"], service=Deaf) as servers:
        address = servers.address("p1")
        until(lambda: answers(address))
        with connect(address) as client, connect(address) as idle:
            assert idle.recv(4) == client.recv(4) == b"busy"
            client.send(b"!")
            assert client.recv(4) == b"more"  # from now on the thread is busy
            if way == "brown-out":
                backend.write({1: True, 2: True, 3: True})
            elif way == "board":
                world.bank("0").lose_power()
            else:
                backend.write({0: False})
            assert refused(address)
            for one in (client, idle):
                one.setblocking(False)
                with pytest.raises(ConnectionResetError):
                    one.recv(1)
            Deaf.let_go.set()


def test_the_address_is_the_same_after_power_returns(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    address = servers.address("p1")
    for _ in range(3):
        assert boot(world, clock, servers) == address
        assert node_at(address) == "p1"
        switch(world, p1=False)
        until(lambda: refused(address))


def test_off_and_on_between_two_looks_is_a_new_start(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    address = boot(world, clock, servers)
    with connect(address) as client:
        get(client)
        with world.look():
            switch(world, p1=False)
            clock.advance(0.01)
            switch(world, p1=True)
            clock.advance(20)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    until(lambda: answers(address))
    with connect(address) as client:
        assert get(client)["service"]["requests"] == 1


def test_a_brown_out_resets_all_and_they_come_back(world: World, clock: FakeClock, servers: Servers) -> None:
    addresses = [boot(world, clock, servers, name) for name in ("p1", "p2")]
    with connect(addresses[0]) as first, connect(addresses[1]) as second:
        get(first)
        get(second)
        switch(world, p3=True, p4=True)
        assert world.brownouts == 1
        for client in (first, second):
            with pytest.raises(ConnectionResetError):
                client.recv(1)
    until(lambda: all(refused(address) for address in addresses))
    clock.advance(20)
    until(lambda: all(answers(servers.address(name)) for name in NAMES))


def test_a_node_that_hangs_lets_in_and_says_nothing(world: World, clock: FakeClock, servers: Servers) -> None:
    world.node("p1").fail(hang_after=30)
    address = boot(world, clock, servers)
    with connect(address) as client:
        get(client)
        clock.advance(10)

        def hangs() -> bool:
            with connect(address) as late:
                late.settimeout(0.02)
                ask(late)
                try:
                    late.recv(1)
                except TimeoutError:
                    return True
                return False

        until(hangs)
        ask(client)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        switch(world, p1=False)
        client.settimeout(TIMEOUT)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    until(lambda: refused(address))


def test_a_node_that_fails_to_boot_or_hangs_first_never_answers(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    world.node("p1").fail(boots=False)
    world.node("p2").fail(hang_after=5)
    switch(world, p1=True)
    clock.advance(2)
    switch(world, p2=True)
    clock.advance(2)
    boot(world, clock, servers, "p3")
    assert refused(servers.address("p1"))
    assert refused(servers.address("p2"))


def test_many_clients_at_once(world: World, clock: FakeClock, servers: Servers) -> None:
    address = boot(world, clock, servers)
    clients = [connect(address) for _ in range(200)]
    for client in clients:
        ask(client, "/?delay=0.05")
    assert {client.recv(8) for client in clients} == {b"HTTP/1.1"}
    switch(world, p1=False)
    for client in clients:
        with client, pytest.raises(ConnectionResetError):
            read_all(client)


def test_one_thread_serves_all_and_ends_with_the_last(world: World) -> None:
    before = set(threading.enumerate())
    servers = Servers(world, ["p1", "p2"])
    servers.add(["p2", "p3"])
    (thread,) = set(threading.enumerate()) - before
    assert thread.daemon
    addresses = {name: servers.address(name) for name in ("p1", "p2", "p3")}
    servers.discard(["p1", "p4"])
    assert thread.is_alive()
    assert servers.address("p2") == addresses["p2"]
    with pytest.raises(ClosedError, match="p1"):
        servers.address("p1")
    servers.close()
    servers.close()
    assert not thread.is_alive()
    servers.add(["p1"])
    assert refused(servers.address("p1"))
    servers.close()
    assert set(threading.enumerate()) == before


def test_closing_resets_who_is_connected(world: World, clock: FakeClock, servers: Servers) -> None:
    address = boot(world, clock, servers)
    with connect(address) as client:
        get(client)
        servers.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert refused(address)


def test_a_node_that_is_not_there(world: World, servers: Servers) -> None:
    with pytest.raises(NodeNameError, match="p5"):
        servers.add(["p5"])
    with pytest.raises(NodeNameError):
        Servers(world, ["p5"])


def test_ports_can_be_said(world: World, servers: Servers) -> None:
    taken = servers.address("p1")
    with pytest.raises(OSError, match="in use"):
        Servers(world, ["p2", "p1"], ports={"p1": taken[1]})
    servers.close()
    with Servers(world, ["p1"], ports={"p1": taken[1]}) as again:
        assert again.address("p1") == taken


def test_a_start_that_fails_is_tried_again(
    world: World, clock: FakeClock, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = iter([OSError(errno.EMFILE, "too many open files")] * 2)

    def failing(sock: socket.socket, handler: Any) -> Listener:
        for failure in failures:
            raise failure
        return Listener(sock, handler)

    monkeypatch.setattr(serving, "Listener", failing)
    assert node_at(boot(world, clock, servers)) == "p1"
    assert next(failures, None) is None


def test_a_reserved_port_is_nobody_elses(servers: Servers) -> None:
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(servers.address("p1"))


def test_the_system_clock_is_enough() -> None:
    """A node is up when it answers, give or take a look."""
    world = World()
    world.add_bank("0", LINES, model=NodeModel(boot_time=0.1))
    with Servers(world, ["p1"]) as servers:
        address = servers.address("p1")
        switch(world, p1=True)
        until(lambda: answers(address))
        up_since = world.node("p1").up_since
        assert up_since is not None
        assert 0 <= world.timeline.clock.now() - up_since < 0.5


# Other services ------------------------------------------------------------------------------------------


def test_a_service_is_made_anew_for_each_boot(world: World, clock: FakeClock) -> None:
    made: list[str] = []

    def service(node: str) -> Peer:
        made.append(node)
        return Peer(node)

    with Servers(world, NAMES, service=service) as servers:
        address = boot(world, clock, servers)
        assert node_at(address) == "p1"
        switch(world, p1=False)
        boot(world, clock, servers)
        boot(world, clock, servers, "p3")
    assert made == ["p1", "p1", "p3"]


def test_a_connection_is_closed_when_its_service_returns(world: World, clock: FakeClock) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(await reader.readline())

    with (
        Servers(world, ["p1"], service=lambda _: serve) as servers,
        connect(boot(world, clock, servers)) as client,
    ):
        client.sendall(b"line\nwhat is not read is no reason for a reset" * 1000)
        assert client.recv(100) == b"line\n"
        assert client.recv(100) == b""


def test_a_service_that_crashes_is_told_and_ends_one_connection(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"%d" % (1 // len(await reader.readline())))

    with Servers(world, ["p1"], service=lambda _: serve) as servers:
        address = boot(world, clock, servers)
        with connect(address) as client:
            client.shutdown(socket.SHUT_WR)
            assert client.recv(1) == b""
        with connect(address) as client:
            client.sendall(b"\n")
            assert client.recv(1) == b"1"
    assert "ZeroDivisionError" in caplog.text


def test_a_service_that_does_not_start_is_told_once_for_each_boot(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    boots = iter([1, 0])

    def service(node: str) -> Peer:
        assert not next(boots), "no disk"
        return Peer(node)

    with Servers(world, ["p1"], service=service) as servers:
        switch(world, p1=True)
        clock.advance(20)
        until(lambda: "no disk" in caplog.text)
        threading.Event().wait(4 * INTERVAL)
        assert refused(servers.address("p1"))
        switch(world, p1=False)
        assert node_at(boot(world, clock, servers)) == "p1"
    assert caplog.text.count("p1 did not start") == 1


# State files --------------------------------------------------------------------------------------------

SWITCHER = """
import sys
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.state_file import StateFile
lines = [Line(i, f"p{i + 1}") for i in range(4)]
backend = SimBackend(StateFile(sys.argv[1]), lines, holds=sys.argv[2] == "holds")
for line in sys.stdin:
    name, word = line.split()
    backend.write({int(name[1:]) - 1: word == "on"})
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


# The option ---------------------------------------------------------------------------------------------


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
    backend.close()


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
    with pytest.raises(SettingError, match=f"service={service}"):
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
