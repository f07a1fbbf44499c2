"""The operator's side: health, metrics, state, the live page, and switching by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .server import Server, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat import AsyncNodePool

    from .exchange import Exchange
    from .options import Options
    from .stats import Stats

__all__ = ["Admin"]


class Admin:
    """A handler with a `server.Server` of its own. Belongs to the pool's event loop."""

    def __init__(
        self,
        pool: AsyncNodePool,
        stats: Stats,
        proxy: Server,
        options: Options,
        addresses: Mapping[str, tuple[str, int]],
    ) -> None:
        self.server = Server(self, ServerSettings(max_connections=64, max_body=4096))
        self._pool = pool
        self._stats = stats
        self._proxy = proxy
        self._options = options
        self._addresses = addresses

    async def __call__(self, exchange: Exchange) -> None:
        if exchange.target == b"/healthz":
            await exchange.reply(200, (), b"ok\n")
        else:
            await exchange.reply(404, (), b"not found\n")
