"""The backend sysfs, on a stand-in for the kernel behind /sys/class/gpio."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import pytest
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
    LockTimeoutError,
    SettingError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.hardware.backend import Line, OpenRequest, SupportsSetUp
from rpi_clusterhat.hardware.discovery import parse_options
from rpi_clusterhat.hardware.locks import FileLock
from rpi_clusterhat.testing import BackendConformance, FakeClock
from rpi_clusterhat_sysfs import plugin
from rpi_clusterhat_sysfs.backend import SysfsBackend, open_backend
from rpi_clusterhat_sysfs.files import Files

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
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


@pytest.fixture
def programs(tmp_path: Path) -> Programs:
    return Programs(tmp_path)


@pytest.fixture
def kernel(programs: Programs) -> FakeSysfs:
    return programs.kernel


class TestConformance(BackendConformance):
    offsets = OFFSETS
    programs: Programs

    @pytest.fixture(autouse=True)
    def _programs(self, tmp_path: Path) -> None:
        self.programs = Programs(tmp_path)

    def open(self) -> SysfsBackend:
        return self.programs.open()

    def outside(self) -> Mapping[int, bool]:
        return self.programs.kernel.levels()

    def make_unset(self) -> bool:
        return True  # a bank that nobody has touched yet


# Which chip -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("base", [0, 458, 512])
def test_the_headers_chip_is_found_by_its_label_wherever_it_begins(programs: Programs, base: int) -> None:
    programs.kernel = FakeSysfs(programs.clock, base=base, label="pinctrl-bcm2835")
    programs.kernel.chips[900] = ("raspberrypi-exp-gpio", 8)
    bank = programs.open()
    assert repr(bank) == f"<SysfsBackend pinctrl-bcm2835 (from {base}) lines=[6, 13, 19, 26] exported=[]>"
    bank.write({6: True})
    assert programs.kernel.written == [f"export={base + 6}", f"gpio{base + 6}/direction=high"]


def test_a_chip_may_be_said_by_label_or_base(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.chips.update({514: ("1-0020", 8), 522: ("1-0020", 8)})
    assert "(from 512)" in repr(programs.open(base=512))
    assert "(from 512)" in repr(programs.open(chip="pinctrl-bcm2711"))
    assert "1-0020 (from 522)" in repr(programs.open((0,), base=522, chip="1-0020"))
    with pytest.raises(
        BackendUnavailableError, match=r"1-0020 \(from 514\) and 1-0020 \(from 522\) are alike.*base=514"
    ):
        programs.open((0,), chip="1-0020")


def test_what_is_not_there_is_told_with_what_there_is(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.chips = {512: ("other", 54)}
    with pytest.raises(DeviceNotFoundError, match=r"no chip of a .* header: it has other \(from 512\); name"):
        programs.open()
    with pytest.raises(DeviceNotFoundError, match=r"no chip with the label 1-0020: it has other"):
        programs.open(chip="1-0020")
    with pytest.raises(DeviceNotFoundError, match=r"no chip whose lines begin at 7: it has other"):
        programs.open(base=7)
    with pytest.raises(DeviceNotFoundError, match=r"label other whose lines begin at 7: it has other"):
        programs.open(base=7, chip="other")
    with pytest.raises(DeviceNotFoundError, match=r"no line 54 for p2: its last one is 53"):
        programs.open((6, 54), chip="other")
    kernel.chips.clear()
    with pytest.raises(DeviceNotFoundError, match=r"it has none; name"):
        programs.open()


def test_a_chip_that_goes_away_while_it_is_looked_for_is_not_there(
    programs: Programs, kernel: FakeSysfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def names(folder: str) -> list[str]:
        return ["gpiochip0", "gpiochip512"]

    monkeypatch.setattr(kernel, "names", names)
    assert "(from 512)" in repr(programs.open())


def test_without_sysfs_gpio_the_other_backend_is_named(programs: Programs, tmp_path: Path) -> None:
    with pytest.raises(DeviceNotFoundError, match=r"no GPIO in sysfs; use the backend gpiod"):
        plugin.check(programs.opening(root=str(tmp_path / "none")).options)


@pytest.mark.parametrize(("option", "text"), [("chip", ""), ("base", "-1"), ("root", "sys")])
def test_options_that_cannot_be_read_are_refused(option: str, text: str) -> None:
    with pytest.raises(SettingError, match=option):
        parse_options("sysfs", plugin, {option: text}, "test")


# Levels ---------------------------------------------------------------------------------------------


def test_a_line_gets_its_direction_and_level_in_one_write(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.lines[13].pull = True
    bank = programs.open()
    bank.write({6: False, 13: True})
    assert kernel.changes == []
    assert kernel.written == [
        "export=518",
        "export=525",
        "gpio518/direction=low",
        "gpio525/direction=high",
    ]


def test_a_line_that_is_active_low_is_read_and_written_by_its_level(
    programs: Programs, kernel: FakeSysfs
) -> None:
    kernel.lines[6].exported = kernel.lines[6].active_low = True
    bank = programs.open()
    assert bank.read()[6] is False
    bank.write({6: True})
    assert kernel.levels()[6] is bank.read()[6] is True


def test_a_bank_of_inputs_is_not_set_up(programs: Programs, kernel: FakeSysfs) -> None:
    bank = programs.open()
    assert isinstance(bank, SupportsSetUp)
    bank.read()
    before = bank.is_set_up
    bank.set_up({6: False})
    assert (before, bank.is_set_up) == (False, True)
    other = programs.open()
    other.read()
    assert other.is_set_up
    assert kernel.changes == []


# Whose lines they are -------------------------------------------------------------------------------


def test_opening_exports_nothing_and_closing_gives_inputs_back(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.lines[19].exported = True
    bank = programs.open()
    assert kernel.written == []
    bank.read()
    bank.write({6: False})
    assert kernel.exported() == [6, 13, 19, 26]
    bank.close()
    assert kernel.exported() == [6, 19], "an output or a line that someone else exported was given back"
    assert repr(bank).endswith("closed>")
    with pytest.raises(ClosedError):
        bank.read()


def test_a_line_that_another_program_made_an_output_stays_exported(
    programs: Programs, kernel: FakeSysfs
) -> None:
    reader, writer = programs.open(), programs.open()
    reader.read()
    writer.write({6: True})
    reader.close()
    writer.close()
    assert kernel.exported() == [6]
    assert kernel.changes == [(6, True)]


def test_closing_waits_for_a_program_that_is_just_switching_a_line_on(
    programs: Programs, kernel: FakeSysfs, tmp_path: Path
) -> None:
    reader = programs.open()
    reader.read()
    (lock,) = tmp_path.glob("*.lock")
    with FileLock(str(lock)).hold():
        with pytest.raises(LockTimeoutError):
            programs.open().write({6: True})
        reader.close()
    assert kernel.exported() == list(OFFSETS), "unexported while another program had the lock"


def test_a_line_that_was_unexported_in_between_is_exported_again(
    programs: Programs, kernel: FakeSysfs
) -> None:
    bank = programs.open()
    bank.read()
    kernel.unexport(13)
    bank.write({13: True})
    assert kernel.levels()[13]

    def steal(path: str) -> None:
        if path.endswith("/value"):
            kernel.hook = None
            kernel.unexport(19)

    kernel.hook = steal
    assert bank.read() == {6: False, 13: True, 19: False, 26: False}


def test_a_line_that_vanishes_each_time_is_an_error(programs: Programs, kernel: FakeSysfs) -> None:
    def steal(path: str) -> None:
        if path.endswith("/value") and kernel.lines[6].exported:
            kernel.unexport(6)

    kernel.hook = steal
    with pytest.raises(LineBusyError, match=r"gpio518/value is not there: another program"):
        programs.open().read()


def test_an_export_that_another_program_was_faster_with_is_as_good(
    programs: Programs, kernel: FakeSysfs
) -> None:
    def race(path: str) -> None:
        if path.endswith("/export"):
            kernel.hook = None
            kernel.export(6)

    kernel.hook = race
    bank = programs.open()
    bank.read()
    bank.close()
    assert kernel.exported() == [6], "it was given back by one who had not exported it"


def test_a_busy_line_names_its_holder_and_nothing_is_changed(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.lines[13].holder = "gpioset"
    bank = programs.open()
    with pytest.raises(
        LineBusyError, match=r"line 13 \(p2\) of pinctrl-bcm2711 .*'sudo cat /sys/kernel/debug/gpio'"
    ):
        bank.write({6: True, 13: True})
    kernel.debug = (
        "gpiochip0: GPIOs 512-565, parent: platform/fe200000.gpio, pinctrl-bcm2711:\n"
        " gpio-518 (GPIO6               |sysfs               ) in  lo \n"
        " gpio-525 (GPIO13              |gpioset             ) out hi \n"
    )
    with pytest.raises(LineBusyError, match=r"line 13 \(p2\) .* is held by 'gpioset'") as caught:
        bank.read()
    assert isinstance(caught.value.__cause__, OSError)
    bank.close()
    assert kernel.changes == []
    assert kernel.exported() == []


# What can go wrong ----------------------------------------------------------------------------------


def test_udev_gets_the_time_it_needs(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.udev = 0.5
    bank = programs.open()
    bank.write({6: True, 13: True})
    assert kernel.levels()[13]
    assert sum(programs.clock.sleeps) == pytest.approx(0.5, abs=0.02)


def test_files_that_stay_closed_name_the_file_and_the_group(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.udev = 60.0
    bank = programs.open()
    with pytest.raises(AccessDeniedError, match=r"gpio518/direction: join the group gpio"):
        bank.write({6: True, 13: True})
    assert sum(programs.clock.sleeps) == pytest.approx(3.0, abs=0.02)
    assert kernel.changes == []


def test_a_line_that_vanishes_while_udev_is_waited_for_is_exported_again(
    programs: Programs, kernel: FakeSysfs
) -> None:
    class Steals(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if len(self.sleeps) == 1:
                kernel.unexport(6)

    kernel.udev = 0.05
    programs.clock = kernel.clock = Steals()
    programs.open((6,)).write({6: True})
    assert kernel.lines[6].level
    assert kernel.written.count("export=518") == 2


def test_a_user_who_may_not_export_is_told_when_opening(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.exportable = False
    with pytest.raises(AccessDeniedError, match=r"/sys/class/gpio/export: join the group gpio"):
        programs.open()
    for offset in OFFSETS:
        kernel.lines[offset].exported = True
    assert programs.open().read() == dict.fromkeys(OFFSETS, False)
    kernel.failures = [fail(errno.EACCES, f"{ROOT}/gpio518/value")]
    with pytest.raises(AccessDeniedError, match=r"gpio518/value"):
        programs.open().read()


def test_a_bus_that_fails_for_a_moment_is_tried_again(programs: Programs, kernel: FakeSysfs) -> None:
    bank = programs.open()
    kernel.failures = [fail(errno.EREMOTEIO), fail(errno.ETIMEDOUT)]
    bank.read()
    assert programs.clock.sleeps == [0.01, 0.05]
    kernel.failures = [fail(errno.EIO)] * 3
    with pytest.raises(TransientBusError, match=r"pinctrl-bcm2711") as caught:
        bank.write({6: True})
    assert caught.value.errno == errno.EIO
    kernel.failures = [fail(errno.EINVAL, "/x")]
    with pytest.raises(BusError, match=r"/x: Invalid argument") as other:
        bank.read()
    assert type(other.value) is BusError
    kernel.unexport(6)
    kernel.failures = [fail(errno.EINVAL)]
    with pytest.raises(BusError):
        bank.write({6: True})


def test_a_chip_that_went_away_is_told_and_can_be_closed(programs: Programs, kernel: FakeSysfs) -> None:
    bank = programs.open()
    bank.read()
    kernel.take_away()
    with pytest.raises(DeviceGoneError, match="pinctrl-bcm2711"):
        bank.read()
    with pytest.raises(DeviceGoneError):
        bank.write({6: False})
    bank.close()


# Real files -----------------------------------------------------------------------------------------


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "gpio"
    files = {"gpiochip512": {"base": "512\n", "ngpio": "54\n", "label": "pinctrl-rp1\n"}}
    files["gpio518"] = {"direction": "in\n", "value": "1\n", "active_low": "0\n"}
    for folder, attributes in files.items():
        (root / folder).mkdir(parents=True)
        for name, text in attributes.items():
            (root / folder / name).write_text(text)
    (root / "export").touch()
    return root


def test_the_plugin_works_on_a_tree_of_files(programs: Programs, tree: Path) -> None:
    options = programs.opening((6,), root=f"{tree}/")
    plugin.check(options.options)
    bank = plugin.open(options)
    assert bank.holds_levels
    assert bank.read() == {6: True}
    bank.write({6: True})
    bank.close()
    assert (tree / "gpio518/direction").read_text() == "high"
    assert (tree / "export").read_text() == ""


def test_a_file_is_written_and_never_made(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Files().write(str(tmp_path / "export"), "5")
    assert list(tmp_path.iterdir()) == []


_STEP = st.one_of(
    st.just("read"), st.just("reopen"), st.dictionaries(st.sampled_from(OFFSETS), st.booleans(), max_size=4)
)


@given(
    steps=st.lists(st.tuples(st.booleans(), _STEP), max_size=12),
    pulls=st.tuples(*[st.booleans()] * len(OFFSETS)),
)
def test_each_level_changes_when_it_is_written_and_never_else(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[bool, Any]], pulls: tuple[bool, ...]
) -> None:
    programs = Programs(tmp_path_factory.mktemp("locks"))
    kernel = programs.kernel
    expected = dict(zip(OFFSETS, pulls, strict=True))
    for offset, pull in expected.items():
        kernel.lines[offset].pull = pull
    banks = {False: programs.open(), True: programs.open()}
    for which, step in steps:
        kernel.changes.clear()
        due: list[tuple[int, bool]] = []
        if step == "read":
            assert banks[which].read() == expected
        elif step == "reopen":
            banks[which].close()
            banks[which] = programs.open()
        else:
            due = [(offset, level) for offset, level in step.items() if expected[offset] != level]
            banks[which].write(step)
            expected.update(step)
        assert sorted(kernel.changes) == sorted(due)
        assert kernel.levels() == expected


def test_an_expanders_lines_are_never_sought_on_the_header(programs: Programs) -> None:
    opening = programs.opening(offsets=(0, 1, 2, 3)).replaced(expander=True)
    with pytest.raises(SettingError, match="chip=1-0020"):
        open_backend(opening, files=programs.kernel, debug=DEBUG)


def test_two_boards_never_share_a_line(programs: Programs) -> None:
    first = programs.opening()
    open_backend(first, files=programs.kernel, debug=DEBUG)
    second = programs.opening().replaced(shared=first.shared)
    with pytest.raises(SettingError, match="two boards of this cluster use line"):
        open_backend(second, files=programs.kernel, debug=DEBUG)


def test_a_line_that_does_not_follow_is_told(programs: Programs) -> None:
    bank = programs.open()
    bank.write({6: True})
    programs.kernel.lines[13].stuck = False
    with pytest.raises(StuckLineError, match=r"13 \(p2\) low"):
        bank.write({13: True})
    assert bank.read()[6]


def test_what_is_low_behind_an_expanders_driver_stays_low(programs: Programs) -> None:
    """Whatever the driver remembers of it."""
    kernel = programs.kernel
    expander = programs.opening(chip="pinctrl-bcm2711").replaced(expander=True)
    bank = open_backend(expander, files=kernel, debug=DEBUG)
    bank.write({6: True, 19: True})
    for offset in (6, 19, 26):
        kernel.lines[offset].stuck = False  # no power: these lines are low
    bank.write({13: True})
    for offset in (6, 19, 26):
        kernel.lines[offset].stuck = None
    assert bank.read() == {6: False, 13: True, 19: False, 26: False}
