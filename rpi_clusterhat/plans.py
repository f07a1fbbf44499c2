"""Each operation as a generator of steps: no I/O, no clock.

Whoever drives a plan performs each step and sends its answer back; an error, a Ctrl-C or a cancelled task
is thrown in, and the plan yields what has to be done before it lets the error through. A plan that gets no
answers goes by what it was given, so ``list(plan)`` is what it would do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence

from .errors import NodeFailedError, StuckLineError, SupersededError

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


class Read(NamedTuple):
    """Read the boards of these nodes. Answer: which of the nodes have power, by name."""

    nodes: tuple[str, ...]


class SetUp(NamedTuple):
    """Set up the expander of this board (counted from 0)."""

    board: int


class Retry(NamedTuple):
    """Forget these nodes' failures: what is observed counts again."""

    nodes: tuple[str, ...]


class Queue(NamedTuple):
    """These nodes will be switched on, each in its turn."""

    nodes: tuple[str, ...]


class TakeTurn(NamedTuple):
    """Wait until this node may be switched on. Answer: False where it need not be any more."""

    node: str


class PowerUp(NamedTuple):
    """Switch this node on, in its turn. Answer: False where it is not wanted any more."""

    node: str


class Switch(NamedTuple):
    """Set these to on or off (nodes only to off), with one write for each board."""

    levels: Mapping[str, bool]


class Sleep(NamedTuple):
    seconds: float


class Fail(NamedTuple):
    """Mark this node as failed."""

    node: str
    reason: str


class Settle(NamedTuple):
    """The operation ends here for these nodes: give up turns and places, and see what is really there.
    Never fails."""

    nodes: tuple[str, ...]


Step = Read | SetUp | Retry | Queue | TakeTurn | PowerUp | Switch | Sleep | Fail | Settle

if TYPE_CHECKING:
    from typing import Any

    Plan = Generator[Step, Any, None]


def set_up(boards: Sequence[int]) -> Plan:
    """Sets up the boards that nobody has set up since they got power."""
    for board in boards:
        yield SetUp(board)


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
    if unset:
        yield from set_up(unset)
        powered = (yield Read(tuple(nodes))) or powered
    if again := tuple(n for n in nodes if n in failed):
        yield Retry(again)
    waiting = [n for n in nodes if not powered[n]]
    superseded: list[str] = []
    stuck: list[str] = []
    try:
        if waiting:
            yield Queue(tuple(waiting))
        while waiting:
            node = waiting[0]
            try:
                if (yield TakeTurn(node)) is not False and (yield PowerUp(node)) is False:
                    superseded.append(node)
            except StuckLineError as error:  # this node's trouble, not the others'
                yield Fail(node, str(error))
                stuck.append(f"{node}: {error}")
            waiting.pop(0)
    except GeneratorExit:
        raise
    except BaseException:
        yield Settle(tuple(waiting))
        raise
    if stuck:
        raise NodeFailedError("; ".join(stuck))
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
    if unset:
        yield from set_up(unset)
        powered = (yield Read(tuple(nodes))) or powered
    cut = [n for n in nodes if powered[n] or n in failed or n in queued]
    if not cut:
        return
    try:
        yield Switch(dict.fromkeys(cut, False))
    except GeneratorExit:
        raise
    except BaseException as error:
        yield Settle(tuple(cut))
        if isinstance(error, StuckLineError):
            raise NodeFailedError(str(error)) from error
        raise


def cycle(
    nodes: Sequence[str],
    powered: Mapping[str, bool],
    pause: float,
    *,
    failed: Collection[str] = (),
    unset: Sequence[int] = (),
) -> Plan:
    """Off, a pause in seconds, on again. Nodes without power are only switched on."""
    if unset:
        yield from set_up(unset)
        powered = (yield Read(tuple(nodes))) or powered
    yield from switch_off(nodes, powered, failed=failed)
    if any(powered[n] for n in nodes):
        try:
            yield Sleep(pause)
        except GeneratorExit:
            raise
        except BaseException:
            yield Settle(tuple(nodes))
            raise
    yield from switch_on(nodes, dict.fromkeys(nodes, False))


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
    except GeneratorExit:
        raise
    except BaseException:
        yield Switch(dict.fromkeys(targets, True))
        raise
    yield Switch(dict.fromkeys(targets, True))
