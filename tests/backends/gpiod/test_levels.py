"""Reading and writing levels, and what may go wrong with that."""

from __future__ import annotations

import errno
from typing import Any

import gpiod
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import (
    BusError,
    ClosedError,
    DeviceGoneError,
    StuckLineError,
    TransientBusError,
)
from rpi_clusterhat.hardware.backend import SupportsSetUp
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat_gpiod.backend import open_backend
from tests.backends.gpiod.kernel import OFFSETS, FakeHardware, FakeKernel, opening


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


def test_a_low_output_that_nobody_holds_is_not_left_to_its_pull_by_reading_it(
    kernel: FakeKernel, header: FakeHardware
) -> None:
    header.lines[6].pull = True
    header.drive(6, output=True, latch=False)
    header.changes.clear()
    bank = kernel.open()
    assert not bank.read()[6]
    assert 6 not in bank.inputs
    assert header.changes == []


def test_what_lines_show_after_the_close_is_told_without_those_that_others_have_taken(
    kernel: FakeKernel, header: FakeHardware
) -> None:
    header.lines[6].pull = True
    bank = kernel.open()
    bank.write({6: False, 13: True, 19: True})

    def taken() -> None:
        header.lines[19].consumer = "other"

    header.hook = taken
    assert bank.close() == {6: True, 13: False}
    assert bank.close() is None
    assert [line.consumer for line in header.lines if line.consumer] == ["other"]


def test_what_line_info_says_of_a_line_that_nobody_holds_is_not_believed(
    kernel: FakeKernel, header: FakeHardware
) -> None:
    first = kernel.open()
    first.write({6: True})
    first.close()
    header.lines[6].said_output = True  # as after the release of another program
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
