"""A bank of lines of one GPIO chip."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from rpi_clusterhat.errors import (
    BackendError,
    BusError,
    ClosedError,
    DeviceGoneError,
    LineBusyError,
    SettingError,
    TransientBusError,
)
from rpi_clusterhat.hardware.gpio import claim_lines, require_chip_for_expander, stuck_lines

from .chips import describe, open_chip
from .persistence import keeps_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

    from gpiod import Chip, LineInfo, LineRequest

    from rpi_clusterhat.hardware.backend import OpenRequest

_T = TypeVar("_T")

__all__ = ["CONSUMER", "GpiodBackend", "open_backend"]

CONSUMER = "rpi-clusterhat"
_SYSFS = "sysfs"

_PATIENCE = 1.0
"""Seconds to wait for a line that another program of this library holds: most hold it for one call."""
_POLL = 0.002

_PAUSES = (0.01, 0.05)
"""Seconds between tries where an expander's bus fails."""
_TRANSIENT = (errno.EIO, errno.EREMOTEIO, errno.ETIMEDOUT, errno.ENXIO, errno.EAGAIN)


def open_backend(request: OpenRequest, *, dev: str = "/dev", sysfs: str = "/sys") -> GpiodBackend:
    """Finds the chip and opens it. Requests no line. Raises `BackendUnavailableError`.

    A line that is exported through sysfs stays so, and can never be requested: that is told at once, so that
    another backend can be chosen. Who holds a line otherwise may be gone when it is needed.
    """
    require_chip_for_expander(request, "chip")
    chip = open_chip(request.options["chip"], dev)
    info = chip.get_info()
    try:
        claim_lines(request, describe(chip), info.num_lines)
        for line in request.lines:
            if chip.get_line_info(line.offset).consumer == _SYSFS:
                raise LineBusyError(_exported(f"line {line.offset} ({line.name}) of {describe(chip)}"))
    except (BackendError, SettingError, OSError):
        chip.close()
        raise
    persist: str = request.options["persist"]
    holds = keeps_outputs(info.name, sysfs) if persist == "auto" else persist == "yes"
    return GpiodBackend(chip, request, holds_levels=holds)


class GpiodBackend:
    """Lines of one chip; see `rpi_clusterhat.hardware.backend.Backend` for which thread may call.

    Where the chip keeps its outputs, lines are requested for the length of a call only, so that several
    programs can take turns. Where it does not, releasing a line is what would switch it off, so those that
    were written stay requested until `close`.
    """

    def __init__(self, chip: Chip, request: OpenRequest, *, holds_levels: bool) -> None:
        self.holds_levels = holds_levels
        self.is_set_up = False
        """Whether any of the lines was an output at the last read or write."""
        self.inputs: Collection[int] = frozenset()
        """The lines that were inputs at the last read."""
        self._chip: Chip | None = chip
        self._title = describe(chip)
        self._roles = {line.offset: line.name for line in request.lines}
        self._expander = request.expander
        self._clock = request.clock
        self._kept: dict[int, LineRequest] = {}

    def __repr__(self) -> str:
        state = "closed" if self._chip is None else f"kept={sorted(self._kept)}"
        return f"<GpiodBackend {self._title} lines={sorted(self._roles)} {state}>"

    def read(self) -> dict[int, bool]:
        """Levels at the pins; lines stay inputs or outputs as they are."""
        return self._try(self._read)

    def write(self, levels: Mapping[int, bool]) -> None:
        """All lines are requested before the first is changed: if one is busy, none is."""
        for offset in levels:
            if offset not in self._roles:
                raise ValueError(f"line {offset} is not one of those that {self._title} was opened with")
        self._try(lambda chip: self._write(chip, levels))

    set_up = write

    def close(self) -> dict[int, bool] | None:
        """Releases all lines, which lets outputs drop where ``holds_levels`` is False: it reads them then."""
        kept = list(self._kept)
        for request in self._requests(kept):
            request.release()
        self._kept.clear()
        chip, self._chip = self._chip, None
        if chip is None:
            return None
        try:
            return None if self.holds_levels else _left(chip, kept)
        finally:
            chip.close()

    def _try(self, call: Callable[[Chip], _T]) -> _T:
        if self._chip is None:
            raise ClosedError(f"the backend gpiod on {self._title} was closed")
        pauses = iter(_PAUSES)
        while True:
            try:
                return call(self._chip)
            except OSError as error:
                if error.errno == errno.ENODEV:
                    raise DeviceGoneError(
                        errno.ENODEV, f"{self._title} went away: open the cluster anew"
                    ) from error
                if error.errno not in _TRANSIENT:
                    raise BusError(error.errno, f"{self._title}: {error.strerror}") from error
                pause = next(pauses, None)
                if pause is None:
                    raise TransientBusError(
                        error.errno,
                        f"{self._title} does not answer ({error.strerror}): look at its board and bus",
                    ) from error
                self._clock.sleep(pause)

    def _read(self, chip: Chip) -> dict[int, bool]:
        levels: dict[int, bool] = {}
        outputs: set[int] = set()
        for request in self._requests(self._kept):
            levels.update(_levels(request))
            outputs.update(_outputs(chip, request.offsets))
        others = [offset for offset in self._roles if offset not in self._kept]
        # Where a release can drop an output, each line has a request of its own, which can be kept alone.
        for group in [others] if self.holds_levels else [[offset] for offset in others]:
            request = self._request(chip, group)
            keep = False
            try:
                found = _levels(request)
                driven = _outputs(chip, group)
                keep = not self.holds_levels and bool(driven)  # a low one, too: a pull may be up
            finally:
                if keep:
                    self._keep(request)
                else:
                    request.release()
            levels.update(found)
            outputs.update(driven)
        self.is_set_up = bool(outputs)
        self.inputs = self._roles.keys() - outputs
        return levels

    def _write(self, chip: Chip, levels: Mapping[int, bool]) -> None:
        if self._expander and self.holds_levels and levels:
            self._write_expander(chip, levels)
            return
        new = [offset for offset in levels if offset not in self._kept]
        if new:
            request = self._request(chip, new)
            if self.holds_levels:
                with request:
                    self._put(chip, request, levels)
                self.is_set_up = True
                return
            self._keep(request)
        for request in self._requests(levels):
            self._put(chip, request, levels)
            self.is_set_up = True

    def _write_expander(self, chip: Chip, levels: Mapping[int, bool]) -> None:
        """Together with the outputs that are low at their pins, which stay low.

        An expander's driver writes what it remembers of the other lines. Where the expander lost its power
        unnoticed, that would switch on, together with this line, all that were on before.
        """
        with self._request(chip, list(self._roles)) as request:
            low = [offset for offset, level in _levels(request).items() if not level]
            self._put(chip, request, {**dict.fromkeys(_outputs(chip, low), False), **levels})
        self.is_set_up = True

    def _put(self, chip: Chip, request: LineRequest, levels: Mapping[int, bool]) -> None:
        from gpiod import LineSettings
        from gpiod.line import Direction, Value

        wanted = {offset: levels[offset] for offset in request.offsets if offset in levels}
        values: dict[int | str, Value] = {
            offset: Value.ACTIVE if level else Value.INACTIVE for offset, level in wanted.items()
        }
        if len(_outputs(chip, wanted)) == len(wanted):
            request.set_values(values)
            if wanted.items() <= _levels(request).items():
                return
            # Most kernels do not tell when setting values fails on an expander's bus; the next call does.
        request.reconfigure_lines(
            {o: LineSettings(direction=Direction.OUTPUT, output_value=value) for o, value in values.items()}
        )
        found = _levels(request)
        if wrong := {o: found[o] for o, level in wanted.items() if found[o] is not level}:
            raise stuck_lines(self._title, self._roles, wrong)

    def _keep(self, request: LineRequest) -> None:
        self._kept.update(dict.fromkeys(request.offsets, request))

    def _requests(self, offsets: Iterable[int]) -> list[LineRequest]:
        return list({id(self._kept[offset]): self._kept[offset] for offset in offsets}.values())

    def _request(self, chip: Chip, offsets: list[int]) -> LineRequest:
        """Requests these lines as they are: neither their direction nor their level changes."""
        from gpiod import LineSettings

        deadline = self._clock.now() + _PATIENCE
        while True:
            # Asked before, since the kernel requests one after another, and to release the first ones
            # because a later one is busy may change them.
            holder = _holder(chip, offsets)
            cause: OSError | None = None
            if holder is None:
                try:
                    return chip.request_lines({tuple(offsets): LineSettings()}, consumer=CONSUMER)
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    cause = error
                    holder = _holder(chip, offsets)
            if (holder is not None and holder.consumer != CONSUMER) or self._clock.now() >= deadline:
                raise LineBusyError(self._busy(offsets, holder)) from cause
            self._clock.sleep(_POLL)

    def _busy(self, offsets: list[int], info: LineInfo | None) -> str:
        if info is None:
            some = ", ".join(map(str, offsets))
            return f"one of the lines {some} of {self._title} is busy: see who holds it with gpioinfo"
        line = f"line {info.offset} ({self._roles[info.offset]}) of {self._title}"
        if info.consumer == CONSUMER:
            return f"{line} is held by another program of this library ({CONSUMER}): end that one first"
        if info.consumer == _SYSFS:
            return _exported(line)
        if not info.consumer:
            return f"{line} is held by a program without a name or by the kernel: see who with gpioinfo"
        return f"{line} is held by {info.consumer!r}: end that program"


def _left(chip: Chip, offsets: Iterable[int]) -> dict[int, bool]:
    """The levels of lines that were released a moment ago, without those that another program has taken."""
    from gpiod import LineSettings

    levels: dict[int, bool] = {}
    for offset in offsets:
        with suppress(OSError), chip.request_lines({(offset,): LineSettings()}, consumer=CONSUMER) as request:
            levels.update(_levels(request))
    return levels


def _exported(line: str) -> str:
    return f"{line} is exported through sysfs: use the backend sysfs, or unexport it"


def _levels(request: LineRequest) -> dict[int, bool]:
    return {offset: bool(value) for offset, value in zip(request.offsets, request.get_values(), strict=True)}


def _outputs(chip: Chip, offsets: Iterable[int]) -> list[int]:
    """Which of these lines are outputs.

    To be asked of requested lines: the kernel asks the hardware on each request, and of a line that nobody
    holds it may tell what was true some time ago.
    """
    from gpiod.line import Direction

    return [offset for offset in offsets if chip.get_line_info(offset).direction == Direction.OUTPUT]


def _holder(chip: Chip, offsets: Iterable[int]) -> LineInfo | None:
    return next((info for info in map(chip.get_line_info, offsets) if info.used), None)
