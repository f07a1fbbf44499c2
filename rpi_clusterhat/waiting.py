"""The steps of code that waits, and the two functions that perform them.

Code that waits is written once, as a generator of steps. `drive` performs them with blocking calls,
`drive_async` in an event loop. An error in a step, also a Ctrl-C or a cancellation, is thrown into the
generator, which may yield more steps before it lets the error through.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from ._frozen import Frozen
from .clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from typing import Any, TypeVar

    from .clock import Clock

__all__ = [
    "Call",
    "Pause",
    "Readable",
    "Sleep",
    "Step",
    "Together",
    "Writable",
    "call",
    "drive",
    "drive_async",
    "is_over",
]


class Sleep(Frozen):
    """Let so many seconds pass on the clock of whoever drives."""

    seconds: float


class Pause(Frozen):
    """Let so many seconds pass in reality: something outside of this process is being waited for."""

    seconds: float


class Readable(Frozen):
    """Wait for a file descriptor, for so many real seconds at most. Answer: whether it is ready."""

    fd: int
    seconds: float


class Writable(Frozen):
    """See `Readable`."""

    fd: int
    seconds: float


class Call(Frozen):
    """Call a function that may block. Answer: what it returns."""

    function: Callable[[], Any]
    uninterruptible: bool = False
    """In an event loop: whether a cancellation has to wait until the call has returned."""


class Together(Frozen):
    """Perform the steps of several generators side by side.

    Answer: what each returned, or the `Exception` that it raised, in their order. An interruption is thrown
    into all of them. With blocking calls, the `Call` of one holds the others up. None may yield a `Together`.
    """

    several: tuple[Steps[Any], ...]


Step = Sleep | Pause | Readable | Writable | Call | Together

if TYPE_CHECKING:
    _T = TypeVar("_T")
    Steps = Generator[Step, Any, _T]


def call(function: Callable[[], _T]) -> Steps[_T]:
    """One uninterruptible `Call`, as a generator."""
    result: _T = yield Call(function, uninterruptible=True)
    return result


def is_over(generator: Generator[Any, Any, Any]) -> bool:
    """Whether it has ended: what was raised is its last word then, else it is there to be thrown in."""
    return getattr(generator, "gi_frame", None) is None


def drive(steps: Steps[_T], clock: Clock = SYSTEM, error: BaseException | None = None) -> _T:
    """Performs the steps with blocking calls, and returns what the generator returns.

    Where an ``error`` is given, the generator hears of it first.
    """
    answer: Any = None
    try:
        while True:
            try:
                while True:  # in the try itself: no line between two steps is outside of it
                    step = steps.send(answer) if error is None else steps.throw(error)
                    answer = error = None
                    answer = _perform(step, clock)
            except BaseException as caught:
                if not is_over(steps):
                    error = caught
                elif isinstance(caught, StopIteration):
                    result: _T = caught.value
                    return result
                else:
                    raise
    finally:
        error = None  # else it and this frame would keep each other
        steps.close()


async def drive_async(steps: Steps[_T], clock: Clock = SYSTEM) -> _T:
    """Performs the steps in the running event loop, blocking calls in worker threads."""
    answer: Any = None
    error: BaseException | None = None
    try:
        while True:
            try:
                while True:
                    step = steps.send(answer) if error is None else steps.throw(error)
                    answer = error = None
                    answer = await _perform_async(step, clock)
            except BaseException as caught:
                if not is_over(steps):
                    error = caught
                elif isinstance(caught, StopIteration):
                    result: _T = caught.value
                    return result
                else:
                    raise
    finally:
        error = None
        steps.close()


_SLICE = 0.05
"""Seconds for which a wait for something real goes on before the clock is asked: it may be another's, which a
test moves, or one whose sleep a signal ends."""


def _perform(step: Step, clock: Clock) -> Any:
    if isinstance(step, Call):
        return step.function()
    if isinstance(step, Together):
        return _perform_together(step, clock)
    if isinstance(step, Sleep):
        return clock.sleep(step.seconds)
    if isinstance(step, Pause):
        end = SYSTEM.now() + step.seconds
        while (left := end - SYSTEM.now()) > 0:
            SYSTEM.sleep(min(left, _SLICE))
            clock.sleep(0.0)
        return None
    import select

    poll = select.poll()
    poll.register(step.fd, select.POLLIN if isinstance(step, Readable) else select.POLLOUT)
    end = SYSTEM.now() + step.seconds
    clock.sleep(0.0)  # also where one short wait follows the other
    while not poll.poll(max(0.0, min(end - SYSTEM.now(), _SLICE)) * 1000):
        if SYSTEM.now() >= end:
            return False
        clock.sleep(0.0)
    return True


class _Strand:
    """One of several generators that are driven by one thread."""

    __slots__ = ("_answer", "_error", "due", "outcome", "steps", "wait")

    def __init__(self, steps: Steps[Any]) -> None:
        self.steps = steps
        self.outcome: Any = None
        self.wait: Sleep | Pause | Readable | Writable | None = None
        self.due = 0.0
        """When the wait ends at the latest: on the clock for a `Sleep`, else on the system's."""
        self._answer: Any = None
        self._error: BaseException | None = None

    def advance(self, clock: Clock) -> bool:
        """Performs steps until there is something to wait for. False once the generator has ended."""
        while self.wait is None:
            answer, error = self._answer, self._error
            self._answer = self._error = None
            try:
                step = self.steps.send(answer) if error is None else self.steps.throw(error)
            except StopIteration as end:
                self.outcome = end.value
                return False
            except Exception as caught:  # noqa: BLE001 - it is this strand's outcome
                self.outcome = caught
                return False
            if isinstance(step, Call | Together):
                assert isinstance(step, Call)
                try:
                    self._answer = step.function()
                except Exception as caught:  # noqa: BLE001 - for the generator
                    self._error = caught
            else:
                self.wait = step
                self.due = (clock if isinstance(step, Sleep) else SYSTEM).now() + step.seconds
        return True

    def answer(self, answer: Any = None) -> None:
        """Ends the wait."""
        self._answer, self.wait = answer, None


def _perform_together(step: Together, clock: Clock) -> list[Any]:
    strands = [_Strand(steps) for steps in step.several]
    try:
        while waiting := [
            strand for strand in strands if not is_over(strand.steps) and strand.advance(clock)
        ]:
            _await_any(waiting, clock)
    except BaseException as error:
        for strand in strands:
            if not is_over(strand.steps):
                with suppress(BaseException):  # it says again what all are told
                    drive(strand.steps, clock, error)
        raise
    return [strand.outcome for strand in strands]


def _await_any(strands: list[_Strand], clock: Clock) -> None:
    """Returns when at least one of the waits has been answered, or a moment has passed."""
    asleep = [strand for strand in strands if isinstance(strand.wait, Sleep)]
    real = [strand for strand in strands if strand not in asleep]
    began = clock.now()
    seconds = max(0.0, min((strand.due for strand in asleep), default=float("inf")) - began)
    if real:
        import select

        left = min(strand.due for strand in real) - SYSTEM.now()
        seconds = min(seconds, _SLICE, max(0.0, left))
        poll = select.poll()
        by_fd: dict[int, _Strand] = {}
        for strand in real:
            if isinstance(strand.wait, Readable | Writable):
                by_fd[strand.wait.fd] = strand
                kind = select.POLLIN if isinstance(strand.wait, Readable) else select.POLLOUT
                poll.register(strand.wait.fd, kind)
        for fd, _ in poll.poll(seconds * 1000):
            by_fd[fd].answer(True)
        for strand in real:
            if strand.wait is not None and SYSTEM.now() >= strand.due:
                strand.answer(False if isinstance(strand.wait, Readable | Writable) else None)
        seconds -= clock.now() - began
    is_idle = all(strand.wait is not None for strand in strands)
    clock.sleep(max(0.0, seconds) if is_idle else 0.0)
    for strand in asleep:
        if clock.now() >= strand.due:
            strand.answer()


async def _perform_async(step: Step, clock: Clock) -> Any:
    if isinstance(step, Call):
        return await _call_async(step)
    if isinstance(step, Sleep):
        return await clock.asleep(step.seconds)
    if isinstance(step, Pause):
        return await SYSTEM.asleep(step.seconds)
    import asyncio

    if isinstance(step, Together):
        strands = (drive_async(one, clock) for one in step.several)
        return await asyncio.gather(*strands, return_exceptions=True)
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[bool] = loop.create_future()

    def settle(answer: bool) -> None:
        if not ready.done():
            ready.set_result(answer)

    add, remove = (
        (loop.add_reader, loop.remove_reader)
        if isinstance(step, Readable)
        else (loop.add_writer, loop.remove_writer)
    )
    add(step.fd, settle, True)
    timer = loop.call_later(max(0.0, step.seconds), settle, False)
    try:
        return await ready
    finally:
        remove(step.fd)
        timer.cancel()


async def _call_async(step: Call) -> Any:
    import asyncio

    future = asyncio.get_running_loop().run_in_executor(None, step.function)
    if not step.uninterruptible:
        return await future
    cancelled: asyncio.CancelledError | None = None
    while not future.done():
        try:
            await asyncio.shield(future)
        except asyncio.CancelledError as error:
            cancelled = error
        except BaseException:  # noqa: BLE001
            break  # the call's own: raised by result() below
    if cancelled is not None:
        if not future.cancelled():
            future.exception()  # looked at, so that asyncio does not report it as lost
        raise cancelled
    return future.result()
