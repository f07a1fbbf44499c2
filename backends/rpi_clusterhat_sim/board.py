"""A board and its nodes as `rpi_clusterhat.hardware.simulation` has them, wherever their world is."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping, Sequence

    from rpi_clusterhat.hardware.simulation import SimulatedEvent, SimulatedNode, SimulatedRail

    from .backend import SimBackend
    from .node import SimNode

__all__ = ["SimBoard"]


class SimBoard:
    """What an open backend plays."""

    def __init__(self, backend: SimBackend, offsets: Iterable[int]) -> None:
        self._backend = backend
        self.nodes: Mapping[int, SimulatedNode] = {offset: _BoardNode(backend, offset) for offset in offsets}

    def __repr__(self) -> str:
        return f"<SimBoard {self._backend!r}>"

    @property
    def rail(self) -> SimulatedRail:
        with self._backend.look() as (world, bank):
            return world.rail(bank.supply.name)

    @property
    def history(self) -> Sequence[SimulatedEvent]:
        with self._backend.look() as (world, _):
            return world.history

    def stick(self, line: str, level: bool | None) -> None:
        with self._backend.change() as (_, bank):
            found = bank.line(line)
            if found is None:
                names = ", ".join(line.name for line in bank.lines)
                raise ValueError(f"this board has no line {line}: it has {names}")
            bank.stick(found.offset, level)

    def fail_bus(self, access: int = 1, times: int | None = 1, *, gone: bool = False) -> None:
        with self._backend.change() as (_, bank):
            bank.fail_bus(access, times, gone=gone)

    def heal_bus(self) -> None:
        with self._backend.change() as (_, bank):
            bank.heal_bus()

    def lose_power(self) -> None:
        with self._backend.change() as (_, bank):
            bank.lose_power()


class _BoardNode:
    """The node that a line switches."""

    def __init__(self, backend: SimBackend, offset: int) -> None:
        self._backend = backend
        self._offset = offset

    def __repr__(self) -> str:
        with self._look() as node:
            return f"<simulated node {node.name} {node.phase}>"

    @contextmanager
    def _look(self) -> Generator[SimNode]:
        with self._backend.look() as (world, bank):
            yield world.node(bank.consumers[self._offset].name)

    @contextmanager
    def _change(self) -> Generator[SimNode]:
        with self._backend.change() as (world, bank):
            yield world.node(bank.consumers[self._offset].name)

    @property
    def name(self) -> str:
        with self._look() as node:
            return node.name

    @property
    def powered(self) -> bool:
        with self._look() as node:
            return node.powered

    @property
    def phase(self) -> str:
        with self._look() as node:
            return node.phase

    @property
    def is_up(self) -> bool:
        with self._look() as node:
            return node.is_up

    @property
    def up_since(self) -> float | None:
        with self._look() as node:
            return node.up_since

    @property
    def boots(self) -> int:
        with self._look() as node:
            return node.boots

    @property
    def brownouts(self) -> int:
        with self._look() as node:
            return node.brownouts

    @property
    def current(self) -> float:
        with self._look() as node:
            return node.current

    @property
    def temperature(self) -> float:
        with self._look() as node:
            return node.temperature

    @property
    def card(self) -> str:
        with self._look() as node:
            return node.card

    @property
    def corruptions(self) -> int:
        with self._look() as node:
            return node.corruptions

    def hang(self) -> None:
        with self._change() as node:
            node.hang()

    def halt(self) -> None:
        with self._change() as node:
            node.halt()

    def write(self, seconds: float) -> None:
        with self._change() as node:
            node.write(seconds)

    def repair(self) -> None:
        with self._change() as node:
            node.repair()

    def fail(
        self, *, boots: bool = True, slow: float = 1.0, hang_after: float | None = None, drops: float = 0.0
    ) -> None:
        with self._change() as node:
            node.fail(boots=boots, slow=slow, hang_after=hang_after, drops=drops)

    def fail_halting(
        self, *, ignored: bool = False, hangs: bool = False, seconds: float | None = None
    ) -> None:
        with self._change() as node:
            node.fail_halting(ignored=ignored, hangs=hangs, seconds=seconds)

    def stick(self, level: bool | None) -> None:
        with self._backend.change() as (_, bank):
            bank.stick(self._offset, level)

    def switch_outside(self, level: bool) -> None:
        with self._backend.change() as (_, bank):
            bank.outside({self._offset: level})
