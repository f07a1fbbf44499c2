"""When a signal ends the command."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.cli.signals import Signalled, Signals

if TYPE_CHECKING:
    from tests.cli.conftest import Command


def test_waiting_takes_its_time(command: Command) -> None:
    with Signals(command.clock) as signals:
        signals.sleep(1.5)
        signals.sleep(0)
    assert command.clock.sleeps == [1.5]


def test_a_tick_is_called_while_it_waits(command: Command) -> None:
    ticks: list[float] = []
    with Signals(command.clock) as signals:
        signals.tick = lambda: ticks.append(signals.now())
        signals.sleep(0.35)
    assert ticks == pytest.approx([1000.0, 1000.1, 1000.2, 1000.3])
    assert command.clock.now() == pytest.approx(1000.35)


def test_a_signal_comes_out_of_the_wait(command: Command) -> None:
    command.clock.during[1] = lambda: signal.raise_signal(signal.SIGTERM)
    with Signals(command.clock) as signals, pytest.raises(Signalled) as caught:
        signals.sleep(5)
    assert caught.value.number == signal.SIGTERM
    assert command.clock.sleeps == []


def test_one_that_comes_at_another_time_is_kept(command: Command) -> None:
    with Signals(command.clock) as signals:
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Signalled):
            signals.sleep(5)
        signals.check()  # told once
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Signalled):
            signals.check()


def test_the_second_comes_at_once(command: Command) -> None:
    with Signals(command.clock):
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(Signalled):
            signal.raise_signal(signal.SIGINT)


def test_handlers_are_given_back(command: Command) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with Signals(command.clock):
        assert signal.getsignal(signal.SIGTERM) is not before[1]
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)] == before


def test_after_the_last_thing_that_a_process_does_they_are_ignored(command: Command) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        with Signals(command.clock, last=True):
            pass
        assert [signal.getsignal(number) for number in numbers] == [signal.SIG_IGN] * 3
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_signals_while_the_first_is_answered(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(_: object, text: str) -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("rpi_clusterhat.cli.output.Output.error", impatient)
    command.clock.during[1] = lambda: signal.raise_signal(signal.SIGINT)
    assert command("--backend", "sim", "on", "all") == (143, "p1 on\n", "")


def test_a_signal_that_is_ignored_stays_ignored(command: Command) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Signals(command.clock) as signals:
            signal.raise_signal(signal.SIGHUP)
            signals.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_signals_are_left_alone(command: Command) -> None:
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(command("--backend", "sim", "on", "p1").code))
    thread.start()
    thread.join()
    assert codes == [0]
