"""When the next node may be switched on: the rule, its record, and turns on a clock that is moved."""

from __future__ import annotations

import gc
import math
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.errors import LockTimeoutError
from rpi_clusterhat.hardware.turnstile import FileTurnstile, LocalTurnstile
from rpi_clusterhat.power.rail import PowerUp, Rail, Turn, earliest
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.hardware.turnstile import Turnstile

TIMES = st.floats(0, 1e9)
SPACINGS = st.floats(0, 3600)


# The rule --------------------------------------------------------------------------------------------------


@given(TIMES, SPACINGS)
def test_the_first_of_all_waits_for_nothing(now: float, spacing: float) -> None:
    assert earliest(None, now, spacing) == now


@given(TIMES, TIMES, SPACINGS)
def test_a_power_up_that_was_seen_through_is_followed_after_the_spacing(
    at: float, now: float, spacing: float
) -> None:
    go_at = earliest(PowerUp(at, pending=False), now, spacing)
    assert go_at == (at + spacing if at <= now else now + spacing)
    assert go_at <= now + spacing


@given(st.floats() | TIMES, st.booleans(), TIMES, SPACINGS)
def test_nobody_is_on_within_the_spacing_of_what_may_have_been_nor_waits_longer(
    at: float, pending: bool, now: float, spacing: float
) -> None:
    go_at = earliest(PowerUp(at, pending), now, spacing)
    assert go_at <= now + spacing
    if pending or math.isnan(at) or at > now or at < 0:
        assert go_at == now + spacing
    else:
        assert go_at - at >= spacing - 1e-6


# The record ------------------------------------------------------------------------------------------------


@given(TIMES, st.booleans())
def test_a_record_is_read_as_it_was_written(at: float, pending: bool) -> None:
    record = PowerUp(at, pending).encode()
    assert len(record) <= 64
    for stored in (record, record.ljust(64), record.ljust(64, b"\0")):
        read = PowerUp.decode(stored)
        assert read is not None
        assert read.at == pytest.approx(at, abs=1e-6)
        assert read.pending is pending


def test_no_record() -> None:
    assert [PowerUp.decode(empty) for empty in (b"", b" " * 64, b"\0" * 64)] == [None] * 3


@pytest.mark.parametrize(
    "garbage",
    [
        b"x",
        b"1.0",
        b"1.0 ",
        b"1.0 Done",
        b"done",
        b" done",
        b"\xff\xfe done",
        b"1,0 done",
        b"nan done",
        b"inf done",
    ],
)
def test_what_cannot_be_read_is_waited_for_whole(garbage: bytes) -> None:
    assert earliest(PowerUp.decode(garbage), 1000.0, 2.0) == 1002.0


@given(st.binary(max_size=64), TIMES, SPACINGS)
def test_no_record_makes_anybody_wait_longer_than_the_spacing(
    record: bytes, now: float, spacing: float
) -> None:
    assert now <= earliest(None, now, spacing) <= now + spacing
    assert earliest(PowerUp.decode(record), now, spacing) <= now + spacing


# Turns -----------------------------------------------------------------------------------------------------


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["one process", "many"])
def turnstile(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Callable[[], Turnstile]:
    """Makes a turnstile as each program has it."""
    if request.param == "many":
        return lambda: FileTurnstile(str(tmp_path / "rail"), clock=clock)
    local = LocalTurnstile()
    return lambda: local


@pytest.fixture
def rail(turnstile: Callable[[], Turnstile], clock: FakeClock) -> Callable[..., Rail]:
    def make(spacing: float = 2.0) -> Rail:
        return Rail(turnstile(), clock, spacing)

    return make


def wait(turn: Turn, clock: FakeClock) -> float:
    """Waits for a turn; for how long it was."""
    start = clock.now()
    while (seconds := turn.remaining()) > 0.0:
        clock.sleep(seconds)
    return clock.now() - start


def power_up(turn: Turn, clock: FakeClock, *, takes: float = 0.0) -> float:
    waited = wait(turn, clock)
    turn.begin()
    clock.advance(takes)
    turn.end()
    turn.leave()
    return waited


def test_the_first_waits_for_nothing_and_the_others_for_the_spacing(
    rail: Callable[..., Rail], clock: FakeClock
) -> None:
    waits = [power_up(rail().join(), clock, takes=0.25) for _ in range(3)]
    assert waits == pytest.approx([0.0, 2.0, 2.0], abs=1e-5)
    clock.advance(1.5)
    assert power_up(rail().join(), clock) == pytest.approx(0.5, abs=1e-5)
    clock.advance(2.1)
    assert power_up(rail().join(), clock) == 0.0


def test_no_spacing_no_wait(rail: Callable[..., Rail], clock: FakeClock) -> None:
    assert [power_up(rail(0.0).join(), clock) for _ in range(3)] == [0.0] * 3


def test_waiters_are_served_in_turn(rail: Callable[..., Rail], clock: FakeClock) -> None:
    turns = [rail().join() for _ in range(4)]
    for i, turn in enumerate(turns):
        for later in turns[i + 1 :]:
            assert 0.0 < later.remaining() <= 0.05, "it asks again soon"
        power_up(turn, clock)
    assert clock.now() == pytest.approx(1006.0, abs=1e-5)


def test_who_leaves_lets_the_next_go_on(rail: Callable[..., Rail], clock: FakeClock) -> None:
    first, second, third = (rail().join() for _ in range(3))
    assert first.remaining() == 0.0
    first.leave()
    first.leave()
    third.leave()
    assert second.remaining() == 0.0


def test_an_attempt_that_failed_counts_as_a_power_up(rail: Callable[..., Rail], clock: FakeClock) -> None:
    turn = rail().join()
    assert turn.remaining() == 0.0
    turn.begin()
    turn.end()
    turn.end()
    turn.leave()
    assert power_up(rail().join(), clock) == pytest.approx(2.0, abs=1e-5)


def test_who_only_waited_leaves_no_trace(rail: Callable[..., Rail], clock: FakeClock) -> None:
    turn = rail().join()
    assert turn.remaining() == 0.0
    turn.end()
    turn.leave()
    assert power_up(rail().join(), clock) == 0.0


def test_a_record_from_the_future_is_waited_for_once(rail: Callable[..., Rail], clock: FakeClock) -> None:
    clock.advance(1e6)
    power_up(rail().join(), clock)
    clock.advance(-1e6)  # the controller was started again
    first = rail().join()
    assert first.remaining() == pytest.approx(2.0)
    clock.advance(0.75)
    first.leave()
    assert power_up(rail().join(), clock) == pytest.approx(1.25, abs=1e-5), "the first one's wait counts"


def test_what_is_expected(rail: Callable[..., Rail], clock: FakeClock) -> None:
    first, second = rail().join(), rail().join()
    assert (first.expected(), second.expected()) == (0.0, 0.0)
    assert first.remaining() == 0.0
    first.begin()
    assert second.expected() == pytest.approx(2.0)
    power_up(first, clock)
    clock.advance(0.5)
    assert second.expected() == pytest.approx(1.5, abs=1e-5)
    assert second.remaining() == pytest.approx(1.5, abs=1e-5)
    clock.advance(5.0)
    assert second.expected() == 0.0


def test_repr(rail: Callable[..., Rail]) -> None:
    assert "Turnstile" in repr(rail(3.0))
    assert repr(rail(3.0)).endswith(" spacing=3>")


def test_who_waits_while_the_machine_is_suspended_goes_on(
    rail: Callable[..., Rail], clock: FakeClock
) -> None:
    """The clock goes on meanwhile, but the program before this one could not act."""
    first, turn = rail().join(), rail().join()
    assert first.remaining() == 0.0
    assert turn.remaining() > 0.0
    clock.advance(3600.0)
    assert turn.remaining() > 0.0
    power_up(first, clock)
    assert turn.remaining() == pytest.approx(2.0, abs=1e-5)
    clock.advance(2.0)
    assert turn.remaining() == 0.0


def test_who_is_behind_a_stopped_program_is_told_after_a_minute(
    rail: Callable[..., Rail], clock: FakeClock
) -> None:
    stopped, turn = rail().join(), rail().join()
    assert stopped.remaining() == 0.0
    start = clock.now()
    with pytest.raises(LockTimeoutError, match="kept its place on the rail for 62 s and switches nothing on"):
        wait(turn, clock)
    assert clock.now() - start == pytest.approx(62.0, abs=0.2)


def test_who_is_behind_programs_that_switch_on_waits_for_all_of_them(
    rail: Callable[..., Rail], clock: FakeClock
) -> None:
    before, last = [rail(30.0).join() for _ in range(10)], rail(30.0).join()
    assert last.remaining() > 0.0
    for turn in before:
        power_up(turn, clock)
        assert last.remaining() > 0.0
    power_up(last, clock)
    assert clock.now() == pytest.approx(1300.0, abs=1e-4)


def test_a_program_that_dies_while_switching_on_is_waited_for_whole(tmp_path: Path, clock: FakeClock) -> None:
    def rail() -> Rail:
        return Rail(FileTurnstile(str(tmp_path / "rail"), clock=clock), clock, 2.0)

    turn: Any = rail().join()
    assert turn.remaining() == 0.0
    turn.begin()
    clock.advance(50.0)  # when within these it switched, nobody knows
    del turn
    gc.collect()
    second = rail().join()
    assert second.remaining() == pytest.approx(2.0)
    clock.advance(1.0)
    del second  # dies while it waits: its wait counts for the next
    gc.collect()
    assert power_up(rail().join(), clock) == pytest.approx(1.0, abs=1e-5)
