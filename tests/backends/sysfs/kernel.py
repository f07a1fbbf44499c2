"""The kernel's GPIO in sysfs, in memory."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

from rpi_clusterhat.hardware.backend import Line, OpenRequest
from rpi_clusterhat.hardware.discovery import parse_options
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_sysfs import plugin
from rpi_clusterhat_sysfs.backend import SysfsBackend, open_backend
from rpi_clusterhat_sysfs.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


ROOT = "/sys/class/gpio"


DEBUG = "/sys/kernel/debug/gpio"


OFFSETS = (6, 13, 19, 26)


def fail(code: int, path: str | None = None) -> OSError:
    return OSError(code, os.strerror(code), path)


class FakeLine:
    def __init__(self) -> None:
        self.exported = False
        self.holder = ""
        self.output = False
        self.latch = False
        self.pull = False
        self.active_low = False
        self.writable_from = 0.0
        self.stuck: bool | None = None

    @property
    def level(self) -> bool:
        if self.stuck is not None:
            return self.stuck
        return self.latch if self.output else self.pull


class FakeSysfs(Files):
    """The chips, and what reading and writing their files does. Unexporting turns an output into an input."""

    def __init__(
        self, clock: FakeClock | None = None, *, base: int = 512, label: str = "pinctrl-bcm2711"
    ) -> None:
        self.clock = clock or FakeClock()
        self.chips = {base: (label, 54)}
        self.lines = [FakeLine() for _ in range(54)]
        self.base = base
        self.exportable = True
        self.udev = 0.0
        """Seconds that udev takes to give a new line's files to the group."""
        self.debug = ""
        self.failures: list[OSError] = []
        self.hook: Callable[[str], None] | None = None
        self.changes: list[tuple[int, bool]] = []
        self.written: list[str] = []

    def levels(self) -> dict[int, bool]:
        return {offset: self.lines[offset].level for offset in OFFSETS}

    def exported(self) -> list[int]:
        return [offset for offset, line in enumerate(self.lines) if line.exported]

    def drive(self, offset: int, *, output: bool, latch: bool) -> None:
        line = self.lines[offset]
        before = line.level
        line.output, line.latch = output, latch
        if line.level != before:
            self.changes.append((offset, line.level))

    def take_away(self) -> None:
        self.chips.clear()
        for line in self.lines:
            line.exported = False

    def names(self, folder: str) -> list[str]:
        assert folder == ROOT
        lines = [f"gpio{self.base + offset}" for offset in self.exported()]
        return ["export", "unexport", *lines, *(f"gpiochip{base}" for base in self.chips)]

    def exists(self, path: str) -> bool:
        if path == f"{ROOT}/export":
            return True
        name = path.removeprefix(f"{ROOT}/").split("/")[0]
        if name.startswith("gpiochip"):
            return int(name.removeprefix("gpiochip")) in self.chips
        return self.lines[int(name.removeprefix("gpio")) - self.base].exported

    def writable(self, path: str) -> bool:
        if path == f"{ROOT}/export":
            return self.exportable
        return self.exists(path) and self.line(path).writable_from <= self.clock.now()

    def line(self, path: str) -> FakeLine:
        line = self.lines[self.offset(path)]
        if not line.exported:
            raise fail(errno.ENOENT, path)
        return line

    def offset(self, path: str) -> int:
        return int(path.split("/")[4].removeprefix("gpio")) - self.base

    def read(self, path: str) -> str:
        if path == DEBUG:
            if not self.debug:
                raise fail(errno.EACCES, path)
            return self.debug
        attribute = path.rpartition("/")[2]
        if attribute in ("base", "label", "ngpio"):
            base = int(path.split("/")[4].removeprefix("gpiochip"))
            if base not in self.chips:
                raise fail(errno.ENOENT, path)
            label, count = self.chips[base]
            return {"base": str(base), "label": label, "ngpio": str(count)}[attribute]
        self.trouble(path)
        line = self.line(path)
        if attribute == "direction":
            return "out" if line.output else "in"
        if attribute == "active_low":
            return str(int(line.active_low))
        assert attribute == "value"
        return str(int(line.level is not line.active_low))

    def write(self, path: str, text: str) -> None:
        self.written.append(f"{path.removeprefix(ROOT + '/')}={text}")
        self.trouble(path)
        if path in (f"{ROOT}/export", f"{ROOT}/unexport"):
            offset = int(text) - self.base
            if not self.chips:
                raise fail(errno.EINVAL, path)
            (self.unexport if "un" in path else self.export)(offset)
            return
        if not self.writable(path):
            raise fail(errno.EACCES if self.exists(path) else errno.ENOENT, path)
        if path.endswith("/value"):
            line = self.lines[self.offset(path)]
            assert line.output, "the kernel refuses a value for an input"
            self.drive(self.offset(path), output=True, latch=(text == "1") is not line.active_low)
            return
        assert path.endswith("/direction")
        assert text in ("high", "low")
        self.drive(self.offset(path), output=True, latch=text == "high")

    def export(self, offset: int) -> None:
        line = self.lines[offset]
        if line.exported or line.holder:
            raise fail(errno.EBUSY)
        line.exported = True
        line.writable_from = self.clock.now() + self.udev

    def unexport(self, offset: int) -> None:
        line = self.lines[offset]
        assert line.exported
        line.exported = False
        self.drive(offset, output=False, latch=line.latch)

    def trouble(self, path: str) -> None:
        if self.hook is not None:
            self.hook(path)
        if self.failures:
            raise self.failures.pop()


class Programs:
    """Opens banks on one kernel, each as a program of its own would."""

    def __init__(self, folder: Path) -> None:
        self.clock = FakeClock()
        self.kernel = FakeSysfs(self.clock)
        self.folder = folder

    def opening(self, offsets: tuple[int, ...] = OFFSETS, **options: Any) -> OpenRequest:
        lines = [Line(offset, f"p{number}") for number, offset in enumerate(offsets, 1)]
        return OpenRequest(
            lines, parse_options("sysfs", plugin, options, "test"), self.clock, str(self.folder), {}
        )

    def open(self, offsets: tuple[int, ...] = OFFSETS, **options: Any) -> SysfsBackend:
        return open_backend(self.opening(offsets, **options), files=self.kernel, debug=DEBUG)
