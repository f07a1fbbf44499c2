"""The backend gpiod, on a stand-in for the kernel's character devices."""

from __future__ import annotations

import errno
import os
import sys
import types
from typing import TYPE_CHECKING, Any, Self

import gpiod
import pytest
from gpiod.line import Direction, Value
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    BusError,
    ClosedError,
    DeviceGoneError,
    DeviceNotFoundError,
    LineBusyError,
    MissingDependencyError,
    SettingError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.hardware.backend import Line, OpenRequest, SupportsSetUp
from rpi_clusterhat.hardware.discovery import parse_options
from rpi_clusterhat.testing import BackendConformance, FakeClock
from rpi_clusterhat_gpiod import plugin
from rpi_clusterhat_gpiod.backend import GpiodBackend, open_backend
from rpi_clusterhat_gpiod.persistence import keeps_outputs

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


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeKernel:
    fake = FakeKernel(tmp_path)
    monkeypatch.setattr(gpiod, "Chip", fake.chip)
    return fake


@pytest.fixture
def header(kernel: FakeKernel) -> FakeHardware:
    return kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))


@pytest.fixture
def keeper(kernel: FakeKernel) -> FakeHardware:
    kernel.parameter("pinctrl_bcm2835", "Y\n")
    return kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711", persists=True), driver="pinctrl-bcm2835")


class _Conformance(BackendConformance):
    offsets = OFFSETS
    persists: bool
    kernel: FakeKernel
    hardware: FakeHardware

    @pytest.fixture(autouse=True)
    def _kernel(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.kernel = FakeKernel(tmp_path)
        self.hardware = FakeHardware("gpiochip0", "pinctrl-rp1", persists=self.persists)
        self.kernel.parameter("pinctrl_rp1", "Y" if self.persists else "N")
        self.kernel.add(self.hardware, driver="pinctrl-rp1")
        monkeypatch.setattr(gpiod, "Chip", self.kernel.chip)

    def open(self) -> GpiodBackend:
        return self.kernel.open()

    def outside(self) -> Mapping[int, bool]:
        return self.hardware.levels()

    def make_unset(self) -> bool:
        for offset in self.offsets:
            self.hardware.lines[offset].output = False
            self.hardware.lines[offset].latch = True
        return True

    def teardown_method(self) -> None:
        super().teardown_method()
        assert [line.consumer for line in self.hardware.lines if line.consumer] == []
        assert not any(chip.open for chip in self.kernel.opened)


class TestOnAChipThatKeepsOutputs(_Conformance):
    persists = True


class TestOnAChipThatDropsOutputs(_Conformance):
    persists = False


# Which chip -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", ["pinctrl-bcm2835", "pinctrl-bcm2711", "pinctrl-rp1"])
def test_the_headers_chip_is_found_by_its_label_whatever_its_number(kernel: FakeKernel, label: str) -> None:
    kernel.add(FakeHardware("gpiochip0", "gpio-brcmstb", num_lines=4))
    kernel.add(FakeHardware("gpiochip4", label))
    bank = kernel.open()
    assert repr(bank) == f"<GpiodBackend gpiochip4 ({label}) lines=[6, 13, 19, 26] kept=[]>"
    assert [chip.open for chip in kernel.opened] == [False, True]


def test_one_chip_under_two_paths_is_one_chip(kernel: FakeKernel) -> None:
    chip = kernel.add(FakeHardware("gpiochip0", "pinctrl-rp1"))
    kernel.add(chip, node="gpiochip4")
    kernel.open().close()
    assert not any(chip.open for chip in kernel.opened)


def test_a_chip_that_goes_away_while_it_is_looked_for_is_not_there(
    kernel: FakeKernel, header: FakeHardware
) -> None:
    (kernel.dev / "gpiochip7").touch()
    assert f"({header.label})" in repr(kernel.open())


def test_without_a_known_label_the_names_of_the_lines_decide(kernel: FakeKernel) -> None:
    other = kernel.add(FakeHardware("gpiochip0", "other"))
    for line in other.lines:
        line.name = ""
    kernel.add(FakeHardware("gpiochip1", "small", num_lines=8))
    kernel.add(FakeHardware("gpiochip2", "new-model"))
    assert "gpiochip2" in repr(kernel.open())


@pytest.mark.parametrize("wanted", ["gpiochip1", "{dev}/gpiochip1", "1-0020"])
def test_a_chip_may_be_said_by_path_name_or_label(
    kernel: FakeKernel, header: FakeHardware, wanted: str
) -> None:
    kernel.add(FakeHardware("gpiochip1", "1-0020"))
    assert "gpiochip1 (1-0020)" in repr(kernel.open(chip=wanted.format(dev=kernel.dev)))
    assert header.calls == []


def test_two_chips_that_are_alike_are_not_guessed_between(kernel: FakeKernel, header: FakeHardware) -> None:
    kernel.add(FakeHardware("gpiochip1", header.label))
    with pytest.raises(
        BackendUnavailableError, match=r"gpiochip0 .* and gpiochip1 .* are alike.*chip=.*gpiochip0"
    ):
        kernel.open()
    assert not any(chip.open for chip in kernel.opened)


def test_what_is_not_there_is_told_with_what_there_is(kernel: FakeKernel) -> None:
    with pytest.raises(DeviceNotFoundError, match=r"there is no .*/dev/gpiochip\*"):
        kernel.open()
    kernel.add(FakeHardware("gpiochip0", "1-0020", num_lines=8))
    with pytest.raises(DeviceNotFoundError, match=r"header: it has gpiochip0 \(1-0020\); name"):
        kernel.open()
    with pytest.raises(DeviceNotFoundError, match=r"no chip called 1-0021: it has gpiochip0 \(1-0020\)"):
        kernel.open(chip="1-0021")
    with pytest.raises(DeviceNotFoundError, match=r"no .*gpiochip7"):
        kernel.open(chip=f"{kernel.dev}/gpiochip7")
    with pytest.raises(DeviceNotFoundError, match=r"no line 13 for p2: its last one is 7"):
        kernel.open(chip="1-0020", offsets=(6, 13))
    assert not any(chip.open for chip in kernel.opened)


def test_no_permission_names_the_device_and_the_group(kernel: FakeKernel, header: FakeHardware) -> None:
    kernel.denied.add(f"{kernel.dev}/{header.name}")
    with pytest.raises(AccessDeniedError, match=r"/gpiochip0: join the group gpio") as caught:
        kernel.open()
    assert isinstance(caught.value.__cause__, PermissionError)


def test_what_is_no_gpio_chip_is_said_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(gpiod, "Chip", refuse)
    code = errno.ENOTTY
    with pytest.raises(DeviceNotFoundError, match="/dev/null is not a GPIO chip"):
        plugin.open(opening(chip="/dev/null"))
    code = errno.EMFILE
    with pytest.raises(BackendUnavailableError, match="cannot open /dev/null: Too many open files"):
        plugin.open(opening(chip="/dev/null"))


def test_a_missing_package_is_told_apart_from_an_old_one(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType("gpiod")
    old.__file__ = "/usr/lib/python3/dist-packages/gpiod.so"
    monkeypatch.setitem(sys.modules, "gpiod", old)
    with pytest.raises(
        MissingDependencyError, match=r"dist-packages/gpiod\.so is version 1.*rpi-clusterhat\[gpiod\]"
    ):
        plugin.check(opening().options)
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(MissingDependencyError, match=r"not installed: pip install 'rpi-clusterhat\[gpiod\]'"):
        plugin.open(opening())


def test_check_opens_nothing_for_good_and_requests_nothing(kernel: FakeKernel, header: FakeHardware) -> None:
    plugin.check(opening(chip=f"{kernel.dev}/gpiochip0").options)
    assert header.calls == []
    assert not any(chip.open for chip in kernel.opened)
    with pytest.raises(DeviceNotFoundError):
        plugin.check(opening(chip=f"{kernel.dev}/gpiochip7").options)


@pytest.mark.parametrize(("option", "text"), [("chip", " "), ("persist", "perhaps")])
def test_options_that_cannot_be_read_are_refused(option: str, text: str) -> None:
    with pytest.raises(SettingError, match=option):
        parse_options("gpiod", plugin, {option: text}, "test")


# Whether levels stay --------------------------------------------------------------------------------


@pytest.mark.parametrize(("text", "holds"), [("Y\n", True), ("1\n", True), ("N\n", False), (None, False)])
def test_the_pin_controllers_parameter_decides(kernel: FakeKernel, text: str | None, holds: bool) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"), driver="pinctrl-bcm2835")
    if text is not None:
        kernel.parameter("pinctrl_bcm2835", text)
    kernel.parameter("pinctrl_other", "Y")
    assert keeps_outputs("gpiochip0", str(kernel.sys)) is holds
    assert kernel.open().holds_levels is holds


def test_the_parameter_is_found_through_the_drivers_module_too(kernel: FakeKernel) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-rp1"), driver="rp1-pins")
    kernel.parameter("pinctrl_rp1", "Y")
    (kernel.sys / "drivers/rp1-pins/module").symlink_to(kernel.sys / "module/pinctrl_rp1")
    assert keeps_outputs("gpiochip0", str(kernel.sys))


def test_the_registers_of_an_expander_hold(kernel: FakeKernel) -> None:
    kernel.add(FakeHardware("gpiochip0", "1-0020"), driver="pca953x")
    assert kernel.open(chip="1-0020").holds_levels


def test_a_chip_without_a_device_folder_is_not_trusted(kernel: FakeKernel) -> None:
    assert not keeps_outputs("gpiochip0", str(kernel.sys))


@pytest.mark.parametrize(
    ("persist", "found", "holds"),
    [("yes", "N", True), (True, "N", True), ("no", "Y", False), (False, "Y", False), ("AUTO", "Y", True)],
)
def test_persist_overrides_what_is_found_out(
    kernel: FakeKernel, persist: object, found: str, holds: bool
) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-rp1"), driver="pinctrl-rp1")
    kernel.parameter("pinctrl_rp1", found)
    assert kernel.open(persist=persist).holds_levels is holds


# Who holds which line -------------------------------------------------------------------------------


def test_where_outputs_stay_programs_take_turns(kernel: FakeKernel, keeper: FakeHardware) -> None:
    one, other = kernel.open(), kernel.open()
    one.write({6: True})
    other.write({13: True})
    assert one.read() == other.read() == {6: True, 13: True, 19: False, 26: False}
    other.write({6: False})
    assert one.read()[6] is False
    assert keeper.changes == [(6, True), (13, True), (6, False)]


def test_where_outputs_drop_only_written_lines_are_kept(kernel: FakeKernel, header: FakeHardware) -> None:
    one, other = kernel.open(), kernel.open()
    one.write({6: True, 13: False})
    other.write({19: True})
    assert "kept=[6, 13]" in repr(one)
    one.write({6: False, 26: True})
    assert header.levels() == {6: False, 13: False, 19: True, 26: True}
    one.close()
    assert header.levels() == {6: False, 13: False, 19: True, 26: False}
    assert [line.consumer for line in header.lines if line.consumer] == ["rpi-clusterhat"]


def test_a_turn_of_another_program_is_waited_for(kernel: FakeKernel, keeper: FakeHardware) -> None:
    class Ends(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.sleeps) == 3:
                keeper.lines[13].consumer = None

    clock = Ends()
    keeper.lines[13].consumer = "rpi-clusterhat"
    bank = kernel.open(clock)
    bank.write({6: True, 13: True})
    assert keeper.levels() == {6: True, 13: True, 19: False, 26: False}
    assert len(clock.sleeps) == 3


def test_a_turn_that_does_not_end_is_an_error_after_a_second(
    kernel: FakeKernel, keeper: FakeHardware
) -> None:
    clock = FakeClock()
    keeper.lines[13].consumer = "rpi-clusterhat"
    with pytest.raises(
        LineBusyError, match=r"line 13 \(p2\) of gpiochip0 .* another program of this library"
    ):
        kernel.open(clock).read()
    assert sum(clock.sleeps) == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("consumer", "text"), [("gpioset", "'gpioset'"), ("sysfs", "backend sysfs"), ("", "without a name")]
)
def test_a_busy_line_names_its_holder_and_nothing_is_touched(
    kernel: FakeKernel, header: FakeHardware, consumer: str, text: str
) -> None:
    clock = FakeClock()
    header.lines[13].consumer = consumer
    header.drive(6, output=True, latch=True)  # as a boot loader left it: requested and freed, it would drop
    header.changes.clear()
    bank = kernel.open(clock)
    with pytest.raises(LineBusyError, match=rf"line 13 \(p2\) of gpiochip0 \(pinctrl-bcm2711\).*{text}"):
        bank.write({6: False, 13: True})
    assert clock.sleeps == []
    assert header.calls == []
    assert header.changes == []


def test_who_takes_a_line_in_the_very_moment_is_named_too(kernel: FakeKernel, keeper: FakeHardware) -> None:
    bank = kernel.open()

    def race() -> None:
        keeper.lines[19].consumer = "gpioset"

    keeper.hook = race
    with pytest.raises(LineBusyError, match=r"line 19 .*gpioset") as caught:
        bank.read()
    assert isinstance(caught.value.__cause__, OSError)


def test_a_line_that_is_busy_for_no_visible_reason_is_an_error_too(
    kernel: FakeKernel, keeper: FakeHardware
) -> None:
    bank = kernel.open()

    def refuse() -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    keeper.hook = refuse
    with pytest.raises(LineBusyError, match=r"one of the lines 6, 13, 19, 26 of gpiochip0 .* gpioinfo"):
        bank.read()


# Levels ---------------------------------------------------------------------------------------------


def test_an_output_that_nobody_holds_is_not_dropped_by_reading_it(
    kernel: FakeKernel, header: FakeHardware
) -> None:
    header.drive(6, output=True, latch=True)
    header.changes.clear()
    bank = kernel.open()
    assert bank.read()[6]
    assert bank.is_set_up
    assert "kept=[6]" in repr(bank)
    assert bank.read() == {6: True, 13: False, 19: False, 26: False}
    assert header.changes == []
    bank.write({6: False})
    assert header.changes == [(6, False)]


def test_what_line_info_says_of_a_line_that_nobody_holds_is_not_believed(
    kernel: FakeKernel, header: FakeHardware
) -> None:
    first = kernel.open()
    first.write({6: True})
    first.close()
    assert header.lines[6].said_output
    second = kernel.open()
    assert not second.read()[6]
    assert not second.is_set_up
    second.write({6: True})
    assert header.levels()[6]


def test_outputs_change_in_one_call_and_inputs_become_outputs_with_their_level(
    kernel: FakeKernel, keeper: FakeHardware
) -> None:
    keeper.lines[13].pull = True
    bank = kernel.open()
    bank.write({6: False, 13: True, 19: True, 26: False})
    assert keeper.calls == ["request", "reconfigure", "get"]
    assert keeper.changes == [(19, True)], "a level changed on the way"
    keeper.calls.clear()
    bank.write(dict.fromkeys(OFFSETS, False))
    assert keeper.calls == ["request", "set", "get"]


def test_a_write_that_the_kernel_lost_is_noticed_and_done(kernel: FakeKernel, keeper: FakeHardware) -> None:
    bank = kernel.open()
    bank.write({6: True})
    keeper.swallowed = 1
    bank.write({6: False})
    assert not keeper.levels()[6]


def test_a_bus_that_fails_for_a_moment_is_tried_again(kernel: FakeKernel, keeper: FakeHardware) -> None:
    clock = FakeClock()
    bank = kernel.open(clock)
    keeper.failures = [errno.EREMOTEIO, errno.ETIMEDOUT]
    assert not bank.read()[6]
    assert clock.sleeps == [0.01, 0.05]
    keeper.failures = [errno.EIO] * 3
    with pytest.raises(TransientBusError, match=r"gpiochip0 .* does not answer") as caught:
        bank.write({6: True})
    assert caught.value.errno == errno.EIO
    keeper.failures = [errno.EINVAL]
    with pytest.raises(BusError, match="gpiochip0") as other:
        bank.read()
    assert type(other.value) is BusError
    assert [line.consumer for line in keeper.lines if line.consumer] == []


@pytest.mark.parametrize("persists", [True, False])
def test_a_chip_that_went_away_is_told_and_can_be_closed(kernel: FakeKernel, persists: bool) -> None:
    chip = kernel.add(FakeHardware("gpiochip0", "pinctrl-rp1", persists=persists))
    bank = kernel.open(persist=persists)
    bank.write({6: True})
    chip.gone = True
    with pytest.raises(DeviceGoneError, match="gpiochip0"):
        bank.read()
    with pytest.raises(DeviceGoneError):
        bank.write({6: False})
    bank.close()
    assert repr(bank).endswith("closed>")
    with pytest.raises(ClosedError):
        bank.read()


def test_a_bank_of_inputs_is_not_set_up(kernel: FakeKernel, keeper: FakeHardware) -> None:
    bank = kernel.open()
    assert isinstance(bank, SupportsSetUp)
    bank.read()
    before = bank.is_set_up
    bank.set_up({6: False})
    assert (before, bank.is_set_up) == (False, True)
    other = kernel.open()
    other.read()
    assert other.is_set_up
    assert keeper.changes == []


_STEP = st.one_of(
    st.just("read"), st.just("reopen"), st.dictionaries(st.sampled_from(OFFSETS), st.booleans(), max_size=4)
)


@given(steps=st.lists(_STEP, max_size=12), persists=st.booleans(), pulls=st.tuples(*[st.booleans()] * 4))
def test_each_level_changes_when_it_is_written_and_never_else(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], persists: bool, pulls: tuple[bool, ...]
) -> None:
    kernel = FakeKernel(tmp_path_factory.mktemp("kernel"))
    chip = kernel.add(FakeHardware("gpiochip0", "pinctrl-rp1", persists=persists))
    idle = dict(zip(OFFSETS, pulls, strict=True))
    for offset, pull in idle.items():
        chip.lines[offset].pull = pull
    expected = dict(idle)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gpiod, "Chip", kernel.chip)
        bank = kernel.open(persist=persists)
        for step in steps:
            chip.changes.clear()
            if step == "read":
                assert bank.read() == expected
            elif step == "reopen":
                bank.close()
                bank = kernel.open(persist=persists)
                if not persists:
                    expected = dict(idle)
                    chip.changes.clear()
            else:
                due = [(offset, level) for offset, level in step.items() if expected[offset] != level]
                bank.write(step)
                expected.update(step)
                assert sorted(chip.changes) == sorted(due)
                chip.changes.clear()
            assert chip.levels() == expected
            assert chip.changes == []
        bank.close()


def test_an_expanders_lines_are_never_sought_on_the_header(kernel: FakeKernel) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))
    with pytest.raises(SettingError, match="chip=1-0020"):
        plugin.open(opening(offsets=(0, 1, 2, 3)).replaced(expander=True))


@pytest.mark.parametrize("persists", [True, False])
def test_a_line_that_does_not_follow_is_told(kernel: FakeKernel, *, persists: bool) -> None:
    hardware = FakeHardware("gpiochip0", "pinctrl-bcm2711", persists=persists)
    kernel.add(hardware)
    bank = kernel.open(persist="yes" if persists else "no")
    hardware.lines[13].stuck = False
    with pytest.raises(StuckLineError, match=r"13 \(p2\) low"):
        bank.write({6: True, 13: True})
    assert bank.read()[6]
    hardware.lines[13].stuck = None
    bank.write({13: True})
    assert hardware.levels()[13]
    bank.close()


def test_two_boards_never_share_a_line(kernel: FakeKernel) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))
    first = opening()
    open_backend(first, dev=str(kernel.dev), sysfs=str(kernel.sys)).close()
    with pytest.raises(SettingError, match="two boards of this cluster use line 6"):
        open_backend(opening().replaced(shared=first.shared), dev=str(kernel.dev), sysfs=str(kernel.sys))


def test_what_is_low_behind_an_expanders_driver_stays_low(kernel: FakeKernel) -> None:
    """Whatever the driver remembers of it."""
    chip = kernel.add(FakeHardware("gpiochip0", "1-0020", persists=True), driver="pca953x")
    expander = opening(chip="1-0020").replaced(expander=True)
    bank = open_backend(expander, dev=str(kernel.dev), sysfs=str(kernel.sys))
    bank.write({6: True, 19: True})
    for line in chip.lines:
        line.stuck = False  # no power: all lines are low
    chip.lines[13].stuck = None
    bank.write({13: True})
    for line in chip.lines:
        line.stuck = None
    assert chip.levels() == {6: False, 13: True, 19: False, 26: False}
