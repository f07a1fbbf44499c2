"""Several generators of steps, side by side: in one thread, and in an event loop."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.testing import FakeClock
from rpi_clusterhat.waiting import Call, Pause, Readable, Sleep, Together, Writable, drive, drive_async

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rpi_clusterhat.clock import Clock
    from rpi_clusterhat.waiting import Steps


def _drive_in_a_loop(steps: Steps[Any], clock: Clock) -> Any:
    return asyncio.run(drive_async(steps, clock))


DRIVERS: list[Any] = [drive, _drive_in_a_loop]


def together(*several: Steps[Any]) -> Steps[Any]:
    outcomes = yield Together(several)
    return outcomes


def sleeper(seconds: list[float], clock: Clock, log: list[Any], name: int) -> Steps[float]:
    for one in seconds:
        yield Sleep(one)
        log.append((name, clock.now()))
    return sum(seconds)


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


@pytest.mark.parametrize("run", DRIVERS)
@given(plans=st.lists(st.lists(st.sampled_from([0.25, 1.0, 7.0]), max_size=4), max_size=4))
def test_each_is_woken_at_its_own_time(run: Any, plans: list[list[float]]) -> None:
    clock = FakeClock(0.0)
    log: list[Any] = []
    outcomes = run(together(*(sleeper(p, clock, log, i) for i, p in enumerate(plans))), clock)
    assert outcomes == [sum(plan) for plan in plans]
    assert clock.now() == max(map(sum, plans), default=0.0)
    assert sorted(log) == sorted((i, sum(p[: n + 1])) for i, p in enumerate(plans) for n in range(len(p)))


@pytest.mark.parametrize("run", DRIVERS)
def test_an_error_is_the_outcome_of_its_own_generator_only(run: Any) -> None:
    def failing() -> Steps[None]:
        yield Sleep(1.0)
        raise ValueError("mine")

    def mending() -> Steps[str]:
        try:
            yield Call(lambda: 1 // 0)
        except ZeroDivisionError:
            yield Sleep(2.0)
        return "mended"

    clock = FakeClock(0.0)
    failed, mended = run(together(failing(), mending()), clock)
    assert isinstance(failed, ValueError)
    assert mended == "mended"


@pytest.mark.parametrize("run", DRIVERS)
@pytest.mark.parametrize("clock", [SYSTEM, FakeClock()], ids=["system", "fake"])
def test_what_is_real_and_what_is_the_clocks_pass_together(
    run: Any, clock: Clock, pipe: tuple[int, int]
) -> None:
    def reads() -> Steps[Any]:
        ready = yield Readable(pipe[0], 30.0)
        return ready and os.read(pipe[0], 10)

    def writes() -> Steps[Any]:
        yield Sleep(0.1)
        ready = yield Writable(pipe[1], 30.0)
        os.write(pipe[1], b"hello")
        return ready

    def waits() -> Steps[str]:
        yield Pause(0.02)
        return "paused"

    began = SYSTEM.now()
    assert run(together(reads(), writes(), waits()), clock) == [b"hello", True, "paused"]
    assert SYSTEM.now() - began < 20.0


@pytest.mark.parametrize("run", DRIVERS)
def test_a_descriptor_that_stays_silent_is_given_up_in_time(run: Any, pipe: tuple[int, int]) -> None:
    def reads() -> Steps[Any]:
        ready = yield Readable(pipe[0], 0.05)
        return ready

    assert run(together(reads(), reads()), SYSTEM) == [False, False]


class _Interrupting(FakeClock):
    def sleep(self, seconds: float) -> None:
        if self.sleeps:
            raise KeyboardInterrupt
        super().sleep(seconds)


def test_an_interruption_is_told_to_all_and_each_ends_in_its_way() -> None:
    clock = _Interrupting(0.0)
    log: list[str] = []

    def one(name: str) -> Steps[None]:
        try:
            yield Sleep(1.0)
            yield Sleep(5.0)
        except KeyboardInterrupt:
            yield Call(lambda: log.append(name))
            raise

    with pytest.raises(KeyboardInterrupt):
        drive(together(one("p1"), one("p2")), clock)
    assert log == ["p1", "p2"]


def test_a_cancelled_task_ends_all_of_them_first() -> None:
    log: list[str] = []

    def one(name: str) -> Steps[None]:
        try:
            yield Pause(30.0)
        except asyncio.CancelledError:
            yield Pause(0.01)
            log.append(name)
            raise

    async def main() -> None:
        task = asyncio.ensure_future(drive_async(together(one("p1"), one("p2"))))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert sorted(log) == ["p1", "p2"]

    asyncio.run(main())


class _Signalled(BaseException):
    pass


class _Signals(FakeClock):
    """A clock whose sleep, however short, is ended by a signal that has come."""

    def __init__(self) -> None:
        super().__init__()
        self.at = SYSTEM.now() + 0.2

    def sleep(self, seconds: float) -> None:
        if SYSTEM.now() >= self.at:
            raise _Signalled
        super().sleep(seconds)


@pytest.mark.parametrize("how", ["reads", "glances", "pauses", "polls"])
@pytest.mark.parametrize("several", [1, 2])
def test_a_signal_ends_waits_for_what_is_real(pipe: tuple[int, int], how: str, several: int) -> None:
    def waits() -> Steps[None]:
        if how == "reads":
            yield Readable(pipe[0], 30.0)
        elif how == "glances":
            for _ in range(3000):
                yield Readable(pipe[0], 0.01)
        elif how == "pauses":
            yield Pause(30.0)
        for _ in range(3000):
            yield Pause(0.01)

    began = SYSTEM.now()
    with pytest.raises(_Signalled):
        drive(waits() if several == 1 else together(waits(), waits()), _Signals())
    assert SYSTEM.now() - began < 5.0
