"""What ``make rack-demo`` shows, with two nodes."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .terminal import until
from .test_power import processes

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.rack, pytest.mark.slow]


@pytest.mark.usefixtures("built")
def test_the_demo_shows_both_ends_of_a_node(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.rack.demo", "2"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "the disk of p2 was not left cleanly" in ran.stdout
    assert "p1 is off, and its disk clean" in ran.stdout
    assert until(lambda: not processes(str(tmp_path)), 10)
