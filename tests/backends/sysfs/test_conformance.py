"""The backend ``sysfs`` keeps what every backend promises."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.testing import BackendConformance
from tests.backends.sysfs.kernel import OFFSETS, Programs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from rpi_clusterhat_sysfs.backend import SysfsBackend


class TestConformance(BackendConformance):
    offsets = OFFSETS
    programs: Programs

    @pytest.fixture(autouse=True)
    def _programs(self, tmp_path: Path) -> None:
        self.programs = Programs(tmp_path)

    def open(self) -> SysfsBackend:
        return self.programs.open()

    def outside(self) -> Mapping[int, bool]:
        return self.programs.kernel.levels()

    def make_unset(self) -> bool:
        return True  # a bank that nobody has touched yet

    def make_input(self, offset: int, level: bool) -> bool:
        line = self.programs.kernel.lines[offset]
        line.output = line.exported = False
        self.pull(offset, level)
        return True

    def pull(self, offset: int, level: bool) -> None:
        self.programs.kernel.lines[offset].pull = level
