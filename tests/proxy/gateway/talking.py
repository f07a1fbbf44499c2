"""What the tests in this folder share."""

from __future__ import annotations

import pytest

from tests.proxy.peers import Message, Node, answer, ask
from tests.proxy.running import Proxy

pytestmark = pytest.mark.slow
S = b"HTTP/1.1 200 OK\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def started(node: Node, *options: str) -> Proxy:
    alone = ("--nodes", "1", "--cold", "hold", "--probe", "tcp")  # the node sees no requests but the tests'
    return Proxy(*alone, "--node", f"p1=127.0.0.1:{node.port}", *options)


def get(*fields: bytes, line: bytes = b"GET / HTTP/1.1", host: bytes = b"h") -> bytes:
    return b"".join(part + b"\r\n" for part in (line, b"Host: " + host, *fields)) + b"\r\n"


def path(target: str, *fields: bytes, method: str = "GET", version: str = "1.1") -> bytes:
    return get(*fields, line=f"{method} {target} HTTP/{version}".encode())


def post(body: bytes, *fields: bytes, target: str = "/") -> bytes:
    return path(target, b"Content-Length: %d" % len(body), *fields, method="POST") + body


def seen(proxy: Proxy, node: Node, request: bytes) -> Message:
    """The request as the node got it."""
    node.take()
    assert ask(proxy, request).status == 200
    (found,) = node.take()
    return found


def given(proxy: Proxy, node: Node, answered: bytes, request: bytes = b"") -> Message:
    """The answer as the client got it."""
    with node.does(answer(answered)):
        return ask(proxy, request or get(), method="HEAD" if request.startswith(b"HEAD") else "GET")
