"""What users put on simulated nodes."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

from rpi_clusterhat_sim.serving import INTERVAL, Servers
from tests.backends.sim.clients import NAMES, boot, connect, node_at, refused, switch, until
from tests.peers.node import Peer

if TYPE_CHECKING:
    import asyncio

    import pytest

    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.world import World


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
