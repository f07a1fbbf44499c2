"""A world in a file, which processes share.

Each change is made under a lock beside the file: read, changed, written to a draft, put in the file's
place. So a program that is killed leaves the world as it was before or after, and who only reads needs
neither the lock nor the right to write.

Times in the file are seconds since the controller booted. After a reboot they would mean nothing, so the
last event then counts as having happened at the boot, and what was before it as long before it as it was.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from functools import partial
from math import inf, isfinite
from typing import TYPE_CHECKING, Any, TypeVar, cast

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import AccessDeniedError, BackendError
from rpi_clusterhat.hardware.backend import Line
from rpi_clusterhat.hardware.locks import FileLock, lock_path

from .history import Course, Entry
from .holders import is_alive
from .supply import Batch, Load, Model, Supply
from .world import AMBIENT, Bank, BusFault, World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.clock import Clock

    from .supply import Cell

__all__ = ["HISTORY_IN_FILE", "StateFile"]

_T = TypeVar("_T")

VERSION = 1
HISTORY_IN_FILE = 200


def _this_boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


class StateFile:
    """The world that is in a file; a new one where there is no file or an empty one.

    May be used from any thread and process. ``ambient`` is that of a new world, ``history`` how many
    records the file keeps; reads are not among them, for reading does not write.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock = SYSTEM,
        ambient: float = AMBIENT,
        history: int | None = HISTORY_IN_FILE,
        boot: str | None = None,
    ) -> None:
        self.path = os.path.realpath(path)
        self._clock = clock
        self._ambient = ambient
        self._history = history
        self._watchers: list[Callable[[World], None]] = []
        self._boot = _this_boot() if boot is None else boot
        self._folder, name = os.path.split(self.path)
        self._lock = FileLock(lock_path(self._folder, f"sim-{name}"))

    def __repr__(self) -> str:
        return f"<StateFile {self.path}>"

    @property
    def private_rail(self) -> str:
        """The rails of this file's world are those of all who name this file."""
        from hashlib import blake2s

        return f"sim-{blake2s(os.fsencode(self.path), digest_size=8).hexdigest()}"

    @contextmanager
    def look(self) -> Generator[World]:
        """The world as it is now, to be read: what is changed in it is lost."""
        yield self._load()[0]

    @contextmanager
    def change(self) -> Generator[World]:
        """The world, to be changed: saved at the end, and after a `BackendError` too, for a failed access
        is an event."""
        self._check_folder()
        with self._lock.hold():
            world, mode = self._load()
            before = world.timeline.version
            try:
                yield world
            except BackendError:
                self._save(world, before, mode)
                raise
            self._save(world, before, mode)

    def watch(self, callback: Callable[[World], None]) -> Callable[[], None]:
        """Calls back with the world each time that this object has changed it, in the thread that did.

        Returns a function that ends this.
        """
        self._watchers.append(callback)
        return partial(self._watchers.remove, callback)

    def check(self) -> None:
        """Raises the `BackendError` that using the file would."""
        self._check_folder()
        self._load()
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise self._denied("write", None)

    def _check_folder(self) -> None:
        if not os.path.isdir(self._folder):
            raise BackendError(f"cannot make the state file {self.path}: create the folder {self._folder}")

    def _denied(self, verb: str, cause: OSError | None) -> AccessDeniedError:
        number = cause.errno if cause is not None and cause.errno else errno.EACCES
        advice = (
            f"let this user read it (chmod o+r {self.path})"
            if verb == "read"
            else f"it is replaced as a whole: use a folder in which this user may do that, not {self._folder}"
        )
        return AccessDeniedError(number, f"this user may not {verb} the state file {self.path}: {advice}")

    def _load(self) -> tuple[World, os.stat_result | None]:
        import json

        try:
            # Without O_NONBLOCK, opening a FIFO that was named by mistake would never end.
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return World(clock=self._clock, ambient=self._ambient, history=self._history), None
        except PermissionError as error:
            raise self._denied("read", error) from error
        except OSError as error:
            raise BackendError(f"cannot read the state file {self.path}: {error.strerror}") from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise BackendError(f"{self.path} is not a regular file: name another with state")
        with open(fd, "rb") as file:
            content = file.read()
        if not content:
            return World(clock=self._clock, ambient=self._ambient, history=self._history), status
        try:
            data = json.loads(content, parse_constant=_no_constant)
            world = _decode(data, self._clock, self._history, self._boot)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise BackendError(
                f"{self.path} is not a state of the sim backend ({why}): "
                "remove it to begin anew, or name another file with state"
            ) from error
        return world, status

    def _save(self, world: World, before: int, status: os.stat_result | None) -> None:
        if world.timeline.version == before:
            return
        import json

        content = json.dumps(_encode(world, self._boot), separators=(",", ":"), allow_nan=False).encode()
        # Each user's own: in a sticky folder nobody could clear away another's.
        draft = f"{self.path}.{os.geteuid()}.new"
        try:
            # Under the lock nobody else writes a draft: one that is here was left by a killed program.
            if os.path.lexists(draft):
                os.unlink(draft)
            try:
                fd = os.open(
                    draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
                with open(fd, "wb") as file:
                    file.write(content)
                    if status is None:
                        os.fchmod(fd, 0o644)
                    else:
                        _keep_owner(fd, status)
                        os.fchmod(fd, stat.S_IMODE(status.st_mode))
                os.replace(draft, self.path)
            except OSError:
                if os.path.lexists(draft):
                    os.unlink(draft)
                raise
        except PermissionError as error:
            raise self._denied("write", error) from error
        except OSError as error:
            raise BackendError(f"cannot write the state file {self.path}: {error.strerror}") from error
        for watcher in tuple(self._watchers):
            watcher(world)


def _keep_owner(fd: int, status: os.stat_result) -> None:
    for owner in (status.st_uid, -1):  # only root can give a file away; a group its members can
        try:
            os.fchown(fd, owner, status.st_gid)
            return
        except PermissionError:
            pass


# To and from JSON -------------------------------------------------------------------------------------


def _encode(world: World, boot: str) -> dict[str, Any]:
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


def _encode_bank(bank: Bank) -> dict[str, Any]:
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
                "node": _encode_cell(bank.cells[line.offset]) if line.offset in bank.cells else None,
            }
            for line in bank.lines
        ],
        "bus": [[fault.wait, fault.times, fault.gone] for fault in bank.bus_faults],
    }


def _encode_cell(cell: Cell) -> dict[str, Any]:
    cell.sync()
    batch = cell.batch
    return {
        "load": _encode_load(cell.load),
        "starts": cell.starts,
        "brownouts": cell.brownouts,
        "hung": cell.hung,
        "warmth": [cell.warmth, cell.warm_at],
        "on": batch and {"at": batch.start, "inrush": batch.inrush, "load": _encode_load(batch.load)},
    }


def _encode_load(load: Load) -> list[Any]:
    return [load.slow, load.boots, load.hang_after]


def _decode(data: Any, clock: Clock, history: int | None, boot: str) -> World:
    _dict(data)
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
            timeline.supplies[name].brownouts = _count(rail["brownouts"])
        for bank in _list(data["banks"]):
            self._bank(world, bank)
        warmth, warm_at = _list(data["controller"])
        timeline.controller_warmth, timeline.controller_warm_at = _real(warmth), self._time(warm_at)
        for entry in _list(data["history"]):
            time, what, node, detail, course = entry
            timeline.entries.append(
                Entry(
                    _real(time) + self._shift,
                    _text(what),
                    _text(node),
                    _text(detail),
                    None if course is None else _course(course),
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
        model = Model(*[_real(value, 0.0) for value in _list(data["model"])])
        first = len(timeline.cells)
        rail = timeline.supplies[_text(data["rail"])]
        # Set up while it is put together, so that nothing gets power of itself.
        bank = world.add_bank(_text(data["name"]), lines, rail=rail.name, model=model)
        for line, told in zip(lines, data["lines"], strict=True):
            bank.driven[line.offset] = _bool(told["driven"])
            if told["stuck"] is not None:
                bank.stuck[line.offset] = _bool(told["stuck"])
            if told["holder"] is not None:
                bank.holders[line.offset] = _text(told["holder"])
            if line.offset in bank.cells:
                self._cell(bank.cells[line.offset], model, rail, _dict(told["node"]))
        timeline.powered += sum(cell.batch is not None for cell in timeline.cells[first:])
        bank.is_set_up, bank.pos = _bool(data["set_up"]), _bool(data["pos"])
        for wait, times, gone in _list(data["bus"]):
            bank.bus_faults.append(
                BusFault(_count(wait), None if times is None else _count(times), gone=_bool(gone))
            )
        levels = bank.levels()
        for offset, cell in bank.cells.items():
            if levels[offset] is not (cell.batch is not None):
                raise ValueError(f"the level of the line {offset} and the power of {cell.name} differ")

    def _release(self, bank: Bank) -> None:
        holders = set(bank.holders.values())
        dead = {holder for holder in holders if not (self._same_boot and is_alive(holder))}
        if dead:
            bank.release(dead)

    def _cell(self, cell: Cell, model: Model, rail: Supply, data: Any) -> None:
        cell.load = _load(rail, model, data["load"])
        cell.starts, cell.brownouts = _count(data["starts"]), _count(data["brownouts"])
        cell.hung = _bool(data["hung"])
        warmth, warm_at = _list(data["warmth"])
        cell.warmth, cell.warm_at = _real(warmth), self._time(warm_at)
        on = data["on"]
        if on is not None:
            load = _load(rail, model, on["load"])
            batch = Batch(load, self._time(on["at"]), 0, inrush=_bool(on["inrush"]))
            rail.start(cell, batch, self._last + self._shift)

    def _time(self, value: Any) -> float:
        return min(_real(value), self._last) + self._shift


def _load(rail: Supply, model: Model, data: Any) -> Load:
    slow, boots, hang_after = _list(data)
    after = None if hang_after is None else _real(hang_after, 0.0)
    return rail.load(model, _real(slow, 0.0), boots=_bool(boots), hang_after=after)


def _course(data: Any) -> Course:
    boot_time, boots, hang_after = _list(data)
    after = None if hang_after is None else _real(hang_after, 0.0)
    return Course(_real(boot_time, 0.0), _bool(boots), after)


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
