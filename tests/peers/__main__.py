"""Serves a node's peer alone, until SIGTERM or SIGINT, and says on its first line where."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys

from rpi_clusterhat_sim.listener import Listener

from .node import Peer


async def main(port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    sock = socket.create_server(("127.0.0.1", port))
    listener = Listener(sock, Peer("p1"))
    print(f"listening on 127.0.0.1:{sock.getsockname()[1]}", flush=True)
    await ended.wait()
    listener.abort()
    await listener.wait_aborted()


asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
