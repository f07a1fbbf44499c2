from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest

from tests.lab import as_nobody, lab, nothing_said

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["as_nobody", "lab", "nothing_said"]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """A socket or process that nobody closed is a ResourceWarning, and so an error of the test's own."""
    yield
    gc.collect()
