"""Levels and directions, and whose the lines are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import (
    ClosedError,
    LineBusyError,
    LockTimeoutError,
    SettingError,
)
from rpi_clusterhat.hardware.backend import SupportsSetUp
from rpi_clusterhat.hardware.locks import FileLock
from rpi_clusterhat_sysfs.backend import open_backend
from tests.backends.sysfs.kernel import DEBUG, OFFSETS, FakeSysfs, Programs

if TYPE_CHECKING:
    from pathlib import Path


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


def test_two_boards_never_share_a_line(programs: Programs) -> None:
    first = programs.opening()
    open_backend(first, files=programs.kernel, debug=DEBUG)
    second = programs.opening().replaced(shared=first.shared)
    with pytest.raises(SettingError, match="two boards of this cluster use line"):
        open_backend(second, files=programs.kernel, debug=DEBUG)


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
