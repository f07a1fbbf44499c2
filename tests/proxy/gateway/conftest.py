"""Fixtures of the tests in this folder."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.proxy.gateway.talking import get, started
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
    with started(node) as proxy:
        assert ask(proxy, get()).status == 200
        yield proxy


@pytest.fixture
def proxy(shared: Proxy, node: Node) -> Proxy:
    node.take()
    return shared


@pytest.fixture(scope="module")
def trusting(node: Node) -> Generator[Proxy]:
    with started(node, "--trust-proxy", "127.0.0.0/28") as proxy:
        assert ask(proxy, get()).status == 200
        yield proxy


@pytest.fixture(scope="module")
def sim() -> Generator[Proxy]:
    """The node is the simulation's own service."""
    with Proxy("--nodes", "1", "--cold", "hold") as proxy:
        assert ask(proxy, get()).status == 200
        yield proxy
