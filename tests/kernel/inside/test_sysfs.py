"""The backend sysfs on a gpio-sim chip: what is exported keeps its level."""

from __future__ import annotations

import glob
import os
import time
from typing import TYPE_CHECKING

import gpiod
import pytest
from gpiod.line import Direction, Value

from rpi_clusterhat import AccessDeniedError, DeviceGoneError, DeviceNotFoundError, LineBusyError
from rpi_clusterhat.hardware.backend import Line
from tests.kernel.inside.banks import SysfsOnGpioSim, open_backend
from tests.kernel.inside.bench import as_udev_does, read
from tests.kernel.inside.people import process, run_as
from tests.kernel.inside.pulled_tests import PulledTests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

CLASS = "/sys/class/gpio"


class TestSysfsOnGpioSim(PulledTests):
    bank = SysfsOnGpioSim()


@pytest.fixture
def bank() -> Iterator[SysfsOnGpioSim]:
    bank = SysfsOnGpioSim()
    bank.reset()
    yield bank
    bank.remove()


@pytest.fixture
def shared() -> Iterator[None]:
    """The folder as the rules of Raspberry Pi OS hand it to the group gpio."""
    for name in ("export", "unexport"):
        as_udev_does(f"{CLASS}/{name}", "gpio")
    yield
    for name in ("export", "unexport"):
        os.chown(f"{CLASS}/{name}", 0, 0)
        os.chmod(f"{CLASS}/{name}", 0o200)


def _udev(pipe: Connection) -> None:
    """Hands the files of new lines over, a moment after they appear."""
    pipe.send(None)
    done: set[str] = set()
    while not pipe.poll(0.03):
        lines = {path for path in glob.glob(f"{CLASS}/gpio[0-9]*") if path not in done}
        time.sleep(0.1)  # as long as udev may take
        for path in lines:
            for name in ("direction", "value", "active_low", "edge"):
                if os.path.exists(f"{path}/{name}"):
                    as_udev_does(f"{path}/{name}", "gpio")
        done |= lines


def test_the_chips_numbers_do_not_begin_at_zero(bank: SysfsOnGpioSim) -> None:
    assert bank.simulated.base > 0


def test_a_line_that_another_program_holds(bank: SysfsOnGpioSim) -> None:
    settings = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value.ACTIVE)
    with gpiod.request_lines(bank.simulated.device, {13: settings}, consumer="other"):
        before = bank.outside()
        with bank.watch() as driven:
            backend = bank.open()
            with pytest.raises(LineBusyError, match=r"13 \(p2\).*'other'"):
                backend.write({6: True, 13: False})
            backend.close()
        assert driven() == []
        assert bank.outside() == before


def test_an_exported_line_that_is_inverted_is_seen_as_it_is(bank: SysfsOnGpioSim) -> None:
    bank.preset({6: True})
    with open(f"{CLASS}/gpio{bank.simulated.base + 6}/active_low", "w") as file:
        file.write("1")
    backend = bank.open()
    assert backend.read()[6] is True
    backend.write({6: True})
    assert bank.simulated.level(6)
    backend.write({6: False})
    assert not bank.simulated.level(6)
    backend.close()


def test_outputs_stay_exported_and_inputs_do_not(bank: SysfsOnGpioSim) -> None:
    backend = bank.open()
    backend.read()
    backend.write({6: True, 13: False})
    backend.close()
    left = {int(read(path)) for path in glob.glob(f"{CLASS}/gpio[0-9]*/value")}
    assert left == {0, 1}
    assert bank.outside() == {6: True, 13: False, 19: False, 26: False}
    names = {os.path.basename(path) for path in glob.glob(f"{CLASS}/gpio[0-9]*")}
    assert names == {f"gpio{bank.simulated.base + offset}" for offset in (6, 13)}


def test_only_members_of_the_group_may_export(bank: SysfsOnGpioSim, shared: None) -> None:
    with pytest.raises(AccessDeniedError, match=rf"{CLASS}/export.* group gpio"):
        run_as("mallory", bank.open)


def test_a_member_waits_until_udev_has_handed_the_line_over(bank: SysfsOnGpioSim, shared: None) -> None:
    def switch() -> bool:
        backend = bank.open()
        backend.write({6: True, 13: True})
        level = backend.read()[13]
        backend.close()
        return level

    with process(None, _udev) as udev:
        udev.hear()
        assert run_as("alice", switch) is True
        assert run_as("bob", switch) is True
    assert bank.outside() == {6: True, 13: True, 19: False, 26: False}


def test_lines_of_another_user_that_nobody_handed_over(bank: SysfsOnGpioSim, shared: None) -> None:
    bank.preset({6: True})

    def switch() -> None:
        bank.open().write({6: False})

    with pytest.raises(AccessDeniedError, match=r"gpio\d+/direction.* group gpio"):
        run_as("alice", switch)
    assert bank.simulated.level(6)


def test_no_such_chip_line_or_folder(bank: SysfsOnGpioSim) -> None:
    with pytest.raises(DeviceNotFoundError, match=r"nosuch.*pinctrl-bcm2711"):
        open_backend("sysfs", bank.lines, {"chip": "nosuch"})
    with pytest.raises(DeviceNotFoundError, match=r"no line 54 for p1.*53"):
        open_backend("sysfs", [Line(54, "p1")], bank.options)
    with pytest.raises(DeviceNotFoundError, match="/sys/class/nosuch/export"):
        open_backend("sysfs", bank.lines, {"root": "/sys/class/nosuch"})


def test_a_chip_that_goes_away(bank: SysfsOnGpioSim) -> None:
    backend = bank.open()
    backend.read()
    bank.remove()
    with pytest.raises(DeviceGoneError):
        backend.read()
    with pytest.raises(DeviceGoneError):
        backend.write({6: True})
    backend.close()
