"""The line to a console that several programs may have open: what each of them has of it."""

from __future__ import annotations

import os
import select
import socket
import struct
import sys
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import (
    ConsoleBusyError,
    ConsoleError,
    ConsoleMissingError,
    LockError,
    LockTimeoutError,
)
from rpi_clusterhat.settings import DEFAULT_LOCK_DIR

from .holders import holder
from .hub import Hub
from .line import DeviceLine
from .packets import CHUNK, VERSION, Kind, packet
from .place import places
from .turns import Role

if TYPE_CHECKING:
    from .place import Place

__all__ = ["SharedLine"]

_WELCOME = 3.0
"""Seconds in which the program that has the console open has to answer."""

_PASSING = 2.0
"""Seconds in which a program that leaves, or was killed, has given the console back."""

_RETRY = 0.01


class SharedLine:
    """A console that other programs of this library may have open at the same time. See `ConsoleLine`.

    The first of them opens the device, and a thread of it serves the others. When it leaves or is killed, one
    of the others opens the device, and all go on. What was on its way through one that was killed is lost.

    Args:
        path: The serial device or pseudo-terminal.
        role: What for.
        lock_dir: The folder of locks, where all meet who may switch nodes.

    Raises:
        ConsoleBusyError: A program that does not share it has it open. The text names it, where this user may
            know.
        ConsoleMissingError: There is no such device.
        ConsoleError: This user may not open it, or it is no terminal.
    """

    def __init__(self, path: str, role: Role = Role.PROGRAM, *, lock_dir: str = DEFAULT_LOCK_DIR) -> None:
        self.path = path
        self.role = role
        self.has_turn = False
        self.turn_of = ""
        """The program that has the turn, where one has."""
        self.skipped = 0
        """Bytes of what the node wrote that were left out so far, since this program was too slow."""
        self._lock_dir = lock_dir
        self._wants_turn = False
        self._succeeds = False
        """Whether another program had it open before."""
        self._unread: list[bytes] = []
        """Packets of a program that has left."""
        self._returned: list[bytes] = []
        """Input that it has given back."""
        self._unsent: list[bytes] = []
        self._end: ConsoleError | None = None
        """Why there is nothing any more."""
        self._hub: Hub | None = None
        self._connection: socket.socket | None = None
        self._ready = os.eventfd(1, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        """It is always readable, and stands for the connection while something is unread."""
        after_fork(self, SharedLine._leave_to_the_parent)
        try:
            self._join()
        except BaseException:
            self.close()
            raise

    def __repr__(self) -> str:
        how = "closed" if self._ready < 0 else "own" if self._hub is not None else "shared"
        return f"<SharedLine {self.path}, {how}>"

    @property
    def fd(self) -> int:
        """See `ConsoleLine.fd`."""
        if self._unread or self._connection is None:
            return self._ready
        return self._connection.fileno()

    def read(self) -> bytes | None:
        """See `ConsoleLine.read`."""
        self._say()
        while self._end is None:
            said = self._unread.pop(0) if self._unread else self._receive()
            if said is None:
                return None
            if not said:
                self._rejoin()
                continue
            kind, data = said[:1], said[1:]
            match kind:
                case Kind.OUTPUT:
                    return data
                case Kind.SKIPPED:
                    self.skipped += int(data)
                case Kind.TURN:
                    self.has_turn, self.turn_of = data[:1] == b"1", data[1:].decode(errors="replace")
                case Kind.RETURNED:
                    self._returned.append(packet(Kind.INPUT, data))
                case Kind.GONE:
                    self._end = ConsoleMissingError(f"the console {self.path} went away")
                case Kind.FAILED:
                    self._end = ConsoleError(data.decode(errors="replace"))
                case _:
                    pass
        self._leave()
        if isinstance(self._end, ConsoleMissingError):
            return b""
        raise self._end

    def write(self, data: bytes) -> int:
        """See `ConsoleLine.write`."""
        if self.role is Role.WATCHER:
            raise ConsoleError(f"the console {self.path} is only watched")
        self._say()
        if not data or self._unsent:
            self._check()
            return 0
        taken = data[:CHUNK]
        self._unsent.append(packet(Kind.INPUT, taken))
        self._say()
        if self._unsent and self._unsent[-1][1:] == taken:
            self._unsent.pop()
            self._check()
            return 0
        return len(taken)

    def ask_turn(self) -> None:
        """See `ConsoleLine.ask_turn`."""
        self._wants_turn = True
        self._unsent.append(packet(Kind.ASK))
        self._say()

    def end_turn(self) -> None:
        """See `ConsoleLine.end_turn`."""
        self._wants_turn = self.has_turn = False
        self._unsent.append(packet(Kind.END))
        self._say()

    def close(self) -> None:
        """Gives the line back. It may be called again, and takes a moment where the device takes nothing."""
        self._end = self._end or ConsoleError(f"the console {self.path} is closed")
        self._leave()
        ready, self._ready = self._ready, -1
        if ready >= 0:
            os.close(ready)

    def _check(self) -> None:
        if self._end is not None:
            raise self._end

    def _leave_to_the_parent(self) -> None:
        self._hub = None
        self.close()

    # Packets ----------------------------------------------------------------------------------------------

    def _receive(self) -> bytes | None:
        """The next packet, None where there is none now, ``b""`` where the other program has left."""
        if self._connection is None:
            return b""
        try:
            return self._connection.recv(CHUNK + 1)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _say(self) -> None:
        """Sends what waits to be sent, as far as it is taken."""
        while self._unsent and self._end is None:
            try:
                assert self._connection is not None
                self._connection.send(self._unsent[0], socket.MSG_NOSIGNAL)
            except BlockingIOError:
                return
            except OSError:
                self._rejoin()
            else:
                del self._unsent[0]

    # Joining ----------------------------------------------------------------------------------------------

    def _leave(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
        hub, self._hub = self._hub, None
        if hub is not None:
            hub.join()

    def _rejoin(self) -> None:
        """Goes on after the program that had the console open has left. Sets the end where that cannot be."""
        came: list[bytes] = []
        while self._await(_PASSING) and (said := self._receive()):
            if said[:1] == Kind.RETURNED:
                self._returned.append(packet(Kind.INPUT, said[1:]))
            elif said[:1] != Kind.TURN:
                came.append(said)
        self._leave()
        self.has_turn, self.turn_of = False, ""
        self._succeeds = True
        self._unread += came
        self._unsent = self._returned + self._unsent
        self._returned = []
        if any(said[:1] in (Kind.GONE, Kind.FAILED) for said in came):
            self._unsent = []  # the end is still to be read
            return
        try:
            self._join()
        except ConsoleError as error:
            self._end = error
            return
        if self._wants_turn:
            self._unsent.insert(0, packet(Kind.ASK))

    def _await(self, seconds: float) -> bool:
        """Waits until there is a packet, or an end."""
        if self._connection is None:
            return False
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        return bool(poll.poll(seconds * 1000))

    def _join(self) -> None:
        """Connects to the program that has the console open, or opens it."""
        deadline = SYSTEM.now() + _PASSING
        while True:
            self._meet()
            assert self._connection is not None
            try:
                self._connection.send(
                    packet(Kind.HELLO, VERSION + self.role.value + _name().encode()), socket.MSG_NOSIGNAL
                )
                if not self._await(_WELCOME):
                    raise ConsoleBusyError(f"{self._open_in()}, which does not answer: end it first")
                welcome = self._receive() or b""
            except OSError:  # it left just now
                welcome = b""
            except BaseException:
                self._leave()
                raise
            if welcome[:2] == packet(Kind.WELCOME, VERSION):
                return
            if welcome:
                text = f"{self._open_in()}, which has another version of this library: end it first"
                self._leave()
                raise ConsoleBusyError(text)
            self._leave()
            SYSTEM.sleep(_RETRY)
            if SYSTEM.now() > deadline:
                raise ConsoleBusyError(f"the console {self.path} changes hands without end: try again")

    def _meet(self) -> None:
        try:
            found = os.stat(self.path)
        except OSError:
            self._serve(DeviceLine(self.path), None)  # which says what is wrong
            return
        for place in places(found, self._lock_dir):
            try:
                with place.alone():
                    self._connect_or_open(place)
                    return
            except LockTimeoutError as error:
                raise ConsoleBusyError(f"another program is about to open {self.path}: {error}") from error
            except LockError:
                continue  # nobody meets there who may not
        self._serve(DeviceLine(self.path), None)

    def _connect_or_open(self, place: Place) -> None:
        try:
            self._connection = place.connect()
        except FileNotFoundError:
            self._serve(DeviceLine(self.path), place)
        except ConnectionRefusedError:
            self._serve(self._opened_after_another(), place)
        except OSError as error:
            raise ConsoleBusyError(
                f"the console {self.path} is open in another program, which lets nobody in: {error.strerror}"
            ) from error

    def _opened_after_another(self) -> DeviceLine:
        """Opens the device of a program that was killed, which may not be free at once."""
        deadline = SYSTEM.now() + _PASSING
        while True:
            try:
                return DeviceLine(self.path)
            except ConsoleBusyError:
                if SYSTEM.now() > deadline:
                    raise
            SYSTEM.sleep(_RETRY)

    def _serve(self, device: DeviceLine, place: Place | None) -> None:
        try:
            listener = None if place is None else place.listen()
        except OSError:  # nobody can share it then
            listener = None
        except BaseException:
            device.close()
            raise
        self._hub = Hub(device, listener, succeeds=self._succeeds)
        self._connection = self._hub.connection

    def _open_in(self) -> str:
        text = f"the console {self.path} is open in another program"
        assert self._connection is not None
        told = self._connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        pid = struct.unpack("3i", told)[0]
        return f"{text}, {holder(pid)}" if pid else text


def _name() -> str:
    """What this program is called in what others are told."""
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    name = "".join(c for c in name[:40] if c.isprintable())
    return f"{name if name and not name.startswith('-') else 'python'} (process {os.getpid()})"
