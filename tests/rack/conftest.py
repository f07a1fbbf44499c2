"""What the tests of the rack share: what ``make rack`` has built.

With CLUSTERHAT_TEST_REQUIRE_RACK=1 a rack that is not built is a failure instead of a skip.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import BackendUnavailableError
from rpi_clusterhat_sim.rack.built import Built, find
from rpi_clusterhat_sim.rack.rack import Rack
from tests.lab import lab, nothing_said
from tests.rack.machine import building

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["lab", "nothing_said"]


@pytest.fixture(scope="session")
def built() -> Built:
    try:
        return find(building.default_place())
    except BackendUnavailableError as error:
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_RACK") == "1":
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def rack(built: Built) -> Generator[Rack]:
    """Two nodes that have no power yet."""
    with Rack(["p1", "p2"], built=built) as rack:
        yield rack
