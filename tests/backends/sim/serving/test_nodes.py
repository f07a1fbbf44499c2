"""Simulated nodes that answer: what listens follows the world, whoever changes it."""

from __future__ import annotations

import errno
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import ClosedError, NodeNameError
from rpi_clusterhat_sim import station
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.listener import Listener
from rpi_clusterhat_sim.load import NodeModel
from rpi_clusterhat_sim.serving import INTERVAL, Servers
from rpi_clusterhat_sim.state_file import StateFile
from rpi_clusterhat_sim.world import World
from tests.backends.sim.clients import (
    LINES,
    NAMES,
    TIMEOUT,
    answers,
    ask,
    boot,
    connect,
    get,
    node_at,
    read_all,
    refused,
    switch,
    until,
)

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.listener import Handler


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
        with pytest.raises(ConnectionResetError):
            waiting.recv(1)
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


@pytest.mark.parametrize(
    "way", ["off", "brown-out", "board", "halt", "off in a state file", "halt in a state file"]
)
def test_nothing_answers_from_the_moment_of_a_power_cut_or_a_halt(
    world: World, clock: FakeClock, tmp_path: Path, way: str
) -> None:
    """Whoever does it: when that returns, all is over, whatever the thread that serves the nodes is at."""
    source: World | StateFile = world
    if "state file" in way:
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
            elif way.startswith("halt"):
                backend.ask_to_halt(0)
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


def test_a_node_that_halts_is_gone_until_it_boots_again(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    address = boot(world, clock, servers)
    world.node("p1").fail_halting(ignored=True)
    world.node("p1").halt()
    assert node_at(address) == "p1"
    world.node("p1").fail_halting()
    world.node("p1").halt()
    for _ in range(3):
        assert refused(address)
        threading.Event().wait(2 * INTERVAL)
        clock.advance(1)
    assert world.node("p1").phase == "halted"
    switch(world, p1=False)
    assert boot(world, clock, servers) == address


def test_a_halt_that_gets_stuck_answers_nothing_either(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    world.node("p1").fail_halting(hangs=True)
    address = boot(world, clock, servers)
    with connect(address) as client:
        get(client)
        world.node("p1").halt()
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    clock.advance(1000)
    threading.Event().wait(2 * INTERVAL)
    assert refused(address)


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


def test_a_node_that_drops_connections_until_it_is_up(
    world: World, clock: FakeClock, servers: Servers
) -> None:
    """Its port is open all the time from then on."""
    world.node("p1").fail(drops=3)
    world.node("p2").fail(drops=3, hang_after=22)
    address = boot(world, clock, servers)
    for _ in range(20):
        with connect(address) as client:
            assert client.recv(1) == b""
    hanging = boot(world, clock, servers, "p2")
    until(lambda: node_at(address) == "p1")
    clock.advance(2.5)
    threading.Event().wait(4 * INTERVAL)
    with connect(hanging) as client:
        client.settimeout(0.05)
        with pytest.raises(TimeoutError):
            client.recv(1)
        switch(world, p1=False, p2=False)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    assert refused(address)
    assert refused(hanging)


def test_a_service_that_does_not_start_where_the_port_was_open_before(
    world: World, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    def service(node: str) -> Handler:
        raise RuntimeError(node)

    world.node("p1").fail(drops=3)
    with Servers(world, ["p1"], service=service) as servers:
        address = boot(world, clock, servers)
        clock.advance(3)
        until(lambda: refused(address))
    assert "the service of p1 did not start" in caplog.text


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

    monkeypatch.setattr(station, "Listener", failing)
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
        assert 0 <= world.timeline.clock.now() - up_since < TIMEOUT
