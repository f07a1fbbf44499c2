"""A kernel, and chips in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gpiod
import pytest

from tests.backends.gpiod.kernel import FakeHardware, FakeKernel

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel(tmp_path)
    monkeypatch.setattr(gpiod, "Chip", fake.chip)
    return fake


@pytest.fixture
def header(kernel: FakeKernel) -> FakeHardware:
    return kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))


@pytest.fixture
def keeper(kernel: FakeKernel) -> FakeHardware:
    kernel.parameter("pinctrl_bcm2835", "Y\n")
    return kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711", persists=True), driver="pinctrl-bcm2835")
