"""One choice among ten thousand nodes, beside a bare draw."""

from __future__ import annotations

import math
from random import Random
from time import perf_counter
from typing import TYPE_CHECKING

from rpi_clusterhat.pool.balance import BALANCERS, Balancer, balancer
from rpi_clusterhat.pool.states import PoolState
from tests.benchmarks.report import Row, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES = 10_000
PROMISED = ("random", "roundrobin", "hash")
LIMIT = 20e-6


class Node:
    __slots__ = ("in_flight", "last_used", "name", "state")

    def __init__(self, name: str, in_flight: int) -> None:
        self.name = name
        self.state = PoolState.READY
        self.in_flight = in_flight
        self.last_used = -math.inf


def measure() -> Iterator[Row]:
    random = Random(1)
    # Every fourth node is full.
    nodes = tuple(Node(f"p{i}", 2 if i % 4 == 0 else random.randrange(2)) for i in range(NODES))
    for name in BALANCERS:
        how: Balancer[Node] = balancer(name, Random(2))
        start = perf_counter()
        how.choose(nodes, _has_room, "")
        first = perf_counter() - start
        choices = 2000 if name in PROMISED else 20
        keys = [f"10.0.{i // 256}.{i % 256}" for i in range(choices)]

        def ours(how: Balancer[Node] = how, keys: list[str] = keys) -> None:
            for key in keys:
                how.choose(nodes, _has_room, key)

        def bare(keys: list[str] = keys) -> None:
            for _ in keys:
                random.choice(nodes)

        mine, plain, _ = in_turn(ours, bare)
        beside = f"random.choice {plain / choices * 1e6:.1f} µs"
        if name == "hash":
            beside += f"; its ring, once {first:.1f} s"
        promised = name in PROMISED
        yield Row(
            f"{name} among {NODES:,} nodes",
            f"< {LIMIT * 1e6:.0f} µs" if promised else "",
            f"{mine / choices * 1e6:.1f} µs",
            beside,
            mine / choices < LIMIT if promised else None,
        )


def _has_room(node: Node) -> bool:
    return node.in_flight < 2
