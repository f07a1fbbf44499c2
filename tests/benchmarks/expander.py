"""Transactions on an expander that is set up, counted at register level, and their cost beside bare calls."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING
from unittest import mock

from rpi_clusterhat import Cluster
from rpi_clusterhat.testing import FakeClock, FakeExpander, FakeSMBus
from tests.benchmarks.report import Row, in_turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# What the vendor's tool does on a v2.3 board, counted on a register-level stand-in.
VENDOR = {"on of one node": 7, "off of all four": 17, "status": 9}


def measure() -> Iterator[Row]:
    chip = FakeExpander()

    def open_bus(*_: object, **__: object) -> FakeSMBus:
        return FakeSMBus({0x20: chip})

    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch("rpi_clusterhat_i2c.bus.open_bus", open_bus),
        Cluster.open("2.3", lock_dir=folder, clock=FakeClock(), config="/dev/null") as hat,
    ):
        hat.init()

        def counted(what: str, limit: int, call: Callable[[], object], *, writes: bool) -> Row:
            before, wrote = chip.transactions, chip.writes
            call()
            count = chip.transactions - before
            kept = count <= limit and (writes or chip.writes == wrote)
            promise = f"≤ {limit} transactions" + ("" if writes else ", no write")
            return Row(what, promise, f"{count}", f"vendor's tool {VENDOR[what]}", kept)

        yield counted("on of one node", 6, lambda: hat.on("p1"), writes=True)
        hat.on("all")
        yield counted("off of all four", 6, lambda: hat.off("all"), writes=True)
        yield counted("status", 3, hat.status, writes=False)

        bus = FakeSMBus({0x20: chip})

        def bare() -> None:
            for _ in range(200):
                bus.read_byte_data(0x20, 3)
                bus.read_byte_data(0x20, 0)

        def ours() -> None:
            for _ in range(200):
                hat.status()

        mine, plain, ratio = in_turn(ours, bare)
        yield Row(
            "status in a script",
            "",
            f"{mine / 200 * 1e6:.0f} µs",
            f"two bare reads {plain / 200 * 1e6:.0f} µs (x {ratio:.1f})",
            None,
        )
