"""A world in a file, which processes share.

Each change is made under a lock beside the file: read, changed, written to a draft, put in the file's
place. So a program that is killed leaves the world as it was before or after, and who only reads needs
neither the lock nor the right to write.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import AccessDeniedError, BackendError
from rpi_clusterhat.hardware.locks import FileLock, lock_path

from .served import Served
from .state_json import decode, encode
from .world import AMBIENT, World

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from rpi_clusterhat.clock import Clock

__all__ = ["HISTORY_IN_FILE", "StateFile", "absolute_path"]

HISTORY_IN_FILE = 200


def _this_boot() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def absolute_path(path: str) -> str:
    """Returns the path of a state file however it is named; raises `BackendError` where it is nowhere."""
    try:
        return os.path.realpath(path)
    except FileNotFoundError as error:
        raise BackendError(
            f"the state file {path} is in the working folder, which was deleted: change to another folder"
        ) from error


class StateFile:
    """The world that is in a file; a new one where there is no file or an empty one.

    May be used from any thread and process. ``ambient`` is that of a new world, ``history`` how many
    events the file keeps; reads are not among them, for reading does not write.
    """

    def __init__(
        self,
        path: str,
        *,
        clock: Clock = SYSTEM,
        ambient: float = AMBIENT,
        history: int | None = HISTORY_IN_FILE,
        boot: str | None = None,
    ) -> None:
        self.path = absolute_path(path)
        self._clock = clock
        self._ambient = ambient
        self._history = history
        self._watchers: list[Callable[[World], None]] = []
        self._boot = _this_boot() if boot is None else boot
        self._folder, name = os.path.split(self.path)
        self._lock = FileLock(lock_path(self._folder, f"sim-{name}"), guarded=False)
        self.served = Served(lock_path(self._folder, f"sim-{name}.served"))
        """Which nodes answer, in any process."""

    def __repr__(self) -> str:
        return f"<StateFile {self.path}>"

    def rail_lock(self, rail: str) -> str:
        """The rails of this file's world are those of all who name this file."""
        folder, name = os.path.split(self.path)
        return lock_path(folder, f"sim-{name}.rail-{rail}")

    @contextmanager
    def look(self) -> Generator[World]:
        """The world as it is now, to be read: what is changed in it is lost."""
        yield self._load()[0]

    @contextmanager
    def change(self) -> Generator[World]:
        """Lends the world to be changed, and saves it at the end.

        It is saved after a `BackendError` too, since a failed access is an event. Where a node has lost its
        power by it, has started anew or has begun to halt, nothing of its time before that answers once this
        is over.
        """
        self._check_folder()
        ended: list[str] = []
        try:
            with self._lock.hold():
                world, mode = self._load()
                before, boots = world.timeline.version, _boots(world)
                try:
                    yield world
                except BackendError:
                    self._save(world, before, mode)
                    raise
                finally:
                    after = _boots(world)
                    ended += (name for name, boot in boots.items() if after.get(name) != boot)
                self._save(world, before, mode)
        finally:
            self.served.await_end(ended)

    def watch(self, callback: Callable[[World], None]) -> Callable[[], None]:
        """Calls back with the world each time that this object has changed it, in the thread that did.

        Returns a function that ends this.
        """
        self._watchers.append(callback)
        return partial(self._watchers.remove, callback)

    def check(self) -> None:
        """Raises the `BackendError` that using the file would."""
        self._check_folder()
        self._load()
        if not os.access(self._folder, os.W_OK | os.X_OK):
            raise self._denied("write", None)

    def _check_folder(self) -> None:
        if not os.path.isdir(self._folder):
            raise BackendError(f"cannot make the state file {self.path}: create the folder {self._folder}")

    def _denied(self, verb: str, cause: OSError | None) -> AccessDeniedError:
        number = cause.errno if cause is not None and cause.errno else errno.EACCES
        advice = (
            f"let this user read it (chmod o+r {self.path})"
            if verb == "read"
            else f"it is replaced as a whole: use a folder in which this user may do that, not {self._folder}"
        )
        return AccessDeniedError(number, f"this user may not {verb} the state file {self.path}: {advice}")

    def _load(self) -> tuple[World, os.stat_result | None]:
        try:
            # Without O_NONBLOCK, opening a FIFO that was named by mistake would never end.
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return World(clock=self._clock, ambient=self._ambient, history=self._history), None
        except PermissionError as error:
            raise self._denied("read", error) from error
        except OSError as error:
            raise BackendError(f"cannot read the state file {self.path}: {error.strerror}") from error
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            os.close(fd)
            raise BackendError(f"{self.path} is not a regular file: name another with state")
        with open(fd, "rb") as file:
            content = file.read()
        if not content:
            return World(clock=self._clock, ambient=self._ambient, history=self._history), status
        try:
            world = decode(content, self._clock, self._history, self._boot)
        except (ValueError, TypeError, LookupError, OverflowError, RecursionError) as error:
            why = f"no {error}" if isinstance(error, KeyError) else str(error)
            raise BackendError(
                f"{self.path} is not a state of the sim backend ({why}): "
                "remove it to begin anew, or name another file with state"
            ) from error
        return world, status

    def _save(self, world: World, before: int, status: os.stat_result | None) -> None:
        if world.timeline.version == before:
            return
        content = encode(world, self._boot)
        # Each user's own: in a sticky folder nobody could clear away another's.
        draft = f"{self.path}.{os.geteuid()}.new"
        try:
            # Under the lock nobody else writes a draft: one that is here was left by a killed program.
            if os.path.lexists(draft):
                os.unlink(draft)
            try:
                fd = os.open(
                    draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
                )
                with open(fd, "wb") as file:
                    file.write(content)
                    if status is None:
                        os.fchmod(fd, 0o644)
                    else:
                        _keep_owner(fd, status)
                        os.fchmod(fd, stat.S_IMODE(status.st_mode))
                os.replace(draft, self.path)
            except OSError:
                if os.path.lexists(draft):
                    os.unlink(draft)
                raise
        except PermissionError as error:
            raise self._denied("write", error) from error
        except OSError as error:
            raise BackendError(f"cannot write the state file {self.path}: {error.strerror}") from error
        for watcher in tuple(self._watchers):
            watcher(world)


def _boots(world: World) -> dict[str, int]:
    """The number of the boot that each node is in, by name; without those that cannot answer any more."""
    nodes = (world.node(consumer.name) for consumer in world.timeline.consumers)
    return {node.name: node.boots for node in nodes if node.phase not in ("off", "halting", "halted")}


def _keep_owner(fd: int, status: os.stat_result) -> None:
    for owner in (status.st_uid, -1):  # only root can give a file away; a group its members can
        try:
            os.fchown(fd, owner, status.st_gid)
            return
        except PermissionError:
            pass
