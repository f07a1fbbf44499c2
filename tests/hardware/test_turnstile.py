"""Turnstiles of processes and of threads: each opening of a file stands for a process of its own."""

from __future__ import annotations

import gc
import os
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import LockError, LockTimeoutError
from rpi_clusterhat.hardware.turnstile import RECORD_SIZE, FileTurnstile, LocalTurnstile
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rpi_clusterhat.hardware.turnstile import Ticket, Turnstile
from tests.hardware.threads import run


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rpi-clusterhat.rail-main.lock")


@pytest.fixture(params=["file", "local"])
def turnstile(request: pytest.FixtureRequest, path: str) -> Callable[[], Turnstile]:
    if request.param == "file":
        return lambda: FileTurnstile(path, clock=FakeClock())
    local = LocalTurnstile()
    return lambda: local


def firsts(tickets: list[Ticket]) -> list[bool]:
    return [ticket.is_first() for ticket in tickets]


def test_tickets_are_served_in_the_order_drawn(turnstile: Callable[[], Turnstile]) -> None:
    tickets = [turnstile().join() for _ in range(40)]
    for i, ticket in enumerate(tickets):
        assert firsts(tickets[i:]) == [True] + [False] * (39 - i)
        assert firsts(tickets[i:][::-1]) == [False] * (39 - i) + [True]
        ticket.close()
        ticket.close()
    assert turnstile().join().is_first()


def test_who_leaves_from_the_middle_holds_up_nobody(turnstile: Callable[[], Turnstile]) -> None:
    tickets = [turnstile().join() for _ in range(4)]
    tickets[1].close()
    tickets[2].close()
    assert not tickets[3].is_first()
    tickets[0].close()
    assert tickets[3].is_first()


def test_the_record_goes_from_one_to_the_next(turnstile: Callable[[], Turnstile]) -> None:
    first, second = turnstile().join(), turnstile().join()
    assert first.is_first()
    assert first.load().strip(b" \0") == b""
    first.store(b"x" * RECORD_SIZE)
    first.store(b"12.5 done")
    assert second.load().rstrip(b" \0") == b"12.5 done", "a hint for those who wait"
    first.close()
    assert second.is_first()
    assert second.load().rstrip(b" \0") == b"12.5 done"


def test_who_left_is_first_of_nobody(turnstile: Callable[[], Turnstile]) -> None:
    first, second = turnstile().join(), turnstile().join()
    second.close()
    first.close()
    third = turnstile().join()
    assert third.is_first()


def test_a_ticket_that_is_dropped_is_given_back(path: str) -> None:
    first: Any = FileTurnstile(path).join()
    second = FileTurnstile(path).join()
    assert first.is_first()
    del first
    gc.collect()
    assert second.is_first()


@pytest.mark.parametrize("damage", [b"", b"x" * 20, b"9" * 20, b"-1" + b" " * 18, b"0" * 20, b"\xff" * 200])
def test_a_damaged_number_can_spoil_the_order_never_the_exclusion(path: str, damage: bytes) -> None:
    tickets = [FileTurnstile(path).join() for _ in range(5)]
    assert tickets[0].is_first()
    with open(path, "r+b") as file:
        if damage:
            file.write(damage)
        else:
            file.truncate(0)
    tickets += [FileTurnstile(path).join() for _ in range(5)]
    for _ in range(10):
        [ticket] = [t for t, is_first in zip(tickets, firsts(tickets), strict=True) if is_first]
        assert firsts(tickets).count(True) == 1
        tickets.remove(ticket)
        ticket.close()


def test_waiters_of_a_file_that_was_removed_meet_in_the_new_one(path: str) -> None:
    first, second, third = (FileTurnstile(path).join() for _ in range(3))
    assert first.is_first()
    os.unlink(path)
    fourth = FileTurnstile(path).join()
    first.close()
    assert firsts([second, third, fourth]) == [False, False, True], "it draws a new ticket, behind the fourth"
    fourth.close()
    tickets = [second, third]
    for _ in range(2):
        [ticket] = [t for t in tickets if any(t.is_first() for _ in range(2))]
        tickets.remove(ticket)
        ticket.close()


def test_a_folder_that_was_removed_is_told_to_the_waiters(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    path = str(folder / "x")
    first, second = FileTurnstile(path).join(), FileTurnstile(path).join()
    os.unlink(path)
    folder.rmdir()
    first.close()
    with pytest.raises(LockError, match=r"/run, the folder in which .* does not exist: create it"):
        second.is_first()


def test_drawing_a_ticket_waits_for_who_draws_but_not_for_ever(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    write = os.pwrite

    def stopped(fd: int, content: bytes, at: int) -> int:
        with pytest.raises(LockTimeoutError, match=rf"drawing a ticket from {path} for 5 s: .*fuser"):
            FileTurnstile(path, clock=clock).join()
        return write(fd, content, at)

    monkeypatch.setattr(os, "pwrite", stopped)
    first = FileTurnstile(path).join()
    monkeypatch.undo()
    assert clock.now() == pytest.approx(1005.0, abs=0.01)
    assert firsts([first, FileTurnstile(path).join()]) == [True, False]


def test_threads_in_a_local_turnstile() -> None:
    turnstile = LocalTurnstile()
    inside: list[int] = []

    def work() -> None:
        for _ in range(50):
            ticket = turnstile.join()
            while not ticket.is_first():
                pass
            inside.append(1)
            assert len(inside) == 1
            inside.pop()
            ticket.close()

    run([work] * 4)
