"""The i2c backend against an expander at register level."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

import rpi_clusterhat_i2c
from rpi_clusterhat import errors
from rpi_clusterhat.clock import SYSTEM, Clock
from rpi_clusterhat.hardware.backend import Line, OpenRequest, SupportsSetUp
from rpi_clusterhat.hardware.discovery import load, parse_options
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from rpi_clusterhat.testing import BackendConformance, FakeClock, FakeExpander, FakeSMBus
from rpi_clusterhat_i2c.backend import I2CBackend
from rpi_clusterhat_i2c.bus import open_bus

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rpi_clusterhat.hardware.backend import Backend

OUTPUT, POLARITY, DIRECTION = 1, 2, 3
ADDRESS = 0x20
LINES = (
    *(Line(i, f"p{i + 1}") for i in range(4)),
    Line(4, "led"),
    Line(5, "hub"),
    Line(6, "alert"),
    Line(7, "wp"),
)
IDLE = 0b1001_0000
"""LEDs on, hub on, write-protected: what a v2.3 board is with its nodes off."""


def opening_of(lock_dir: object, clock: Clock | None = None, **changes: Any) -> OpenRequest:
    options = {"bus": 1, "address": ADDRESS, **changes.pop("options", {})}
    opening = OpenRequest(LINES, options, clock or FakeClock(), str(lock_dir), {})
    return opening.replaced(**changes)


def ready(**changes: int) -> FakeExpander:
    """An expander that somebody has set up, with all nodes off."""
    expander = FakeExpander(pins=changes.pop("pins", 0x00))
    expander.output, expander.direction = changes.pop("output", IDLE), changes.pop("direction", 0x00)
    return expander


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Bench:
    """A backend and its expander."""

    def __init__(
        self, expander: FakeExpander, opening: OpenRequest, *, i2c: bool = True, sysfs: str = "/sys"
    ) -> None:
        self.expander = expander
        self.bus = FakeSMBus({ADDRESS: expander}, i2c=i2c)
        self.backend = I2CBackend(self.bus, opening, sysfs=sysfs)

    def count(self) -> tuple[int, int]:
        """Transactions and register writes since the last call."""
        counted = self.expander.transactions, self.expander.writes
        self.expander.reset_counts()
        return counted


@pytest.fixture
def bench(tmp_path: Path, clock: FakeClock) -> Iterator[Bench]:
    bench = Bench(ready(), opening_of(tmp_path, clock))
    yield bench
    bench.backend.close()


class Conformance(BackendConformance):
    chip = "PCA9554"
    i2c = True

    def reset(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.expander = FakeExpander(self.chip)
        self.expander.output, self.expander.direction = 0x00, 0x00

    def teardown_method(self) -> None:
        super().teardown_method()
        self.folder.cleanup()

    def open(self) -> Backend:
        return I2CBackend(FakeSMBus({ADDRESS: self.expander}, i2c=self.i2c), opening_of(self.folder.name))

    def outside(self) -> dict[int, bool]:
        return {offset: bool(self.expander.levels >> offset & 1) for offset in range(8)}

    def make_unset(self) -> bool:
        self.expander.lose_power()
        return True


class TestPCA9554(Conformance):
    pass


class TestXRA1200P(Conformance):
    chip = "XRA1200P"


class TestSMBusOnly(Conformance):
    i2c = False


class TestTransactions:
    """How often the bus is used: each transaction costs, and the bus is shared."""

    def test_opening_and_closing_take_none(self, bench: Bench) -> None:
        bench.backend.close()
        assert bench.count() == (0, 0)

    def test_reading_takes_two_and_writes_nothing(self, bench: Bench) -> None:
        assert bench.backend.read() == {offset: bool(IDLE >> offset & 1) for offset in range(8)}
        assert bench.count() == (2, 0)

    @pytest.mark.parametrize("levels", [{0: True}, {0: False, 1: False, 2: False, 3: False}])
    def test_reading_and_writing_take_four(self, bench: Bench, levels: dict[int, bool]) -> None:
        bench.expander.output = IDLE | 0b0110
        bench.backend.read()
        bench.backend.write(levels)
        assert bench.count() == (4, 1)

    def test_writing_what_holds_takes_two_and_writes_nothing(self, bench: Bench) -> None:
        bench.backend.read()
        bench.count()
        bench.backend.write({0: False})
        assert bench.count() == (2, 0)
        bench.backend.write({})
        assert bench.count() == (0, 0)

    def test_without_a_read_the_direction_is_looked_at_first(self, bench: Bench) -> None:
        bench.backend.write({0: True})
        assert bench.count() == (3, 1)
        bench.backend.write({0: False})
        assert bench.count() == (2, 1)

    def test_an_adapter_for_smbus_only_takes_one_more(self, tmp_path: Path) -> None:
        bench = Bench(ready(), opening_of(tmp_path), i2c=False)
        bench.backend.read()
        bench.backend.write({0: True})
        assert bench.count() == (5, 1)

    def test_an_adapter_that_refuses_to_combine_is_asked_once(self, bench: Bench) -> None:
        bench.backend.read()
        bench.expander.fail(errno.EOPNOTSUPP, at=2)
        bench.backend.write({0: True})
        assert bench.expander.levels == IDLE | 1
        bench.count()
        bench.backend.write({1: True})
        assert bench.count() == (3, 1)

    def test_a_high_output_register_is_no_news_when_the_pins_were_high(self, bench: Bench) -> None:
        bench.expander.output = 0xFF
        bench.backend.read()
        bench.backend.write({0: False})
        assert bench.count() == (4, 1)


class TestFirstTouch:
    @pytest.mark.parametrize("i2c", [True, False])
    def test_outputs_get_their_levels_before_they_are_outputs(self, tmp_path: Path, *, i2c: bool) -> None:
        bench = Bench(FakeExpander("XRA1200P", pins=0x0F), opening_of(tmp_path), i2c=i2c)
        bench.backend.read()
        before = bench.backend.is_set_up
        bench.backend.set_up({line.offset: bool(IDLE >> line.offset & 1) for line in LINES})
        assert bench.expander.log == [(POLARITY, 0x00), (OUTPUT, IDLE), (DIRECTION, 0x00)]
        assert (before, bench.backend.is_set_up) == (False, True)
        assert bench.expander.levels == IDLE

    def test_lines_that_are_not_mentioned_keep_the_output_register(self, tmp_path: Path) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.expander.output = 0b0101_0000
        bench.backend.set_up({0: True, 4: False})
        assert bench.expander.levels == 0b0100_0001

    def test_an_inverted_polarity_is_put_right(self, tmp_path: Path) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.expander.polarity = 0xFF
        bench.backend.set_up({0: True})
        assert bench.expander.polarity == 0x00

    def test_what_another_process_set_up_meanwhile_is_left_alone(self, tmp_path: Path) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.backend.read()
        bench.expander.output, bench.expander.direction = IDLE | 0b0011, 0x00
        bench.backend.set_up(dict.fromkeys(range(8), False))
        assert bench.backend.is_set_up
        assert bench.expander.levels == IDLE | 0b0011
        assert bench.expander.log == []

    def test_setting_up_twice_at_once_happens_once(self, tmp_path: Path) -> None:
        expander = FakeExpander()
        first = Bench(expander, opening_of(tmp_path, SYSTEM))
        second = Bench(expander, opening_of(tmp_path, SYSTEM))
        first.backend.read()
        second.backend.read()
        thread = threading.Thread(target=second.backend.set_up, args=({0: True},))

        def meanwhile() -> None:
            thread.start()
            thread.join(timeout=0.05)  # time for it to go wrong in, if nothing holds it back

        expander.before(meanwhile, at=2)
        first.backend.set_up({0: False})
        thread.join()
        assert [value for register, value in expander.log if register == OUTPUT] == [0xFE]

    @pytest.mark.parametrize("at", range(1, 6))
    def test_power_lost_on_the_way_switches_nothing_on(self, tmp_path: Path, at: int) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.expander.before(bench.expander.lose_power, at=at)
        off = dict.fromkeys(range(8), False)
        try:
            bench.backend.set_up(off)
        except errors.PowerLostError:
            assert not bench.backend.is_set_up
        assert bench.expander.levels == 0x00

    @pytest.mark.parametrize("applied", range(6))
    def test_a_new_try_gives_levels_again_first(self, tmp_path: Path, applied: int) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.expander.fail(errno.ETIMEDOUT, at=3, applied=applied)
        bench.expander.before(bench.expander.lose_power, at=4)
        bench.backend.set_up(dict.fromkeys(range(8), False))
        assert bench.expander.levels == 0x00
        assert bench.expander.direction == 0x00


class TestPowerLoss:
    def test_reading_tells_and_does_not_raise(self, bench: Bench) -> None:
        bench.backend.write({0: True})
        bench.backend.read()
        assert bench.backend.is_set_up
        bench.expander.lose_power()
        bench.expander.pins = 0b0010
        assert bench.backend.read()[1]
        assert not bench.backend.is_set_up

    @pytest.mark.parametrize("pins", [0x00, 0x0F, 0xFF])
    def test_writing_to_what_is_not_set_up_writes_nothing(self, bench: Bench, pins: int) -> None:
        bench.expander.lose_power()
        bench.expander.pins = pins
        bench.backend.read()
        with pytest.raises(errors.PowerLostError, match=r"0x20 on /dev/i2c-1 .* inputs"):
            bench.backend.write({0: True, 1: False})
        assert bench.expander.log == []

    @pytest.mark.parametrize("pins", [0x00, 0x0F, 0xFF, IDLE, IDLE | 1])
    @pytest.mark.parametrize("at", [1, 2])
    @pytest.mark.parametrize("level", [True, False])
    def test_a_loss_in_the_middle_of_a_write(self, bench: Bench, pins: int, at: int, *, level: bool) -> None:
        bench.expander.output = IDLE | (not level)
        bench.backend.read()
        bench.expander.pins = pins
        bench.expander.before(bench.expander.lose_power, at=at)
        try:
            bench.backend.write({0: level})
        except errors.PowerLostError:
            assert not bench.backend.is_set_up
        else:  # at the second, the pins may be by accident what was asked for: then that is no lie
            assert (at, bench.expander.levels) == (2, IDLE | level)
        assert bench.expander.direction == 0xFF

    def test_a_loss_is_not_told_as_a_stuck_line(self, bench: Bench) -> None:
        bench.backend.read()
        bench.expander.stuck = {0: False}
        bench.expander.before(bench.expander.lose_power, at=4)
        with pytest.raises(errors.PowerLostError):
            bench.backend.write({0: True})

    def test_what_another_process_set_up_after_a_loss_can_be_written(self, bench: Bench) -> None:
        bench.expander.lose_power()
        bench.backend.read()
        bench.expander.output, bench.expander.direction = IDLE, 0x00
        bench.backend.write({0: True})
        assert bench.backend.is_set_up
        assert bench.expander.levels == IDLE | 1


class TestLinesThatOthersChanged:
    def test_what_others_switched_stays(self, bench: Bench) -> None:
        bench.backend.read()
        bench.expander.output = IDLE | 0b1010
        bench.backend.write({0: True})
        assert bench.expander.levels == IDLE | 0b1011

    @pytest.mark.parametrize("pins", [0x00, 0xFF])
    @pytest.mark.parametrize("seen", [True, False])
    def test_a_line_made_an_input_becomes_an_output_again(
        self, bench: Bench, pins: int, *, seen: bool
    ) -> None:
        bench.backend.read()
        bench.expander.pins, bench.expander.direction = pins, 0b0101
        if seen:
            bench.backend.read()
        bench.backend.write({0: not pins})
        assert bench.expander.direction == 0b0100
        assert bool(bench.expander.levels & 1) is not bool(pins)
        steps = [step for step in bench.expander.log if step[0] == DIRECTION or step[1] & 1 == (not pins)]
        assert steps[0][0] == OUTPUT

    def test_an_input_that_happens_to_have_the_level_is_driven(self, bench: Bench) -> None:
        bench.expander.pins, bench.expander.direction = IDLE | 1, 0b0001
        bench.backend.read()
        bench.backend.write({0: True})
        bench.expander.pins = 0x00
        assert bench.expander.levels == IDLE | 1

    def test_power_lost_before_a_line_becomes_an_output(self, bench: Bench) -> None:
        bench.expander.direction = 0b0001
        bench.expander.output = IDLE | 0b1110
        bench.backend.read()
        bench.expander.before(bench.expander.lose_power, at=4)
        with pytest.raises(errors.PowerLostError):
            bench.backend.write({0: True})
        assert bench.expander.direction == 0xFF

    def test_a_new_try_does_not_set_up_what_lost_power(self, bench: Bench) -> None:
        bench.expander.direction = 0b0001
        bench.backend.read()
        bench.expander.fail(at=5)
        bench.expander.before(bench.expander.lose_power, at=6)
        with pytest.raises(errors.PowerLostError):
            bench.backend.write({0: True})
        assert bench.expander.direction == 0xFF


class TestStuckLines:
    def test_the_line_is_named(self, bench: Bench) -> None:
        bench.backend.read()
        bench.expander.stuck = {0: False, 2: False}
        with pytest.raises(errors.StuckLineError, match=r"0 \(p1\) low: look"):
            bench.backend.write({0: True, 1: True})
        with pytest.raises(errors.StuckLineError, match=r"0 \(p1\) low, 2 \(p3\) low: look"):
            bench.backend.write({0: True, 2: True})
        bench.expander.stuck = {3: True}
        with pytest.raises(errors.StuckLineError, match=r"3 \(p4\) high"):
            bench.backend.write({3: False})

    def test_another_line_does_no_harm(self, bench: Bench) -> None:
        bench.expander.stuck = {0: True, 6: True}
        bench.backend.read()
        bench.backend.write({1: True})
        assert bench.expander.output == IDLE | 0b0010

    def test_a_slow_edge_is_read_again(self, bench: Bench) -> None:
        bench.backend.read()
        bench.expander.stuck = {0: False}
        bench.expander.before(bench.expander.stuck.clear, at=4)
        bench.backend.write({0: True})

    def test_a_stuck_line_is_told_at_set_up(self, tmp_path: Path) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.expander.stuck = {0: True}
        with pytest.raises(errors.StuckLineError, match="p1"):
            bench.backend.set_up(dict.fromkeys(range(8), False))


class TestFaults:
    @pytest.mark.parametrize("code", [5, 6, 11, 71, 110, 121])
    def test_what_can_pass_is_tried_again(self, bench: Bench, clock: FakeClock, code: int) -> None:
        bench.expander.fail(code, times=2)
        assert bench.backend.read()[7]
        assert len(clock.sleeps) == 2
        assert 0 < clock.sleeps[0] < clock.sleeps[1] <= 0.02

    def test_each_transaction_has_its_own_tries(self, bench: Bench) -> None:
        for at in (1, 4, 7, 10):
            bench.expander.fail(at=at, times=2)
        bench.backend.read()
        bench.backend.write({0: True})
        assert bench.expander.levels == IDLE | 1

    @pytest.mark.parametrize("code", [5, 6, 11, 71, 110, 121])
    def test_tries_have_an_end(self, bench: Bench, code: int) -> None:
        bench.expander.fail(code, times=None)
        expected = r"0x20 on /dev/i2c-1 did not answer in 3 tries \(.*\).*i2cdetect -y 1"
        with pytest.raises(errors.TransientBusError, match=expected) as caught:
            bench.backend.read()
        assert caught.value.errno == code
        assert isinstance(caught.value.__cause__, OSError)
        assert bench.count() == (3, 0)

    @pytest.mark.parametrize(
        ("code", "expected"),
        [
            (errno.ENODEV, errors.DeviceGoneError),
            (errno.EBUSY, errors.LineBusyError),
            (errno.EINVAL, errors.BusError),
        ],
    )
    def test_what_cannot_pass_is_told_at_once(
        self, bench: Bench, code: int, expected: type[Exception]
    ) -> None:
        bench.expander.fail(code)
        with pytest.raises(expected) as caught:
            bench.backend.read()
        assert type(caught.value) is expected
        assert bench.count() == (1, 0)

    def test_a_kernel_driver_on_the_address_is_named(self, tmp_path: Path) -> None:
        device = tmp_path / "bus/i2c/devices/1-0020"
        device.mkdir(parents=True)
        (device / "driver").symlink_to("../../drivers/pca953x")
        bench = Bench(ready(), opening_of(tmp_path), sysfs=str(tmp_path))
        bench.expander.fail(errno.EBUSY)
        with pytest.raises(errors.LineBusyError, match=r"driver pca953x: .* gpiod .*chip=1-0020"):
            bench.backend.read()

    @pytest.mark.parametrize("i2c", [True, False])
    @pytest.mark.parametrize("applied", range(4))
    @pytest.mark.parametrize("times", [1, 3])
    @pytest.mark.parametrize("at", range(1, 10))
    def test_no_fault_leaves_a_lie(
        self, tmp_path: Path, at: int, times: int, applied: int, *, i2c: bool
    ) -> None:
        bench = Bench(FakeExpander(pins=0x05), opening_of(tmp_path), i2c=i2c)
        bench.expander.fail(at=at, times=times, applied=applied)
        wanted = {offset: bool((IDLE | 2) >> offset & 1) for offset in range(8)}
        try:
            bench.backend.set_up(wanted)
        except errors.TransientBusError:
            assert times == 3
            assert bench.expander.levels in (0x05, IDLE | 2)
            bench.expander.heal()
            bench.backend.set_up(wanted)
        assert bench.expander.levels == IDLE | 2
        try:
            bench.backend.write({1: False, 3: True})
        except errors.TransientBusError:
            assert times == 3
            assert bench.expander.levels in (IDLE | 2, IDLE | 8)
            bench.expander.heal()
            bench.backend.write({1: False, 3: True})
        assert bench.expander.levels == IDLE | 8


class TestSharing:
    def test_one_write_does_not_undo_another(self, tmp_path: Path) -> None:
        expander = ready()
        first = Bench(expander, opening_of(tmp_path, SYSTEM))
        second = Bench(expander, opening_of(tmp_path, SYSTEM, options={"bus": "/dev/i2c-1"}))
        first.backend.read()
        second.backend.read()
        thread = threading.Thread(target=second.backend.write, args=({1: True},))

        def meanwhile() -> None:
            thread.start()
            thread.join(timeout=0.05)  # time for it to go wrong in, if nothing holds it back

        expander.before(meanwhile, at=2)
        first.backend.write({0: True})
        thread.join()
        assert expander.levels == IDLE | 0b0011

    def test_many_writes_at_once(self, tmp_path: Path) -> None:
        expander = ready()

        def work(offset: int) -> None:
            backend = Bench(expander, opening_of(tmp_path, SYSTEM)).backend
            for i in range(25):
                backend.write({offset: i % 2 == 0})
                assert backend.read()[offset] is (i % 2 == 0)

        with ThreadPoolExecutor() as threads:
            list(threads.map(work, range(3)))
        assert expander.levels == IDLE | 0b0111

    def test_other_expanders_have_other_locks(self, tmp_path: Path) -> None:
        for options in ({"address": 0x20}, {"address": 0x21}, {"bus": 2}, {"bus": "/dev/i2c-1"}):
            opening = opening_of(tmp_path, options=options)
            I2CBackend(FakeSMBus({0x20: ready(), 0x21: ready()}), opening).write({0: True})
        assert sorted(os.listdir(tmp_path)) == [
            "rpi-clusterhat.i2c-1-20.lock",
            "rpi-clusterhat.i2c-1-21.lock",
            "rpi-clusterhat.i2c-2-20.lock",
        ]

    def test_reading_needs_no_lock_and_writing_does(self, bench: Bench, tmp_path: Path) -> None:
        with FileLock(lock_path(str(tmp_path), "i2c-1-20")).hold():
            bench.backend.read()
            with pytest.raises(errors.LockTimeoutError):
                bench.backend.write({0: True})
            with pytest.raises(errors.LockTimeoutError):
                bench.backend.set_up({})
        assert bench.count() == (2, 0)


class TestOpening:
    @pytest.fixture
    def expander(self, monkeypatch: pytest.MonkeyPatch) -> FakeExpander:
        expander = ready()
        self.buses: list[FakeSMBus] = []

        def open_bus(bus: int | str) -> FakeSMBus:
            self.buses.append(FakeSMBus({ADDRESS: expander}))
            return self.buses[-1]

        monkeypatch.setattr("rpi_clusterhat_i2c.bus.open_bus", open_bus)
        return expander

    def test_the_plugin_is_found_and_opened(self, expander: FakeExpander, tmp_path: Path) -> None:
        plugin = load("i2c")
        options = parse_options("i2c", plugin, {}, "here")
        backend = plugin.open(opening_of(tmp_path, options=options))
        assert isinstance(backend, SupportsSetUp)
        assert backend.holds_levels
        assert repr(backend) == "<I2CBackend the expander at 0x20 on /dev/i2c-1 direction=?>"
        backend.write({0: True})
        assert expander.levels == IDLE | 1
        backend.close()
        assert repr(backend) == "<I2CBackend the expander at 0x20 on /dev/i2c-1 closed direction=0x00>"
        assert self.buses[0].closed
        with pytest.raises(errors.ClosedError):
            backend.set_up({})

    def test_lines_that_an_expander_does_not_have(self, expander: FakeExpander, tmp_path: Path) -> None:
        with pytest.raises(errors.DeviceNotFoundError, match=r"0 to 7, not 26 \(p4\)"):
            load("i2c").open(opening_of(tmp_path, lines=(Line(0, "p1"), Line(26, "p4"))))
        assert self.buses[0].closed

    @pytest.mark.parametrize(
        ("text", "value"),
        [("1", 1), ("0x0b", 11), ("/dev/i2c-22", "/dev/i2c-22"), ("/dev/board", "/dev/board")],
    )
    def test_a_bus_is_a_number_or_a_device(self, text: str, value: object) -> None:
        assert parse_options("i2c", rpi_clusterhat_i2c.plugin, {"bus": text}, "here")["bus"] == value

    @pytest.mark.parametrize(
        ("option", "text", "allowed"),
        [
            ("bus", "one", "0 to 1023, or a device such as"),
            ("bus", "-1", "0 to 1023"),
            ("address", "0x78", "0x3 to 0x77"),
            ("address", "2", "0x3 to 0x77"),
        ],
    )
    def test_what_options_may_be(self, option: str, text: str, allowed: str) -> None:
        with pytest.raises(errors.SettingError, match=allowed):
            parse_options("i2c", rpi_clusterhat_i2c.plugin, {option: text}, "here")

    def test_a_bus_without_a_number_is_named_by_its_device(self, tmp_path: Path) -> None:
        opening = opening_of(tmp_path, options={"bus": "/dev/board"})
        backend = I2CBackend(FakeSMBus({}), opening)
        with pytest.raises(errors.TransientBusError, match="on /dev/board did not answer") as caught:
            backend.read()
        assert "i2cdetect" not in str(caught.value)

    def test_checking_reads_and_closes(self, expander: FakeExpander) -> None:
        options = {"bus": 1, "address": ADDRESS}
        rpi_clusterhat_i2c.plugin.check(options)
        assert (expander.transactions, expander.writes) == (1, 0)
        expander.fail(errno.ENODEV)
        with pytest.raises(errors.DeviceNotFoundError, match="0x20 on /dev/i2c-1 is gone"):
            rpi_clusterhat_i2c.plugin.check(options)
        expander.fail(errno.EBUSY)
        with pytest.raises(errors.LineBusyError):
            rpi_clusterhat_i2c.plugin.check(options)
        assert all(bus.closed for bus in self.buses)

    def test_a_missing_package_is_told_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "smbus2", None)
        with pytest.raises(
            errors.MissingDependencyError, match=r"pip install 'rpi-clusterhat\[i2c\]'"
        ) as caught:
            open_bus(1)
        assert isinstance(caught.value.__cause__, ImportError)

    def test_a_missing_bus_is_told_with_those_there_are(self, tmp_path: Path) -> None:
        missing = tmp_path / "i2c-1"
        with pytest.raises(errors.DeviceNotFoundError, match=r"i2c-1: enable I2C .*; there is no other bus"):
            open_bus(str(missing))
        (tmp_path / "i2c-3").touch()
        (tmp_path / "i2c-2").touch()
        with pytest.raises(errors.DeviceNotFoundError, match=r"there are .*/i2c-2, .*/i2c-3: choose"):
            open_bus(str(missing))
        with pytest.raises(errors.DeviceNotFoundError, match="there is no other bus"):
            open_bus(str(tmp_path / "nowhere" / "i2c-1"))

    def test_a_file_that_is_no_bus(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(errors.DeviceNotFoundError, match="file is no I2C bus"):
            open_bus(str(tmp_path / "file"))

    @pytest.mark.parametrize(
        ("code", "expected", "text"),
        [
            (errno.EACCES, errors.AccessDeniedError, "/dev/i2c-1: join the group i2c"),
            (errno.EMFILE, errors.BackendUnavailableError, "cannot open /dev/i2c-1: Too many open files"),
        ],
    )
    def test_a_bus_that_may_not_be_opened(
        self, monkeypatch: pytest.MonkeyPatch, code: int, expected: type[Exception], text: str
    ) -> None:
        def refuse(self: object, bus: object) -> None:
            raise OSError(code, os.strerror(code))

        monkeypatch.setattr("smbus2.SMBus.open", refuse)
        with pytest.raises(expected, match=text) as caught:
            open_bus(1)
        assert type(caught.value) is expected


levels_of_nodes = st.dictionaries(st.integers(0, 3), st.booleans(), min_size=1)
pins = st.integers(0, 0xFF)


class ExpanderInTheWorld(RuleBasedStateMachine):
    """A backend on an expander that fails, loses its power and is changed by others, against what is true."""

    @initialize(chip=st.sampled_from(["PCA9554", "XRA1200P"]), i2c=st.booleans(), level=pins)
    def begin(self, chip: str, level: int, *, i2c: bool) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.expander = FakeExpander(chip, pins=level)
        self.backend = I2CBackend(FakeSMBus({ADDRESS: self.expander}, i2c=i2c), opening_of(self.folder.name))
        self.combines = i2c
        self.asked = 0
        """Which outputs may be high: somebody asked for it, and nothing has taken it back since."""
        self.loses = False

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def lose(self) -> None:
        self.expander.lose_power()
        self.loses = True

    @rule()
    def lose_power(self) -> None:
        self.expander.lose_power()
        self.asked = 0

    @rule(at=st.integers(1, 8))
    def lose_power_in_the_middle(self, at: int) -> None:
        self.expander.before(self.lose, at=at)

    @rule(
        code=st.sampled_from([5, 11, 110, 121]),
        at=st.integers(1, 8),
        times=st.integers(1, 4),
        n=st.integers(0, 5),
    )
    def fail(self, code: int, at: int, times: int, n: int) -> None:
        self.expander.fail(code, at=at, times=times, applied=n)

    @rule(at=st.integers(1, 8))
    def gone(self, at: int) -> None:
        self.expander.fail(errno.ENODEV, at=at)

    @rule(level=pins)
    def jumper(self, level: int) -> None:
        self.expander.pins = level

    @precondition(lambda self: self.expander.direction != 0xFF)
    @rule(bits=pins)
    def others_switch(self, bits: int) -> None:
        self.expander.output = bits
        self.asked = bits

    @precondition(lambda self: self.expander.direction != 0xFF)
    @rule(bits=st.integers(0, 0x0F))
    def others_make_inputs(self, bits: int) -> None:
        self.expander.direction |= bits

    @rule()
    def read(self) -> None:
        self.loses = False
        self.expander.reset_counts()
        try:
            levels = self.backend.read()
        except errors.BusError:
            pass
        else:
            if not self.loses:
                assert levels == {offset: bool(self.expander.levels >> offset & 1) for offset in range(8)}
                assert self.backend.is_set_up is (self.expander.direction != 0xFF)
        assert self.expander.log == []

    @rule(levels=levels_of_nodes)
    def write(self, levels: dict[int, bool]) -> None:
        others = 0xFF & ~sum(1 << offset for offset in levels)
        before, was_set_up = self.expander.output, self.expander.direction != 0xFF
        self.asked |= sum(level << offset for offset, level in levels.items())
        self.loses = False
        self.expander.reset_counts()
        try:
            self.backend.write(levels)
        except errors.PowerLostError:
            assert self.expander.direction == 0xFF
            assert not self.backend.is_set_up
        except errors.BusError:
            pass
        except errors.StuckLineError:
            assert self.torn()
        else:
            for offset, level in levels.items():
                assert bool(self.expander.levels >> offset & 1) is level
            self.asked &= others | sum(level << offset for offset, level in levels.items())
        if not self.loses:
            assert (self.expander.output ^ before) & others == 0
        if not was_set_up:
            assert self.expander.direction == 0xFF, "set up again as if nothing had happened"

    @rule(levels=levels_of_nodes)
    def set_up(self, levels: dict[int, bool]) -> None:
        wanted = {**dict.fromkeys(range(8), False), **levels}
        value = sum(level << offset for offset, level in wanted.items())
        if self.expander.direction == 0xFF:
            self.asked |= value
        self.loses = False
        self.expander.reset_counts()
        try:
            self.backend.set_up(wanted)
        except errors.PowerLostError:
            assert self.expander.direction == 0xFF
            assert not self.backend.is_set_up
        except errors.BusError:
            pass
        except errors.StuckLineError:
            assert self.torn()
        else:
            assert self.backend.is_set_up
            if (DIRECTION, 0x00) in self.expander.log and not self.loses:
                assert self.expander.levels == value
                self.asked = value
        if self.loses:
            self.asked |= value

    def torn(self) -> bool:
        """Whether a power loss came between the levels and the direction: where they are not combined."""
        return self.loses and not self.combines

    @invariant()
    def nothing_is_driven_high_that_nobody_asked_for(self) -> None:
        if hasattr(self, "expander") and self.combines:
            driven = self.expander.output & ~self.expander.direction & 0xFF
            assert driven & ~self.asked == 0


TestExpanderInTheWorld = ExpanderInTheWorld.TestCase
TestExpanderInTheWorld.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_two_boards_of_a_cluster_are_never_one_expander(tmp_path: Path) -> None:
    first = opening_of(tmp_path)
    I2CBackend(FakeSMBus({ADDRESS: ready()}), first)
    with pytest.raises(errors.SettingError, match="two boards of this cluster use the expander at 0x20"):
        I2CBackend(
            FakeSMBus({ADDRESS: ready()}), first.replaced(options={"bus": "/dev/i2c-1", "address": ADDRESS})
        )
