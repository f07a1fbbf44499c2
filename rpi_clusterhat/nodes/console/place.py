"""Where the programs that share a console meet: a lock, and a socket of whoever has it open."""

from __future__ import annotations

import os
import socket
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.errors import LockError
from rpi_clusterhat.hardware.lock_files import share_with_group, shared_mode
from rpi_clusterhat.hardware.lock_record import lock_path
from rpi_clusterhat.hardware.locks import FileLock

from .holders import is_pseudo

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

__all__ = ["Listener", "Place", "places"]

_PATIENCE = 5.0
"""Seconds for which another program may be about to open the same console."""

_QUEUE = 8
"""Programs that may wait to be let in."""


class Listener:
    """The socket at which others are let in. The file of one that was killed stays, and refuses them.

    Args:
        folder: The folder.
        name: The name of the socket's file in it.

    Raises:
        OSError: It cannot be made.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._path = os.path.join(folder, name)
        draft = f"{name}.{os.getpid()}"
        mode = shared_mode(folder)
        self.socket = _socket()
        try:
            with _short(folder) as near:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(near, draft))
                self.socket.bind(os.path.join(near, draft))
                try:
                    self.socket.listen(_QUEUE)
                    share_with_group(os.path.join(near, draft), folder)
                    os.chmod(os.path.join(near, draft), mode)
                    # It appears with its mode and listening, or not at all.
                    os.rename(os.path.join(near, draft), os.path.join(near, name))
                except BaseException:
                    os.unlink(os.path.join(near, draft))
                    raise
        except BaseException:
            self.socket.close()
            raise

    def close(self) -> None:
        """Removes the file first: while it is there, nobody else puts another one in its place."""
        with suppress(OSError):
            os.unlink(self._path)
        self.socket.close()


class Place(Frozen):
    """A folder where one console may be met."""

    folder: str
    key: str
    """Of the console, in file names."""

    @property
    def _name(self) -> str:
        return f"rpi-clusterhat.{self.key}.socket"

    @contextmanager
    def alone(self) -> Generator[None]:
        """Keeps out others that would open or join the console meanwhile.

        Raises:
            LockError: The folder cannot be used.
            LockTimeoutError: Another program does not get on with it.
        """
        with FileLock(lock_path(self.folder, self.key), timeout=_PATIENCE).hold():
            yield

    def connect(self) -> socket.socket:
        """Connects to the program that has the console open.

        Raises:
            FileNotFoundError: There is none.
            ConnectionRefusedError: There was one, which was killed.
            OSError: It lets nobody in.
        """
        connection = _socket()
        try:
            with _short(self.folder) as near:
                connection.connect(os.path.join(near, self._name))
        except BaseException:
            connection.close()
            raise
        return connection

    def listen(self) -> Listener:
        """Lets others in, in the place of one that was killed. Raises `OSError`."""
        return Listener(self.folder, self._name)


def places(found: os.stat_result, lock_dir: str) -> Iterator[Place]:
    """Finds where a console may be met: the first place that can be used is the one.

    Whoever may switch nodes meets at the folder of locks. Without one, and for pseudo-terminals, which belong
    to one user, there is a folder for each user.

    Args:
        found: What the device's path leads to.
        lock_dir: The folder of locks.
    """
    major, minor = os.major(found.st_rdev), os.minor(found.st_rdev)
    if is_pseudo(found):
        # There may be several file systems of pseudo-terminals, each with numbers of its own.
        key = f"console-{major}-{minor}-{found.st_dev}"
    else:
        key = f"console-{major}-{minor}"
        yield Place(lock_dir, key)
    with suppress(OSError):
        yield Place(_own_folder(), key)


def _own_folder() -> str:
    """The folder of this user. It does not follow the environment, which differs between sessions."""
    uid = os.geteuid()
    above = f"/run/user/{uid}"
    name = "rpi-clusterhat"
    try:
        usable = os.stat(above).st_uid == uid
    except OSError:
        usable = False
    if not usable:
        above, name = "/tmp", f"rpi-clusterhat-{uid}"  # noqa: S108 - who owns it is looked at
    folder = os.path.join(above, name)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    found = os.stat(folder, follow_symlinks=False)
    if found.st_uid != uid or found.st_mode & 0o077:
        raise LockError(1, f"{folder} does not belong to this user alone")
    return folder


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    made.setblocking(False)
    return made


@contextmanager
def _short(folder: str) -> Generator[str]:
    """A short path of a folder: that of a socket may have a hundred characters only."""
    fd = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{fd}"
    finally:
        os.close(fd)
