"""Ten thousand simulated nodes through a hundred thousand operations."""

from __future__ import annotations

import json
import random
import resource
import subprocess
import sys
from time import perf_counter
from typing import TYPE_CHECKING

from rpi_clusterhat import Cluster
from rpi_clusterhat.testing import FakeClock, simulated
from tests.benchmarks.report import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

NODES, OPERATIONS = 10_000, 100_000


def measure() -> Iterator[Row]:
    # In a process of its own, whose memory is nobody else's.
    run = subprocess.run([sys.executable, "-m", __name__], capture_output=True, text=True, check=True)
    seconds, megabytes, browned_out = json.loads(run.stdout)
    yield Row(
        f"{NODES:,} nodes, {OPERATIONS:,} operations",
        "< 60 s, < 200 MB",
        f"{seconds:.1f} s, {megabytes:.0f} MB",
        f"{browned_out} brown-outs",
        seconds < 60 and megabytes < 200 and browned_out == 0,
    )


def _run() -> tuple[float, float, int]:
    choice = random.Random(1)
    start = perf_counter()
    with Cluster.open(
        boards=[{"board": "2.3", "backend": "sim"}] * (NODES // 4),
        options={"capacity": 10_000},
        clock=FakeClock(),
        config="/dev/null",
    ) as hat:
        names = hat.names
        for _ in range(OPERATIONS):
            node = hat[choice.choice(names)]
            if node.powered:
                node.off()
            else:
                node.on()
        browned_out = simulated(hat).boards[0].rail.brownouts
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "linux" else 1024**2)
    return perf_counter() - start, peak, browned_out


if __name__ == "__main__":
    print(json.dumps(_run()))
