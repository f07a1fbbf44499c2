"""Faults as text: ``p2:no-boot,p3:slow=3,p4:stuck-low,bus:error@5``.

    pN:no-boot      pN:slow=FACTOR      pN:hang=SECONDS after each start      pN:hang now
    pN:drops=SECONDS takes connections and closes them for so long, at the end of each boot
    pN:no-halt ignores that it is asked to halt      pN:halt=SECONDS takes so long      pN:halt-hangs half way
    LINE:stuck-high      LINE:stuck-low      LINE:ok takes all of the line's faults back, and repairs its card
    bus:error@N the N-th access      bus:error@NxM that and the next, M in all
    bus:gone@N from the N-th access on      bus:power-lost now      bus:ok

Lines are named as their board names them: ``p1`` … also on a second board.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

from .node import node_number

if TYPE_CHECKING:
    from .bank import SimBank
    from .consumer import Halting
    from .load import Load
    from .node import SimNode
    from .world import World

__all__ = ["Fault", "parse_faults"]

_ALLOWED = (
    "pN:no-boot, pN:slow=FACTOR, pN:hang, pN:hang=SECONDS, pN:drops=SECONDS, pN:no-halt, pN:halt=SECONDS, "
    "pN:halt-hangs, LINE:stuck-high, LINE:stuck-low, LINE:ok, bus:error@N, bus:error@NxTIMES, bus:gone@N, "
    "bus:power-lost or bus:ok, separated by commas"
)


class Fault(NamedTuple):
    target: str
    """A line's name, or ``bus``."""
    what: str
    value: float | None = None
    times: int = 1

    def apply(self, world: World, bank: SimBank) -> None:
        """Makes it so. Raises `ValueError` where the bank has no such line or node."""
        if self.target == "bus":
            self._apply_to_bus(bank)
            return
        line = bank.line(self.target)
        if line is None:
            names = ", ".join(line.name for line in bank.lines)
            raise ValueError(f"{self}: this board has no line {self.target}: it has {names}")
        if self.what in ("stuck-high", "stuck-low"):
            bank.stick(line.offset, self.what == "stuck-high")
            return
        if self.what == "ok":
            bank.stick(line.offset, None)
        consumer = bank.consumers.get(line.offset)
        if consumer is None:
            return
        node = world.node(consumer.name)
        if self.what == "ok":
            node.fail()
            node.fail_halting()
            node.repair()
        elif self.what == "hang" and self.value is None:
            node.hang()
        elif "halt" in self.what:
            self._fail_halting(node, consumer.halting)
        else:
            self._fail(node, consumer.load)

    def _fail(self, node: SimNode, load: Load) -> None:
        course = load.course
        fails: dict[str, Any] = {
            "boots": course.boots, "slow": load.slow, "hang_after": course.hang_after, "drops": course.drops
        }  # fmt: skip
        if self.what == "no-boot":
            fails["boots"] = False
        else:
            fails["hang_after" if self.what == "hang" else self.what] = self.value
        node.fail(**fails)

    def _fail_halting(self, node: SimNode, halting: Halting) -> None:
        fails: dict[str, Any] = {
            "ignored": halting.ignored, "hangs": halting.hangs, "seconds": halting.time
        }  # fmt: skip
        if self.what == "halt":
            fails["seconds"] = self.value
        else:
            fails["ignored" if self.what == "no-halt" else "hangs"] = True
        node.fail_halting(**fails)

    def _apply_to_bus(self, bank: SimBank) -> None:
        if self.what == "ok":
            bank.heal_bus()
        elif self.what == "power-lost":
            bank.lose_power()
        else:
            bank.fail_bus(int(self.value or 1), self.times, gone=self.what == "gone")

    def __str__(self) -> str:
        return f"{self.target}:{self.what}"


def parse_faults(text: str) -> tuple[Fault, ...]:
    """Raises `ValueError` that says what is allowed, as the parser of an option does."""
    return tuple(_parse(item.strip()) for item in text.split(",") if item.strip())


def _parse(item: str) -> Fault:
    target, _, what = item.partition(":")
    fault = _of_bus(what) if target == "bus" else _of_line(target, what)
    if not target or fault is None:
        raise ValueError(f"{_ALLOWED}, not {item!r}")
    return fault


def _of_bus(what: str) -> Fault | None:
    if what in ("ok", "power-lost"):
        return Fault("bus", what)
    word, _, numbers = what.partition("@")
    number, x, times = numbers.partition("x")
    if word not in ("error", "gone") or (x and word == "gone"):
        return None
    access, repeat = _count(number), _count(times) if x else 1
    return Fault("bus", word, access, repeat) if access and repeat else None


def _of_line(target: str, what: str) -> Fault | None:
    if what in ("stuck-high", "stuck-low", "ok"):
        return Fault(target, what)
    if node_number(target) is None:
        return None
    if what in ("no-boot", "hang", "no-halt", "halt-hangs"):
        return Fault(target, what)
    word, _, number = what.partition("=")
    try:
        value = float(number)
    except ValueError:
        return None
    if not isfinite(value) or value < 0 or (word == "slow" and not value):
        return None
    return Fault(target, word, value) if word in ("slow", "hang", "drops", "halt") else None


def _count(text: str) -> int | None:
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 10 else None
