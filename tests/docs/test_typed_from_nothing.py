"""The pages with which a newcomer begins: without the library, in an empty home."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import newcomer
from .sessions import PAGES
from .terminal import Terminal

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.parametrize("page", newcomer.FROM_NOTHING)
def test_a_page_can_be_typed(page: str, wheels: Path, tmp_path: Path) -> None:
    folder = tmp_path / "checkout"
    newcomer.checkout(folder)
    with Terminal(folder, newcomer.environment(tmp_path / "home", wheels)) as terminal:
        newcomer.follow(terminal, PAGES[page], folder)
        assert terminal.left(10) == [], "the page leaves programs running"
