"""HTTP/1.1 messages (RFC 9112): strict heads in, plain bytes out.

h11 reads heads; what it would let pass and a gateway must not (two lengths, line folding, bare line feeds …)
is refused here before. A head that is as plain as nearly all are is taken apart by a regular expression, with
the same outcome at a fifth of the cost. Writing is ours, since a gateway passes on what it has read.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import h11

if TYPE_CHECKING:
    from collections.abc import Iterable

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
]

_LENGTHS = re.compile(rb"(?i)\ncontent-length:([^\r]*)")
_LENGTH = re.compile(rb"[ \t]*[0-9]{1,18}[ \t]*")
_HOST = re.compile(rb"(?:[\w.~%!$&'()*+,;=-]*|\[[\w:.%~-]+\])(?::[0-9]*)?")
_ABSOLUTE = re.compile(rb"(?i)https?://([^/?#]+)")

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_VALUE = rb"[\t -~\x80-\xff]*"
_LINES = rb"\r\n((?:%b:%b\r\n)*)\r\n" % (_TOKEN, _VALUE)
_FIELD = re.compile(rb"(%b):(%b)\r\n" % (_TOKEN, _VALUE))
_PLAIN_REQUEST = re.compile(rb"(%b) ([!-~]+) HTTP/(1\.[0-9])%b" % (_TOKEN, _LINES))
_PLAIN_RESPONSE = re.compile(rb"HTTP/(1\.[0-9]) ([2-9][0-9][0-9])(?: (%b))?%b" % (_VALUE, _LINES))

_INTERIM = re.compile(rb"HTTP/1\.[0-9] 1")
_ASKED = {
    False: h11.Request(method="GET", target="/", headers=[("Host", "-")]),
    True: h11.Request(
        method="GET", target="/", headers=[("Host", "-"), ("Upgrade", "-"), ("Connection", "upgrade")]
    ),
}


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
    """A head, and what came after it. ``data`` is what has come already. Empty where the connection ended
    before it began. Raises `HeadError`."""
    looked = 0
    while True:
        end = data.find(b"\r\n\r\n", max(0, looked - 3))
        head, rest = (data, b"") if end < 0 else (data[: end + 4], data[end + 4 :])
        if _is_malformed(head):
            raise HeadError(400, "a line of the head does not end as it must")
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
    """Whether there is a bare line feed or carriage return, a folded line or a NUL; counting costs a tenth of
    what a regular expression does. The last byte may be half a line's end."""
    ends = head.count(b"\r\n")
    return (
        head.count(b"\n") != ends
        or head.count(b"\r", 0, -1) != ends
        or b"\n " in head
        or b"\n\t" in head
        or b"\0" in head
    )


def _plain_fields(block: bytes, limits: Limits) -> tuple[list[Field], dict[bytes, bytes], list[bytes]]:
    """Fields, the first value of each, and the names of all."""
    fields = [(raw.lower(), raw, value.strip(b" \t")) for raw, value in _FIELD.findall(block)]
    return *_counted(fields, limits), [field[0] for field in fields]


def _fields(headers: Headers, limits: Limits) -> tuple[list[Field], dict[bytes, bytes]]:
    return _counted([(raw.lower(), raw, value) for raw, value in headers.raw_items()], limits)


def _counted(fields: list[Field], limits: Limits) -> tuple[list[Field], dict[bytes, bytes]]:
    if len(fields) > limits.headers:
        raise HeadError(431, f"more than {limits.headers} fields")
    return fields, {name: value for name, _, value in reversed(fields)}


def _check_framing(head: bytes, first: dict[bytes, bytes], version: bytes) -> None:
    coding = first.get(b"transfer-encoding")
    if b"content-length" in first:
        lengths = _LENGTHS.findall(head)
        if len(lengths) != 1 or not _LENGTH.fullmatch(lengths[0]):
            raise HeadError(400, "Content-Length is not one number")
        if coding is not None:
            raise HeadError(400, "Content-Length and Transfer-Encoding exclude each other")
    if coding is not None:
        if version < b"1.1":
            raise HeadError(400, "there is no Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            raise HeadError(400, "the Transfer-Encoding is not known here")


def request(head: bytes, limits: Limits) -> RequestHead:
    """Reads the head of a request. Raises `HeadError`."""
    end = head.index(b"\r\n")
    if end > limits.request_line:
        raise HeadError(414, f"the request line is longer than {limits.request_line} bytes")
    method, target, version, fields, first = _read_request(head, limits)
    _check_framing(head, first, version)
    if method == b"CONNECT":
        raise HeadError(501, "this gateway opens no connections to elsewhere")
    if b"host" not in first and version > b"1.0":
        raise HeadError(400, "there is no Host")
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
            raise HeadError(400, "the request target is no path")
    if not _HOST.fullmatch(host):
        raise HeadError(400, "the Host is no host")
    return RequestHead(method, version, fields, first, host, target)


def _read_request(head: bytes, limits: Limits) -> tuple[bytes, bytes, bytes, list[Field], dict[bytes, bytes]]:
    """Method, target, version, fields, and the first value of each."""
    plain = _PLAIN_REQUEST.fullmatch(head)
    if plain is not None:
        method, target, version, block = plain.groups()
        fields, first, names = _plain_fields(block, limits)
        if names.count(b"host") == 1 and b"transfer-encoding" not in first:
            return method, target, version, fields, first
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_size)
    reader.receive_data(head)
    try:
        start = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError(400, _what(error)) from error
    if not isinstance(start, h11.Request):
        raise HeadError(400, "this is no request")
    if not start.http_version.startswith(b"1."):
        raise HeadError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return start.method, start.target, start.http_version, *_fields(start.headers, limits)


def _what(error: h11.RemoteProtocolError) -> str:
    """Without the bytes that it quotes."""
    return str(error).partition(":")[0]


def response(head: bytes, limits: Limits, *, upgrade: bool = False) -> ResponseHead:
    """Reads the head of a response, or of an interim one. upgrade: whether one was asked for. Raises
    `HeadError`."""
    plain = _PLAIN_RESPONSE.fullmatch(head)
    if plain is not None:
        version, status, reason, block = plain.groups()
        fields, first, _ = _plain_fields(block, limits)
        if b"transfer-encoding" not in first:
            _check_framing(head, first, version)
            return ResponseHead(int(status), reason or b"", version, fields, first)
    reader = h11.Connection(h11.CLIENT)
    if _INTERIM.match(head):  # only then h11 has to know what was asked
        reader.send(_ASKED[upgrade])
    reader.receive_data(head)
    try:
        start = reader.next_event()
    except h11.RemoteProtocolError as error:
        raise HeadError(502, _what(error)) from error
    if not isinstance(start, h11.Response | h11.InformationalResponse):
        raise HeadError(502, "this is no response")
    if not start.http_version.startswith(b"1."):
        raise HeadError(502, "this is not HTTP/1.1")
    fields, first = _fields(start.headers, limits)
    _check_framing(head, first, start.http_version)
    return ResponseHead(start.status_code, start.reason, start.http_version, fields, first)


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
