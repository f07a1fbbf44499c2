"""Fixtures of the tests in this folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.state_file import StateFile

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> StateFile:
    return StateFile(str(tmp_path / "world"))
