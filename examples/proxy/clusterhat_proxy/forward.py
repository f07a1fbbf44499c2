"""One request to a node, and the node's answer to the client."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from .bodies import BodyError, Chunked
from .exchange import date
from .fields import PSEUDONYM, connection_options, end_to_end, is_upgrade, tokens, trailer_fields
from .messages import HeadError, Limits, chunk, last_chunk, lines, read_head, response
from .tunnel import tunnel

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine

    from rpi_clusterhat import Lease

    from .exchange import Exchange
    from .messages import ResponseHead
    from .node_connections import NodeConnections
    from .wire import Wire

__all__ = ["Forward", "NodeError"]

_IDEMPOTENT = frozenset([b"GET", b"HEAD", b"PUT", b"DELETE", b"OPTIONS", b"TRACE"])
_LIMITS = Limits(header_size=65536, request_line=65536, headers=200)


class NodeError(Exception):
    """A node could not be reached, or did not answer.

    Args:
        text: What happened.
        sent: Whether the node may have got the request.
        stale: Whether it only was a connection that had been kept open.
        silent: Whether not one byte of an answer came.
    """

    def __init__(self, text: str, *, sent: bool = True, stale: bool = False, silent: bool = False) -> None:
        super().__init__(text)
        self.sent = sent
        self.stale = stale
        self.silent = silent


class BadAnswerError(NodeError):
    """A node answered, and what it answered is no HTTP. To ask again is no use."""


class _CutShortError(Exception):
    """The node's answer ended, or broke, after its head."""


class Forward:
    """Sends one request to a node. May be tried again with another, as far as `NodeError` says."""

    def __init__(
        self,
        exchange: Exchange,
        connections: NodeConnections,
        *,
        timeout_server: float,
        timeout_tunnel: float,
    ) -> None:
        self._exchange = exchange
        self._connections = connections
        self._timeout = timeout_server
        self._patience: float | None = timeout_server
        """How long the node may be silent within its answer: in a stream of events as long as it likes."""
        self._silence = timeout_tunnel
        self._upgrade = (
            exchange.version >= b"1.1" and b"upgrade" in exchange.first and is_upgrade(exchange.fields)
        )
        self._chunked = b"transfer-encoding" in exchange.first
        self._idempotent = exchange.method in _IDEMPOTENT
        self._broken = False
        """Whether the client's body was no body."""
        self.tunnelled = False

    @property
    def repeatable(self) -> bool:
        """Whether the request may be sent again even if a node has got it."""
        return self._idempotent and self.kept

    @property
    def kept(self) -> bool:
        """Whether all of the request that has come can be sent again."""
        return self._exchange.kept is not None

    async def run(self, node: str, lease: Lease, upgraded: Callable[[], object]) -> None:
        """Sends the request to a node, and the node's response to the client.

        Args:
            node: The node's name.
            lease: The lease on it.
            upgraded: Is called when the connection becomes a tunnel.

        Raises:
            NodeError: The node failed, and the client has got nothing yet.
        """
        exchange = self._exchange
        wire = self._connections.take(node, repeatable=self.repeatable)
        fresh = wire is None
        if wire is None:
            try:
                wire = await self._connections.connect(node)
            except (OSError, TimeoutError) as error:
                text = f"{node} cannot be reached: {error or 'no answer'}"
                raise NodeError(text, sent=False, silent=True) from error
        body: asyncio.Task[None] | None = None
        whole = ended = False
        try:
            wire.write(self._head(node))
            if exchange.has_body:
                if exchange.at_hand:
                    wire.write(self._whole_body())
                else:
                    body = asyncio.create_task(self._send_body(wire, lease))
                    body.add_done_callback(partial(self._body_over, wire))
            if body is None:
                exchange.limit_server(self._timeout)
            try:
                head, rest = await self._answer(wire, body)
            except NodeError as error:
                error.stale = not fresh
                raise
            self._connections.answered.add(node)
            if head.status == 101:
                ended = await self._tunnel(wire, head, rest, lease, upgraded)
            else:
                whole = await self._relay(wire, head, rest, lease)
        finally:
            exchange.limit_server(None)
            if body is not None:
                whole = whole and body.done() and not body.cancelled() and body.exception() is None
                body.cancel()
            if whole:
                self._connections.give_back(node, wire)
            else:
                self._connections.drop(node, wire, gently=ended)
            if body is not None:  # at last: the client may leave meanwhile
                await asyncio.gather(body, return_exceptions=True)

    # The request ------------------------------------------------------------------------------------------

    def _head(self, node: str) -> bytes:
        exchange = self._exchange
        fields = end_to_end(exchange.fields, exchange.first)
        if not exchange.host and b"host" not in exchange.first:
            host, port = self._connections.addresses[node]
            fields.insert(0, (b"host", b"Host", f"{host}:{port}".encode()))
        if b"content-length" in exchange.first:  # 010 is ten, and no node is to take it for eight
            length = b"%d" % int(exchange.first[b"content-length"])
            fields = [(n, raw, length if n == b"content-length" else v) for n, raw, v in fields]
        if exchange.version < b"1.1":  # an expectation there means nothing
            fields = [field for field in fields if field[0] != b"expect"]
        fields = exchange.forwarding.add(fields, exchange.host, exchange.version)
        more: list[tuple[bytes, bytes]] = []
        if self._chunked:
            more.append((b"Transfer-Encoding", b"chunked"))
        if self._upgrade:
            more += [(b"Connection", b"Upgrade")]
            more += [(raw, value) for name, raw, value in exchange.fields if name == b"upgrade"]
        elif b"te" in exchange.first and b"trailers" in tokens(
            [value for name, _, value in exchange.fields if name == b"te"]
        ):
            more += [(b"TE", b"trailers"), (b"Connection", b"TE")]
        return lines(b"%b %b HTTP/1.1" % (exchange.method, exchange.target), fields, more)

    def _whole_body(self) -> bytes:
        exchange = self._exchange
        data = b"".join(exchange.kept or ())
        if not self._chunked:
            return data
        return (chunk(data) if data else b"") + last_chunk(self._trailers())

    def _trailers(self) -> list[tuple[bytes, bytes]]:
        return trailer_fields(self._exchange.trailers, self._exchange.fields)

    def _body_over(self, wire: Wire, body: asyncio.Task[None]) -> None:
        """A node that answers already waits for the rest of the body: there is none where that is broken."""
        if self._exchange.begun and not body.cancelled() and isinstance(body.exception(), HeadError):
            self._broken = True
            wire.abort()

    async def _parts(self) -> AsyncGenerator[bytes]:
        for data in list(self._exchange.kept or ()):
            yield data
        while data := await self._exchange.receive():
            yield data

    async def _send_body(self, wire: Wire, lease: Lease) -> None:
        exchange = self._exchange
        async for data in self._parts():
            lease.touch()
            wire.write(chunk(data) if self._chunked else data)
            if wire.paused or wire.lost:
                exchange.limit_server(self._timeout)
                await wire.drain()
                exchange.limit_server(None)
        if self._chunked:
            wire.write(last_chunk(self._trailers()))
        exchange.limit_server(self._patience if exchange.begun else self._timeout)

    # The answer -------------------------------------------------------------------------------------------

    async def _answer(self, wire: Wire, body: asyncio.Task[None] | None) -> tuple[ResponseHead, bytes]:
        """Reads the head of the final response, and passes interim ones on.

        Returns:
            The head, which may change the protocol, and the bytes that came after it.
        """
        exchange = self._exchange
        rest = b""
        while True:
            raw, rest = await self._read_head(wire, rest, body)
            try:
                head = response(raw, _LIMITS)
            except HeadError as error:
                raise BadAnswerError(f"the node sent an invalid response: {error}") from error
            if head.status >= 200:
                return head, rest
            if head.status == 101:
                if not self._upgrade:
                    raise BadAnswerError("the node changed the protocol without being asked to")
                if not exchange.done:
                    raise BadAnswerError("the node changed the protocol before it had the request")
                return head, rest
            fields = end_to_end(head.fields, head.first)
            exchange.interim(head.status, head.reason, [f for f in fields if f[0] != b"content-length"])
            await exchange.flush()

    async def _read_head(
        self, wire: Wire, rest: bytes, body: asyncio.Task[None] | None
    ) -> tuple[bytes, bytes]:
        reading = self._read_alone(wire, rest)
        if body is None or body.done():
            return await reading
        return await self._beside(body, reading)

    async def _read_alone(self, wire: Wire, rest: bytes) -> tuple[bytes, bytes]:
        try:
            raw, rest = await read_head(wire, rest, _LIMITS)
        except HeadError as error:
            if wire.ended:
                raise NodeError("the node closed the connection within the head of its response") from error
            raise BadAnswerError(f"the node sent an invalid response: {error}") from error
        if not raw:
            raise NodeError("the node closed the connection without a response", silent=True)
        return raw, rest

    async def _beside(
        self, body: asyncio.Task[None], reading: Coroutine[None, None, tuple[bytes, bytes]]
    ) -> tuple[bytes, bytes]:
        """Reads while the body is being sent; what goes wrong with the client's body ends both."""
        head = asyncio.create_task(reading)
        try:
            await asyncio.wait((head, body), return_when=asyncio.FIRST_COMPLETED)
            if body.done() and not head.done():
                error = body.exception()
                if error is not None and type(error) is not ConnectionResetError:
                    raise error
                # A node that takes no more may have said why.
                await asyncio.wait((head,))
            return head.result()
        finally:
            head.cancel()

    async def _relay(self, wire: Wire, head: ResponseHead, rest: bytes, lease: Lease) -> bool:
        """Passes the answer on as it comes. Whether the node's connection can be used again."""
        exchange = self._exchange
        first = head.first
        if first.get(b"content-type", b"").startswith(b"text/event-stream"):
            self._patience = None
        length = int(first[b"content-length"]) if b"content-length" in first else None
        bodyless = head.status in (204, 304) or exchange.method == b"HEAD"
        fields = [field for field in end_to_end(head.fields, head.first) if field[0] != b"content-length"]
        more = [(b"Via", head.version + b" " + PSEUDONYM)]
        if b"date" not in first:
            more.append(date())
        exchange.begin(
            head.status, head.reason, fields, more, length=length, none=bodyless and length is None
        )
        keep = head.version >= b"1.1" and b"close" not in connection_options(head.fields)
        trailers: list[tuple[bytes, bytes]] = []
        try:
            if bodyless:
                broken = head.status == 204 and (length or b"transfer-encoding" in first)
                keep = keep and not rest and not broken  # what it announced may still come
            elif b"transfer-encoding" in first:
                trailers, rest = await self._chunks(wire, rest, lease)
                keep = keep and not rest
            else:
                keep = await self._bytes(wire, length, rest, lease) and keep
        except _CutShortError as error:
            if not self._broken:
                lease.failed()
            raise ConnectionAbortedError(str(error)) from error  # what was sent must not look whole
        exchange.limit_server(None)
        await exchange.end(trailer_fields(trailers, head.fields) if trailers else ())
        return keep

    async def _more(self, wire: Wire, lease: Lease) -> bytes:
        """Sends what there is to the client, and waits for more of the node."""
        exchange = self._exchange
        exchange.limit_server(None)  # a client that is slow to take it is not the node's fault
        await exchange.flush()
        exchange.limit_server(self._patience)
        data = await wire.receive()
        lease.touch()
        return data

    async def _bytes(self, wire: Wire, length: int | None, data: bytes, lease: Lease) -> bool:
        """A body with a length, or up to the connection's end. Whether nothing came after it."""
        exchange = self._exchange
        left = length
        while left is None or left > 0:
            if not data:
                data = await self._more(wire, lease)
                if not data:
                    if left is None and not wire.lost:
                        return False
                    raise _CutShortError("the node closed the connection within its response")
            if left is not None:
                if len(data) > left:
                    exchange.send(data[:left])
                    return False
                left -= len(data)
            exchange.send(data)
            data = b""
        return not data

    async def _chunks(self, wire: Wire, data: bytes, lease: Lease) -> tuple[list[tuple[bytes, bytes]], bytes]:
        """A chunked body. Its trailers as they came, and what came after it."""
        body = Chunked(_LIMITS.header_size)
        body.receive(data)
        try:
            while (part := body.next()) != b"":
                if part is not None:
                    self._exchange.send(part)
                    continue
                data = await self._more(wire, lease)
                if not data:
                    raise _CutShortError("the node closed the connection within its response")
                body.receive(data)
        except BodyError as error:
            raise _CutShortError(str(error)) from error
        return body.trailers, body.rest

    async def _tunnel(
        self, wire: Wire, head: ResponseHead, rest: bytes, lease: Lease, upgraded: Callable[[], object]
    ) -> bool:
        """Whether both sides have ended as they should."""
        exchange = self._exchange
        exchange.limit_server(None)
        fields = end_to_end(head.fields, head.first)
        fields += [field for field in head.fields if field[0] == b"upgrade"]
        fields.append((b"connection", b"Connection", b"Upgrade"))
        exchange.interim(101, head.reason, fields)
        self.tunnelled = True
        upgraded()
        first = exchange.become_tunnel()
        after = rest + wire.take()
        await tunnel(exchange.wire, wire, first, after, lambda _: lease.touch(), self._silence)
        if exchange.wire.lost or wire.lost:
            raise ConnectionAbortedError
        return exchange.wire.ended or wire.ended
