"""The command ``version`` prints the version."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat import __version__

from .exits import DONE
from .output import PROGRAM

if TYPE_CHECKING:
    import argparse

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    del args, signals
    out.line(f"{PROGRAM} {__version__}")
    return DONE
