"""Locks that processes share: each opening of a file stands for a process of its own."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from rpi_clusterhat.errors import LockError, LockTimeoutError
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.settings import default_lock_dir
from rpi_clusterhat.testing import FakeClock

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

from tests.hardware.threads import run


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rpi-clusterhat.rail-main.lock")


def no_space(*_: object) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


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


def test_a_record_on_a_full_disk(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = FileLock(path)
    with lock.hold():
        monkeypatch.setattr(os, "pwrite", no_space)
        with pytest.raises(LockError, match=rf"cannot write the lock {path}: No space left on device"):
            lock.store(b"x")


# The file --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
def test_everybody_may_take_part(path: str, umask: int) -> None:
    before = os.umask(umask)
    try:
        with FileLock(path).hold():
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o666
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)], "no draft is left"


def test_the_files_name(tmp_path: Path) -> None:
    assert lock_path("/run/lock", "i2c-1-20") == "/run/lock/rpi-clusterhat.i2c-1-20.lock"
    assert lock_path("/run/lock", "../x y/\0") == "/run/lock/rpi-clusterhat..._x_y__.lock"


def in_place_of(path: str, what: str) -> None:
    if what == "folder":
        os.mkdir(path)
    elif what == "pipe":
        os.mkfifo(path)
    else:
        target = f"{path}.target"
        with open(target, "w", encoding="ascii") as file:
            file.write("precious")
        os.symlink(target, path)


@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
@pytest.mark.parametrize("kind", ["lock", "turnstile"])
def test_something_else_in_the_files_place_is_refused(path: str, what: str, kind: str) -> None:
    in_place_of(path, what)
    take = FileLock(path).hold().__enter__ if kind == "lock" else FileTurnstile(path).join
    with pytest.raises(LockError) as caught:
        take()
    assert path in str(caught.value)
    assert "\n" not in str(caught.value)
    if what == "link":
        with open(f"{path}.target", encoding="ascii") as file:
            assert file.read() == "precious"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    path = str(tmp_path / "no" / "x.lock")
    with pytest.raises(LockError) as caught:
        FileTurnstile(path).join()
    assert caught.value.errno == errno.ENOENT
    assert str(caught.value) == (
        f"cannot create the lock {path}: {tmp_path}/no does not exist: create it, "
        "or name another folder with lock_dir"
    )


def test_a_folder_that_this_user_may_not_use(
    tmp_path: Path, as_nobody: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    folder.chmod(0o000)
    try:
        with as_nobody(), pytest.raises(LockError) as caught:
            FileTurnstile(str(folder / "x.lock")).join()
    finally:
        folder.chmod(0o700)
    assert caught.value.errno == errno.EACCES
    assert str(folder / "x.lock") in str(caught.value)
    assert f"make {folder} writable for this user" in str(caught.value)


def test_a_full_disk_is_a_lock_error(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ticket = FileTurnstile(path).join()
    monkeypatch.setattr(os, "pwrite", no_space)
    for call in (lambda: ticket.store(b"x"), FileTurnstile(path).join):
        with pytest.raises(LockError, match=rf"cannot write the lock {path}: No space left on device"):
            call()
    monkeypatch.undo()
    ticket.close()
    assert FileTurnstile(path).join().is_first()


def test_a_draft_that_a_killed_process_left_is_removed(path: str) -> None:
    draft = f"{path}.{os.getpid()}.{threading.get_ident()}"
    with open(draft, "wb"):
        pass
    with FileLock(path).hold():
        pass
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_a_file_that_somebody_keeps_removing(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    link = os.link

    def link_and_lose(source: str, target: str) -> None:
        link(source, target)
        os.unlink(target)

    monkeypatch.setattr(os, "link", link_and_lose)
    with pytest.raises(LockError, match="is removed as fast as it is made"):
        FileTurnstile(path).join()


def test_another_process_that_is_faster_makes_a_file_that_is_as_good(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(source: str, target: str) -> None:
        with open(target, "wb"):
            pass
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", too_late)
    assert FileTurnstile(path).join().is_first()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]


def test_where_the_locks_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    there = ["/run/lock"]
    monkeypatch.setattr(os.path, "isdir", there.__contains__)
    assert default_lock_dir() == "/run/lock"
    there.clear()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    assert default_lock_dir() == str(tmp_path)


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
