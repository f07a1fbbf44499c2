"""Switching by hand: who may, and what comes of it."""

from __future__ import annotations

import asyncio
import hmac
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from rpi_clusterhat import PoolState

from .answers import NO_STORE, as_json, fail, wants_page
from .document import STATUS_POLICY

if TYPE_CHECKING:
    from rpi_clusterhat import AsyncNodePool, PooledNode

    from .exchange import Exchange

__all__ = ["Switching"]

WRONG_TOKEN_DELAY = 0.5
"""Seconds that a wrong token costs who tries it."""


class Switching:
    """Takes the requests that switch a node. Belongs to the pool's event loop."""

    def __init__(self, pool: AsyncNodePool, token: str | None) -> None:
        self._pool = pool
        self._token = None if token is None else token.encode()

    @property
    def is_possible(self) -> bool:
        """Whether there is a token, without which nobody may switch."""
        return self._token is not None

    async def answer(self, exchange: Exchange, name: str, *, on: bool) -> None:
        """Switches a node on or off, if that may be, and answers the request."""
        if self._token is None:
            await _refuse(exchange, 403, "switching by hand is off: set --admin-token-file")
            return
        if not _is_same_origin(exchange):
            await _refuse(exchange, 403, "this request comes from a page of another site")
            return
        given = await _token(exchange)
        if given is None or not hmac.compare_digest(given, self._token):
            await asyncio.sleep(WRONG_TOKEN_DELAY)
            await _refuse(exchange, 403, "the token is wrong" if given else "the token is missing")
            return
        node = self._pool.nodes.get(name)
        if node is None:
            await _refuse(
                exchange, 404, f"there is no such node; the nodes are {', '.join(self._pool.nodes)}"
            )
            return
        status, done, detail = self._wake(node) if on else self._power_off(node)
        if not wants_page(exchange):
            result = {"node": name, "done": done, "detail": detail}
            await exchange.reply(status, [NO_STORE], as_json(result) + b"\n", b"application/json")
        elif status == 200:
            await exchange.reply(303, [NO_STORE, (b"Location", b"/")])
        else:
            await _refuse(exchange, status, detail)

    def _wake(self, node: PooledNode) -> tuple[int, bool, str]:
        """The status of the answer, whether anything is switched, and what is to be said."""
        name = node.name
        was_quarantined = node.is_quarantined
        if self._pool.wake(name):
            let_out = " is let out of quarantine, and" if was_quarantined else ""
            return 200, True, f"{name}{let_out} starts"
        if node.state is PoolState.READY:
            return 200, False, f"{name} is on"
        if node.is_starting:
            return 200, False, f"{name} starts already"
        if node.state is PoolState.FAILED:
            return 409, False, f"{name} failed, and is not used for now: {node.failure}"
        if node.state is PoolState.STOPPING:
            return 409, False, f"{name} is just going off"
        return 409, False, "the proxy is ending"

    def _power_off(self, node: PooledNode) -> tuple[int, bool, str]:
        name = node.name
        if self._pool.power_off(name):
            return 200, True, f"{name} goes off"
        if node.state is PoolState.OFF:
            return 200, False, f"{name} is off"
        if node.state is PoolState.STOPPING:
            return 200, False, f"{name} goes off already"
        if node.in_flight:
            return (
                409,
                False,
                f"{name} is in use: {node.leases} in flight, {len(node.assigned)} waiting for it",
            )
        if node.is_starting:
            return 409, False, f"{name} starts: it can be switched off once it is ready"
        if node.is_quarantined:
            return 409, False, f"{name} is quarantined: {node.failure}"
        return 409, False, f"{name} failed, and is not used for now: {node.failure}"


async def _refuse(exchange: Exchange, status: int, detail: str) -> None:
    await fail(exchange, status, detail, policy=STATUS_POLICY)


def _is_same_origin(exchange: Exchange) -> bool:
    """Returns whether the request is from a page of this site, as far as the client says.

    A client that is no browser says nothing. Schemes are not compared, since TLS may end before this server.
    """
    site, origin = exchange.first.get(b"sec-fetch-site"), exchange.first.get(b"origin")
    if site is not None and site != b"same-origin":
        return False
    return origin is None or origin.lower().partition(b"://")[2] == exchange.host.lower()


async def _token(exchange: Exchange) -> bytes | None:
    """What the client gave as token."""
    scheme, _, credentials = (exchange.first.get(b"authorization") or b"").partition(b" ")
    if scheme.lower() == b"bearer":
        return credentials.strip()
    if (exchange.first.get(b"expect") or b"").lower() == b"100-continue":
        exchange.interim(100, b"Continue", ())
    body = b""
    while part := await exchange.receive():
        body += part
    kind = (exchange.first.get(b"content-type") or b"").partition(b";")[0].strip().lower()
    if kind != b"application/x-www-form-urlencoded":
        return None
    fields = parse_qs(body.decode("latin-1"), encoding="latin-1")
    return fields["token"][0].encode("latin-1") if "token" in fields else None
