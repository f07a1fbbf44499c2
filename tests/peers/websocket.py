"""A WebSocket that echoes messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from wsproto import ConnectionType, WSConnection
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Request,
    TextMessage,
)
from wsproto.utilities import RemoteProtocolError

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter

__all__ = ["echo"]


async def echo(head: bytes, ahead: bytes, reader: StreamReader, writer: StreamWriter) -> None:
    """Takes the connection from its request on: that, what came after it so far, and the rest."""
    socket = _Echo()
    writer.write(socket.take(head))
    data = ahead or await reader.read(1 << 16)
    while data and not socket.closed:
        writer.write(socket.take(data))
        await writer.drain()
        data = b"" if socket.closed else await reader.read(1 << 16)


class _Echo:
    def __init__(self) -> None:
        self.closed = False
        self._connection = WSConnection(ConnectionType.SERVER)
        self._text: list[str] = []
        self._bytes: list[bytes] = []

    def take(self, data: bytes) -> bytes:
        """What to send for these bytes."""
        connection = self._connection
        try:
            connection.receive_data(data)
            return b"".join(
                connection.send(answer) for event in connection.events() for answer in self._to(event)
            )
        except RemoteProtocolError as error:
            self.closed = True
            return b"" if error.event_hint is None else connection.send(error.event_hint)

    def _to(self, event: Event) -> list[Event]:
        if isinstance(event, Request):
            return [AcceptConnection()]
        if isinstance(event, Ping):
            return [event.response()]
        if isinstance(event, CloseConnection):
            self.closed = True
            return [event.response()]
        if isinstance(event, TextMessage):
            self._text.append(event.data)
            if event.message_finished:
                whole, self._text = "".join(self._text), []
                return [TextMessage(whole)]
        if isinstance(event, BytesMessage):
            self._bytes.append(bytes(event.data))
            if event.message_finished:
                whole_bytes, self._bytes = b"".join(self._bytes), []
                return [BytesMessage(whole_bytes)]
        return []
