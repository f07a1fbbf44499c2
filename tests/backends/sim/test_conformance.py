"""The simulation keeps what every backend promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.testing import BackendConformance, FakeClock
from rpi_clusterhat_sim.backend import SimBackend
from rpi_clusterhat_sim.world import World
from tests.backends.sim.boards import LINES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat_sim.state_file import StateFile


class TestInMemory(BackendConformance):
    offsets = range(8)

    def reset(self) -> None:
        self.world = World(clock=FakeClock())
        self.bank = self.world.add_bank("0", LINES)

    def open(self) -> SimBackend:
        return SimBackend(self.world, LINES)

    def outside(self) -> Mapping[int, bool]:
        return self.bank.levels()

    def make_unset(self) -> bool:
        self.bank.lose_power()
        return True


class TestInMemoryWithTheJumperSet(TestInMemory):
    def reset(self) -> None:
        self.world = World(clock=FakeClock())
        self.bank = self.world.add_bank("0", LINES, pos=True)


class TestNotHolding(TestInMemory):
    def open(self) -> SimBackend:
        return SimBackend(self.world, LINES, holds=False)


class TestStateFile(BackendConformance):
    @pytest.fixture(autouse=True)
    def _state(self, state: StateFile) -> None:
        self.state = state

    def setup_method(self) -> None:
        self._opened = []

    def open(self) -> SimBackend:
        return SimBackend(self.state, LINES)

    def outside(self) -> Mapping[int, bool]:
        with self.state.look() as world:
            bank = world.banks.get("0")
            return bank.levels() if bank else dict.fromkeys(range(8), False)

    def make_unset(self) -> bool:
        SimBackend(self.state, LINES)
        with self.state.change() as world:
            world.bank("0").lose_power()
        return True
