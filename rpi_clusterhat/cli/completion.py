"""The command ``completion`` prints a script for the shell, which shtab makes from the parser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import MissingDependencyError

from .exits import DONE
from .parser import build_parser

if TYPE_CHECKING:
    import argparse

    from .output import Output
    from .signals import Signals

__all__ = ["run"]

_PREAMBLE = {"bash": '_rpi_clusterhat_nodes() { compgen -W "p1 p2 p3 p4 all" -- "$1"; }\n'}


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    del signals
    try:
        import shtab
    except ImportError as error:
        raise MissingDependencyError(
            "completion needs shtab: pip install 'shtab>=1.7'", name="shtab"
        ) from error
    out.line(shtab.complete(build_parser(), args.shell, preamble=_PREAMBLE.get(args.shell, "")).rstrip("\n"))
    return DONE
