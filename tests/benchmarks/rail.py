"""What the rail costs besides the spacing."""

from __future__ import annotations

import fcntl
import os
import tempfile
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

from rpi_clusterhat import Cluster
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.power.rail import Rail
from tests.benchmarks.report import Row, in_turn

if TYPE_CHECKING:
    from collections.abc import Iterator

SPACING = 0.3


def measure() -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        options = {"state": os.path.join(folder, "world.json")}
        over: list[float] = []
        sleeps: list[float] = []
        for _ in range(5):
            with Cluster.open(
                "2.3", backend="sim", options=options, spacing=SPACING, lock_dir=folder, config="/dev/null"
            ) as hat:
                hat.off("all")
                SYSTEM.sleep(SPACING)
                start = perf_counter()
                hat.on("all")
                over.append(perf_counter() - start - 3 * SPACING)
            start = perf_counter()
            for _ in range(3):
                SYSTEM.sleep(SPACING)
            sleeps.append(perf_counter() - start - 3 * SPACING)
        more = median(over)
        yield Row(
            "on of four nodes",
            "three spacings + 50 ms",
            f"three spacings + {more * 1e3:.1f} ms",
            f"three bare sleeps + {median(sleeps) * 1e3:.1f} ms",
            0 <= more < 0.05,
        )

        rail = Rail(FileTurnstile(os.path.join(folder, "rail.lock")), SYSTEM, 0.0)
        plain_path = os.path.join(folder, "plain.lock")

        def turns() -> None:
            for _ in range(200):
                turn = rail.join()
                turn.remaining()
                turn.begin()
                turn.end()
                turn.leave()

        def plain() -> None:
            for _ in range(200):
                fd = os.open(plain_path, os.O_RDWR | os.O_CREAT, 0o600)
                fcntl.flock(fd, fcntl.LOCK_EX)
                os.close(fd)

        mine, bare, ratio = in_turn(turns, plain)
        yield Row(
            "a turn on the rail",
            "",
            f"{mine / 200 * 1e6:.0f} µs",
            f"a bare flock {bare / 200 * 1e6:.0f} µs (x {ratio:.1f})",
            None,
        )
