"""A lock ends with its process, wherever that was killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import LockTimeoutError
from rpi_clusterhat.hardware.locks import FileLock
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.power.rail import PowerUp, Rail
from rpi_clusterhat.testing import FakeClock
from tests.safety.processes import USERS, Child, lock_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = pytest.mark.slow

SPACING = 2.0


def near(seconds: float, expected: float) -> bool:
    """The record has six digits behind the point."""
    return abs(seconds - expected) < 1e-5


@pytest.fixture
def path() -> Generator[str]:
    with lock_folder() as folder:
        yield os.path.join(folder, "test.lock")


class Holder:
    """A process that does something, says so, and stays."""

    def __init__(self, work: Callable[[], object], user: int = USERS[0]) -> None:
        there, says = os.pipe()

        def stay() -> None:
            kept = work()
            os.write(says, b"x")
            SYSTEM.sleep(60)
            del kept

        self.child = Child(stay, user)
        os.close(says)
        try:
            assert os.read(there, 1) == b"x", "the child failed"
        finally:
            os.close(there)


def test_a_lock_whose_holder_was_killed_is_free(path: str) -> None:
    def hold() -> object:
        held = FileLock(path).hold()
        held.__enter__()
        return held

    holder = Holder(hold)
    impatient = FileLock(path, timeout=0.02)
    try:
        with pytest.raises(LockTimeoutError), impatient.hold():
            pass
    finally:
        holder.child.kill()
    with impatient.hold():
        pass


def test_tickets_of_killed_processes_are_not_waited_for(path: str) -> None:
    """The first, and one in the middle; the order of the others stays."""
    turnstile = FileTurnstile(path)
    first = Holder(turnstile.join)
    second = turnstile.join()
    third = Holder(turnstile.join, USERS[-1])
    fourth = turnstile.join()
    try:
        assert not second.is_first()
        first.child.kill()
        assert second.is_first()
        assert not fourth.is_first()
        third.child.kill()
        assert not fourth.is_first()
        second.close()
        assert fourth.is_first()
    finally:
        first.child.kill()
        third.child.kill()
        fourth.close()


@pytest.mark.parametrize("pending", [True, False])
def test_what_a_killed_process_noted_counts(path: str, pending: bool) -> None:
    """An unfinished power-up counts as one that happened now; a finished one from when it was."""
    clock = FakeClock()

    def power_up() -> object:
        turn = Rail(FileTurnstile(path), clock, SPACING).join()
        assert turn.remaining() == 0.0
        turn.begin()
        if not pending:
            turn.end()
        return turn

    holder = Holder(power_up)
    clock.advance(1.5)
    turn = Rail(FileTurnstile(path), clock, SPACING).join()
    try:
        assert turn.remaining() > 0.0
        assert not vars(turn)["_ticket"].is_first()
    finally:
        holder.child.kill()
    assert near(turn.remaining(), SPACING if pending else SPACING - 1.5)
    turn.leave()
    # One who found it unfinished and gave up does not make the next one wait from the start.
    clock.advance(1.0)
    after = Rail(FileTurnstile(path), clock, SPACING).join()
    assert near(after.remaining(), SPACING - 1.0 if pending else 0.0)
    record = PowerUp.decode(vars(after)["_ticket"].load())
    assert record is not None
    assert not record.pending
    after.leave()


def test_a_forked_child_that_lives_on_holds_nothing(path: str) -> None:
    """As a program does that starts a daemon by fork, and is killed."""
    lived_on, says = os.pipe()

    def fork_and_stay() -> object:
        lock = FileLock(f"{path}.moment").hold()
        lock.__enter__()
        ticket = FileTurnstile(path).join()
        assert ticket.is_first()
        if os.fork() == 0:
            os.write(says, f"{os.getpid()}\n".encode())
            SYSTEM.sleep(60)
            os._exit(0)
        return ticket, lock

    holder = Holder(fork_and_stay)
    os.close(says)
    grandchild = int(os.read(lived_on, 32))
    ticket = FileTurnstile(path).join()
    try:
        assert not ticket.is_first()
        holder.child.kill()
        os.kill(grandchild, 0)  # it does live on
        assert ticket.is_first()
        with FileLock(f"{path}.moment", timeout=0.02).hold():
            pass
    finally:
        holder.child.kill()
        os.kill(grandchild, 9)
        os.close(lived_on)
        ticket.close()


def test_a_program_that_is_started_inherits_nothing(path: str) -> None:
    import subprocess

    ticket = FileTurnstile(path).join()
    assert ticket.is_first()
    with subprocess.Popen(["sleep", "60"], close_fds=False) as program:
        try:
            ticket.close()
            other = FileTurnstile(path).join()
            assert other.is_first()
            other.close()
        finally:
            program.kill()


def test_a_child_cannot_switch_on_with_its_parents_turn(path: str) -> None:
    """The copy that a fork makes of a turn is worth nothing: it fails before anything is written."""
    turn = Rail(FileTurnstile(path), FakeClock(), SPACING).join()
    assert turn.remaining() == 0.0

    def use_it() -> None:
        with pytest.raises((OSError, ValueError)):
            turn.begin()

    child = Child(use_it)
    assert child.wait() == 0
    turn.leave()


@pytest.mark.parametrize("damage", [b"", b"0" * 20, b"\xff" * 128, b"9" * 200])
def test_a_damaged_file_spoils_at_most_the_order(path: str, damage: bytes) -> None:
    """Whatever anybody writes into it: never are two first, and all come to their turn."""
    turnstile = FileTurnstile(path)
    for _ in range(3):
        turnstile.join().close()
    first = turnstile.join()
    assert first.is_first()
    waiting = [turnstile.join()]
    with open(path, "wb") as file:
        file.write(damage)
    waiting += [turnstile.join(), turnstile.join()]
    while waiting:
        assert not any(ticket.is_first() for ticket in waiting)
        first.close()
        [first] = [ticket for ticket in waiting if ticket.is_first()]
        waiting.remove(first)
    clock = FakeClock()
    first.close()
    turn = Rail(turnstile, clock, SPACING).join()
    assert turn.remaining() == (SPACING if damage.strip(b"0") else 0.0)
    turn.leave()
