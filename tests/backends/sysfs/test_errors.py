"""What can go wrong."""

from __future__ import annotations

import errno

import pytest

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BusError,
    DeviceGoneError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.testing import FakeClock
from tests.backends.sysfs.kernel import OFFSETS, ROOT, FakeSysfs, Programs, fail


def test_udev_gets_the_time_it_needs(programs: Programs, kernel: FakeSysfs) -> None:
    kernel.udev = 0.5
    bank = programs.open()
    bank.write({6: True, 13: True})
    assert kernel.levels()[13]
    assert sum(programs.clock.sleeps) == pytest.approx(0.5, abs=0.02)


def test_files_that_stay_closed_name_the_file_and_the_group(
    programs: Programs, kernel: FakeSysfs, remedies: None
) -> None:
    kernel.udev = 60.0
    bank = programs.open()
    with pytest.raises(AccessDeniedError, match=r"write .*/gpio518/direction: remedy: gpio 2"):
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


def test_a_user_who_may_not_export_is_told_when_opening(
    programs: Programs, kernel: FakeSysfs, remedies: None
) -> None:
    kernel.exportable = False
    with pytest.raises(AccessDeniedError, match=r"write /sys/class/gpio/export: remedy: gpio 2"):
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


def test_a_line_that_does_not_follow_is_told(programs: Programs) -> None:
    bank = programs.open()
    bank.write({6: True})
    programs.kernel.lines[13].stuck = False
    with pytest.raises(StuckLineError, match=r"13 \(p2\) low"):
        bank.write({13: True})
    assert bank.read()[6]
