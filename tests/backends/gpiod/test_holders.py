"""Who holds which line, and for how long."""

from __future__ import annotations

import errno

import pytest

from rpi_clusterhat.errors import (
    LineBusyError,
    SettingError,
)
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_gpiod.backend import open_backend
from tests.backends.gpiod.kernel import FakeHardware, FakeKernel, opening


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
    header.drive(6, output=True, latch=True)  # as a boot loader left it: requested and freed, it would drop
    header.changes.clear()
    bank = kernel.open(clock)
    header.lines[13].consumer = consumer
    with pytest.raises(LineBusyError, match=rf"line 13 \(p2\) of gpiochip0 \(pinctrl-bcm2711\).*{text}"):
        bank.write({6: False, 13: True})
    assert clock.sleeps == []
    assert header.calls == []
    assert header.changes == []


def test_a_line_that_is_exported_through_sysfs_is_told_when_the_chip_is_opened(
    kernel: FakeKernel, keeper: FakeHardware
) -> None:
    keeper.lines[13].consumer = "sysfs"
    with pytest.raises(LineBusyError, match=r"line 13 \(p2\) of gpiochip0 .* backend sysfs, or unexport it"):
        kernel.open()
    assert keeper.calls == []
    assert not any(chip.open for chip in kernel.opened)


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


def test_two_boards_never_share_a_line(kernel: FakeKernel) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))
    first = opening()
    open_backend(first, dev=str(kernel.dev), sysfs=str(kernel.sys)).close()
    with pytest.raises(SettingError, match="two boards of this cluster use line 6"):
        open_backend(opening().replaced(shared=first.shared), dev=str(kernel.dev), sysfs=str(kernel.sys))
