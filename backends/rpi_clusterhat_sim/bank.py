"""A simulated bank: the lines of one board, whatever they do when they are read and written."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import DeviceGoneError, StuckLineError, TransientBusError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from rpi_clusterhat.hardware.backend import Line

    from .consumer import Consumer
    from .load import NodeModel
    from .supply import Supply
    from .timeline import Timeline

__all__ = ["BusFault", "SimBank"]


class BusFault:
    """Accesses that fail: after ``wait`` more that work, ``times`` of them, or all where that is None."""

    __slots__ = ("gone", "times", "wait")

    def __init__(self, wait: int, times: int | None, *, gone: bool) -> None:
        self.wait = wait
        self.times = times
        self.gone = gone


class SimBank:
    """The lines of one simulated board. It may be used from any thread.

    `World.add_bank` and `World.bank` return it.
    """

    def __init__(
        self,
        timeline: Timeline,
        name: str,
        lines: Sequence[Line],
        consumers: Mapping[int, Consumer],
        supply: Supply,
        model: NodeModel,
        *,
        is_set_up: bool,
        pos: bool,
    ) -> None:
        self.name = name
        self.lines = tuple(lines)
        self.model = model
        self.supply = supply
        self.pos = pos
        """Whether the jumper says that nodes get power before anybody sets the bank up."""
        self.is_set_up = is_set_up
        self.consumers = dict(consumers)
        self.driven = dict.fromkeys([line.offset for line in lines], False)
        """What was written last, by offset."""
        self.stuck: dict[int, bool] = {}
        self.holders: dict[int, str] = {}
        """By offset, the holder with whom a line's level ends; no entry for lines that keep theirs."""
        self.bus_faults: list[BusFault] = []
        self._timeline = timeline

    def __repr__(self) -> str:
        return f"<SimBank {self.name} {self.levels()}>"

    @property
    def node_names(self) -> list[str]:
        return [consumer.name for consumer in self.consumers.values()]

    def levels(self) -> dict[int, bool]:
        """What a meter at the pins shows, by offset. No access to the bus."""
        with self._timeline.lock:
            if self.is_set_up and not self.stuck:
                return dict(self.driven)
            return {offset: self._pin(offset) for offset in self.driven}

    def _pin(self, offset: int) -> bool:
        stuck = self.stuck.get(offset)
        if stuck is not None:
            return stuck
        return self.driven[offset] if self.is_set_up else self.pos and offset in self.consumers

    # Accesses ---------------------------------------------------------------------------------------------

    def read(self) -> dict[int, bool]:
        """The levels at the pins, over the bus."""
        with self._timeline.lock:
            self._access("read", "")
            return self.levels()

    def write(self, levels: Mapping[int, bool], holder: str | None = None) -> None:
        """One transaction. On a bank that nobody has set up, the other lines keep what their pins show.

        Raises `StuckLineError` when all is written and a line does not follow.
        """
        with self._timeline.lock:
            self._write("write", levels, holder)

    def set_up(self, levels: Mapping[int, bool], holder: str | None = None) -> None:
        """As `write`, on whatever was there before."""
        with self._timeline.lock:
            self._write("set-up", levels, holder)

    def _write(self, what: str, levels: Mapping[int, bool], holder: str | None) -> None:
        self._access(what, self._describe(levels))
        self._drive(self._timeline.event(), levels, holder)
        stuck = {o: level for o, level in levels.items() if self.stuck.get(o, level) is not level}
        if stuck:
            raise StuckLineError(
                f"the simulated bank {self.name} has lines that were made to stick",
                (f"{self._line_name(offset)} {_word(not level)}" for offset, level in stuck.items()),
            )

    def _access(self, what: str, detail: str) -> None:
        timeline = self._timeline
        if not self.bus_faults:
            timeline.note(timeline.now(), what, f"bank {self.name}", detail)
            return
        time = timeline.event()
        hit: BusFault | None = None
        for fault in self.bus_faults:
            if fault.wait:
                fault.wait -= 1
            elif hit is None:
                hit = fault
        timeline.note(time, what, f"bank {self.name}", "bus error" if hit else detail)
        if hit is None:
            return
        if hit.gone:
            raise DeviceGoneError(
                errno.ENODEV,
                f"the bus of the simulated bank {self.name} is gone, as was asked for: open it anew",
            )
        if hit.times is not None:
            hit.times -= 1
            if not hit.times:
                self.bus_faults.remove(hit)
        raise TransientBusError(
            errno.EREMOTEIO,
            f"the simulated bank {self.name} does not acknowledge, as was asked for: try again",
        )

    def _drive(self, time: float, levels: Mapping[int, bool], holder: str | None) -> None:
        if not self.is_set_up:
            self.driven = {offset: self._pin(offset) for offset in self.driven}
            self.is_set_up = True
        self.driven.update(levels)
        if holder is not None:
            self.holders.update(dict.fromkeys(levels, holder))
        elif self.holders:
            for offset in levels:
                self.holders.pop(offset, None)
        self._settle(time, levels)

    def _settle(self, time: float, offsets: Iterable[int]) -> None:
        """Brings the nodes' power in line with the pins."""
        off: list[Consumer] = []
        on: list[Consumer] = []
        for offset in offsets:
            consumer = self.consumers.get(offset)
            if consumer is not None and self._pin(offset) is not (consumer.batch is not None):
                (off if consumer.batch is not None else on).append(consumer)
        if off or on:
            self._timeline.switch(time, self.supply, off, on)

    # What happens to it -----------------------------------------------------------------------------------

    def outside(self, levels: Mapping[int, bool]) -> None:
        """Another program switches lines, without an access of ours."""
        self._check(levels)
        with self._timeline.lock:
            time = self._note("outside", self._describe(levels))
            self._drive(time, levels, None)

    def release(self, holders: Collection[str]) -> list[int]:
        """These holders are gone: the lines that they had written drop back to low. Their offsets."""
        with self._timeline.lock:
            lines = [offset for offset, holder in self.holders.items() if holder in holders]
            if lines:
                low = dict.fromkeys(lines, False)
                time = self._note("released", self._describe(low))
                self._drive(time, low, None)
            return lines

    def lose_power(self) -> None:
        """Takes the bank's power away for a moment.

        It comes back as a board that has not been set up: all lines are off, except those of nodes whose
        jumper says on.
        """
        with self._timeline.lock:
            time = self._note("power-lost", "")
            self.holders.clear()
            self.driven = dict.fromkeys(self.driven, False)
            pos, self.pos = self.pos, False
            self.is_set_up = False
            self._settle(time, self.consumers)
            self.pos = pos
            self._settle(time, self.consumers)

    def stick(self, offset: int, level: bool | None) -> None:
        """Makes a line stick at a level; with None it follows again what was written last."""
        self._check([offset])
        with self._timeline.lock:
            if self.stuck.get(offset) is level:
                return
            time = self._note(
                "fault", self._line_name(offset) + (" ok" if level is None else f" stuck {_word(level)}")
            )
            if level is None:
                del self.stuck[offset]
            else:
                self.stuck[offset] = level
            self._settle(time, [offset])

    def fail_bus(self, access: int = 1, times: int | None = 1, *, gone: bool = False) -> None:
        """Has accesses fail with `TransientBusError`.

        Args:
            access: The first access that fails, where 1 is the next one.
            times: How many accesses fail; None for all from then on.
            gone: Whether all accesses from then on fail with `DeviceGoneError` instead.

        Raises:
            ValueError: ``access`` or ``times`` is less than 1.
        """
        if access < 1 or not (times is None or times >= 1):
            raise ValueError("access and times count from 1")
        with self._timeline.lock:
            self._note("fault", f"bus {'gone' if gone else 'error'} at access {access}")
            self.bus_faults.append(BusFault(access - 1, None if gone else times, gone=gone))

    def heal_bus(self) -> None:
        """Accesses work again."""
        with self._timeline.lock:
            if self.bus_faults:
                self._note("fault", "bus ok")
                self.bus_faults.clear()

    def line(self, name: str) -> Line | None:
        """The line of this name."""
        return next((line for line in self.lines if line.name == name), None)

    def _note(self, what: str, detail: str) -> float:
        time = self._timeline.event()
        self._timeline.note(time, what, f"bank {self.name}", detail)
        return time

    def _check(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            if offset not in self.driven:
                raise ValueError(f"bank {self.name} has no line {offset}: it has {sorted(self.driven)}")

    def _line_name(self, offset: int) -> str:
        return next(line.name for line in self.lines if line.offset == offset)

    def _describe(self, levels: Mapping[int, bool]) -> str:
        return " ".join([f"{offset}={'1' if level else '0'}" for offset, level in levels.items()])


def _word(level: bool) -> str:
    return "high" if level else "low"
