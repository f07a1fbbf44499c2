"""Opens the cluster that the options of the command line ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.cluster import Cluster
from rpi_clusterhat.errors import ClusterHatError, LevelsNotHeldError
from rpi_clusterhat.events import CutWithoutHalt, LinesAltered, State
from rpi_clusterhat.settings import Settings, load_settings

from .output import PROGRAM, Output, listed

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.events import Event

__all__ = [
    "after_closing",
    "altered_line",
    "node_standing",
    "not_held",
    "open_cluster",
    "settings_of",
]


def settings_of(args: argparse.Namespace, out: Output) -> Settings:
    """Returns the settings, those of the command's options first. Warns of unknown variables."""
    return load_settings({}, command_line=args.settings, warn=out.warning)


def open_cluster(
    args: argparse.Namespace, out: Output, clock: Clock, *, warn_of_alterations: bool = True
) -> Cluster:
    """Opens the cluster that the settings describe."""
    hat = Cluster.of_settings(settings_of(args, out), clock)

    def warn(event: Event) -> None:
        if isinstance(event, CutWithoutHalt):
            _keep_log_quiet()
        elif isinstance(event, LinesAltered):
            _keep_log_quiet()
            if warn_of_alterations:
                board = f"board {event.board + 1}: " if len(hat.boards) > 1 else ""
                out.warning(f"{board}{altered_line(event.on, event.off)}")

    hat.subscribe(warn)
    return hat


def _keep_log_quiet() -> None:
    """What the library logs of an event, the command tells in its own way."""
    import logging

    logger = logging.getLogger("rpi_clusterhat")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())


_HALTING = "halting, with power until it is switched off"


def altered_line(on: Sequence[str], off: Sequence[str]) -> str:
    """Says which nodes and functions something else has changed, by how they are now."""
    found = ", ".join(listed(names, word) for names, word in ((on, "on"), (off, "off")) if names)
    return (
        f"{found}: something else, such as clusterctrl, has changed "
        f"{'it' if len(on) + len(off) == 1 else 'them'} since {PROGRAM} last switched this board"
    )


def not_held(hat: Cluster, remedy: str) -> LevelsNotHeldError:
    names = ", ".join(dict.fromkeys(b.backend_name for b in hat.banks if not b.backend.holds_levels))
    return LevelsNotHeldError(
        f"lines of the backend {names} drop back here when the program that set them ends, so nothing was "
        f"switched: {remedy}a backend that keeps its levels"
    )


def node_standing(hat: Cluster) -> str:
    """Reads which nodes have power, and says so in words."""
    try:
        nodes = hat.status().nodes
    except ClusterHatError as error:
        return f"which nodes are on cannot be read: {error}"
    groups: dict[str, list[str]] = {"on": [], "off": [], _HALTING: []}
    for name, node in nodes.items():
        word = "off" if not node.powered else _HALTING if node.state is State.STOPPING else "on"
        groups[word].append(name)
    return ", ".join(listed(names, word) for word, names in groups.items() if names)


def after_closing(
    hat: Cluster, args: argparse.Namespace, out: Output, clock: Clock, read: Callable[[Cluster], str]
) -> str:
    """What is read of a cluster; where its lines do not keep their levels, after they were given back."""
    if hat.holds_levels:
        return read(hat)
    try:
        hat.close()
    except ClusterHatError as error:
        out.error(str(error))
    try:
        with open_cluster(args, out, clock) as again:
            return read(again)
    except ClusterHatError as error:
        return f"what is on cannot be read: {error}"
