"""The command ``init`` sets an expander up that has not been since it got power."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.events import BoardSetUp

from .clusters import node_standing, open_cluster
from .exits import DONE
from .progress import board_line
from .signals import Signalled

if TYPE_CHECKING:
    import argparse

    from rpi_clusterhat.events import Event

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    with open_cluster(args, out, signals) as hat:
        boards = hat.boards

        def show(event: Event) -> None:
            if isinstance(event, BoardSetUp):
                out.line(board_line(event, len(boards)))

        hat.subscribe(show)
        try:
            found = hat.init()
            signals.check()
        except Signalled as signalled:
            signalled.standing = "which nodes are on was not read"
            signalled.standing = node_standing(hat)
            raise
        if not found:
            expander = any(board.expander for board in boards)
            out.line(
                "the expander is set up already"
                if expander
                else "nothing to set up: the board has no expander"
            )
    return DONE
