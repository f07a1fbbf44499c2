"""The backend ``i2c`` keeps what every backend promises."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from rpi_clusterhat.testing import BackendConformance, FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from tests.backends.i2c.bench import ADDRESS, opening_of

if TYPE_CHECKING:
    from rpi_clusterhat.hardware.backend import Backend


class Conformance(BackendConformance):
    chip = "PCA9554"
    combines = False

    def reset(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.expander = FakeExpander(self.chip)
        self.expander.output, self.expander.direction = 0x00, 0x00

    def teardown_method(self) -> None:
        super().teardown_method()
        self.folder.cleanup()

    def open(self) -> Backend:
        return I2CBackend(
            FakeSMBus({ADDRESS: self.expander}, combines=self.combines), opening_of(self.folder.name)
        )

    def outside(self) -> dict[int, bool]:
        return {offset: bool(self.expander.levels >> offset & 1) for offset in range(8)}

    def make_unset(self) -> bool:
        self.expander.lose_power()
        return True

    def make_input(self, offset: int, level: bool) -> bool:
        self.expander.direction |= 1 << offset
        self.pull(offset, level)
        return True

    def pull(self, offset: int, level: bool) -> None:
        self.expander.pins = self.expander.pins & ~(1 << offset) | level << offset


class TestPCA9554(Conformance):
    pass


class TestXRA1200P(Conformance):
    chip = "XRA1200P"


class TestControllerThatCombines(Conformance):
    combines = True
