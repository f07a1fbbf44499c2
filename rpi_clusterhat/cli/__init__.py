"""The command ``rpi-clusterhat``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rpi_clusterhat.clock import Clock

__all__ = ["main"]


def main(argv: Sequence[str] | None = None, *, clock: Clock | None = None) -> int:
    """Runs the command with these arguments (the program's own without) and returns its exit code."""
    try:
        from .command import run
    except KeyboardInterrupt:  # before the signals are ours
        return 130
    return run(argv, clock)
