"""What a simulated node serves: an echo of the request, as JSON, and as a page for people.

    {"node", "method", "target", "version", "headers": [[name, value], …],
     "body": {"length", "sha256"}, "peer": [host, port], "requests": on this connection so far}

Text in it is the bytes as ISO 8859-1. Who asks for ``text/html``, as browsers do, gets the same as a page.
It is for trying things out, not a web server.

Another service takes its place with the option ``service``: see `load_service`.
"""

from __future__ import annotations

import asyncio
import re
from hashlib import sha256
from html import escape
from http import HTTPStatus
from json import dumps
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable

    from .listener import Handler

    Service = Callable[[str], Handler]
    """Called with the node's name each time that the node has booted."""

__all__ = ["Echo", "load_service"]

MAX_HEAD = 65536
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n")


class _RefusedError(Exception):
    """The request is answered with this status, and the connection ends."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Request:
    """A request line and its fields.

    An ambiguous head is refused, so that a gateway in front of the node cannot pass it on unseen.
    """

    def __init__(self, head: bytes) -> None:
        text = head[:-4].decode("latin-1")
        if re.search(r"\0|(?<!\r)\n|\r(?!\n)", text):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a bare CR, LF or NUL is in the header")
        line, *lines = text.split("\r\n")
        parts = line.split(" ")
        if len(parts) != 3 or not _TOKEN.fullmatch(parts[0]) or not parts[1]:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"invalid request line: {line[:100]!r}")
        self.method, self.target, self.version = parts
        if self.version not in ("HTTP/1.1", "HTTP/1.0"):
            raise _RefusedError(
                HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, f"unsupported version: {self.version!r}"
            )
        self.fields: list[tuple[str, str]] = []
        for field in lines:
            name, colon, value = field.partition(":")
            if not colon or not _TOKEN.fullmatch(name):
                raise _RefusedError(HTTPStatus.BAD_REQUEST, f"invalid field: {field[:100]!r}")
            self.fields.append((name, value.strip(" \t")))
        self._frame()

    def _frame(self) -> None:
        modern = self.version == "HTTP/1.1"
        hosts, lengths, codings = map(self.values, ("host", "content-length", "transfer-encoding"))
        if len(hosts) > 1 or (modern and not hosts):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"there are {len(hosts)} Host fields")
        if codings and (lengths or not modern):
            raise _RefusedError(
                HTTPStatus.BAD_REQUEST, "Transfer-Encoding beside Content-Length, or in HTTP/1.0"
            )
        if codings and [coding.lower() for coding in codings] != ["chunked"]:
            raise _RefusedError(
                HTTPStatus.NOT_IMPLEMENTED, f"unknown transfer coding: {', '.join(codings)!r}"
            )
        if lengths and (len(lengths) > 1 or not re.fullmatch("[0-9]{1,18}", lengths[0])):
            raise _RefusedError(HTTPStatus.BAD_REQUEST, f"invalid Content-Length: {', '.join(lengths)!r}")
        self.chunked = bool(codings)
        self.length = int(lengths[0]) if lengths else 0
        self.expects = modern and "100-continue" in self.tokens("expect")
        connection = self.tokens("connection")
        self.keep_alive = "close" not in connection if modern else "keep-alive" in connection

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name]

    def tokens(self, name: str) -> list[str]:
        return [token.strip().lower() for value in self.values(name) for token in value.split(",")]


class Echo:
    """The echo on one node."""

    def __init__(self, node: str) -> None:
        self._node = node

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection, requests one after the other."""
        count = 0
        keep_alive = True
        try:
            while keep_alive:
                request = _Request(await _read_head(reader))
                if request.expects and (request.chunked or request.length):
                    writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                count += 1
                keep_alive = request.keep_alive
                self._answer(writer, request, await _read_body(reader, request), count)
                await writer.drain()
        except asyncio.IncompleteReadError:  # the client has said all
            pass
        except _RefusedError as refused:
            told = {"node": self._node, "error": str(refused)}
            _send(writer, refused.status, "application/json", dumps(told), "close")

    def _answer(
        self, writer: asyncio.StreamWriter, request: _Request, body: dict[str, Any], count: int
    ) -> None:
        told: dict[str, Any] = {
            "node": self._node,
            "method": request.method,
            "target": request.target,
            "version": request.version,
            "headers": request.fields,
            "body": body,
            "peer": writer.get_extra_info("peername")[:2],
            "requests": count,
        }
        for_people = any(token.partition(";")[0].strip() == "text/html" for token in request.tokens("accept"))
        kind, text = (
            ("text/html; charset=utf-8", _page(told)) if for_people else ("application/json", dumps(told))
        )
        connection = "close" if not request.keep_alive else ""
        if request.keep_alive and request.version == "HTTP/1.0":
            connection = "keep-alive"
        # A 2xx to CONNECT would be the start of a tunnel.
        status = HTTPStatus.NOT_IMPLEMENTED if request.method == "CONNECT" else HTTPStatus.OK
        _send(writer, status, kind, text, connection, with_body=request.method != "HEAD")


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _RefusedError(
            HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, f"the header is longer than {MAX_HEAD} bytes"
        ) from None
    return head.removeprefix(b"\r\n")


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    try:
        line = await reader.readuntil(b"\n")
    except asyncio.LimitOverrunError:
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "a line of the body is too long") from None
    if not line.endswith(b"\r\n"):
        raise _RefusedError(HTTPStatus.BAD_REQUEST, "a line of the body ends with a bare LF")
    return line


async def _read_body(reader: asyncio.StreamReader, request: _Request) -> dict[str, Any]:
    digest = sha256()
    length = left = 0 if request.chunked else request.length
    while True:
        while left:
            data = await reader.read(min(left, 1 << 16))
            if not data:
                raise asyncio.IncompleteReadError(b"", left)
            digest.update(data)
            left -= len(data)
        if not request.chunked:
            break
        if length and await reader.readexactly(2) != b"\r\n":
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "a chunk is longer than its size")
        size = _SIZE.fullmatch(await _read_line(reader))
        if size is None:
            raise _RefusedError(HTTPStatus.BAD_REQUEST, "invalid chunk size")
        left = int(size[1], 16)
        length += left
        if not left:
            while await _read_line(reader) != b"\r\n":  # trailers
                pass
            break
    return {"length": length, "sha256": digest.hexdigest()}


def _send(
    writer: asyncio.StreamWriter,
    status: HTTPStatus,
    kind: str,
    text: str,
    connection: str,
    *,
    with_body: bool = True,
) -> None:
    body = text.encode()
    head = [
        f"HTTP/1.1 {status.value} {status.phrase}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Vary: Accept",
        *([f"Connection: {connection}"] if connection else []),
    ]
    writer.write("\r\n".join([*head, "", ""]).encode() + (body if with_body else b""))


_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{node}</title>
<style>
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 45rem; margin: 2rem auto; padding: 0 1rem; }}
th {{ text-align: left; vertical-align: top; font-weight: normal; padding-right: 1rem; opacity: .7; }}
td {{ font-family: ui-monospace, monospace; overflow-wrap: anywhere; }}
:root {{ color-scheme: light dark; }}
</style>
<h1>{node}</h1>
<p>This simulated node is up. It got this request:</p>
<table>
{rows}
</table>
</html>
"""


def _page(told: dict[str, Any]) -> str:
    host, port = told["peer"]
    shown = [
        ("request", f"{told['method']} {told['target']} {told['version']}"),
        *told["headers"],
        ("body", f"{told['body']['length']} bytes"),
        ("from", f"{host} port {port}"),
        ("requests on this connection", str(told["requests"])),
    ]
    rows = "\n".join(f"<tr><th>{escape(name)}<td>{escape(value)}" for name, value in shown)
    return _PAGE.format(node=escape(told["node"]), rows=rows)


def load_service(text: str) -> Service:
    """The service that ``module:name`` or ``path/to/file.py:name`` names.

    It is called with a node's name each time that the node has booted, and returns what serves a connection:
    a function as `asyncio.start_server` takes it. So a class will do that has ``__init__(self, node)`` and
    ``async def __call__(self, reader, writer)``. Each connection is closed when its function returns.

    Raises `TypeError` where that cannot be called, and whatever the module raises when it is imported.
    """
    where, _, name = text.rpartition(":")
    if where.endswith(".py"):
        from importlib.util import module_from_spec, spec_from_file_location

        spec = spec_from_file_location("simulated_service", where)
        assert spec is not None
        assert spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        from importlib import import_module

        module = import_module(where)
    found = getattr(module, name, None)
    if not callable(found):
        raise TypeError(f"{where} has no {name} that can be called")
    return cast("Service", found)
