"""HTTP/1.1 messages (RFC 9112): strict heads in, plain bytes out.

One reader for both sides. It is strict where another reader might see another message (two lengths, folded
lines, bare line feeds …), and lenient nowhere: the tests hold it beside h11. Writing passes on what was read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

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
]

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]++"
_TEXT = rb"[^\0\n\v\f\r]*+"
_REQUEST_LINE = re.compile(rb"(%b) ([!-~]++) HTTP/([0-9]\.[0-9])\r\n" % _TOKEN)
_STATUS_LINE = re.compile(rb"HTTP/([0-9]\.[0-9]) ([1-9][0-9][0-9])(?: (%b))?+\r\n" % _TEXT)
_FIELDS = re.compile(rb"(?:%b:%b\r\n)*+\r\n" % (_TOKEN, _TEXT))
_FIELD = re.compile(rb"(%b):(%b)\r\n" % (_TOKEN, _TEXT))

_LENGTH = re.compile(rb"[0-9]{1,18}")
_HOST = re.compile(rb"(?:[\w.~%!$&'()*+,;=-]*|\[[\w:.%~-]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#]+)")


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
    method: bytes
    version: bytes
    """``1.1`` or ``1.0``."""
    fields: list[Field]
    first: dict[bytes, bytes]
    """The first value of each field, by its name in lower case."""
    host: bytes
    target: bytes
    """In origin form, or ``*``."""


class ResponseHead(NamedTuple):
    status: int
    reason: bytes
    version: bytes
    fields: list[Field]
    first: dict[bytes, bytes]


async def read_head(wire: Wire, data: bytes, limits: Limits) -> tuple[bytes, bytes]:
    """Reads a head.

    Args:
        wire: Where to read from.
        data: The bytes that have come already.
        limits: How long the head may be.

    Returns:
        The head, which is empty if the connection ended before it, and the bytes that came after it.

    Raises:
        HeadError: The head is malformed or too long.
    """
    looked = 0
    while True:
        end = data.find(b"\r\n\r\n", max(0, looked - 3))
        head, rest = (data, b"") if end < 0 else (data[: end + 4], data[end + 4 :])
        if _is_malformed(head):
            raise HeadError(400, "invalid end of a line")
        if len(head) > limits.request_line and b"\r\n" not in head[: limits.request_line + 2]:
            raise HeadError(414, f"the first line is longer than {limits.request_line} bytes")
        if len(head) > limits.header_size:
            raise HeadError(431, f"the head is longer than {limits.header_size} bytes")
        if end >= 0:
            return head, rest
        looked = len(data)
        more = await wire.receive()
        if not more:
            if data:
                raise HeadError(400, "the connection ended within a head")
            return b"", b""
        data += more


def _is_malformed(head: bytes) -> bool:
    """Returns whether there is a bare line feed or carriage return, a folded line or a NUL.

    Such a head is refused before it is complete. The last byte may be half a line's end.
    """
    ends = head.count(b"\r\n")
    return (
        head.count(b"\n") != ends
        or head.count(b"\r", 0, -1) != ends
        or b"\n " in head
        or b"\n\t" in head
        or b"\0" in head
    )


def _read_fields(head: bytes, start: int, limits: Limits) -> tuple[list[Field], dict[bytes, bytes]]:
    """The fields of a head from there on, and the first value of each."""
    if not _FIELDS.fullmatch(head, start):
        raise HeadError(400, "invalid header field")
    fields = [(raw.lower(), raw, value.strip(b" \t")) for raw, value in _FIELD.findall(head, start)]
    if len(fields) > limits.headers:
        raise HeadError(431, f"more than {limits.headers} fields")
    first = {name: value for name, _, value in reversed(fields)}
    return fields, first


def _check_framing(fields: list[Field], first: dict[bytes, bytes], version: bytes) -> None:
    if len(first) < len(fields):
        _check_single(fields, b"Content-Length")
        _check_single(fields, b"Transfer-Encoding")
    length, coding = first.get(b"content-length"), first.get(b"transfer-encoding")
    if length is not None:
        if not _LENGTH.fullmatch(length):
            raise HeadError(400, "invalid Content-Length")
        if coding is not None:
            raise HeadError(400, "Content-Length and Transfer-Encoding exclude each other")
    elif coding is not None:
        if version < b"1.1":
            raise HeadError(400, "Transfer-Encoding is not allowed in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise HeadError(400, "unsupported Transfer-Encoding")


def _check_single(fields: list[Field], name: bytes) -> None:
    low = name.lower()
    if sum(field[0] == low for field in fields) > 1:
        raise HeadError(400, f"more than one {name.decode()}")


def request(head: bytes, limits: Limits) -> RequestHead:
    """Reads the head of a request. Raises `HeadError`."""
    end = head.index(b"\r\n")
    if end > limits.request_line:
        raise HeadError(414, f"the request line is longer than {limits.request_line} bytes")
    line = _REQUEST_LINE.match(head)
    if line is None:
        raise HeadError(400, "invalid request line")
    method, target, version = line.groups()
    if not version.startswith(b"1."):
        raise HeadError(505, "only HTTP/1.1 and HTTP/1.0 are supported")
    fields, first = _read_fields(head, line.end(), limits)
    _check_framing(fields, first, version)
    if method == b"CONNECT":
        raise HeadError(501, "this gateway opens no connections to elsewhere")
    if len(first) < len(fields):
        _check_single(fields, b"Host")
    if b"host" not in first and version > b"1.0":
        raise HeadError(400, "Host is missing")
    host = first.get(b"host", b"")
    if not target.startswith(b"/"):
        absolute = _ABSOLUTE.match(target)
        if absolute:  # what it names counts more than Host, and neither says where it goes
            host = absolute[1]
            target = target[absolute.end() :]
            if not target.startswith(b"/"):
                target = b"/" + target if target or method != b"OPTIONS" else b"*"
            fields = [(b"host", b"Host", host), *(field for field in fields if field[0] != b"host")]
        elif not (target == b"*" and method == b"OPTIONS"):
            raise HeadError(400, "invalid request target")
    if not _HOST.fullmatch(host):
        raise HeadError(400, "invalid Host")
    return RequestHead(method, version, fields, first, host, target)


def response(head: bytes, limits: Limits) -> ResponseHead:
    """Reads the head of a response, or of an interim one. Raises `HeadError`."""
    line = _STATUS_LINE.match(head)
    if line is None:
        raise HeadError(502, "invalid status line")
    version, status, reason = line.groups()
    if not version.startswith(b"1."):
        raise HeadError(502, "only HTTP/1.1 and HTTP/1.0 are supported")
    fields, first = _read_fields(head, line.end(), limits)
    _check_framing(fields, first, version)
    return ResponseHead(int(status), reason or b"", version, fields, first)


# Writing ------------------------------------------------------------------------------------------------


def lines(first: bytes, fields: Iterable[Field], more: Iterable[tuple[bytes, bytes]] = ()) -> bytes:
    """A head."""
    parts = [first]
    parts += [raw + b": " + value for _, raw, value in fields]
    parts += [raw + b": " + value for raw, value in more]
    parts.append(b"\r\n")
    return b"\r\n".join(parts)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def last_chunk(trailers: Iterable[tuple[bytes, bytes]]) -> bytes:
    return b"0\r\n%b\r\n" % b"".join([b"%b: %b\r\n" % trailer for trailer in trailers])
