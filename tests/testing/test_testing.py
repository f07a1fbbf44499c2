"""What users test with: the fake clock, and a conformance suite that finds broken backends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import ClosedError
from rpi_clusterhat.testing import BackendConformance, FakeClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import Backend

# The clock -------------------------------------------------------------------------------------------------


def test_who_sleeps_moves_the_clock() -> None:
    clock = FakeClock(10.0)
    clock.sleep(1.5)
    clock.sleep(0.0)
    clock.sleep(-1.0)
    clock.advance(0.5)
    assert (clock.now(), clock.sleeps) == (12.0, [1.5])
    assert repr(clock) == "<FakeClock 12>"


def test_tasks_wake_in_the_order_they_are_due() -> None:
    clock = FakeClock(0.0)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.asleep(nap)
            woken.append((name, clock.now()))

    async def work() -> None:
        await asyncio.gather(sleeper("a", 3.0, 3.0), sleeper("b", 1.0, 1.0, 1.0), sleeper("c", 4.5))

    asyncio.run(work())
    assert [name for name, _ in woken] == ["b", "b", "a", "b", "c", "a"]
    assert [when for _, when in woken] == [1.0, 2.0, 3.0, 3.0, 4.5, 6.0]


def test_no_time_to_wait_is_no_sleep() -> None:
    clock = FakeClock(0.0)

    async def work() -> None:
        await clock.asleep(0.0)
        await clock.asleep(-1.0)

    asyncio.run(work())
    assert (clock.now(), clock.sleeps) == (0.0, [])


def test_a_sleep_that_is_cancelled_holds_up_nobody() -> None:
    clock = FakeClock(0.0)

    async def work() -> None:
        short = asyncio.create_task(clock.asleep(5.0))
        long = asyncio.create_task(clock.asleep(9.0))
        await asyncio.sleep(0)
        short.cancel()
        await long
        assert clock.now() == 9.0
        with pytest.raises(asyncio.CancelledError):
            await short

    asyncio.run(work())


def test_a_test_may_move_the_clock_past_a_sleep() -> None:
    clock = FakeClock(0.0)

    async def work() -> None:
        task = asyncio.create_task(clock.asleep(5.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(60.0)
        await task
        assert clock.now() in (60.0, 65.0)

    asyncio.run(work())


def test_a_clock_moved_by_hand_stands_still_for_sleepers() -> None:
    clock = FakeClock(0.0, by_hand=True)
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.asleep(nap)
            woken.append((name, clock.now()))

    async def work() -> None:
        tasks = [
            asyncio.create_task(sleeper("a", 3.0, 3.0)),
            asyncio.create_task(sleeper("b", 1.0, 3.0, 0.0)),
        ]
        for _ in range(100):
            await asyncio.sleep(0)
        assert (clock.now(), woken) == (0.0, [])
        await clock.pass_time(2.5)
        assert (clock.now(), woken) == (2.5, [("b", 1.0)])
        await clock.pass_time(0.5)
        assert woken[1:] == [("a", 3.0)]  # one who is due in this very moment wakes
        await clock.pass_time(10.0)
        assert woken[2:] == [("b", 4.0), ("b", 4.0), ("a", 6.0)]
        assert clock.now() == 13.0
        await asyncio.gather(*tasks)

    asyncio.run(work())
    assert clock.sleeps == [3.0, 1.0, 3.0, 3.0]


def test_sleepers_that_are_begun_while_time_passes_take_part_in_it() -> None:
    clock = FakeClock(0.0, by_hand=True)
    ticks: list[float] = []

    async def ticker() -> None:
        while True:
            await clock.asleep(0.5)
            ticks.append(clock.now())

    async def work() -> None:
        task = asyncio.create_task(ticker())
        await clock.pass_time(2.0)
        assert ticks == [0.5, 1.0, 1.5, 2.0]
        await clock.pass_time(0.0)
        assert len(ticks) == 4
        task.cancel()
        await clock.pass_time(5.0)
        assert (len(ticks), clock.now()) == (4, 7.0)

    asyncio.run(work())


def test_a_clock_moved_by_hand_wakes_those_whose_time_was_jumped_over() -> None:
    clock = FakeClock(0.0, by_hand=True)

    async def work() -> None:
        tasks = [asyncio.create_task(clock.asleep(seconds)) for seconds in (1.0, 5.0, 100.0)]
        await asyncio.sleep(0)
        clock.advance(60.0)
        await asyncio.gather(*tasks[:2])
        assert not tasks[2].done()
        tasks[2].cancel()
        clock.sleep(100.0)  # who sleeps in a thread moves it, as ever
        with pytest.raises(asyncio.CancelledError):
            await tasks[2]
        assert clock.now() == 160.0

    asyncio.run(work())


def test_another_thread_may_move_the_clock() -> None:
    clock = FakeClock(0.0, by_hand=True)

    async def work() -> None:
        task = asyncio.create_task(clock.asleep(5.0))
        await asyncio.sleep(0)
        await asyncio.to_thread(clock.advance, 5.0)
        async with asyncio.timeout(10.0):
            await task

    asyncio.run(work())


# The conformance suite -------------------------------------------------------------------------------------


class Pins:
    """What lies outside of the backends of a test: levels, and which pins anybody has set up."""

    def __init__(self, *, unset: bool = False) -> None:
        self.levels = dict.fromkeys(range(4), False)
        self.set_up = not unset


class Good:
    """A backend that keeps every promise."""

    holds_levels = True

    def __init__(self, pins: Pins) -> None:
        self.pins = pins
        self.closed = False
        self.is_set_up = True

    def read(self) -> dict[int, bool]:
        self._check()
        self.is_set_up = self.pins.set_up
        return dict(self.pins.levels)

    def write(self, levels: Mapping[int, bool]) -> None:
        self._check()
        if not set(levels) <= set(self.pins.levels):
            raise ValueError(f"open are {list(self.pins.levels)}")
        self.pins.levels.update(levels)

    def set_up(self, levels: Mapping[int, bool]) -> None:
        self.pins.set_up = self.is_set_up = True
        self.write(levels)

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.closed:
            raise ClosedError("closed")


class OpensHigh(Good):
    def __init__(self, pins: Pins) -> None:
        super().__init__(pins)
        pins.levels[0] = True


class ClosesLow(Good):
    def close(self) -> None:
        self.pins.levels.update(dict.fromkeys(self.pins.levels, False))
        super().close()


class ReadsItsMemory(Good):
    def __init__(self, pins: Pins) -> None:
        super().__init__(pins)
        self.memory = dict.fromkeys(pins.levels, False)

    def read(self) -> dict[int, bool]:
        super().read()
        return self.memory

    def write(self, levels: Mapping[int, bool]) -> None:
        super().write(levels)
        self.memory.update(levels)


class Inverted(Good):
    def write(self, levels: Mapping[int, bool]) -> None:
        super().write({offset: not level for offset, level in levels.items()})


class WritesOthersToo(Good):
    def write(self, levels: Mapping[int, bool]) -> None:
        super().write({**dict.fromkeys(self.pins.levels, False), **levels})


class WritesTheFirstOnly(Good):
    def write(self, levels: Mapping[int, bool]) -> None:
        super().write(dict(list(levels.items())[:1]) if set(levels) <= set(self.pins.levels) else levels)


class TakesForeignLines(Good):
    def write(self, levels: Mapping[int, bool]) -> None:
        super().write({offset: level for offset, level in levels.items() if offset in self.pins.levels})


class WritesBeforeItRefuses(Good):
    def write(self, levels: Mapping[int, bool]) -> None:
        TakesForeignLines.write(self, levels)  # type: ignore[arg-type]  # for its rule alone
        super().write(levels)


class WorksWhenClosed(Good):
    def _check(self) -> None:
        pass


class ClosesOnce(Good):
    def close(self) -> None:
        self._check()
        super().close()


class SetsUpWhenRead(Good):
    def read(self) -> dict[int, bool]:
        self.pins.set_up = True
        return super().read()


class SetsUpAllHigh(Good):
    def set_up(self, levels: Mapping[int, bool]) -> None:
        super().set_up(dict.fromkeys(levels, True))


class BelongsToAThread(Good):
    def __init__(self, pins: Pins) -> None:
        import threading

        super().__init__(pins)
        self.thread = threading.get_ident()

    def _check(self) -> None:
        import threading

        super()._check()
        if threading.get_ident() != self.thread:
            raise RuntimeError("another thread")


def verdicts(backend: type[Good]) -> dict[str, str]:
    """What the suite says of a backend: the tests that fail, and how."""

    class Suite(BackendConformance):
        def reset(self) -> None:
            self.pins = Pins()

        def open(self) -> Backend:
            return backend(self.pins)

        def outside(self) -> Mapping[int, bool]:
            return self.pins.levels

        def make_unset(self) -> bool:
            self.pins = Pins(unset=True)
            return True

    failed: dict[str, str] = {}
    for name in [name for name in dir(Suite) if name.startswith("test_")]:
        suite: Any = Suite()
        suite.setup_method()
        try:
            getattr(suite, name)()
        except Exception as problem:  # noqa: BLE001  # whatever a broken backend raises
            failed[name] = repr(problem)
        try:
            suite.teardown_method()
        except ClosedError as problem:
            failed[name] = repr(problem)
    return failed


def test_a_good_backend_passes() -> None:
    assert verdicts(Good) == {}


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (OpensHigh, "test_opening_and_closing_change_no_level"),
        (ClosesLow, "test_levels_stay_as_holds_levels_says"),
        (ReadsItsMemory, "test_a_second_program_takes_over_what_is_on"),
        (Inverted, "test_each_line_is_switched_by_itself"),
        (WritesOthersToo, "test_each_line_is_switched_by_itself"),
        (WritesTheFirstOnly, "test_lines_are_switched_together"),
        (TakesForeignLines, "test_a_foreign_line_is_refused_and_nothing_is_written"),
        (WritesBeforeItRefuses, "test_a_foreign_line_is_refused_and_nothing_is_written"),
        (WorksWhenClosed, "test_a_closed_backend_says_so"),
        (ClosesOnce, "test_a_closed_backend_says_so"),
        (SetsUpWhenRead, "test_an_unset_bank_is_told_and_set_up_without_switching_on"),
        (SetsUpAllHigh, "test_an_unset_bank_is_told_and_set_up_without_switching_on"),
        (BelongsToAThread, "test_it_may_be_called_from_one_thread_after_another"),
    ],
)
def test_a_broken_backend_is_found(backend: type[Good], expected: str) -> None:
    assert expected in verdicts(backend)


def test_a_suite_must_be_told_how_to_open_and_look() -> None:
    suite = BackendConformance()
    for call in (suite.open, suite.outside):
        with pytest.raises(NotImplementedError):
            call()
    assert not suite.make_unset()
