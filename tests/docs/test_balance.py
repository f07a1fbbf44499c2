"""The chart and the table of the balances agree with the theory."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest

from rpi_clusterhat.pool.idle import cost

DOCS = Path(__file__).resolve().parents[2] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "balance.py"))


@pytest.mark.slow
@pytest.mark.parametrize("load", [0, 1])
@pytest.mark.parametrize(("balance", "sharing"), [("first", 1), ("leastconn", 1), ("random", 4)])
def test_requests_at_random_times_cost_what_the_formula_says(
    script: dict[str, Any], load: int, balance: str, sharing: int
) -> None:
    of = script["LOADS"][load]
    for timeout in script["TIMEOUTS"]:
        found = script["outcome"](of, balance, timeout)
        expected = cost(of.per_minute / 60 / sharing, timeout, 1.0, 0.0, script["BOOT_TIME"])
        assert found.cold == pytest.approx(expected.cold, rel=0.1, abs=0.01)
        assert found.nodes == pytest.approx(expected.on * sharing, rel=0.05)
