"""The command ``boards`` lists which boards are known and which is fitted here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BoardNotFoundError
from rpi_clusterhat.hardware import boards

from .exits import DONE
from .output import columns

if TYPE_CHECKING:
    import argparse

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    del args, signals
    rows = [("version", "backends", "lines (/ is active low)", "")]
    for kind in boards.KINDS.values():
        roles = {**{f"p{i}": role for i, role in enumerate(kind.power, 1)}, **kind.functions}
        lines = [f"{name}={'/' if role.active_low else ''}{role.offset}" for name, role in roles.items()]
        rows.append((kind.name, " ".join(kind.backends), " ".join(lines), kind.note))
    out.line(columns(rows))
    try:
        out.line(f"fitted here: {boards.detect(boards.DEVICE_TREE)}")
    except BoardNotFoundError as error:
        out.line(f"fitted here: none found: {error}")
    return DONE
