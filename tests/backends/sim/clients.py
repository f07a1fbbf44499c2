"""Clients of simulated nodes."""

from __future__ import annotations

import json
import socket
import threading
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Line

if TYPE_CHECKING:
    from collections.abc import Callable

    from rpi_clusterhat.testing import FakeClock
    from rpi_clusterhat_sim.serving import Servers
    from rpi_clusterhat_sim.world import World


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


def switch(world: World, **levels: bool) -> None:
    world.bank("0").write({NAMES.index(name): level for name, level in levels.items()})


def boot(world: World, clock: FakeClock, servers: Servers, name: str = "p1") -> Address:
    switch(world, **{name: True})
    clock.advance(20)
    address = servers.address(name)
    until(lambda: answers(address))
    return address
