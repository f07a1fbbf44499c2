"""A world as JSON, and back.

Times are seconds since the controller booted. After a reboot they would mean nothing, so the last event then
counts as having happened at the boot, and what was before it as long before it as it was.
"""

from __future__ import annotations

import json
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rpi_clusterhat.hardware.backend import Line

from .bank import BusFault
from .batch import Batch
from .consumer import Halting
from .course import Course
from .history import Entry
from .holders import is_alive
from .load import Load, NodeModel
from .world import World

if TYPE_CHECKING:
    from rpi_clusterhat.clock import Clock

    from .bank import SimBank
    from .consumer import Consumer
    from .supply import Supply

__all__ = ["decode", "encode"]

_T = TypeVar("_T")

VERSION = 1


def encode(world: World, boot: str) -> bytes:
    """``boot`` names this boot of the machine."""
    return json.dumps(_encode_world(world, boot), separators=(",", ":"), allow_nan=False).encode()


def _encode_world(world: World, boot: str) -> dict[str, Any]:
    timeline = world.timeline
    return {
        "version": VERSION,
        "boot": boot,
        "at": timeline.last,
        "ambient": timeline.ambient,
        "controller": [timeline.controller_warmth, timeline.controller_warm_at],
        "rails": {
            supply.name: {"capacity": supply.capacity, "brownouts": supply.brownouts}
            for supply in timeline.supplies.values()
        },
        "banks": [_encode_bank(bank) for bank in world.banks.values()],
        "history": [list(entry) for entry in timeline.entries],
    }


def _encode_bank(bank: SimBank) -> dict[str, Any]:
    return {
        "name": bank.name,
        "rail": bank.supply.name,
        "model": list(bank.model),
        "pos": bank.pos,
        "set_up": bank.is_set_up,
        "lines": [
            {
                "offset": line.offset,
                "name": line.name,
                "driven": bank.driven[line.offset],
                "stuck": bank.stuck.get(line.offset),
                "holder": bank.holders.get(line.offset),
                "node": _encode_consumer(bank.consumers[line.offset])
                if line.offset in bank.consumers
                else None,
            }
            for line in bank.lines
        ],
        "bus": [[fault.wait, fault.times, fault.gone] for fault in bank.bus_faults],
    }


def _encode_consumer(consumer: Consumer) -> dict[str, Any]:
    consumer.sync()
    return {
        "load": _encode_load(consumer.load),
        "starts": consumer.starts,
        "brownouts": consumer.brownouts,
        "halting": list(consumer.halting),
        "card": [consumer.corrupt, consumer.corruptions],
        "warmth": [consumer.warmth, consumer.warm_at],
        "on": consumer.batch and _encode_batch(consumer.batch),
    }


def _encode_batch(batch: Batch) -> dict[str, Any]:
    return {
        "at": batch.start,
        "inrush": batch.inrush,
        "load": _encode_load(batch.load),
        "boots": batch.boots,
        "hangs": _encode_time(batch.hang_at),
        "writes": _encode_time(batch.write_until),
        "halts": [_encode_time(batch.halt_at), _encode_time(batch.halt_end)],
    }


def _encode_load(load: Load) -> list[Any]:
    return [load.slow, load.course.boots, load.course.hang_after, load.course.drops]


def _encode_time(time: float) -> float | None:
    return time if isfinite(time) else None


def decode(content: bytes, clock: Clock, history: int | None, boot: str) -> World:
    """Raises `ValueError` and its kin, a `LookupError` or a `TypeError` for what is no world."""
    data = _dict(json.loads(content, parse_constant=_no_constant))
    if data.get("version") != VERSION:
        raise ValueError(f"its version is {data.get('version')!r}, this program's is {VERSION}")
    last = _real(data["at"])
    # What a world of before a reboot, or of a clock that has been set anew, calls now.
    shift = -last if _text(data["boot"]) != boot else min(0.0, clock.now() - last)
    return _Decoder(data, last, shift, history, same_boot=data["boot"] == boot).world(clock)


class _Decoder:
    def __init__(self, data: Any, last: float, shift: float, history: int | None, *, same_boot: bool) -> None:
        self._data = data
        self._last = last
        self._shift = shift
        self._history = history
        self._same_boot = same_boot

    def world(self, clock: Clock) -> World:
        data = self._data
        world = World(clock=clock, ambient=_real(data["ambient"]), history=self._history)
        timeline = world.timeline
        for name, rail in _dict(data["rails"]).items():
            world.add_rail(name, _real(rail["capacity"], 0.0))
            timeline.supplies[name].period.number = _count(rail["brownouts"])
        for bank in _list(data["banks"]):
            self._bank(world, bank)
        warmth, warm_at = _list(data["controller"])
        timeline.controller_warmth, timeline.controller_warm_at = _real(warmth), self._time(warm_at)
        for entry in _list(data["history"]):
            time, what, node, detail, course, *until = entry
            timeline.entries.append(
                Entry(
                    _real(time) + self._shift,
                    _text(what),
                    _text(node),
                    _text(detail),
                    None if course is None else _course(course),
                    *(value if value is None else _real(value) + self._shift for value in until),
                )
            )
        timeline.last = self._last + self._shift  # putting it together was no event
        for bank in world.banks.values():
            self._release(bank)
        timeline.version = 0
        return world

    def _bank(self, world: World, data: Any) -> None:
        timeline = world.timeline
        lines = [Line(_count(line["offset"]), _text(line["name"])) for line in _list(data["lines"])]
        model = _model(data["model"])
        first = len(timeline.consumers)
        rail = timeline.supplies[_text(data["rail"])]
        # Set up while it is put together, so that nothing gets power of itself.
        bank = world.add_bank(_text(data["name"]), lines, rail=rail.name, model=model)
        for line, told in zip(lines, data["lines"], strict=True):
            bank.driven[line.offset] = _bool(told["driven"])
            if told["stuck"] is not None:
                bank.stuck[line.offset] = _bool(told["stuck"])
            if told["holder"] is not None:
                bank.holders[line.offset] = _text(told["holder"])
            if line.offset in bank.consumers:
                self._consumer(bank.consumers[line.offset], model, rail, _dict(told["node"]))
        timeline.powered += sum(consumer.batch is not None for consumer in timeline.consumers[first:])
        bank.is_set_up, bank.pos = _bool(data["set_up"]), _bool(data["pos"])
        for wait, times, gone in _list(data["bus"]):
            bank.bus_faults.append(
                BusFault(_count(wait), None if times is None else _count(times), gone=_bool(gone))
            )
        levels = bank.levels()
        for offset, consumer in bank.consumers.items():
            if levels[offset] is not (consumer.batch is not None):
                raise ValueError(f"the level of the line {offset} and the power of {consumer.name} differ")

    def _release(self, bank: SimBank) -> None:
        holders = set(bank.holders.values())
        dead = {holder for holder in holders if not (self._same_boot and is_alive(holder))}
        if dead:
            bank.release(dead)

    def _consumer(self, consumer: Consumer, model: NodeModel, rail: Supply, data: Any) -> None:
        consumer.load = _load(rail, model, data["load"])
        consumer.starts, consumer.brownouts = _count(data["starts"]), _count(data["brownouts"])
        if "card" in data:
            corrupt, corruptions = _list(data["card"])
            consumer.corrupt, consumer.corruptions = _bool(corrupt), _count(corruptions)
            ignored, hangs, seconds = _list(data["halting"])
            seconds = None if seconds is None else _real(seconds, 0.0)
            consumer.halting = Halting(_bool(ignored), _bool(hangs), seconds)
        warmth, warm_at = _list(data["warmth"])
        consumer.warmth, consumer.warm_at = _real(warmth), self._time(warm_at)
        if data["on"] is not None:
            batch = self._batch(model, rail, _dict(data["on"]))
            if data.get("hung", False):  # a file of before there was halting
                batch.hang(batch.start)
            rail.start(consumer, batch, self._last + self._shift)

    def _batch(self, model: NodeModel, rail: Supply, data: Any) -> Batch:
        load = _load(rail, model, data["load"])
        batch = Batch(load, self._time(data["at"]), inrush=_bool(data["inrush"]))
        if "halts" in data:
            halt_at, halt_end = _list(data["halts"])
            batch.boots = _bool(data["boots"])
            batch.hang_at = self._coming(data["hangs"], inf)
            batch.write_until = self._coming(data["writes"], -inf)
            batch.halt_at = self._coming(halt_at, inf)
            batch.halt_end = self._coming(halt_end, inf)
        return batch

    def _coming(self, value: Any, never: float) -> float:
        """A time that may lie ahead."""
        return never if value is None else _real(value) + self._shift

    def _time(self, value: Any) -> float:
        return min(_real(value), self._last) + self._shift


def _model(data: Any) -> NodeModel:
    values = _list(data)
    defaults = list(NodeModel())[: len(values)]  # a file of before there was more to say has fewer
    read: list[Any] = [
        _bool(value) if isinstance(default, bool) else _real(value, 0.0)
        for value, default in zip(values, defaults, strict=True)
    ]
    return NodeModel(*read)


def _load(rail: Supply, model: NodeModel, data: Any) -> Load:
    slow, boots, hang_after, *more = _list(data)
    after = None if hang_after is None else _real(hang_after, 0.0)
    drops = _real(more[0], 0.0) if more else 0.0  # a file of before there was this fault
    return rail.load(model, _real(slow, 0.0), boots=_bool(boots), hang_after=after, drops=drops)


def _course(data: Any) -> Course:
    boot_time, boots, hang_after, *more = _list(data)
    after = None if hang_after is None else _real(hang_after, 0.0)
    course = Course(_real(boot_time, 0.0), _bool(boots), after)
    if not more:
        return course
    drops, writes, corrupt_boots, corrupt = more
    return course._replace(
        drops=_real(drops, 0.0),
        writes=_bool(writes),
        corrupt_boots=_bool(corrupt_boots),
        corrupt=_bool(corrupt),
    )


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _real(value: Any, low: float = -inf) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or value < low:
        raise ValueError(f"a number was expected, not {value!r}")
    return float(value)


def _count(value: Any) -> int:
    number = _a(int, value)
    if isinstance(value, bool) or number < 0:
        raise ValueError(f"a count was expected, not {value!r}")
    return number


def _bool(value: Any) -> bool:
    return _a(bool, value)


def _text(value: Any) -> str:
    return _a(str, value)


def _list(value: Any) -> list[Any]:
    _a(list, value)
    return cast("list[Any]", value)


def _dict(value: Any) -> dict[str, Any]:
    _a(dict, value)
    return cast("dict[str, Any]", value)


def _a(kind: type[_T], value: Any) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{kind.__name__} was expected, not {value!r}")
    return value
