"""Which transactions a call makes, and what it makes of what it reads."""

from __future__ import annotations

import errno
import threading
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat import errors
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.testing import FakeExpander
from tests.backends.i2c.bench import DIRECTION, IDLE, LINES, OUTPUT, POLARITY, PULL_UPS, Bench, opening_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class TestTransactions:
    """How often the bus is used: each transaction costs, and the bus is shared."""

    def test_opening_and_closing_take_none(self, bench: Bench) -> None:
        bench.backend.close()
        assert bench.count() == (0, 0)

    def test_reading_takes_two_and_writes_nothing(self, bench: Bench) -> None:
        assert bench.backend.read() == {offset: bool(IDLE >> offset & 1) for offset in range(8)}
        assert bench.count() == (2, 0)

    @pytest.mark.parametrize("levels", [{0: True}, {0: False, 1: False, 2: False, 3: False}])
    def test_reading_and_writing_take_six(self, bench: Bench, levels: dict[int, bool]) -> None:
        bench.expander.output = IDLE | 0b0110
        bench.backend.read()
        bench.backend.write(levels)
        assert bench.count() == (6, 1)

    def test_writing_what_holds_takes_three_and_writes_nothing(self, bench: Bench) -> None:
        bench.backend.read()
        bench.count()
        bench.backend.write({0: False})
        assert bench.count() == (3, 0)
        bench.backend.write({})
        assert bench.count() == (0, 0)

    def test_without_a_read_the_direction_is_looked_at_first(self, bench: Bench) -> None:
        bench.backend.write({0: True})
        assert bench.count() == (5, 1)
        bench.backend.write({0: False})
        assert bench.count() == (4, 1)


class TestFirstTouch:
    def test_outputs_get_their_levels_before_they_are_outputs(self, tmp_path: Path) -> None:
        bench = Bench(FakeExpander("XRA1200P", pins=0x0F), opening_of(tmp_path))
        bench.backend.read()
        before = bench.backend.is_set_up
        bench.backend.set_up({line.offset: bool(IDLE >> line.offset & 1) for line in LINES})
        assert bench.expander.log == [(POLARITY, 0), (PULL_UPS, 0x7F), (OUTPUT, IDLE), (DIRECTION, 0)]
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

    @pytest.mark.parametrize("at", range(1, 10))
    def test_power_lost_on_the_way_switches_nothing_on(self, tmp_path: Path, at: int) -> None:
        bench = Bench(FakeExpander(), opening_of(tmp_path))
        bench.expander.before(bench.expander.lose_power, at=at)
        off = dict.fromkeys(range(8), False)
        try:
            bench.backend.set_up(off)
        except errors.PowerLostError:
            assert not bench.backend.is_set_up
        assert bench.expander.levels == 0x00

    @pytest.mark.parametrize("chip", ["PCA9554", "XRA1200P"])
    @pytest.mark.parametrize("applied", range(3))
    @pytest.mark.parametrize("times", [1, 2])
    @pytest.mark.parametrize("at", range(1, 16))
    def test_a_new_try_gives_levels_again_first(
        self, tmp_path: Path, at: int, times: int, applied: int, chip: str
    ) -> None:
        """Power went between the tries: no line is high for a moment."""
        for cut in range(at + 1, at + times + 1):
            expander = WatchedExpander(chip)
            bench = Bench(expander, opening_of(tmp_path))
            expander.fail(errno.ETIMEDOUT, at=at, times=times, applied=applied)
            expander.before(expander.lose_power, at=cut)
            try:
                bench.backend.set_up(dict.fromkeys(range(8), False))
            except errors.PowerLostError:
                assert not bench.backend.is_set_up
                bench.backend.set_up(dict.fromkeys(range(8), False))
            assert expander.seen == {0x00}


class WatchedExpander(FakeExpander):
    """Keeps the levels that its pins had after each transaction."""

    def __init__(self, chip: str) -> None:
        super().__init__(chip)
        self.seen: set[int] = set()

    def transfer(self, messages: Sequence[bytes | int]) -> list[bytes]:
        try:
            return super().transfer(messages)
        finally:
            self.seen.add(self.levels)


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
    @pytest.mark.parametrize("at", range(1, 5))
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
        else:  # at the last, the pins may be by accident what was asked for: then that is no lie
            assert (at, bench.expander.levels & 1) == (4, level)
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
        bench.expander.output = IDLE | (pins & 1)
        if seen:
            bench.backend.read()
            assert bench.backend.inputs == {0, 2}
        bench.backend.write({0: not pins})
        assert bench.expander.direction == 0b0100
        assert bool(bench.expander.levels & 1) is not bool(pins)
        steps = [step for step in bench.expander.log if step[0] == DIRECTION or step[1] & 1 == (not pins)]
        assert steps[0][0] == OUTPUT

    @pytest.mark.parametrize("level", [True, False])
    @pytest.mark.parametrize("seen", [True, False])
    def test_an_input_that_happens_to_have_the_level_is_driven(
        self, bench: Bench, *, level: bool, seen: bool
    ) -> None:
        bench.backend.read()
        bench.expander.pins, bench.expander.direction = IDLE | level, 0b0001
        bench.expander.output = IDLE | (not level)
        if seen:
            bench.backend.read()
        bench.backend.write({0: level})
        assert (bench.expander.output, bench.expander.direction) == (IDLE | level, 0x00)
        assert bench.expander.log == [(OUTPUT, IDLE | level), (DIRECTION, 0x00)]
        bench.expander.pins = 0x00 if level else 0xFF
        assert bench.expander.levels == IDLE | level

    def test_inputs_are_those_of_the_last_read(self, bench: Bench) -> None:
        assert bench.backend.inputs == set()
        bench.backend.read()
        assert bench.backend.inputs == set()
        bench.expander.direction = 0b1000_0010
        assert bench.backend.inputs == set()
        bench.backend.read()
        assert bench.backend.inputs == {1, 7}
        bench.expander.lose_power()
        bench.backend.read()
        assert bench.backend.inputs == set(range(8))

    @pytest.mark.parametrize("at", range(3, 9))
    def test_power_lost_while_a_line_becomes_an_output_switches_nothing_on(
        self, bench: Bench, at: int
    ) -> None:
        """Reset's ones in the output register would drive every node, were the directions to stay."""
        bench.expander.pins, bench.expander.direction = IDLE, 0b0001
        bench.backend.read()
        bench.expander.before(bench.expander.lose_power, at=at)
        try:
            bench.backend.write({0: True})
        except errors.PowerLostError:
            assert not bench.backend.is_set_up
            assert bench.expander.levels == IDLE
        else:
            pytest.fail("nothing was noticed")
        assert bench.expander.direction == 0xFF

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
