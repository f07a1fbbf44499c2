"""What tests of the simulation share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sim.state_file import StateFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "world.json")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def state(path: str, clock: FakeClock) -> StateFile:
    return StateFile(path, clock=clock)
