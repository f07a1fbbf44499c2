"""What switching off means where nodes can be halted first: for threads and for asyncio."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any

from .errors import ClusterHatError, HaltError, HaltRefusedError, NodeFailedError, SupersededError
from .events import CutWithoutHalt, NodeHalted
from .nodes.halt.way import NotWantedError
from .power import plans
from .power.operation import Operation
from .waiting import Sleep, Together

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .nodes.halt.halter import Halter
    from .power.inventory import Inventory, NodeEntry
    from .waiting import Steps

__all__ = ["cycle", "halt_left_half_way", "switch_off"]

_log = logging.getLogger("rpi_clusterhat")


def switch_off(
    inventory: Inventory, halters: Mapping[str, Halter], names: Sequence[str], *, cut: bool = True
) -> Steps[None]:
    """Cuts the power of nodes: of those that have a halter after they are down, each by itself.

    Args:
        inventory: The cluster's.
        halters: What halts nodes, by name.
        names: The nodes.
        cut: Whether a node that cannot be halted loses its power all the same.
    """
    several: list[Steps[None]] = []
    if plain := [name for name in names if name not in halters]:
        several.append(Operation(inventory).steps(plans.switch_off(plain)))
    several += [_halt_and_switch_off(inventory, halters[n], n, cut=cut) for n in names if n in halters]
    if len(several) == 1:
        yield from several[0]
    else:
        outcomes: list[Any] = yield Together(tuple(several))
        _raise_all([outcome for outcome in outcomes if isinstance(outcome, BaseException)])


def cycle(
    inventory: Inventory, halters: Mapping[str, Halter], names: Sequence[str], pause: float
) -> Steps[None]:
    """Off, a pause in seconds, on again, of nodes of which some have halters."""
    yield from Operation(inventory).steps(plans.check_rails(names))
    errors: list[BaseException] = []
    if any(inventory.entries[name].powered for name in names):
        try:
            yield from switch_off(inventory, halters, names)
        except ClusterHatError as error:  # the others are off, and are not left so
            errors.append(error)
        yield Sleep(pause)
    try:
        operation = Operation(inventory)
        halt = halt_left_half_way(operation, inventory, halters)
        yield from operation.steps(plans.switch_on(names, halt))
    except ClusterHatError as error:
        errors.append(error)
    _raise_all(errors)


def halt_left_half_way(
    operation: Operation, inventory: Inventory, halters: Mapping[str, Halter]
) -> plans.Halt:
    """What `plans.switch_on` halts a node with that was asked to halt by somebody who did not wait for it."""

    def halt(name: str) -> Steps[None]:
        if name in halters:
            yield from _halt(operation, inventory, halters[name], name, cut=True)

    return halt


def _halt_and_switch_off(inventory: Inventory, halter: Halter, name: str, *, cut: bool) -> Steps[None]:
    operation = Operation(inventory)
    halt = partial(_halt, operation, inventory, halter, cut=cut)
    yield from operation.steps(plans.halt_and_switch_off(name, halt))


def _halt(operation: Operation, inventory: Inventory, halter: Halter, name: str, *, cut: bool) -> Steps[None]:
    gate = _Gate(operation, inventory.entries[name])
    inventory.deliver()
    halted = yield from halter.steps(inventory.clock, gate)
    if gate.is_over():
        return
    if halted:
        inventory.announce(NodeHalted(name, halted.way, halted.seconds, halted.reason))
    elif cut:
        inventory.announce(CutWithoutHalt(name, halted.reason))
        inventory.deliver()  # the command tells it in its own way, and quiets the log
        _log.warning("%s loses its power without a halt: %s", name, halted.reason)
    else:
        gate.back()
        raise HaltError(f"{name} keeps its power: {halted.reason}")


class _Gate:
    """Between deciding that a node is to halt and telling it.

    It takes no lock: see `Inventory.call_off_halt`.
    """

    def __init__(self, operation: Operation, entry: NodeEntry) -> None:
        self._operation = operation
        self._entry = entry
        self._was_asked = entry.was_asked_to_halt
        """By an earlier halt that was left half way, so that this one cannot be called off."""

    def go(self) -> None:
        entry = self._entry
        # Noted before it is asked whether to go on: who wants it to stay on looks in the other order.
        entry.was_asked_to_halt = True
        if self.is_over() or (entry.desired and not self._was_asked):
            self.back()
            raise NotWantedError

    def back(self) -> None:
        self._entry.was_asked_to_halt = self._was_asked

    def is_wanted(self) -> bool:
        return bool(self._entry.desired) and not self._entry.was_asked_to_halt

    def is_over(self) -> bool:
        return self._entry.halting is not self._operation


def _raise_all(errors: Sequence[BaseException]) -> None:
    """Raises one error for all: the worst, with the texts of those of its kind."""
    kinds = (NodeFailedError, HaltRefusedError, HaltError, SupersededError)
    for kind in kinds:
        if errors and all(isinstance(error, kind) for error in errors):
            raise kind("; ".join(map(str, errors))) from errors[0]
    if errors:
        worst = min(errors, key=lambda error: isinstance(error, kinds) + isinstance(error, SupersededError))
        for error in errors:
            if error is not worst:
                worst.add_note(str(error))
        raise worst
