"""Fixtures of the tests in this folder."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.proxy.framing.sending import H
from tests.proxy.peers import Node, ask
from tests.proxy.running import Proxy

if TYPE_CHECKING:
    from collections.abc import Generator


@pytest.fixture(scope="module")
def node() -> Generator[Node]:
    with closing(Node()) as node:
        yield node


@pytest.fixture(scope="module")
def shared(node: Node) -> Generator[Proxy]:
    options = ("--nodes", "1", "--cold", "hold", "--probe", "tcp")  # the node answers whatever a test wants
    with Proxy(*options, "--node", f"p1=127.0.0.1:{node.port}") as proxy:
        assert ask(proxy, b"GET / HTTP/1.1\r\n" + H + b"\r\n").status == 200
        yield proxy


@pytest.fixture
def proxy(shared: Proxy, node: Node) -> Proxy:
    node.take()
    return shared
