"""Runs the nodes of a state file as computers, for all that share the file, until it is ended.

python -m rpi_clusterhat_sim.rack STATE
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import ClusterHatError, LockTimeoutError
from rpi_clusterhat_sim.state_file import StateFile

from .built import find
from .rack import MEMORY, Rack
from .seat import LAST
from .shared import folder_of, hold, publish
from .station import RackStations

if TYPE_CHECKING:
    from collections.abc import Sequence

_LOOK = 0.1
"""Seconds between two looks whether the world has more nodes."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns an exit code."""
    asked = _parser().parse_args(arguments)
    ended = threading.Event()

    def end(_number: int, _frame: object) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, end)
    try:
        _run(asked, ended)
    except (ClusterHatError, OSError) as error:
        print(f"{_parser().prog}: {error}", file=sys.stderr)
        return 1
    return 0


def _run(asked: argparse.Namespace, ended: threading.Event) -> None:
    source = StateFile(asked.state)
    source.check()
    with ExitStack() as stack:
        try:
            stack.enter_context(hold(source.path).hold())
        except LockTimeoutError as error:
            raise ClusterHatError(f"another process runs the nodes of {source.path} already") from error
        names = [f"p{number}" for number in range(1, asked.nodes + 1)]
        rack = stack.enter_context(
            Rack(names, built=find(asked.rack), folder=folder_of(source.path), memory=asked.memory)
        )
        stations = RackStations(source, rack)
        stack.callback(stations.close)
        publish(source.path, rack)
        print(f"runs {names[0]} to {names[-1]} of {source.path}", flush=True)
        while not ended.wait(_LOOK):
            with source.look() as world:
                known = {node.name for node in world.nodes}
            stations.add(name for name in names if name in known)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__package__}",
        description="Runs the nodes of a state file of the sim backend as computers, until it is ended.",
        epilog="Switch them with: rpi-clusterhat on p1 --backend sim -o state=STATE -o nodes=rack",
    )
    parser.add_argument("state", metavar="STATE", help="the state file")
    parser.add_argument("--nodes", type=_count, default=4, metavar="N", help="how many nodes there are [4]")
    parser.add_argument("--memory", type=int, default=MEMORY, metavar="MB", help="of each node [%(default)s]")
    parser.add_argument("--rack", metavar="FOLDER", help="what 'make rack' built [where it leaves a link]")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= LAST:
        raise argparse.ArgumentTypeError(f"a number from 1 to {LAST}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
