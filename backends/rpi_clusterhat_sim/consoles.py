"""Consoles of simulated nodes: pseudo-terminals that come and go with them, named as the real ones are."""

from __future__ import annotations

import codecs
import fcntl
import os
import select
import shutil
import tempfile
import threading
import tty
from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import BackendError, LockError, NodeNameError
from rpi_clusterhat.hardware.lock_files import LOCKS_ARE_SHARED, SharedFile, lock_range

from .shell import Shell
from .state_file import StateFile

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .world import World, WorldSource

__all__ = ["INTERVAL", "Consoles"]

INTERVAL = 0.05
"""Seconds between two looks at the world."""

_KEPT = 4096
"""Bytes that a console keeps for somebody who comes later."""

_LAST_WORDS = 0.2
"""Seconds for which the console of a node that has halted stays, so that what it said is read."""

_HERE = ("booting", "up", "hung", "failed", "halting")
"""What a node is while its console is there."""


class Consoles:
    """Consoles of nodes of one world, while this is open and the nodes run. May be used from any thread.

    A console is at ``ttypi1`` … in a folder beside the state file, or in one of this process where there is
    no file. Of several processes that share a file, one has the console of a node; when it ends, another one
    takes it over, at the login prompt.
    """

    def __init__(self, source: WorldSource) -> None:
        self._source = source
        self._is_shared = isinstance(source, StateFile)
        self._folder = f"{source.path}.consoles" if isinstance(source, StateFile) else ""
        self._lock = threading.Lock()
        self._stations: dict[str, _Station] = {}
        self._wake = -1
        self._is_polling = False
        self._thread: threading.Thread | None = None
        after_fork(self, Consoles._leave_to_the_parent)

    def __repr__(self) -> str:
        return f"<Consoles of {len(self._stations)} nodes of {self._source!r}>"

    def add(self, names: Iterable[str]) -> None:
        """Gives these nodes of the world a console; those that have one keep it. Raises `OSError`."""
        with self._lock:
            if self._thread is None:
                if self._is_shared:
                    os.makedirs(self._folder, mode=0o700, exist_ok=True)
                else:
                    self._folder = tempfile.mkdtemp(prefix="rpi-clusterhat-consoles-")
                self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            for name in names:
                if name not in self._stations:
                    self._stations[name] = _Station(name, self._source, self._folder)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="simulated consoles", daemon=True)
                self._unwatch = self._source.watch(self._check_power)
                self._thread.start()

    def path(self, name: str) -> str:
        """The path of a node's console, where there is something only while the node runs."""
        return self._stations[name].path

    def close(self) -> None:
        """Ends all. It may be called again."""
        with self._lock:
            thread, self._thread = self._thread, None
            if thread is None:
                return
            self._unwatch()
            os.eventfd_write(self._wake, 1)
        thread.join()
        os.close(self._wake)
        self._stations = {}
        if not self._is_shared:
            shutil.rmtree(self._folder, ignore_errors=True)

    def _leave_to_the_parent(self) -> None:
        for station in self._stations.values():
            station.forget()
        self._stations, self._thread = {}, None
        self._lock = threading.Lock()

    def _check_power(self, world: World) -> None:
        """Called by whoever switched power or had a node halt, in its thread."""
        cut = [station.check(*_state(world, station.name)) for station in list(self._stations.values())]
        if any(cut):
            # A file that another thread polls is open until that is over.
            os.eventfd_write(self._wake, 1)
            deadline = SYSTEM.now() + INTERVAL
            while self._is_polling and SYSTEM.now() < deadline:
                SYSTEM.sleep(0.0005)

    # In the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        look_at = 0.0
        while self._thread is not None:
            poll = select.poll()
            poll.register(self._wake, select.POLLIN)
            stations = {station.fd: station for station in self._stations.values() if station.fd >= 0}
            for fd, station in stations.items():
                poll.register(fd, select.POLLIN | (select.POLLOUT if station.waiting else 0))
            self._is_polling = True
            ready = poll.poll(max(0.0, look_at - SYSTEM.now()) * 1000 + 1)
            self._is_polling = False
            if ready and ready[0][0] == self._wake:
                os.eventfd_read(self._wake)
            for fd, event in ready:
                if fd in stations:
                    stations[fd].serve(event)
            if SYSTEM.now() >= look_at:
                look_at = SYSTEM.now() + INTERVAL
                self._look()
        for station in self._stations.values():
            station.end()

    def _look(self) -> None:
        stations = list(self._stations.values())
        try:
            with self._source.look() as world:
                states = [_state(world, station.name) for station in stations]
        except BackendError:  # the file cannot be read: all stays as it is
            return
        for station, state in zip(stations, states, strict=True):
            with suppress(OSError):  # the next look tries again
                station.follow(*state)


def _state(world: World, name: str) -> tuple[str, int, float]:
    """A node's phase, the number of its boot, and for how long it is up."""
    try:
        node = world.node(name)
    except NodeNameError:  # a state file that was removed
        return "off", 0, 0.0
    since = node.up_since
    return node.phase, node.boots, 0.0 if since is None else world.timeline.now() - since


class _Station:
    """A node's console. It is used in the thread of `Consoles`, except `check`."""

    def __init__(self, name: str, source: WorldSource, folder: str) -> None:
        self.name = name
        self.path = os.path.join(folder, f"ttypi{name.removeprefix('p')}")
        self.fd = -1
        self.waiting = b""
        """What was written and nobody has taken."""
        self._source = source
        self._lock = threading.Lock()
        self._ours = -1
        self._is_cut = False
        self._boots = 0
        self._phase = "off"
        self._up = 0.0
        self._ends_at = 0.0
        self._shell: Shell | None = None
        self._claims: list[SharedFile] = []
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def check(self, phase: str, boots: int, _: float) -> bool:
        """Cuts the console off where the node has lost its power, and says so. It is for any thread."""
        with self._lock:
            if self.fd >= 0 and not (phase in _HERE and boots == self._boots):
                self._is_cut = True
                null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
                os.dup2(null, self._ours, inheritable=False)
                os.dup2(null, self.fd, inheritable=False)
                os.close(null)
            if phase not in ("booting", "up"):
                self._release()
            return self._is_cut

    def follow(self, phase: str, boots: int, up: float) -> None:
        """Brings the console in line with the node. Raises `OSError`."""
        self._up = up
        if phase == "halted" and self.fd >= 0 and self._phase != "halted" and not self._is_cut:
            self._write("[  OK  ] Reached target poweroff.target.\r\nreboot: Power down\r\n")
            self._phase = phase
            self._ends_at = SYSTEM.now() + _LAST_WORDS
        if phase == "halted" and SYSTEM.now() < self._ends_at and not self._is_cut:
            return
        if self.fd >= 0 and (self._is_cut or phase not in _HERE or boots != self._boots):
            self.end()
        if phase not in _HERE:
            self._phase = phase
            return
        if self.fd < 0:
            if not self._claim():
                return
            self._begin(boots)
        if phase != self._phase or self._shell is None:
            self._change(phase)
        self._phase = phase

    def _change(self, phase: str) -> None:
        match phase:
            case "booting" | "failed":
                self._shell = Shell(self.name, lambda: self._up, self._poweroff)
                self._write("[    0.000000] Booting Linux on physical CPU 0x0\r\n")
            case "up":
                self._shell = Shell(self.name, lambda: self._up, self._poweroff)
                self._write(f"\r\nDebian GNU/Linux 12 {self.name} ttyGS0\r\n\r\n{self._shell.prompt}")
            case "halting":
                self._write("\r\n[  OK  ] Stopped getty on ttyGS0.\r\n")
            case _:
                pass

    def _poweroff(self) -> str:
        try:
            with self._source.change() as world:
                world.node(self.name).halt()
        except (BackendError, NodeNameError) as error:
            return f"poweroff: {error}"
        return ""

    def _claim(self) -> bool:
        """Whether no other process has this console."""
        if not isinstance(self._source, StateFile) or not LOCKS_ARE_SHARED:
            return True
        try:
            own = SharedFile(f"{self.path}.lock", guarded=False)
        except LockError:
            return False
        if not lock_range(own, fcntl.F_WRLCK, 0, 1):
            own.close()
            return False
        served = self._source.served.claim(self.name)
        self._claims = [own, *([] if served is None else [served])]
        return True

    def _release(self) -> None:
        for claim in self._claims[1:]:
            claim.close()
        del self._claims[1:]

    def _begin(self, boots: int) -> None:
        fd, ours = os.openpty()
        os.set_blocking(fd, False)
        tty.setraw(ours)  # else what the node writes would come back to it before somebody has it open
        with self._lock:
            self.fd, self._ours, self._is_cut, self._boots = fd, ours, False, boots
        self._shell = None
        self.waiting = b""
        draft = f"{self.path}.{os.getpid()}"
        with suppress(FileNotFoundError):
            os.unlink(draft)
        os.symlink(os.ttyname(ours), draft)
        os.replace(draft, self.path)

    def end(self) -> None:
        """Takes the console away."""
        with self._lock:
            fd, self.fd = self.fd, -1
            if fd >= 0:
                with suppress(FileNotFoundError):
                    os.unlink(self.path)
                os.close(self._ours)
                os.close(fd)
            for claim in self._claims:
                claim.close()
            self._claims = []

    def forget(self) -> None:
        """In a forked child: closes, and removes nothing."""
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(self._ours)
            os.close(fd)

    def serve(self, event: int) -> None:
        """Reads what was typed, and writes what waits."""
        if self._is_cut:
            return
        if event & select.POLLIN:
            try:
                data = os.read(self.fd, 1024)
            except OSError:
                data = b""
            if self._phase == "up" and self._shell is not None:
                self._write(self._shell.typed(self._decoder.decode(data)))
        self._flush()

    def _write(self, text: str) -> None:
        self.waiting = (self.waiting + text.encode())[-_KEPT:]
        self._flush()

    def _flush(self) -> None:
        with suppress(OSError):
            while self.waiting and not self._is_cut:
                self.waiting = self.waiting[os.write(self.fd, self.waiting) :]
