"""Each operation as a generator of steps: no I/O, no clock. The first step of each reads.

Whoever performs a plan sends each step's answer back; an error, a Ctrl-C or a cancelled task is thrown in,
and the plan yields what has to be done before it lets the error through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rpi_clusterhat import waiting
from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import ClusterHatError, NodeFailedError, StuckLineError, SupersededError
from rpi_clusterhat.waiting import Sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

__all__ = [
    "AwaitHalt",
    "BeginHalt",
    "Boards",
    "Cut",
    "EndHalt",
    "Fail",
    "Halt",
    "Plan",
    "Queue",
    "Read",
    "ReadFunction",
    "Retry",
    "Secure",
    "Seen",
    "SetFunction",
    "SetUp",
    "Settle",
    "Step",
    "SwitchOn",
    "TakeTurn",
    "check_rails",
    "cycle",
    "halt_and_switch_off",
    "pulse_off",
    "set_function",
    "set_up",
    "switch_off",
    "switch_on",
]


# Steps and their answers ----------------------------------------------------------------------------------


class Read(Frozen):
    """Read the boards of these nodes, and note what the nodes are asked to be. Answer: `Seen`."""

    nodes: tuple[str, ...]
    desired: bool | None = None
    """On or off; None where nothing is asked."""


class Seen(Frozen):
    """What a `Read` found."""

    powered: Mapping[str, bool]
    failed: tuple[str, ...] = ()
    queued: tuple[str, ...] = ()
    """Nodes that wait for the rail."""
    unset: tuple[int, ...] = ()
    """Boards (counted from 0) that nobody has set up since they got power."""
    undriven: tuple[str, ...] = ()
    """Nodes whose lines are inputs: what these read is nobody's doing, and may change at any time."""
    stopping: tuple[str, ...] = ()
    """Nodes that are being halted."""


class ReadFunction(Frozen):
    """Read the boards that have this function. Answer: `Boards`."""

    name: str


class Boards(Frozen):
    """Boards, counted from 0, and which of them nobody has set up since they got power."""

    indexes: tuple[int, ...]
    unset: tuple[int, ...] = ()


class SetUp(Frozen):
    """Set up the expander of this board (counted from 0)."""

    board: int
    unlocked: bool = False
    """Whether it goes ahead without a lock that cannot be had."""


class Retry(Frozen):
    """Forget these nodes' failures: what is observed counts again."""

    nodes: tuple[str, ...]


class Queue(Frozen):
    """These nodes will be switched on, each in its turn."""

    nodes: tuple[str, ...]


class TakeTurn(Frozen):
    """Wait until this node may be switched on. Answer: False where it need not be any more."""

    node: str


class Secure(Frozen):
    """See that these nodes can get a turn on their rails, before they lose the power that they have."""

    nodes: tuple[str, ...]


class SwitchOn(Frozen):
    """Switch this node on, in its turn. Answer: False where it is not wanted any more."""

    node: str


class Cut(Frozen):
    """Cut the power of these nodes, with one write for each board."""

    nodes: tuple[str, ...]
    unlocked: bool = False
    """Whether it goes ahead without a lock that cannot be had."""
    unhalted: tuple[str, ...] = ()
    """Those of them that could have been halted first, and were not to be."""


class BeginHalt(Frozen):
    """Say that this node is being halted. Answer: False where another operation halts it."""

    node: str


class EndHalt(Frozen):
    """Say that this node's halt has ended. Answer: whether its power is still this operation's to cut."""

    node: str


class AwaitHalt(Frozen):
    """Wait until no operation halts this node any more.

    Answer: True where it has power and was asked to halt, so that it does not boot before its power is cut.
    """

    node: str


class SetFunction(Frozen):
    """Switch a function of these boards (counted from 0) on or off."""

    name: str
    boards: tuple[int, ...]
    on: bool


class Fail(Frozen):
    """Mark this node as failed."""

    node: str
    reason: str


class Settle(Frozen):
    """End the operation for these nodes: give up turns and places, and see what is really there.

    It never fails. Answer: which of the nodes have power, by name; None if that cannot be read.
    """

    nodes: tuple[str, ...]


Step = (
    Read
    | ReadFunction
    | SetUp
    | Retry
    | Queue
    | Secure
    | TakeTurn
    | SwitchOn
    | Cut
    | BeginHalt
    | EndHalt
    | AwaitHalt
    | SetFunction
    | Fail
    | Settle
    | waiting.Step
)

if TYPE_CHECKING:
    from typing import Any, TypeVar

    _T = TypeVar("_T")
    Plan = Generator[Step, Any, _T]
    Halt = Callable[[str], waiting.Steps[None]]
    """Makes the steps that halt the node of a name. They return when its power can be cut."""


# Operations -----------------------------------------------------------------------------------------------


def switch_on(nodes: Sequence[str], halt: Halt | None = None) -> Plan[None]:
    """Switches nodes on in the order given, each in its turn on the rail.

    A node that is being halted comes after the others. Where its halt was left half way, ``halt`` ends it.
    """
    left = list(nodes)
    return _settled(left, _switch_on(nodes, left, halt))


def _switch_on(nodes: Sequence[str], left: list[str], halt: Halt | None) -> Plan[None]:
    seen = yield from _look(left, desired=True)
    if again := tuple(n for n in nodes if n in seen.failed):
        yield Retry(again)
    left[:] = [n for n in nodes if n not in seen.stopping and (not seen.powered[n] or n in seen.undriven)]
    stuck, superseded = yield from _power_up(left)
    if seen.stopping:
        left[:] = [n for n in nodes if n in seen.stopping]
        halted_stuck, halted_superseded = yield from _switch_halted_on(left, halt)
        stuck.update(halted_stuck)
        superseded += halted_superseded
    _raise(stuck, superseded)


def _switch_halted_on(
    left: list[str], halt: Halt | None
) -> Plan[tuple[dict[str, StuckLineError], list[str]]]:
    """Switches nodes on that were asked to halt: each when it is off, or has stayed on after all."""
    stuck: dict[str, StuckLineError] = {}
    for node in left:
        while (yield AwaitHalt(node)) and (yield BeginHalt(node)):
            if halt is not None:
                yield from halt(node)
            if (yield EndHalt(node)):
                # Not together with the others: until they are down, another caller may have booted it.
                stuck.update((yield from _cut([node])))
                break
    seen: Seen = yield Read(tuple(left))
    left[:] = [n for n in left if n not in stuck and (not seen.powered[n] or n in seen.undriven)]
    stuck_off, superseded = yield from _power_up(left)
    return {**stuck, **stuck_off}, superseded


def switch_off(nodes: Sequence[str], unhalted: Sequence[str] = ()) -> Plan[None]:
    """Cuts the power of nodes, together. Those that wait for the rail lose their place.

    Of the nodes that are ``unhalted`` it is told that they could have been halted first.
    """
    left = list(nodes)
    return _settled(left, _switch_off(nodes, left, unhalted))


def _switch_off(nodes: Sequence[str], left: list[str], unhalted: Sequence[str]) -> Plan[None]:
    seen = yield from _look(left, desired=False)
    others = {*seen.failed, *seen.queued, *seen.undriven}
    asked = [n for n in nodes if seen.powered[n] or n in others]
    stuck = yield from _cut(asked, unlocked=True, unhalted=unhalted)
    left.clear()
    _raise(stuck)


def halt_and_switch_off(node: str, halt: Halt) -> Plan[None]:
    """Halts a node, and then cuts its power. One without power is only switched off."""
    left = [node]
    return _settled(left, _halt_and_switch_off(node, left, halt))


def _halt_and_switch_off(node: str, left: list[str], halt: Halt) -> Plan[None]:
    seen = yield from _look(left, desired=False)
    if node in seen.failed and seen.powered[node]:
        yield Retry((node,))
    while seen.powered[node] and not (yield BeginHalt(node)):
        yield AwaitHalt(node)
        seen = yield Read((node,))
    if seen.powered[node]:
        yield from halt(node)
        if not (yield EndHalt(node)):  # somebody else has cut its power
            left.clear()
            return
    elif node not in (*seen.failed, *seen.queued, *seen.undriven):
        return
    stuck = yield from _cut([node], unlocked=True)
    left.clear()
    _raise(stuck)


def cycle(nodes: Sequence[str], pause: float, unhalted: Sequence[str] = ()) -> Plan[None]:
    """Off, a pause in seconds, on again. Nodes without power are only switched on.

    Of the nodes that are ``unhalted`` it is told that they could have been halted first.
    """
    left = list(nodes)
    return _settled(left, _cycle(nodes, left, pause, unhalted))


def _cycle(nodes: Sequence[str], left: list[str], pause: float, unhalted: Sequence[str]) -> Plan[None]:
    seen = yield from _look(left, desired=True)
    asked = [n for n in nodes if seen.powered[n] or n in seen.failed]
    if asked:
        yield Secure(tuple(nodes))
    stuck = yield from _cut(asked, unhalted=unhalted)
    if any(seen.powered[n] for n in nodes):
        yield Sleep(pause)
    left[:] = [n for n in nodes if n not in stuck]
    stuck_off, superseded = yield from _power_up(left)
    _raise({**stuck, **stuck_off}, superseded)


def check_rails(nodes: Sequence[str]) -> Plan[None]:
    """Sees that nodes could get a turn on their rails."""
    yield Read(tuple(nodes))
    yield Secure(tuple(nodes))


def set_up(nodes: Sequence[str]) -> Plan[bool]:
    """Sets up the boards of these nodes that need it, and says whether there was one."""
    seen: Seen = yield Read(tuple(nodes))
    for board in seen.unset:
        yield SetUp(board)
    return bool(seen.unset)


def set_function(name: str, *, on: bool) -> Plan[None]:
    """Switches a function of all boards that have it."""
    boards: Boards = yield ReadFunction(name)
    for board in boards.unset:
        yield SetUp(board)
    yield SetFunction(name, boards.indexes, on)


def pulse_off(name: str, pause: float) -> Plan[None]:
    """A function off, a pause in seconds, and on again whatever happens in between."""
    boards: Boards = yield ReadFunction(name)
    for board in boards.unset:
        yield SetUp(board)
    try:
        yield SetFunction(name, boards.indexes, on=False)
        yield Sleep(pause)
        yield SetFunction(name, boards.indexes, on=True)
    except GeneratorExit:
        raise
    except BaseException:
        yield SetFunction(name, boards.indexes, on=True)
        raise


# Parts of them --------------------------------------------------------------------------------------------


def _settled(left: list[str], plan: Plan[None]) -> Plan[None]:
    """The plan; where it ends with an error, the nodes that are ``left`` then are settled first."""
    try:
        yield from plan
    except GeneratorExit:
        raise
    except BaseException:
        if left:
            yield Settle(tuple(left))
        raise


def _look(left: list[str], *, desired: bool) -> Plan[Seen]:
    """Reads, sets up the boards that need it, and looks again where there was one."""
    nodes = tuple(left)
    try:
        seen: Seen = yield Read(nodes, desired)
    except ClusterHatError:
        left.clear()  # nothing could be read, so nothing was begun
        raise
    if not seen.unset:
        return seen
    for board in seen.unset:
        yield SetUp(board, unlocked=not desired)
    again: Seen = yield Read(nodes)
    return again.replaced(failed=seen.failed, queued=seen.queued)


def _power_up(left: list[str]) -> Plan[tuple[dict[str, StuckLineError], list[str]]]:
    """Switches the nodes that are ``left`` on, each in its turn.

    Answers with those that still have no power, and why, and those that another caller switched off.
    """
    superseded: list[str] = []
    stuck: dict[str, StuckLineError] = {}
    if left:
        yield Queue(tuple(left))
    while left:
        node = left[0]
        try:
            if (yield TakeTurn(node)) is not False and (yield SwitchOn(node)) is False:
                superseded.append(node)
        except StuckLineError as error:  # this node's trouble, not the others'
            yield Fail(node, str(error))
            stuck[node] = error
        left.pop(0)
    return stuck, superseded


def _cut(
    nodes: Sequence[str], *, unlocked: bool = False, unhalted: Sequence[str] = ()
) -> Plan[dict[str, StuckLineError]]:
    """Cuts the power of nodes, together; answers with those that still have it, and why."""
    stuck: dict[str, StuckLineError] = {}
    if nodes:
        try:
            yield Cut(tuple(nodes), unlocked, tuple(unhalted))
        except StuckLineError as error:  # the trouble of some: the others have lost their power
            powered: Mapping[str, bool | None] = yield Settle(tuple(nodes))
            for node in nodes:
                if powered[node] is not False:
                    yield Fail(node, str(error))
                    stuck[node] = error
    return stuck


def _raise(stuck: Mapping[str, StuckLineError], superseded: Sequence[str] = ()) -> None:
    if stuck:
        raise NodeFailedError(_told_once(stuck)) from next(iter(stuck.values()))
    if superseded:
        raise SupersededError(
            f"another caller switched {', '.join(superseded)} off before its turn on the rail came"
        )


def _told_once(stuck: Mapping[str, StuckLineError]) -> str:
    """Says why nodes failed; what holds for several of them once."""
    causes: dict[tuple[str, str], tuple[list[str], dict[str, None]]] = {}
    for node, error in stuck.items():
        nodes, lines = causes.setdefault((error.text, error.advice), ([], {}))
        nodes.append(node)
        lines.update(dict.fromkeys(error.lines))
    return "; ".join(
        f"{', '.join(nodes)}: {StuckLineError(text, lines, advice)}"
        for (text, advice), (nodes, lines) in causes.items()
    )
