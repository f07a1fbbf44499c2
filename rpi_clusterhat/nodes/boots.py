"""The boots of nodes and how they ended, kept in a file over restarts."""

from __future__ import annotations

import errno
import fcntl
import json
import logging
import os
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

from rpi_clusterhat import validate
from rpi_clusterhat._frozen import Frozen
from rpi_clusterhat.clock import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeGuard

__all__ = ["RECORDS", "BootHistory", "BootRecord", "default_path"]

RECORDS = 1000
"""How many boots are kept at least; the file is made shorter when it holds twice as many."""

_MOST_BYTES = 1 << 20
"""Of the file's end, of which more is never read."""
_LONGEST_LINE = 4096
_LONGEST_TEXT = 400
_FEW_BYTES = 4096
"""Up to this size a file without any record may be one whose first line was cut off by a crash."""
_TRIES, _PAUSE = 100, 0.01
"""For the lock, which is held for milliseconds."""

_log = logging.getLogger("rpi_clusterhat")


class BootRecord(Frozen):
    """One boot of a node, and how it ended."""

    node: str
    at: float
    """When it ended: seconds since 1970, by the system's clock. To the millisecond in a file, as the next."""
    seconds: float
    """From the moment it was asked for, its wait for the rail included."""
    outcome: str
    """``ready``, ``failed``, or ``lost``: its power was lost, or cut by others."""
    reason: str
    """Why it failed; else why it was asked for, as in `rpi_clusterhat.events.BootStarted`."""


def default_path() -> str:
    """Returns where a user's history is kept: ``~/.local/state/rpi-clusterhat/boots.jsonl``.

    ``XDG_STATE_HOME`` says otherwise where it is an absolute path.
    """
    state = os.environ.get("XDG_STATE_HOME", "")
    if not os.path.isabs(state):
        state = os.path.join(os.path.expanduser("~"), ".local", "state")
    return os.path.join(state, "rpi-clusterhat", "boots.jsonl")


class BootHistory:
    """A small file of boots, a line of JSON for each. Several processes and threads may use one at a time.

    It never stands in the way: a file that cannot be read or written is logged as a warning, once. What is no
    record, such as half a line after a power failure, is passed over.

    Args:
        path: The file, which is made with its folder where it is missing; without one, that of
            `default_path`.

    Raises:
        SettingError: ``path`` is no path.
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        given: Any = default_path() if path is None else path
        if not isinstance(given, str | os.PathLike) or not (text := os.fspath(cast("str", given))):
            raise validate.invalid("path", path, "the path of a file")
        if not isinstance(cast("object", text), str) or "\0" in text:
            raise validate.invalid("path", path, "the path of a file")
        self.path = os.path.abspath(text)
        """The file's absolute path."""
        self._has_warned = False

    def __repr__(self) -> str:
        return f"<BootHistory {self.path}>"

    def records(self, node: str | None = None) -> tuple[BootRecord, ...]:
        """Reads what is kept: the last boots, the latest last.

        Args:
            node: The name of a node whose boots alone are wanted.
        """
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                tail = _read_tail(fd)
            finally:
                os.close(fd)
        except FileNotFoundError:
            return ()
        except OSError as error:
            self._warn("read", error)
            return ()
        found = list(_records_of(tail))[-RECORDS:]
        return tuple(record for record in found if node is None or record.node == node)

    def add(self, record: BootRecord) -> None:
        """Keeps one more boot. May wait for another process, for a second at most."""
        try:
            path = os.path.realpath(self.path)
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            while not _append(path, record):
                pass  # it was replaced between the opening and the locking
        except OSError as error:
            self._warn("written", error)

    def _warn(self, what: str, error: OSError) -> None:
        if not self._has_warned:
            self._has_warned = True
            _log.warning("the history of boots %s cannot be %s: %s", self.path, what, error.strerror or error)


# Reading ----------------------------------------------------------------------------------------------------


def _read_tail(fd: int) -> bytes:
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    return os.pread(fd, _MOST_BYTES, max(0, found.st_size - _MOST_BYTES))


def _records_of(tail: bytes) -> Iterator[BootRecord]:
    return (record for line in tail.split(b"\n") if (record := _decoded(line)) is not None)


def _decoded(line: bytes) -> BootRecord | None:
    """The record of a line; None where there is none: others may have written anything."""
    if not line.startswith(b"{") or len(line) > _LONGEST_LINE:
        return None
    try:
        found: Any = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    values = cast("dict[str, Any]", found)
    node, outcome, reason = (values.get(field) for field in ("node", "outcome", "reason"))
    at, seconds = values.get("at"), values.get("seconds")
    if not (isinstance(node, str) and isinstance(outcome, str) and isinstance(reason, str)):
        return None
    if not (_is_time(at) and _is_time(seconds)):
        return None
    return BootRecord(node, at, seconds, outcome, reason)


def _is_time(number: object) -> TypeGuard[float]:
    return isinstance(number, int | float) and not isinstance(number, bool) and 0 <= number <= 1e12


# Writing ----------------------------------------------------------------------------------------------------


def _encoded(record: BootRecord) -> bytes:
    values = {
        "node": record.node[:_LONGEST_TEXT],
        "at": round(record.at, 3),
        "seconds": round(record.seconds, 3),
        "outcome": record.outcome[:_LONGEST_TEXT],
        "reason": record.reason[:_LONGEST_TEXT],
    }
    line = json.dumps(values).encode()
    if len(line) <= _LONGEST_LINE:
        return line + b"\n"
    return json.dumps({**values, "reason": ""}).encode() + b"\n"  # text that is all escapes


def _append(path: str, record: BootRecord) -> bool:
    """Whether the file that was opened is still the one of this name."""
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    fd = os.open(path, flags, 0o644)
    try:
        _lock(fd)
        found, named = os.fstat(fd), _stat(path)
        if named is None or (found.st_ino, found.st_dev) != (named.st_ino, named.st_dev):
            return False
        tail, line = _read_tail(fd), _encoded(record)
        if found.st_size > _FEW_BYTES and next(_records_of(tail), None) is None:
            raise OSError(errno.EINVAL, "it holds something else")
        if found.st_size > _MOST_BYTES or tail.count(b"\n") >= 2 * RECORDS:
            kept = [_encoded(one) for one in _records_of(tail)][1 - RECORDS :]
            _replace(path, b"".join([*kept, line]), found)
        else:
            # A crash may have left half a line.
            _write(fd, line if tail.endswith(b"\n") or not tail else b"\n" + line)
    finally:
        os.close(fd)
    return True


def _lock(fd: int) -> None:
    """Keeps others from writing until the file is closed."""
    for _ in range(_TRIES):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            SYSTEM.sleep(_PAUSE)
        except OSError:
            return  # a file system without locks
        else:
            return
    raise OSError(errno.EAGAIN, "another process keeps it locked")


def _stat(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _write(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _replace(path: str, data: bytes, former: os.stat_result) -> None:
    """Puts another file in the place of this one. Whoever looks sees the whole of one of them."""
    draft = f"{path}.{os.getpid()}.{threading.get_ident()}"
    with suppress(FileNotFoundError):
        os.unlink(draft)  # of a process of the same number that was killed right here
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            with suppress(PermissionError):
                os.fchown(fd, former.st_uid, former.st_gid)
            os.fchmod(fd, stat.S_IMODE(former.st_mode))
            _write(fd, data)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(draft, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(draft)
        raise
