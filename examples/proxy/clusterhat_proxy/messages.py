"""HTTP/1.1 messages (RFC 9112): strict heads in, plain bytes out.

h11 reads; what it would let pass and a gateway must not (two lengths, line folding, bare line feeds …) is
refused here before. Writing is ours, since a gateway passes on what it has read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import h11

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from h11._headers import Headers

    from .fields import Field
    from .wire import Wire

__all__ = [
    "HeadError",
    "Limits",
    "RequestHead",
    "ResponseHead",
    "chunk",
    "last_chunk",
    "lines",
    "read_head",
    "request",
    "response",
    "response_reader",
]

_BAD = re.compile(rb"(?<!\r)\n|\r(?=[^\n])|\n[ \t]|\0")
"""A bare line feed or carriage return, a folded line, a NUL."""

_LENGTHS = re.compile(rb"(?i)\ncontent-length:([^\r]*)")
_LENGTH = re.compile(rb"[ \t]*[0-9]{1,18}[ \t]*")
_HOST = re.compile(rb"(?:[\w.~%!$&'()*+,;=-]*|\[[\w:.%~-]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#]*)")

_END = h11.EndOfMessage()
_ASKED = {
    head: {
        upgrade: h11.Request(
            method="HEAD" if head else "GET",
            target="/",
            headers=[("Host", "-"), *([("Upgrade", "-"), ("Connection", "upgrade")] if upgrade else [])],
        )
        for upgrade in (False, True)
    }
    for head in (False, True)
}
"""What h11 has to know of a request to read its response."""


class HeadError(Exception):
    """A message that cannot be passed on. ``status`` is what its sender, a client, is answered."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Limits(NamedTuple):
    header_size: int = 32768
    """Bytes of a whole head."""
    request_line: int = 8192
    headers: int = 100
    """Number of fields."""


class RequestHead(NamedTuple):
    reader: h11.Connection
    """Reads what follows."""
    method: bytes
    version: bytes
    """``1.1`` or ``1.0``."""
    fields: list[Field]
    host: bytes
    target: bytes
    """In origin form, or ``*``."""


class ResponseHead(NamedTuple):
    reader: h11.Connection
    """Reads what follows."""
    status: int
    reason: bytes
    version: bytes
    fields: list[Field]


async def read_head(wire: Wire, data: bytes, limits: Limits) -> tuple[bytes, bytes]:
    """A head, and what came after it. ``data`` is what has come already. Empty where the connection ended
    before it began. Raises `HeadError`."""
    looked = 0
    while True:
        end = data.find(b"\r\n\r\n", max(0, looked - 3))
        if _BAD.search(data, max(0, looked - 1), end + 4 if end >= 0 else len(data)):
            raise HeadError(400, "a line of the head does not end as it must")
        if end >= 0:
            if end > limits.header_size:
                raise HeadError(431, f"the head is longer than {limits.header_size} bytes")
            return data[: end + 4], data[end + 4 :]
        if len(data) > limits.request_line and b"\r\n" not in data[: limits.request_line + 2]:
            raise HeadError(414, f"the first line is longer than {limits.request_line} bytes")
        if len(data) > limits.header_size:
            raise HeadError(431, f"the head is longer than {limits.header_size} bytes")
        looked = len(data)
        more = await wire.receive()
        if not more:
            if data:
                raise HeadError(400, "the connection ended within a head")
            return b"", b""
        data += more


def _fields(headers: Headers, limits: Limits) -> list[Field]:
    if len(headers) > limits.headers:
        raise HeadError(431, f"more than {limits.headers} fields")
    return [(name, raw, value) for (name, value), (raw, _) in zip(headers, headers.raw_items(), strict=True)]


def _check_framing(head: bytes, fields: Sequence[Field], version: bytes) -> None:
    codings = [value for name, _, value in fields if name == b"transfer-encoding"]
    if any(name == b"content-length" for name, _, _ in fields):
        lengths = _LENGTHS.findall(head)
        if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            raise HeadError(400, "Content-Length is not one number")
        if codings:
            raise HeadError(400, "Content-Length and Transfer-Encoding exclude each other")
    if codings:
        if version < b"1.1":
            raise HeadError(400, "there is no Transfer-Encoding in HTTP/1.0")
        if len(codings) != 1 or codings[0].lower() != b"chunked":
            raise HeadError(400, "the Transfer-Encoding is not known here")


def request(head: bytes, limits: Limits) -> RequestHead:
    """Reads the head of a request. Raises `HeadError`."""
    end = head.index(b"\r\n")
    if end > limits.request_line:
        raise HeadError(414, f"the request line is longer than {limits.request_line} bytes")
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_size)
    reader.receive_data(head)
    try:
        start = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError(400, str(error)) from error
    if not isinstance(start, h11.Request):
        raise HeadError(400, "this is no request")
    if not start.http_version.startswith(b"1."):
        raise HeadError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    fields = _fields(start.headers, limits)
    _check_framing(head, fields, start.http_version)
    host = next((value for name, _, value in fields if name == b"host"), b"")
    target = start.target
    if not target.startswith(b"/"):
        if start.method == b"CONNECT":
            raise HeadError(405, "this gateway opens no connections to elsewhere")
        absolute = _ABSOLUTE.match(target)
        if absolute:  # what it names counts more than Host, and neither says where it goes
            host = absolute[1]
            rest = target[absolute.end() :]
            target = rest if rest.startswith(b"/") else b"/" + rest
            fields = [(b"host", raw, host) if name == b"host" else (name, raw, v) for name, raw, v in fields]
        elif not (target == b"*" and start.method == b"OPTIONS"):
            raise HeadError(400, "the request target is no path")
    if not _HOST.fullmatch(host):
        raise HeadError(400, "the Host is no host")
    return RequestHead(reader, start.method, start.http_version, fields, host, target)


def response_reader(method: bytes, *, upgrade: bool) -> h11.Connection:
    """A reader for the response to such a request."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(_ASKED[method == b"HEAD"][upgrade])
    reader.send(_END)
    return reader


def response(head: bytes, reader: h11.Connection, limits: Limits) -> ResponseHead:
    """Reads the head of a response, or of an interim one. Raises `HeadError`."""
    reader.receive_data(head)
    try:
        start = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError(502, str(error)) from error
    if not isinstance(start, h11.Response | h11.InformationalResponse):
        raise HeadError(502, "this is no response")
    fields = _fields(start.headers, limits)
    _check_framing(head, fields, start.http_version)
    return ResponseHead(reader, start.status_code, start.reason, start.http_version, fields)


# Writing ------------------------------------------------------------------------------------------------


def lines(first: bytes, fields: Iterable[Field], more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A head."""
    parts = [first]
    for _, raw, value in fields:
        parts += (b"\r\n", raw, b": ", value)
    for raw, value in more:
        parts += (b"\r\n", raw, b": ", value)
    parts.append(b"\r\n\r\n")
    return b"".join(parts)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % trailer for trailer in trailers])
