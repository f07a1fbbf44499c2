"""Worlds to test with."""

from __future__ import annotations

from typing import Any

import pytest

from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.load import NodeModel
from rpi_clusterhat_sim.world import World

LINES = [Line(0, "p1"), Line(1, "p2"), Line(2, "p3"), Line(3, "p4"), Line(6, "alert")]


def make(nodes: int = 4, **model: Any) -> tuple[World, FakeClock]:
    clock = FakeClock()
    world = World(clock=clock)
    lines = [Line(i, f"p{i + 1}") for i in range(nodes)]
    world.add_bank("0", lines, model=NodeModel(**model))
    return world, clock


def about(value: float) -> object:
    return pytest.approx(value)  # pyright: ignore[reportUnknownMemberType] - its types are incomplete


def told(world: World, what: str) -> list[tuple[float, str]]:
    return [(record.time - 1000, record.node) for record in world.history if record.what == what]
