"""A node that is never waited for: it answers each request with its head, and those for ``/?delay`` never.

python -m tests.benchmarks.proxy_peers.node
"""

from __future__ import annotations

import asyncio
import json
from typing import cast


class Node(asyncio.Protocol):
    """One connection. Takes requests without a body."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._data = b""

    def data_received(self, data: bytes) -> None:
        *heads, self._data = (self._data + data).split(b"\r\n\r\n")
        for head in heads:
            if b" /?delay" not in head:
                body = json.dumps({"node": "p1", "head": head.decode("latin-1")}).encode()
                self._transport.write(
                    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
                    % (len(body), body)
                )


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Node, "127.0.0.1", 0, backlog=4096)
    print(f"listening on 127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
