"""The four banks that the backends are tested on, each with its own way to be prepared and looked at."""

from __future__ import annotations

import contextlib
import os
from abc import ABC, abstractmethod
from functools import cached_property
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.hardware.backend import Line, OpenRequest
from rpi_clusterhat.hardware.boards import board
from rpi_clusterhat.hardware.discovery import load, parse_options
from tests.kernel.inside.bench import Bus, SimulatedChip, kernel_driver, watched, write

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from rpi_clusterhat.hardware.backend import Backend

Change = tuple[int, bool | None]
"""An offset and the level that it was driven to; None where it became an input."""


def open_backend(
    backend: str,
    lines: Sequence[Line],
    given: Mapping[str, object] | None = None,
    lock_dir: str = "/run/rpi-clusterhat",
) -> Backend:
    plugin = load(backend)
    options = parse_options(backend, plugin, given or {}, "test")
    return plugin.open(OpenRequest(lines, options, SYSTEM, lock_dir, {}))


class Bank(ABC):
    """Lines of a board's nodes, the backend that drives them, and the outside's view of them."""

    backend: str
    version: str
    holds: bool
    """Whether these lines keep their levels in truth: what ``holds_levels`` has to say."""

    def __init__(self) -> None:
        self.lines = board(self.version).lines
        self.offsets = [line.offset for line in self.lines if line.name.startswith("p")]

    @property
    @abstractmethod
    def options(self) -> dict[str, object]:
        """The backend's options that lead to this bank."""

    @abstractmethod
    def reset(self) -> None:
        """Makes the bank anew, with all its lines low."""

    @abstractmethod
    def remove(self) -> None:
        """Takes away what `reset` made."""

    @abstractmethod
    def preset(self, levels: Mapping[int, bool]) -> None:
        """Gives lines the levels that another program, gone by now, has left behind."""

    def unset(self) -> bool:
        """Leaves the bank as it comes out of a power loss; False where it has no such state."""
        return False

    @abstractmethod
    def make_input(self, offset: int, level: bool) -> None:
        """Leaves a line that nobody drives, pulled to this level."""

    @abstractmethod
    def pull(self, offset: int, level: bool) -> None:
        """Pulls a line up or down: what it shows while nobody drives it."""

    @abstractmethod
    def outside(self) -> dict[int, bool]:
        """The nodes' lines as a meter shows them."""

    @abstractmethod
    def watch(self) -> contextlib.AbstractContextManager[Callable[[], list[Change]]]:
        """What the nodes' lines are driven to, one after the other."""

    def open(self) -> Backend:
        return open_backend(self.backend, self.lines, self.options)


class _SimulatedBank(Bank):
    version = "1.2"
    chip: SimulatedChip | None = None

    @property
    def simulated(self) -> SimulatedChip:
        assert self.chip is not None
        return self.chip

    @property
    def options(self) -> dict[str, object]:
        return {"chip": self.simulated.label}

    def reset(self) -> None:
        self.remove()
        self.chip = SimulatedChip()

    def remove(self) -> None:
        for name in os.listdir("/sys/class/gpio"):
            if name.startswith("gpio") and name[4:].isdigit():
                write("/sys/class/gpio/unexport", name[4:])
        if self.chip is not None:
            self.chip.remove()
            self.chip = None

    def make_input(self, offset: int, level: bool) -> None:
        with contextlib.suppress(OSError):  # EINVAL where it is not exported
            write("/sys/class/gpio/unexport", self.simulated.base + offset)
        self.pull(offset, level)

    def pull(self, offset: int, level: bool) -> None:
        self.simulated.pull(offset, level)

    def outside(self) -> dict[int, bool]:
        return self.simulated.levels(self.offsets)

    @contextlib.contextmanager
    def watch(self) -> Generator[Callable[[], list[Change]]]:
        base = self.simulated.base
        with watched() as driven:
            yield lambda: [
                (number - base, level) for number, level in driven() if number - base in self.offsets
            ]


class GpiodOnGpioSim(_SimulatedBank):
    backend = "gpiod"
    holds = False

    def preset(self, levels: Mapping[int, bool]) -> None:
        for offset, level in levels.items():
            self.simulated.pull(offset, level)


class SysfsOnGpioSim(_SimulatedBank):
    backend = "sysfs"
    holds = True

    def preset(self, levels: Mapping[int, bool]) -> None:
        for offset, level in levels.items():
            self.export(offset)
            write(f"/sys/class/gpio/gpio{self.simulated.base + offset}/direction", "high" if level else "low")

    def export(self, offset: int) -> None:
        write("/sys/class/gpio/export", self.simulated.base + offset)


class _ExpanderBank(Bank):
    version = "2.3"
    holds = True

    @cached_property
    def bus(self) -> Bus:
        return Bus()

    def reset(self) -> None:
        self.bus.reset()
        self.bus.first.set_up(0x00)
        self.bus.forget()

    def remove(self) -> None:
        self.bus.reset()

    def preset(self, levels: Mapping[int, bool]) -> None:
        self.bus.first.set_up(sum(1 << offset for offset, level in levels.items() if level))

    def unset(self) -> bool:
        self.bus.first.power_cycle()
        return True

    def make_input(self, offset: int, level: bool) -> None:
        self.bus.first.output |= 1 << offset  # as reset leaves it
        self.bus.first.direction |= 1 << offset
        self.pull(offset, level)

    def pull(self, offset: int, level: bool) -> None:
        self.bus.first.external = self.bus.first.external & ~(1 << offset) | level << offset

    def outside(self) -> dict[int, bool]:
        return self.bus.first.levels(self.offsets)

    @contextlib.contextmanager
    def watch(self) -> Generator[Callable[[], list[Change]]]:
        before = self.bus.first.pins
        self.bus.forget()

        def changes() -> list[Change]:
            found: list[Change] = []
            old = before
            for pins in self.bus.pin_history():
                found += [(o, bool(pins >> o & 1)) for o in self.offsets if (pins ^ old) >> o & 1]
                old = pins
            return found

        yield changes


class RawExpander(_ExpanderBank):
    backend = "i2c"

    @property
    def options(self) -> dict[str, object]:
        return {"bus": 1, "address": "0x20"}


class GpiodOnPca953x(_ExpanderBank):
    backend = "gpiod"

    def __init__(self) -> None:
        super().__init__()
        self._driver = contextlib.ExitStack()
        self._label = ""

    @property
    def options(self) -> dict[str, object]:
        return {"chip": self._label}

    def reset(self) -> None:
        with self._rebound():
            super().reset()

    def remove(self) -> None:
        self._driver.close()
        super().remove()

    def preset(self, levels: Mapping[int, bool]) -> None:
        with self._rebound():
            super().preset(levels)

    def unset(self) -> bool:
        with self._rebound():
            return super().unset()

    def make_input(self, offset: int, level: bool) -> None:
        with self._rebound():
            super().make_input(offset, level)

    @contextlib.contextmanager
    def _rebound(self) -> Generator[None]:
        """The driver remembers what it wrote: it looks at the registers only when it is bound."""
        self._driver.close()
        yield
        self._label = self._driver.enter_context(kernel_driver())
