"""Which chip the backend takes, and whether that keeps its outputs."""

from __future__ import annotations

import errno
import os
import sys
import types

import gpiod
import pytest

from rpi_clusterhat.errors import (
    AccessDeniedError,
    BackendUnavailableError,
    DeviceNotFoundError,
    MissingDependencyError,
    SettingError,
)
from rpi_clusterhat.hardware import permission
from rpi_clusterhat.hardware.discovery import parse_options
from rpi_clusterhat_gpiod import plugin
from rpi_clusterhat_gpiod.persistence import keeps_outputs
from tests.backends.gpiod.kernel import FakeHardware, FakeKernel, opening


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


def test_what_is_not_there_is_told_with_what_there_is(
    kernel: FakeKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(permission, "CONTAINER_MARKS", ())
    with pytest.raises(DeviceNotFoundError, match=r"there is no .*/dev/gpiochip\*: this kernel offers no"):
        kernel.open()
    monkeypatch.setattr(permission, "CONTAINER_MARKS", ("/",))
    with pytest.raises(DeviceNotFoundError, match=r"/dev/gpiochip\*: give this container the device"):
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


def test_no_permission_names_the_device_and_the_group(
    kernel: FakeKernel, header: FakeHardware, remedies: None
) -> None:
    kernel.denied.add(f"{kernel.dev}/{header.name}")
    with pytest.raises(AccessDeniedError, match=r"open .*/gpiochip0: remedy: gpio 6") as caught:
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
        MissingDependencyError, match=r"dist-packages/gpiod\.so is version 1.*pip install 'gpiod>=2.2'"
    ):
        plugin.check(opening().options)
    monkeypatch.setitem(sys.modules, "gpiod", None)
    with pytest.raises(MissingDependencyError, match=r"not installed: pip install 'gpiod>=2.2'"):
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


def test_an_expanders_lines_are_never_sought_on_the_header(kernel: FakeKernel) -> None:
    kernel.add(FakeHardware("gpiochip0", "pinctrl-bcm2711"))
    with pytest.raises(SettingError, match="chip=1-0020"):
        plugin.open(opening(offsets=(0, 1, 2, 3)).replaced(expander=True))
