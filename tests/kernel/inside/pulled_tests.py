"""What every backend does with lines that nobody drives and that something pulls, in a real kernel."""

from __future__ import annotations

import pytest

from rpi_clusterhat import LevelsNotHeldError, State
from tests.kernel.inside.bank_tests import BankTests


class PulledTests(BankTests):
    """Inherit and say which bank."""

    def test_on_drives_a_line_that_is_only_pulled_up(self) -> None:
        first = self.offsets[0]
        self.bank.make_input(first, True)
        with self._cluster() as hat:
            assert [str(node.state) for node in hat] == ["on", "off", "off", "off"]
            assert hat["p1"].driven is False
            hat.on("p1")
            self.bank.pull(first, False)
            assert self._outside() == self._on(1)
            assert [node.powered for node in hat] == [True, False, False, False]
            assert all(node.driven for node in hat if node.name == "p1")
        assert self._outside() == self._left(self._on(1))

    def test_off_drives_a_line_that_is_only_pulled(self) -> None:
        first, second = self.offsets[:2]
        self.bank.make_input(first, True)
        self.bank.make_input(second, False)
        hat = self._cluster()
        hat.off("p1", "p2")
        self.bank.pull(second, True)
        assert self._outside() == self._on()
        assert not any(node.powered for node in hat)
        if self.bank.holds:
            hat.close()
            assert self._outside() == self._on()
            return
        with pytest.raises(LevelsNotHeldError, match=r"^p1, p2 are on again"):
            hat.close()
        assert self._outside() == self._on(1, 2)

    def test_a_read_drives_nothing(self) -> None:
        first = self.offsets[0]
        self.bank.make_input(first, True)
        with self.bank.watch() as driven, self._cluster() as hat:
            assert hat["p1"].state is State.ON
            assert not hat["p1"].driven
        assert driven() == []
        self.bank.pull(first, False)
        assert self._outside() == self._on()

    def test_the_command_says_of_off_what_the_pin_shows_afterwards(self) -> None:
        self.bank.make_input(self.offsets[0], True)
        ran = self._ran("off", "p1", "p2")
        if self.bank.holds:
            assert (ran.returncode, "on again" in ran.stderr) == (0, False), ran.stderr
            assert self._outside() == self._on()
            self.bank.pull(self.offsets[0], False)
            assert self._run("off", "p1") == "p1 is off already\n"
            return
        assert ran.returncode == 1
        assert "p1 is on again" in ran.stderr
        assert "--hold" in ran.stderr
        assert self._outside() == self._on(1)

    def test_the_command_says_of_a_function_what_the_pin_shows_afterwards(self) -> None:
        alert = next(line.offset for line in self.bank.lines if line.name == "alert")
        self.bank.make_input(alert, True)
        ran = self._ran("alert", "off")
        assert ran.returncode == (0 if self.bank.holds else 1)
        assert ("alert is on again" in ran.stderr) is not self.bank.holds
        with self._cluster() as hat:
            assert hat.alert.is_on is not self.bank.holds

    def test_the_command_holds_a_line_that_was_only_pulled_up(self) -> None:
        first = self.offsets[0]
        self.bank.make_input(first, True)
        with self._holding("on", "--hold", "p1") as said:
            assert "p1 on" in said
            self.bank.pull(first, False)
            assert self._outside() == self._on(1)
            self.bank.pull(first, True)
        assert said[-2:] == ["p1 is on, p2, p3, p4 are off", "exit code 0"]

    def test_the_command_holds_nodes_off(self) -> None:
        first = self.offsets[0]
        self.bank.make_input(first, True)
        with self._holding("off", "--hold", "p1") as said:
            assert self._outside() == self._on()
            self.bank.pull(first, False)
        assert said[-2:] == ["p1, p2, p3, p4 are off", "exit code 0"]
