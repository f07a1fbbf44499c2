"""Locks that processes share: each opening of a file stands for a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import LockError, LockTimeoutError
from rpi_clusterhat.hardware import going_ahead
from rpi_clusterhat.hardware.locks import FileLock, Patience
from rpi_clusterhat.testing import FakeClock
from tests.hardware.odd_files import in_place_of, no_space
from tests.hardware.threads import run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rpi-clusterhat.rail-main.lock")


# The lock --------------------------------------------------------------------------------------------------


def test_one_at_a_time_also_among_threads(path: str) -> None:
    inside: list[int] = []

    def work() -> None:
        for _ in range(50):
            with FileLock(path, timeout=60.0).hold():
                inside.append(1)
                assert len(inside) == 1
                inside.pop()

    run([work] * 4)


def test_a_lock_that_is_kept_for_too_long_is_told(path: str) -> None:
    clock = FakeClock()
    lock = FileLock(path, timeout=1.5, clock=clock)
    with lock.hold():
        with pytest.raises(LockTimeoutError) as caught, FileLock(path, timeout=1.5, clock=clock).hold():
            pytest.fail("two hold it")
        assert (
            str(caught.value)
            == f"another process has held the lock {path} for 1.5 s: see who with 'fuser {path}'"
        )
        assert isinstance(caught.value, TimeoutError)
        assert clock.now() == pytest.approx(1001.5, abs=0.01)
    with lock.hold():
        pass
    assert repr(lock) == f"<FileLock {path}>"


def test_a_lock_is_given_back_after_an_error(path: str) -> None:
    lock = FileLock(path, timeout=0.0)
    with pytest.raises(ZeroDivisionError), lock.hold():
        raise ZeroDivisionError
    with lock.hold():
        pass


def test_a_lock_file_that_is_replaced_while_one_waits_is_opened_anew(path: str) -> None:
    held = FileLock(path).hold()
    held.__enter__()

    class Clock(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if os.path.exists(path):
                os.unlink(path)
                held.__exit__(None, None, None)

    with FileLock(path, clock=Clock()).hold():
        assert os.path.exists(path)
        with pytest.raises(LockTimeoutError), FileLock(path, timeout=0.0).hold():
            pytest.fail("two hold it")


# The record ------------------------------------------------------------------------------------------------


def test_a_record_is_there_for_the_next_holder_and_for_who_only_looks(path: str) -> None:
    lock, other = FileLock(path), FileLock(path)
    assert other.load() == b"", "nobody has held it yet"
    with lock.hold():
        assert lock.load() == b""
        lock.store(b"output 2f")
    assert other.load() == b"output 2f"
    with other.hold():
        other.store(b"31")
    assert lock.load() == b"31", "nothing of the longer one before it is left"


def test_only_a_holder_stores_a_record(path: str) -> None:
    with pytest.raises(AssertionError, match="by who holds the lock"):
        FileLock(path).store(b"x")


@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
def test_a_record_is_not_read_from_something_else(path: str, what: str) -> None:
    in_place_of(path, what)
    assert FileLock(path).load() == b""


def test_a_record_that_cannot_be_kept_leaves_none(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(path)
    with lock.hold():
        lock.store(b"old")
        monkeypatch.setattr(os, "pwrite", no_space)
        lock.store(b"new")
    assert lock.load() == b"", "an old one would tell of what is not so any more"


# What must not fail ----------------------------------------------------------------------------------------


Missed = list[LockError | LockTimeoutError]


def test_what_must_not_fail_goes_ahead_without_a_lock_that_cannot_be_had(tmp_path: Path) -> None:
    lock = FileLock(str(tmp_path / "no" / "x.lock"))
    missed: Missed = []

    def store() -> str:
        with lock.hold():
            lock.store(b"worth nothing")
            return "done"

    assert going_ahead.call(store, missed) == "done"
    assert [type(error) for error in missed] == [LockError]
    assert lock.load() == b""
    with pytest.raises(LockError):
        store()


def test_what_must_not_fail_waits_for_a_holder_but_not_for_long(path: str) -> None:
    clock = FakeClock()
    missed: Missed = []
    with FileLock(path).hold():
        going_ahead.call(FileLock(path, timeout=60.0, clock=clock).hold().__enter__, missed)
    assert [type(error) for error in missed] == [LockTimeoutError]
    assert clock.now() == pytest.approx(1002.0, abs=0.01)


def test_what_must_not_fail_still_takes_a_lock_that_can_be_had(path: str) -> None:
    missed: Missed = []

    def hold() -> None:
        with FileLock(path).hold(), pytest.raises(LockTimeoutError):
            other(path)

    going_ahead.call(hold, missed)
    assert missed == []


def test_an_interruption_ends_the_going_ahead(path: str) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        going_ahead.call(interrupted, [])
    with FileLock(path).hold(), pytest.raises(LockTimeoutError), FileLock(path, timeout=0.0).hold():
        pytest.fail("two hold it")


def test_one_that_was_left_in_force_ends_with_the_next_call(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by a Ctrl-C at its very end."""
    monkeypatch.setattr(going_ahead.HERE, "missed", [])
    with FileLock(path).hold(), pytest.raises(LockTimeoutError):
        going_ahead.call(FileLock(path, timeout=0.0).hold().__enter__, None)


def other(path: str) -> None:
    """Another thread: what goes ahead in this one does not in others."""
    caught: list[BaseException] = []

    def hold() -> None:
        try:
            with FileLock(path, timeout=0.0).hold():
                pass
        except LockTimeoutError as error:
            caught.append(error)

    run([hold])
    for error in caught:
        raise error


# Patience --------------------------------------------------------------------------------------------------


def test_a_suspend_of_the_machine_does_not_use_patience_up() -> None:
    clock = FakeClock()
    patience = Patience(clock)
    clock.advance(0.5)
    assert patience.waited() == 0.5
    clock.advance(3600.0)
    assert patience.waited() == 1.5
    clock.advance(0.25)
    assert patience.waited() == 1.75


def test_a_lock_is_waited_for_across_a_suspend(path: str) -> None:
    held = FileLock(path).hold()
    held.__enter__()

    class Suspended(FakeClock):
        def sleep(self, seconds: float) -> None:
            super().sleep(seconds)
            if self.now() < 1001.0:
                self.advance(3600.0)
            elif self.now() > 4602.0:
                held.__exit__(None, None, None)

    with FileLock(path, clock=Suspended()).hold():
        pass


# Children --------------------------------------------------------------------------------------------------

FORK = """
import os, sys
from rpi_clusterhat.hardware.locks import FileLock
from rpi_clusterhat.hardware.turnstile import FileTurnstile
rail, register = sys.argv[1:]
ticket = FileTurnstile(rail).join()
assert ticket.is_first()
held = FileLock(register).hold()
held.__enter__()
asks, answers = os.pipe(), os.pipe()
if os.fork() == 0:
    os.close(asks[1])
    os.write(answers[1], b"x")  # it runs: what it inherited is closed
    os.read(asks[0], 1)  # until the parent has let go
    second = FileTurnstile(rail).join()
    print("child", second.is_first(), flush=True)
    with FileLock(register, timeout=0.0).hold():
        print("child holds", flush=True)
    os._exit(0)
os.read(answers[0], 1)
second = FileTurnstile(rail).join()
print("parent keeps", ticket.is_first(), second.is_first(), flush=True)
second.close()
ticket.close()
held.__exit__(None, None, None)
third = FileTurnstile(rail).join()
print("parent let go", third.is_first(), flush=True)  # not if the child kept a copy
third.close()
os.close(asks[1])
os.wait()
"""


def test_a_forked_child_keeps_no_lock_of_its_parent(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path / "rail"), str(tmp_path / "register")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "parent keeps True False",
        "parent let go True",
        "child True",
        "child holds",
    ]
