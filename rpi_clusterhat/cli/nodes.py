"""The commands ``on``, ``off`` and ``cycle`` switch nodes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BusError, ClusterHatError

from .clusters import after_closing, node_standing, not_held, open_cluster
from .exits import DONE
from .progress import Progress
from .signals import Signalled

if TYPE_CHECKING:
    import argparse

    from rpi_clusterhat.cluster import Cluster

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    with open_cluster(args, out, signals) as hat:
        names = hat.select(*args.nodes)
        if args.command != "off" and not args.hold and not hat.holds_levels:
            raise not_held(hat, f"use '{args.command} --hold', or ")
        progress = Progress(names, len(hat.boards), out, signals)
        unsubscribe = hat.subscribe(progress)
        try:
            _switch(hat, args, names)
            signals.check()
        except Signalled as signalled:
            signalled.standing = "which nodes are on was not read"
            unsubscribe()
            signalled.standing = after_closing(hat, args, out, signals, node_standing)
            raise
        except ClusterHatError as error:
            if not hat.holds_levels:
                unsubscribe()
                out.line(after_closing(hat, args, out, signals, node_standing))
            elif isinstance(error, BusError):  # what was begun may have been done all the same
                _show_standing(hat, out)
            raise
        finally:
            progress.end()
        unsubscribe()
        if args.command != "cycle":
            progress.show_unchanged(args.command)
        if args.hold:
            _hold(hat, args, out, signals)
    return DONE


def _switch(hat: Cluster, args: argparse.Namespace, names: list[str]) -> None:
    match args.command:
        case "on" if args.wait is not None:
            from .ready import probe_of

            hat.on(names, wait=partial(probe_of, hat), boot_timeout=args.wait)
        case "on":
            hat.on(names)
        case "off":
            hat.off(names, now=args.now, cut=not args.no_cut)
        case _:
            hat.cycle(names, pause=args.pause, now=args.now)


def _show_standing(hat: Cluster, out: Output) -> None:
    try:
        hat.status()
    except ClusterHatError:
        return  # the error that is told says why
    out.line(node_standing(hat))


def _halt(hat: Cluster, out: Output, signals: Signals) -> None:
    """Halts the nodes whose power goes with their lines, where there is a way to."""
    if names := [name for name in hat.names if hat.ways_to_halt(name)]:
        progress = Progress(names, len(hat.boards), out, signals)
        unsubscribe = hat.subscribe(progress)
        try:
            hat.off(names)
        except ClusterHatError as error:  # they lose their power all the same
            out.error(str(error))
        finally:
            unsubscribe()
            progress.end()


def _hold(hat: Cluster, args: argparse.Namespace, out: Output, signals: Signals) -> None:
    """Keeps the lines until a signal comes."""
    stay = "off" if args.command == "off" else "on"
    then = f"stay {stay}" if hat.holds_levels or stay == "off" else "lose power"
    unless = "" if hat.holds_levels else ", unless something pulls their lines up"
    out.line(f"holding until Ctrl-C: the nodes then {then}{unless}")
    try:
        signals.wait()
    except Signalled:
        try:
            if not hat.holds_levels:
                if stay == "on":
                    _halt(hat, out, signals)
                hat.close()
        finally:
            out.line(after_closing(hat, args, out, signals, node_standing))
