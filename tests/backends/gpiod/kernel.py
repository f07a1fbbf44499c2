"""libgpiod as the backend sees it, in memory."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any, Self

import gpiod
from gpiod.line import Direction, Value

from rpi_clusterhat.hardware.backend import Line, OpenRequest
from rpi_clusterhat.hardware.discovery import parse_options
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_gpiod import plugin
from rpi_clusterhat_gpiod.backend import GpiodBackend, open_backend

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


OFFSETS = (6, 13, 19, 26)


class FakeLine:
    def __init__(self, name: str) -> None:
        self.name = name
        self.output = False
        self.said_output = False  # what line info says: brought up to date by a request only
        self.latch = False
        self.pull = False
        self.stuck: bool | None = None
        self.consumer: str | None = None

    @property
    def level(self) -> bool:
        if self.stuck is not None:
            return self.stuck
        return self.latch if self.output else self.pull


class FakeHardware:
    """A chip as the kernel has it: lines are requested one after another, and freed one by one."""

    def __init__(self, name: str, label: str, *, num_lines: int = 54, persists: bool = False) -> None:
        self.name, self.label, self.persists = name, label, persists
        self.lines = [FakeLine(f"GPIO{n}") for n in range(num_lines)]
        self.gone = False
        self.failures: list[int] = []
        self.swallowed = 0
        self.hook: Callable[[], None] | None = None  # called just before the kernel does what it is asked for
        self.calls: list[str] = []
        self.changes: list[tuple[int, bool]] = []

    def levels(self) -> dict[int, bool]:
        return {offset: self.lines[offset].level for offset in OFFSETS}

    def transfer(self, call: str) -> None:
        self.calls.append(call)
        if self.hook:
            self.hook()
        if self.gone:
            raise OSError(errno.ENODEV, "No such device")
        if self.failures:
            raise OSError(self.failures.pop(), "Remote I/O error")

    def drive(self, offset: int, *, output: bool, latch: bool) -> None:
        line = self.lines[offset]
        before = line.level
        line.output = line.said_output = output
        line.latch = latch
        if line.level != before:
            self.changes.append((offset, line.level))

    def free(self, offset: int) -> None:
        line = self.lines[offset]
        line.consumer = None
        if not self.persists and line.output:
            self.drive(offset, output=False, latch=line.latch)
            line.said_output = True


class FakeRequest:
    def __init__(self, hardware: FakeHardware, offsets: list[int]) -> None:
        self.offsets = offsets
        self._hardware = hardware
        self._live = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        assert self._live, "released twice"
        self._live = False
        for offset in self.offsets:
            self._hardware.free(offset)

    def get_values(self) -> list[Value]:
        self._hardware.transfer("get")
        return [Value.ACTIVE if self._hardware.lines[o].level else Value.INACTIVE for o in self.offsets]

    def set_values(self, values: Mapping[int | str, Value]) -> None:
        self._hardware.transfer("set")
        if self._hardware.swallowed:
            self._hardware.swallowed -= 1
            return
        for offset, value in values.items():
            assert isinstance(offset, int)
            if not self._hardware.lines[offset].output:
                raise PermissionError(errno.EPERM, "Operation not permitted")
            self._hardware.drive(offset, output=True, latch=bool(value))

    def reconfigure_lines(self, config: Mapping[int, gpiod.LineSettings]) -> None:
        self._hardware.transfer("reconfigure")
        for offset, settings in config.items():
            assert settings.direction == Direction.OUTPUT
            assert not settings.active_low
            self._hardware.drive(offset, output=True, latch=bool(settings.output_value))


class FakeChip:
    def __init__(self, hardware: FakeHardware, path: str) -> None:
        self.path = path
        self.open = True
        self._hardware = hardware

    def close(self) -> None:
        self.open = False

    def get_info(self) -> gpiod.ChipInfo:
        return gpiod.ChipInfo(self._hardware.name, self._hardware.label, len(self._hardware.lines))

    def get_line_info(self, offset: int) -> gpiod.LineInfo:
        assert self.open
        if self._hardware.gone:
            raise OSError(errno.ENODEV, "No such device")
        line = self._hardware.lines[offset]
        direction = Direction.OUTPUT if line.said_output else Direction.INPUT
        used = line.consumer is not None
        # The bindings say None where the kernel has no consumer, whatever their annotations are.
        consumer: Any = line.consumer or None
        return gpiod.LineInfo(offset, line.name, used, consumer, direction.value, False, 1, 1, 1, 1, False, 0)

    def request_lines(
        self, config: Mapping[tuple[int, ...], gpiod.LineSettings], consumer: str
    ) -> FakeRequest:
        assert self.open
        self._hardware.transfer("request")
        ((offsets, settings),) = config.items()
        assert settings.direction == Direction.AS_IS
        mine: list[int] = []
        for offset in offsets:
            line = self._hardware.lines[offset]
            if line.consumer is not None:
                for taken in mine:
                    self._hardware.free(taken)
                raise OSError(errno.EBUSY, "Device or resource busy")
            line.consumer = consumer
            line.said_output = line.output
            mine.append(offset)
        return FakeRequest(self._hardware, mine)


class FakeKernel:
    """What is under /dev and /sys, and the class that stands in for ``gpiod.Chip``."""

    def __init__(self, folder: Path) -> None:
        self.dev = folder / "dev"
        self.sys = folder / "sys"
        self.dev.mkdir(parents=True)
        self.chips: dict[str, FakeHardware] = {}
        self.denied: set[str] = set()
        self.opened: list[FakeChip] = []

    def add(
        self, hardware: FakeHardware, *, node: str | None = None, driver: str = "gpio-sim"
    ) -> FakeHardware:
        path = self.dev / (node or hardware.name)
        path.touch()
        self.chips[str(path)] = hardware
        device = self.sys / "devices" / hardware.name
        (device / hardware.name).mkdir(parents=True, exist_ok=True)
        links = self.sys / "bus/gpio/devices"
        links.mkdir(parents=True, exist_ok=True)
        if not (links / hardware.name).exists():
            (links / hardware.name).symlink_to(device / hardware.name)
            (self.sys / "drivers" / driver).mkdir(parents=True, exist_ok=True)
            (device / "driver").symlink_to(self.sys / "drivers" / driver)
        return hardware

    def parameter(self, module: str, text: str) -> None:
        folder = self.sys / "module" / module / "parameters"
        folder.mkdir(parents=True)
        (folder / "persist_gpio_outputs").write_text(text)

    def chip(self, path: str) -> FakeChip:
        if path in self.denied:
            raise PermissionError(errno.EACCES, "Permission denied")
        if path not in self.chips:
            raise FileNotFoundError(errno.ENOENT, "No such file or directory")
        chip = FakeChip(self.chips[path], path)
        self.opened.append(chip)
        return chip

    def open(self, clock: FakeClock | None = None, **options: Any) -> GpiodBackend:
        return open_backend(opening(clock, **options), dev=str(self.dev), sysfs=str(self.sys))


def opening(
    clock: FakeClock | None = None, offsets: tuple[int, ...] = OFFSETS, **options: object
) -> OpenRequest:
    lines = [Line(offset, f"p{number}") for number, offset in enumerate(offsets, 1)]
    values = parse_options("gpiod", plugin, options, "test")
    return OpenRequest(lines, values, clock or FakeClock(), "/nowhere", {})
