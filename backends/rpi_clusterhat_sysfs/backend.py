"""A bank of lines of one chip, exported one by one."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from rpi_clusterhat.errors import (
    BusError,
    ClosedError,
    ClusterHatError,
    DeviceGoneError,
    LineBusyError,
    TransientBusError,
)
from rpi_clusterhat.hardware.gpio import access_denied, claim_lines, require_chip_for_expander, stuck_lines

from .chips import find_chip, require_export
from .files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from rpi_clusterhat.hardware.backend import OpenRequest

    from .chips import SysfsChip

_T = TypeVar("_T")

__all__ = ["SysfsBackend", "open_backend"]

_UDEV = 3.0
"""Seconds to wait until udev has given a new line's files to the group gpio."""
_UDEV_POLL = 0.01

_LOCK = 10.0
"""Seconds to wait for another program of this library, which may itself be waiting for udev."""

_BRIEF = 0.5
"""Seconds to wait for it where nothing is lost without it."""

_PAUSES = (0.01, 0.05)
"""Seconds between tries where an expander's bus fails or another program unexports a line in between."""
_TRANSIENT = (errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENXIO, errno.EAGAIN)
_VANISHED = (errno.ENOENT, errno.ENODEV)


def open_backend(
    request: OpenRequest, *, files: Files | None = None, debug: str = "/sys/kernel/debug/gpio"
) -> SysfsBackend:
    """Finds the chip. Exports nothing. Raises `BackendUnavailableError`.

    ``debug`` is the kernel's list of who holds which line, which often only root may read.
    """
    require_chip_for_expander(request, "chip", "base")
    files = files or Files()
    root: str = request.options["root"]
    chip = find_chip(files, root, request.options["chip"], request.options["base"])
    claim_lines(request, str(chip), chip.num_lines)
    backend = SysfsBackend(chip, request, files, debug)
    if backend.needs_export():
        require_export(files, root)
    return backend


class SysfsBackend:
    """Lines of one chip; see `rpi_clusterhat.hardware.backend.Backend` for which thread may call.

    Lines are exported when they are first needed. An output is never unexported, since that may turn it back
    into an input; an input that was exported here is, by `close`, so that other programs find it free.
    """

    holds_levels = True

    def __init__(self, chip: SysfsChip, request: OpenRequest, files: Files, debug: str) -> None:
        self.is_set_up = False
        """Whether any of the lines was an output at the last read or write."""
        self.inputs: Collection[int] = frozenset()
        """The lines that were inputs at the last read."""
        self._chip = chip
        self._files = files
        self._debug = debug
        self._root: str = request.options["root"]
        self._clock = request.clock
        self._roles = {line.offset: line.name for line in request.lines}
        self._exported: set[int] = set()
        self._closed = False
        self._expander = request.expander
        # Between seeing that a line is an input and unexporting it, no other program may make it an output.
        name = f"sysfs.{chip.label}.{chip.base}"
        self._lock = request.lock(name, timeout=_LOCK)
        self._brief_lock = request.lock(name, timeout=_BRIEF)

    def __repr__(self) -> str:
        state = "closed" if self._closed else f"exported={sorted(self._exported)}"
        return f"<SysfsBackend {self._chip} lines={sorted(self._roles)} {state}>"

    def needs_export(self) -> bool:
        """Whether some line is not exported by anyone."""
        return not all(self._files.exists(self._path(offset)) for offset in self._roles)

    def read(self) -> dict[int, bool]:
        """Levels at the pins; lines stay inputs or outputs as they are."""
        return self._try(self._read)

    def write(self, levels: Mapping[int, bool]) -> None:
        """One line after another, as sysfs has no other way. If one cannot be exported, none is changed."""
        for offset in levels:
            if offset not in self._roles:
                raise ValueError(f"line {offset} is not one of those that {self._chip} was opened with")
        self._try(lambda: self._write(levels))

    set_up = write

    def close(self) -> None:
        """Unexports inputs that were exported here. Outputs stay as they are."""
        self._closed = True
        exported, self._exported = self._exported, set()
        # An input that stays exported does no harm, so nothing here is worth an error.
        with suppress(OSError):
            if exported:
                with self._brief_lock.hold():
                    for offset in exported:
                        self._unexport_input(offset)

    def _unexport_input(self, offset: int) -> None:
        with suppress(OSError):
            if not self._is_output(offset):
                self._files.write(f"{self._root}/unexport", str(self._chip.base + offset))

    def _try(self, call: Callable[[], _T]) -> _T:
        if self._closed:
            raise ClosedError(f"the backend sysfs on {self._chip} was closed")
        pauses = iter(_PAUSES)
        while True:
            try:
                with self._lock.hold():
                    return call()
            except ClusterHatError:
                raise
            except OSError as error:
                pause = next(pauses, None) if error.errno in (*_TRANSIENT, *_VANISHED) else None
                if pause is None:
                    raise self._error(error) from error
                self._clock.sleep(pause)

    def _error(self, error: OSError) -> ClusterHatError:
        where = error.filename or self._chip
        if not self._files.exists(self._chip.path):
            return DeviceGoneError(errno.ENODEV, f"{self._chip} went away: open the cluster anew")
        if error.errno == errno.EACCES:
            return access_denied("write", str(where))
        if error.errno in _VANISHED:
            return LineBusyError(f"{where} is not there: another program or a driver rules over this line")
        kind = TransientBusError if error.errno in _TRANSIENT else BusError
        return kind(error.errno, f"{where}: {error.strerror}: look at its board and bus")

    def _read(self) -> dict[int, bool]:
        self._export(self._roles)
        levels = {offset: self._level(offset) for offset in self._roles}
        self.inputs = {offset for offset in self._roles if not self._is_output(offset)}
        self.is_set_up = len(self.inputs) < len(self._roles)
        return levels

    def _write(self, levels: Mapping[int, bool]) -> None:
        self._export(self._roles if self._expander else levels)
        self._await_permission([self._path(offset, "direction") for offset in levels])
        if self._expander:
            self._keep_low()
        for offset, level in levels.items():
            # Sets direction and level at once, without regard to active_low; on a line that is an output
            # already it only sets the level, and unlike a write to ``value`` it tells when that fails.
            self._files.write(self._path(offset, "direction"), "high" if level else "low")
            self.is_set_up = True
        if wrong := {o: not level for o, level in levels.items() if self._level(o) is not level}:
            raise stuck_lines(self._chip, self._roles, wrong)

    def _keep_low(self) -> None:
        """Makes an expander's driver forget outputs that are low at their pins.

        It writes what it remembers of the other lines. Where the expander lost its power unnoticed, that
        would switch on, together with one line, all that were on before.
        """
        low = [offset for offset in self._roles if self._is_output(offset) and not self._level(offset)]
        self._await_permission([self._path(offset, "value") for offset in low])
        for offset in low:
            inverted = self._files.read(self._path(offset, "active_low")) == "1"
            self._files.write(self._path(offset, "value"), "1" if inverted else "0")

    def _path(self, offset: int, attribute: str = "") -> str:
        return f"{self._root}/gpio{self._chip.base + offset}/{attribute}"

    def _level(self, offset: int) -> bool:
        inverted = self._files.read(self._path(offset, "active_low")) == "1"
        return (self._files.read(self._path(offset, "value")) == "1") is not inverted

    def _is_output(self, offset: int) -> bool:
        return self._files.read(self._path(offset, "direction")) == "out"

    def _export(self, offsets: Iterable[int]) -> None:
        for offset in offsets:
            if self._files.exists(self._path(offset)):
                continue
            try:
                self._files.write(f"{self._root}/export", str(self._chip.base + offset))
            except OSError as error:
                if error.errno != errno.EBUSY:
                    raise
                if not self._files.exists(self._path(offset)):
                    raise LineBusyError(self._busy(offset)) from error
            else:
                self._exported.add(offset)

    def _await_permission(self, paths: list[str]) -> None:
        deadline = self._clock.now() + _UDEV
        for path in paths:
            while not self._files.writable(path):
                if not self._files.exists(path):
                    raise FileNotFoundError(errno.ENOENT, "no such file", path)
                if self._clock.now() >= deadline:
                    raise access_denied("write", path)
                self._clock.sleep(_UDEV_POLL)

    def _busy(self, offset: int) -> str:
        line = f"line {offset} ({self._roles[offset]}) of {self._chip}"
        try:
            listed = self._files.read(self._debug).splitlines()
        except OSError:
            listed = []
        for text in listed:
            number, _, rest = text.strip().partition(" ")
            if number == f"gpio-{self._chip.base + offset}" and "|" in rest:
                holder = rest.partition("|")[2].partition(")")[0].strip()
                return f"{line} is held by {holder!r}: end that program"
        return f"{line} is held by another program or a driver: 'sudo cat {self._debug}' says by which"
