from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.lab import as_nobody, lab, nothing_said
from tests.safety.pools import House

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["as_nobody", "lab", "nothing_said"]


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(str(tmp_path))
