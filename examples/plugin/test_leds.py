"""The plugin's tests: the conformance suite, on a folder in place of the kernel's.

pip install -e . pytest
pytest
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import Cluster, DeviceNotFoundError
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.backend import Line, OpenRequest
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.testing import BackendConformance, FakeClock

if TYPE_CHECKING:
    from pathlib import Path

    from rpi_clusterhat.hardware.backend import Backend

OFFSETS = (5, 6, 13, 19, 26)


@pytest.fixture
def leds(tmp_path: Path) -> Path:
    for offset in OFFSETS:
        (tmp_path / f"relay{offset}").mkdir()
        (tmp_path / f"relay{offset}" / "brightness").write_text("0\n")
    return tmp_path


class TestLeds(BackendConformance):
    offsets = OFFSETS

    @pytest.fixture(autouse=True)
    def prepare(self, leds: Path) -> None:
        self.root = leds

    def open(self) -> Backend:
        plugin = load("leds")  # by its entry point, as the library finds it
        options = parse_options("leds", plugin, {"root": str(self.root)}, "test")
        lines = [Line(offset, f"p{i}") for i, offset in enumerate(OFFSETS, 1)]
        return plugin.open(OpenRequest(lines, options, SYSTEM, str(self.root), {}))

    def outside(self) -> dict[int, bool]:
        return {o: (self.root / f"relay{o}" / "brightness").read_text().strip() == "1" for o in OFFSETS}


def test_a_cluster_on_it(leds: Path) -> None:
    options = {"root": str(leds)}
    with Cluster.open("1.3", backend="leds", options=options, lock_dir=str(leds), clock=FakeClock()) as hat:
        hat.on("p1")
    assert (leds / "relay6" / "brightness").read_text() == "1"


def test_leds_that_are_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFoundError, match=f"relay6{os.sep}brightness"):
        Cluster.open("1.3", backend="leds", options={"root": str(tmp_path)}, lock_dir=str(tmp_path))
