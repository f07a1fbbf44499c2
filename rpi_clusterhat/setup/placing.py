"""Puts files and folders in their places as root, where nobody else can have a say in what they become."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING

from .steps import SetupError

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["place_file", "place_folder"]

_DRAFT = ".rpi-clusterhat-new"
"""The end of a draft's name: no program takes a file of this name for its configuration."""
_MOST_LINKS = 40
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def place_file(root: str, owner: int, path: str, text: str) -> None:
    """Writes a file whole under another name first: it appears with all of its text, or stays as it was.

    Args:
        root: The folder that holds the machine's files; empty for this machine's own.
        owner: The number of the user root.
        path: The file's path on the machine. Folders on the way are made where they are missing.
        text: All of it.

    Raises:
        SetupError: The place is not root's alone, holds something that is no file, or cannot be written.
    """
    folder, name = os.path.split(path)
    with _told(f"cannot write {path}"), _opened(root, owner, folder, make=True) as place:
        mode = _mode_of(place, name, path)
        try:
            _write_draft(place, name + _DRAFT, text.encode("utf-8", "surrogateescape"), mode)
            os.rename(name + _DRAFT, name, src_dir_fd=place, dst_dir_fd=place)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(name + _DRAFT, dir_fd=place)
            raise
        os.fsync(place)


def place_folder(root: str, owner: int, path: str, mode: int, group: int) -> None:
    """Makes a folder with this group and mode, owned by root, or puts right the one that is there.

    Raises:
        SetupError: The place is not root's alone, holds something that is no folder, or cannot be written.
    """
    above, name = os.path.split(path)
    with _told(f"cannot make {path}"), _opened(root, owner, above) as place:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=place)
        fd = os.open(name, _FOLDER, dir_fd=place)
        try:
            os.fchown(fd, owner, group)
            os.fchmod(fd, mode)
        finally:
            os.close(fd)


@contextlib.contextmanager
def _told(what: str) -> Generator[None]:
    try:
        yield
    except OSError as error:
        raise SetupError(f"{what}: {error.strerror}") from error


@contextlib.contextmanager
def _opened(root: str, owner: int, path: str, *, make: bool = False) -> Generator[int]:
    """Opens a folder step by step. Whoever can write to a folder on the way could lead elsewhere."""
    parts = path.split("/")
    links = 0
    fd = os.open(root or "/", _FOLDER)
    try:
        while parts:
            _check(fd, owner, path)
            name = parts.pop(0)
            if name in ("", "."):
                continue
            try:
                below = os.open(name, _FOLDER, dir_fd=fd)
            except FileNotFoundError:
                if not make:
                    raise
                os.mkdir(name, 0o700, dir_fd=fd)
                below = os.open(name, _FOLDER, dir_fd=fd)
                os.fchmod(below, 0o755)
            except OSError:
                target = _link(fd, name)
                links += 1
                if target is None or links > _MOST_LINKS:
                    raise
                parts = target.split("/") + parts
                if not target.startswith("/"):
                    continue
                below = os.open(root or "/", _FOLDER)
            os.close(fd)
            fd = below
        _check(fd, owner, path)
        yield fd
    finally:
        os.close(fd)


def _check(fd: int, owner: int, path: str) -> None:
    found = os.fstat(fd)
    others = found.st_mode & 0o002 or (found.st_mode & 0o020 and found.st_gid != 0)
    if found.st_uid != owner or others:
        raise SetupError(
            f"{path} is in a folder that others than root can write to, so nothing is written there: "
            f"'ls -ld' of it and of the folders above it shows which"
        )


def _link(fd: int, name: str) -> str | None:
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError:
        return None


def _mode_of(place: int, name: str, path: str) -> int:
    """The mode of the file that is replaced."""
    try:
        found = os.stat(name, dir_fd=place, follow_symlinks=False)
    except FileNotFoundError:
        return 0o644
    if not stat.S_ISREG(found.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no regular file"
        raise SetupError(f"{path} is {kind}, so it is left as it is: remove it first")
    return stat.S_IMODE(found.st_mode)


def _write_draft(place: int, name: str, text: bytes, mode: int) -> None:
    with contextlib.suppress(FileNotFoundError):  # left by one that was killed
        os.unlink(name, dir_fd=place)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, mode, dir_fd=place)
    try:
        # The boot partition's file system has one mode for all files, and refuses any other.
        if stat.S_IMODE(os.fstat(fd).st_mode) != mode:
            os.fchmod(fd, mode)
        rest = memoryview(text)
        while rest:
            written = os.write(fd, rest)
            if not written:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            rest = rest[written:]
        os.fsync(fd)
    finally:
        os.close(fd)
