"""The backend gpiod on a gpio-sim chip, which drops its outputs when they are released."""

from __future__ import annotations

from typing import TYPE_CHECKING

import gpiod
import pytest
from gpiod.line import Direction, Value

from rpi_clusterhat import AccessDeniedError, Cluster, DeviceGoneError, DeviceNotFoundError, LineBusyError
from rpi_clusterhat.hardware.backend import Line
from tests.kernel.inside.banks import GpiodOnGpioSim, SysfsOnGpioSim, open_backend
from tests.kernel.inside.people import process, run_as
from tests.kernel.inside.pulled_tests import PulledTests

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection


class TestGpiodOnGpioSim(PulledTests):
    bank = GpiodOnGpioSim()


@pytest.fixture
def bank() -> Iterator[GpiodOnGpioSim]:
    bank = GpiodOnGpioSim()
    bank.reset()
    yield bank
    bank.remove()


def test_a_line_that_another_program_holds(bank: GpiodOnGpioSim) -> None:
    def hold(pipe: Connection) -> None:
        settings = gpiod.LineSettings(direction=Direction.OUTPUT, output_value=Value.ACTIVE)
        with gpiod.request_lines(bank.simulated.device, {13: settings}, consumer="other"):
            pipe.send(None)
            pipe.recv()

    with process(None, hold) as other:
        other.hear()
        before = bank.outside()
        with bank.watch() as driven:
            backend = bank.open()
            for call in (backend.read, lambda: backend.write({6: True, 13: False})):
                with pytest.raises(LineBusyError, match=r"13 \(p2\).*'other'"):
                    call()
            backend.close()
        assert driven() == []
        assert bank.outside() == before == {6: False, 13: True, 19: False, 26: False}


def test_a_line_that_is_exported_through_sysfs(bank: GpiodOnGpioSim) -> None:
    exporter = SysfsOnGpioSim()
    exporter.chip = bank.chip
    exporter.preset({19: True})
    with pytest.raises(LineBusyError, match=r"19 \(p3\).*sysfs"):
        bank.open()
    assert bank.outside() == {6: False, 13: False, 19: True, 26: False}


def test_a_line_that_is_exported_through_sysfs_after_the_opening(bank: GpiodOnGpioSim) -> None:
    backend = bank.open()
    exporter = SysfsOnGpioSim()
    exporter.chip = bank.chip
    exporter.preset({19: True})
    with pytest.raises(LineBusyError, match=r"19 \(p3\).*use the backend sysfs, or unexport it"):
        backend.write({6: True, 19: False})
    backend.close()
    assert bank.outside() == {6: False, 13: False, 19: True, 26: False}


def test_sysfs_is_chosen_where_it_has_exported_a_line(
    bank: GpiodOnGpioSim, monkeypatch: pytest.MonkeyPatch
) -> None:
    def keeps_outputs(*_: str) -> bool:
        return True  # as on Raspberry Pi OS, where gpiod would be chosen

    monkeypatch.setattr("rpi_clusterhat_gpiod.backend.keeps_outputs", keeps_outputs)
    with Cluster.open("1.2", options=bank.options) as hat:
        assert hat.banks[0].backend_name == "gpiod"
    exporter = SysfsOnGpioSim()
    exporter.chip = bank.chip
    exporter.preset({19: True})
    with Cluster.open("1.2", options=bank.options, spacing=0.05) as hat:
        assert hat.banks[0].backend_name == "sysfs"
        assert [node.powered for node in hat] == [False, False, True, False]
        hat.on("p1")
        hat.off("p3")
    assert bank.outside() == {6: True, 13: False, 19: False, 26: False}
    with pytest.raises(LineBusyError, match="use the backend sysfs, or unexport it"):
        Cluster.open("1.2", backend="gpiod", options=bank.options)


def test_lines_of_another_cluster_of_this_library(bank: GpiodOnGpioSim) -> None:
    def hold(pipe: Connection) -> None:
        with Cluster.open("1.2", backend="gpiod", options=bank.options, spacing=0.05) as hat:
            hat.on("p1")
            pipe.send(None)
            pipe.recv()

    with process(None, hold) as other:
        other.hear()
        with (
            Cluster.open("1.2", backend="gpiod", options=bank.options, spacing=0.05) as hat,
            pytest.raises(LineBusyError, match=r"6 \(p1\).*another program of this library"),
        ):
            hat.on("p2")
        assert bank.outside() == {6: True, 13: False, 19: False, 26: False}


def test_only_members_of_the_group_may_open_the_chip(bank: GpiodOnGpioSim) -> None:
    def switch() -> None:
        backend = bank.open()
        backend.write({6: True})
        backend.close()

    run_as("alice", switch)
    with pytest.raises(AccessDeniedError, match=rf"{bank.simulated.device}.* group gpio"):
        run_as("mallory", bank.open)
    with pytest.raises(PermissionError):
        run_as("mallory", lambda: open_backend("gpiod", bank.lines))


def test_no_such_chip_or_line(bank: GpiodOnGpioSim) -> None:
    with pytest.raises(DeviceNotFoundError, match=r"nosuch.*pinctrl-bcm2711"):
        open_backend("gpiod", bank.lines, {"chip": "nosuch"})
    with pytest.raises(DeviceNotFoundError, match="/dev/gpiochip99"):
        open_backend("gpiod", bank.lines, {"chip": "/dev/gpiochip99"})
    with pytest.raises(DeviceNotFoundError, match="/dev/null"):
        open_backend("gpiod", bank.lines, {"chip": "/dev/null"})
    with pytest.raises(DeviceNotFoundError, match=r"no line 54 for p1.*53"):
        open_backend("gpiod", [Line(54, "p1")], bank.options)


def test_the_headers_chip_is_found_without_being_named(bank: GpiodOnGpioSim) -> None:
    backend = open_backend("gpiod", bank.lines)
    backend.write({26: True})
    assert bank.simulated.level(26)
    backend.close()


def test_no_chip_at_all(bank: GpiodOnGpioSim) -> None:
    bank.remove()
    with pytest.raises(DeviceNotFoundError, match="gpiochip"):
        open_backend("gpiod", bank.lines)


def test_a_chip_that_goes_away(bank: GpiodOnGpioSim) -> None:
    backend = bank.open()
    backend.read()
    bank.remove()
    with pytest.raises(DeviceGoneError):
        backend.read()
    with pytest.raises(DeviceGoneError):
        backend.write({6: True})
    backend.close()
