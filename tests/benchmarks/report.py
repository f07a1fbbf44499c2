"""Rows of the table, and the timing that they share."""

from __future__ import annotations

import statistics
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


class Row(NamedTuple):
    what: str
    promise: str
    measured: str
    beside: str
    """What it was measured side by side with, and what that took."""
    kept: bool | None
    """None for a figure that nothing is promised about, or that could not be measured here."""


def show(rows: Sequence[Row]) -> str:
    head = Row("what", "promise", "measured", "beside", None)
    widths = [max(len(str(row[i])) for row in (head, *rows)) for i in range(4)]
    words = {True: "kept", False: "BROKEN", None: ""}

    def line(row: Row, last: str) -> str:
        return ("  ".join(str(row[i]).ljust(widths[i]) for i in range(4)) + "  " + last).rstrip()

    return "\n".join([line(head, ""), *(line(row, words[row.kept]) for row in rows)])


def in_turn(
    first: Callable[[], object], second: Callable[[], object], runs: int = 9
) -> tuple[float, float, float]:
    """Median seconds of each and the median of their ratios, run one after the other in pairs: the machine's
    noise meets both."""
    firsts: list[float] = []
    seconds: list[float] = []
    first()
    second()
    for _ in range(runs):
        firsts.append(_seconds(first))
        seconds.append(_seconds(second))
    ratios = [a / b for a, b in zip(firsts, seconds, strict=True)]
    return statistics.median(firsts), statistics.median(seconds), statistics.median(ratios)


def _seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start
