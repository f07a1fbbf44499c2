"""Boards to prove things on, and a judge that sees each change of their lines.

Both rigs feed a simulated world, whose supply says when nodes were switched on too close together. One is
driven through the simulation's own backend, the other through the i2c backend and an expander's registers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rpi_clusterhat.hardware.backend import Backend, OpenRequest, SupportsDirections, SupportsSetUp
from rpi_clusterhat.hardware.boards import board
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.world import World

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Mapping, Sequence

    from rpi_clusterhat.hardware.boards import Board

__all__ = ["SPACING", "ExpanderRig", "Rig", "SimRig", "Tapped"]

SPACING = 2.0
ADDRESS = 0x20
TOLERANCE = 1e-5
"""The rail's record has six digits behind the point."""


class Rig(ABC):
    """A HAT 2.3 that some programs drive. Not for threads."""

    def __init__(self, clock: FakeClock, lock_dir: str, *, set_up: bool, pos: bool) -> None:
        self.clock = clock
        self.lock_dir = lock_dir
        self.board: Board = board("2.3")
        self.nodes: dict[str, int] = {f"p{i}": role.offset for i, role in enumerate(self.board.power, 1)}
        self.world = World(clock=clock)
        self.mirror = self.world.add_bank("0", self.board.lines, set_up=set_up, pos=pos)
        self.violations: list[str] = []
        self.power_ups: list[float] = []
        self.on_access: Callable[[str], object] | None = None
        """Called before and after each access of a program, with ``before read`` … ``after write``."""
        self._accessing = False

    @abstractmethod
    def open(self) -> Backend:
        """What a new program opens."""

    @abstractmethod
    def levels(self) -> dict[int, bool]:
        """What a meter at the pins shows."""

    @abstractmethod
    def is_set_up(self) -> bool: ...

    @abstractmethod
    def fail(self, access: int, times: int | None, *, applied: int = 0) -> None:
        """Bus errors from the so many-th access on."""

    @abstractmethod
    def heal(self) -> None: ...

    @abstractmethod
    def _change(self, levels: Mapping[int, bool]) -> None: ...

    @abstractmethod
    def _lose_power(self) -> None: ...

    @abstractmethod
    def _stick(self, offset: int, level: bool | None) -> None: ...

    def let_go(self, offset: int, pull: bool) -> None:
        """Another program makes a line an input, which is pulled up or down; a simulated one cannot be."""
        del offset, pull

    def driven(self, node: str) -> bool:
        """Whether a node's line is an output."""
        del node
        return True

    # What the outside does. Should that switch nodes on, it is long after and long before anything else:
    # what others do too close together is not for this library to prevent.

    def outside(self, levels: Mapping[int, bool]) -> None:
        """Another program, which knows nothing of the rail, switches lines."""
        with self._by_others():
            self._change(levels)

    def lose_power(self) -> None:
        with self._by_others():
            self._lose_power()

    def stick(self, offset: int, level: bool | None) -> None:
        with self._by_others():
            self._stick(offset, level)

    @contextmanager
    def _by_others(self) -> Generator[None]:
        self.clock.advance(SPACING)
        yield
        self.clock.advance(SPACING)

    # The judge --------------------------------------------------------------------------------------------

    def powered(self, node: str) -> bool:
        return self.levels()[self.nodes[node]]

    @contextmanager
    def accessing(self, what: str) -> Generator[None]:
        """A program of ours uses its backend."""
        if self.on_access is not None:
            self.on_access(f"before {what}")
        self._accessing = True
        try:
            yield
        finally:
            self._accessing = False
        if self.on_access is not None:
            self.on_access(f"after {what}")

    def changed(self, before: Mapping[int, bool], after: Mapping[int, bool], brownouts: int) -> None:
        """Lines changed, at this time."""
        now = self.clock.now()
        if not self._accessing:
            return
        for node, offset in self.nodes.items():
            if after[offset] and not before[offset]:
                if self.power_ups and now - self.power_ups[-1] < SPACING - TOLERANCE:
                    self.violations.append(f"{node} on {now - self.power_ups[-1]:g} s after another")
                self.power_ups.append(now)
        if brownouts != self.world.brownouts:
            self.violations.append(f"brown-out at {now:g}")


class Tapped:
    """A backend whose accesses the rig hears of."""

    holds_levels = True

    def __init__(self, rig: Rig, backend: Backend) -> None:
        self._rig = rig
        self._backend = backend

    @property
    def is_set_up(self) -> bool:
        assert isinstance(self._backend, SupportsSetUp)
        return self._backend.is_set_up

    @property
    def inputs(self) -> Collection[int]:
        return self._backend.inputs if isinstance(self._backend, SupportsDirections) else ()

    def read(self) -> Mapping[int, bool]:
        before = self._rig.levels()
        with self._rig.accessing("read"):
            levels = self._backend.read()
        if before != self._rig.levels():
            self._rig.violations.append("reading switched lines")
        return levels

    def write(self, levels: Mapping[int, bool]) -> None:
        with self._rig.accessing("write"):
            self._backend.write(levels)

    def set_up(self, levels: Mapping[int, bool]) -> None:
        assert isinstance(self._backend, SupportsSetUp)
        with self._rig.accessing("set-up"):
            self._backend.set_up(levels)

    def close(self) -> None:
        before = self._rig.levels()
        self._backend.close()
        if before != self._rig.levels():
            self._rig.violations.append("closing switched lines")


class _WatchedSim(SimBackend):
    def __init__(self, rig: SimRig) -> None:
        super().__init__(rig.world, rig.board.lines)
        self._rig = rig

    def write(self, levels: Mapping[int, bool]) -> None:
        with self._watched():
            super().write(levels)

    def set_up(self, levels: Mapping[int, bool]) -> None:
        with self._watched():
            super().set_up(levels)

    @contextmanager
    def _watched(self) -> Generator[None]:
        before, brownouts = self._rig.levels(), self._rig.world.brownouts
        try:
            yield
        finally:
            self._rig.changed(before, self._rig.levels(), brownouts)


class SimRig(Rig):
    """Through the backend ``sim``."""

    def open(self) -> Backend:
        return Tapped(self, _WatchedSim(self))

    def levels(self) -> dict[int, bool]:
        return self.mirror.levels()

    def is_set_up(self) -> bool:
        return self.mirror.is_set_up

    def fail(self, access: int, times: int | None, *, applied: int = 0) -> None:
        del applied  # the simulation's accesses happen whole or not at all
        self.mirror.fail_bus(access, times)

    def heal(self) -> None:
        self.mirror.heal_bus()

    def _change(self, levels: Mapping[int, bool]) -> None:
        self.mirror.outside(levels)

    def _lose_power(self) -> None:
        self.mirror.lose_power()

    def _stick(self, offset: int, level: bool | None) -> None:
        self.mirror.stick(offset, level)


class _WatchedExpander(FakeExpander):
    """Tells the rig of what each single transaction did to the pins."""

    def __init__(self, rig: ExpanderRig, pins: int) -> None:
        super().__init__(pins=pins)
        self._rig = rig

    def transfer(self, messages: Sequence[bytes | int]) -> list[bytes]:
        before, brownouts = self._rig.levels(), self._rig.world.brownouts
        try:
            return super().transfer(messages)
        finally:
            self._rig.show()
            self._rig.changed(before, self._rig.levels(), brownouts)


class ExpanderRig(Rig):
    """Through the backend ``i2c``, at the registers of a PCA9554."""

    def __init__(self, clock: FakeClock, lock_dir: str, *, set_up: bool, pos: bool) -> None:
        super().__init__(clock, lock_dir, set_up=set_up, pos=pos)
        self.expander = _WatchedExpander(self, 0x0F if pos else 0x00)
        if set_up:
            self.expander.output = 0x00
            self.expander.direction = 0x00
        self.show()

    def open(self) -> Backend:
        options = {"bus": 1, "address": ADDRESS}
        opening = OpenRequest(self.board.lines, options, self.clock, self.lock_dir, {})
        return Tapped(self, I2CBackend(FakeSMBus({ADDRESS: self.expander}), opening))

    def show(self) -> None:
        """Lets the world have what the pins show."""
        levels = self.levels()
        if levels != self.mirror.levels():
            self.mirror.outside(levels)

    def levels(self) -> dict[int, bool]:
        levels = self.expander.levels
        return {line.offset: bool(levels >> line.offset & 1) for line in self.board.lines}

    def is_set_up(self) -> bool:
        return self.expander.direction != 0xFF

    def fail(self, access: int, times: int | None, *, applied: int = 0) -> None:
        self.expander.fail(at=access, times=times, applied=applied)

    def heal(self) -> None:
        self.expander.heal()

    def _change(self, levels: Mapping[int, bool]) -> None:
        if self.is_set_up():
            for offset, level in levels.items():
                bit = 1 << offset
                self.expander.output = self.expander.output | bit if level else self.expander.output & ~bit
        self.show()

    def let_go(self, offset: int, pull: bool) -> None:
        if self.is_set_up():
            with self._by_others():
                self.expander.direction |= 1 << offset
                self.expander.pins = self.expander.pins & ~(1 << offset) | pull << offset
                self.show()

    def driven(self, node: str) -> bool:
        return not self.expander.direction >> self.nodes[node] & 1

    def _lose_power(self) -> None:
        self.expander.lose_power()
        self.show()

    def _stick(self, offset: int, level: bool | None) -> None:
        if level is None:
            self.expander.stuck.pop(offset, None)
        else:
            self.expander.stuck[offset] = level
        self.show()
