"""The command ``status`` shows what is on, once or each time that something changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat.errors import TransientBusError

from .clusters import altered_line, open_cluster
from .exits import DONE
from .output import PROGRAM, columns
from .signals import Signalled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from rpi_clusterhat.cluster import BoardStatus, Cluster, Status

    from .output import Output
    from .signals import Signals

__all__ = ["run"]


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    with open_cluster(args, out, signals, warn_of_alterations=False) as hat:
        show = _as_json if args.json else _as_table
        if args.watch is None:
            out.line(show(hat.status()))
            return DONE
        try:
            _watch(hat, show, args.watch, out, signals, always=args.json)
        except Signalled:
            if out.terminal:
                out.line("")  # after the ^C
    return DONE


def _watch(
    hat: Cluster,
    show: Callable[[Status], str],
    seconds: float,
    out: Output,
    signals: Signals,
    *,
    always: bool,
) -> None:
    shown = told = ""
    above = 0
    signals.tick = out.watch_reader()
    while out.lost is None:
        due = signals.now() + seconds
        try:
            text = show(hat.status())
        except TransientBusError as error:
            if told != (told := str(error)):
                out.error(told)
            shown, above = "", 0
        else:
            told = ""
            if always:
                out.line(text)
            elif text != shown:
                if out.terminal:
                    out.over(text, above)
                    above = text.count("\n") + 1
                else:
                    out.line(text)
                shown = text
        signals.sleep(due - signals.now())


def _as_json(status: Status) -> str:
    import json

    return json.dumps(status.as_dict())


def _as_table(status: Status) -> str:
    blocks: list[str] = []
    for board in status.boards:
        blocks += _headline(board, status)
        rows: list[tuple[str, ...]] = [("node", "power", "state")]
        for name in board.nodes:
            node = status.nodes[name]
            why = f": {node.failure}" if node.failure else ""
            rows.append((name, _word(on=node.powered), f"{node.state!s}{why}"))
        rows += [(name, _word(on=on), "") for name, on in board.functions.items()]
        blocks.append(columns(rows))
    return "\n".join(blocks)


def _headline(board: BoardStatus, status: Status) -> list[str]:
    lines = [f"Cluster HAT {board.version}, backend {board.backend}"]
    if not board.set_up:
        lines.append(
            "this expander has not been set up since it got power: "
            f"run '{PROGRAM} init' (on and off do it first)"
        )
    if board.altered:
        is_on = {**{name: status.nodes[name].powered for name in board.nodes}, **board.functions}
        on, off = ([n for n in board.altered if is_on[n] is level] for level in (True, False))
        lines.append(altered_line(on, off))
    return lines


def _word(*, on: bool) -> str:
    return "on" if on else "off"
