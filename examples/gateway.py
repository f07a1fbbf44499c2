"""An HTTP gateway in a hundred lines: each request takes a lease on a node, and goes there.

    pip install . 'aiohttp>=3.11'       # in a checkout, in a virtual environment
    python examples/gateway.py           # four simulated nodes; with --hat those of your HAT
    curl http://127.0.0.1:8080/hello     # held while a node boots; the next one is quick

A lease switches a node on if none is ready, and waits for it. A node without leases goes off after a while.
`clusterhat-proxy` does what else a gateway must do: strict framing, limits, TLS, tunnels, metrics.
"""

from __future__ import annotations

import argparse
import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from rpi_clusterhat import AsyncCluster, AsyncNodePool, HttpProbe, PoolError, PoolSettings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from rpi_clusterhat import Lease

SIMULATION = {"serve": "yes", "boot_time": 5}
HOP_BY_HOP = {"connection", "expect", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"}


class Gateway:
    """Answers each request with a node's response."""

    def __init__(self, pool: AsyncNodePool, addresses: Mapping[str, tuple[str, int]]) -> None:
        self._pool = pool
        self._addresses = addresses
        self.session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60),
            cookie_jar=aiohttp.DummyCookieJar(),  # one client's cookies are not another's
            auto_decompress=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def answer(self, request: web.Request) -> web.StreamResponse:
        try:
            async with self._pool.lease() as lease:  # here a cold request is held
                return await self._forward(request, lease)
        except PoolError as error:
            status = 504 if isinstance(error, TimeoutError) else 503
            head = {} if error.retry_after is None else {"Retry-After": f"{error.retry_after:.0f}"}
            return web.Response(status=status, text=f"{error}\n", headers=head)

    async def _forward(self, request: web.Request, lease: Lease) -> web.StreamResponse:
        host, port = self._addresses[lease.node]
        url = URL(f"http://{host}:{port}{request.raw_path}", encoded=True)
        body = upload(request, lease) if request.can_read_body else None
        response: web.StreamResponse | None = None
        try:
            head = end_to_end(request.headers)
            asking = self.session.request(request.method, url, headers=head, data=body, allow_redirects=False)
            async with asking as answer:
                head = end_to_end(answer.headers)
                response = web.StreamResponse(status=answer.status, reason=answer.reason, headers=head)
                await response.prepare(request)
                async for data in answer.content.iter_any():
                    lease.touch()
                    await response.write(data)
                await response.write_eof()
                return response
        except aiohttp.ClientError as error:
            lease.failed()  # the pool probes the node before anybody else gets it
            if response is None:
                return web.Response(status=502, text=f"{lease.node}: {error}\n")
            if request.transport is not None:
                request.transport.abort()  # what was sent must not look whole
            return response


async def upload(request: web.Request, lease: Lease) -> AsyncIterator[bytes]:
    async for data in request.content.iter_any():
        lease.touch()
        yield data


def end_to_end(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Leaves out the fields that are meant for the next hop only."""
    named = {part.strip().lower() for part in headers.get("Connection", "").split(",")}
    return [(name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP | named]


async def main(*, hat: bool, port: int) -> None:
    async with AsyncExitStack() as stack:
        opened = AsyncCluster.open() if hat else AsyncCluster.open(backend="sim", options=SIMULATION)
        cluster = await stack.enter_async_context(opened)
        addresses = {name: cluster.addresses.get(name, (f"{name}.local", 80)) for name in cluster.names}
        settings = PoolSettings(idle_timeout=60)
        probes = {name: HttpProbe(*where, expect="200-499", timeout=5) for name, where in addresses.items()}
        pool = AsyncNodePool(cluster, probe=probes.__getitem__, settings=settings)
        pool.subscribe(lambda event: print(event, flush=True))
        gateway = Gateway(await stack.enter_async_context(pool), addresses)
        stack.push_async_callback(gateway.session.close)
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", gateway.answer)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print(f"gateway on http://127.0.0.1:{runner.addresses[0][1]}/", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--hat", action="store_true", help="your HAT instead of the simulation")
    parser.add_argument("--port", type=int, default=8080)
    asyncio.run(main(**vars(parser.parse_args())))
