"""Which chip the backend takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import (
    BackendUnavailableError,
    DeviceNotFoundError,
    SettingError,
)
from rpi_clusterhat.hardware.discovery import parse_options
from rpi_clusterhat_sysfs import plugin
from rpi_clusterhat_sysfs.backend import open_backend
from tests.backends.sysfs.kernel import DEBUG, FakeSysfs, Programs

if TYPE_CHECKING:
    from pathlib import Path


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


def test_an_expanders_lines_are_never_sought_on_the_header(programs: Programs) -> None:
    opening = programs.opening(offsets=(0, 1, 2, 3)).replaced(expander=True)
    with pytest.raises(SettingError, match="chip=1-0020"):
        open_backend(opening, files=programs.kernel, debug=DEBUG)
