"""The commands ``alert``, ``led``, ``hub`` and ``wp`` switch the other functions of a board."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from .clusters import after_closing, not_held, open_cluster
from .exits import DONE
from .signals import Signalled

if TYPE_CHECKING:
    import argparse

    from rpi_clusterhat.cluster import Cluster, Function

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    with open_cluster(args, out, signals) as hat:
        functions = {"alert": hat.alert, "led": hat.led, "hub": hat.hub, "wp": hat.write_protect}
        function = functions[args.command]
        if not hat.holds_levels and _is_high(hat, function.name, on=args.action != "off"):
            raise not_held(hat, "use ")
        try:
            _switch(hat, function, args.action)
            signals.check()
        except Signalled as signalled:
            signalled.standing = f"{args.command} was not read"
            signalled.standing = after_closing(
                hat, args, out, signals, partial(_standing, function.name, args.command)
            )
            raise
        out.line(f"{args.command} {'was reset' if args.action == 'reset' else args.action}")
    return DONE


def _standing(name: str, word: str, hat: Cluster) -> str:
    board = next(board for board in hat.status().boards if name in board.functions)
    return f"{word} is {'on' if board.functions[name] else 'off'}"


def _switch(hat: Cluster, function: Function, action: str) -> None:
    match action:
        case "on":
            function.on()
        case "off":
            function.off()
        case _:
            hat.hub.reset()


def _is_high(hat: Cluster, name: str, *, on: bool) -> bool:
    """Returns whether the line would be left at a high level, from which it would drop back."""
    return any(board.functions[name].level(on=on) for board in hat.boards if name in board.functions)
