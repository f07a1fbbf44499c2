"""The commands ``on``, ``off`` and ``cycle`` switch nodes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ClusterHatError

from .exits import DONE
from .opening import node_standing, not_held, open_cluster
from .progress import Progress
from .signals import Signalled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping

    from rpi_clusterhat.cluster import Cluster
    from rpi_clusterhat.nodes.probes import Probe

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    with open_cluster(args, signals) as hat:
        names = hat.select(*args.nodes)
        hold = args.command != "off" and args.hold
        if args.command != "off" and not hold and not hat.holds_levels:
            raise not_held(hat, f"use '{args.command} --hold', or ")
        progress = Progress(names, len(hat.boards), out, signals)
        hat.subscribe(progress)
        try:
            _switch(hat, args, names)
            signals.check()
        except Signalled as signalled:
            signalled.standing = "which nodes are on was not read"
            signalled.standing = node_standing(hat)
            raise
        except ClusterHatError:
            if not hat.holds_levels:
                out.line(node_standing(hat))
            raise
        finally:
            progress.end()
        if args.command != "cycle":
            progress.show_unchanged(args.command)
        if hold:
            _hold(hat, out, signals)
    return DONE


def _switch(hat: Cluster, args: argparse.Namespace, names: list[str]) -> None:
    match args.command:
        case "on" if args.wait is not None:
            hat.on(names, wait=partial(_probe, hat.addresses), boot_timeout=args.wait)
        case "on":
            hat.on(names)
        case "off":
            hat.off(names)
        case _:
            hat.cycle(names, pause=args.pause)


def _probe(addresses: Mapping[str, tuple[str, int]], name: str) -> Probe:
    """What says that a node is ready: its port where the backend knows it, else its place on USB."""
    from rpi_clusterhat.nodes.probes import TcpProbe, UsbProbe

    return TcpProbe(*addresses[name]) if name in addresses else UsbProbe(name.removeprefix("p"))


def _hold(hat: Cluster, out: Output, signals: Signals) -> None:
    """Keeps the lines until a signal comes."""
    out.line(f"holding until Ctrl-C: the nodes then {'stay on' if hat.holds_levels else 'lose power'}")
    try:
        signals.wait()
    except Signalled:
        out.line(node_standing(hat))
