"""One emulated Pi for each kernel, for all tests of a session.

Where it was not built the tests are skipped; with CLUSTERHAT_TEST_REQUIRE_PI=1 that is a failure.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.built.once import is_built
from tests.pi.machine.booting import Pi
from tests.pi.machine.building import default_place, kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

MISSING = "no emulated Raspberry Pi was built: 'make pi' builds it, or says why that cannot be done here"
PLACE = default_place()


@pytest.fixture(scope="session")
def place() -> str:
    if not is_built(PLACE):
        if os.environ.get("CLUSTERHAT_TEST_REQUIRE_PI") == "1":
            pytest.fail(MISSING)
        pytest.skip(MISSING)
    return PLACE


@pytest.fixture(scope="session", params=kernels(PLACE) or ["no kernel"])
def pi(place: str, request: pytest.FixtureRequest) -> Iterator[Pi]:
    with Pi(place, request.param) as pi:
        yield pi
