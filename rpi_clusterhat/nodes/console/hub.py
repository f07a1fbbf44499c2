"""Serves a console that this process has open to all who share it, this process among them."""

from __future__ import annotations

import atexit
import select
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from rpi_clusterhat._fork import after_fork
from rpi_clusterhat.clock import SYSTEM
from rpi_clusterhat.errors import ConsoleError

from .backlog import Backlog
from .packets import CHUNK, VERSION, Kind, packet
from .turns import Role, Turns

if TYPE_CHECKING:
    from .line import DeviceLine
    from .place import Listener

__all__ = ["MEMBERS", "Hub"]

MEMBERS = 32
"""How many may have one console open."""

_GREETING = 2.0
"""Seconds in which one who was let in has to say who it is."""

_SETTLING = 0.1
"""Seconds in which those who shared it with another program have come over: the kernel keeps what the node
writes meanwhile."""

_LAST = 0.2
"""Seconds in which the node has to take what was written before the end."""


class _Member:
    """One who has the console open."""

    def __init__(self, connection: socket.socket, number: int) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.number = number
        self.name = ""
        self.since = SYSTEM.now()
        self.is_known = False
        self.role = Role.WATCHER
        self.backlog = Backlog()
        self.held = b""
        """Input that waits for its turn."""
        self.told: bytes = b""
        """What it was told of the turn last."""

    def receive(self) -> bytes | None:
        """Its next packet, None where there is none now, ``b""`` where it has left."""
        try:
            return self.connection.recv(CHUNK + 1)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def flush(self) -> bool:
        """Sends it what it takes. Returns whether it is still there."""
        try:
            while self.backlog:
                self.connection.send(self.backlog.next())
                self.backlog.sent()
        except BlockingIOError:
            pass
        except OSError:
            return False
        return True


class Hub:
    """A thread that reads and writes a console for all who share it.

    It never waits for any of them, and ends when the line of this process is closed, or the console is gone.
    The others then open the console themselves: one does, and the rest share it.

    Args:
        device: The console, which belongs to the hub from now on.
        listener: Where others are let in, or None to share it with nobody.
        succeeds: Whether another program had it open until now.
    """

    def __init__(self, device: DeviceLine, listener: Listener | None, *, succeeds: bool = False) -> None:
        self._device = device
        self._listener = listener
        self._turns = Turns()
        self._numbers = 0
        self._begin = SYSTEM.now() + _SETTLING if succeeds else 0.0
        """When to read for the first time."""
        self._outgoing = b""
        """What the node has not taken so far."""
        self._end: bytes | None = None
        """What all are told at the end of the console; None where it only goes over to others."""
        self._members: list[_Member] = []
        self.connection, own = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        """What this process has of it."""
        self.connection.setblocking(False)
        self._own = self._add(own)
        self._is_leaving = False
        self._thread = threading.Thread(target=self._run, name=f"console {device.path}", daemon=True)
        after_fork(self, Hub._leave_to_the_parent)
        atexit.register(self._end_with_the_program)
        self._thread.start()

    def __repr__(self) -> str:
        return f"<Hub of {self._device.path}>"

    def join(self) -> None:
        """Waits until the console is given back, once the line of this process is closed."""
        self._thread.join()
        atexit.unregister(self._end_with_the_program)

    def _end_with_the_program(self) -> None:
        """Where nobody has closed the line: the thread would be gone without a word."""
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
        self.join()

    def _leave_to_the_parent(self) -> None:
        """In a forked child: the console would not be free, and nobody would see the parent end."""
        for member in list(self._members):
            member.connection.close()
        if self._listener is not None:
            self._listener.socket.close()

    # In the thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._is_leaving and self._end is None:
                self._round()
            if self._end is None:
                self._pass_on()
            for member in self._members:
                member.flush()
        finally:
            others = any(member.is_known and member is not self._own for member in self._members)
            # First: who finds the socket's file gone opens the device.
            self._device.close(restore=not others)
            if self._listener is not None:
                self._listener.close()
            for member in self._members:
                member.connection.close()

    def _round(self) -> None:
        """Waits until there is something to do, and does it."""
        poll = select.poll()
        if self._own.is_known and SYSTEM.now() >= self._begin:
            poll.register(self._device.fd, select.POLLIN | (select.POLLOUT if self._outgoing else 0))
        if self._listener is not None and len(self._members) < MEMBERS:
            poll.register(self._listener.socket, select.POLLIN)
        for member in self._members:
            if (events := self._events(member)) is not None:
                poll.register(member.connection, events)
        ready = dict(poll.poll(self._patience()))
        if self._device.fd in ready:
            self._read_device()
        if self._listener is not None and self._listener.socket.fileno() in ready:
            self._let_in()
        for member in list(self._members):
            if ready.get(member.connection.fileno(), 0) & ~select.POLLOUT and not self._hear(member):
                self._drop(member)
        self._write_device()
        self._tell_turns()
        self._own.flush()
        for member in list(self._members):
            if member is not self._own and (not member.flush() or self._is_rude(member)):
                self._drop(member)

    def _patience(self) -> float | None:
        """Milliseconds until the first read is due, or somebody has to have said who it is."""
        now = SYSTEM.now()
        due = [member.since + _GREETING for member in self._members if not member.is_known]
        if now < self._begin:
            due.append(self._begin)
        return max(0.0, min(due) - now) * 1000 + 1 if due else None

    def _is_rude(self, member: _Member) -> bool:
        return not member.is_known and SYSTEM.now() - member.since > _GREETING

    def _read_device(self) -> None:
        try:
            data = self._device.read()
        except ConsoleError as error:
            self._finish(packet(Kind.FAILED, str(error).encode()))
            return
        if data == b"":
            self._finish(packet(Kind.GONE))
        elif data:
            for member in self._members:
                if member.is_known:
                    member.backlog.add_output(data)

    def _write_device(self) -> None:
        for member in self._members:  # the one who has the turn now may have waited for it
            if member.held and len(self._outgoing) < CHUNK and self._turns.may_write(member.number):
                self._outgoing += member.held
                member.held = b""
        if self._outgoing and self._end is None:
            try:
                self._outgoing = self._outgoing[self._device.write(self._outgoing) :]
            except ConsoleError:
                pass  # the next read says that it is gone

    def _finish(self, last: bytes) -> None:
        self._end = last
        for member in self._members:
            member.backlog.add_news(last)

    # Members ----------------------------------------------------------------------------------------------

    def _add(self, connection: socket.socket) -> _Member:
        self._numbers += 1
        member = _Member(connection, self._numbers)
        self._members.append(member)
        return member

    def _let_in(self) -> None:
        assert self._listener is not None
        try:
            connection, _ = self._listener.socket.accept()
        except OSError:  # it did not wait, or there are no files left
            return
        self._add(connection)

    def _drop(self, member: _Member) -> None:
        self._members.remove(member)
        member.connection.close()
        if member.is_known:
            self._turns.leave(member.number)

    def _events(self, member: _Member) -> int | None:
        """What to wait for from it, or None: nothing at all, not even that it leaves."""
        events = select.POLLOUT if member.backlog else 0
        if not member.held:
            return events | (select.POLLIN if len(self._outgoing) < CHUNK else 0)
        if member is self._own or not self._turns.may_write(member.number):
            return events  # whether it leaves
        return None

    def _hear(self, member: _Member) -> bool:
        """Takes one packet. Returns whether it is still there."""
        if member.held:  # so it has left, and what waits for a turn goes with it
            said: bytes | None = b""
        else:
            said = member.receive()
        if said is None:
            return True
        if said:
            return self._understand(member, said)
        if member is self._own:
            self._is_leaving = True
        return member is self._own

    def _understand(self, member: _Member, said: bytes) -> bool:
        kind, data = said[:1], said[1:]
        if not member.is_known:
            return kind == Kind.HELLO and self._greet(member, data)
        match kind:
            case Kind.INPUT if member.role is not Role.WATCHER:
                self._turns.ask(member.number)
                member.held = data
            case Kind.ASK:
                self._turns.ask(member.number)
            case Kind.END:
                self._turns.end(member.number)
            case _:
                return False
        return True

    def _greet(self, member: _Member, data: bytes) -> bool:
        try:
            role = Role(data[1:2])
        except ValueError:
            return False
        member.backlog.add_news(packet(Kind.WELCOME, VERSION + self._name().encode()))
        if data[:1] != VERSION:
            member.flush()
            return False
        member.name, member.role = data[2:].decode(errors="replace"), role
        member.is_known = True
        self._turns.join(member.number, role)
        return True

    def _name(self) -> str:
        return self._own.name

    def _tell_turns(self) -> None:
        holder = self._turns.holder
        name = next((member.name for member in self._members if member.number == holder), "")
        for member in self._members:
            if member.is_known:
                may = b"1" if self._turns.may_write(member.number) else b"0"
                if member.told != (news := packet(Kind.TURN, may + name.encode())):
                    member.told = news
                    member.backlog.add_news(news)

    # The end ----------------------------------------------------------------------------------------------

    def _pass_on(self) -> None:
        """Takes what was written so far to the node, and gives back what it does not take in time."""
        for member in self._members:
            with suppress(OSError):
                member.connection.shutdown(socket.SHUT_RD)
        deadline = SYSTEM.now() + _LAST
        poll = select.poll()
        poll.register(self._device.fd, select.POLLOUT)
        while self._end is None and (left := deadline - SYSTEM.now()) > 0:
            heard = [self._hear_last(member) for member in self._members]
            if not self._outgoing and not any(heard):
                break
            if self._outgoing:
                poll.poll(left * 1000)
            self._write_device()
        for member in self._members:
            self._give_back(member)

    def _hear_last(self, member: _Member) -> bool:
        """Takes a packet of one that has said its last. Returns whether there was one that counts now."""
        if member.held:
            return self._turns.may_write(member.number)
        said = member.receive()
        return bool(said) and self._understand(member, said or b"")

    def _give_back(self, member: _Member) -> None:
        said: bytes | None = packet(Kind.INPUT, member.held)
        while said:
            if said.startswith(Kind.INPUT) and len(said) > 1:
                member.backlog.add_news(packet(Kind.RETURNED, said[1:]))
            said = member.receive()
