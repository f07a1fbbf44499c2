"""The process that runs the nodes of a rack, and lives as long as its owner.

    python -m rpi_clusterhat_sim.rack.keeper PLAN

It is the first process of namespaces of its own, for processes, networks and mounts: however it ends, the
kernel ends all nodes with it and takes the network away. It ends when the other end of its socket is closed,
which the owner's death does.

Each line on the socket is a request, and is answered with a line, in turn. Both are JSON:

    {"on": "p1"}    {}         {"off": "p1"}    {}         {}    {"p1": {"powered": true, "running": true}, …}

What went wrong is the answer ``{"error": "…"}``.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import Any

from .built import Built, path
from .knock import Knocker
from .node import Node
from .seat import CONTROLLER, Seat, network

__all__ = ["Keeper", "main"]

_INTERVAL = 0.1
"""Seconds between two knocks at a port."""
_MAX_LINE = 4096


class Keeper:
    """The nodes of a rack. Belongs to the running event loop, in a network that `main` has made."""

    def __init__(self, nodes: dict[str, Node]) -> None:
        self._nodes = nodes
        self._by_address = {node.seat.address: node for node in nodes.values()}
        self._loop = asyncio.get_running_loop()
        self._knocker = Knocker(CONTROLLER)
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, control: socket.socket) -> None:
        """Answers requests until nobody is left to ask. Then all nodes are off."""
        self._loop.add_signal_handler(signal.SIGCHLD, self._reap)
        self._loop.add_reader(self._knocker.socket, self._hear)
        knocking = self._loop.create_task(self._knock())
        reader, writer = await asyncio.open_connection(sock=control, limit=_MAX_LINE)
        with suppress(ConnectionError):
            while line := await reader.readline():
                writer.write(json.dumps(await self._answer(json.loads(line))).encode() + b"\n")
                await writer.drain()
        knocking.cancel()
        for node in self._nodes.values():
            await node.off()

    async def _answer(self, request: dict[str, str]) -> dict[str, Any]:
        try:
            if "on" in request:
                self._nodes[request["on"]].on()
            elif "off" in request:
                await self._nodes[request["off"]].off()
            else:
                return {
                    name: {"powered": node.powered, "running": node.running}
                    for name, node in self._nodes.items()
                }
        except OSError as error:
            return {"error": str(error)}
        return {}

    def _reap(self) -> None:
        """Orphans come to the first process of a namespace, and stay until it has waited for them."""
        with suppress(ChildProcessError):
            while (pid := os.waitpid(-1, os.WNOHANG)[0]) != 0:
                for node in self._nodes.values():
                    task = self._loop.create_task(node.ended(pid))
                    self._tasks.add(task)
                    task.add_done_callback(self._tasks.discard)

    async def _knock(self) -> None:
        while True:
            for node in self._nodes.values():
                node.knock(self._knocker)
            await asyncio.sleep(_INTERVAL)

    def _hear(self) -> None:
        for address, port, is_open in self._knocker.answers():
            if (node := self._by_address.get(address)) is not None:
                node.answered(port, is_open)


async def _run(plan: dict[str, Any]) -> None:
    folder = plan["folder"]
    seats = [Seat(name, folder) for name in plan["nodes"]]
    nodes = {
        seat.name: Node(
            Built(plan["built"]),
            seat,
            plan["memory"],
            {int(port): socket.socket(fileno=fd) for port, fd in plan["nodes"][seat.name].items()},
        )
        for seat in seats
    }
    await Keeper(nodes).serve(socket.socket(fileno=plan["control"]))


def main(text: str) -> None:
    """Makes the network, runs the nodes, and leaves nothing behind."""
    plan = json.loads(text)
    for fd in (plan["control"], *(fd for ports in plan["nodes"].values() for fd in ports.values())):
        os.set_inheritable(fd, False)
    folder = plan["folder"]
    os.makedirs(os.path.join(folder, "dev"), exist_ok=True)
    os.chdir(folder)
    try:
        _make_network([Seat(name, folder) for name in plan["nodes"]])
        asyncio.run(_run(plan))
    except OSError as error:
        with socket.socket(fileno=plan["control"]) as control:
            control.sendall(json.dumps({"error": str(error)}).encode() + b"\n")
    finally:
        if plan["temporary"]:
            shutil.rmtree(folder, ignore_errors=True)


def _make_network(seats: list[Seat]) -> None:
    """Raises `OSError`."""
    ip = shutil.which("ip", path=path()) or "ip"
    made = subprocess.run(
        [ip, "-batch", "-"], input=network(seats), capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise OSError(f"its network cannot be made: {' '.join(made.stderr.split())}")


if __name__ == "__main__":
    main(sys.argv[1])
