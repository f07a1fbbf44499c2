"""The two banks of lines that tests work on, made, driven and looked at from the outside."""

from __future__ import annotations

import contextlib
import grp
import os
import subprocess
import time
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

TRACING = "/sys/kernel/tracing"


def read(path: str) -> str:
    with open(path) as file:
        return file.read().strip()


def write(path: str, text: object) -> None:
    with open(path, "w") as file:
        file.write(str(text))


def until(condition: Callable[[], bool], what: str, seconds: float = 10.0) -> None:
    """Waits for what other processes do."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(0.01)


def as_udev_does(path: str, group: str) -> None:
    """Gives a device to a group, as the rules of Raspberry Pi OS do."""
    os.chown(path, 0, grp.getgrnam(group).gr_gid)
    os.chmod(path, 0o660)


class SimulatedChip:
    """A gpio-sim chip that looks like a Raspberry Pi's header."""

    def __init__(self, name: str = "hat", label: str = "pinctrl-bcm2711", lines: int = 54) -> None:
        self.label = label
        self._config = f"/sys/kernel/config/gpio-sim/{name}"
        bank = f"{self._config}/bank0"
        os.makedirs(bank)
        write(f"{bank}/num_lines", lines)
        write(f"{bank}/label", label)
        for offset in range(28):
            os.mkdir(f"{bank}/line{offset}")
            write(f"{bank}/line{offset}/name", f"GPIO{offset}")
        write(f"{self._config}/live", 1)
        self.chip = read(f"{bank}/chip_name")
        self.device = f"/dev/{self.chip}"
        self._lines = f"/sys/devices/platform/{read(f'{self._config}/dev_name')}/{self.chip}"
        as_udev_does(self.device, "gpio")

    def level(self, offset: int) -> bool:
        return read(f"{self._lines}/sim_gpio{offset}/value") == "1"

    def levels(self, offsets: Iterable[int]) -> dict[int, bool]:
        return {offset: self.level(offset) for offset in offsets}

    def pull(self, offset: int, level: bool) -> None:
        """Pulls an input up or down; what a line goes back to when its driver lets go."""
        write(f"{self._lines}/sim_gpio{offset}/pull", "pull-up" if level else "pull-down")

    @property
    def base(self) -> int:
        """The chip's first number in the old interface."""
        return _base(self.label)

    def remove(self) -> None:
        write(f"{self._config}/live", 0)
        for line in os.listdir(f"{self._config}/bank0"):
            if line.startswith("line"):
                os.rmdir(f"{self._config}/bank0/{line}")
        os.rmdir(f"{self._config}/bank0")
        os.rmdir(self._config)


def _base(label: str) -> int:
    for name in os.listdir("/sys/class/gpio"):
        if name.startswith("gpiochip") and read(f"/sys/class/gpio/{name}/label") == label:
            return int(read(f"/sys/class/gpio/{name}/base"))
    raise AssertionError(f"no chip {label} in /sys/class/gpio")


class Driven(NamedTuple):
    """A line as the kernel was told to drive it: the level, or None where it became an input."""

    number: int
    level: bool | None


@contextlib.contextmanager
def watched() -> Generator[Callable[[], list[Driven]]]:
    """What the kernel's GPIO layer is told to do with any line, step by step, reads left out."""
    write(f"{TRACING}/trace", "")
    write(f"{TRACING}/events/gpio/enable", 1)
    try:
        yield _driven
    finally:
        write(f"{TRACING}/events/gpio/enable", 0)


def _driven() -> list[Driven]:
    found: list[Driven] = []
    for line in read(f"{TRACING}/trace").splitlines():
        _, event, text = line.partition("gpio_value: ")
        if event and " set " in text:
            number, _, level = text.split()
            found.append(Driven(int(number), level == "1"))
        _, event, text = line.partition("gpio_direction: ")
        if event and text.split()[1] == "in":
            found.append(Driven(int(text.split()[0]), None))
    return found


class Message(NamedTuple):
    """An entry of the simulated bus's log: ``w`` and ``r`` are messages, ``p`` new levels at the pins, ``x``
    a power cut."""

    at: float
    """Seconds since the boot."""
    address: int
    kind: str
    result: int
    data: bytes


class Bus:
    """The simulated I2C bus 1."""

    ROOT = "/sys/kernel/debug/i2c-bench"
    DEVICE = "/dev/i2c-1"

    def __init__(self) -> None:
        if not os.path.exists("/sys/module/i2c_bench"):
            subprocess.run(["insmod", f"{os.environ['LAB_MODULES']}/i2c_bench.ko"], check=True)
        as_udev_does(self.DEVICE, "i2c")
        self.first, self.second = Expander(0x20), Expander(0x21)

    def reset(self) -> None:
        """No faults, both expanders fresh from a power-up, the log and the count empty."""
        for knob in ("fail_count", "fail_skip", "fail_late", "delay_us", "combines"):
            write(f"{self.ROOT}/{knob}", 0)
        write(f"{self.ROOT}/fail_errno", 121)
        for expander in (self.first, self.second):
            expander.present(True)
            expander.external = expander.floating = 0x00
            expander.xra1200p(False)
            expander.power_cycle()
        self.forget()

    def fail(self, count: int, errno: int = 121, *, skip: int = 0, late: bool = False) -> None:
        """Lets ``count`` transfers fail (-1: all) after ``skip`` good ones; ``late``: the chip has obeyed."""
        write(f"{self.ROOT}/fail_errno", errno)
        write(f"{self.ROOT}/fail_late", int(late))
        write(f"{self.ROOT}/fail_skip", skip)
        write(f"{self.ROOT}/fail_count", count)

    def combine(self, able: bool) -> None:
        """Whether the controller can do combined transfers other than a write and a read."""
        write(f"{self.ROOT}/combines", int(able))

    def delay(self, microseconds: int) -> None:
        write(f"{self.ROOT}/delay_us", microseconds)

    @property
    def transfers(self) -> int:
        return int(read(f"{self.ROOT}/transfers"))

    def log(self) -> list[Message]:
        entries = (line.split() for line in read(f"{self.ROOT}/log").splitlines())
        return [
            Message(int(at) / 1e6, int(address, 16), kind, int(result), bytes.fromhex("".join(data)))
            for at, address, kind, result, *data in entries
        ]

    def writes(self) -> list[bytes]:
        """Register and value of all writes, in order; a read's choice of its register is none."""
        return [message.data for message in self.log() if message.kind == "w" and len(message.data) > 1]

    def pin_changes(self) -> list[tuple[float, int]]:
        """When the first expander's pins changed since `forget`, and to which levels."""
        return [
            (message.at, message.data[0])
            for message in self.log()
            if (message.address, message.kind) == (0x20, "p")
        ]

    def pin_history(self) -> list[int]:
        """The levels that the first expander's pins went to one after the other since `forget`."""
        return [pins for _, pins in self.pin_changes()]

    def forget(self) -> None:
        write(f"{self.ROOT}/log", 0)
        write(f"{self.ROOT}/transfers", 0)


class Expander:
    """One of the expanders on the bus."""

    def __init__(self, address: int) -> None:
        self._root = f"{Bus.ROOT}/{address:02x}"

    def _get(self, name: str) -> int:
        return int(read(f"{self._root}/{name}"), 16)

    def _set(self, name: str, value: int) -> None:
        write(f"{self._root}/{name}", hex(value))

    @property
    def output(self) -> int:
        return self._get("output")

    @output.setter
    def output(self, value: int) -> None:
        self._set("output", value)

    @property
    def direction(self) -> int:
        return self._get("direction")

    @direction.setter
    def direction(self, value: int) -> None:
        self._set("direction", value)

    @property
    def polarity(self) -> int:
        return self._get("polarity")

    @property
    def external(self) -> int:
        """What drives the pins that are inputs."""
        return self._get("external")

    @external.setter
    def external(self, value: int) -> None:
        self._set("external", value)

    @property
    def floating(self) -> int:
        """Pins that nothing drives: as inputs they show their pull-up."""
        return self._get("floating")

    @floating.setter
    def floating(self, value: int) -> None:
        self._set("floating", value)

    @property
    def pull_ups(self) -> int:
        return self._get("pull_ups")

    @property
    def pins(self) -> int:
        return self._get("pins")

    def levels(self, offsets: Iterable[int]) -> dict[int, bool]:
        pins = self.pins
        return {offset: bool(pins >> offset & 1) for offset in offsets}

    def present(self, present: bool) -> None:
        write(f"{self._root}/present", "Y" if present else "N")

    def xra1200p(self, is_one: bool) -> None:
        """Whether it has the register 04 of an XRA1200P."""
        write(f"{self._root}/xra1200p", int(is_one))

    def power_cycle(self, *, before_transfer: int = 0) -> None:
        """Cuts the power now, or just before the so-and-so-many-th transfer from now."""
        write(f"{self._root}/power_cycle", before_transfer)

    def set_up(self, output: int) -> None:
        """The state that any program leaves behind which has set the expander up."""
        self.output, self.direction = output, 0x00


@contextlib.contextmanager
def kernel_driver(address: int = 0x20, kind: str = "pca9554") -> Generator[str]:
    """The kernel's own driver bound to an expander; gives the label of its chip."""
    bus = "/sys/bus/i2c/devices/i2c-1"
    write(f"{bus}/new_device", f"{kind} {address:#x}")
    try:
        gpio = f"/sys/bus/i2c/devices/1-{address:04x}"
        chip = next(name for name in os.listdir(gpio) if name.startswith("gpiochip"))
        as_udev_does(f"/dev/{chip}", "gpio")
        yield f"1-{address:04x}"
    finally:
        write(f"{bus}/delete_device", f"{address:#x}")
