"""The backend ``gpiod`` keeps what every backend promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gpiod
import pytest

from rpi_clusterhat.testing import BackendConformance
from tests.backends.gpiod.kernel import OFFSETS, FakeHardware, FakeKernel

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rpi_clusterhat_gpiod.backend import GpiodBackend


class _Conformance(BackendConformance):
    offsets = OFFSETS
    persists: bool
    kernel: FakeKernel
    hardware: FakeHardware

    @pytest.fixture(autouse=True)
    def _kernel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel = FakeKernel(tmp_path)
        self.hardware = FakeHardware("gpiochip0", "pinctrl-rp1", persists=self.persists)
        self.kernel.parameter("pinctrl_rp1", "Y" if self.persists else "N")
        self.kernel.add(self.hardware, driver="pinctrl-rp1")
        monkeypatch.setattr(gpiod, "Chip", self.kernel.chip)

    def open(self) -> GpiodBackend:
        return self.kernel.open()

    def outside(self) -> Mapping[int, bool]:
        return self.hardware.levels()

    def make_unset(self) -> bool:
        for offset in self.offsets:
            self.hardware.lines[offset].output = False
            self.hardware.lines[offset].latch = True
        return True

    def make_input(self, offset: int, level: bool) -> bool:
        self.hardware.lines[offset].output = False
        self.pull(offset, level)
        return True

    def pull(self, offset: int, level: bool) -> None:
        self.hardware.lines[offset].pull = level

    def teardown_method(self) -> None:
        super().teardown_method()
        assert [line.consumer for line in self.hardware.lines if line.consumer] == []
        assert not any(chip.open for chip in self.kernel.opened)


class TestOnAChipThatKeepsOutputs(_Conformance):
    persists = True


class TestOnAChipThatDropsOutputs(_Conformance):
    persists = False
