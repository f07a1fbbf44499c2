"""The tests that every backend has to pass, a built-in one or another.

Inherit `BackendConformance` in a test module, give it a bank to work on, and run it with pytest:

    class TestMine(BackendConformance):
        def open(self): return open_mine(...)
        def outside(self): return levels_seen_by_a_meter(...)
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from rpi_clusterhat.errors import BackendError, ClosedError
from rpi_clusterhat.hardware.backend import SupportsDirections, SupportsHalting, SupportsSetUp

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from rpi_clusterhat.hardware.backend import Backend

__all__ = ["BackendConformance"]


def _raises(expected: type[Exception], call: Callable[[], object]) -> None:
    try:
        call()
    except expected:
        return
    raise AssertionError(f"{expected.__name__} was not raised")


class BackendConformance:
    """What `rpi_clusterhat.hardware.backend.Backend` promises, as tests.

    Override `offsets`, `reset`, `open` and `outside`, `make_unset` for a bank that has to be set up, and
    `make_input` and `pull` for one whose lines can be inputs. Each test gets the bank in the state that
    `reset` puts it in: set up, with all lines low.
    """

    offsets: Sequence[int] = (0, 1, 2, 3)
    """Lines that the backend is opened with and that tests may switch: at least three."""

    foreign_offset = 4711
    """A line that the backend is not opened with."""

    def reset(self) -> None:
        """Puts the bank into the state in which each test begins. It is called before each test."""

    def open(self) -> Backend:
        """Opens the backend on the bank, as a new program would.

        Returns:
            The open backend. The suite closes it.
        """
        raise NotImplementedError

    def outside(self) -> Mapping[int, bool]:
        """Measures the levels at the pins without the backend, as a meter would.

        Returns:
            The levels of at least `offsets`, by offset: True is high.
        """
        raise NotImplementedError

    def make_unset(self) -> bool:
        """Puts the bank into the state in which it is after a power loss.

        Returns:
            False where the bank has no such state.
        """
        return False

    def make_input(self, offset: int, level: bool) -> bool:
        """Makes a line an input, which nobody drives, and pulls its pin up or down.

        Returns:
            False where lines cannot be inputs.
        """
        del offset, level
        return False

    def pull(self, offset: int, level: bool) -> None:
        """Pulls a pin up (True) or down, which moves it only where nobody drives it.

        It is called after `make_input` returned True.
        """
        raise NotImplementedError

    def setup_method(self) -> None:
        self.reset()
        self._opened: list[Backend] = []

    def teardown_method(self) -> None:
        for backend in self._opened:
            backend.close()

    def _open(self) -> Backend:
        backend = self.open()
        self._opened.append(backend)
        return backend

    def _outside(self) -> dict[int, bool]:
        levels = self.outside()
        return {offset: levels[offset] for offset in self.offsets}

    def _read(self, backend: Backend) -> dict[int, bool]:
        levels = backend.read()
        return {offset: levels[offset] for offset in self.offsets}

    def test_opening_and_closing_change_no_level(self) -> None:
        before = self._outside()
        backend = self._open()
        assert self._outside() == before
        backend.close()
        assert self._outside() == before

    def test_reading_changes_nothing_and_agrees_with_the_outside(self) -> None:
        backend = self._open()
        before = self._outside()
        assert self._read(backend) == before
        assert self._read(backend) == before
        assert self._outside() == before

    def test_each_line_is_switched_by_itself(self) -> None:
        backend = self._open()
        for offset in self.offsets:
            for level in (True, False, True):
                expected = {**self._outside(), offset: level}
                backend.write({offset: level})
                assert self._outside() == expected
                assert self._read(backend) == expected

    def test_lines_are_switched_together(self) -> None:
        backend = self._open()
        every_other = {offset: i % 2 == 0 for i, offset in enumerate(self.offsets)}
        backend.write(every_other)
        assert self._outside() == every_other
        opposite = {offset: not level for offset, level in every_other.items()}
        backend.write(opposite)
        assert self._outside() == opposite

    def test_writing_what_holds_changes_nothing(self) -> None:
        backend = self._open()
        first = self.offsets[0]
        backend.write({first: True})
        before = self._outside()
        backend.write({first: True})
        backend.write({})
        assert self._outside() == before

    def test_a_foreign_line_is_refused_and_nothing_is_written(self) -> None:
        backend = self._open()
        before = self._outside()
        _raises(ValueError, lambda: backend.write({self.offsets[0]: True, self.foreign_offset: True}))
        assert self._outside() == before

    def test_a_closed_backend_says_so(self) -> None:
        backend = self._open()
        backend.close()
        backend.close()
        _raises(ClosedError, backend.read)
        _raises(ClosedError, lambda: backend.write({self.offsets[0]: True}))

    def test_levels_stay_as_holds_levels_says(self) -> None:
        backend = self._open()
        levels = {offset: i != 1 for i, offset in enumerate(self.offsets)}
        backend.write(levels)
        holds = backend.holds_levels
        backend.close()
        if holds:
            assert self._outside() == levels

    def test_closing_says_what_the_pins_of_lines_that_do_not_hold_show_then(self) -> None:
        backend = self._open()
        if backend.holds_levels:
            return
        backend.write(dict.fromkeys(self.offsets, True))
        left = backend.close()
        assert left is not None
        assert {offset: left[offset] for offset in self.offsets} == self._outside()

    def test_a_line_that_nobody_drives_is_told(self) -> None:
        first, second = self.offsets[:2]
        for level in (True, False):
            if not self.make_input(first, level):
                return
            backend = self._open()
            assert isinstance(backend, SupportsDirections)
            for _ in range(2):
                assert self._read(backend)[first] is level
                assert first in backend.inputs
                backend.write({second: level})
            backend.read()
            assert second not in backend.inputs
            self.pull(first, not level)
            assert self._outside()[first] is not level, "reading, or writing another line, drove it"
            backend.close()

    def test_writing_drives_a_line_whatever_it_reads(self) -> None:
        first = self.offsets[0]
        for level in (True, False):
            if not self.make_input(first, level):
                return
            backend = self._open()
            backend.read()
            backend.write({first: level})
            self.pull(first, not level)
            assert self._outside()[first] is level, "it was left to its pull"
            assert self._read(backend)[first] is level
            assert isinstance(backend, SupportsDirections)
            assert first not in backend.inputs
            backend.close()

    def test_a_second_program_takes_over_what_is_on(self) -> None:
        first = self._open()
        levels = {offset: i == 0 for i, offset in enumerate(self.offsets)}
        first.write(levels)
        if not first.holds_levels:
            return  # nothing is left on for a second program
        first.close()
        second = self._open()
        assert self._outside() == levels
        assert self._read(second) == levels
        second.write({self.offsets[1]: True})
        assert self._outside() == {**levels, self.offsets[1]: True}

    def test_asking_nodes_to_halt_switches_no_line(self) -> None:
        backend = self._open()
        if not isinstance(backend, SupportsHalting):
            return
        nodes = [offset for offset in self.offsets if self._has_node(backend, offset)]
        for offset in nodes:
            assert backend.has_halted(offset), "a node without power has not halted"
            _raises(BackendError, partial(backend.ask_to_halt, offset))
        assert not any(self._outside().values())
        backend.write(dict.fromkeys(self.offsets, True))
        for offset in nodes:
            with suppress(BackendError):  # it may need longer to boot
                backend.ask_to_halt(offset)
            backend.has_halted(offset)
        assert self._outside() == dict.fromkeys(self.offsets, True)
        for call in (backend.ask_to_halt, backend.has_halted):
            _raises(ValueError, partial(call, self.foreign_offset))
        backend.close()
        for call in (backend.ask_to_halt, backend.has_halted):
            _raises(ClosedError, partial(call, self.offsets[0]))

    def _has_node(self, backend: SupportsHalting, offset: int) -> bool:
        try:
            backend.has_halted(offset)
        except ValueError:
            return False
        return True

    def test_it_may_be_called_from_one_thread_after_another(self) -> None:
        backend = self._open()
        problems: list[BaseException] = []

        def work(offset: int) -> None:
            try:
                backend.write({offset: True})
                assert self._read(backend)[offset]
            except BaseException as problem:  # noqa: BLE001  # reported by the test itself
                problems.append(problem)

        for offset in self.offsets:
            thread = threading.Thread(target=work, args=(offset,))
            thread.start()
            thread.join()
        assert problems == []
        assert self._outside() == dict.fromkeys(self.offsets, True)

    def test_an_unset_bank_is_told_and_set_up_without_switching_on(self) -> None:
        if not self.make_unset():
            return
        backend = self._open()
        assert isinstance(backend, SupportsSetUp)
        before = self._outside()
        backend.read()
        assert not backend.is_set_up
        assert self._outside() == before, "reading wrote to a bank that nobody has set up"
        levels = {offset: i == 2 for i, offset in enumerate(self.offsets)}
        backend.set_up(levels)
        assert self._outside() == levels
        assert self._read(backend) == levels
        assert backend.is_set_up
