"""The operator's side: health, metrics, the state as JSON, the live page, and switching by hand.

It has a server of its own, which listens on loopback unless told otherwise, and serves on while the proxy
drains.

| path                  | what                                                              |
| --------------------- | ----------------------------------------------------------------- |
| GET /healthz          | 200 while the event loop runs                                     |
| GET /readyz           | 200, or 503 while the proxy drains                                |
| GET /metrics          | for Prometheus                                                    |
| GET /status           | the cluster's status, and what pool and proxy know, as JSON       |
| GET /                 | the same for people                                               |
| GET /events           | the same as an event stream: a message for each change            |
| POST /nodes/NAME/on   | switches a node; needs the token, as the form's field ``token``   |
| POST /nodes/NAME/off  | or as ``Authorization: Bearer``                                   |

A page of a stranger in the operator's browser must not reach it. Such a page can have its own name resolve to
this address; hence the Host of each request must be an IP address, ``localhost`` or the name that ``--admin``
listens on, else the answer is 421. And it can send forms here; hence a POST whose ``Origin`` or
``Sec-Fetch-Site`` names another place is refused, besides needing the token.
"""

from __future__ import annotations

import ipaddress
import re
from functools import partial
from typing import TYPE_CHECKING

from rpi_clusterhat import ClusterHatError

from . import answers, cold
from .answers import NO_STORE, as_json, one_line
from .document import STATUS_POLICY
from .exchange import date
from .live import Live
from .messages import Limits
from .server import Server, ServerSettings
from .status import ProxyStatus
from .status_page import status_page
from .switching import Switching

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from rpi_clusterhat import AsyncNodePool

    from .exchange import Exchange
    from .metrics import Metrics
    from .options import Options

__all__ = ["Admin"]

SETTINGS = ServerSettings(
    max_connections=64,
    max_connections_per_client=64,
    max_body=4096,
    timeout_http_keep_alive=15.0,
    timeout_client=10.0,
    limits=Limits(header_size=16384, request_line=2048, headers=64),
)

MOST_VIEWERS = 16
"""Event streams at a time."""

_SWITCH = re.compile(rb"/nodes/([^/]+)/(on|off)")
_JSON = b"application/json"

_fail = partial(answers.fail, policy=STATUS_POLICY)


class Admin:
    """A handler with a `server.Server` of its own. Belongs to the pool's event loop."""

    def __init__(
        self,
        pool: AsyncNodePool,
        metrics: Metrics,
        proxy: Server,
        options: Options,
        addresses: Mapping[str, tuple[str, int]],
    ) -> None:
        self.server = Server(self, SETTINGS)
        self._proxy = proxy
        self._switching = Switching(pool, options.admin_token)
        self._name = "" if options.admin is None else options.admin.host
        self._metrics = metrics
        self._status = ProxyStatus(pool, metrics.requests, proxy, options, addresses)
        self._live = Live(self._status)
        pool.subscribe(lambda _: self._live.changed.set())
        self._pages: dict[bytes, Callable[[Exchange], Awaitable[None]]] = {
            b"/": self._page,
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/metrics": self._show_metrics,
            b"/status": self._show_status,
            b"/events": self._events,
        }

    async def __call__(self, exchange: Exchange) -> None:
        """Answers one request."""
        path = exchange.target.partition(b"?")[0]
        page = self._pages.get(path)
        switch = _SWITCH.fullmatch(path)
        allowed = (b"GET", b"HEAD") if page else (b"POST",)
        if not self._is_for_us(exchange.host):
            await _fail(
                exchange, 421, "use this server's IP address, localhost, or the name that --admin has"
            )
        elif page is None and switch is None:
            await _fail(exchange, 404, "there is no such path")
        elif exchange.method not in allowed:
            allow = b", ".join(allowed)
            await _fail(exchange, 405, f"only {allow.decode()} here", [(b"Allow", allow)])
        else:
            try:
                if page:
                    await page(exchange)
                elif switch:
                    await self._switching.answer(exchange, switch[1].decode("ascii"), on=switch[2] == b"on")
            except ClusterHatError as error:
                if exchange.begun:
                    raise
                await _fail(exchange, 500, one_line(error))

    def _is_for_us(self, authority: bytes) -> bool:
        host = authority.decode("ascii").lower()
        host = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if host.removesuffix(".") in ("", "localhost", self._name.removesuffix(".")):
            return True  # empty: not from a browser
        try:
            ipaddress.ip_address(host)
        except ValueError:
            return False
        return True

    # For programs -----------------------------------------------------------------------------------------

    async def _healthz(self, exchange: Exchange) -> None:
        await exchange.reply(200, [NO_STORE], b"ok\n")

    async def _readyz(self, exchange: Exchange) -> None:
        if self._proxy.draining:
            text = f"draining: no new connections, {self._proxy.busy} requests under way\n"
            await exchange.reply(503, [NO_STORE], text.encode())
        else:
            await exchange.reply(200, [NO_STORE], b"ready\n")

    async def _show_metrics(self, exchange: Exchange) -> None:
        accept = (exchange.first.get(b"accept") or b"").decode("latin-1")
        text, kind = self._metrics.text(accept)
        await exchange.reply(200, [NO_STORE], text, kind.encode())

    async def _show_status(self, exchange: Exchange) -> None:
        await self._status.read()
        await exchange.reply(200, [NO_STORE], as_json(self._status.as_dict()) + b"\n", _JSON)

    # For people -------------------------------------------------------------------------------------------

    async def _page(self, exchange: Exchange) -> None:
        await self._status.read()
        page = status_page(self._status.as_dict(), switch=self._switching.is_possible)
        head = [NO_STORE, (b"Content-Security-Policy", STATUS_POLICY)]
        await exchange.reply(200, head, page, cold.CONTENT_TYPE["html"])

    async def _events(self, exchange: Exchange) -> None:
        if self._live.viewers >= MOST_VIEWERS:
            text = f"{MOST_VIEWERS} viewers at a time are the most"
            await _fail(exchange, 503, text, [(b"Retry-After", b"5")])
            return
        head = [
            date(),
            (b"Content-Type", b"text/event-stream"),
            NO_STORE,
        ]
        exchange.begin(200, b"OK", (), head, length=None)
        if exchange.method == b"GET":
            await self._stream(exchange)
        await exchange.end()

    async def _stream(self, exchange: Exchange) -> None:
        live = self._live
        live.enter()
        try:
            await exchange.flush()
            seen = 0
            while not self.server.draining:
                seen, message = await live.after(seen)
                exchange.send(message)
                await exchange.flush()
        finally:
            live.leave()
