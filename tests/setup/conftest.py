from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.setup.worlds import World

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> World:
    root = tmp_path / "root"
    root.mkdir(mode=0o755)
    return World(root)
