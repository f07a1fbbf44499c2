"""What is noted of how lines were left, and what is noticed by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat import errors
from rpi_clusterhat.hardware.locks import RECORD_SIZE, FileLock, lock_path
from rpi_clusterhat_i2c.record import Note, Record
from tests.backends.i2c.bench import IDLE, Bench, opening_of, ready
from tests.backends.i2c.vendor import VendorsTool

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.testing import FakeExpander

EVERY = {offset: bool(IDLE >> offset & 1) for offset in range(8)}


def lock_of(folder: Path) -> FileLock:
    return FileLock(lock_path(str(folder), "i2c-1-20"))


class Process:
    """A program of this library, as far as it uses this expander."""

    def __init__(self, expander: FakeExpander, folder: Path) -> None:
        self.backend = Bench(expander, opening_of(folder)).backend

    def altered(self) -> set[int]:
        self.backend.read()
        return set(self.backend.altered)


@pytest.fixture
def expander() -> FakeExpander:
    return ready()


@pytest.fixture
def program(expander: FakeExpander, tmp_path: Path) -> Callable[[], Process]:
    return lambda: Process(expander, tmp_path)


class TestNoticing:
    def test_nothing_is_claimed_before_anything_was_switched(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        expander.output = 0x0F
        assert program().altered() == set()

    def test_what_another_program_switched_is_noticed_in_the_same_program_and_a_later_one(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        first = program()
        first.backend.write({0: True})
        assert first.altered() == program().altered() == set()
        expander.output = IDLE | 0b0100
        assert first.altered() == program().altered() == {0, 2}
        assert program().altered() == {0, 2}, "reading makes it forgotten"
        expander.output = IDLE | 0b0001
        assert first.altered() == program().altered() == set()

    def test_a_line_made_an_input_is_noticed(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        program().backend.write({0: True})
        expander.pins, expander.direction = IDLE | 1, 0x01
        assert program().altered() == {0}

    def test_the_next_switch_takes_over_what_was_told(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        first = program()
        first.backend.write({0: True})
        expander.output = IDLE
        assert first.altered() == {0}
        first.backend.write({3: True})
        assert first.altered() == program().altered() == set()
        assert expander.levels == IDLE | 0b1000

    def test_it_does_not_take_over_what_nobody_was_told(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        """It happened between the read and the write of one operation."""
        first = program()
        first.backend.write({0: True})
        first.backend.read()
        expander.output = IDLE
        first.backend.write({3: True})
        assert first.altered() == {0}

    def test_what_is_switched_is_as_it_was_left(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        first = program()
        first.backend.write({0: True})
        expander.output = IDLE
        first.backend.write({0: True})
        assert first.altered() == set()

    def test_a_loss_of_power_is_no_alteration(
        self, expander: FakeExpander, program: Callable[[], Process]
    ) -> None:
        first = program()
        first.backend.write({0: True})
        expander.lose_power()
        assert first.altered() == set()
        first.backend.set_up(EVERY)
        assert first.altered() == program().altered() == set()

    def test_but_that_another_program_sets_it_up_after_one_is(
        self, expander: FakeExpander, program: Callable[[], Process], tmp_path: Path
    ) -> None:
        program().backend.write({0: True})
        expander.lose_power()
        VendorsTool(Bench(expander, opening_of(tmp_path)).bus)
        assert program().altered() == {0}

    def test_only_lines_of_the_board_are_told(self, expander: FakeExpander, tmp_path: Path) -> None:
        lines = [line for line in opening_of(tmp_path).lines if line.name in ("p1", "p2")]
        backend = Bench(expander, opening_of(tmp_path, lines=lines)).backend
        backend.write({0: True})
        expander.output = 0xF0
        backend.read()
        assert backend.altered == {0}


class TestTheVendorsToolAtTheSameMoment:
    """Both read the output register, change it and write it back; the vendor's tool takes no lock."""

    @pytest.mark.parametrize("reads", [3, 4])
    @pytest.mark.parametrize("writes", [4, 5, 6, 7])
    def test_what_it_undoes_is_noticed(self, tmp_path: Path, reads: int, writes: int) -> None:
        """It reads before one transaction of ours, and writes before another."""
        expander = ready()
        ours, theirs = Bench(expander, opening_of(tmp_path)), Bench(expander, opening_of(tmp_path))
        ours.backend.read()
        ours.backend.write({2: True})
        ours.count()
        found: list[int] = []
        expander.before(lambda: found.append(expander.output), at=reads)
        expander.before(lambda: setattr(expander, "output", found[0] | 0b0010), at=writes)
        ours.backend.read()
        ours.backend.write({0: True})
        if writes == 7:
            theirs.backend.read()
        if writes == 4:  # ours undid theirs, which nobody can see
            expected, noticed = 0b0101, set[int]()
        elif writes == 7:  # after all of ours
            expected, noticed = 0b0110, {0, 1}
        else:  # ours saw it as it read its line back
            expected, noticed = 0b0111, {1}
        assert expander.levels == IDLE | expected
        assert Process(expander, tmp_path).altered() == noticed

    def test_one_that_undoes_it_again_and_again_is_told(self, tmp_path: Path) -> None:
        expander = ready()
        bench = Bench(expander, opening_of(tmp_path))
        bench.backend.read()
        for at in (3, 9, 15):  # before the direction is read, in each round
            expander.before(lambda: setattr(expander, "output", IDLE), at=at)
        with pytest.raises(errors.StuckLineError, match=r"0 \(p1\) low: another program switches them"):
            bench.backend.write({0: True})

    def test_what_is_undone_of_it_is_not(self, tmp_path: Path) -> None:
        expander = ready()
        bench = Bench(expander, opening_of(tmp_path))
        bench.backend.read()
        bench.backend.write({2: True})
        bench.count()
        expander.before(lambda: VendorsTool(bench.bus).switch(1, True), at=2)
        bench.backend.write({0: True})
        assert expander.levels == IDLE | 0b0101
        assert Process(expander, tmp_path).altered() == set()


class TestOtherProgramsOfThisLibrary:
    @pytest.mark.parametrize("at", [1, 2])
    @pytest.mark.parametrize("steps", [[True], [True, False], [True, False, True]])
    def test_they_are_no_alteration_between_two_transactions_of_a_read(
        self, tmp_path: Path, at: int, steps: list[bool]
    ) -> None:
        expander = ready()
        first, second = Process(expander, tmp_path), Process(expander, tmp_path)
        second.backend.write({0: False})

        def switch() -> None:
            for level in steps:
                second.backend.write({0: level})

        expander.before(switch, at=at)
        assert first.altered() == set()
        assert first.altered() == set()

    @pytest.mark.parametrize("at", range(1, 5))
    def test_nor_is_a_switch_that_is_under_way(self, tmp_path: Path, at: int) -> None:
        expander = ready()
        first, second = Process(expander, tmp_path), Process(expander, tmp_path)
        second.backend.write({0: False})
        found: list[set[int]] = []
        expander.before(lambda: found.append(first.altered()), at=at)
        second.backend.write({0: True})
        assert found == [set()]

    @pytest.mark.parametrize("at", range(1, 5))
    @pytest.mark.parametrize("applied", [0, 1])
    def test_nor_is_one_that_failed(self, tmp_path: Path, at: int, applied: int) -> None:
        """Nobody knows whether it took effect: then nothing is claimed of its line."""
        expander = ready()
        first = Process(expander, tmp_path)
        first.backend.write({0: False, 1: True})
        expander.fail(at=at, times=4, applied=applied)
        with pytest.raises(errors.TransientBusError):
            first.backend.write({0: True})
        expander.heal()
        assert first.altered() == Process(expander, tmp_path).altered() == set()
        expander.output ^= 0b0010
        assert first.altered() == {1}

    def test_a_stuck_line_is_no_alteration(self, expander: FakeExpander, tmp_path: Path) -> None:
        first = Process(expander, tmp_path)
        expander.stuck = {0: False}
        with pytest.raises(errors.StuckLineError):
            first.backend.write({0: True})
        assert first.altered() == set()


class TestRecord:
    def test_it_is_kept_in_the_lock_of_the_expander(
        self, expander: FakeExpander, program: Callable[[], Process], tmp_path: Path
    ) -> None:
        program().backend.write({0: True})
        note = Record(lock_of(tmp_path).load).load()
        assert note == Note(2, 0xFF, IDLE | 1)
        expander.direction = 0b1000
        program().backend.write({1: True})
        assert Record(lock_of(tmp_path).load).load() == Note(4, 0xFF, IDLE | 3)

    @pytest.mark.parametrize(
        "nonsense",
        [b"", b"expander", b"expander 1 ff", b"expander x ff ff", b"expander -1 \xff ff", b"ticket 1 ff 0 "],
    )
    def test_what_is_no_note_claims_nothing(
        self, program: Callable[[], Process], tmp_path: Path, nonsense: bytes
    ) -> None:
        first = program()
        with (lock := lock_of(tmp_path)).hold():
            lock.store(nonsense)
        assert first.altered() == set()
        first.backend.write({0: True})
        assert first.altered() == set()

    @given(st.binary(max_size=RECORD_SIZE))
    def test_any_bytes_are_read(self, content: bytes) -> None:
        note = Record(lambda: content).load()
        assert 0 <= note.known <= 0xFF
        assert 0 <= note.levels <= 0xFF

    @given(st.integers(0, 0xFF), st.integers(0, 0xFF), st.integers(0, 0xFF), st.integers(0, 0xFF))
    def test_a_line_is_altered_if_it_is_known_and_otherwise(
        self, known: int, levels: int, pins: int, direction: int
    ) -> None:
        altered = Note(1, known, levels).altered(pins, direction)
        for bit in (1 << i for i in range(8)):
            otherwise = bool(direction & bit) or (levels & bit) != (pins & bit)
            assert bool(altered & bit) is (bool(known & bit) and otherwise)

    def test_a_lock_that_cannot_be_read_claims_nothing(self, expander: FakeExpander, tmp_path: Path) -> None:
        assert Process(expander, tmp_path / "missing").altered() == set()

    def test_numbers_begin_anew_at_their_end(
        self, expander: FakeExpander, program: Callable[[], Process], tmp_path: Path
    ) -> None:
        first = program()
        with (lock := lock_of(tmp_path)).hold():
            lock.store(b"expander ffffffff ff 90")
        first.backend.write({0: True})
        assert Record(lock_of(tmp_path).load).load().number == 1


def test_it_takes_no_transaction(tmp_path: Path) -> None:
    bench = Bench(ready(), opening_of(tmp_path))
    bench.backend.read()
    bench.backend.write({0: True})
    assert bench.count() == (6, 1)
    bench.backend.read()
    assert bench.count() == (2, 0)
    bench.expander.output = IDLE
    bench.backend.read()
    assert bench.backend.altered == {0}
    assert bench.count() == (2, 0)
    assert [register for register, _ in bench.expander.log] == []
