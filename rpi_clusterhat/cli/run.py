"""The command ``run`` runs a command on nodes, side by side."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ClusterHatError, SettingError
from rpi_clusterhat.nodes.access import NodeDirectory
from rpi_clusterhat.nodes.commands import NodeCommands
from rpi_clusterhat.nodes.finished import Finished
from rpi_clusterhat.waiting import Together, drive

from .clusters import open_cluster, settings_of
from .exits import DONE
from .output import PROGRAM
from .signals import Signalled

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Mapping, Sequence

    from rpi_clusterhat.waiting import Steps

    from .output import Output
    from .signals import Signals

    Outcome = Finished | ClusterHatError

__all__ = ["folded", "groups", "run"]

_NOT_DONE = 255
"""The exit code for a node that did not run the command to its end, as ssh has it."""


def run(args: argparse.Namespace, out: Output, signals: Signals) -> int:
    if not args.words:
        raise SettingError(f"run needs a command after --: {PROGRAM} run p1 -- uptime")
    folds = args.fold if args.fold is not None else out.terminal
    with open_cluster(args, out, signals, warn_of_alterations=False) as hat, ExitStack() as stack:
        names = hat.select(*args.nodes)
        directory = NodeDirectory(settings_of(args, out).node, hat.banks)
        nodes = [NodeCommands(directory[name], args.by) for name in names]
        for node in nodes:
            stack.callback(node.close)
        tell = None if args.json or folds else _teller(out)
        try:
            steps = _all(nodes, args.words, args.timeout, tell)
            outcomes = signals.interrupt(lambda: drive(steps))
        except Signalled as signalled:
            signalled.standing = "the command may run on where it was begun"
            raise
    if args.json:
        import json

        out.line(json.dumps({name: _row(outcome) for name, outcome in outcomes.items()}))
    elif folds:
        for outcome, group in groups(outcomes):
            _teller(out)(group, outcome)
    return max(map(_code, outcomes.values()), default=DONE)


def _all(
    nodes: Sequence[NodeCommands],
    words: Sequence[str],
    timeout: float,
    tell: Callable[[Sequence[str], Outcome], None] | None,
) -> Steps[Mapping[str, Outcome]]:
    end = SYSTEM.now() + timeout

    def one(node: NodeCommands) -> Steps[Outcome]:
        outcome: Outcome
        try:
            outcome = yield from node.steps_run(words, lambda: end - SYSTEM.now())
        except ClusterHatError as error:
            outcome = error
        if tell is not None:
            tell([node.name], outcome)
        return outcome

    outcomes = yield Together(tuple(one(node) for node in nodes))
    for outcome in outcomes:
        if isinstance(outcome, Exception) and not isinstance(outcome, ClusterHatError):
            raise outcome
    return {node.name: outcome for node, outcome in zip(nodes, outcomes, strict=True)}


def _code(outcome: Outcome) -> int:
    return outcome.status if isinstance(outcome, Finished) else _NOT_DONE


def _row(outcome: Outcome) -> Mapping[str, object]:
    if isinstance(outcome, Finished):
        return {"status": outcome.status, "output": outcome.output, "is_complete": outcome.is_complete}
    return {"error": str(outcome)}


def _teller(out: Output) -> Callable[[Sequence[str], Outcome], None]:
    def tell(names: Sequence[str], outcome: Outcome) -> None:
        whose = folded(names)
        if not isinstance(outcome, Finished):
            text = str(outcome)
            out.error(text if text.startswith(f"{whose} ") else f"{whose}: {text}")
            return
        if not outcome.is_complete:
            out.error(f"{whose}: only the end of the output is shown")
        lines = outcome.output.removesuffix("\n").split("\n") if outcome.output else []
        if lines:
            shown = map(_harmless, lines) if out.terminal else lines
            out.line("\n".join(f"{whose}: {line}" for line in shown))
        if outcome.status:
            out.error(f"{whose}: exit status {outcome.status}")

    return tell


def _harmless(line: str) -> str:
    """A line without what would control the terminal."""
    return "".join(c if c.isprintable() or c == "\t" else "\N{REPLACEMENT CHARACTER}" for c in line)


def groups(outcomes: Mapping[str, Outcome]) -> list[tuple[Outcome, list[str]]]:
    """Returns each outcome once, with the names of the nodes that have it, in the order of the first ones."""
    found: dict[object, tuple[Outcome, list[str]]] = {}
    for name, outcome in outcomes.items():
        key = outcome if isinstance(outcome, Finished) else name  # an error names its node
        found.setdefault(key, (outcome, []))[1].append(name)
    return list(found.values())


def folded(names: Sequence[str]) -> str:
    """Writes names as short as a list of nodes can be: ``p[1-3,7]``."""
    numbers = sorted(int(re.sub(r"\D", "", name)) for name in names)
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    if len(numbers) == 1:
        return names[0]
    return f"p[{','.join(str(a) if a == b else f'{a}-{b}' for a, b in ranges)}]"
