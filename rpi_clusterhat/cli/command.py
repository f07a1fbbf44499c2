"""One run of the command, from its arguments to its exit code.

Each command imports what it needs when it runs, so that a ``status`` loads nothing else.
"""

from __future__ import annotations

import gc
import os
import sys
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ClusterHatError
from rpi_clusterhat.streams import fill_closed, output_lost

from .exits import DONE, FAILED, exit_code
from .output import PROGRAM, Output, Told
from .signals import Signalled, Signals

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rpi_clusterhat.clock import Clock

__all__ = ["run"]

_DEBUG = "RPI_CLUSTERHAT_DEBUG"


def run(argv: Sequence[str] | None, clock: Clock | None) -> int:
    if argv is None:
        fill_closed()
    out = Output()
    thresholds = gc.get_threshold()
    # Imports make many objects and no garbage: looking for some takes up to a fifth of a status.
    gc.set_threshold(100_000)
    try:
        with Signals(clock or SYSTEM, last=argv is None) as signals:
            try:
                return _finished(_guarded(sys.argv[1:] if argv is None else list(argv), out, signals), out)
            except Signalled as again:  # while the first was being answered
                return 128 + again.number
    finally:
        gc.set_threshold(*thresholds)
        if argv is None:  # the process ends here: its last collection would look through all modules in vain
            gc.freeze()


def _finished(code: int, out: Output) -> int:
    out.end()
    return code if out.lost is None else output_lost(PROGRAM, out.lost, code)


def _guarded(argv: list[str], out: Output, signals: Signals) -> int:
    try:
        from .parser import parse

        return _perform(parse(argv), out, signals)
    except Told as told:
        out.line(str(told).rstrip("\n"))
        return DONE
    except ClusterHatError as error:
        for text in (str(error), *getattr(error, "__notes__", ())):
            out.error(text)
        return exit_code(error)
    except Signalled as signalled:
        out.error(f"interrupted: {signalled.standing}")
        return 128 + signalled.number
    except Exception as error:  # whatever it is, a user is told in one line what to do about it
        if os.environ.get(_DEBUG):
            raise
        out.error(
            f"internal error: {type(error).__name__}: {error}: "
            f"please run the command again with {_DEBUG}=1 and report what it prints"
        )
        return FAILED


def _perform(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    match args.command:
        case "on" | "off" | "cycle":
            from .nodes import run as perform
        case "run":
            from .run import run as perform
        case "status":
            from .status import run as perform
        case "console":
            from .console import run as perform
        case "setup":
            from .setup import run as perform
        case "init":
            from .init import run as perform
        case "alert" | "led" | "hub" | "wp":
            from .functions import run as perform
        case "backends":
            from .backends import run as perform
        case "boards":
            from .boards import run as perform
        case "settings":
            from .settings import run as perform
        case "completion":
            from .completion import run as perform
        case _:
            from .version import run as perform
    return perform(args, out, signals)
