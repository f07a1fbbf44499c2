"""Each operation as a generator of steps: no I/O, no clock.

Whoever drives a plan performs each step and sends its answer back; an error, a Ctrl-C or a cancelled task
is thrown in, and the plan yields what has to be done before it lets the error through. A plan that gets no
answers goes by what it was given, so ``list(plan)`` is what it would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

from rpi_clusterhat.errors import NodeFailedError, StuckLineError, SupersededError

__all__ = [
    "Fail",
    "Plan",
    "PowerUp",
    "Queue",
    "Read",
    "Retry",
    "SetUp",
    "Settle",
    "Sleep",
    "Step",
    "Switch",
    "TakeTurn",
    "cycle",
    "pulse_off",
    "set_up",
    "switch",
    "switch_off",
    "switch_on",
]


class Read(Frozen):
    """Read the boards of these nodes. Answer: which of the nodes have power, by name."""

    nodes: tuple[str, ...]


class SetUp(Frozen):
    """Set up the expander of this board (counted from 0)."""

    board: int


class Retry(Frozen):
    """Forget these nodes' failures: what is observed counts again."""

    nodes: tuple[str, ...]


class Queue(Frozen):
    """These nodes will be switched on, each in its turn."""

    nodes: tuple[str, ...]


class TakeTurn(Frozen):
    """Wait until this node may be switched on. Answer: False where it need not be any more."""

    node: str


class PowerUp(Frozen):
    """Switch this node on, in its turn. Answer: False where it is not wanted any more."""

    node: str


class Switch(Frozen):
    """Set these to on or off (nodes only to off), with one write for each board."""

    levels: Mapping[str, bool]


class Sleep(Frozen):
    seconds: float


class Fail(Frozen):
    """Mark this node as failed."""

    node: str
    reason: str


class Settle(Frozen):
    """The operation ends here for these nodes: give up turns and places, and see what is really there.
    Never fails. Answer: which of the nodes have power, by name."""

    nodes: tuple[str, ...]


Step = Read | SetUp | Retry | Queue | TakeTurn | PowerUp | Switch | Sleep | Fail | Settle

if TYPE_CHECKING:
    from typing import Any, TypeVar

    _T = TypeVar("_T")
    _Answer = Generator[Step, Any, _T]
    Plan = _Answer[None]


def set_up(boards: Sequence[int]) -> Plan:
    """Sets up the boards that nobody has set up since they got power."""
    for board in boards:
        yield SetUp(board)


def _look(
    nodes: Sequence[str], powered: Mapping[str, bool], unset: Sequence[int]
) -> _Answer[Mapping[str, bool]]:
    """Sets up the boards that need it, and says which nodes have power then."""
    if unset:
        yield from set_up(unset)
        powered = (yield Read(tuple(nodes))) or powered
    return powered


def _cut(nodes: Sequence[str]) -> _Answer[dict[str, StuckLineError]]:
    """Cuts the power of nodes, together; answers with those that still have it, and why."""
    stuck: dict[str, StuckLineError] = {}
    if nodes:
        try:
            yield Switch(dict.fromkeys(nodes, False))
        except StuckLineError as error:  # the trouble of some: the others have lost their power
            powered = yield Settle(tuple(nodes))
            for node in nodes:
                if powered[node] is not False:
                    yield Fail(node, str(error))
                    stuck[node] = error
    return stuck


def _raise(stuck: Mapping[str, StuckLineError]) -> None:
    if stuck:
        raise NodeFailedError("; ".join(f"{node}: {error}" for node, error in stuck.items())) from next(
            iter(stuck.values())
        )


def switch_on(
    nodes: Sequence[str],
    powered: Mapping[str, bool],
    *,
    failed: Collection[str] = (),
    unset: Sequence[int] = (),
) -> Plan:
    """Switches nodes on in the order given, each in its turn on the rail.

    ``powered`` says which have power, ``failed`` which are marked as failed, ``unset`` which boards have to
    be set up first.
    """
    left = list(nodes)
    superseded: list[str] = []
    stuck: dict[str, StuckLineError] = {}
    try:
        powered = yield from _look(nodes, powered, unset)
        if again := tuple(n for n in nodes if n in failed):
            yield Retry(again)
        left = [n for n in nodes if not powered[n]]
        if left:
            yield Queue(tuple(left))
        while left:
            node = left[0]
            try:
                if (yield TakeTurn(node)) is not False and (yield PowerUp(node)) is False:
                    superseded.append(node)
            except StuckLineError as error:  # this node's trouble, not the others'
                yield Fail(node, str(error))
                stuck[node] = error
            left.pop(0)
    except GeneratorExit:
        raise
    except BaseException:
        yield Settle(tuple(left))
        raise
    _raise(stuck)
    if superseded:
        raise SupersededError(
            f"{', '.join(superseded)} switched off by another caller while waiting for the rail"
        )


def switch_off(
    nodes: Sequence[str],
    powered: Mapping[str, bool],
    *,
    failed: Collection[str] = (),
    queued: Collection[str] = (),
    unset: Sequence[int] = (),
) -> Plan:
    """Cuts the power of nodes, together. Those that wait for the rail lose their place."""
    try:
        powered = yield from _look(nodes, powered, unset)
        stuck = yield from _cut([n for n in nodes if powered[n] or n in failed or n in queued])
    except GeneratorExit:
        raise
    except BaseException:
        yield Settle(tuple(nodes))
        raise
    _raise(stuck)


def cycle(
    nodes: Sequence[str],
    powered: Mapping[str, bool],
    pause: float,
    *,
    failed: Collection[str] = (),
    unset: Sequence[int] = (),
) -> Plan:
    """Off, a pause in seconds, on again. Nodes without power are only switched on."""
    try:
        powered = yield from _look(nodes, powered, unset)
        stuck = yield from _cut([n for n in nodes if powered[n] or n in failed])
        if any(powered[n] for n in nodes):
            yield Sleep(pause)
    except GeneratorExit:
        raise
    except BaseException:
        yield Settle(tuple(nodes))
        raise
    yield from switch_on([n for n in nodes if n not in stuck], dict.fromkeys(nodes, False))
    _raise(stuck)


def switch(levels: Mapping[str, bool], *, unset: Sequence[int] = ()) -> Plan:
    """Sets functions of the board: ``alert@0`` is the ALERT LED of the first board."""
    yield from set_up(unset)
    yield Switch(levels)


def pulse_off(targets: Sequence[str], pause: float, *, unset: Sequence[int] = ()) -> Plan:
    """Off, a pause in seconds, and on again whatever happens in between."""
    yield from set_up(unset)
    try:
        yield Switch(dict.fromkeys(targets, False))
        yield Sleep(pause)
        yield Switch(dict.fromkeys(targets, True))
    except GeneratorExit:
        raise
    except BaseException:
        yield Switch(dict.fromkeys(targets, True))
        raise
