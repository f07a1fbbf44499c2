"""What happens to a request: it gets a lease on a node, and goes there."""

from __future__ import annotations

import asyncio
import logging
import re
from fnmatch import translate
from typing import TYPE_CHECKING

from rpi_clusterhat import BootError, PoolClosedError, PoolError, PoolState

from . import answers, cold
from .document import POLICY
from .fields import fewer_hops
from .forward import BadAnswerError, Forward, NodeError
from .retry import Retry
from .waiting_page import waiting_page

if TYPE_CHECKING:
    from rpi_clusterhat import AsyncNodePool, Lease

    from .exchange import Exchange
    from .node_connections import NodeConnections
    from .options import Options
    from .request_metrics import RequestMetrics

__all__ = ["Gateway"]

_COOKIE = b"clusterhat-node"
"""Brings a client that was shown the waiting page back to the node that starts for it, and not to another
one that would have to be started too."""

_MOMENT = 0.05
"""Seconds in which a node that has the supply to itself is on."""

_RESTART = 5.0
"""Seconds after which the next proxy is there, as clients are told by one that ends."""

_log = logging.getLogger("clusterhat_proxy")


def _patterns(globs: tuple[str, ...], flags: int = 0) -> re.Pattern[str] | None:
    return re.compile("|".join(map(translate, globs)), flags) if globs else None


class Gateway:
    """A handler for `server.Server`. Belongs to the pool's event loop."""

    def __init__(
        self, pool: AsyncNodePool, connections: NodeConnections, options: Options, metrics: RequestMetrics
    ) -> None:
        self._pool = pool
        self._connections = connections
        self._options = options
        self._metrics = metrics
        self._paths = _patterns(options.ignore_path)
        self._agents = _patterns(options.ignore_agent, re.IGNORECASE)
        self._name = options.hash_on.name.encode()

    async def __call__(self, exchange: Exchange) -> None:
        """Answers one request."""
        metrics = self._metrics
        metrics.in_flight += 1
        visit = _Visit()
        outcome = "aborted"
        try:
            await self._serve(exchange, visit)
            outcome = str(exchange.status or 101)
        except asyncio.CancelledError:
            why = exchange.cut_short
            if why == "left":
                outcome = "left"
            elif not exchange.begun:
                outcome = "504" if why == "server" else "408"
            raise
        finally:
            metrics.in_flight -= 1
            metrics.over(outcome, visit.temperature)
            if self._options.access_log:
                _log.info(
                    "%s %r %s %s", exchange.peer, exchange.target.decode("ascii"), outcome, visit.node or "-"
                )

    async def _serve(self, exchange: Exchange, visit: _Visit) -> None:
        if await self._is_last_hop(exchange):
            return
        forward = Forward(
            exchange,
            self._connections,
            timeout_server=self._options.timeout_server,
            timeout_tunnel=self._options.timeout_tunnel or 0.0,
        )
        passive = self._is_ignored(exchange)
        key = self._key(exchange)
        retry = Retry(self._connections, self._pool.now() + self._pool.settings.queue_timeout)
        tried: set[str] = set()
        trouble: NodeError | None = None
        wanted = self._promised(exchange)
        while True:
            timeout = None if trouble is None else max(0.0, retry.until - self._pool.now())
            lease = self._pool.lease(wanted, key=key, passive=passive, exclude=tried or None, timeout=timeout)
            try:
                if not await self._begin(exchange, lease, visit):
                    pass
                elif self._options.mode == "redirect":
                    await self._redirect(exchange, lease.node)
                else:
                    await self._forward(forward, lease)
            except NodeError as error:
                trouble = error
                node = lease.node
                boots = retry.is_still_booting(node, error)
                wanted = None
                if error.stale:
                    self._connections.forget(node)
                elif not isinstance(error, BadAnswerError):
                    lease.failed()
                    if boots:
                        wanted = node
                    else:
                        tried = self._others_than(node, tried)
                pause = retry.pause(forward, error, boots=boots, elsewhere=bool(tried) and not boots)
                if pause is None or self._pool.now() + pause > retry.until:
                    break
                self._metrics.retry()
                if pause:
                    await asyncio.sleep(pause)
            except PoolError as error:
                if wanted is None or not isinstance(error, BootError) or not self._pool.settings.redispatch:
                    await self._refuse(exchange, error)
                    return
                self._metrics.retry()
                tried = self._others_than(wanted, tried)  # any node will do
                wanted = None
            except asyncio.CancelledError:
                if exchange.cut_short == "server":
                    lease.failed()
                raise
            else:
                return
            finally:
                lease.release()
        _log.warning("%s: %s", visit.node, trouble)
        await self._fail(exchange, 502, str(trouble))

    async def _is_last_hop(self, exchange: Exchange) -> bool:
        """Whether the client wanted to get no further than here (``Max-Forwards``), and was answered."""
        if b"max-forwards" not in exchange.first or exchange.method not in (b"OPTIONS", b"TRACE"):
            return False
        if exchange.first[b"max-forwards"].strip(b"0") or not exchange.first[b"max-forwards"]:
            exchange.fields = fewer_hops(exchange.fields)
            return False
        await exchange.reply(204 if exchange.method == b"OPTIONS" else 501)
        return True

    def _others_than(self, node: str, tried: set[str]) -> set[str]:
        """What not to try next; nothing where there is no other."""
        tried = tried | {node}
        left = (n for n in self._pool.nodes.values() if n.name not in tried)
        return tried if any(n.state is not PoolState.FAILED for n in left) else set()

    async def _begin(self, exchange: Exchange, lease: Lease, visit: _Visit) -> bool:
        """Whether the lease has its node now. If not, the client was told to come again."""
        if lease.ask():
            visit.temperature = "warm" if visit.temperature == "none" else visit.temperature
        else:
            visit.temperature = "cold"
            answer = cold.decide(self._options.cold, exchange.method, exchange.first.get(b"accept"))
            if answer != "hold":
                visit.node = lease.node
                await self._ask_to_wait(exchange, lease, answer)
                return False
            await lease.wait()
        visit.node = lease.node
        return True

    async def _forward(self, forward: Forward, lease: Lease) -> None:
        try:
            await forward.run(lease.node, lease, self._upgraded)
        finally:
            self._metrics.tunnels -= forward.tunnelled

    def _upgraded(self) -> None:
        self._metrics.tunnels += 1

    async def _redirect(self, exchange: Exchange, node: str) -> None:
        host, port = self._connections.addresses[node]
        name = f"[{host}]" if ":" in host else host
        place = name if port == 80 else f"{name}:{port}"
        target = exchange.target if exchange.target.startswith(b"/") else b"/"
        location = f"http://{place}".encode() + target
        await exchange.reply(307, [(b"Location", location), (b"Cache-Control", b"no-store")])

    # Which node -------------------------------------------------------------------------------------------

    def _is_ignored(self, exchange: Exchange) -> bool:
        """Whether the request neither wakes a node nor keeps one awake."""
        if self._paths is not None:
            path = exchange.target.partition(b"?")[0].decode("ascii")
            if self._paths.match(path):
                return True
        if self._agents is not None:
            agent = (exchange.first.get(b"user-agent") or b"").decode("latin-1")
            return bool(self._agents.match(agent))
        return False

    def _key(self, exchange: Exchange) -> str | None:
        if self._options.balance != "hash":
            return None
        part = self._options.hash_on.part
        if part == "client":
            return exchange.peer
        if part == "path":
            return exchange.target.partition(b"?")[0].decode("ascii")
        value = exchange.first.get(self._name) if part == "header" else _cookie(exchange, self._name)
        return None if value is None else value.decode("latin-1")

    def _promised(self, exchange: Exchange) -> str | None:
        """Returns the node that a client was told to wait for, if that can still be so.

        A client that keeps its cookie for too long neither chooses its node nor keeps a node on.
        """
        if self._options.cold == "hold":
            return None
        said = _cookie(exchange, _COOKIE)
        node = self._pool.nodes.get(said.decode("latin-1")) if said else None
        if node is None or node.is_doubtful or node.in_flight >= self._pool.settings.maxconn:
            return None
        soon = self._pool.now() - node.on_since <= 2 * self._cookie_age
        return node.name if node.is_starting or (node.state is PoolState.READY and soon) else None

    @property
    def _cookie_age(self) -> int:
        return cold.retry_after(2 * self._pool.boot_time)

    # Answers of our own -----------------------------------------------------------------------------------

    async def _ask_to_wait(self, exchange: Exchange, lease: Lease, answer: str) -> None:
        node = lease.pooled_node
        if node is not None and node.state is PoolState.QUEUED:
            await asyncio.sleep(_MOMENT)  # it gets its power at once where nobody is before it
        estimate = lease.estimate()
        whole = self._pool.boot_time
        again = cold.retry_after(estimate)
        view = cold.Waiting(
            node=lease.node,
            state=str(node.state) if node else "full",
            elapsed=max(0.0, whole - estimate),
            expected=whole,
            queue=max(0, self._pool.waiting - 1),
            nodes={name: str(m.state) for name, m in self._pool.nodes.items()},
            retry_after=again,
        )
        head = [
            (b"Retry-After", b"%d" % again),
            (b"Cache-Control", b"no-store"),
            (b"Vary", b"Accept"),
        ]
        if lease.node:  # programs that keep cookies come back to it, too
            said = f"={lease.node}; Path=/; Max-Age={self._cookie_age}; HttpOnly; SameSite=Lax"
            head.append((b"Set-Cookie", _COOKIE + said.encode()))
        if answer == "problem":
            await exchange.reply(503, head, cold.waiting_problem(view), cold.CONTENT_TYPE["problem"])
            return
        head.append((b"Content-Security-Policy", POLICY))
        reload = exchange.method in (b"GET", b"HEAD")
        await exchange.reply(503, head, waiting_page(view, reload=reload), cold.CONTENT_TYPE["html"])

    async def _refuse(self, exchange: Exchange, error: PoolError) -> None:
        status = 504 if isinstance(error, TimeoutError) else 503
        seconds = error.retry_after
        if seconds is None and isinstance(error, PoolClosedError):
            seconds = _RESTART
        await self._fail(exchange, status, str(error), seconds)

    async def _fail(self, exchange: Exchange, status: int, detail: str, seconds: float | None = None) -> None:
        again = None if seconds is None else cold.retry_after(seconds)
        await answers.fail(exchange, status, detail, [(b"Vary", b"Accept")], retry_after=again)


class _Visit:
    """What is told of a request when it is over."""

    __slots__ = ("node", "temperature")

    def __init__(self) -> None:
        self.node = ""
        self.temperature = "none"


def _cookie(exchange: Exchange, name: bytes) -> bytes | None:
    for field, _, value in exchange.fields:
        if field == b"cookie":
            for pair in value.split(b";"):
                key, _, said = pair.strip().partition(b"=")
                if key == name:
                    return said
    return None
