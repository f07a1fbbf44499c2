"""What the tests in this folder share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat_sim.faults import parse_faults
from tests.proxy.running import Proxy

if TYPE_CHECKING:
    from rpi_clusterhat_sim.state_file import StateFile


pytestmark = pytest.mark.slow
HELD = ("--cold", "hold", "--balance", "first")


def fail(world: StateFile, faults: str) -> None:
    """As ``--option fault=`` does."""
    with world.change() as now:
        for fault in parse_faults(faults):
            fault.apply(now, now.bank("0"))


def cut_power(world: StateFile, node: str) -> None:
    with world.change() as now:
        bank = now.bank("0")
        line = bank.line(node)
        assert line
        bank.outside({line.offset: False})


def power_ups(world: StateFile) -> list[str]:
    with world.look() as now:
        return [record.node for record in now.history if record.what == "on"]


def proxy_in(world: StateFile, *options: str, nodes: int = 4) -> Proxy:
    return Proxy("--option", f"state={world.path}", "--nodes", str(nodes), *HELD, *options)
