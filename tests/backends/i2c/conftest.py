"""The bench and its clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.testing import FakeClock
from tests.backends.i2c.bench import Bench, opening_of, ready

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock) -> Iterator[Bench]:
    bench = Bench(ready(), opening_of(tmp_path, clock))
    yield bench
    bench.backend.close()
