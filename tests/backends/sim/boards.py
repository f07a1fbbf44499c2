"""Boards of the simulation, opened as a cluster opens them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Line, OpenRequest, SupportsSetUp
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat_sim.backend import SimBackend

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat_sim.world import World


LINES = [
    *[Line(i, f"p{i + 1}") for i in range(4)],
    Line(4, "led"),
    Line(5, "hub"),
    Line(6, "alert"),
    Line(7, "wp"),
]


def world_of(backend: SimBackend) -> World:
    with backend.look() as (world, _):
        return world


def opened(clock: Clock, shared: Any = None, lines: Any = LINES, **options: str) -> SimBackend:
    plugin = load("sim")
    values = parse_options("sim", plugin, options, "test")
    backend = plugin.open(OpenRequest(lines, values, clock, "/nowhere", {} if shared is None else shared))
    assert isinstance(backend, SimBackend)
    return backend


def is_set_up(backend: SupportsSetUp) -> bool:
    return backend.is_set_up  # behind a call, for a type checker takes an attribute to stay as it was seen
