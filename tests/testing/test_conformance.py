"""The conformance suite that plugin authors test with finds broken backends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import ClosedError
from rpi_clusterhat.testing import BackendConformance

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rpi_clusterhat.hardware.backend import Backend


class Pins:
    """What lies outside of the backends of a test: levels, and which pins anybody has set up."""

    def __init__(self, *, unset: bool = False) -> None:
        self.written = dict.fromkeys(range(4), False)
        self.pulls = dict.fromkeys(range(4), False)
        self.undriven: set[int] = set()
        self.set_up = not unset

    @property
    def levels(self) -> dict[int, bool]:
        return {**self.written, **{offset: self.pulls[offset] for offset in self.undriven}}

    def drive(self, levels: Mapping[int, bool]) -> None:
        self.written.update(levels)
        self.undriven -= levels.keys()


class Good:
    """A backend that keeps every promise."""

    holds_levels = True

    def __init__(self, pins: Pins) -> None:
        self.pins = pins
        self.closed = False
        self.is_set_up = True
        self.inputs: set[int] = set()

    def read(self) -> dict[int, bool]:
        self._check()
        self.is_set_up = self.pins.set_up
        self.inputs = set(self.pins.undriven)
        return self.pins.levels

    def write(self, levels: Mapping[int, bool]) -> None:
        self._check()
        if not set(levels) <= set(self.pins.levels):
            raise ValueError(f"open are {list(self.pins.levels)}")
        self.pins.drive(levels)

    def set_up(self, levels: Mapping[int, bool]) -> None:
        self.pins.set_up = self.is_set_up = True
        self.write(levels)

    def close(self) -> Mapping[int, bool] | None:
        self.closed = True
        return None

    def _check(self) -> None:
        if self.closed:
            raise ClosedError("closed")


class OpensHigh(Good):
    def __init__(self, pins: Pins) -> None:
        super().__init__(pins)
        pins.drive({0: True})


class ClosesLow(Good):
    def close(self) -> Mapping[int, bool] | None:
        self.pins.drive(dict.fromkeys(self.pins.levels, False))
        return super().close()


class Drops(Good):
    """It keeps every promise, too."""

    holds_levels = False

    def close(self) -> Mapping[int, bool] | None:
        if self.closed:
            return None
        super().close()
        self.pins.undriven |= self.pins.levels.keys()
        return self.pins.levels


class DropsInSilence(Drops):
    def close(self) -> Mapping[int, bool] | None:
        super().close()
        return None


class DropsAndSaysWhatItWrote(Drops):
    def close(self) -> Mapping[int, bool] | None:
        super().close()
        return self.pins.written


class DrivesAll(Good):
    def read(self) -> dict[int, bool]:
        levels = super().read()
        self.inputs = set()
        return levels


class TellsNoDirections(Good):
    def __init__(self, pins: Pins) -> None:
        super().__init__(pins)
        del self.inputs

    def read(self) -> dict[int, bool]:
        levels = super().read()
        del self.inputs
        return levels


class LeavesWhatReadsSo(Good):
    def write(self, levels: Mapping[int, bool]) -> None:
        super().write({o: level for o, level in levels.items() if self.pins.levels.get(o) is not level})


class DrivesWhatItReads(Good):
    def read(self) -> dict[int, bool]:
        levels = super().read()
        self.pins.drive(levels)
        return levels


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
    def close(self) -> Mapping[int, bool] | None:
        self._check()
        return super().close()


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

        def make_input(self, offset: int, level: bool) -> bool:
            self.pins.undriven.add(offset)
            self.pins.pulls[offset] = level
            return True

        def pull(self, offset: int, level: bool) -> None:
            self.pins.pulls[offset] = level

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


@pytest.mark.parametrize("backend", [Good, Drops])
def test_a_good_backend_passes(backend: type[Good]) -> None:
    assert verdicts(backend) == {}


@pytest.mark.parametrize(
    ("backend", "expected"),
    [
        (OpensHigh, "test_opening_and_closing_change_no_level"),
        (ClosesLow, "test_levels_stay_as_holds_levels_says"),
        (DropsInSilence, "test_closing_says_what_the_pins_of_lines_that_do_not_hold_show_then"),
        (DropsAndSaysWhatItWrote, "test_closing_says_what_the_pins_of_lines_that_do_not_hold_show_then"),
        (DrivesAll, "test_a_line_that_nobody_drives_is_told"),
        (TellsNoDirections, "test_a_line_that_nobody_drives_is_told"),
        (DrivesWhatItReads, "test_a_line_that_nobody_drives_is_told"),
        (LeavesWhatReadsSo, "test_writing_drives_a_line_whatever_it_reads"),
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
    assert not suite.make_input(0, True)
    with pytest.raises(NotImplementedError):
        suite.pull(0, True)
