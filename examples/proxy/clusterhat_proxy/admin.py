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

import asyncio
import hmac
import ipaddress
import json
import math
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from rpi_clusterhat import ClusterHatError, State

from . import cold, pages
from .exchange import date
from .messages import Limits
from .metrics import Metrics
from .options import Address
from .server import Server, ServerSettings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from rpi_clusterhat import AsyncNodePool
    from rpi_clusterhat.pool.scheduler import Member

    from .exchange import Exchange
    from .options import Options
    from .stats import Stats

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

LOOK_INTERVAL = 0.2
"""Seconds between two looks at what the pool and the proxy count, while somebody watches."""

READ_INTERVAL = 0.5
"""Seconds between two readings of the lines then, which find what others have switched."""

TICK = 1.0
"""Seconds after which a message is sent though nothing but the time has changed."""

HEARTBEAT = 15.0
"""Seconds of silence, as when a reading hangs, after which a comment shows whether the viewer is there."""

WRONG_TOKEN_DELAY = 0.5

_SWITCH = re.compile(rb"/nodes/([^/]+)/(on|off)")
_NO_STORE = (b"Cache-Control", b"no-store")
_JSON = b"application/json"


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
        self.server = Server(self, SETTINGS)
        self._pool = pool
        self._proxy = proxy
        self._token = None if options.admin_token is None else options.admin_token.encode()
        self._name = "" if options.admin is None else options.admin.host
        self._metrics = Metrics(pool, stats, proxy)
        self._state = _State(pool, stats, proxy, options, addresses)
        self._live = _Live(self._state)
        pool.subscribe(lambda _: self._live.changed.set())
        self._pages: dict[bytes, Callable[[Exchange], Awaitable[None]]] = {
            b"/": self._page,
            b"/healthz": self._healthz,
            b"/readyz": self._readyz,
            b"/metrics": self._show_metrics,
            b"/status": self._status,
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
                    await self._switch(exchange, switch[1].decode("ascii"), on=switch[2] == b"on")
            except ClusterHatError as error:
                if exchange.begun:
                    raise
                await _fail(exchange, 500, _line(error))

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
        await exchange.reply(200, [_NO_STORE], b"ok\n")

    async def _readyz(self, exchange: Exchange) -> None:
        if self._proxy.draining:
            text = f"draining: no new connections, {self._proxy.busy} requests under way\n"
            await exchange.reply(503, [_NO_STORE], text.encode())
        else:
            await exchange.reply(200, [_NO_STORE], b"ready\n")

    async def _show_metrics(self, exchange: Exchange) -> None:
        accept = (exchange.first.get(b"accept") or b"").decode("latin-1")
        text, kind = await self._metrics.text(accept)
        await exchange.reply(200, [_NO_STORE], text, kind.encode())

    async def _status(self, exchange: Exchange) -> None:
        await self._state.read()
        await exchange.reply(200, [_NO_STORE], _json(self._state.as_dict()) + b"\n", _JSON)

    # For people -------------------------------------------------------------------------------------------

    async def _page(self, exchange: Exchange) -> None:
        await self._state.read()
        page = pages.status_page(self._state.as_dict(), switch=self._token is not None)
        head = [_NO_STORE, (b"Content-Security-Policy", pages.STATUS_POLICY)]
        await exchange.reply(200, head, page, cold.CONTENT_TYPE["html"])

    async def _events(self, exchange: Exchange) -> None:
        if self._live.viewers >= MOST_VIEWERS:
            text = f"{MOST_VIEWERS} watch already, and no more may"
            await _fail(exchange, 503, text, [(b"Retry-After", b"5")])
            return
        head = [
            date(),
            (b"Content-Type", b"text/event-stream"),
            _NO_STORE,
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

    # Switching by hand ------------------------------------------------------------------------------------

    async def _switch(self, exchange: Exchange, name: str, *, on: bool) -> None:
        if self._token is None:
            await _fail(exchange, 403, "switching by hand is off: give --admin-token-file")
            return
        if not _is_same_origin(exchange):
            await _fail(exchange, 403, "this request comes from a page of another site")
            return
        given = await _token(exchange)
        if given is None or not hmac.compare_digest(given, self._token):
            await asyncio.sleep(WRONG_TOKEN_DELAY)
            await _fail(exchange, 403, "the token is wrong" if given else "the token is missing")
            return
        member = self._pool.members.get(name)
        if member is None:
            await _fail(exchange, 404, f"there is no such node: there are {', '.join(self._pool.members)}")
            return
        status, done, detail = self._wake(member) if on else self._rest(member)
        if not _wants_page(exchange):
            result = {"node": name, "done": done, "detail": detail}
            await exchange.reply(status, [_NO_STORE], _json(result) + b"\n", _JSON)
        elif status == 200:
            await exchange.reply(303, [_NO_STORE, (b"Location", b"/")])
        else:
            await _fail(exchange, status, detail)

    def _wake(self, member: Member) -> tuple[int, bool, str]:
        """The status of the answer, whether anything is switched, and what is to be said."""
        name = member.name
        if self._pool.wake(name):
            return 200, True, f"{name} starts"
        if member.state is State.READY:
            return 200, False, f"{name} is on"
        if member.starting:
            return 200, False, f"{name} starts already"
        if member.state is State.FAILED:
            return 409, False, f"{name} failed, and is left alone for a while: {member.failure}"
        return 409, False, f"{name} is just going off" if member.state is State.STOPPING else "the proxy ends"

    def _rest(self, member: Member) -> tuple[int, bool, str]:
        name = member.name
        if self._pool.rest(name):
            return 200, True, f"{name} goes off"
        if member.state is State.OFF:
            return 200, False, f"{name} is off"
        if member.state is State.STOPPING:
            return 200, False, f"{name} goes off already"
        if member.in_flight:
            return (
                409,
                False,
                f"{name} is in use: {member.held} in flight, {len(member.queued)} waiting for it",
            )
        if member.starting:
            return 409, False, f"{name} starts: it can be switched off once it is ready"
        return 409, False, f"{name} failed, and is left alone for a while: {member.failure}"


class _State:
    """What `/status` says: what was last read from the lines, and what the pool and the proxy count now."""

    def __init__(
        self,
        pool: AsyncNodePool,
        stats: Stats,
        proxy: Server,
        options: Options,
        addresses: Mapping[str, tuple[str, int]],
    ) -> None:
        self._pool = pool
        self._stats = stats
        self._proxy = proxy
        self._addresses = {name: str(Address(*address)) for name, address in addresses.items()}
        forever = options.idle_timeout == math.inf
        self._settings = {
            "balance": options.balance,
            "mode": options.mode,
            "cold": options.cold,
            "idle_timeout": None if forever else options.idle_timeout,
        }
        self._lines: dict[str, Any] = {}
        self._reading = asyncio.Lock()
        self._begun = self._read = 0
        """The numbers of the last reading, and of the last one that succeeded."""

    @property
    def is_read(self) -> bool:
        return bool(self._lines)

    async def read(self) -> None:
        """Reads the lines, unless a reading that began after this call has done so. Raises
        `ClusterHatError`."""
        begun = self._begun
        async with self._reading:
            if self._read <= begun:
                self._begun = number = self._begun + 1
                self._lines = (await self._pool.cluster.status()).as_dict()
                self._read = number

    def states(self) -> list[State]:
        return [member.state for member in self._pool.members.values()]

    def counts(self) -> tuple[object, ...]:
        """Changes with everything that is shown, but not with the time."""
        nodes = [self._node(member) for member in self._pool.members.values()]
        return nodes, self._totals(), self._lines

    def as_dict(self) -> dict[str, Any]:
        """What can be JSON. Times are in seconds; null where there is none. Once the lines were read."""
        now = self._pool.now()
        nodes: dict[str, dict[str, Any]] = {}
        for name, line in self._lines["nodes"].items():
            member = self._pool.members[name]
            nodes[name] = {**line, **self._node(member), **self._times(member, now)}
            if _knows_more(member.state, powered=line["powered"]):
                nodes[name]["state"] = str(member.state)
        uptime = asyncio.get_running_loop().time() - self._stats.started
        return {**self._lines, "nodes": nodes, "proxy": {**self._totals(), "uptime": round(uptime, 3)}}

    def _node(self, member: Member) -> dict[str, Any]:
        facts: dict[str, Any] = {
            "in_flight": member.held,
            "waiting": len(member.queued) + len(member.queue),
            "boots": member.boots,
            "last_boot_seconds": _rounded(member.last_boot),
            "address": self._addresses.get(member.name),
        }
        if member.failure is not None:
            facts["failure"] = member.failure
        return facts

    def _times(self, member: Member, now: float) -> dict[str, float | None]:
        due = self._pool.core.due_at(member.name)
        return {
            "last_activity": _rounded(now - member.last_active),
            "idle_off_in": _rounded(max(0.0, due - now)),
            "seconds_powered": _rounded(member.powered_for(now)),
        }

    def _totals(self) -> dict[str, Any]:
        stats = self._stats
        return {
            "in_flight": stats.in_flight,
            "waiting": self._pool.waiting,
            "tunnels": stats.tunnels,
            "requests": sum(stats.requests.values()),
            "retries": stats.retries,
            "connections": len(self._proxy.connections),
            "draining": self._proxy.draining,
            **self._settings,
        }


def _knows_more(state: State, *, powered: bool) -> bool:
    """Whether the pool's state says more than the line, and is not behind it: others may have switched."""
    return state in (State.QUEUED, State.FAILED) or (powered and state in (State.READY, State.STOPPING))


class _Live:
    """Messages of the event stream, made once for all who watch, and only while there are any."""

    def __init__(self, state: _State) -> None:
        self.viewers = 0
        self.changed = asyncio.Event()
        """To be set when something has happened; what is only counted is looked for."""
        self._state = state
        self._number = 0
        self._message = b""
        self._next = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def enter(self) -> None:
        self.viewers += 1
        if self._task is None:
            self._number = 0
            self._task = asyncio.get_running_loop().create_task(self._watch())

    def leave(self) -> None:
        self.viewers -= 1
        if not self.viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def after(self, seen: int) -> tuple[int, bytes]:
        """The newest message and its number, as soon as that is not the one seen last; else a comment."""
        if self._number == seen and not await _is_set(self._next, HEARTBEAT):
            if self._task is not None and self._task.done():
                self._task.result()  # what it raised: there will be no more messages
            return seen, b":\n\n"
        return self._number, self._message

    async def _watch(self) -> None:
        state = self._state
        now = asyncio.get_running_loop().time
        read_at = sent_at = -math.inf
        states: list[State] = []
        shown: object = None
        trouble: str | None = None
        while True:
            self.changed.clear()
            if state.states() != states or now() - read_at >= READ_INTERVAL:
                states = state.states()
                trouble = await self._read()
                read_at = now()
            counts = (trouble, state.counts())
            if counts != shown or now() - sent_at >= TICK:
                self._send(trouble)
                shown, sent_at = counts, now()
            await _is_set(self.changed, LOOK_INTERVAL)

    async def _read(self) -> str | None:
        """What went wrong."""
        try:
            await self._state.read()
        except ClusterHatError as error:
            return _line(error)
        return None

    def _send(self, trouble: str | None) -> None:
        more = {} if trouble is None else {"trouble": trouble}
        if self._state.is_read:
            self._message = b"data: " + _json({**self._state.as_dict(), **more}) + b"\n\n"
        else:
            self._message = b"event: trouble\ndata: " + _json(more) + b"\n\n"
        self._number += 1
        news, self._next = self._next, asyncio.Event()
        news.set()


# Requests and answers -----------------------------------------------------------------------------------


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Whether it is, within so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True


def _is_same_origin(exchange: Exchange) -> bool:
    """As far as the client says; what is no browser says nothing. TLS may end before this server, so that
    schemes are not compared."""
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


def _wants_page(exchange: Exchange) -> bool:
    return cold.decide("page", b"GET", exchange.first.get(b"accept")) == "html"


async def _fail(
    exchange: Exchange, status: int, detail: str, more: Sequence[tuple[bytes, bytes]] = ()
) -> None:
    title = HTTPStatus(status).phrase
    head = [_NO_STORE, *more]
    if _wants_page(exchange):
        head.append((b"Content-Security-Policy", pages.STATUS_POLICY))
        await exchange.reply(status, head, pages.error_page(status, title, detail), cold.CONTENT_TYPE["html"])
    else:
        body = cold.problem(status, title, detail)
        await exchange.reply(status, head, body, cold.CONTENT_TYPE["problem"])


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _rounded(seconds: float | None) -> float | None:
    """None also for what never was, or never will be."""
    return None if seconds is None or math.isinf(seconds) else round(seconds, 3)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
