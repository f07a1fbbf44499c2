"""The files behind locks that processes share, also those of different users.

The kernel holds the locks, so a lock ends with its process, however that ends. Whoever can open a lock's file
can hold it for ever, and whoever can write to its folder can put another file in its place: so a lock that
guards real nodes is in a folder, and is a file, that only those can use who may switch nodes. Nothing here
trusts what a file contains.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
import threading

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.errors import LockError
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR

__all__ = [
    "LOCKS_ARE_SHARED",
    "SharedFile",
    "is_locked_elsewhere",
    "lock_error",
    "lock_range",
    "share_with_group",
    "shared_mode",
]

LOCKS_ARE_SHARED = hasattr(fcntl, "F_OFD_SETLK")
"""Whether this system has the locks of `lock_range`: Linux has, since 3.15."""

_BUSY = (errno.EAGAIN, errno.EACCES)

_NO_LOCKS = (errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that have no such locks."""


class SharedFile:
    """One opening of a lock file, closed with its last reference.

    Args:
        path: The file. It is made where it is missing; its folder is not.
        guarded: Whether strangers must be kept out. Without it, whoever can open the folder may take part.

    Raises:
        LockError: The file cannot be opened or made, or strangers could hold or forge the lock.
    """

    fd = -1

    def __init__(self, path: str, *, guarded: bool = True) -> None:
        self.path = path
        self.fd = _open(path, shared_mode(os.path.dirname(path)) if guarded else 0o666)
        # A kernel lock belongs to the open file, which a fork shares: a child that lives on would hold the
        # locks of a parent that was killed.
        after_fork(self, SharedFile.close)

    def replaced(self) -> bool:
        """Whether the path names another file by now: whoever opens it next would not meet us."""
        try:
            ours, theirs = os.fstat(self.fd), os.stat(self.path, follow_symlinks=False)
        except FileNotFoundError:
            return True
        return (ours.st_ino, ours.st_dev) != (theirs.st_ino, theirs.st_dev)

    def close(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    __del__ = close


def shared_mode(folder: str) -> int:
    """Returns the mode of files in a lock folder: its group has a part in them where it has one in that.

    Raises:
        LockError: There is no such folder, or strangers could use or forge what is in it.
    """
    try:
        found = os.stat(folder)
    except OSError as error:
        raise lock_error("open", os.path.join(folder, ""), error) from error
    if not stat.S_ISDIR(found.st_mode):
        raise LockError(errno.ENOTDIR, f"{folder} is no folder for locks: {_remedy(folder, 'remove it')}")
    if found.st_mode & 0o002:
        raise LockError(
            errno.EPERM,
            f"every user of this machine may write to the lock folder {folder}, and could hold up or forge "
            f"the locks in it: {_remedy(folder, f'close it to others (chmod o-w {folder})')}",
        )
    if found.st_uid not in (0, os.geteuid()) and not (found.st_mode & 0o020 and _is_ours(found.st_gid)):
        raise LockError(
            errno.EPERM,
            f"the lock folder {folder} belongs to another user, who could hold up or forge the locks in it: "
            f"{_remedy(folder, f'give it to root (chown root {folder})')}",
        )
    return 0o660 if found.st_mode & 0o020 else 0o600


def _is_ours(group: int) -> bool:
    return group == os.getegid() or group in os.getgroups()


def _open(path: str, mode: int) -> int:
    for _ in range(100):
        try:
            # Never O_CREAT on a path that may exist: the kernel's fs.protected_regular refuses that for
            # another user's file in a sticky folder, even where plain opening is allowed.
            fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            _create(path, mode)
        except OSError as error:
            raise lock_error("open", path, error) from error
        else:
            try:
                _check_file(fd, path, mode)
            except BaseException:
                os.close(fd)
                raise
            return fd
    raise LockError(errno.EAGAIN, f"{path} is removed as fast as it is made: find out by whom")


def _check_file(fd: int, path: str, mode: int) -> None:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise LockError(errno.EINVAL, f"{path} is not a regular file: remove it")
    if found.st_mode & 0o006 & ~mode:
        raise LockError(errno.EPERM, f"every user of this machine may open the lock {path}: remove it")


def _create(path: str, mode: int) -> None:
    """Makes the file whole under another name first: it appears with its mode, or not at all."""
    draft = f"{path}.{os.getpid()}.{threading.get_ident()}"
    try:
        fd = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except FileExistsError:  # left by a process of the same number that was killed right here
        os.unlink(draft)
        return
    except OSError as error:
        raise lock_error("create", path, error) from error
    try:
        share_with_group(fd, os.path.dirname(path))
        os.fchmod(fd, mode)
        os.link(draft, path)
    except FileExistsError:
        pass  # another process was faster: its file is as good
    except OSError as error:
        raise lock_error("create", path, error) from error
    finally:
        os.close(fd)
        os.unlink(draft)


def share_with_group(file: int | str, folder: str) -> None:
    """Gives a file to its folder's group, where the folder does not do so itself (set-group-ID bit)."""
    group = os.stat(folder).st_gid
    if os.stat(file).st_gid != group and (_is_ours(group) or os.geteuid() == 0):
        os.chown(file, -1, group)


def lock_range(file: SharedFile, kind: int, start: int, length: int) -> bool:
    """Locks bytes for this open file (open file description lock), which may lie beyond its end.

    Args:
        file: The file.
        kind: ``fcntl.F_WRLCK``, ``F_RDLCK`` or ``F_UNLCK``.
        start: The first byte.
        length: How many bytes.

    Returns:
        Whether they are locked now; False, at once, where another has locked them.

    Raises:
        LockError: The file system has no such locks.
    """
    # struct flock with 64-bit offsets, in this platform's own alignment. Source: fcntl(2).
    request = struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0)
    try:
        fcntl.fcntl(file.fd, fcntl.F_OFD_SETLK, request)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise lock_error("take", file.path, error) from error
    return True


def is_locked_elsewhere(file: SharedFile, start: int) -> bool:
    """Says whether another open file has a lock on a byte. It locks nothing. See `lock_range`."""
    request = struct.pack("hhqqi0q", fcntl.F_WRLCK, os.SEEK_SET, start, 1, 0)
    try:
        answer = fcntl.fcntl(file.fd, fcntl.F_OFD_GETLK, request)
    except OSError as error:
        raise lock_error("take", file.path, error) from error
    kind: int = struct.unpack_from("h", answer)[0]
    return kind != fcntl.F_UNLCK


def lock_error(verb: str, path: str, error: OSError) -> LockError:
    """What cannot be done with a lock, and what to do about it.

    Args:
        verb: ``open``, ``create``, ``write`` or ``take``.
        path: The lock's file.
        error: Why not.
    """
    folder = os.path.dirname(path)
    number = error.errno or errno.EIO
    if isinstance(error, PermissionError):
        from .permission import permission_remedy

        remedy = permission_remedy(path, "gpio")
        own = "" if folder == DEFAULT_LOCK_DIR else ", or name another folder with lock_dir"
        return LockError(number, f"no permission to use the locks in {folder}: {remedy}{own}")
    if isinstance(error, FileNotFoundError):
        return LockError(
            number,
            f"{folder}, the folder in which programs that switch nodes share their locks, does not exist: "
            f"{_remedy(folder, 'create it')}",
        )
    if number == errno.EROFS:
        hint = f"{folder} is read-only: {_remedy(folder, 'make it writable')}"
    elif number in _NO_LOCKS and verb == "take":
        hint = f"the file system of {folder} has no locks of this kind: name a folder in /run with lock_dir"
    else:
        hint = error.strerror or "unknown error"
    return LockError(number, f"cannot {verb} the lock {path}: {hint}")


def _remedy(folder: str, own: str) -> str:
    """What to do about a lock folder: for the system's the command that makes it, else what the user can."""
    if folder != DEFAULT_LOCK_DIR:
        return f"{own}, or name another folder with lock_dir"
    from rpi_clusterhat._setup_command import setup_command

    return f"run '{setup_command()}', or in a container share the folder of the controller"
