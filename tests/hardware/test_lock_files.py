"""The files behind shared locks: who may use them, and what is said where they cannot be used."""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from rpi_clusterhat.errors import LockError
from rpi_clusterhat.hardware import lock_files
from rpi_clusterhat.hardware.locks import FileLock, lock_path
from rpi_clusterhat.hardware.permission import permission_remedy
from rpi_clusterhat.hardware.turnstile import FileTurnstile
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR
from tests.hardware.odd_files import in_place_of, no_space
from tests.safety.processes import GROUP, USERS, Child, lock_folder

if TYPE_CHECKING:
    import contextlib
    from collections.abc import Callable
    from pathlib import Path

root_only = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


@pytest.fixture(autouse=True)
def loaded() -> None:
    """All that a refusal needs is imported before this process becomes one that cannot read it."""
    permission_remedy("/", "gpio")


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "rpi-clusterhat.rail-main.lock")


def refused(path: str) -> str:
    """What a lock and a turnstile both say."""
    texts: set[str] = set()
    for take in (FileLock(path).hold().__enter__, FileTurnstile(path).join):
        with pytest.raises(LockError) as caught:
            take()
        texts.add(str(caught.value))
    [text] = texts
    assert "\n" not in text
    return text


# Who may use them ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077, 0o777])
@pytest.mark.parametrize("guarded", [True, False])
def test_the_group_may_take_part_and_others_only_where_nobody_is_harmed(
    path: str, umask: int, guarded: bool
) -> None:
    os.chmod(os.path.dirname(path), 0o2770)
    before = os.umask(umask)
    try:
        with FileLock(path, guarded=guarded).hold():
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == (0o660 if guarded else 0o666)
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)], "no draft is left"


def test_in_a_folder_of_ones_own_they_are_nobody_elses(path: str) -> None:
    """The group of the user may be that of all users."""
    os.chmod(os.path.dirname(path), 0o755)
    with FileLock(path).hold():
        pass
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


@root_only
@pytest.mark.parametrize("mode", [0o2770, 0o770], ids=["set-group-ID", "plain"])
def test_all_members_of_the_group_find_one_lock_whoever_made_it(mode: int) -> None:
    with lock_folder() as folder:
        os.chmod(folder, mode)
        for maker in (*USERS, 0):
            path = lock_path(folder, f"by-{maker}")

            def hold(path: str = path) -> None:
                with FileLock(path, timeout=0.0).hold():
                    FileTurnstile(f"{path}.rail").join().close()

            assert Child(hold, maker).wait() == 0
            assert os.stat(path).st_gid == GROUP
            for other in (*USERS, 0):
                assert Child(hold, other).wait() == 0


@root_only
def test_a_stranger_can_neither_hold_nor_forge_a_lock() -> None:
    with lock_folder() as folder:
        path = lock_path(folder, "rail-main")
        with FileLock(path).hold():
            pass

        def try_it() -> None:
            text = refused(path)
            assert f"no permission to use the locks in {folder}" in text, text
            for flags in (os.O_RDONLY, os.O_RDWR, os.O_RDWR | os.O_CREAT):
                with pytest.raises(PermissionError):
                    os.open(path, flags)
            with pytest.raises(PermissionError):
                os.rename(path, f"{path}.gone")

        assert Child(try_it, USERS[0], stranger=True).wait() == 0


def test_a_folder_that_everybody_may_write_to_is_refused(tmp_path: Path, path: str) -> None:
    tmp_path.chmod(0o1777)  # as /run/lock and /tmp are: there one who is not to switch could hold the lock
    assert refused(path) == (
        f"every user of this machine may write to the lock folder {tmp_path}, and could hold up or forge the "
        f"locks in it: close it to others (chmod o-w {tmp_path}), or name another folder with lock_dir"
    )
    assert os.listdir(tmp_path) == []
    with FileLock(path, guarded=False).hold():
        pass


@root_only
def test_a_folder_of_another_user_is_refused_unless_a_group_shares_it(tmp_path: Path, path: str) -> None:
    os.chown(tmp_path, USERS[0], -1)
    assert f"the lock folder {tmp_path} belongs to another user" in refused(path)
    os.chown(tmp_path, USERS[0], os.getegid())
    tmp_path.chmod(0o770)
    with FileLock(path).hold():
        pass


def test_a_file_that_everybody_may_open_is_refused(path: str) -> None:
    with open(path, "wb"):
        os.chmod(path, 0o664)
    assert refused(path) == f"every user of this machine may open the lock {path}: remove it"


# Where they are --------------------------------------------------------------------------------------------


def test_the_files_name() -> None:
    assert lock_path("/run/x", "i2c-1-20") == "/run/x/rpi-clusterhat.i2c-1-20.lock"
    assert lock_path("/run/x", "../x y/\0") == "/run/x/rpi-clusterhat..._x_y__.lock"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert refused(str(tmp_path / "no" / "x.lock")) == (
        f"{tmp_path}/no, the folder in which programs that switch nodes share their locks, does not exist: "
        "create it, or name another folder with lock_dir"
    )


def test_where_the_systems_folder_is_missing_the_command_that_makes_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock_files, "DEFAULT_LOCK_DIR", str(tmp_path / "run"))
    command = tmp_path / "rpi-clusterhat"
    monkeypatch.setattr("sys.executable", str(tmp_path / "python3"))
    path = lock_path(str(tmp_path / "run"), "rail-main")
    assert "run 'sudo rpi-clusterhat setup', or in a container share" in refused(path)
    command.touch(0o755)
    assert f"run 'sudo {command} setup', or in a container share" in refused(path)
    monkeypatch.setattr("sys.executable", None)  # as in a program that has Python embedded
    assert "run 'sudo rpi-clusterhat setup'" in refused(path)
    assert DEFAULT_LOCK_DIR == "/run/rpi-clusterhat"


def test_a_folder_that_is_a_file(path: str) -> None:
    with open(path, "wb"):
        pass
    assert f"{path} is no folder for locks: remove it" in refused(f"{path}/x.lock")


def test_a_folder_that_this_user_may_not_use(
    tmp_path: Path, as_nobody: Callable[[], contextlib.AbstractContextManager[None]]
) -> None:
    folder = tmp_path / "locks"
    folder.mkdir()
    folder.chmod(0o000)
    try:
        with as_nobody():
            text = refused(str(folder / "x.lock"))
    finally:
        folder.chmod(0o700)
    assert str(folder) in text
    assert "name another folder with lock_dir" in text


# What is in their place ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["folder", "pipe", "link"])
def test_something_else_in_the_files_place_is_refused(path: str, what: str) -> None:
    in_place_of(path, what)
    assert path in refused(path)
    if what == "link":
        with open(f"{path}.target", encoding="ascii") as file:
            assert file.read() == "precious"


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.EROFS, "is read-only"),
        (errno.ENOSPC, "No space left on device"),
        (errno.EMFILE, "Too many open files"),
        (errno.EACCES, "no permission to use the locks in"),
    ],
)
def test_a_file_system_on_which_no_file_can_be_made(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, number: int, hint: str
) -> None:
    real = os.open

    def fail(name: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT and str(name).startswith(path):
            raise OSError(number, os.strerror(number))
        return real(name, flags, *rest, **more)

    monkeypatch.setattr(os, "open", fail)
    assert hint in refused(path)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_that_has_no_such_locks(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    monkeypatch.setattr(fcntl, "fcntl", fail)
    assert refused(path) == (
        f"cannot take the lock {path}: the file system of {tmp_path} has no locks of this kind: "
        "name a folder in /run with lock_dir"
    )


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
    assert "is removed as fast as it is made" in refused(path)


def test_another_process_that_is_faster_makes_a_file_that_is_as_good(
    path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(source: str, target: str) -> None:
        with open(target, "wb") as file:
            os.fchmod(file.fileno(), 0o660)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", too_late)
    assert FileTurnstile(path).join().is_first()
    assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
