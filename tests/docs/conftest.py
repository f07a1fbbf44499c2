from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import newcomer

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("newcomer") / "wheels"
    newcomer.wheels(folder)
    return folder
