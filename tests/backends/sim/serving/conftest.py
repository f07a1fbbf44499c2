"""A world whose nodes answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.serving import Servers
from rpi_clusterhat_sim.world import World
from tests.backends.sim.clients import LINES, NAMES
from tests.peers.node import Peer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def world(clock: FakeClock) -> World:
    world = World(clock=clock)
    world.add_bank("0", LINES)
    return world


@pytest.fixture
def servers(world: World) -> Iterator[Servers]:
    with Servers(world, NAMES, service=Peer) as servers:
        yield servers
